/* SPDX-License-Identifier: MIT */
#include "pool_fixture.h"

#include "harness.h"

#include <unistd.h>

struct pool *make(const struct pool_config *config, uint64_t bytes)
{
    struct error err = {0};
    struct pool *pool = NULL;

    if (pool_create(config, bytes, "test", &pool, &err) < 0)
        fail_msg("%s", err.text);
    return pool;
}

bool is_readable(const void *at)
{
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    n = write(ends[1], at, 1);
    close(ends[0]);
    close(ends[1]);
    return n == 1;
}
