/* SPDX-License-Identifier: MIT */
/*
 * The values a template computes with, as Python has them. All memory belongs to the arena of the
 * run (or of the template, for constants) and nothing is freed singly. Strings are immutable UTF-8.
 */
#ifndef HEARTH_TEMPLATE_VAL_H
#define HEARTH_TEMPLATE_VAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct run;
struct node;
struct scope;

enum val_type {
    VAL_UNDEFINED,
    VAL_NONE,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_STR,
    VAL_LIST,
    VAL_TUPLE,
    VAL_DICT,
    VAL_RANGE,
    VAL_VIEW,      /* dict.keys(), .values(), .items() */
    VAL_GENERATOR, /* what map, select and their like return: it can be walked once */
    VAL_NAMESPACE,
    VAL_LOOP,
    VAL_MACRO,
    VAL_FUNCTION,
    VAL_METHOD,
    VAL_CYCLER,
    VAL_JOINER,
};

struct val {
    enum val_type type;
    union {
        bool b;
        int64_t i;
        double f;
        struct str *str;
        struct seq *seq; /* LIST, TUPLE, VIEW, GENERATOR */
        struct dict *dict;
        struct range *range;
        struct undefined *undefined; /* NULL: nothing is known about it */
        struct dict *ns;
        struct loop *loop;
        struct macro *macro;
        const struct function *function;
        struct method *method;
        struct cycler *cycler;
    };
};

/* Bytes that a string may grow into when it is the one that ends at `used` (see str_concat). */
struct str_room {
    size_t used, cap;
    char *data;
};

struct str {
    const char *data; /* valid UTF-8, not NUL-terminated */
    size_t len;       /* bytes */
    size_t chars;     /* code points */
    bool is_markup;   /* already escaped HTML: `safe`, `escape` */
    struct str_room *room;
};

struct seq {
    struct val *items;
    size_t len, cap;
    size_t taken;     /* GENERATOR: items already walked over */
    const char *name; /* VIEW: "dict_keys" and so on; GENERATOR: the kind */
};

struct dict_entry {
    struct val key, value;
    uint64_t hash;
};

/* In insertion order; templates cannot remove entries. */
struct dict {
    struct dict_entry *entries;
    size_t len, cap;
    uint32_t *index;   /* entry number + 1, open addressing; NULL while small */
    size_t index_size; /* a power of two */
};

struct range {
    int64_t start, stop, step;
};

struct undefined {
    struct val object, name;
    bool has_object;
    bool is_unsafe;   /* exists, but the sandbox keeps it away */
    const char *hint; /* the whole message, when set */
};

struct arg_list {
    size_t n, n_named;
    struct val *items;
    struct str **names; /* of `named` */
    struct val *named;
    struct val caller; /* a call block's body, or undefined */
};

typedef struct val (*function_fn)(struct run *r, struct val self, const struct arg_list *args);

struct function {
    const char *name;
    function_fn call;
};

struct method {
    struct val self;
    const struct function *function;
};

struct macro {
    const struct node *node;
    struct scope *scope; /* where it was defined */
    struct str *name;
};

struct cycler {
    struct val *items;
    size_t n, pos;
    struct str *separator; /* joiner */
};

struct loop {
    const struct node *node;
    struct scope *scope; /* around the loop */
    struct val *items;
    size_t len, index, depth;
    struct val last_changed; /* tuple of loop.changed's last arguments */
    bool has_changed;
};

static inline struct val val_none(void)
{
    return (struct val){.type = VAL_NONE};
}

static inline struct val val_bool(bool b)
{
    return (struct val){.type = VAL_BOOL, .b = b};
}

static inline struct val val_int(int64_t i)
{
    return (struct val){.type = VAL_INT, .i = i};
}

static inline struct val val_float(double f)
{
    return (struct val){.type = VAL_FLOAT, .f = f};
}

static inline struct val val_str(struct str *s)
{
    return (struct val){.type = VAL_STR, .str = s};
}

static inline struct val val_dict(struct dict *d)
{
    return (struct val){.type = VAL_DICT, .dict = d};
}

static inline bool val_is_number(struct val v)
{
    return v.type == VAL_INT || v.type == VAL_FLOAT || v.type == VAL_BOOL;
}

/* INT or BOOL, which counts as 0 or 1. */
static inline bool val_is_int(struct val v)
{
    return v.type == VAL_INT || v.type == VAL_BOOL;
}

static inline int64_t val_to_int(struct val v)
{
    return v.type == VAL_BOOL ? v.b : v.i;
}

static inline double val_to_double(struct val v)
{
    return v.type == VAL_FLOAT ? v.f : (double)val_to_int(v);
}

static inline bool val_is_list_like(struct val v)
{
    return v.type == VAL_LIST || v.type == VAL_TUPLE;
}

static inline bool str_is_ascii(const struct str *s)
{
    return s->chars == s->len;
}

static inline bool str_is(const struct str *s, const char *literal)
{
    return s->len == strlen(literal) && !memcmp(s->data, literal, s->len);
}

/* Python's name of the type: "str", "NoneType". */
const char *val_type_name(struct val v);
bool val_truth(struct run *r, struct val v);
bool val_equal(struct run *r, struct val a, struct val b);
/* <0, 0, >0; fails the run when Python cannot order them. op names the operator for the message. */
int val_compare(struct run *r, struct val a, struct val b, const char *op);
/* len(); -1 when the value has none. */
int64_t val_length(struct run *r, struct val v);
/* `item in container`. */
bool val_contains(struct run *r, struct val container, struct val item);

struct seq *seq_create(struct run *r, size_t cap);
void seq_push(struct run *r, struct seq *s, struct val v);
struct val seq_val(enum val_type type, struct seq *s);
struct val seq_generator(struct seq *s);
/* Removes and returns one item; index < len. */
struct val seq_remove(struct seq *s, size_t index);
/*
 * The items of anything that can be iterated, as an array that must not be written to (a list's own
 * memory where possible); walks a generator to its end. Fails the run on other values.
 */
const struct val *seq_of(struct run *r, struct val v, size_t *ret_len);
bool seq_can_iterate(struct val v);
struct seq_sorted {
    struct val key, value;
};
/* Stable, also when reversed (equal keys keep their order), as Python's sorted(). */
void seq_sort(struct run *r, struct seq_sorted *items, size_t n, bool reverse);
struct val range_at(const struct range *g, uint64_t index);
uint64_t range_length(const struct range *g);

struct dict *dict_create(struct run *r);
/* Fails the run on keys that cannot be hashed. NULL when there is none. */
struct val *dict_find(struct run *r, const struct dict *d, struct val key);
struct val *dict_find_str(struct run *r, const struct dict *d, const char *key);
void dict_set(struct run *r, struct dict *d, struct val key, struct val value);
void dict_set_str(struct run *r, struct dict *d, const char *key, struct val value);
/* The next entry at or after *pos, which is moved behind it; NULL at the end. */
const struct dict_entry *dict_next(const struct dict *d, size_t *pos);
struct val dict_view(struct run *r, const struct dict *d, const char *name);

#endif
