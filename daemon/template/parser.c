/* SPDX-License-Identifier: MIT */
/* Statements. */
#include "template/parser.h"

#include <errno.h>
#include <stdio.h>

#include "template/str.h"

static void parse_body(struct parser *p, struct nodes *body, const char *const *ends, int line);

void parser_fail(struct parser *p, const char *expected)
{
    p->r->line = p->t->line;
    if (p->t->type == TOKEN_END)
        run_fail(p->r, EINVAL, "expected %s but the template ends", expected);
    if (p->t->type == TOKEN_BLOCK_END || p->t->type == TOKEN_PRINT_END)
        run_fail(p->r, EINVAL, "expected %s but the tag ends", expected);
    run_fail(p->r, EINVAL, "expected %s but found '%.*s'", expected,
             (int)(p->t->len < 40 ? p->t->len : 40), p->t->text);
}

const struct str *parser_intern(struct parser *p, const char *text, size_t len)
{
    struct str key = {.data = text, .len = len};
    struct val *found = dict_find(p->r, p->names, val_str(&key));
    struct str *name;

    if (found)
        return found->str;
    name = str_borrow(p->r, text, len);
    dict_set(p->r, p->names, val_str(name), val_str(name));
    return name;
}

struct node *parser_node(struct parser *p, enum node_type type)
{
    struct node *n = run_new(p->r, struct node);

    run_step(p->r, 1);
    n->type = type;
    n->line = p->r->line = p->t->line;
    return n;
}

void parser_adopt(struct parser *p, struct node *n, const struct node *child)
{
    if (!child || child->height < n->height)
        return;
    n->height = child->height + 1;
    if (n->height > PARSER_HEIGHT_MAX)
        run_fail(p->r, E2BIG, "nested too deeply, more than %d levels", PARSER_HEIGHT_MAX);
}

void parser_add(struct parser *p, struct nodes *list, struct node *n)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        struct node **more = run_alloc(p->r, cap, sizeof(*more));

        if (list->n)
            memcpy(more, list->items, list->n * sizeof(*more));
        list->items = more;
        list->cap = cap;
    }
    list->items[list->n++] = n;
}

bool parser_is_op(const struct parser *p, int op)
{
    return p->t->type == TOKEN_OP && p->t->op == op;
}

static bool token_is_name(const struct token *t, const char *name)
{
    return t->type == TOKEN_NAME && t->len == strlen(name) && !memcmp(t->text, name, t->len);
}

bool parser_is_name(const struct parser *p, const char *name)
{
    return token_is_name(p->t, name);
}

bool parser_skip_op(struct parser *p, int op)
{
    bool is_there = parser_is_op(p, op);

    p->t += is_there;
    return is_there;
}

bool parser_skip_name(struct parser *p, const char *name)
{
    bool is_there = parser_is_name(p, name);

    p->t += is_there;
    return is_there;
}

void parser_expect_op(struct parser *p, int op, const char *what)
{
    if (!parser_skip_op(p, op))
        parser_fail(p, what);
}

static void expect_block_end(struct parser *p)
{
    if (p->t->type != TOKEN_BLOCK_END)
        parser_fail(p, "the end of the tag");
    p->t++;
}

/* Parses the body up to one of the end tags and goes behind that tag's name. */
static void parse_block(struct parser *p, struct nodes *body, const char *const *ends)
{
    const int line = p->t->line;

    parser_skip_op(p, ':');
    expect_block_end(p);
    run_enter(p->r);
    parse_body(p, body, ends, line);
    run_leave(p->r);
}

/* As parse_block with one end tag, its own end left to the caller. */
static void parse_block_to(struct parser *p, struct nodes *body, const char *end)
{
    const char *const ends[] = {end, NULL};

    parse_block(p, body, ends);
    p->t++;
}

static void adopt_all(struct parser *p, struct node *n, const struct nodes *list)
{
    for (size_t i = 0; i < list->n; i++)
        parser_adopt(p, n, list->items[i]);
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct node *n = parser_node(p, NODE_IF);
    const bool was_soft = p->is_soft;
    size_t cap = 0, k = 0;

    p->is_soft = true;
    do {
        if (k == cap) {
            struct nodes *more = run_alloc(p->r, cap = cap ? cap * 2 : 2, sizeof(*more));

            if (k)
                memcpy(more, n->branch.bodies, k * sizeof(*more));
            n->branch.bodies = more;
        }
        parser_add(p, &n->branch.tests, parser_tuple(p, false, NULL));
        parse_block(p, &n->branch.bodies[k], ends);
        adopt_all(p, n, &n->branch.bodies[k]);
        k++;
    } while (parser_skip_name(p, "elif"));
    if (parser_skip_name(p, "else"))
        parse_block(p, &n->branch.otherwise, last);
    p->t++;
    p->is_soft = was_soft;
    adopt_all(p, n, &n->branch.tests);
    adopt_all(p, n, &n->branch.otherwise);
    return n;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct node *n = parser_node(p, NODE_FOR);
    const bool was_soft = p->is_soft;

    n->loop.target = parser_target(p, false, "in");
    if (!parser_skip_name(p, "in"))
        parser_fail(p, "'in'");
    n->loop.iter = parser_tuple(p, false, "recursive");
    p->is_soft = false;
    if (parser_skip_name(p, "if"))
        n->loop.test = parser_expression(p);
    n->loop.loop_name = parser_intern(p, "loop", 4);
    n->loop.is_recursive = parser_skip_name(p, "recursive");
    p->loops++;
    parse_block(p, &n->loop.body, ends);
    p->loops--;
    if (parser_skip_name(p, "else"))
        parse_block_to(p, &n->loop.otherwise, "endfor");
    else
        p->t++;
    p->is_soft = was_soft;
    parser_adopt(p, n, n->loop.iter);
    parser_adopt(p, n, n->loop.test);
    adopt_all(p, n, &n->loop.body);
    adopt_all(p, n, &n->loop.otherwise);
    return n;
}

static struct node *parse_set(struct parser *p)
{
    struct node *n = parser_node(p, NODE_SET);

    n->set.target = parser_target(p, true, NULL);
    if (parser_skip_op(p, '=')) {
        n->set.value = parser_tuple(p, true, NULL);
        parser_adopt(p, n, n->set.value);
        return n;
    }
    n->type = NODE_SET_BLOCK;
    n->set.filter = parser_filters(p, NULL, false);
    parse_block_to(p, &n->set.body, "endset");
    parser_adopt(p, n, n->set.filter);
    adopt_all(p, n, &n->set.body);
    return n;
}

static void add_param(struct parser *p, struct node *n, size_t *cap)
{
    struct param *param;

    if (n->macro.n_params == *cap) {
        struct param *more = run_alloc(p->r, *cap = *cap ? *cap * 2 : 4, sizeof(*more));

        if (n->macro.n_params)
            memcpy(more, n->macro.params, n->macro.n_params * sizeof(*more));
        n->macro.params = more;
    }
    if (p->t->type != TOKEN_NAME)
        parser_fail(p, "a parameter's name");
    param = &n->macro.params[n->macro.n_params++];
    param->name = parser_intern(p, p->t->text, p->t->len);
    p->t++;
    if (parser_skip_op(p, '=')) {
        param->fallback = parser_expression(p);
        parser_adopt(p, n, param->fallback);
    } else if (n->macro.n_params > 1 && param[-1].fallback) {
        parser_fail(p, "a default, because the parameter before has one");
    }
}

static void parse_params(struct parser *p, struct node *n)
{
    size_t cap = 0;

    parser_expect_op(p, '(', "'('");
    while (!parser_is_op(p, ')')) {
        if (n->macro.n_params)
            parser_expect_op(p, ',', "',' or ')'");
        add_param(p, n, &cap);
    }
    p->t++;
}

/* Which of the special names the tokens of a body mention. */
static void note_specials(struct parser *p, struct node *n, const struct token *from)
{
    for (const struct token *t = from; t < p->t; t++) {
        if (token_is_name(t, "caller"))
            n->macro.caller = parser_intern(p, t->text, t->len);
        else if (token_is_name(t, "varargs"))
            n->macro.varargs = parser_intern(p, t->text, t->len);
        else if (token_is_name(t, "kwargs"))
            n->macro.kwargs = parser_intern(p, t->text, t->len);
    }
}

static void parse_macro_body(struct parser *p, struct node *n, const char *end)
{
    const struct token *from = p->t;
    const bool was_soft = p->is_soft;
    const int loops = p->loops;

    p->is_soft = false;
    p->loops = 0;
    parse_block_to(p, &n->macro.body, end);
    p->is_soft = was_soft;
    p->loops = loops;
    run_step(p->r, (size_t)(p->t - from));
    note_specials(p, n, from);
    adopt_all(p, n, &n->macro.body);
}

static struct node *parse_macro(struct parser *p)
{
    struct node *n = parser_node(p, NODE_MACRO);

    if (p->t->type != TOKEN_NAME)
        parser_fail(p, "the macro's name");
    n->macro.name = parser_intern(p, p->t->text, p->t->len);
    p->t++;
    parse_params(p, n);
    parse_macro_body(p, n, "endmacro");
    return n;
}

static struct node *parse_call_block(struct parser *p)
{
    struct node *n = parser_node(p, NODE_CALL_BLOCK);

    if (parser_is_op(p, '('))
        parse_params(p, n);
    n->macro.call = parser_expression(p);
    if (n->macro.call->type != NODE_CALL)
        parser_fail(p, "a call of a macro");
    parser_adopt(p, n, n->macro.call);
    parse_macro_body(p, n, "endcall");
    return n;
}

static struct node *parse_filter_block(struct parser *p)
{
    struct node *n = parser_node(p, NODE_FILTER_BLOCK);

    n->filter_block.filter = parser_filters(p, NULL, true);
    parse_block_to(p, &n->filter_block.body, "endfilter");
    parser_adopt(p, n, n->filter_block.filter);
    adopt_all(p, n, &n->filter_block.body);
    return n;
}

static struct node *parse_with(struct parser *p)
{
    struct node *n = parser_node(p, NODE_WITH);

    while (p->t->type != TOKEN_BLOCK_END) {
        struct node *value;

        if (n->with.targets.n)
            parser_expect_op(p, ',', "',' or the end of the tag");
        parser_add(p, &n->with.targets, parser_target(p, false, NULL));
        parser_expect_op(p, '=', "'='");
        value = parser_expression(p);
        parser_add(p, &n->with.values, value);
        parser_adopt(p, n, value);
    }
    parse_block_to(p, &n->with.body, "endwith");
    adopt_all(p, n, &n->with.body);
    return n;
}

static struct node *parse_scope(struct parser *p, const char *end)
{
    struct node *n = parser_node(p, NODE_SCOPE);

    parse_block_to(p, &n->items, end);
    adopt_all(p, n, &n->items);
    return n;
}

static struct node *parse_named_block(struct parser *p)
{
    struct node *n;
    const struct token *name = p->t;
    bool is_scoped;

    if (name->type != TOKEN_NAME)
        parser_fail(p, "the block's name");
    p->t++;
    is_scoped = parser_skip_name(p, "scoped");
    parser_skip_name(p, "required");
    n = parse_scope(p, "endblock");
    if (!is_scoped)
        n->type = NODE_BLOCK;
    if (p->t->type == TOKEN_NAME && p->t->len == name->len &&
        !memcmp(p->t->text, name->text, name->len))
        p->t++;
    return n;
}

static struct node *parse_autoescape(struct parser *p)
{
    if (!parser_skip_name(p, "false") && !parser_skip_name(p, "False"))
        parser_fail(p, "'false': chat templates are not HTML");
    return parse_scope(p, "endautoescape");
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = parser_node(p, NODE_PRINT);

    n->binary.left = parser_tuple(p, true, NULL);
    parser_adopt(p, n, n->binary.left);
    return n;
}

static struct node *parse_jump(struct parser *p, enum node_type type)
{
    if (!p->loops)
        run_fail(p->r, EINVAL, "break and continue belong into a loop");
    return parser_node(p, type);
}

static struct node *parse_statement(struct parser *p)
{
    p->r->line = p->t->line;
    if (parser_skip_name(p, "if"))
        return parse_if(p);
    if (parser_skip_name(p, "for"))
        return parse_for(p);
    if (parser_skip_name(p, "set"))
        return parse_set(p);
    if (parser_skip_name(p, "macro"))
        return parse_macro(p);
    if (parser_skip_name(p, "call"))
        return parse_call_block(p);
    if (parser_skip_name(p, "filter"))
        return parse_filter_block(p);
    if (parser_skip_name(p, "with"))
        return parse_with(p);
    if (parser_skip_name(p, "print"))
        return parse_print(p);
    if (parser_skip_name(p, "break"))
        return parse_jump(p, NODE_BREAK);
    if (parser_skip_name(p, "continue"))
        return parse_jump(p, NODE_CONTINUE);
    if (parser_skip_name(p, "generation"))
        return parse_scope(p, "endgeneration");
    if (parser_skip_name(p, "block"))
        return parse_named_block(p);
    if (parser_skip_name(p, "autoescape"))
        return parse_autoescape(p);
    parser_fail(p, "a tag that chat templates know");
}

static bool is_end(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++) {
        if (parser_is_name(p, *ends))
            return true;
    }
    return false;
}

/*
 * ends: NULL at the top, where only the template's end ends the body. line: where the block began.
 */
static void parse_body(struct parser *p, struct nodes *body, const char *const *ends, int line)
{
    struct node *n;

    for (;;) {
        switch (p->t->type) {
        case TOKEN_DATA:
            n = parser_node(p, NODE_DATA);
            n->data = str_borrow(p->r, p->t->text, p->t->len);
            p->t++;
            break;
        case TOKEN_PRINT_BEGIN:
            p->t++;
            n = parse_print(p);
            if (p->t->type != TOKEN_PRINT_END)
                parser_fail(p, "'}}'");
            p->t++;
            break;
        case TOKEN_BLOCK_BEGIN:
            p->t++;
            if (is_end(p, ends))
                return;
            n = parse_statement(p);
            expect_block_end(p);
            break;
        default:
            if (!ends)
                return;
            while (memcmp(*ends, "end", 3) != 0)
                ends++;
            p->r->line = line;
            run_fail(p->r, EINVAL, "the block that starts here lacks its {%% %s %%}", *ends);
        }
        parser_add(p, body, n);
    }
}

struct nodes *parser_run(struct run *r, const struct token *tokens)
{
    struct parser p = {.r = r, .t = tokens, .names = dict_create(r)};
    struct nodes *body = run_new(r, struct nodes);

    parse_body(&p, body, NULL, 1);
    return body;
}
