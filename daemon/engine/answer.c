/* SPDX-License-Identifier: MIT */
#include "engine/answer.h"

#include <string.h>
#include <sys/types.h>

void answer_init(struct answer *a)
{
    *a = (struct answer){0};
    strbuf_init(&a->held, 0);
}

void answer_finish(struct answer *a)
{
    strbuf_finish(&a->held);
}

void answer_start(struct answer *a, const struct tokenizer *t, uint32_t previous,
                  const char *const *stop, size_t n_stop)
{
    detokenizer_init(&a->detokenizer, t, (int32_t)previous, false);
    strbuf_reset(&a->held);
    a->stop = stop;
    a->n_stop = n_stop;
    a->stop_string = NULL;
}

/* Where the earliest stop string begins in the held text (the longest of those that begin there),
 * or -1. */
static ssize_t find_stop(struct answer *a)
{
    ssize_t best = -1;
    size_t best_len = 0;

    for (size_t i = 0; i < a->n_stop; i++) {
        size_t len = strlen(a->stop[i]);
        const char *at = len ? memmem(a->held.data, a->held.len, a->stop[i], len) : NULL;
        ssize_t pos = at ? at - a->held.data : -1;
        if (at && (best < 0 || pos < best || (pos == best && len > best_len))) {
            best = pos;
            best_len = len;
            a->stop_string = a->stop[i];
        }
    }
    return best;
}

/* Bytes at the end of the held text that may be the beginning of a stop string. */
static size_t undecided(const struct answer *a)
{
    size_t most = 0;

    for (size_t i = 0; i < a->n_stop; i++) {
        size_t len = strlen(a->stop[i]);
        size_t try = len ? len - 1 : 0;
        if (try > a->held.len)
            try = a->held.len;
        for (; try > most; try--)
            if (!memcmp(a->held.data + a->held.len - try, a->stop[i], try))
                most = try;
    }
    return most;
}

static bool decide(struct answer *a, struct strbuf *out, bool is_end)
{
    ssize_t stop_at;
    size_t keep;

    if (!a->held.len)
        return false;
    stop_at = find_stop(a);
    if (stop_at >= 0) {
        strbuf_add(out, a->held.data, (size_t)stop_at);
        strbuf_reset(&a->held);
        return true;
    }
    keep = is_end ? 0 : undecided(a);
    strbuf_add(out, a->held.data, a->held.len - keep);
    strbuf_consume(&a->held, a->held.len - keep);
    return false;
}

bool answer_add(struct answer *a, uint32_t token, struct strbuf *out)
{
    detokenizer_add(&a->detokenizer, (int32_t)token, &a->held);
    return decide(a, out, false);
}

void answer_flush(struct answer *a, struct strbuf *out)
{
    detokenizer_flush(&a->detokenizer, &a->held);
    decide(a, out, true);
}
