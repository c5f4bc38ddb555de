/* SPDX-License-Identifier: MIT */
/* Tokens to nodes. parser_run is the entry; the rest is shared by the two halves of the parser. */
#ifndef HEARTH_TEMPLATE_PARSER_H
#define HEARTH_TEMPLATE_PARSER_H

#include "template/ast.h"
#include "template/lexer.h"

enum { PARSER_HEIGHT_MAX = 250 };

struct parser {
    struct run *r;
    const struct token *t; /* the current one */
    struct dict *names;    /* text -> itself, for interning */
    bool is_soft;          /* inside an if: unknown filters fail only when they are reached */
    int loops;             /* open ones, for break and continue */
};

/* The template's statements. Fails the run with the line on a syntax error. */
struct nodes *parser_run(struct run *r, const struct token *tokens);

noreturn void parser_fail(struct parser *p, const char *expected);
const struct str *parser_intern(struct parser *p, const char *text, size_t len);
struct node *parser_node(struct parser *p, enum node_type type);
/* Raises n's height above child's (NULL allowed) and refuses trees that are too high. */
void parser_adopt(struct parser *p, struct node *n, const struct node *child);
void parser_add(struct parser *p, struct nodes *list, struct node *n);

bool parser_is_op(const struct parser *p, int op);
bool parser_is_name(const struct parser *p, const char *name);
bool parser_skip_op(struct parser *p, int op);
bool parser_skip_name(struct parser *p, const char *name);
void parser_expect_op(struct parser *p, int op, const char *what);

struct node *parser_expression(struct parser *p);
/* As parser_expression without `a if b else c`. */
struct node *parser_or(struct parser *p);
struct node *parser_primary(struct parser *p);
/* .name, [index] and (args) behind n. */
struct node *parser_postfix(struct parser *p, struct node *n);
/* A call, filter or test of object; its arguments, from behind the '('. */
struct node *parser_call(struct parser *p, enum node_type type, struct node *object);
void parser_args(struct parser *p, struct node *n);
/* Expressions separated by commas; stops before the name `until` (NULL: none). */
struct node *parser_tuple(struct parser *p, bool allow_conditional, const char *until);
/* `name(args)|...`; object is what the first filter is applied to. */
struct node *parser_filters(struct parser *p, struct node *object, bool start_inline);
/* What can be assigned to: a name, a tuple of names, with_namespace also `ns.attribute`. */
struct node *parser_target(struct parser *p, bool with_namespace, const char *until);

#endif
