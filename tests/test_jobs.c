#include "harness/bench.h"
#include "harness/metadata.h"
#include "harness/ops.h"
#include "harness/samples.h"
#include "harness/saved.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static mb_work work;
static const mb_bench bench = { .backend = "ref", .precision = MB_FP32, .threads = 1 };

static void remove_folder(void)
{
    char *command = mb_format("rm -rf '%s'", folder);

    cr_assert(eq(int, system(command), 0));
    free(command);
}

/* A workload of three architectures and two seeds on made-up data. */
static void open_work(void)
{
    mb_data_request request;
    mb_arch_settings *a;

    strcpy(folder, "/tmp/motbench-jobs-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    setenv("MOTBENCH_DATA", folder, 1);
    work.settings = mb_settings_new();
    strcpy(work.settings->name, "w");
    cr_assert(eq(int, mb_settings_arch(work.settings, "here", "dense", &a), MB_OK));
    cr_assert(eq(int, mb_settings_arch(work.settings, "here", "switch", &a), MB_OK));
    cr_assert(eq(int, mb_settings_arch(work.settings, "here", "mot", &a), MB_OK));
    cr_assert(eq(int, mb_settings_seeds(work.settings, "here", "7,8"), MB_OK));
    cr_assert(eq(int, mb_settings_check(work.settings), MB_OK));
    request = mb_settings_data(work.settings);
    cr_assert(eq(int, mb_data_prepare(&request, NULL, NULL), MB_OK), "%s", mb_message());
    cr_assert(eq(int, mb_data_open(&request, &work.data), MB_OK), "%s", mb_message());
}

static void close_work(void)
{
    mb_data_close(work.data);
    mb_settings_free(work.settings);
    remove_folder();
}

TestSuite(jobs, .init = open_work, .fini = close_work);

/* ---- the list ------------------------------------------------------------------------------ */

Test(jobs, for_each_seed_all_architectures)
{
    static const char *const arch[] = { "dense", "switch", "mot", "dense", "switch", "mot" };
    static const int64_t seed[] = { 7, 7, 7, 8, 8, 8 };
    mb_job *jobs;
    size_t i;

    cr_assert(eq(sz, mb_jobs_make(&bench, &work, 1, 1, 1, &jobs), 6));
    for (i = 0; i < 6; i++) {
        cr_expect(eq(str, (char *)jobs[i].arch->arch->name, (char *)arch[i]));
        cr_expect(eq(i64, jobs[i].seed, seed[i]));
    }
    free(jobs);
}

Test(jobs, shards_deal_out_every_job_once)
{
    mb_job *all, *some;
    size_t n = mb_jobs_make(&bench, &work, 1, 1, 1, &all), dealt = 0, i;
    int shard;

    for (shard = 1; shard <= 4; shard++) {
        size_t part = mb_jobs_make(&bench, &work, 1, shard, 4, &some);

        for (i = 0; i < part; i++, dealt++)
            cr_expect(eq(str, some[i].hash, all[i * 4 + (size_t)shard - 1].hash));
        free(some);
    }
    cr_assert(eq(sz, dealt, n));
    free(all);
}

/* ---- side by side -------------------------------------------------------------------------- */

static mb_bench plan(const char *backend, int jobs, int threads)
{
    mb_bench b = { .backend = backend, .jobs_asked = jobs, .threads_asked = threads };

    cr_assert(eq(int, mb_jobs_plan(&b, &work, 1), MB_OK), "%s", mb_message());
    return b;
}

/* Six jobs; how many cores there are is OpenMP's to say, and the test's to set. */
Test(jobs, jobs_share_out_the_cores_unless_told_otherwise)
{
    static const struct {
        int cores, jobs, threads, at_once, each;
    } cases[] = {
        { 2, 0, 0, 2, 1 }, { 1, 0, 0, 1, 1 }, { 8, 0, 0, 6, 1 },  { 16, 0, 0, 6, 2 },
        { 4, 2, 0, 2, 2 }, { 4, 1, 0, 1, 4 }, { 2, 3, 0, 3, 1 },  { 2, 0, 1, 1, 1 },
        { 2, 0, 2, 1, 2 }, { 4, 3, 2, 3, 2 }, { 4, 99, 0, 6, 1 },
    };
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        mb_bench b;

        omp_set_num_threads(cases[i].cores);
        b = plan("cpu", cases[i].jobs, cases[i].threads);
        cr_expect(eq(int, b.at_once, cases[i].at_once), "case %zu", i);
        cr_expect(eq(int, b.threads, cases[i].each), "case %zu", i);
    }
}

Test(jobs, one_job_takes_all_cores)
{
    mb_bench b;

    cr_assert(eq(int, mb_settings_select(work.settings, "-a", "mot"), MB_OK));
    cr_assert(eq(int, mb_settings_seeds(work.settings, "-s", "7"), MB_OK));
    omp_set_num_threads(2);
    b = plan("cpu", 0, 0);
    cr_expect(eq(int, b.at_once, 1));
    cr_expect(eq(int, b.threads, 2));
}

Test(jobs, a_backend_of_one_thread_runs_one_job_at_a_time_unless_asked)
{
    cr_expect(eq(int, plan("ref", 0, 0).at_once, 1));
    cr_expect(eq(int, plan("ref", 2, 0).at_once, 2));
}

/* ---- what is the same work ----------------------------------------------------------------- */

/* The hash of the first job after a change. */
static void hash_with(const mb_bench *b, const char *change, char out[MB_HASH_SIZE])
{
    mb_job *jobs;

    if (change)
        cr_assert(eq(int, mb_settings_override(work.settings, change), MB_OK), "%s", mb_message());
    mb_jobs_make(b, &work, 1, 1, 1, &jobs);
    memcpy(out, jobs[0].hash, MB_HASH_SIZE);
    free(jobs);
}

Test(jobs, equal_work_has_an_equal_hash_and_any_other_another)
{
    static const char *const decisive[] = { "workload.steps=999",    "optimizer.lr=0.5",
                                            "model.norm=pre",        "workload.eval_every=7",
                                            "model.recompute=layer", "seeds.list=9" };
    static const char *const incidental[] = { "workload.checkpoint_every=3",
                                              "workload.fashion_dir=/elsewhere" };
    mb_bench other = bench;
    char before[MB_HASH_SIZE], after[MB_HASH_SIZE];
    size_t i;

    hash_with(&bench, NULL, before);
    for (i = 0; i < sizeof incidental / sizeof *incidental; i++) {
        hash_with(&bench, incidental[i], after);
        cr_expect(eq(str, before, after), "%s", incidental[i]);
    }
    for (i = 0; i < sizeof decisive / sizeof *decisive; i++) {
        hash_with(&bench, decisive[i], after);
        cr_expect(ne(str, before, after), "%s", decisive[i]);
        memcpy(before, after, sizeof before);
    }
    other.threads = 2;
    hash_with(&other, NULL, after);
    cr_expect(ne(str, before, after), "threads");
    other = bench;
    other.precision = MB_BF16;
    hash_with(&other, NULL, after);
    cr_expect(ne(str, before, after), "precision");
}

Test(jobs, more_seeds_leave_the_old_jobs_what_they_were)
{
    char before[MB_HASH_SIZE], after[MB_HASH_SIZE];

    hash_with(&bench, NULL, before);
    hash_with(&bench, "seeds.list=7,8,9", after);
    cr_assert(eq(str, before, after));
}

Test(jobs, settings_of_one_architecture_do_not_touch_the_others)
{
    char before[MB_HASH_SIZE], after[MB_HASH_SIZE];

    hash_with(&bench, NULL, before);
    hash_with(&bench, "arch switch.experts=8", after);
    cr_assert(eq(str, before, after)); /* of the first job: dense */
}

/* ---- what a run leaves --------------------------------------------------------------------- */

Test(jobs, the_folder_of_checkpoints_lies_beside_the_database)
{
    char *with = mb_saved_folder("results/motbench.db"), *without = mb_saved_folder("x/data");

    cr_assert(eq(str, with, "results/motbench.checkpoints"));
    cr_assert(eq(str, without, "x/data.checkpoints"));
    free(with);
    free(without);
}

Test(jobs, a_run_is_locked_once_and_its_leftovers_go)
{
    mb_saved first, second;
    char *leftover = mb_format("%s/u.state.safetensors.77.tmp", folder);
    bool busy;
    FILE *f = fopen(leftover, "w");

    fclose(f);
    cr_assert(eq(int, mb_saved_open(folder, "u", &first, &busy), MB_OK));
    cr_assert_not(busy);
    cr_assert_not(mb_exists(leftover));
    cr_assert(eq(int, mb_saved_open(folder, "u", &second, &busy), MB_OK));
    cr_assert(busy);
    mb_saved_close(&second);
    mb_saved_close(&first);
    cr_assert(eq(int, mb_saved_open(folder, "u", &second, &busy), MB_OK));
    cr_assert_not(busy);
    mb_saved_close(&second);
    free(leftover);
}

/* ---- operations ---------------------------------------------------------------------------- */

static void add_gemm(mb_ledger *l, int layer, uint64_t flops)
{
    mb_ledger_add(l, "gemm", MB_ATTENTION, layer, MB_FWD, 0,
                  (mb_cost){ .model = flops, .useful = 2, .executed = 3, .vector = 4, .bytes = 5 },
                  0);
}

Test(jobs, operations_add_up_over_ledgers_and_over_a_saved_state)
{
    mb_ledger *l = mb_ledger_new();
    mb_ops first = { 0 }, resumed = { 0 };
    char *text;

    add_gemm(l, 0, 10);
    add_gemm(l, 1, 100);
    mb_ops_add(&first, l, false);
    text = mb_ops_text(&first);
    cr_assert(eq(int, mb_ops_read(&resumed, text), MB_OK), "%s", mb_message());
    mb_ledger_clear(l);
    add_gemm(l, 1, 1000);
    mb_ops_add(&resumed, l, false);
    cr_assert(eq(sz, resumed.n, 2));
    cr_assert(eq(u64, resumed.rows[0].flops_model, 10));
    cr_assert(eq(u64, resumed.rows[1].flops_model, 1100));
    cr_assert(eq(i64, resumed.rows[1].calls, 2));
    cr_assert(eq(u64, resumed.rows[1].bytes, 10));
    cr_assert(eq(str, (char *)resumed.rows[1].op, "gemm"));
    mb_ops_close(&first);
    mb_ops_close(&resumed);
    mb_ledger_free(l);
    free(text);
}

Test(jobs, saved_operations_that_are_none_are_refused)
{
    static const char *const broken[] = { "gemm\n", "gemm attention fwd 0 0 1 2 3 4 5",
                                          "gemm attention fwd 0 0 1 2 3 4 5 6 7\n", "\n" };
    size_t i;

    for (i = 0; i < sizeof broken / sizeof *broken; i++) {
        mb_ops o = { 0 };

        cr_expect(eq(int, mb_ops_read(&o, broken[i]), MB_ECORRUPT), "%s", broken[i]);
        mb_ops_close(&o);
    }
}

/* ---- samples and metadata ------------------------------------------------------------------ */

Test(jobs, losses_become_rows_per_modality_and_over_all)
{
    mb_losses l = { .sum = { 6, 2 }, .n = { 3, 1 }, .asked = 8, .dropped = 2, .grad_norm = 5 };
    mb_samples s;
    size_t n;

    mb_samples_open(&s, 0);
    mb_samples_losses(&s, 4, "train", &l);
    cr_assert(eq(sz, s.n_values, 7)); /* text, image, all; grad_norm; dropped, balance, router_z */
    cr_assert(eq(dbl, s.values[0].value, 2.0));
    cr_assert(eq(str, (char *)s.values[2].modality, "all"));
    cr_assert(eq(dbl, s.values[2].value, 2.0));
    cr_assert(eq(i64, s.values[2].n, 4));
    cr_assert(eq(dbl, s.values[4].value, 0.25));
    for (n = 0; n < 100; n++) /* more than there was room for */
        mb_samples_losses(&s, 5, "val", &l);
    cr_assert(eq(sz, s.n_values, 7 + 100 * 6)); /* no gradient in an evaluation */
    mb_samples_close(&s);
}

static const char *value_of(char **metadata, const char *key)
{
    size_t i;

    for (i = 0; metadata[i]; i += 2)
        if (!strcmp(metadata[i], key))
            return metadata[i + 1];
    return "";
}

/* A checkpoint of an untrained model of JOB at PATH. */
static void save_model(const mb_job *job, const char *path, char **metadata)
{
    mb_model_config config =
        mb_settings_model(work.settings, job->arch, mb_settings_sizes(work.data));
    mb_ctx *c;
    mb_model *m;

    cr_assert(eq(int, mb_ctx_open("ref", MB_FP32, 1, &c), MB_OK));
    cr_assert(eq(int, mb_model_open(c, job->arch->arch, &config, 7, &m), MB_OK));
    cr_assert(eq(int, mb_checkpoint_save(path, m, (const char *const *)metadata), MB_OK));
    mb_model_close(m);
    mb_ctx_close(c);
}

Test(jobs, metadata_rebuilds_the_model_and_what_its_ids_mean)
{
    mb_job *jobs;
    char **metadata, *path = mb_format("%s/x.safetensors", folder);
    mb_ctx *c;
    mb_model *m;
    mb_model_config config;
    mb_described d;
    int id;

    mb_jobs_make(&bench, &work, 1, 1, 1, &jobs);
    metadata = mb_metadata_new(&jobs[1], MB_BF16, "some-uuid", NULL);
    cr_assert(eq(str, (char *)value_of(metadata, "arch.name"), "switch"));
    cr_assert(eq(str, (char *)value_of(metadata, "run.seed"), "7"));
    save_model(&jobs[1], path, metadata);
    cr_assert(eq(int, mb_metadata_read(path, &d), MB_OK), "%s", mb_message());
    cr_assert(eq(int, d.precision, MB_BF16));
    cr_assert(eq(int, d.sizes.vocab, mb_data_vocab(work.data)));
    cr_assert(eq(int, d.bos, mb_data_bos(work.data)));
    for (id = 0; id < d.sizes.vocab; id++)
        cr_expect(eq(int, d.modality[id], mb_data_modality(work.data, id, MB_TEXT)), "%d", id);
    config = mb_settings_model(d.settings, &d.settings->arch[0], d.sizes);
    cr_assert(eq(int, mb_ctx_open("ref", MB_FP32, 1, &c), MB_OK));
    cr_assert(eq(int, mb_model_open(c, d.settings->arch[0].arch, &config, 0, &m), MB_OK));
    cr_assert(eq(int, mb_checkpoint_load(path, m), MB_OK), "%s", mb_message());
    mb_model_close(m);
    mb_ctx_close(c);
    mb_described_free(&d);
    mb_metadata_free(metadata);
    free(jobs);
    free(path);
}

Test(jobs, a_setting_younger_than_a_checkpoint_has_its_default)
{
    char **metadata, **pair, *path = mb_format("%s/old.safetensors", folder);
    mb_model_config config;
    mb_job *jobs;
    mb_described d;

    cr_assert(eq(int, mb_settings_set(work.settings, "test", false, "model", "z_loss", "0.5"), 0));
    mb_jobs_make(&bench, &work, 1, 1, 1, &jobs);
    metadata = mb_metadata_new(&jobs[0], MB_FP32, "some-uuid", NULL);
    for (pair = metadata; strcmp(pair[0], "model.z_loss"); pair += 2)
        ;
    pair[0][0] = 'M'; /* nobody's key */
    save_model(&jobs[0], path, metadata);
    cr_assert(eq(int, mb_metadata_read(path, &d), MB_OK), "%s", mb_message());
    config = mb_settings_model(d.settings, &d.settings->arch[0], d.sizes);
    cr_expect(eq(flt, config.z_loss, 0));
    mb_described_free(&d);
    mb_metadata_free(metadata);
    free(jobs);
    free(path);
}
