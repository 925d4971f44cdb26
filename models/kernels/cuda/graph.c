/* Passes as CUDA graphs: captured once for each key, then launched whole.

   While one is replayed the front makes its calls as ever: costs are entered, indices are staged
   where the graph's copies read them, results are fetched from where it leaves them; only nothing
   is enqueued. All calls are noted, and a graph is launched only when they are those that it was
   captured from, to the last argument. */
#include "models/kernels/cuda/cuda.h"

#include <string.h>

/* The graph of KEY, else the place of the one that was used longest ago. */
static cuda_graph *find(cuda_ctx *c, uint64_t key)
{
    cuda_graph *oldest = &c->graphs[0];

    for (int i = 0; i < CUDA_GRAPHS; i++) {
        cuda_graph *g = &c->graphs[i];

        if (g->used && g->key == key)
            return g;
        if (g->used < oldest->used)
            oldest = g;
    }
    if (oldest->exec)
        cudaGraphExecDestroy(oldest->exec);
    *oldest = (cuda_graph){ .key = key };
    return oldest;
}

void cuda_graph_begin(mb_ctx *base, uint64_t key)
{
    cuda_ctx *c = cuda_of(base);
    cuda_graph *g = find(c, key);
    bool seen = g->used > 0;

    c->keyed = true;
    g->used = ++c->clock;
    if (!seen)
        return;
    c->graph = g;
    c->cu.noting = true;
    c->cu.noted = 0;
    c->cu.replaying = g->exec != NULL;
    c->version++; /* copies of weights are made in every graph, also after an evaluation made them
                   */
    if (g->exec)
        return;
    c->capturing = true;
    cuda_check(c, cudaStreamBeginCapture(c->cu.stream, cudaStreamCaptureModeThreadLocal),
               "beginning a graph");
}

static void capture(cuda_ctx *c, cuda_graph *g)
{
    cudaGraph_t graph = NULL;

    c->capturing = false;
    cuda_check(c, cudaStreamEndCapture(c->cu.stream, &graph),
               "capturing a step as a graph (gpu.graph = false does without)");
    if (!graph)
        return;
    cuda_check(c, cudaGraphInstantiate(&g->exec, graph, 0), "making a graph");
    cudaGraphDestroy(graph);
    g->noted = c->cu.noted;
}

void cuda_graph_end(cuda_ctx *c)
{
    cuda_graph *g = c->graph;

    if (!g)
        return;
    c->graph = NULL;
    c->cu.noting = c->cu.replaying = false;
    if (c->capturing)
        capture(c, g);
    if (g->exec && g->noted == c->cu.noted) {
        cuda_check(c, cudaGraphLaunch(g->exec, c->cu.stream), "launching a graph");
        c->base.graphs++;
    } else {
        cuda_keep(c, mb_fail(MB_EIO, "cuda: a step could not be launched as a graph: it asks for "
                                     "other work than the one that was captured; gpu.graph = "
                                     "false does without"));
    }
}

void cuda_graphs_drop(cuda_ctx *c)
{
    for (int i = 0; i < CUDA_GRAPHS; i++)
        if (c->graphs[i].exec) {
            cudaGraphExecDestroy(c->graphs[i].exec);
            c->graphs[i].exec = NULL;
        }
}

void cuda_graphs_forget(cuda_ctx *c)
{
    cuda_graphs_drop(c);
    memset(c->graphs, 0, sizeof c->graphs);
}
