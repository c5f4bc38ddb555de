/* SPDX-License-Identifier: MIT */
#include "bandwidth.h"
#include "command.h"
#include "kernel_times.h"
#include "local_model.h"
#include "progress.h"

#include "base/clock.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char options[] =
    "  -p N            prompt tokens per run (512; 0: no prompt test)\n"
    "  -n N            generated tokens per run (128; 0: no generation test)\n"
    "  -d N            tokens already in the context (0)\n"
    "  -r N            runs of each (5)\n"
    "  --device NAME   auto, cpu, cpu:THREADS, vulkan, vulkan:N (auto)\n"
    "  --kv-type TYPE  how keys and values are kept: f16, q8_0 (f16)\n"
    "  --kernels       also what the kernels of a step take: of generation, else of the prompt\n"
    "  --json          machine-readable\n";

enum { RUNS_MOST = 1000 };

struct arguments {
    const char *path, *device;
    uint32_t n_prompt, n_generate, n_depth, n_runs, kv_type;
    bool is_json, has_kernels;
};

/* One line of the table. */
struct series {
    char name[40];
    uint32_t n_tokens;
    double seconds[RUNS_MOST];
    uint32_t n;
    double mean, median, deviation, bandwidth_share; /* tokens/s; share 0: does not apply */
    double cpu_seconds;     /* of the thread that submits, in the timed runs */
    double cpu_us_per_step; /* generation: a step is a token; else 0 */
};

static int parse_number(const char *text, uint32_t most, uint32_t *ret)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || end == text || *end || value > most || *text == '-')
        return -EINVAL;
    *ret = (uint32_t)value;
    return 0;
}

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option longs[] = {
        {"device", required_argument, NULL, 'D'}, {"kv-type", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},         {"kernels", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int c, r = 0;

    while (r == 0 && (c = getopt_long(argc, argv, "p:n:d:r:h", longs, NULL)) != -1) {
        switch (c) {
        case 'p':
            r = parse_number(optarg, 1 << 20, &a->n_prompt);
            break;
        case 'n':
            r = parse_number(optarg, 1 << 20, &a->n_generate);
            break;
        case 'd':
            r = parse_number(optarg, 1 << 20, &a->n_depth);
            break;
        case 'r':
            r = parse_number(optarg, RUNS_MOST, &a->n_runs);
            break;
        case 'D':
            a->device = optarg;
            break;
        case 't':
            r = parse_kv_type(optarg, &a->kv_type);
            break;
        case 'j':
            a->is_json = true;
            break;
        case 'k':
            a->has_kernels = true;
            break;
        default:
            r = -EINVAL;
        }
    }
    if (argc - optind != 1 || (a->is_json && a->has_kernels) || !a->n_runs ||
        (!a->n_prompt && !a->n_generate))
        r = -EINVAL;
    a->path = argv[optind];
    return r;
}

/* Tokens that touch different embedding rows, the same in every run. */
static uint32_t nth_token(uint32_t i, uint32_t n_vocab)
{
    return (uint32_t)((i * 2654435761u) % n_vocab);
}

/* Ends the steps under way, also when e says that something failed: what they read is freed next.
 */
static int finish_all(struct runner *r, int e, struct error *err)
{
    while (runner_steps_under_way(r)) {
        int last = runner_finish(r, e < 0 ? NULL : err);

        e = e < 0 ? e : last;
    }
    return e;
}

/* Starts a step; the one before may still run, no more. */
static int start(struct runner *r, const struct run_item *it, struct error *err)
{
    int e = runner_steps_under_way(r) == RUNNER_STEPS ? runner_finish(r, err) : 0;

    return e < 0 ? e : runner_submit(r, it, 1, err);
}

static int feed(struct local_model *m, struct session *s, uint32_t n_tokens, struct error *err)
{
    uint32_t n_vocab = m->lm->model->dims.dim[DIM_VOCAB];
    struct sample_result result;
    uint32_t *tokens = calloc(n_tokens, sizeof(*tokens));
    int r = tokens ? 0 : error_set(err, ENOMEM, "out of memory");

    for (uint32_t done = 0; r == 0 && done < n_tokens;) {
        struct step_sample greedy = {.top_p = 1, .repeat_penalty = 1};
        struct run_item it = {.session = s, .tokens = tokens + done};
        uint32_t batch = runner_batch_tokens(m->runner);
        it.n_tokens = n_tokens - done < batch ? n_tokens - done : batch;
        for (uint32_t i = 0; i < it.n_tokens; i++)
            tokens[done + i] = nth_token(done + i, n_vocab);
        done += it.n_tokens;
        if (done == n_tokens) { /* only the end of a prompt is sampled */
            it.sample = &greedy;
            it.ret_result = &result;
        }
        r = start(m->runner, &it, err);
    }
    r = finish_all(m->runner, r, err);
    free(tokens);
    return r;
}

static int generate(struct local_model *m, struct session *s, uint32_t n_tokens, struct error *err)
{
    static const struct step_sample greedy = {.top_p = 1, .repeat_penalty = 1};
    struct sample_result results[RUNNER_STEPS];
    uint32_t first = 1;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < n_tokens; i++) {
        struct run_item it = {.session = s,
                              .tokens = i ? NULL : &first,
                              .n_tokens = 1,
                              .sample = &greedy,
                              .ret_result = &results[i % RUNNER_STEPS]};
        r = start(m->runner, &it, err);
    }
    return finish_all(m->runner, r, err);
}

/* One warm-up and n_runs timed runs of prompt or generation. */
static int measure(struct local_model *m, const struct arguments *a, bool is_prompt,
                   struct series *out, struct error *err)
{
    for (uint32_t i = 0; i <= a->n_runs; i++) {
        struct session *s;
        uint64_t start_ns, start_cpu_ns;
        int r = runner_session_create(m->runner, &s, err);
        if (r == 0 && a->n_depth)
            r = feed(m, s, a->n_depth, err);
        start_ns = clock_now_ns();
        start_cpu_ns = clock_thread_cpu_ns();
        if (r == 0)
            r = is_prompt ? feed(m, s, out->n_tokens, err) : generate(m, s, out->n_tokens, err);
        if (r == 0 && i > 0)
            out->cpu_seconds += (double)(clock_thread_cpu_ns() - start_cpu_ns) * 1e-9;
        if (r == 0 && i > 0)
            out->seconds[out->n++] = (double)(clock_now_ns() - start_ns) * 1e-9;
        session_destroy(s);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Of one step more: of generation, or where none was asked for of the prompt. */
static int time_kernels(struct local_model *m, const struct arguments *a, struct error *err)
{
    const struct dispatch *calls = NULL;
    const struct step_header *header = NULL;
    struct session *s;
    size_t n;
    int r = runner_session_create(m->runner, &s, err);

    if (r < 0)
        return r;
    if (a->n_depth)
        r = feed(m, s, a->n_depth, err);
    if (r == 0)
        r = a->n_generate ? generate(m, s, 2, err) : feed(m, s, a->n_prompt, err);
    if (r == 0) {
        n = runner_last_calls(m->runner, &calls, &header);
        r = kernel_times_print(m->device, calls, n, header, err);
    }
    session_destroy(s); /* which the calls read */
    return r;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void summarise(struct series *s)
{
    double sum = 0, squares = 0, speed[RUNS_MOST];

    for (uint32_t i = 0; i < s->n; i++) {
        speed[i] = s->n_tokens / s->seconds[i];
        sum += speed[i];
    }
    s->mean = sum / s->n;
    for (uint32_t i = 0; i < s->n; i++)
        squares += (speed[i] - s->mean) * (speed[i] - s->mean);
    s->deviation = s->n > 1 ? sqrt(squares / (s->n - 1)) : 0;
    qsort(speed, s->n, sizeof(*speed), by_value);
    s->median = s->n % 2 ? speed[s->n / 2] : (speed[s->n / 2 - 1] + speed[s->n / 2]) / 2;
}

/* Bytes of weights one generated token reads: all but the embedding rows not looked up. */
static uint64_t bytes_per_token(const struct model *m)
{
    uint64_t bytes = 0;
    const struct gguf_tensor *embd = model_weight(m, WEIGHT_TOKEN_EMBD, MODEL_GLOBAL)->tensor;
    bool is_tied = model_weight(m, WEIGHT_OUTPUT, MODEL_GLOBAL)->tensor == embd;

    for (size_t i = 0; i < gguf_n_tensors(m->gguf); i++)
        if (gguf_tensor(m->gguf, i) != embd || is_tied)
            bytes += gguf_tensor(m->gguf, i)->bytes;
    return bytes;
}

static void print_table(const struct arguments *a, const struct local_model *m,
                        const struct series *list, size_t n, double bandwidth)
{
    struct device_info info;
    char parameters[FORMAT_BYTES_SIZE], reads[FORMAT_BYTES_SIZE];

    device_get_info(m->device, &info);
    printf("model   %s (%s, %s, %s parameters)\n", a->path, m->lm->model->arch->name,
           model_type_name(m->lm->model), format_count(parameters, m->lm->model->parameters));
    printf("device  %s\n", info.name);
    if (bandwidth > 0)
        printf("memory  %.1f GB/s, reading %s over and over, as much as a token reads of the "
               "weights\n",
               bandwidth * 1e-9, format_bytes(reads, bytes_per_token(m->lm->model)));
    printf("weights %s\n\n", m->lm->pool_text);
    printf("| test | tokens/s (median) | mean | spread (sd) | share of memory bandwidth | CPU per "
           "step |\n");
    printf("|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        printf("| %s | %.2f | %.2f | %.2f | ", list[i].name, list[i].median, list[i].mean,
               list[i].deviation);
        if (list[i].bandwidth_share > 0)
            printf("%.0f %% | ", 100 * list[i].bandwidth_share);
        else
            printf("- | ");
        if (list[i].cpu_us_per_step > 0)
            printf("%.0f us |\n", list[i].cpu_us_per_step);
        else
            printf("- |\n");
    }
}

static void print_json(const struct arguments *a, const struct local_model *m,
                       const struct series *list, size_t n, double bandwidth)
{
    struct device_info info;
    json_t *tests = json_array(), *root;

    device_get_info(m->device, &info);
    for (size_t i = 0; i < n; i++) {
        json_t *runs = json_array();
        for (uint32_t k = 0; k < list[i].n; k++)
            json_array_append_new(runs, json_real(list[i].n_tokens / list[i].seconds[k]));
        json_array_append_new(tests, json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:o}", "test",
                                               list[i].name, "tokens", (int)list[i].n_tokens,
                                               "median", list[i].median, "mean", list[i].mean,
                                               "deviation", list[i].deviation, "bandwidth_share",
                                               list[i].bandwidth_share, "cpu_us_per_step",
                                               list[i].cpu_us_per_step, "tokens_per_second", runs));
    }
    root = json_pack("{s:s, s:s, s:s, s:I, s:s, s:f, s:s, s:o}", "model", a->path, "architecture",
                     m->lm->model->arch->name, "type", model_type_name(m->lm->model), "parameters",
                     (json_int_t)m->lm->model->parameters, "device", info.name,
                     "memory_bytes_per_second", bandwidth, "weights", m->lm->pool_text, "tests",
                     tests);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static int bench(const struct arguments *a, struct local_model *m, struct error *err)
{
    struct series *list = calloc(2, sizeof(*list));
    struct device_info info;
    double bandwidth;
    size_t n = 0;
    int r = list ? 0 : error_set(err, ENOMEM, "out of memory");

    if (r == 0 && a->n_prompt) {
        list[n].n_tokens = a->n_prompt;
        snprintf(list[n].name, sizeof(list[n].name), "prompt %u", a->n_prompt);
        r = measure(m, a, true, &list[n++], err);
    }
    if (r == 0 && a->n_generate) {
        list[n].n_tokens = a->n_generate;
        snprintf(list[n].name, sizeof(list[n].name), "generate %u", a->n_generate);
        r = measure(m, a, false, &list[n++], err);
    }
    if (r == 0) {
        device_get_info(m->device, &info);
        /* measured by CPU threads, so it says nothing of a GPU */
        bandwidth =
            info.n_threads ? bandwidth_measure(info.n_threads, bytes_per_token(m->lm->model)) : 0;
        for (size_t i = 0; i < n; i++)
            summarise(&list[i]);
        if (a->n_generate)
            list[n - 1].cpu_us_per_step =
                list[n - 1].cpu_seconds * 1e6 / ((double)list[n - 1].n * a->n_generate);
        if (a->n_generate && bandwidth > 0)
            list[n - 1].bandwidth_share =
                list[n - 1].median * (double)bytes_per_token(m->lm->model) / bandwidth;
        if (a->is_json)
            print_json(a, m, list, n, bandwidth);
        else
            print_table(a, m, list, n, bandwidth);
    }
    if (r == 0 && a->has_kernels && !a->is_json)
        r = time_kernels(m, a, err);
    free(list);
    return r;
}

static int run(int argc, char **argv)
{
    struct arguments a = {.n_prompt = 512, .n_generate = 128, .n_runs = 5};
    struct local_model m;
    struct error err = {0};
    uint32_t longest;
    int r;

    if (parse(argc, argv, &a) < 0)
        return command_usage(&command_bench, options);
    longest = a.n_depth + (a.n_prompt > a.n_generate ? a.n_prompt : a.n_generate);
    r = local_model_open(&m,
                         &(struct local_model_config){.path = a.path,
                                                      .device = a.device,
                                                      .kv_type = a.kv_type,
                                                      .context_tokens = longest + KV_BLOCK_TOKENS},
                         &err);
    if (r < 0) {
        int code = local_model_exit_code(&m, r);

        local_model_close(&m);
        return command_fail(code, "%s", err.text);
    }
    r = bench(&a, &m, &err);
    local_model_close(&m);
    return r < 0 ? command_fail(EXIT_FAILED, "%s", err.text) : EXIT_OK;
}

const struct command command_bench = {"bench", "FILE [OPTIONS]",
                                      "measure prompt and generation speed", run};
