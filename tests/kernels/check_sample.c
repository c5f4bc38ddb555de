/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "kernels/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sampler {
    struct dispatch d;
    uint64_t samples, logits, results, history, mask, bias, drawn;
};

enum { OUTPUTS = 3, HISTORY = 50, BIASES = 5 };

#define NOT_DRAWN 0xdeadbeefu /* what lies where no token is stored */

static struct sampler make_sampler(struct check *c, uint32_t n_vocab)
{
    struct sampler s = {.d = {.op = KERNEL_SAMPLE, .max_rows = OUTPUTS}};

    c->used = 0;
    s.samples = check_take(c, OUTPUTS * sizeof(struct step_sample));
    s.logits = check_take(c, (uint64_t)OUTPUTS * n_vocab * 4);
    s.results = check_take(c, OUTPUTS * sizeof(struct sample_result));
    s.history = check_take(c, HISTORY * 4);
    s.mask = check_take(c, (n_vocab + 31) / 32 * 4);
    s.bias = check_take(c, BIASES * sizeof(struct logit_bias));
    s.drawn = check_take(c, OUTPUTS * sizeof(uint32_t));
    memset(check_at(c, s.results), 0, OUTPUTS * sizeof(struct sample_result));
    s.d.args.sample = (struct args_sample){
        .step = check_address(c, check_step(c, 1, OUTPUTS)),
        .samples = check_address(c, s.samples),
        .logits = check_address(c, s.logits),
        .results = check_address(c, s.results),
        .scratch = check_address(c, check_take(c, OUTPUTS * sample_scratch_bytes(n_vocab))),
        .n_vocab = n_vocab,
    };
    return s;
}

/* Settings that vary with the round. */
static void vary(struct check *c, const struct sampler *s, uint32_t n_vocab, uint32_t round)
{
    struct step_sample *list = check_at(c, s->samples);
    float *logits = check_at(c, s->logits);

    check_fill(c, s->logits, (size_t)OUTPUTS * n_vocab, INPUT_NORMAL);
    for (uint32_t i = 0; i < n_vocab; i++) {
        logits[i] = roundf(logits[i] * 4); /* many equals */
        if (check_random(c) % 16 == 0)
            logits[i] = round % 2 ? NAN : -INFINITY;
    }
    for (uint32_t i = 0; i < HISTORY; i++)
        ((uint32_t *)check_at(c, s->history))[i] = check_random(c) % (n_vocab + 3);
    for (uint32_t i = 0; i < (n_vocab + 31) / 32; i++)
        ((uint32_t *)check_at(c, s->mask))[i] = check_random(c) & check_random(c);
    for (uint32_t i = 0; i < BIASES; i++) /* one token twice, one that does not exist */
        ((struct logit_bias *)check_at(c, s->bias))[i] =
            (struct logit_bias){(const uint32_t[BIASES]){n_vocab / 2, n_vocab, n_vocab / 3,
                                                         n_vocab / 2, n_vocab / 5}[i],
                                (const float[BIASES]){3, 3, -100, 1e-3f, 0.3f}[i]};
    for (uint32_t i = 0; i < OUTPUTS; i++)
        list[i] = (struct step_sample){
            .enabled = round % 5 != 4 || i != 1,
            .top_k = (const uint32_t[]){0, 1, 5, 40}[check_random(c) % 4],
            .temperature = (const float[]){0, 0.5f, 1, 2}[check_random(c) % 4],
            .top_p = (const float[]){1, 0.9f, 0.3f, 0}[check_random(c) % 4],
            .min_p = (const float[]){0, 0.05f, 0.9f}[check_random(c) % 3],
            .repeat_penalty = round % 3 ? 1.2f : 1,
            .frequency_penalty = round % 3 ? 0.1f : 0,
            .presence_penalty = round % 3 ? -0.2f : 0,
            .seed_low = check_random(c),
            .draw = round,
            .n_history = round % 3 ? HISTORY : 0,
            .history = round % 3 ? check_address(c, s->history) : 0,
            .n_bias = round % 2 ? BIASES : 0,
            .bias = round % 2 ? check_address(c, s->bias) : 0,
            .n_top = (const uint32_t[]){0, 3, 20, 99}[check_random(c) % 4],
            .allowed = round % 4 == 3 ? check_address(c, s->mask) : 0,
            .drawn = (round + i) % 2 ? check_address(c, s->drawn + i * sizeof(uint32_t)) : 0,
        };
    for (uint32_t i = 0; i < OUTPUTS; i++)
        ((uint32_t *)check_at(c, s->drawn))[i] = NOT_DRAWN;
}

/* ---- what may differ ---- */

/* Of all that is kept, by how much a border between two tokens may lie elsewhere than where C's
 * doubles put it: a device may have its weights from a float's exponential. */
#define DRAW_EPSILON 0x1p-22

struct candidate {
    double weight; /* of the first 1 */
    float logit;
    uint32_t id;
};

static int compare(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* The candidates top_k leaves, in order, with their weights. */
static uint32_t order(const struct step_sample *s, const uint32_t *mask, const float *logits,
                      uint32_t n_vocab, struct candidate *list)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY && (!mask || (mask[i / 32] >> (i % 32) & 1)))
            list[n++] = (struct candidate){.id = i, .logit = logits[i]};
    qsort(list, n, sizeof(*list), compare);
    n = s->top_k && s->top_k < n ? s->top_k : n;
    for (uint32_t i = 0; i < n; i++)
        list[i].weight = exp(((double)list[i].logit - list[0].logit) / s->temperature);
    return n;
}

/* Whether a device may have drawn the token: for some number of kept candidates that the cuts of
 * top_p and min_p, moved by DRAW_EPSILON, leave, its interval widened by that holds the target. */
static bool may_be_drawn(const struct step_sample *s, const struct candidate *list, uint32_t n,
                         uint32_t token)
{
    double u = ref_uniform((uint64_t)s->seed_high << 32 | s->seed_low, s->draw);
    double total = 0, kept = 0, begin = -1, end = -1, slack;

    for (uint32_t i = 0; i < n; i++)
        total += list[i].weight;
    slack = total * DRAW_EPSILON;
    for (uint32_t i = 0; i < n; i++) {
        double weight = list[i].weight;
        bool must_end = i && ((s->top_p < 1 && kept >= s->top_p * total + slack) ||
                              weight < s->min_p * (1 - DRAW_EPSILON));
        bool may_end;

        if (must_end)
            return false;
        if (list[i].id == token) {
            begin = kept;
            end = kept + weight;
        }
        kept += weight;
        may_end = i + 1 == n || (s->top_p < 1 && kept >= s->top_p * total - slack) ||
                  list[i + 1].weight < s->min_p * (1 + DRAW_EPSILON);
        if (may_end && begin >= 0 && u * kept >= begin - kept * DRAW_EPSILON &&
            u * kept < end + kept * DRAW_EPSILON)
            return true;
    }
    return false;
}

static bool token_is_right(struct check *c, const struct sampler *s, uint32_t row,
                           const struct sample_result *got, const struct sample_result *want)
{
    const struct step_sample *settings = (struct step_sample *)check_at(c, s->samples) + row;
    uint32_t n_vocab = s->d.args.sample.n_vocab, n;
    const float *logits = (const float *)(const void *)(c->copy + s->logits);
    struct candidate *list;
    bool ok;

    if (got->token == want->token)
        return true;
    if (got->token >= n_vocab || !(settings->temperature > 0))
        return false;
    list = malloc(n_vocab * sizeof(*list));
    n = order(settings, settings->allowed ? check_at(c, s->mask) : NULL,
              logits + (size_t)row * n_vocab, n_vocab, list);
    ok = n && may_be_drawn(settings, list, n, got->token);
    free(list);
    return ok;
}

/* Of a token of this logit. C subtracts the logarithm of the sum as one double, which at 1e38 holds
 * nothing of the sum. */
static bool is_near(float got, float want, float logit)
{
    double slack = 2e-5 + 0x1p-52 * fabs((double)logit);

    return got == want || fabs((double)got - want) < slack;
}

static bool equal_results(struct check *c, const struct sampler *s)
{
    const struct sample_result *got = check_at(c, s->results);
    const struct sample_result *want = (const void *)(c->copy + s->results);
    const struct step_sample *list = check_at(c, s->samples);
    const uint32_t *drawn = check_at(c, s->drawn);

    if (c->was_left_out)
        return true;
    for (uint32_t i = 0; i < OUTPUTS; i++) {
        const float *logits = (const float *)(const void *)(c->copy + s->logits) +
                              (size_t)i * s->d.args.sample.n_vocab;
        bool ok = token_is_right(c, s, i, &got[i], &want[i]) && got[i].n_top == want[i].n_top;

        ok = ok && (got[i].token != want[i].token ||
                    is_near(got[i].logprob, want[i].logprob, logits[want[i].token]));
        for (uint32_t k = 0; ok && k < want[i].n_top; k++)
            ok = got[i].top_token[k] == want[i].top_token[k] &&
                 is_near(got[i].top_logprob[k], want[i].top_logprob[k],
                         logits[want[i].top_token[k]]);
        if (drawn[i] != (list[i].enabled && list[i].drawn ? got[i].token : NOT_DRAWN)) {
            printf("# row %u: token %u is stored as %u\n", i, got[i].token, drawn[i]);
            return false;
        }
        if (!ok) {
            printf("# row %u: token %u (%g), should be %u (%g)\n", i, got[i].token,
                   (double)got[i].logprob, want[i].token, (double)want[i].logprob);
            return false;
        }
    }
    return true;
}

/* ---- the checks ---- */

static bool sample(struct check *c)
{
    static const uint32_t vocabularies[] = {1, 5, 64, 1000, 32003};

    for (size_t v = 0; v < sizeof(vocabularies) / sizeof(*vocabularies); v++) {
        struct sampler s = make_sampler(c, vocabularies[v]);

        for (uint32_t round = 0; round < (vocabularies[v] > 10000 ? 12 : 200); round++) {
            vary(c, &s, vocabularies[v], round);
            if (!check_run(c, &s.d) || !equal_results(c, &s)) {
                printf("# vocabulary %u, round %u\n", vocabularies[v], round);
                return false;
            }
        }
    }
    return true;
}

static bool sample_of_nothing(struct check *c)
{
    struct sampler s = make_sampler(c, 40);

    vary(c, &s, 40, 0);
    for (uint32_t i = 0; i < 40; i++)
        ((float *)check_at(c, s.logits))[i] = NAN;
    return check_run(c, &s.d) && equal_results(c, &s);
}

/* Continuous logits over vocabularies as large as there are, one peaked and one nearly flat. */
static bool sample_large(struct check *c)
{
    static const uint32_t vocabularies[] = {151936, 256000};

    for (size_t v = 0; v < sizeof(vocabularies) / sizeof(*vocabularies); v++) {
        uint32_t n_vocab = vocabularies[v];
        struct sampler s = make_sampler(c, n_vocab);
        float *logits = check_at(c, s.logits);

        for (uint32_t round = 0; round < 8; round++) {
            vary(c, &s, n_vocab, round);
            for (uint32_t i = 0; i < OUTPUTS * n_vocab; i++)
                logits[i] = check_normal(c) * (round % 2 ? 3.0f : 0.2f);
            if (round == 0)
                check_bench(c, v ? "sample of 256000, 3 rows" : "sample of 151936, 3 rows", &s.d, 1,
                            OUTPUTS * 4.0 * n_vocab, 0);
            if (!check_run(c, &s.d) || !equal_results(c, &s)) {
                printf("# vocabulary %u, round %u\n", n_vocab, round);
                return false;
            }
        }
    }
    return true;
}

/* A seed gives C's token, draw after draw. */
static bool sample_draws(struct check *c)
{
    enum { VOCABULARY = 3000 };
    struct sampler s = make_sampler(c, VOCABULARY);
    struct step_sample *list = check_at(c, s.samples);

    for (uint32_t round = 0; round < 200; round++) {
        vary(c, &s, VOCABULARY, 0);
        for (uint32_t i = 0; i < OUTPUTS * VOCABULARY; i++)
            ((float *)check_at(c, s.logits))[i] = check_normal(c) * 3;
        for (uint32_t i = 0; i < OUTPUTS; i++) {
            list[i].temperature = 0.3f + 0.01f * (float)(round % 100);
            list[i].seed_low = check_random(c);
            list[i].seed_high = check_random(c);
            list[i].draw = check_random(c) >> (round % 32);
            list[i].top_k = (const uint32_t[]){0, 40, 2999}[i];
            list[i].top_p = (const float[]){1, 0.95f, 0.5f}[round % 3];
            list[i].min_p = (const float[]){0, 0, 0.02f, 1}[round % 4];
        }
        if (!check_run(c, &s.d) || !equal_results(c, &s)) {
            printf("# round %u\n", round);
            return false;
        }
    }
    return true;
}

/* A penalised logit that comes to exactly that of another token, or one step of a float beside it:
 * who is first depends on the last bit of the division. */
static bool sample_penalty_rounds(struct check *c)
{
    enum { VOCABULARY = 64 };
    struct sampler s = make_sampler(c, VOCABULARY);
    struct step_sample *list = check_at(c, s.samples);
    uint32_t *history = check_at(c, s.history);

    for (uint32_t round = 0; round < 300; round++) {
        vary(c, &s, VOCABULARY, 0);
        history[0] = round % 2 ? 5 : 50;
        for (uint32_t i = 0; i < OUTPUTS; i++) {
            float *logits = (float *)check_at(c, s.logits) + (size_t)i * VOCABULARY;
            float logit = 20 + check_normal(c), penalty = 1 + (float)(1 + i + round % 50) * 0.01f;

            for (uint32_t k = 0; k < VOCABULARY; k++)
                logits[k] = logit / penalty;
            logits[history[0]] = logit;
            logits[6] = nextafterf(logits[6], 100);
            logits[6] = round % 3 ? logits[7] : logits[6];
            list[i] = (struct step_sample){.enabled = 1,
                                           .repeat_penalty = penalty,
                                           .top_p = 1,
                                           .n_history = 1,
                                           .history = check_address(c, s.history),
                                           .n_top = 3};
        }
        if (!check_run(c, &s.d) || !equal_results(c, &s)) {
            printf("# round %u\n", round);
            return false;
        }
    }
    return true;
}

/* All equal, both zeros, the greatest and least numbers, infinities; temperatures of any size. */
static bool sample_odd_logits(struct check *c)
{
    static const float kinds[][2] = {{0, 0},       {-0.0f, 0},      {1e-40f, 1e-41f},
                                     {3.4e38f, 0}, {-3.4e38f, -1},  {INFINITY, 3.4e38f},
                                     {NAN, 1},     {-INFINITY, -7}, {5, 4.9999995f}};
    static const float temperatures[] = {0, 1e-38f, 1e-6f, 1, 1e6f, 3e38f};
    enum { VOCABULARY = 5000 };
    struct sampler s = make_sampler(c, VOCABULARY);
    struct step_sample *list = check_at(c, s.samples);

    for (uint32_t round = 0; round < 9 * 6; round++) {
        vary(c, &s, VOCABULARY, round % 4 ? 0 : 3);
        for (uint32_t i = 0; i < OUTPUTS * VOCABULARY; i++)
            ((float *)check_at(c, s.logits))[i] = kinds[round % 9][check_random(c) % 4 == 0];
        for (uint32_t i = 0; i < OUTPUTS; i++)
            list[i].temperature = temperatures[round / 9];
        if (!check_run(c, &s.d) || !equal_results(c, &s)) {
            printf("# logits of %g and %g, temperature %g\n", (double)kinds[round % 9][0],
                   (double)kinds[round % 9][1], (double)temperatures[round / 9]);
            return false;
        }
    }
    return true;
}

/* A mask that allows nothing, and one that allows what cannot be. */
static bool sample_forbidden(struct check *c)
{
    enum { VOCABULARY = 77 };
    struct sampler s = make_sampler(c, VOCABULARY);
    uint32_t *mask = check_at(c, s.mask);

    for (uint32_t round = 0; round < 8; round++) {
        vary(c, &s, VOCABULARY, 3);
        memset(mask, 0, 12);
        if (round % 2)
            mask[1] = 3u << 20;
        if (round & 2)
            for (uint32_t i = 0; i < OUTPUTS * VOCABULARY; i++)
                if (i % VOCABULARY >= 52)
                    ((float *)check_at(c, s.logits))[i] = -INFINITY;
        if (!check_run(c, &s.d) || !equal_results(c, &s)) {
            printf("# round %u\n", round);
            return false;
        }
    }
    return true;
}

const struct check_case check_sample_cases[] = {
    {"sample", sample},
    {"sample_of_nothing", sample_of_nothing},
    {"sample_large", sample_large},
    {"sample_draws", sample_draws},
    {"sample_penalty_rounds", sample_penalty_rounds},
    {"sample_odd_logits", sample_odd_logits},
    {"sample_forbidden", sample_forbidden},
    {0},
};
