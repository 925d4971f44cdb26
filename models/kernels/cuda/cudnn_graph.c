#include "models/kernels/cuda/cudnn_graph.h"

#include "base/file.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library ---------------------------------------------------------------------------- */

mb_err mb_cudnn_api_open(mb_cudnn_api *out)
{
    static const char *const names[] = { "libcudnn.so.9", NULL };
    /* cuDNN opens its own by name, and that its parts, also where only a Python environment has
       them */
    static const char *const compilers[][2] = { { "libnvrtc-builtins.so.13*", NULL },
                                                { "libnvrtc.so.13", NULL },
                                                { "libnvrtc-builtins.so.12*", NULL },
                                                { "libnvrtc.so.12", NULL } };
    const mb_symbol symbols[] = { { "cudnnCreate", &out->create },
                                  { "cudnnDestroy", &out->destroy },
                                  { "cudnnSetStream", &out->set_stream },
                                  { "cudnnGetVersion", &out->version },
                                  { "cudnnGetLastErrorString", &out->last_error },
                                  { "cudnnBackendCreateDescriptor", &out->make },
                                  { "cudnnBackendDestroyDescriptor", &out->drop },
                                  { "cudnnBackendSetAttribute", &out->set },
                                  { "cudnnBackendGetAttribute", &out->get },
                                  { "cudnnBackendFinalize", &out->finalize },
                                  { "cudnnBackendExecute", &out->execute },
                                  { 0 } };
    mb_library nvrtc;
    mb_err err;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof compilers / sizeof *compilers; i++)
        (void)mb_library_open(compilers[i], &nvrtc); /* stays open; cuDNN says when it lacks one */
    MB_TRY(mb_library_open(names, &out->library));
    err = mb_library_symbols(&out->library, symbols);
    if (err)
        mb_cudnn_api_close(out);
    return err;
}

void mb_cudnn_api_close(mb_cudnn_api *api)
{
    mb_library_close(&api->library);
    memset(api, 0, sizeof *api);
}

mb_err mb_cudnn_failed(const mb_cudnn_api *api, const char *what, cudnnStatus_t status)
{
    char said[512] = "";
    char *end;

    api->last_error(said, sizeof said);
    if ((end = strchr(said, '\n')))
        *end = '\0';
    return mb_fail(MB_EIO, "cuDNN %zu: %s: status %d%s%s", api->version(), what, (int)status,
                   *said ? ", " : "", said);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static void check(mb_graph *g, const char *what, cudnnStatus_t status)
{
    if (!g->err && status != CUDNN_STATUS_SUCCESS)
        g->err = mb_cudnn_failed(g->api, what, status);
}

static cudnnBackendDescriptor_t begin(mb_graph *g, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (g->err)
        return NULL;
    assert(g->n_owned < MB_GRAPH_OWNED);
    check(g, "a descriptor", g->api->make(type, &d));
    if (d)
        g->owned[g->n_owned++] = d;
    return d;
}

static void set(mb_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t n, const void *value)
{
    char what[48];

    snprintf(what, sizeof what, "attribute %d", (int)name);
    if (!g->err)
        check(g, what, g->api->set(d, name, type, n, value));
}

static void set_desc(mb_graph *g, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendDescriptor_t value)
{
    set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void end(mb_graph *g, const char *what, cudnnBackendDescriptor_t d)
{
    if (!g->err)
        check(g, what, g->api->finalize(d));
}

void mb_graph_open(mb_graph *g, const mb_cudnn_api *api)
{
    *g = (mb_graph){ .api = api, .next_uid = 100 };
}

void mb_graph_close(mb_graph *g)
{
    while (g->n_owned > 0)
        g->api->drop(g->owned[--g->n_owned]);
}

/* ---- tensors -------------------------------------------------------------------------------- */

mb_extent mb_extent_packed(int64_t batch, int64_t heads, int64_t rows, int64_t columns)
{
    return (mb_extent){ { batch, heads, rows, columns },
                        { heads * rows * columns, rows * columns, columns, 1 } };
}

mb_extent mb_extent_transposed(mb_extent e)
{
    return (mb_extent){ { e.dim[0], e.dim[1], e.dim[3], e.dim[2] },
                        { e.stride[0], e.stride[1], e.stride[3], e.stride[2] } };
}

static mb_gtensor add_tensor(mb_graph *g, int64_t uid, cudnnDataType_t type, mb_extent e,
                             bool between, bool scalar)
{
    mb_gtensor t = begin(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t alignment = scalar ? sizeof(float) : 16;

    set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, e.dim);
    set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, e.stride);
    set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &between);
    set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &scalar);
    end(g, "a tensor", t);
    return t;
}

mb_gtensor mb_graph_memory(mb_graph *g, int64_t uid, cudnnDataType_t type, mb_extent e)
{
    return add_tensor(g, uid, type, e, false, false);
}

mb_gtensor mb_graph_scalar(mb_graph *g, int64_t uid)
{
    return add_tensor(g, uid, CUDNN_DATA_FLOAT, mb_extent_packed(1, 1, 1, 1), false, true);
}

mb_gtensor mb_graph_between(mb_graph *g, cudnnDataType_t type, mb_extent e)
{
    return add_tensor(g, g->next_uid++, type, e, true, false);
}

/* ---- operations ----------------------------------------------------------------------------- */

static void add_operation(mb_graph *g, const char *what, cudnnBackendDescriptor_t op)
{
    end(g, what, op);
    assert(g->n_operations < MB_GRAPH_OPERATIONS);
    g->operations[g->n_operations++] = op;
}

void mb_graph_matmul(mb_graph *g, mb_gtensor a, mb_gtensor b, mb_gtensor c)
{
    cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t how = begin(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR), op;

    set(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    end(g, "a product", how);
    op = begin(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_desc(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_desc(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_desc(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    set_desc(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    add_operation(g, "a product", op);
}

/* AXIS < 0, B and MASK NULL: this operation has none. */
static void add_pointwise(mb_graph *g, cudnnPointwiseMode_t mode, cudnnDataType_t precision,
                          int64_t axis, mb_gtensor x, mb_gtensor b, mb_gtensor mask, mb_gtensor y)
{
    cudnnBackendDescriptor_t how = begin(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), op;

    set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    if (axis >= 0)
        set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    end(g, "an element-wise operation", how);
    op = begin(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    if (mask)
        set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, mask);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add_operation(g, "an element-wise operation", op);
}

void mb_graph_pointwise(mb_graph *g, cudnnPointwiseMode_t mode, mb_gtensor x, mb_gtensor b,
                        mb_gtensor y)
{
    bool compares = mode >= CUDNN_POINTWISE_CMP_EQ && mode <= CUDNN_POINTWISE_LOGICAL_NOT;

    add_pointwise(g, mode, compares ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT, -1, x, b, NULL, y);
}

void mb_graph_index(mb_graph *g, int64_t axis, mb_gtensor x, mb_gtensor y)
{
    add_pointwise(g, CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32, axis, x, NULL, NULL, y);
}

void mb_graph_select(mb_graph *g, mb_gtensor x, mb_gtensor other, mb_gtensor mask, mb_gtensor y)
{
    add_pointwise(g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, -1, x, other, mask, y);
}

void mb_graph_reduce(mb_graph *g, cudnnReduceTensorOp_t how, mb_gtensor x, mb_gtensor y)
{
    cudnnDataType_t precision = CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t sum = begin(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR), op;

    set(g, sum, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &how);
    set(g, sum, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &precision);
    end(g, "a reduction", sum);
    op = begin(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_desc(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, sum);
    set_desc(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_desc(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    add_operation(g, "a reduction", op);
}

void mb_graph_reshape(mb_graph *g, mb_gtensor x, mb_gtensor y)
{
    cudnnBackendDescriptor_t op = begin(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);

    set_desc(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_desc(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    add_operation(g, "a reshape", op);
}

/* ---- plans ---------------------------------------------------------------------------------- */

/* Before cuDNN 9.8 a graph must have a handle, and knows its device by that. */
static cudnnBackendDescriptor_t make_graph(mb_graph *g, cudnnHandle_t handle)
{
    cudnnBackendDescriptor_t d = begin(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);

    if (handle)
        set(g, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    set(g, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_operations,
        g->operations);
    end(g, "the graph", d);
    return d;
}

/* The heuristics' answer for GRAPH. */
static cudnnBackendDescriptor_t ask(mb_graph *g, cudnnBackendDescriptor_t graph,
                                    cudnnBackendDescriptor_t device, int64_t *n)
{
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    cudnnBackendDescriptor_t d = begin(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);

    *n = 0;
    set_desc(g, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(g, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (device)
        set_desc(g, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
    end(g, "the heuristics", d);
    if (!g->err)
        check(g, "the heuristics' answer",
              g->api->get(d, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, n,
                          NULL));
    return d;
}

/* Whether the engine of CONFIG says of itself that equal inputs may give other bits. */
static bool varies(const mb_cudnn_api *api, cudnnBackendDescriptor_t config)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0, i;
    bool result = false;

    api->make(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine);
    api->get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine);
    n = 0;
    api->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
             CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, note);
    for (i = 0; i < n; i++)
        result |= note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    api->drop(engine);
    return result;
}

/* The plan of one configuration; NULL when the device does not take it. */
static cudnnBackendDescriptor_t make_plan(const mb_cudnn_api *api, cudnnHandle_t handle,
                                          cudnnBackendDescriptor_t device,
                                          cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t plan = NULL;
    cudnnStatus_t of;

    if (api->make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan))
        return NULL;
    of = handle ? api->set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle)
                : api->set(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (of ||
        api->set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &config) ||
        api->finalize(plan)) {
        api->drop(plan);
        return NULL;
    }
    return plan;
}

static mb_err measure_plan(mb_plan *p)
{
    int64_t bytes = 0, n;
    cudnnStatus_t status = p->api->get(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                       CUDNN_TYPE_INT64, 1, &n, &bytes);

    p->workspace = (size_t)bytes;
    return status ? mb_cudnn_failed(p->api, "the size of the workspace", status) : MB_OK;
}

/* The configurations of ANSWER, room for *n; *n becomes how many there are, which may be fewer than
   it said at first. Caller drops and frees. */
static cudnnBackendDescriptor_t *offers(mb_graph *g, cudnnBackendDescriptor_t answer, int64_t *n)
{
    cudnnBackendDescriptor_t *config = mb_zalloc((size_t)*n + 1, sizeof *config);
    int64_t room = *n, i;

    for (i = 0; !g->err && i < room; i++)
        check(g, "a configuration", g->api->make(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]));
    if (!g->err)
        check(g, "the configurations",
              g->api->get(answer, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                          room, n, config));
    for (i = *n; i < room && config[i]; i++)
        g->api->drop(config[i]);
    if (!g->err && *n == 0)
        g->err = mb_fail(MB_EMISSING, "cuDNN %zu has no engine for this graph", g->api->version());
    return config;
}

static mb_err choose(mb_graph *g, cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                     cudnnBackendDescriptor_t const *config, bool deterministic, mb_plan *out)
{
    int i;

    for (i = 0; i < out->offered && !out->plan; i++)
        if (!deterministic || !varies(g->api, config[i]))
            out->plan = make_plan(g->api, handle, device, config[i]);
    if (!out->plan)
        return mb_cudnn_failed(g->api, "no configuration is accepted", CUDNN_STATUS_NOT_SUPPORTED);
    return measure_plan(out);
}

mb_err mb_graph_plan(mb_graph *g, cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                     bool deterministic, mb_plan *out)
{
    cudnnBackendDescriptor_t answer = NULL, *config = NULL;
    int64_t n = 0;

    *out = (mb_plan){ .api = g->api };
    if (!g->err)
        answer = ask(g, make_graph(g, handle), device, &n);
    config = offers(g, answer, &n);
    out->offered = (int)n;
    if (!g->err)
        g->err = choose(g, handle, device, config, deterministic, out);
    while (n > 0)
        g->api->drop(config[--n]);
    free(config);
    if (g->err)
        mb_plan_close(out);
    return g->err;
}

void mb_plan_close(mb_plan *p)
{
    if (p->plan)
        p->api->drop(p->plan);
    *p = (mb_plan){ 0 };
}

mb_err mb_plan_run(const mb_plan *p, cudnnHandle_t handle, const int64_t *uids,
                   void *const *pointers, int64_t n, void *workspace)
{
    const mb_cudnn_api *api = p->api;
    cudnnBackendDescriptor_t pack = NULL;
    cudnnStatus_t status = api->make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);

    if (!status)
        status = api->set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids);
    if (!status)
        status =
            api->set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, pointers);
    if (!status)
        status =
            api->set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!status)
        status = api->finalize(pack);
    if (!status)
        status = api->execute(handle, p->plan, pack);
    if (pack)
        api->drop(pack);
    return status ? mb_cudnn_failed(api, "running a plan", status) : MB_OK;
}
