/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "device/device.h"
#include "kernels/ref.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    struct device *dev;
    struct buffer *buf; /* 64 KiB; the step header lies at its start */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct step_header *step;

    assert_int_equal(device_create("cpu:2", &f->dev, NULL), 0);
    assert_int_equal(buffer_create(f->dev, 65536, BUFFER_HOST, &f->buf, NULL), 0);
    step = f->buf->host;
    *step = (struct step_header){.n_tokens = 2, .n_outputs = 1};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buffer_destroy(f->buf);
    device_destroy(f->dev);
    free(f);
    return 0;
}

static struct dispatch add_dispatch(const struct fixture *f)
{
    return (struct dispatch){.op = KERNEL_ADD,
                             .max_rows = 4,
                             .label = "sum",
                             .args.add = {.step = f->buf->address,
                                          .x = f->buf->address + 4096,
                                          .y = f->buf->address + 8192,
                                          .n_cols = 8}};
}

static struct dispatch matmul_dispatch(const struct fixture *f)
{
    return (struct dispatch){.op = KERNEL_MATMUL,
                             .weight_type = GGUF_TYPE_Q8_0,
                             .activation = ACT_Q8_32,
                             .max_rows = 4,
                             .label = "blk.0.ffn_up.weight",
                             .args.matmul = {.step = f->buf->address,
                                             .weight = f->buf->address + 4096,
                                             .x = f->buf->address + 8192,
                                             .out = f->buf->address + 12288,
                                             .n_rows = 8,
                                             .n_cols = 64}};
}

static void assert_refused(struct fixture *f, const struct dispatch *d, const char *sentence)
{
    struct program *p = (struct program *)f;
    struct error err = {0};

    assert_int_equal(program_create(f->dev, d, 1, &p, &err), -EINVAL);
    assert_ptr_equal(p, f);
    assert_says(err.text, sentence);
}

static void unknown_devices_and_options_are_refused(void **state)
{
    static const char *const configs[] = {"gpu",        "cpu:0",      "cpu:x",
                                          "cpu:100000", "cpu:2:sse9", "cpu:-1"};
    struct device *dev = NULL;

    for (size_t i = 0; i < sizeof(configs) / sizeof(*configs); i++) {
        struct error err = {0};

        assert_true(device_create(configs[i], &dev, &err) < 0);
        assert_true(strlen(err.text) > 10);
        assert_null(dev);
    }
}

static void threads_are_as_many_as_asked_for(void **state)
{
    struct device_info info;
    struct device *dev;

    assert_int_equal(device_create("cpu:3:plain", &dev, NULL), 0);
    device_get_info(dev, &info);
    assert_int_equal(info.n_threads, 3);
    assert_string_equal(info.name, "cpu: 3 threads, plain C");
    device_destroy(dev);
    device_destroy(NULL);
}

static void buffers_of_no_bytes_are_refused(void **state)
{
    struct fixture *f = *state;
    struct buffer *buf = NULL;
    struct error err = {0};

    assert_int_equal(buffer_create(f->dev, 0, BUFFER_HOST, &buf, &err), -EINVAL);
    assert_int_equal(buffer_create(f->dev, UINT64_MAX / 2, BUFFER_HOST, &buf, &err), -ENOMEM);
    assert_int_equal(buffer_import(f->dev,
                                   &(struct memory_import){.host = (char *)f->buf->host + 8,
                                                           .dmabuf_fd = -1,
                                                           .bytes = 4096},
                                   &buf, &err),
                     -EINVAL);
    assert_int_equal(
        buffer_import(f->dev, &(struct memory_import){.dmabuf_fd = 1, .bytes = 4096}, &buf, &err),
        -EINVAL);
    assert_null(buf);
}

static void addresses_outside_buffers_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = add_dispatch(f);

    d.args.add.x = 64;
    assert_refused(f, &d, "x at 0x40 lies in no buffer");
    d.args.add.x = f->buf->address + 65536;
    assert_refused(f, &d, "lies in no buffer");
    d.args.add.x = 0;
    assert_refused(f, &d, "lies in no buffer");
    d = add_dispatch(f);
    d.args.add.step = 0;
    assert_refused(f, &d, "step at 0x0");
}

static void extents_past_a_buffer_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = add_dispatch(f);

    d.args.add.x = f->buf->address + 65536 - 4 * 8 * 4 + 4;
    assert_refused(f, &d, "x needs 128 bytes");
    d.args.add.x -= 4;
    struct program *p;
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    program_destroy(p);
    d.args.add.n_cols = UINT32_MAX;
    assert_refused(f, &d, "needs");
    d = matmul_dispatch(f);
    d.args.matmul.n_rows = UINT32_MAX;
    assert_refused(f, &d, "blk.0.ffn_up.weight): weight needs");
    d = matmul_dispatch(f);
    d.op = KERNEL_RMS_NORM;
    d.args.rms_norm = (struct args_rms_norm){.step = f->buf->address,
                                             .x = f->buf->address,
                                             .out = f->buf->address,
                                             .n_cols = UINT32_MAX,
                                             .n_groups = UINT32_MAX,
                                             .scale = 1};
    assert_refused(f, &d, "larger than the address space");
    d.args.rms_norm.scale = 0;
    assert_refused(f, &d, "a scale of 0");
}

static void misaligned_addresses_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = add_dispatch(f);

    d.args.add.y += 2;
    assert_refused(f, &d, "not aligned to 4 bytes");
    d = matmul_dispatch(f);
    d.args.matmul.weight += 1;
    assert_refused(f, &d, "not aligned to 2 bytes");
    d.weight_type = GGUF_TYPE_Q4_1; /* of blocks of 20 bytes: read by words */
    d.args.matmul.weight += 1;
    assert_refused(f, &d, "not aligned to 4 bytes");
}

static void unknown_ops_and_types_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = matmul_dispatch(f);

    d.weight_type = GGUF_TYPE_I32;
    assert_refused(f, &d, "no kernel reads weights of type 26");
    d.weight_type = 1000;
    assert_refused(f, &d, "type 1000");
    d = matmul_dispatch(f);
    d.activation = ACT_TYPE_COUNT;
    assert_refused(f, &d, "activation type");
    d.op = KERNEL_OP_COUNT;
    assert_refused(f, &d, "no kernel has number");
    assert_int_equal(device_activation_for(f->dev, GGUF_TYPE_I32, 64, 1), -1);
    assert_int_equal(device_activation_for(f->dev, 9999, 64, 1), -1);
    assert_int_equal(device_activation_for(f->dev, GGUF_TYPE_Q8_0, 33, 1), -1);
    assert_int_equal(device_activation_for(f->dev, GGUF_TYPE_F16, 33, 1), ACT_F32);
}

static void shapes_that_make_no_sense_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = matmul_dispatch(f);
    struct program *p = NULL;

    d.args.matmul.n_cols = 48;
    assert_refused(f, &d, "no whole blocks of Q8_0");
    d.args.matmul.n_cols = 0;
    assert_refused(f, &d, "weight is empty");
    d = matmul_dispatch(f);
    d.args.matmul.rows = 2;
    assert_refused(f, &d, "rows is 2");
    d = add_dispatch(f);
    d.max_rows = 0;
    assert_refused(f, &d, "0 rows");
    d.max_rows = UINT32_MAX;
    assert_refused(f, &d, "rows; this device takes");
    assert_int_equal(program_create(f->dev, &d, 0, &p, NULL), -EINVAL);
    d = (struct dispatch){.op = KERNEL_ROPE, .max_rows = 1};
    d.args.rope = (struct args_rope){.step = f->buf->address,
                                     .tokens = f->buf->address,
                                     .x = f->buf->address,
                                     .n_heads = 1,
                                     .n_channels = 8,
                                     .n_rot = 10};
    assert_refused(f, &d, "cannot turn 10 of 8 channels");
    d = (struct dispatch){.op = KERNEL_ATTENTION, .max_rows = 1};
    d.args.attention = (struct args_attention){
        .step = f->buf->address,
        .tokens = f->buf->address,
        .seqs = f->buf->address,
        .q = f->buf->address,
        .out = f->buf->address,
        .kv = {f->buf->address, 2 * 32 * 8 * 2, 1, 8, 8, 1},
        .n_heads = 0,
    };
    assert_refused(f, &d, "0 heads");
    d.args.attention.n_heads = 1;
    assert_refused(f, &d, "positions in 0 ranges");
    d.args.attention.n_splits = ATTENTION_SPLITS_MAX + 1;
    assert_refused(f, &d, "positions in 257 ranges");
    d.args.attention.n_splits = 2;
    d.args.attention.sinks = f->buf->address;
    assert_refused(f, &d, "sinks of ranges");
    d.args.attention.sinks = 0;
    d.args.attention.out = f->buf->address + f->buf->bytes - 2 * (2 + 8) * 4 + 4;
    assert_refused(f, &d, "parts needs 80 bytes");
    d.args.attention.n_splits = 1;
    d.args.attention.kv.block_bytes -= 4;
    assert_refused(f, &d, "a cache block of");
    d.args.attention.kv.block_bytes = UINT64_MAX - 3;
    d.args.attention.kv.n_blocks = 77;
    assert_refused(f, &d, "a cache of 77 blocks");
    d = (struct dispatch){.op = KERNEL_ATTENTION_COMBINE, .max_rows = 1};
    d.args.attention_combine = (struct args_attention_combine){.step = f->buf->address,
                                                               .tokens = f->buf->address,
                                                               .parts = f->buf->address,
                                                               .out = f->buf->address,
                                                               .n_heads = 1,
                                                               .n_splits = 1};
    assert_refused(f, &d, "positions in 1 ranges");
    d.args.attention_combine.n_splits = 2;
    assert_refused(f, &d, "0 channels");
    d.args.attention_combine.n_channels_v = 8;
    d.args.attention_combine.parts = f->buf->address + f->buf->bytes - 76;
    assert_refused(f, &d, "parts needs 80 bytes");
}

static void programs_run_in_the_order_of_submission(void **state)
{
    struct fixture *f = *state;
    float *x = (float *)(void *)((char *)f->buf->host + 4096);
    float *y = (float *)(void *)((char *)f->buf->host + 8192);
    struct dispatch list[3];
    struct program *p;
    uint64_t ticket = 0;

    for (int i = 0; i < 3; i++) {
        list[i] = add_dispatch(f);
        list[i].barrier = true;
    }
    list[1].args.add.x = list[0].args.add.y; /* y += x */
    list[1].args.add.y = list[0].args.add.x;
    assert_int_equal(program_create(f->dev, list, 3, &p, NULL), 0);
    y[0] = 1;
    for (int i = 0; i < 10; i++) {
        uint64_t previous = ticket;

        assert_int_equal(device_submit(f->dev, p, &ticket, NULL), 0);
        assert_true(ticket > previous);
    }
    assert_int_equal(device_wait(f->dev, ticket, UINT64_MAX, NULL), 0);
    float want_x = 0, want_y = 1;
    for (int i = 0; i < 10; i++) {
        want_x += want_y;
        want_y += want_x;
        want_x += want_y;
    }
    assert_true(x[0] == want_x);
    assert_true(y[0] == want_y);
    assert_true(x[16] == 0); /* n_tokens is 2: row 2 is not touched */
    program_destroy(p);
}

/* Windows of a pool share the large page where one ends and the next begins. */
static void a_weight_may_begin_where_windows_overlap(void **state)
{
    struct fixture *f = *state;
    struct memory_import mem = {.dmabuf_fd = -1, .bytes = 8192};
    struct buffer *first, *second;
    struct program *p = NULL;
    struct dispatch d = matmul_dispatch(f);
    char *pages = aligned_alloc(4096, 12288);
    struct error err = {0};

    assert_non_null(pages);
    mem.host = pages;
    assert_int_equal(buffer_import(f->dev, &mem, &first, NULL), 0);
    mem.host = pages + 4096;
    assert_int_equal(buffer_import(f->dev, &mem, &second, NULL), 0);
    d.args.matmul.weight = second->address;
    d.args.matmul.n_rows = 8192 / 68; /* rows of two blocks of 34 bytes: more than one page */
    if (program_create(f->dev, &d, 1, &p, &err) < 0)
        fail_msg("%s", err.text);
    program_destroy(p);
    d.args.matmul.n_rows++;
    assert_refused(f, &d, "its buffer ends after 8192");
    buffer_destroy(first);
    buffer_destroy(second);
    free(pages);
}

enum {
    PRODUCT_ROWS = 5,
    PRODUCT_COLS = 72,
    PRODUCT_MOST = 19
}; /* tiles and what is left of them, in each direction */

/* Values that f16 and bf16 have exactly. */
static float write_weight(enum gguf_type type, void *w, int i)
{
    float value = (float)(i * 7919 % 251 - 125) / 256;
    uint32_t bits;

    memcpy(&bits, &value, 4);
    if (type == GGUF_TYPE_F32)
        ((float *)w)[i] = value;
    else
        ((uint16_t *)w)[i] = type == GGUF_TYPE_F16 ? ref_f32_to_f16(value) : (uint16_t)(bits >> 16);
    return value;
}

static void compare_rows(struct fixture *f, enum gguf_type type)
{
    enum { N_ROWS = PRODUCT_ROWS, N_COLS = PRODUCT_COLS, MOST = PRODUCT_MOST };
    struct step_header *step = f->buf->host;
    char *base = f->buf->host;
    float *x = (float *)(void *)(base + 8192), *out = (float *)(void *)(base + 32768);
    float weights[N_ROWS * N_COLS], want[MOST * N_ROWS];
    struct dispatch d = matmul_dispatch(f);
    uint64_t ticket = 0;

    d.weight_type = type;
    d.activation = ACT_F32;
    d.max_rows = 64;
    d.args.matmul.n_rows = N_ROWS;
    d.args.matmul.n_cols = N_COLS;
    d.args.matmul.out = f->buf->address + 32768;
    for (int i = 0; i < N_ROWS * N_COLS; i++)
        weights[i] = write_weight(type, base + 4096, i);
    for (int i = 0; i < MOST * N_COLS; i++)
        x[i] = (float)(i * 104729 % 997) / 997 - 0.5f;
    for (uint32_t n = 1; n <= MOST; n++) {
        struct program *p;

        step->n_tokens = n;
        assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
        assert_int_equal(device_submit(f->dev, p, &ticket, NULL), 0);
        assert_int_equal(device_wait(f->dev, ticket, UINT64_MAX, NULL), 0);
        program_destroy(p);
        if (n > 1)
            assert_memory_equal(out, want, (n - 1) * N_ROWS * sizeof(float));
        memcpy(want, out, n * N_ROWS * sizeof(float));
    }
    for (int r = 0; r < MOST; r++)
        for (int i = 0; i < N_ROWS; i++) {
            double sum = 0;

            for (int k = 0; k < N_COLS; k++)
                sum += (double)weights[i * N_COLS + k] * x[r * N_COLS + k];
            assert_float_equal(want[r * N_ROWS + i], sum, 1e-5);
        }
}

/* How a prompt is cut into steps must not show in what comes out. */
static void a_row_of_a_float_product_is_the_same_whatever_is_computed_with_it(void **state)
{
    compare_rows(*state, GGUF_TYPE_F32);
    compare_rows(*state, GGUF_TYPE_F16);
    compare_rows(*state, GGUF_TYPE_BF16);
}

static void the_cpu_of_a_configuration_is_found_where_it_is_allowed(void **state)
{
    static const struct {
        const char *config, *cpu;
    } cases[] = {
        {NULL, "cpu"},
        {"auto", "cpu"},
        {"cpu:4", "cpu:4"},
        {"vulkan,cpu", "cpu"},
        {"vulkan:1,cpu:3:avx2,vulkan", "cpu:3:avx2"},
        {"vulkan,auto", "cpu"},
        {"vulkan", NULL},
        {"vulkan:0,vulkan:1", NULL},
    };
    char got[32];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int r = device_config_cpu(cases[i].config, got, sizeof(got));

        assert_int_equal(r, cases[i].cpu ? 0 : -ENOENT);
        if (cases[i].cpu)
            assert_string_equal(got, cases[i].cpu);
    }
    assert_int_equal(device_config_cpu("vulkan,cpu:12", got, 6), -ENAMETOOLONG);
}

static void waiting_ends_when_its_time_is_up(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};

    assert_int_equal(device_wait(f->dev, 1000, 1000000, &err), -ETIME);
}

/* Many short programs with sleeping workers between them: a lost wake-up would hang. */
static void no_wake_up_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dispatch d = add_dispatch(f);
    struct program *p;
    uint64_t ticket;

    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(device_submit(f->dev, p, &ticket, NULL), 0);
        assert_int_equal(device_wait(f->dev, ticket, 20000000000u, NULL), 0);
    }
    program_destroy(p);
}

#define DEVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(unknown_devices_and_options_are_refused),
    cmocka_unit_test(threads_are_as_many_as_asked_for),
    cmocka_unit_test(the_cpu_of_a_configuration_is_found_where_it_is_allowed),
    DEVICE_TEST(buffers_of_no_bytes_are_refused),
    DEVICE_TEST(addresses_outside_buffers_are_refused),
    DEVICE_TEST(extents_past_a_buffer_are_refused),
    DEVICE_TEST(misaligned_addresses_are_refused),
    DEVICE_TEST(unknown_ops_and_types_are_refused),
    DEVICE_TEST(shapes_that_make_no_sense_are_refused),
    DEVICE_TEST(programs_run_in_the_order_of_submission),
    DEVICE_TEST(a_weight_may_begin_where_windows_overlap),
    DEVICE_TEST(a_row_of_a_float_product_is_the_same_whatever_is_computed_with_it),
    DEVICE_TEST(waiting_ends_when_its_time_is_up),
    DEVICE_TEST(no_wake_up_is_lost),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
