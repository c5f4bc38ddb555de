/* SPDX-License-Identifier: MIT */
/* What expressions are made of: literals, names, brackets, and what may follow them. */
#include <errno.h>
#include <stdlib.h>

#include "template/parser.h"
#include "template/str.h"

static struct node *make_const(struct parser *p, struct val v)
{
    struct node *n = parser_node(p, NODE_CONST);

    n->value = v;
    return n;
}

static struct node *parse_number(struct parser *p)
{
    char digits[400];
    size_t n = 0;
    int base = 10;
    long long i;

    for (size_t k = 0; k < p->t->len; k++) {
        if (p->t->text[k] == '_')
            continue;
        if (n + 1 >= sizeof(digits))
            run_fail(p->r, EINVAL, "a number is too long");
        digits[n++] = p->t->text[k];
    }
    digits[n] = 0;
    if (p->t->type == TOKEN_FLOAT) {
        p->t++;
        return make_const(p, val_float(strtod(digits, NULL)));
    }
    if (n > 2 && digits[0] == '0' && digits[1] > '9')
        base = (digits[1] | 0x20) == 'x' ? 16 : (digits[1] | 0x20) == 'o' ? 8 : 2;
    else if (n > 1 && digits[0] == '0' && strspn(digits, "0") < n)
        parser_fail(p, "a number without leading zeros");
    errno = 0;
    i = strtoll(base == 10 ? digits : digits + 2, NULL, base);
    if (errno)
        run_fail(p->r, EINVAL, "the number %.40s does not fit into 64 bits", digits);
    p->t++;
    return make_const(p, val_int(i));
}

static struct node *parse_strings(struct parser *p)
{
    struct text t = {0};

    if (p->t[1].type != TOKEN_STRING) {
        struct str *s = str_borrow(p->r, p->t->text, p->t->len);

        p->t++;
        return make_const(p, val_str(s));
    }
    for (; p->t->type == TOKEN_STRING; p->t++)
        text_add(p->r, &t, p->t->text, p->t->len);
    return make_const(p, val_str(text_finish(p->r, &t)));
}

static struct node *parse_name(struct parser *p)
{
    struct node *n;

    if (parser_skip_name(p, "true") || parser_skip_name(p, "True"))
        return make_const(p, val_bool(true));
    if (parser_skip_name(p, "false") || parser_skip_name(p, "False"))
        return make_const(p, val_bool(false));
    if (parser_skip_name(p, "none") || parser_skip_name(p, "None"))
        return make_const(p, val_none());
    n = parser_node(p, NODE_NAME);
    n->name = parser_intern(p, p->t->text, p->t->len);
    p->t++;
    return n;
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = parser_node(p, NODE_LIST);

    while (!parser_is_op(p, ']')) {
        struct node *item;

        if (n->items.n)
            parser_expect_op(p, ',', "',' or ']'");
        if (parser_is_op(p, ']'))
            break;
        item = parser_expression(p);
        parser_add(p, &n->items, item);
        parser_adopt(p, n, item);
    }
    p->t++;
    return n;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = parser_node(p, NODE_DICT);

    while (!parser_is_op(p, '}')) {
        struct node *key, *value;

        if (n->items.n)
            parser_expect_op(p, ',', "',' or '}'");
        if (parser_is_op(p, '}'))
            break;
        key = parser_expression(p);
        parser_expect_op(p, ':', "':'");
        value = parser_expression(p);
        parser_add(p, &n->items, key);
        parser_add(p, &n->items, value);
        parser_adopt(p, n, key);
        parser_adopt(p, n, value);
    }
    p->t++;
    return n;
}

static bool is_tuple_end(const struct parser *p, const char *until)
{
    return p->t->type == TOKEN_PRINT_END || p->t->type == TOKEN_BLOCK_END || parser_is_op(p, ')') ||
           (until && parser_is_name(p, until));
}

/* in_parentheses: `()` is the empty tuple. */
static struct node *parse_tuple_body(struct parser *p, bool allow_conditional, const char *until,
                                     bool in_parentheses)
{
    struct nodes items = {0};
    struct node *n;
    bool is_tuple = false;

    do {
        if (is_tuple_end(p, until))
            break;
        parser_add(p, &items, allow_conditional ? parser_expression(p) : parser_or(p));
        if (parser_is_op(p, ','))
            is_tuple = true;
    } while (parser_skip_op(p, ','));
    if (!is_tuple && items.n)
        return items.items[0];
    if (!is_tuple && !in_parentheses)
        parser_fail(p, "an expression");
    n = parser_node(p, NODE_TUPLE);
    n->items = items;
    for (size_t i = 0; i < items.n; i++)
        parser_adopt(p, n, items.items[i]);
    return n;
}

struct node *parser_tuple(struct parser *p, bool allow_conditional, const char *until)
{
    return parse_tuple_body(p, allow_conditional, until, false);
}

struct node *parser_primary(struct parser *p)
{
    struct node *n;

    switch (p->t->type) {
    case TOKEN_NAME:
        return parse_name(p);
    case TOKEN_STRING:
        return parse_strings(p);
    case TOKEN_INT:
    case TOKEN_FLOAT:
        return parse_number(p);
    default:
        break;
    }
    if (parser_skip_op(p, '(')) {
        n = parse_tuple_body(p, true, NULL, true);
        parser_expect_op(p, ')', "')'");
        return n;
    }
    if (parser_skip_op(p, '['))
        return parse_list(p);
    if (parser_skip_op(p, '{'))
        return parse_dict(p);
    parser_fail(p, "an expression");
}

static void add_named(struct parser *p, struct call_args *args, struct str *name,
                      struct node *value)
{
    if (args->n_named == args->cap_named) {
        size_t cap = args->cap_named ? args->cap_named * 2 : 4;
        struct named_arg *more = run_alloc(p->r, cap, sizeof(*more));

        if (args->n_named)
            memcpy(more, args->named, args->n_named * sizeof(*more));
        args->named = more;
        args->cap_named = cap;
    }
    for (size_t i = 0; i < args->n_named; i++) {
        run_step(p->r, 1);
        if (str_equal(args->named[i].name, name))
            parser_fail(p, "each argument's name only once");
    }
    args->named[args->n_named++] = (struct named_arg){name, value};
}

static struct node *parse_arg(struct parser *p, struct call_args *args)
{
    struct node *value;

    if (parser_skip_op(p, '*')) {
        if (args->star || args->star_star)
            parser_fail(p, "one * argument, before **");
        return args->star = parser_expression(p);
    }
    if (parser_skip_op(p, TOKEN_OP2('*', '*'))) {
        if (args->star_star)
            parser_fail(p, "one ** argument");
        return args->star_star = parser_expression(p);
    }
    if (args->star_star)
        parser_fail(p, "nothing behind a ** argument");
    if (p->t->type == TOKEN_NAME && p->t[1].type == TOKEN_OP && p->t[1].op == '=') {
        struct str *name = str_borrow(p->r, p->t->text, p->t->len);

        p->t += 2;
        value = parser_expression(p);
        add_named(p, args, name, value);
        return value;
    }
    if (args->n_named || args->star)
        parser_fail(p, "arguments without a name first");
    value = parser_expression(p);
    parser_add(p, &args->positional, value);
    return value;
}

/* Behind the '('. */
void parser_args(struct parser *p, struct node *n)
{
    bool is_first = true;

    while (!parser_is_op(p, ')')) {
        if (!is_first)
            parser_expect_op(p, ',', "',' or ')'");
        is_first = false;
        if (parser_is_op(p, ')'))
            break;
        parser_adopt(p, n, parse_arg(p, &n->call.args));
    }
    p->t++;
}

struct node *parser_call(struct parser *p, enum node_type type, struct node *object)
{
    struct node *n = parser_node(p, type);

    n->call.object = object;
    parser_adopt(p, n, object);
    return n;
}

static struct node *slice_part(struct parser *p, struct node *n)
{
    struct node *part;

    if (parser_is_op(p, ':') || parser_is_op(p, ']') || parser_is_op(p, ','))
        return NULL;
    part = parser_expression(p);
    parser_adopt(p, n, part);
    return part;
}

static struct node *parse_index(struct parser *p)
{
    struct node *start = NULL, *n;

    if (!parser_is_op(p, ':')) {
        start = parser_expression(p);
        if (!parser_is_op(p, ':'))
            return start;
    }
    p->t++;
    n = parser_node(p, NODE_SLICE);
    n->slice.start = start;
    parser_adopt(p, n, start);
    n->slice.stop = slice_part(p, n);
    if (parser_skip_op(p, ':'))
        n->slice.step = slice_part(p, n);
    return n;
}

static struct node *parse_brackets(struct parser *p, struct node *object)
{
    struct nodes items = {0};
    struct node *n = parser_node(p, NODE_ITEM);

    while (!parser_is_op(p, ']')) {
        if (items.n)
            parser_expect_op(p, ',', "',' or ']'");
        parser_add(p, &items, parse_index(p));
    }
    p->t++;
    n->item.object = object;
    if (items.n == 1) {
        n->item.index = items.items[0];
    } else {
        n->item.index = parser_node(p, NODE_TUPLE);
        n->item.index->items = items;
        for (size_t i = 0; i < items.n; i++) {
            if (items.items[i]->type == NODE_SLICE)
                parser_fail(p, "one slice");
            parser_adopt(p, n->item.index, items.items[i]);
        }
    }
    parser_adopt(p, n, object);
    parser_adopt(p, n, n->item.index);
    return n;
}

static struct node *parse_dot(struct parser *p, struct node *object)
{
    struct node *n;

    if (p->t->type == TOKEN_NAME) {
        n = parser_node(p, NODE_ATTRIBUTE);
        n->attribute.object = object;
        n->attribute.name = str_borrow(p->r, p->t->text, p->t->len);
        p->t++;
    } else if (p->t->type == TOKEN_INT) {
        n = parser_node(p, NODE_ITEM);
        n->item.object = object;
        n->item.index = parse_number(p);
    } else {
        parser_fail(p, "a name or number behind '.'");
    }
    parser_adopt(p, n, object);
    return n;
}

struct node *parser_postfix(struct parser *p, struct node *n)
{
    for (;;) {
        if (parser_skip_op(p, '.')) {
            n = parse_dot(p, n);
        } else if (parser_skip_op(p, '[')) {
            n = parse_brackets(p, n);
        } else if (parser_skip_op(p, '(')) {
            n = parser_call(p, NODE_CALL, n);
            parser_args(p, n);
        } else {
            return n;
        }
    }
}

struct node *parser_target(struct parser *p, bool with_namespace, const char *until)
{
    struct node *n;

    if (with_namespace && p->t->type == TOKEN_NAME && p->t[1].type == TOKEN_OP &&
        p->t[1].op == '.') {
        n = parser_node(p, NODE_NAMESPACE_REF);
        n->ref.object = parser_intern(p, p->t->text, p->t->len);
        p->t += 2;
        if (p->t->type != TOKEN_NAME)
            parser_fail(p, "an attribute's name");
        n->ref.name = str_borrow(p->r, p->t->text, p->t->len);
        p->t++;
        return n;
    }
    n = parser_node(p, NODE_TUPLE);
    for (bool more = true; more && !is_tuple_end(p, until) && !parser_is_op(p, '=');
         more = parser_skip_op(p, ',')) {
        struct node *item;

        run_enter(p->r);
        if (parser_skip_op(p, '(')) {
            item = parser_target(p, false, NULL);
            parser_expect_op(p, ')', "')'");
        } else {
            item = p->t->type == TOKEN_NAME ? parse_name(p) : NULL;
        }
        run_leave(p->r);
        if (!item || item->type == NODE_CONST)
            parser_fail(p, "a name to assign to");
        parser_add(p, &n->items, item);
        parser_adopt(p, n, item);
        if (n->items.n == 1 && !parser_is_op(p, ','))
            return item;
    }
    if (!n->items.n)
        parser_fail(p, "a name to assign to");
    return n;
}
