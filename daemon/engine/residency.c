/* SPDX-License-Identifier: MIT */
#include "engine/residency.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* What there is when all models have met their fates. */
static struct residency_bytes after(const struct residency_model *models, size_t n,
                                    struct residency_bytes free)
{
    for (size_t i = 0; i < n; i++) {
        const struct residency_model *m = &models[i];
        struct residency_bytes gain = m->fate == RESIDENCY_GOES    ? m->held
                                      : m->fate == RESIDENCY_IDLES ? m->work
                                                                   : (struct residency_bytes){0};
        free.host = add(free.host, gain.host);
        free.device = add(free.device, gain.device);
    }
    return free;
}

/* Whether a is taken from before b. */
static bool comes_before(const struct residency_model *a, const struct residency_model *b)
{
    if (a->is_pinned != b->is_pinned)
        return b->is_pinned;
    if (a->last_used_ns != b->last_used_ns)
        return a->last_used_ns < b->last_used_ns;
    return a < b;
}

/* The next one after `last` (NULL: the first) in the order of taking, or the one before it. */
static struct residency_model *neighbour(struct residency_model *models, size_t n,
                                         const struct residency_model *last, bool is_forward)
{
    struct residency_model *best = NULL;

    for (size_t i = 0; i < n; i++) {
        struct residency_model *m = &models[i];

        if (m->is_busy || (last && !(is_forward ? comes_before(last, m) : comes_before(m, last))))
            continue;
        if (!best || (is_forward ? comes_before(m, best) : comes_before(best, m)))
            best = m;
    }
    return best;
}

static bool has_host(const struct residency_model *models, size_t n, struct residency_bytes need,
                     struct residency_bytes free)
{
    return need.host <= after(models, n, free).host;
}

static bool has_all(const struct residency_model *models, size_t n, struct residency_bytes need,
                    struct residency_bytes free)
{
    return has_host(models, n, need, free) && need.device <= after(models, n, free).device;
}

/* Who was taken from late may have made it unnecessary to take from others. */
static void spare(struct residency_model *models, size_t n, struct residency_bytes need,
                  struct residency_bytes free)
{
    for (struct residency_model *m = neighbour(models, n, NULL, false); m;
         m = neighbour(models, n, m, false)) {
        enum residency_fate worst = m->fate;

        for (m->fate = RESIDENCY_STAYS; m->fate < worst; m->fate++)
            if (has_all(models, n, need, free))
                break;
    }
}

bool residency_make_room(struct residency_model *models, size_t n, struct residency_bytes need,
                         struct residency_bytes free)
{
    bool fits;

    for (size_t i = 0; i < n; i++)
        models[i].fate = RESIDENCY_STAYS;
    for (struct residency_model *m = neighbour(models, n, NULL, true);
         m && !has_host(models, n, need, free); m = neighbour(models, n, m, true))
        m->fate = RESIDENCY_GOES;
    for (struct residency_model *m = neighbour(models, n, NULL, true);
         m && !has_all(models, n, need, free); m = neighbour(models, n, m, true))
        if (m->fate == RESIDENCY_STAYS)
            m->fate = RESIDENCY_IDLES;
    fits = has_all(models, n, need, free);
    if (fits)
        spare(models, n, need, free);
    for (size_t i = 0; i < n && !fits; i++)
        models[i].fate = RESIDENCY_STAYS;
    return fits;
}

/* ---- the sentence ---- */

/* Appends who holds memory, as far as there is room for it. */
static void list_holders(const struct residency_model *models, size_t n, bool is_device, char *text,
                         size_t room)
{
    size_t len = 0;

    *text = '\0';
    for (size_t i = 0; i < n; i++) {
        const struct residency_model *m = &models[i];
        uint64_t bytes = is_device ? m->held.device : m->held.host;
        char one[160];
        int k;

        if (!bytes)
            continue;
        k = snprintf(one, sizeof(one), "%s%.80s %.2f GiB", len ? ", " : "", m->name,
                     bytes_gib(bytes));
        if (m->n_requests)
            k += snprintf(one + k, sizeof(one) - (size_t)k, " (%u request%s)", m->n_requests,
                          m->n_requests == 1 ? "" : "s");
        if (len + (size_t)k + sizeof(", ...") > room) {
            memcpy(text + len, ", ...", sizeof(", ..."));
            return;
        }
        memcpy(text + len, one, (size_t)k + 1);
        len += (size_t)k;
    }
}

int residency_refuse(const struct residency_model *models, size_t n, uint64_t weights_bytes,
                     uint64_t cache_bytes, struct residency_bytes need, struct residency_bytes free,
                     struct error *err)
{
    struct residency_bytes had = {0};
    bool is_device;
    char holders[220];

    for (size_t i = 0; i < n; i++) {
        had.host += models[i].is_busy ? 0 : models[i].held.host;
        had.device += models[i].is_busy ? 0 : models[i].held.device;
    }
    is_device = need.host <= add(free.host, had.host);
    list_holders(models, n, is_device, holders, sizeof(holders));
    return error_set(
        err, ENOMEM,
        "%.2f GiB of %s are needed (weights %.2f, cache %.2f) but %.2f are free and %.2f could be "
        "taken from models that nobody uses; in use: %s. Unload a model, or choose a smaller one "
        "or a smaller context",
        bytes_gib(is_device ? need.device : need.host), is_device ? "GPU memory" : "memory",
        bytes_gib(weights_bytes), bytes_gib(cache_bytes),
        bytes_gib(is_device ? free.device : free.host),
        bytes_gib(is_device ? had.device : had.host), holders[0] ? holders : "no other model");
}

uint64_t residency_idle_at_ns(uint64_t last_used_ns, uint64_t idle_after_ns)
{
    return idle_after_ns ? add(last_used_ns, idle_after_ns) : UINT64_MAX;
}
