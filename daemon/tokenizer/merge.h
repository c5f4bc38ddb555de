/* SPDX-License-Identifier: MIT */
/*
 * Byte-pair merging, the loop that BPE by ranks and BPE by scores share: of all neighbours that may
 * be joined, the best pair is, the leftmost among equals, until none is left. O(n log n).
 */
#ifndef HEARTH_TOKENIZER_MERGE_H
#define HEARTH_TOKENIZER_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_symbol {
    uint32_t start; /* offset of its first byte; it ends where the next starts */
    int32_t id;
};

struct merge_pair {
    int32_t left, right; /* ids */
    uint32_t start, end; /* bytes of both together */
};

/* Whether a pair may be joined; if so its priority (smaller first) and the id of the result. */
typedef bool merge_join(const void *context, const char *text, const struct merge_pair *pair,
                        uint32_t *ret_priority, int32_t *ret_id);

/* Memory that is kept between words. All zero at first; of one thread. */
struct merge {
    struct merge_symbol *symbols; /* cap_symbols */
    struct merge_link *links;     /* cap_links */
    struct merge_entry *heap;     /* cap_heap */
    size_t cap_symbols, cap_links, cap_heap, n_heap;
};
void merge_finish(struct merge *m);

/* Room for n symbols in m->symbols; 0 or -ENOMEM. */
int merge_reserve(struct merge *m, size_t n);

/* Joins the first n of m->symbols, which cover text up to offset end; the result stands at the
 * front of m->symbols. Returns how many there are (0 for n = 0), or -ENOMEM. */
int64_t merge_run(struct merge *m, size_t n, const char *text, uint32_t end, merge_join *join,
                  const void *context);

#endif
