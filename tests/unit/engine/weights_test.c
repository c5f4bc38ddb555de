/* SPDX-License-Identifier: MIT */
/* What of a file has to lie whole in a window that a device maps. */
#include "harness.h"
#include "model_fixture.h"

#include "engine/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROWS = 262144, LAYERS = 42, PER_LAYER = 256, BUILT_LAYERS = 4 };

/* Gemma 4 E4B's own: the header alone, as the table has 5.6 GB. */
static struct model *long_table(struct gguf **ret_g, uint64_t *ret_file_bytes)
{
    struct builder_shape shape = model_fixture_shape("gemma4", GGUF_TYPE_F16);
    struct gguf_builder b;
    struct model *m = NULL;
    struct error err = {0};
    size_t len;
    void *header;

    shape.layers = BUILT_LAYERS;
    shape.vocab = ROWS;
    shape.embd = LAYERS * PER_LAYER / BUILT_LAYERS; /* which is what a layer is told */
    gguf_builder_transformer(&b, &shape);
    header = gguf_builder_header(&b, &len, ret_file_bytes);
    if (gguf_parse(header, len, *ret_file_bytes, ret_g, &err) < 0 ||
        model_create(*ret_g, &m, &err) < 0)
        fail_msg("%s", err.text);
    free(header);
    return m;
}

static size_t check(const struct model *m, uint64_t file_bytes, const char *name, int want)
{
    struct pool_extent *list;
    uint64_t end = 0;
    size_t n, n_of_it = 0;
    int r = 0;

    assert_int_equal(weights_extents(m, 0, &list, &n), 0);
    for (size_t i = 0; i < n; i++) {
        int e = pool_window_check(file_bytes, &list[i], NULL);

        r = e < 0 ? e : r;
        if (strcmp(list[i].name, name))
            continue;
        if (n_of_it++) /* one behind the other */
            assert_int_equal(list[i].offset, end);
        end = list[i].offset + list[i].bytes;
    }
    free(list);
    assert_int_equal(r, want);
    return n_of_it;
}

static void a_table_longer_than_any_window_is_cut_into_pieces_that_are_not(void **state)
{
    static const char name[] = "per_layer_token_embd.weight";
    uint64_t file_bytes;
    struct gguf *g;
    struct model *m = long_table(&g, &file_bytes);
    uint64_t bytes = gguf_find_tensor(g, name)->bytes;

    assert_true(bytes > POOL_WINDOW_TENSOR_LIMIT_BYTES);
    assert_int_equal(weights_check(m, 0, NULL), -EFBIG);
    assert_int_equal(check(m, file_bytes, name, -EFBIG), 1);
    assert_int_equal(model_cut(m, WEIGHTS_PIECE_BYTES, NULL), 0);
    assert_int_equal(check(m, file_bytes, name, 0), (bytes - 1) / WEIGHTS_PIECE_BYTES + 1);
    assert_int_equal(weights_check(m, 0, NULL), 0);
    model_destroy(m);
    gguf_close(g);
}

/* The stream's table is the output's matrix, too. */
static void what_is_multiplied_by_stays_whole(void **state)
{
    uint64_t file_bytes;
    struct gguf *g;
    struct model *m = long_table(&g, &file_bytes);

    assert_int_equal(model_cut(m, 1 << 30, NULL), 0);
    assert_true(gguf_find_tensor(g, "token_embd.weight")->bytes > 1 << 30);
    assert_int_equal(check(m, file_bytes, "token_embd.weight", 0), 1);
    assert_true(check(m, file_bytes, "per_layer_token_embd.weight", 0) > 5);
    model_destroy(m);
    gguf_close(g);
}

static void count_report(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    ++*(unsigned *)user;
}

static void a_tensor_no_device_can_map_is_refused_before_it_is_read(void **state)
{
    struct builder_shape shape = model_fixture_shape("llama", GGUF_TYPE_F32);
    struct pool_config pools = {.kind = POOL_KIND_ANON, .numa_node = -1};
    char path[] = "/tmp/hearth-huge-XXXXXX";
    struct loaded_model lm = {.path = path};
    struct pool_file_id id = {0};
    unsigned n_reports = 0;
    struct loaded_model_progress progress = {.report = count_report, .user = &n_reports};
    struct error err = {0};
    struct gguf_builder b;
    size_t len;
    void *header;
    int fd = mkstemp(path);

    shape.embd = 4096;
    shape.vocab = 300000;
    gguf_builder_transformer(&b, &shape);
    header = gguf_builder_header(&b, &len, &lm.file_bytes);
    assert_int_equal(write(fd, header, len), len);
    free(header);
    if (ftruncate(fd, (off_t)lm.file_bytes) < 0) /* the rest is a hole */
        SKIP("/tmp takes no file of 8 GB");
    close(fd);
    if (gguf_open(path, &lm.gguf, &err) < 0 || model_create(lm.gguf, &lm.model, &err) < 0)
        fail_msg("%s", err.text);
    lm.file_ids = &id;
    assert_int_equal(loaded_model_fill(&lm, &pools, &progress, &err), -EFBIG);
    assert_non_null(strstr(err.text, "tensor output.weight has 4915200000 bytes"));
    assert_int_equal(n_reports, 0);
    assert_null(lm.pools[0]);
    free(lm.pools);
    free(lm.file_keys);
    model_destroy(lm.model);
    gguf_close(lm.gguf);
    unlink(path);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_table_longer_than_any_window_is_cut_into_pieces_that_are_not),
    cmocka_unit_test(what_is_multiplied_by_stays_whole),
    cmocka_unit_test(a_tensor_no_device_can_map_is_refused_before_it_is_read),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
