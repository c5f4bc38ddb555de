/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "few.h"

#include "base/clock.h"
#include "kernels/ref.h"
#include "kernels/step.h"

#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t check_take(struct check *c, uint64_t bytes)
{
    uint64_t at = c->used;

    if (!at)
        c->n_arrays = 0;
    c->used += (bytes + 63) / 64 * 64;
    if (c->used > CHECK_BYTES || c->n_arrays == CHECK_ARRAYS_MOST) {
        fprintf(stderr, "a case needs more than %u bytes or %d arrays\n", CHECK_BYTES,
                CHECK_ARRAYS_MOST);
        abort();
    }
    c->arrays[c->n_arrays].offset = at;
    c->arrays[c->n_arrays].bytes = bytes;
    c->n_arrays += bytes > 0;
    return at;
}

void *check_at(struct check *c, uint64_t offset)
{
    return (uint8_t *)c->buf->host + offset;
}

uint32_t check_random(struct check *c)
{
    c->random = c->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(c->random >> 32);
}

float check_normal(struct check *c)
{
    float sum = 0;

    for (int i = 0; i < 12; i++)
        sum += (float)(check_random(c) >> 8) * 0x1p-24f;
    return sum - 6;
}

void check_fill(struct check *c, uint64_t offset, size_t n, enum check_input kind)
{
    float *x = check_at(c, offset);

    for (size_t i = 0; i < n; i++) {
        float v = check_normal(c);

        x[i] = kind == INPUT_TINY    ? v * 1e-38f /* denormals among them */
               : kind == INPUT_LARGE ? (check_random(c) % 16 ? v : v * 1e4f)
               : kind == INPUT_ZERO  ? 0
                                     : v;
    }
}

/* Offsets of the f16 scales inside a block, -1 at the end, by block size and type. */
static void fill_scales(struct check *c, enum gguf_type type, uint8_t *block, float scale)
{
    static const struct {
        enum gguf_type type;
        int d, m; /* m: the second one, or -1 */
    } places[] = {
        {GGUF_TYPE_Q4_0, 0, -1},   {GGUF_TYPE_Q4_1, 0, 2},     {GGUF_TYPE_Q5_0, 0, -1},
        {GGUF_TYPE_Q5_1, 0, 2},    {GGUF_TYPE_Q8_0, 0, -1},    {GGUF_TYPE_Q2_K, 80, 82},
        {GGUF_TYPE_Q3_K, 108, -1}, {GGUF_TYPE_Q4_K, 0, 2},     {GGUF_TYPE_Q5_K, 0, 2},
        {GGUF_TYPE_Q6_K, 208, -1}, {GGUF_TYPE_IQ4_NL, 0, -1},  {GGUF_TYPE_IQ4_XS, 0, -1},
        {GGUF_TYPE_IQ1_S, 0, -1},  {GGUF_TYPE_IQ2_XXS, 0, -1}, {GGUF_TYPE_IQ2_XS, 0, -1},
        {GGUF_TYPE_IQ2_S, 0, -1},  {GGUF_TYPE_IQ3_XXS, 0, -1}, {GGUF_TYPE_IQ3_S, 0, -1},
        {GGUF_TYPE_TQ1_0, 52, -1}, {GGUF_TYPE_TQ2_0, 64, -1},
    };
    uint16_t h;

    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        if (places[i].type != type)
            continue;
        h = ref_f32_to_f16(scale * (0.5f + 0.1f * check_normal(c)));
        memcpy(block + places[i].d, &h, 2);
        h = ref_f32_to_f16(scale * 0.4f);
        if (places[i].m >= 0)
            memcpy(block + places[i].m, &h, 2);
    }
    if (type == GGUF_TYPE_IQ1_M) { /* a nibble in each of four words */
        h = ref_f32_to_f16(scale * (0.5f + 0.1f * check_normal(c)));
        for (int i = 0; i < 4; i++)
            block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (h >> (4 * i) & 15) << 4);
    }
    if (type == GGUF_TYPE_MXFP4)
        block[0] = (uint8_t)(118 + check_random(c) % 6);
}

void check_fill_weights(struct check *c, enum gguf_type type, uint64_t offset, uint64_t n_blocks,
                        enum check_input kind)
{
    const struct gguf_type_info *info = gguf_type_get_info(type);
    uint8_t *p = check_at(c, offset);
    float scale = kind == INPUT_TINY ? 1e-6f : kind == INPUT_LARGE ? 50 : 0.01f;

    for (uint64_t b = 0; b < n_blocks; b++, p += info->block_bytes) {
        float v = check_normal(c) * scale;
        uint16_t h = ref_f32_to_f16(v);
        uint32_t bits;

        if (type == GGUF_TYPE_F32) {
            memcpy(p, &v, 4);
        } else if (type == GGUF_TYPE_F16) {
            memcpy(p, &h, 2);
        } else if (type == GGUF_TYPE_BF16) {
            memcpy(&bits, &v, 4);
            h = (uint16_t)(bits >> 16);
            memcpy(p, &h, 2);
        } else {
            for (int i = 0; i < info->block_bytes; i++)
                p[i] = kind == INPUT_ZERO ? 0 : (uint8_t)check_random(c);
            /* the extremes of every field now and then */
            if (check_random(c) % 8 == 0)
                memset(p, check_random(c) % 2 ? 0xff : 0x80, info->block_bytes);
            fill_scales(c, type, p, scale);
        }
    }
}

uint64_t check_step(struct check *c, uint32_t n_tokens, uint32_t n_outputs)
{
    uint64_t at = check_take(c, sizeof(struct step_header));

    *(struct step_header *)check_at(c, at) =
        (struct step_header){.n_tokens = n_tokens, .n_outputs = n_outputs, .n_seqs = 1};
    return at;
}

uint64_t check_tokens(struct check *c, uint32_t n, uint32_t first_position, uint32_t n_ids)
{
    uint64_t at = check_take(c, n * sizeof(struct step_token));
    struct step_token *t = check_at(c, at);

    for (uint32_t i = 0; i < n; i++)
        t[i] =
            (struct step_token){.token = check_random(c) % n_ids, .position = first_position + i};
    return at;
}

/* Addresses inside a dispatch's arguments that lie in the buffer become pointers into `memory`:
 * every 8-byte word of the arguments that looks like one. The words of pointers are 8-byte aligned
 * in all the argument structs. */
static void translate(const struct check *c, void *words, size_t bytes, const void *memory)
{
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t v;

        memcpy(&v, (char *)words + i, 8);
        if (v >= c->buf->address && v < c->buf->address + c->buf->bytes) {
            v = v - c->buf->address + (uint64_t)(uintptr_t)memory;
            memcpy((char *)words + i, &v, 8);
        }
    }
}

bool check_finish(struct check *c, int r, struct program *p, struct error *err)
{
    uint64_t ticket;

    if (r == 0)
        r = device_submit(c->dev, p, &ticket, err);
    if (r == 0)
        r = device_wait(c->dev, ticket, UINT64_MAX, err);
    program_destroy(p);
    if (r < 0)
        printf("# %s\n", err->text);
    return r == 0;
}

void check_prepare(struct check *c, const struct dispatch *d)
{
    struct dispatch host = *d;

    translate(c, &host.args, sizeof(host.args), c->buf->host);
    ref_run(&host);
}

/* Every struct of arguments begins with the address of the step. */
static int make_program(struct check *c, const struct dispatch *list, size_t n,
                        struct program **ret_program, struct error *err)
{
    int r = program_create(c->dev, list, n, ret_program, err);

    if (r == 0)
        program_show_step(*ret_program, check_at(c, list->args.add.step - c->buf->address));
    return r;
}

static bool run_on_device(struct check *c, const struct dispatch *list, size_t n)
{
    struct program *p = NULL;
    struct error err = {0};
    int r = make_program(c, list, n, &p, &err);

    return check_finish(c, r, p, &err);
}

bool check_is_due(struct check *c, const struct dispatch *list, size_t n)
{
    bool has_time = !c->few_until_ns || clock_now_ns() < c->few_until_ns;

    c->was_left_out = c->is_few && !few_is_due(c->dev, list, n, has_time);
    return !c->was_left_out;
}

bool check_run_list(struct check *c, const struct dispatch *list, size_t n)
{
    memcpy(c->copy, c->buf->host, c->used);
    if (!check_is_due(c, list, n))
        return true;                         /* what follows compares like with like */
    translate(c, c->copy, c->used, c->copy); /* block tables, histories */
    for (size_t i = 0; i < n; i++) {
        struct dispatch copy = list[i];

        translate(c, &copy.args, sizeof(copy.args), c->copy);
        ref_run(&copy);
    }
    return c->is_few ? check_run_apart(c, list, n) : run_on_device(c, list, n);
}

bool check_run(struct check *c, const struct dispatch *d)
{
    return check_run_list(c, d, 1);
}

bool check_floats(struct check *c, uint64_t offset, size_t n, double absolute, double relative)
{
    const float *got = check_at(c, offset);
    const float *want = (const float *)(const void *)(c->copy + offset);

    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - want[i]);

        if (isnan(want[i]) ? isnan(got[i]) : got[i] == want[i])
            continue;
        if (!(difference <= absolute + relative * fabs((double)want[i]))) {
            printf("# value %zu is %.9g, should be %.9g\n", i, (double)got[i], (double)want[i]);
            return false;
        }
    }
    return true;
}

/* Of a term. */
static double loss_of(const struct check *c, enum gguf_type type)
{
    bool is_float = type == GGUF_TYPE_F16 || type == GGUF_TYPE_BF16;
    struct device_info info;

    device_get_info(c->dev, &info);
    return is_float && strstr(info.name, "AMX") ? 0x1p-15 /* gemm_float_amx.c */ : 1e-6;
}

bool check_sums(struct check *c, uint64_t offset, const double *magnitudes, size_t n,
                enum gguf_type type)
{
    double relative = loss_of(c, type);
    const float *got = check_at(c, offset);
    const float *want = (const float *)(const void *)(c->copy + offset);

    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)got[i] - want[i]);

        if (!(difference <= magnitudes[i] * relative + 1e-37)) {
            printf("# sum %zu is %.9g, should be %.9g: off by %.3g of its terms\n", i,
                   (double)got[i], (double)want[i], difference / magnitudes[i]);
            return false;
        }
    }
    return true;
}

bool check_bytes(struct check *c, uint64_t offset, size_t n)
{
    const uint8_t *got = check_at(c, offset), *want = c->copy + offset;

    for (size_t i = 0; i < n; i++) {
        if (got[i] != want[i]) {
            printf("# byte %zu is %u, should be %u\n", i, got[i], want[i]);
            return false;
        }
    }
    return true;
}

void check_bench(struct check *c, const char *name, const struct dispatch *list, size_t n,
                 double bytes, double operations)
{
    struct program *p = NULL;
    struct error err = {0};
    double best = 1e30;

    if (!c->is_bench)
        return;
    if (make_program(c, list, n, &p, &err) < 0) {
        printf("# %s: %s\n", name, err.text);
        return;
    }
    for (int i = 0; i < 30; i++) {
        uint64_t begin = clock_now_ns(), ticket;

        if (device_submit(c->dev, p, &ticket, &err) < 0 ||
            device_wait(c->dev, ticket, UINT64_MAX, &err) < 0)
            break;
        best = fmin(best, (double)(clock_now_ns() - begin));
    }
    printf("# %-44s %9.1f us %8.2f GB/s %8.2f GFLOP/s\n", name, best / 1e3, bytes / best,
           operations / best);
    program_destroy(p);
}

static unsigned run_cases(struct check *c, const struct check_case *list, const char *pattern,
                          bool is_list, unsigned *n)
{
    unsigned failed = 0;

    for (; list->name; list++) {
        bool passed;

        if (pattern && fnmatch(pattern, list->name, 0))
            continue;
        ++*n;
        if (is_list) {
            puts(list->name);
            continue;
        }
        c->used = 0;
        c->random = 20240607;
        passed = list->run(c);
        printf("%sok %u - %s\n", passed ? "" : "not ", *n, list->name);
        fflush(stdout);
        failed += !passed;
    }
    return failed;
}

static const char usage[] =
    "usage: check [-d DEVICE] [-t PATTERN] [-l] [--bench] [--few[=SECONDS]]\n"
    "Compares every kernel of the device (cpu, cpu:2, cpu::avx2, ...) with its plain C form.\n"
    "--few: a few dispatches of each pipeline of a Vulkan device, each array in a buffer of its "
    "own,\n"
    "and of no pipeline that would be new after SECONDS.\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {{"bench", no_argument, NULL, 'b'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"few", optional_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *config = "auto", *pattern = NULL;
    struct device_info info;
    struct check c = {0};
    struct error err = {0};
    unsigned n = 0, failed = 0;
    bool is_list = false;
    int opt, r;

    while ((opt = getopt_long(argc, argv, "d:t:lbo::h", options, NULL)) != -1) {
        switch (opt) {
        case 'd':
            config = optarg;
            break;
        case 't':
            pattern = optarg;
            break;
        case 'l':
            is_list = true;
            break;
        case 'o':
            c.is_few = true;
            if (optarg)
                c.few_until_ns = clock_now_ns() + strtoull(optarg, NULL, 10) * 1000000000ull;
            break;
        case 'b':
            c.is_bench = true;
            break;
        default:
            fputs(usage, opt == 'h' ? stdout : stderr);
            return opt == 'h' ? 0 : 2;
        }
    }
    r = device_create(config, &c.dev, &err);
    if (r == -ENODEV || r == -ENOTSUP) { /* this machine has none */
        printf("1..0 # SKIP %s\n", err.text);
        return 0; /* to a reader of TAP any other code is an error */
    }
    if (r < 0 || buffer_create(c.dev, CHECK_BYTES, BUFFER_HOST | BUFFER_READ, &c.buf, &err) < 0) {
        printf("Bail out! %s\n", err.text);
        device_destroy(c.dev);
        return 1;
    }
    c.copy = aligned_alloc(4096, CHECK_BYTES);
    device_get_info(c.dev, &info);
    if (!is_list)
        printf("# %s\n", info.name);
    failed += run_cases(&c, check_matmul_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_row_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_attention_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_experts_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_state_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_sample_cases, pattern, is_list, &n);
    failed += run_cases(&c, check_far_cases, pattern, is_list, &n);
    if (c.is_few)
        printf("# %zu pipelines ran, %zu were left out\n", few_n_run(), few_n_left_out());
    if (!is_list)
        printf("1..%u\n", n);
    free(c.copy);
    buffer_destroy(c.buf);
    device_destroy(c.dev);
    return failed || !n ? 1 : 0;
}
