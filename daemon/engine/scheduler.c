/* SPDX-License-Identifier: MIT */
#include "engine/scheduler.h"

void scheduler_init(struct scheduler *s, uint32_t batch_tokens)
{
    list_init(&s->entries);
    s->batch_tokens = batch_tokens;
}

void scheduler_add(struct scheduler *s, struct scheduler_entry *e)
{
    e->is_blocked = false;
    list_push_back(&s->entries, &e->link);
}

void scheduler_remove(struct scheduler *s, struct scheduler_entry *e)
{
    list_remove(&e->link);
    scheduler_unblock(s);
}

void scheduler_unblock(struct scheduler *s)
{
    list_for_each (e, &s->entries, struct scheduler_entry, link)
        e->is_blocked = false;
}

size_t scheduler_next(struct scheduler *s, struct scheduler_choice *ret_choices, size_t most)
{
    list_for_each (e, &s->entries, struct scheduler_entry, link) {
        if (e->is_paused || e->is_blocked || !e->n_pending || !most)
            continue;
        ret_choices[0].entry = e;
        ret_choices[0].n_tokens = e->n_pending < s->batch_tokens ? e->n_pending : s->batch_tokens;
        /* A last token left over would be computed as if it had been generated, by kernels that
         * round otherwise. */
        if (e->n_pending - ret_choices[0].n_tokens == 1 && ret_choices[0].n_tokens > 2)
            ret_choices[0].n_tokens--;
        return 1;
    }
    return 0;
}

struct scheduler_entry *scheduler_victim(struct scheduler *s, const struct scheduler_entry *e)
{
    struct list *last = s->entries.prev;

    while (last != &s->entries) {
        struct scheduler_entry *it = container_of(last, struct scheduler_entry, link);
        if (it != e && it->n_blocks)
            return it;
        last = last->prev;
    }
    return NULL;
}
