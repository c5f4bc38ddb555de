/* SPDX-License-Identifier: MIT */
#include "template/run.h"

#include <errno.h>
#include <stdio.h>

#include "template/str.h"

void run_fail(struct run *r, int code, const char *fmt, ...)
{
    char text[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_set(r->err, code, "line %d of the chat template: %s", r->line, text);
    r->code = code;
    longjmp(*r->on_fail, 1);
}

void run_fail_text(struct run *r, const struct str *text)
{
    size_t len = text->len < 400 ? text->len : 400;

    while (len < text->len && len && ((unsigned char)text->data[len] & 0xc0) == 0x80)
        len--;
    error_set(r->err, EINVAL, "the chat template refuses this conversation: %.*s", (int)len,
              text->data);
    r->code = EINVAL;
    longjmp(*r->on_fail, 1);
}

int run_guard(struct run *r, void (*body)(struct run *r, void *arg), void *arg)
{
    jmp_buf here, *outer = r->on_fail;
    const size_t depth = r->depth_left;

    if (setjmp(here)) {
        r->on_fail = outer;
        r->depth_left = depth;
        return -r->code;
    }
    r->on_fail = &here;
    body(r, arg);
    r->on_fail = outer;
    return 0;
}

void run_step(struct run *r, size_t n)
{
    if (n > r->steps_left) {
        r->steps_left = 0;
        run_fail(r, E2BIG, "the template takes too many steps; it may loop without end");
    }
    r->steps_left -= n;
}

void run_enter(struct run *r)
{
    if (!r->depth_left)
        run_fail(r, E2BIG, "nested too deeply");
    r->depth_left--;
}

void run_leave(struct run *r)
{
    r->depth_left++;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>

/* The sanitizer sees an arena's blocks whole; a guard behind each piece shows overruns inside. */
static void *guarded_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes, whole;
    char *p;

    if (__builtin_mul_overflow(n, size, &bytes) || __builtin_add_overflow(bytes, 32, &whole))
        return NULL;
    p = arena_alloc(a, whole);
    if (p)
        ASAN_POISON_MEMORY_REGION(p + bytes, whole - bytes);
    return p;
}
#else
#define guarded_array arena_array
#endif

void *run_alloc(struct run *r, size_t n, size_t size)
{
    void *p = guarded_array(r->arena, n, size);
    size_t left;

    if (p)
        return p;
    left = r->arena->limit_bytes - r->arena->used_bytes;
    if (r->arena->limit_bytes && (n > left / size || n * size + 64 > left))
        run_fail(r, E2BIG, "the template needs more than the %zu bytes of memory it may use",
                 r->arena->limit_bytes);
    run_fail(r, ENOMEM, "out of memory");
}

static void text_grow(struct run *r, struct text *t, size_t more)
{
    size_t need, cap = t->cap ? t->cap : 48;
    char *data;

    if (__builtin_add_overflow(t->len, more, &need) || need > (size_t)-1 / 4)
        run_fail(r, E2BIG, "a text grew too long");
    if (need <= t->cap)
        return;
    while (cap < need)
        cap *= 2;
    data = run_alloc(r, cap, 1);
    if (t->len)
        memcpy(data, t->data, t->len);
    t->data = data;
    t->cap = cap;
}

void text_add(struct run *r, struct text *t, const char *data, size_t len)
{
    run_step_bytes(r, len);
    text_grow(r, t, len);
    if (len)
        memcpy(t->data + t->len, data, len);
    t->len += len;
}

void text_add_str(struct run *r, struct text *t, const struct str *s)
{
    text_add(r, t, s->data, s->len);
}

void text_puts(struct run *r, struct text *t, const char *s)
{
    text_add(r, t, s, strlen(s));
}

void text_fill(struct run *r, struct text *t, const char *s, size_t len, size_t times)
{
    size_t total;

    if (__builtin_mul_overflow(len, times, &total))
        run_fail(r, E2BIG, "a text grew too long");
    if (!total)
        return;
    run_step_bytes(r, total);
    text_grow(r, t, total);
    if (len == 1) {
        memset(t->data + t->len, s[0], times);
    } else {
        for (size_t i = 0; i < times; i++)
            memcpy(t->data + t->len + i * len, s, len);
    }
    t->len += total;
}

struct str *text_finish(struct run *r, struct text *t)
{
    return str_borrow(r, t->data ? t->data : "", t->len);
}

struct scope *scope_create(struct run *r, struct scope *parent)
{
    struct scope *s = run_new(r, struct scope);

    s->parent = parent;
    return s;
}

void scope_set(struct run *r, struct scope *s, const struct str *name, struct val v)
{
    size_t probes = 0;
    struct binding *b;

    for (b = s->bindings; b; b = b->next, probes++) {
        if (b->name == name)
            break;
    }
    run_step(r, probes / 16);
    if (!b) {
        b = run_new(r, struct binding);
        b->name = name;
        b->next = s->bindings;
        s->bindings = b;
    }
    b->value = v;
}

const struct val *scope_find(struct run *r, const struct scope *s, const struct str *name)
{
    size_t probes = 0;

    for (; s; s = s->parent) {
        for (const struct binding *b = s->bindings; b; b = b->next, probes++) {
            if (b->name == name) {
                run_step(r, probes / 16);
                return &b->value;
            }
        }
    }
    run_step(r, probes / 16);
    if (r->vars) {
        struct str key = *name;

        return dict_find(r, r->vars, val_str(&key));
    }
    return NULL;
}
