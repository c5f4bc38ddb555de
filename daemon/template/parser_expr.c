/* SPDX-License-Identifier: MIT */
/* Expressions, from the loosest binding to the tightest. */
#include <errno.h>

#include "template/checks.h"
#include "template/filters.h"
#include "template/parser.h"
#include "template/str.h"

static struct node *parse_unary(struct parser *p, bool with_filter);

static struct node *make_pair(struct parser *p, enum node_type type, struct node *a, struct node *b)
{
    struct node *n = parser_node(p, type);

    n->binary.left = a;
    n->binary.right = b;
    parser_adopt(p, n, a);
    parser_adopt(p, n, b);
    return n;
}

/* A filter's or test's name, which may hold dots. */
static struct str *parse_dotted(struct parser *p)
{
    const struct token *first = p->t;

    if (p->t->type != TOKEN_NAME)
        parser_fail(p, "a name");
    p->t++;
    while (parser_is_op(p, '.') && p->t[1].type == TOKEN_NAME)
        p->t += 2;
    return str_borrow(p->r, first->text, (size_t)(p->t[-1].text + p->t[-1].len - first->text));
}

static void check_found(struct parser *p, const struct node *n, const char *what)
{
    if (!n->call.found && !p->is_soft)
        run_fail(p->r, EINVAL, "there is no %s named '%.*s'", what,
                 (int)(n->call.name->len < 80 ? n->call.name->len : 80), n->call.name->data);
}

struct node *parser_filters(struct parser *p, struct node *object, bool start_inline)
{
    while (start_inline || parser_skip_op(p, '|')) {
        struct node *n = parser_call(p, NODE_FILTER, object);

        n->call.name = parse_dotted(p);
        n->call.found = filters_find(n->call.name);
        check_found(p, n, "filter");
        if (parser_skip_op(p, '('))
            parser_args(p, n);
        object = n;
        start_inline = false;
    }
    return object;
}

static bool starts_test_arg(const struct parser *p)
{
    switch (p->t->type) {
    case TOKEN_NAME:
        return !parser_is_name(p, "else") && !parser_is_name(p, "or") && !parser_is_name(p, "and");
    case TOKEN_STRING:
    case TOKEN_INT:
    case TOKEN_FLOAT:
        return true;
    default:
        return parser_is_op(p, '[') || parser_is_op(p, '{');
    }
}

/* Behind `is`. */
static struct node *parse_test(struct parser *p, struct node *object)
{
    const bool is_negated = parser_skip_name(p, "not");
    struct node *n = parser_call(p, NODE_TEST, object);

    n->call.name = parse_dotted(p);
    n->call.found = checks_find(n->call.name);
    check_found(p, n, "test");
    if (parser_skip_op(p, '(')) {
        parser_args(p, n);
    } else if (starts_test_arg(p)) {
        struct node *arg;

        if (parser_is_name(p, "is"))
            parser_fail(p, "one test; they cannot be chained with `is`");
        arg = parser_postfix(p, parser_primary(p));
        parser_add(p, &n->call.args.positional, arg);
        parser_adopt(p, n, arg);
    }
    return is_negated ? make_pair(p, NODE_NOT, n, NULL) : n;
}

static struct node *parse_filters_and_tests(struct parser *p, struct node *n)
{
    for (;;) {
        if (parser_is_op(p, '|')) {
            n = parser_filters(p, n, false);
        } else if (parser_skip_name(p, "is")) {
            n = parse_test(p, n);
        } else if (parser_skip_op(p, '(')) {
            n = parser_call(p, NODE_CALL, n);
            parser_args(p, n);
        } else {
            return n;
        }
    }
}

static struct node *parse_unary(struct parser *p, bool with_filter)
{
    struct node *n;

    run_enter(p->r);
    if (parser_skip_op(p, '-'))
        n = make_pair(p, NODE_NEGATIVE, parse_unary(p, false), NULL);
    else if (parser_skip_op(p, '+'))
        n = make_pair(p, NODE_POSITIVE, parse_unary(p, false), NULL);
    else
        n = parser_primary(p);
    n = parser_postfix(p, n);
    if (with_filter)
        n = parse_filters_and_tests(p, n);
    run_leave(p->r);
    return n;
}

static struct node *make_binary(struct parser *p, enum op op, struct node *a, struct node *b)
{
    struct node *n = make_pair(p, NODE_BINARY, a, b);

    n->binary.op = op;
    return n;
}

static struct node *parse_power(struct parser *p)
{
    struct node *left = parse_unary(p, true);

    while (parser_skip_op(p, TOKEN_OP2('*', '*')))
        left = make_binary(p, OP_POW, left, parse_unary(p, true));
    return left;
}

static struct node *parse_product(struct parser *p)
{
    struct node *left = parse_power(p);

    for (;;) {
        enum op op;

        if (parser_skip_op(p, '*'))
            op = OP_MUL;
        else if (parser_skip_op(p, '/'))
            op = OP_DIV;
        else if (parser_skip_op(p, TOKEN_OP2('/', '/')))
            op = OP_FLOORDIV;
        else if (parser_skip_op(p, '%'))
            op = OP_MOD;
        else
            return left;
        left = make_binary(p, op, left, parse_power(p));
    }
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p), *n;

    if (!parser_is_op(p, '~'))
        return first;
    n = parser_node(p, NODE_CONCAT);
    parser_add(p, &n->items, first);
    parser_adopt(p, n, first);
    while (parser_skip_op(p, '~')) {
        struct node *item = parse_product(p);

        parser_add(p, &n->items, item);
        parser_adopt(p, n, item);
    }
    return n;
}

static struct node *parse_sum(struct parser *p)
{
    struct node *left = parse_concat(p);

    for (;;) {
        if (parser_skip_op(p, '+'))
            left = make_binary(p, OP_ADD, left, parse_concat(p));
        else if (parser_skip_op(p, '-'))
            left = make_binary(p, OP_SUB, left, parse_concat(p));
        else
            return left;
    }
}

static bool skip_compare(struct parser *p, enum cmp *ret)
{
    static const int ops[] = {
        [CMP_EQ] = TOKEN_OP2('=', '='),
        [CMP_NE] = TOKEN_OP2('!', '='),
        [CMP_LT] = '<',
        [CMP_LE] = TOKEN_OP2('<', '='),
        [CMP_GT] = '>',
        [CMP_GE] = TOKEN_OP2('>', '='),
    };

    for (int i = CMP_EQ; i <= CMP_GE; i++) {
        if (parser_skip_op(p, ops[i])) {
            *ret = (enum cmp)i;
            return true;
        }
    }
    if (parser_skip_name(p, "in")) {
        *ret = CMP_IN;
        return true;
    }
    if (parser_is_name(p, "not") && p->t[1].type == TOKEN_NAME && p->t[1].len == 2 &&
        !memcmp(p->t[1].text, "in", 2)) {
        p->t += 2;
        *ret = CMP_NOT_IN;
        return true;
    }
    return false;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *first = parse_sum(p), *n;
    size_t cap = 0;
    enum cmp op;

    if (!skip_compare(p, &op))
        return first;
    n = parser_node(p, NODE_COMPARE);
    n->compare.first = first;
    parser_adopt(p, n, first);
    do {
        struct node *next = parse_sum(p);

        if (n->compare.rest.n == cap) {
            enum cmp *more = run_alloc(p->r, cap = cap ? cap * 2 : 2, sizeof(*more));

            if (n->compare.rest.n)
                memcpy(more, n->compare.ops, n->compare.rest.n * sizeof(*more));
            n->compare.ops = more;
        }
        n->compare.ops[n->compare.rest.n] = op;
        parser_add(p, &n->compare.rest, next);
        parser_adopt(p, n, next);
    } while (skip_compare(p, &op));
    return n;
}

static struct node *parse_not(struct parser *p)
{
    struct node *n;

    run_enter(p->r);
    if (parser_skip_name(p, "not"))
        n = make_pair(p, NODE_NOT, parse_not(p), NULL);
    else
        n = parse_compare(p);
    run_leave(p->r);
    return n;
}

static struct node *parse_and(struct parser *p)
{
    struct node *left = parse_not(p);

    while (parser_skip_name(p, "and"))
        left = make_pair(p, NODE_AND, left, parse_not(p));
    return left;
}

struct node *parser_or(struct parser *p)
{
    struct node *left = parse_and(p);

    while (parser_skip_name(p, "or"))
        left = make_pair(p, NODE_OR, left, parse_and(p));
    return left;
}

/* The branches of a conditional may name unknown filters; the first is parsed before the `if`. */
static bool has_inline_if(const struct parser *p)
{
    int depth = 0;

    for (const struct token *t = p->t; t->type != TOKEN_END; t++) {
        if (t->type == TOKEN_PRINT_END || t->type == TOKEN_BLOCK_END)
            return false;
        if (t->type == TOKEN_OP && (t->op == '(' || t->op == '[' || t->op == '{'))
            depth++;
        else if (t->type == TOKEN_OP && (t->op == ')' || t->op == ']' || t->op == '}'))
            depth--;
        if (depth < 0 || (depth == 0 && t->type == TOKEN_OP && t->op == ','))
            return false;
        if (depth == 0 && t->type == TOKEN_NAME && t->len == 2 && !memcmp(t->text, "if", 2))
            return true;
        run_step(p->r, 1);
    }
    return false;
}

struct node *parser_expression(struct parser *p)
{
    const bool was_soft = p->is_soft;
    struct node *n;

    run_enter(p->r);
    p->is_soft = was_soft || has_inline_if(p);
    n = parser_or(p);
    while (parser_skip_name(p, "if")) {
        struct node *c = parser_node(p, NODE_CONDITIONAL);

        p->is_soft = true;
        c->conditional.yes = n;
        c->conditional.test = parser_or(p);
        if (parser_skip_name(p, "else"))
            c->conditional.no = parser_expression(p);
        parser_adopt(p, c, n);
        parser_adopt(p, c, c->conditional.test);
        parser_adopt(p, c, c->conditional.no);
        n = c;
    }
    p->is_soft = was_soft;
    run_leave(p->r);
    return n;
}
