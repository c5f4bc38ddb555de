/* SPDX-License-Identifier: MIT */
/* Intrusive doubly linked list, circular with a head. A `struct list` member names its list. */
#ifndef HEARTH_BASE_LIST_H
#define HEARTH_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_insert_before(struct list *pos, struct list *item)
{
    item->prev = pos->prev;
    item->next = pos;
    pos->prev->next = item;
    pos->prev = item;
}

static inline void list_push_back(struct list *head, struct list *item)
{
    list_insert_before(head, item);
}

static inline void list_push_front(struct list *head, struct list *item)
{
    list_insert_before(head->next, item);
}

/* Removing an item twice is harmless: it is left pointing at itself. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* Moves all items of one list to the end of another. */
static inline void list_move_all(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *first = from->next;

        list_remove(first);
        list_push_back(to, first);
    }
}

/* First item, or NULL when the list is empty. */
#define list_first(head, type, member)                                                             \
    (list_empty(head) ? NULL : container_of((head)->next, type, member))

#define list_for_each(it, head, type, member)                                                      \
    for (type *it = container_of((head)->next, type, member); &it->member != (head);               \
         it = container_of(it->member.next, type, member))

/* As list_for_each; `it` may be removed or freed in the body. */
#define list_for_each_safe(it, head, type, member)                                                 \
    for (type *it = container_of((head)->next, type, member),                                      \
              *it##_next = container_of(it->member.next, type, member);                            \
         &it->member != (head);                                                                    \
         it = it##_next, it##_next = container_of(it->member.next, type, member))

#endif
