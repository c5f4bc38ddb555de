/* SPDX-License-Identifier: MIT */
/*
 * One rendering (or parsing): its memory, its limits, its output. A failure anywhere unwinds in one
 * jump to the caller of run_guard(), which is safe because everything made on the way lies in the
 * run's arena; so functions that take a run either succeed or do not return.
 */
#ifndef HEARTH_TEMPLATE_RUN_H
#define HEARTH_TEMPLATE_RUN_H

#include <setjmp.h>
#include <stdnoreturn.h>

#include "base/arena.h"
#include "base/error.h"
#include "template/val.h"

enum { RUN_DEPTH_MAX = 1000 };

/* A byte string under construction in the run's arena. */
struct text {
    char *data;
    size_t len, cap;
};

struct binding {
    struct binding *next;
    const struct str *name; /* interned: the pointer is the identity */
    struct val value;
};

struct scope {
    struct scope *parent;
    struct binding *bindings;
};

struct run {
    struct arena *arena;
    size_t steps_left, depth_left;
    int64_t now;
    struct dict *vars;
    struct text *out;
    int line; /* of the node being evaluated, for messages */
    jmp_buf *on_fail;
    int code;
    struct error *err;
};

/* Unwinds with -code and "line N: " and the sentence. */
noreturn void run_fail(struct run *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
noreturn void run_fail_text(struct run *r, const struct str *text);
/* Calls body; 0, or the negative errno of a failure inside. */
int run_guard(struct run *r, void (*body)(struct run *r, void *arg), void *arg);

/* Accounts for work; fails the run when it has done too much. */
void run_step(struct run *r, size_t n);
static inline void run_step_bytes(struct run *r, size_t bytes)
{
    run_step(r, 1 + bytes / 64);
}
void run_enter(struct run *r);
void run_leave(struct run *r);

/* Zeroed memory of the run. */
void *run_alloc(struct run *r, size_t n, size_t size);
#define run_new(r, type) ((type *)run_alloc((r), 1, sizeof(type)))

void text_add(struct run *r, struct text *t, const char *data, size_t len);
void text_add_str(struct run *r, struct text *t, const struct str *s);
void text_puts(struct run *r, struct text *t, const char *s);
void text_fill(struct run *r, struct text *t, const char *s, size_t len, size_t times);
/* The text as a string that takes over its memory. */
struct str *text_finish(struct run *r, struct text *t);

struct scope *scope_create(struct run *r, struct scope *parent);
void scope_set(struct run *r, struct scope *s, const struct str *name, struct val v);
/* NULL when neither the scopes nor the variables have it. */
const struct val *scope_find(struct run *r, const struct scope *s, const struct str *name);

#endif
