/* SPDX-License-Identifier: MIT */
/* The evaluator: expressions, calls, operators and statements. */
#ifndef HEARTH_TEMPLATE_EVAL_H
#define HEARTH_TEMPLATE_EVAL_H

#include "template/ast.h"
#include "template/run.h"

enum exec_flow { EXEC_NEXT, EXEC_BREAK, EXEC_CONTINUE };

enum exec_flow exec_body(struct run *r, struct scope *s, const struct nodes *body);
/* Assigns to a name, a tuple of names or a namespace's attribute. */
void exec_assign(struct run *r, struct scope *s, const struct node *target, struct val v);
/* Runs the body of a loop over items and prints into the current output. */
void exec_loop(struct run *r, struct scope *s, const struct node *n, struct val iterable,
               size_t depth);
/* What body prints, as a string. */
struct str *exec_capture(struct run *r, struct scope *s, const struct nodes *body);

struct val expr_eval(struct run *r, struct scope *s, const struct node *n);
/* Applies a chain of filters whose innermost object is `input`. */
struct val expr_filter_chain(struct run *r, struct scope *s, const struct node *n,
                             struct val input);
/* object.name and object[index] by the rules of the sandbox; undefined when there is none. */
struct val expr_attribute(struct run *r, struct val object, struct str *name);
struct val expr_item(struct run *r, struct val object, struct val index);
/* The function's value, or undefined with a message that says what is missing. */
struct val expr_undefined(struct run *r, const struct str *name);

struct val call_value(struct run *r, struct val callee, const struct arg_list *args);
void call_eval_args(struct run *r, struct scope *s, const struct call_args *from,
                    struct arg_list *to);
struct val call_macro(struct run *r, const struct macro *m, const struct arg_list *args);

struct val op_binary(struct run *r, enum op op, struct val a, struct val b);
struct val op_negative(struct run *r, struct val v);
bool op_compare(struct run *r, enum cmp op, struct val a, struct val b);
/* str % args. */
struct val op_format(struct run *r, struct str *format, struct val args);
/* Fails the run with "'x' is undefined" when v is. */
void op_need_defined(struct run *r, struct val v);

/* The built-in names (range, namespace, raise_exception, ...); NULL when unknown. */
const struct function *globals_find(const struct str *name);

/* A bound method; NULL when the type has none of that name. is_unsafe: it may not be used. */
const struct function *methods_find(struct val object, const struct str *name, bool *is_unsafe);
const struct function *methods_find_str(const struct str *name);

#endif
