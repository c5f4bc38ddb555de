/* SPDX-License-Identifier: MIT */
/* A small model of every architecture's table: it runs, and takes the memory that is told. */
#include "harness.h"
#include "model_fixture.h"
#include "table_file.h"

#include "engine/footprint.h"
#include "engine/kv_cache.h"
#include "engine/kv_spill.h"
#include "engine/loaded_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS = 45, SEQS = 3, CACHE_TOKENS = 1 << 16, LARGE_PAGE = 2 << 20 };

/* What the loader makes of a file, without a tokenizer. */
static struct loaded_model *load(const struct gguf_builder *b)
{
    const struct pool_config pools = {.kind = POOL_KIND_ANON, .numa_node = -1};
    struct loaded_model *lm = calloc(1, sizeof(*lm));
    struct error err = {0};
    size_t len;
    void *file = gguf_builder_write(b, &len);

    assert_non_null(lm);
    atomic_init(&lm->ref_count, 1);
    lm->path = strdup("a table's");
    lm->pools = calloc(1, sizeof(*lm->pools));
    lm->file_ids = calloc(1, sizeof(*lm->file_ids));
    lm->file_keys = calloc(1, sizeof(*lm->file_keys));
    lm->file_bytes = len;
    if (gguf_parse(file, len, len, &lm->gguf, &err) < 0 ||
        model_create(lm->gguf, &lm->model, &err) < 0 ||
        pool_create(&pools, len, "test", &lm->pools[0], &err) < 0)
        fail_msg("%s", err.text);
    memcpy(pool_data(lm->pools[0]), file, len);
    free(file);
    return lm;
}

struct table_bench {
    struct device *dev;
    struct loaded_model *lm;
    struct runner_config cfg;
    struct runner *runner;
};

/* disk: for what it has of the cache that nobody uses; NULL: it shares nothing. */
static void bench_init(struct table_bench *b, const struct arch *arch, struct kv_disk *disk)
{
    struct gguf_builder file;
    struct error err = {0};
    const struct model *m;

    table_file_build(&file, arch);
    *b = (struct table_bench){.lm = load(&file)};
    m = b->lm->model;
    b->cfg = (struct runner_config){
        .context_tokens = m->dims.dim[DIM_CONTEXT] < 128 ? m->dims.dim[DIM_CONTEXT] : 128,
        .batch_tokens = 64,
        .max_seqs = SEQS,
        .cache = kv_size_of(m, KV_F16, CACHE_TOKENS, SEQS, 64),
        .prefix_tokens = disk ? CACHE_TOKENS : 0,
        .disk = disk,
        .pools = {.kind = POOL_KIND_ANON, .numa_node = -1},
    };
    if (device_create("cpu:2", &b->dev, &err) < 0 ||
        runner_create(b->lm, b->dev, &b->cfg, &b->runner, &err) < 0)
        fail_msg("%s: %s", arch->name, err.text);
}

static void bench_finish(struct table_bench *b)
{
    runner_destroy(b->runner);
    loaded_model_unref(b->lm);
    device_destroy(b->dev);
}

static uint64_t state_bytes(const struct state_slots *s)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; s && i < s->n_layers; i++)
        bytes += s->buffers[i] ? s->buffers[i]->bytes : 0;
    return bytes;
}

/* Of the cache what `hearth info` and admission reckon with, and of each token what info tells, up
 * to the pages that each layer and the directory end in. */
static void takes_what_is_told(struct table_bench *b)
{
    const struct model *m = b->lm->model;
    const struct kv_cache *kv = runner_kv(b->runner);
    uint64_t cache = pool_mapped_bytes(kv->pool), states = state_bytes(kv->states);
    uint64_t told = kv_size_bytes(m, &kv->size);
    uint64_t told_states = SEQS * model_state_bytes(m);

    assert_int_equal(runner_least_cache_bytes(m, &b->cfg), runner_cache_bytes(b->runner));
    if (runner_cache_bytes(b->runner) != cache + states)
        fail_msg("%s: %llu bytes are told of a cache of %llu and states of %llu", m->arch->name,
                 (unsigned long long)runner_cache_bytes(b->runner), (unsigned long long)cache,
                 (unsigned long long)states);
    if (kv->size.window_tokens == kv->size.tokens)
        assert_int_equal(told, CACHE_TOKENS * model_kv_bytes_per_token(m, KV_F16));
    if (cache < told || cache > told + (m->dims.dim[DIM_LAYERS] + 2ull) * LARGE_PAGE)
        fail_msg("%s: a cache of %llu bytes where its tokens take %llu", m->arch->name,
                 (unsigned long long)cache, (unsigned long long)told);
    if (states < told_states || states > told_states + m->dims.dim[DIM_LAYERS] * LARGE_PAGE)
        fail_msg("%s: states of %llu bytes where sequences have %llu", m->arch->name,
                 (unsigned long long)states, (unsigned long long)told_states);
}

static void memory_is_what_was_told_of_every_table(void **state)
{
    const struct arch *arch;
    size_t n = 0;

    for (; (arch = table_file_arch(n)); n++) {
        struct table_bench b;

        bench_init(&b, arch, NULL);
        takes_what_is_told(&b);
        bench_finish(&b);
    }
    assert_true(n > 30);
}

static void memory_of_what_is_on_its_way_to_disk_is_told_of_every_table(void **state)
{
    char path[] = "/tmp/hearth-tables-XXXXXX";
    struct kv_disk_config config = {.path = path, .most_bytes = 1 << 30};
    const struct arch *arch;
    struct kv_disk *disk;
    size_t n_spills = 0;

    assert_non_null(mkdtemp(path));
    assert_int_equal(kv_disk_create(&config, &disk, NULL), 0);
    for (size_t n = 0; (arch = table_file_arch(n)); n++) {
        struct runner_config without;
        struct table_bench b;

        bench_init(&b, arch, disk);
        without = b.cfg;
        without.disk = NULL;
        assert_int_equal(runner_least_cache_bytes(b.lm->model, &b.cfg),
                         runner_cache_bytes(b.runner));
        assert_int_equal(runner_cache_bytes(b.runner) -
                             runner_least_cache_bytes(b.lm->model, &without),
                         kv_spill_bytes(runner_spill(b.runner)));
        n_spills += runner_spill(b.runner) != NULL;
        bench_finish(&b);
    }
    assert_true(n_spills > 20);
    kv_disk_destroy(disk);
    rmdir(path);
}

static void assert_numbers(const struct arch *arch, const float *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            fail_msg("%s: value %zu of %zu is no number", arch->name, i, n);
        sum += fabs((double)values[i]);
    }
    if (sum == 0)
        fail_msg("%s: all values are 0", arch->name);
}

/* What follows a token is of no account to it. */
static void runs(struct table_bench *b)
{
    const struct model *m = b->lm->model;
    uint32_t n_vocab = m->dims.dim[DIM_VOCAB], tokens[TOKENS];
    uint32_t most = b->cfg.context_tokens < TOKENS ? b->cfg.context_tokens : TOKENS;
    float *all = calloc((size_t)TOKENS * n_vocab, sizeof(float));
    float *part = calloc((size_t)TOKENS * n_vocab, sizeof(float));
    double error = 0, sum = 0;
    struct error err = {0};
    struct session *s;

    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (i * 31 + 5) % n_vocab;
    for (uint32_t n = most; n; n = n == most ? most / 2 : 0) {
        assert_int_equal(runner_session_create(b->runner, &s, NULL), 0);
        if (runner_logits(b->runner, s, tokens, n, n == most ? all : part, &err) < 0)
            fail_msg("%s: %s", m->arch->name, err.text);
        session_destroy(s);
    }
    assert_numbers(m->arch, all, (size_t)most * n_vocab);
    for (size_t i = 0; i < (size_t)most / 2 * n_vocab; i++) {
        error += pow((double)all[i] - (double)part[i], 2);
        sum += pow((double)all[i], 2);
    }
    if (!(error <= 1e-9 * sum))
        fail_msg("%s: nmse %g between a text and its beginning", m->arch->name, error / sum);
    free(all);
    free(part);
}

static void makes_a_vector(struct table_bench *b)
{
    const struct model *m = b->lm->model;
    float *vector = calloc(m->dims.dim[DIM_EMBD], sizeof(float));
    uint32_t tokens[TOKENS];
    struct session *s;

    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (i * 31 + 5) % m->dims.dim[DIM_VOCAB];
    assert_int_equal(runner_session_create(b->runner, &s, NULL), 0);
    assert_int_equal(runner_vector(b->runner, s, tokens, TOKENS, vector, NULL), 0);
    assert_numbers(m->arch, vector, m->dims.dim[DIM_EMBD]);
    session_destroy(s);
    free(vector);
}

static void every_table_runs(void **state)
{
    const struct arch *arch;

    for (size_t i = 0; (arch = table_file_arch(i)); i++) {
        struct table_bench b;

        bench_init(&b, arch, NULL);
        if (model_makes_logits(b.lm->model))
            runs(&b);
        else
            makes_a_vector(&b);
        bench_finish(&b);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_is_what_was_told_of_every_table),
    cmocka_unit_test(memory_of_what_is_on_its_way_to_disk_is_told_of_every_table),
    cmocka_unit_test(every_table_runs),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
