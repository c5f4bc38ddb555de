/* SPDX-License-Identifier: MIT */
/* Windows of models as large as a machine of 128 GB can hold: their number and what they cost. */
#include "harness.h"

#include "pool/pool_ops.h"
#include "pool/pool_window.h"

#include <stdlib.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum { TENSORS_MOST = 4096, TENSOR_ALIGN = 32 };

/* A file's tensors one after the other. */
struct file {
    struct pool_extent extents[TENSORS_MOST];
    size_t n;
    uint64_t bytes;
};

static void add(struct file *f, uint64_t bytes)
{
    assert_true(f->n < TENSORS_MOST);
    f->extents[f->n++] = (struct pool_extent){"tensor", f->bytes, bytes, 0};
    f->bytes = (f->bytes + bytes + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
}

static uint64_t q8_0(uint64_t n_rows, uint64_t n_cols)
{
    return n_rows * n_cols / 32 * 34;
}

static struct file *new_file(uint64_t header_bytes)
{
    struct file *f = calloc(1, sizeof(*f));

    f->bytes = header_bytes;
    return f;
}

/* Windows that hold every tensor whole; returns their number. */
static size_t check_windows(struct file *f, uint64_t *ret_bytes)
{
    struct pool pool = {.bytes = f->bytes}; /* all that is looked at */
    struct pool_window *w;
    struct error err = {0};
    size_t n;

    if (pool_windows(&pool, f->extents, f->n, &w, &n, &err) < 0)
        fail_msg("%s", err.text);
    *ret_bytes = 0;
    for (size_t i = 0; i < n; i++)
        *ret_bytes += w[i].bytes;
    for (size_t i = 0; i < f->n; i++) {
        const struct pool_extent *e = &f->extents[i];
        const struct pool_window *in = &w[e->window];

        assert_true(in->offset <= e->offset && e->offset + e->bytes <= in->offset + in->bytes);
        assert_true(in->bytes <= POOL_WINDOW_LIMIT_BYTES ||
                    in->bytes <= e->bytes + 2 * POOL_LARGE_PAGE_BYTES);
    }
    free(w);
    return n;
}

/* What the GPU's page tables and the lists of a dma-buf are of, at worst: an entry of 8 and one of
 * 32 bytes for each large page. */
static void assert_cheap(const struct file *f, size_t n, uint64_t bytes)
{
    uint64_t entries = bytes / POOL_LARGE_PAGE_BYTES;

    assert_true(bytes <= f->bytes + (n + 1) * 2 * POOL_LARGE_PAGE_BYTES);
    assert_true(n <= f->bytes / GIB + 1);
    assert_true(entries * 8 * 10000 <= bytes);
    print_message("# %.1f GiB: %zu windows, %llu KiB of GPU page tables, %llu KiB of lists\n",
                  (double)f->bytes / (double)GIB, n, (unsigned long long)(entries * 8 >> 10),
                  (unsigned long long)(entries * 32 >> 10));
    assert_int_equal(entries * 8 >> 20, 0);
}

/* Seventy billion parameters in Q8_0: 80 layers of nine tensors. */
static void a_dense_model_of_seventy_gib_has_few_windows(void **state)
{
    struct file *f = new_file(8 * MIB);
    uint64_t bytes;
    size_t n;

    add(f, q8_0(128256, 8192));
    for (int layer = 0; layer < 80; layer++) {
        add(f, q8_0(8192, 8192));
        add(f, q8_0(1024, 8192));
        add(f, q8_0(1024, 8192));
        add(f, q8_0(8192, 8192));
        for (int i = 0; i < 3; i++)
            add(f, q8_0(28672, 8192));
        add(f, 8192 * 4);
        add(f, 8192 * 4);
    }
    add(f, q8_0(128256, 8192));
    n = check_windows(f, &bytes);
    assert_in_range(n, 35, 50);
    assert_cheap(f, n, bytes);
    free(f);
}

/* 120 billion parameters of experts: tensors so large that a window holds one or two. */
static void a_model_of_experts_as_large_as_the_machine_has_few_windows(void **state)
{
    struct file *f = new_file(16 * MIB);
    uint64_t bytes;
    size_t n;

    for (int layer = 0; layer < 36; layer++) {
        for (int i = 0; i < 3; i++)
            add(f, GIB + 40 * MIB + 96); /* all experts of one projection */
        for (int i = 0; i < 10; i++)
            add(f, 3 * MIB + 160);
    }
    n = check_windows(f, &bytes);
    assert_true(f->bytes > 108 * GIB);
    assert_in_range(n, 54, 112);
    assert_cheap(f, n, bytes);
    free(f);
}

static void thousands_of_small_tensors_share_windows(void **state)
{
    struct file *f = new_file(MIB);
    uint64_t bytes;
    size_t n;

    for (int i = 0; i < TENSORS_MOST; i++)
        add(f, 2 * MIB + 4096);
    n = check_windows(f, &bytes);
    assert_in_range(n, 4, 6);
    assert_cheap(f, n, bytes);
    free(f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_dense_model_of_seventy_gib_has_few_windows),
    cmocka_unit_test(a_model_of_experts_as_large_as_the_machine_has_few_windows),
    cmocka_unit_test(thousands_of_small_tensors_share_windows),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
