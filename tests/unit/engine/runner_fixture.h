/* SPDX-License-Identifier: MIT */
/* A loaded model on the cpu device, for sessions stepped by hand. */
#ifndef HEARTH_TESTS_ENGINE_RUNNER_FIXTURE_H
#define HEARTH_TESTS_ENGINE_RUNNER_FIXTURE_H

#include "engine/runner.h"

enum { PROMPT_TOKENS = 75 };

struct bench {
    struct device *dev;
    struct loaded_model *lm;
    struct runner *runner;
    uint32_t prompt[PROMPT_TOKENS];
};

/* A context of 128 tokens and any pools; the rest as configured. Skips the test where there is no
 * model. */
void bench_init(struct bench *b, struct runner_config cfg);
/* The same with pools of this kind. */
void bench_init_in(struct bench *b, struct runner_config cfg, struct pool_config pools);
void bench_finish(struct bench *b);
struct session *bench_session(struct bench *b);

#endif
