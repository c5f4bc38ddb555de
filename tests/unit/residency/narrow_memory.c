/* SPDX-License-Identifier: MIT */
#include "narrow_memory.h"

#include "pool/pool.h"

#include <unistd.h>

atomic_ullong narrow_memory_bytes;
atomic_ullong narrow_memory_used;
atomic_bool narrow_memory_is_held, narrow_memory_seals_wait;

int __real_pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                       struct pool **ret, struct error *err);
int __wrap_pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                       struct pool **ret, struct error *err);
void __real_pool_destroy(struct pool *pool);
void __wrap_pool_destroy(struct pool *pool);
int __real_pool_seal(struct pool *pool, struct error *err);
int __wrap_pool_seal(struct pool *pool, struct error *err);
uint64_t __wrap_pool_available_bytes(void);

int __wrap_pool_create(const struct pool_config *config, uint64_t bytes, const char *name,
                       struct pool **ret, struct error *err)
{
    int r;

    while (narrow_memory_is_held)
        usleep(1000);
    r = __real_pool_create(config, bytes, name, ret, err);
    if (r == 0)
        narrow_memory_used += pool_mapped_bytes(*ret);
    return r;
}

void __wrap_pool_destroy(struct pool *pool)
{
    if (pool)
        narrow_memory_used -= pool_mapped_bytes(pool);
    __real_pool_destroy(pool);
}

int __wrap_pool_seal(struct pool *pool, struct error *err)
{
    while (narrow_memory_seals_wait)
        usleep(1000);
    return __real_pool_seal(pool, err);
}

uint64_t __wrap_pool_available_bytes(void)
{
    uint64_t all = narrow_memory_bytes, used = narrow_memory_used;

    return !all ? UINT64_MAX : all > used ? all - used : 0;
}
