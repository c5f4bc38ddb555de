/* SPDX-License-Identifier: MIT */
/*
 * A list of numbers 0..n-1, each at most once, in an array of links: for what is known by number,
 * as blocks are, and must be found, moved and removed in O(1) without a pointer. A number may be in
 * one list of several that share the links.
 */
#ifndef HEARTH_ENGINE_INDEX_LIST_H
#define HEARTH_ENGINE_INDEX_LIST_H

#include <stdint.h>

#define INDEX_NONE UINT32_MAX

struct index_link {
    uint32_t before, after; /* neighbours in its list */
};

struct index_list {
    struct index_link *links; /* [n], borrowed */
    uint32_t first, last, n;
};

static inline void index_list_init(struct index_list *l, struct index_link *links)
{
    *l = (struct index_list){links, INDEX_NONE, INDEX_NONE, 0};
}

/* The number is in no list. */
static inline void index_list_push(struct index_list *l, uint32_t i)
{
    l->links[i] = (struct index_link){l->last, INDEX_NONE};
    if (l->last == INDEX_NONE)
        l->first = i;
    else
        l->links[l->last].after = i;
    l->last = i;
    l->n++;
}

/* The number is in no list; it becomes the first of this one. */
static inline void index_list_push_first(struct index_list *l, uint32_t i)
{
    l->links[i] = (struct index_link){INDEX_NONE, l->first};
    if (l->first == INDEX_NONE)
        l->last = i;
    else
        l->links[l->first].before = i;
    l->first = i;
    l->n++;
}

/* The number is in this list. */
static inline void index_list_remove(struct index_list *l, uint32_t i)
{
    const struct index_link *link = &l->links[i];

    if (link->before == INDEX_NONE)
        l->first = link->after;
    else
        l->links[link->before].after = link->after;
    if (link->after == INDEX_NONE)
        l->last = link->before;
    else
        l->links[link->after].before = link->before;
    l->n--;
}

#endif
