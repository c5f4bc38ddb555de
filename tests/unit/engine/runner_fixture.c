/* SPDX-License-Identifier: MIT */
#include "runner_fixture.h"

#include "engine_fixture.h"
#include "harness.h"

void bench_init_in(struct bench *b, struct runner_config cfg, struct pool_config pools)
{
    struct error err = {0};

    cfg.context_tokens = 128;
    cfg.pools = pools;
    if (!fixture_model())
        SKIP("no model: neither in the tree nor in the shared data");
    if (device_create("cpu:2", &b->dev, &err) < 0 ||
        loaded_model_open(fixture_model(), &b->lm, &err) < 0 ||
        loaded_model_fill(b->lm, &cfg.pools, NULL, &err) < 0 ||
        runner_create(b->lm, b->dev, &cfg, &b->runner, &err) < 0)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < PROMPT_TOKENS; i++)
        b->prompt[i] = (7 + i * 31) % 500;
}

void bench_init(struct bench *b, struct runner_config cfg)
{
    bench_init_in(b, cfg, (struct pool_config){.kind = POOL_KIND_AUTO, .numa_node = -1});
}

void bench_finish(struct bench *b)
{
    runner_destroy(b->runner);
    loaded_model_unref(b->lm);
    device_destroy(b->dev);
}

struct session *bench_session(struct bench *b)
{
    struct session *s = NULL;

    assert_int_equal(runner_session_create(b->runner, &s, NULL), 0);
    return s;
}
