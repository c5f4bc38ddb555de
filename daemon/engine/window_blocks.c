/* SPDX-License-Identifier: MIT */
#include "engine/window_blocks.h"

#include "engine/index_list.h"

#include <errno.h>
#include <stdlib.h>

struct window_block {
    uint32_t n_refs;
    uint32_t whole; /* the shared block it belongs to, or WINDOW_NONE */
};

struct window_blocks {
    struct window_block *blocks; /* [n_blocks] */
    struct index_link *links;    /* [n_blocks], of the lists */
    uint32_t *of_whole;          /* [n_whole] */
    uint32_t n_blocks, n_whole, n_shared;
    struct index_list free_ones; /* nobody's; the first is taken first */
    struct index_list idle_ones; /* belong to a shared block, nobody holds them */
};

static void tie(struct window_blocks *w, uint32_t whole, uint32_t i)
{
    w->of_whole[whole] = i;
    w->blocks[i].whole = whole;
    w->n_shared++;
}

static void untie(struct window_blocks *w, uint32_t i)
{
    w->of_whole[w->blocks[i].whole] = WINDOW_NONE;
    w->blocks[i].whole = WINDOW_NONE;
    w->n_shared--;
}

int window_blocks_create(uint32_t n_blocks, uint32_t n_whole, struct window_blocks **ret_windows)
{
    struct window_blocks *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->n_blocks = n_blocks;
    w->n_whole = n_whole;
    w->blocks = calloc(n_blocks, sizeof(*w->blocks));
    w->links = calloc(n_blocks, sizeof(*w->links));
    w->of_whole = calloc(n_whole, sizeof(*w->of_whole));
    if (!w->blocks || !w->links || !w->of_whole) {
        window_blocks_destroy(w);
        return -ENOMEM;
    }
    index_list_init(&w->free_ones, w->links);
    index_list_init(&w->idle_ones, w->links);
    for (uint32_t i = 0; i < n_whole; i++)
        w->of_whole[i] = WINDOW_NONE;
    for (uint32_t i = 0; i < n_blocks; i++) {
        w->blocks[i].whole = WINDOW_NONE;
        index_list_push(&w->free_ones, i);
    }
    *ret_windows = w;
    return 0;
}

void window_blocks_destroy(struct window_blocks *w)
{
    if (!w)
        return;
    free(w->blocks);
    free(w->links);
    free(w->of_whole);
    free(w);
}

int window_blocks_take(struct window_blocks *w, uint32_t *ret_block, uint32_t *ret_left)
{
    struct index_list *from = w->free_ones.n ? &w->free_ones : &w->idle_ones;
    uint32_t i = from->first;

    if (i == WINDOW_NONE)
        return -ENOSPC;
    index_list_remove(from, i);
    *ret_left = w->blocks[i].whole;
    if (*ret_left != WINDOW_NONE)
        untie(w, i);
    w->blocks[i].n_refs = 1;
    *ret_block = i;
    return 0;
}

void window_blocks_unref(struct window_blocks *w, uint32_t block)
{
    struct window_block *b = &w->blocks[block];

    if (--b->n_refs == 0)
        index_list_push(b->whole == WINDOW_NONE ? &w->free_ones : &w->idle_ones, block);
}

uint32_t window_blocks_of(const struct window_blocks *w, uint32_t whole)
{
    return w->of_whole[whole];
}

void window_blocks_hold(struct window_blocks *w, uint32_t whole)
{
    uint32_t i = w->of_whole[whole];

    if (w->blocks[i].n_refs++ == 0)
        index_list_remove(&w->idle_ones, i);
}

bool window_blocks_join(struct window_blocks *w, uint32_t whole, uint32_t *block)
{
    uint32_t there = w->of_whole[whole];

    if (there == WINDOW_NONE) {
        tie(w, whole, *block);
        return true;
    }
    if (there != *block) {
        window_blocks_hold(w, whole);
        window_blocks_unref(w, *block);
        *block = there;
    }
    return false;
}

void window_blocks_part(struct window_blocks *w, uint32_t whole)
{
    uint32_t i = w->of_whole[whole];

    if (i == WINDOW_NONE)
        return;
    untie(w, i);
    if (w->blocks[i].n_refs)
        return;
    index_list_remove(&w->idle_ones, i);
    index_list_push(&w->free_ones, i);
}

bool window_blocks_restore(struct window_blocks *w, uint32_t whole, uint32_t block)
{
    if (block >= w->n_blocks || whole >= w->n_whole || w->blocks[block].n_refs ||
        w->blocks[block].whole != WINDOW_NONE || w->of_whole[whole] != WINDOW_NONE)
        return false;
    index_list_remove(&w->free_ones, block);
    tie(w, whole, block);
    index_list_push(&w->idle_ones, block);
    return true;
}

uint32_t window_blocks_n_held(const struct window_blocks *w)
{
    return w->n_blocks - w->free_ones.n - w->idle_ones.n;
}

uint32_t window_blocks_n_idle(const struct window_blocks *w)
{
    return w->idle_ones.n;
}

uint32_t window_blocks_n_shared(const struct window_blocks *w)
{
    return w->n_shared;
}
