/* SPDX-License-Identifier: MIT */
/* The parsed template: nodes in the template's arena, immutable once parsed. */
#ifndef HEARTH_TEMPLATE_AST_H
#define HEARTH_TEMPLATE_AST_H

#include "template/val.h"

enum node_type {
    /* expressions */
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT, /* items: key, value, key, value */
    NODE_NOT,
    NODE_NEGATIVE,
    NODE_POSITIVE,
    NODE_BINARY,
    NODE_AND,
    NODE_OR,
    NODE_COMPARE,
    NODE_CONCAT,
    NODE_CONDITIONAL,
    NODE_ATTRIBUTE,
    NODE_ITEM,
    NODE_SLICE, /* only as the index of an ITEM */
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    /* targets of assignments; also NAME and TUPLE */
    NODE_NAMESPACE_REF,
    /* statements */
    NODE_DATA,
    NODE_PRINT,
    NODE_IF,
    NODE_FOR,
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_WITH,
    NODE_SCOPE, /* a body with its own variables: generation */
    NODE_BLOCK,
    NODE_BREAK,
    NODE_CONTINUE,
};

enum op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW };
enum cmp { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct nodes {
    struct node **items;
    size_t n, cap;
};

struct named_arg {
    struct str *name;
    struct node *value;
};

struct call_args {
    struct nodes positional;
    struct named_arg *named;
    size_t n_named, cap_named;
    struct node *star, *star_star; /* NULL when absent */
};

struct param {
    const struct str *name; /* interned */
    struct node *fallback;  /* NULL: none */
};

struct node {
    enum node_type type;
    int line;
    int height; /* of the tree below, bounded while parsing */
    union {
        struct val value;       /* CONST */
        const struct str *name; /* NAME; interned */
        const struct str *data; /* DATA */
        struct nodes items;     /* LIST, TUPLE, DICT, CONCAT, bodies of SCOPE and BLOCK */
        struct {
            enum op op;
            struct node *left, *right;
        } binary; /* BINARY, AND, OR; NOT, NEGATIVE, POSITIVE and PRINT use left */
        struct {
            struct node *first;
            enum cmp *ops;
            struct nodes rest;
        } compare;
        struct {
            struct node *test, *yes, *no; /* no: NULL gives undefined */
        } conditional;
        struct {
            struct node *object;
            struct str *name;
        } attribute;
        struct {
            struct node *object, *index;
        } item;
        struct {
            struct node *start, *stop, *step;
        } slice;
        struct {
            struct node *object; /* the callee; what a filter or test is applied to (may be NULL) */
            struct str *name;    /* of filter or test */
            const void *found;   /* filter or test, NULL: unknown, fails when evaluated */
            struct call_args args;
        } call;
        struct {
            const struct str *object;
            struct str *name;
        } ref;
        struct {
            struct nodes tests; /* if, elif, ... */
            struct nodes *bodies;
            struct nodes otherwise;
        } branch;
        struct {
            struct node *target, *iter, *test;
            struct nodes body, otherwise;
            bool is_recursive;
            const struct str *loop_name; /* "loop", interned */
        } loop;
        struct {
            struct node *target, *value, *filter; /* filter: of SET_BLOCK, its object NULL */
            struct nodes body;
        } set;
        struct {
            const struct str *name; /* NULL for a call block's body */
            struct param *params;
            size_t n_params;
            const struct str *caller, *varargs, *kwargs; /* interned; NULL: not used in the body */
            struct nodes body;
            struct node *call; /* CALL_BLOCK */
        } macro;
        struct {
            struct node *filter;
            struct nodes body;
        } filter_block;
        struct {
            struct nodes targets, values, body;
        } with;
    };
};

#endif
