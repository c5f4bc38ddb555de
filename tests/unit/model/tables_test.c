/* SPDX-License-Identifier: MIT */
/* Every key and tensor of every architecture's table: what a file may say, and what is refused. */
#include "harness.h"
#include "model_fixture.h"
#include "table_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a change does to a file; the subject is what it is about. */
struct subject {
    const struct arch *arch;
    struct gguf_builder b;
    char what[160]; /* for messages */
};

static void about(struct subject *s, const char *change, const char *what)
{
    snprintf(s->what, sizeof(s->what), "%s: %s %s", s->arch->name, what, change);
}

/* The sentence is one, and names what is wrong. */
static void assert_names(const struct subject *s, const struct error *err, const char *name)
{
    if (!strstr(err->text, name))
        fail_msg("%s is refused with \"%s\", which does not name %s", s->what, err->text, name);
}

static void assert_refused(const struct subject *s, const char *name)
{
    struct error err = {0};

    if (model_fixture_try(&s->b, &err) == 0)
        fail_msg("%s is taken", s->what);
    assert_names(s, &err, name);
}

static const struct arch_dim *dim_row(const struct arch *arch, const char *key)
{
    for (const struct arch_dim *row = arch->dims; row->key; row++)
        if (!strcmp(row->key, key))
            return row;
    return NULL;
}

static const struct arch_real *real_row(const struct arch *arch, const char *key)
{
    for (const struct arch_real *row = arch->reals; row->key; row++)
        if (!strcmp(row->key, key))
            return row;
    return NULL;
}

/* Of a key of the file what stands behind "<architecture>."; NULL for others. */
static const char *own_key(const struct arch *arch, const char *name)
{
    size_t n = strlen(arch->name);

    return !strncmp(name, arch->name, n) && name[n] == '.' ? name + n + 1 : NULL;
}

static bool tells_tables_apart(const struct arch *arch, const char *key)
{
    return arch->only_key && !strcmp(arch->only_key, key);
}

static bool is_of_pattern(const char *tensor, const char *pattern, uint32_t *ret_layer)
{
    const char *hole = strchr(pattern, '%');
    size_t n = hole ? (size_t)(hole - pattern) : 0;
    char *end;

    if (!hole)
        return !strcmp(tensor, pattern);
    if (strncmp(tensor, pattern, n))
        return false;
    *ret_layer = (uint32_t)strtoul(tensor + n, &end, 10);
    return !strcmp(end, hole + 2);
}

/* Whether the model can do without the tensor, of the layers of whose kind it is. */
static bool is_optional(const struct model *m, const char *tensor)
{
    for (const struct arch_weight *row = m->arch->weights; row->pattern; row++) {
        uint32_t layer = 0;

        if (is_of_pattern(tensor, row->pattern, &layer) &&
            (!row->kinds || row->kinds & 1u << m->layers[layer].kind))
            return row->flags & WEIGHT_OPTIONAL;
    }
    fail_msg("no row of the table of %s is for %s", m->arch->name, tensor);
    return false;
}

/* Calls a test for each table with its file. */
static void for_each_table(void (*test)(struct subject *s))
{
    const struct arch *arch;
    size_t n = 0;

    for (; (arch = table_file_arch(n)); n++) {
        struct subject s = {.arch = arch};

        table_file_build(&s.b, arch);
        test(&s);
    }
    assert_true(n > 30);
}

/* ---- a whole file ---- */

static void takes_its_own(struct subject *s)
{
    struct model_fixture f;

    model_fixture_init(&f, &s->b);
    if (f.model->arch != s->arch)
        fail_msg("the file of a table of %s is taken by another of that name", s->arch->name);
    model_fixture_finish(&f);
}

static void a_table_takes_the_file_that_is_made_of_it(void **state)
{
    for_each_table(takes_its_own);
}

/* ---- keys ---- */

static void miss_keys(struct subject *s)
{
    for (size_t i = 0; i < s->b.n_keys; i++) {
        struct subject changed = {.arch = s->arch, .b = s->b};
        const char *name = s->b.keys[i].name, *key = own_key(s->arch, name);
        const struct arch_dim *dim = key ? dim_row(s->arch, key) : NULL;
        const struct arch_real *real = key ? real_row(s->arch, key) : NULL;
        bool is_required = !key || (dim && dim->when_absent == KEY_REQUIRED) ||
                           (real && real->is_required) ||
                           (s->arch->list_key && !strcmp(key, s->arch->list_key));

        if (!is_required || (key && tells_tables_apart(s->arch, key)))
            continue;
        gguf_builder_drop(&changed.b, name);
        about(&changed, "left out", name);
        assert_refused(&changed, name);
    }
}

static void a_key_that_is_missing_is_named(void **state)
{
    for_each_table(miss_keys);
}

static void write_keys_as_text(struct subject *s)
{
    for (size_t i = 1; i < s->b.n_keys; i++) { /* the first is general.architecture, which is */
        struct subject changed = {.arch = s->arch, .b = s->b};
        const char *name = s->b.keys[i].name;

        gguf_builder_str(&changed.b, name, "many");
        about(&changed, "as text", name);
        assert_refused(&changed, name);
    }
}

static void a_key_of_another_type_is_named(void **state)
{
    for_each_table(write_keys_as_text);
}

/* Refused with a sentence about the file, or taken. */
static void try(const struct subject *s)
{
    struct error err = {0};

    if (model_fixture_try(&s->b, &err) == 0)
        return;
    if (!strstr(err.text, s->arch->name) && !strstr(err.text, "tensor") &&
        !strstr(err.text, "heads of"))
        fail_msg("%s is refused with \"%s\", which names nothing of the file", s->what, err.text);
}

static void write_odd_numbers(struct subject *s)
{
    static const uint32_t numbers[] = {0, 1, 3, 7, 1u << 21, (1u << 21) + 1, INT32_MAX, UINT32_MAX};

    for (size_t i = 1; i < s->b.n_keys; i++) {
        const struct builder_key *k = &s->b.keys[i];
        const char *key = own_key(s->arch, k->name);
        const struct arch_dim *dim = key ? dim_row(s->arch, key) : NULL;

        for (size_t n = 0; k->type == GGUF_VALUE_U32 && n < 8; n++) {
            struct subject changed = {.arch = s->arch, .b = s->b};
            char change[32];

            snprintf(change, sizeof(change), "of %u", numbers[n]);
            about(&changed, change, k->name);
            gguf_builder_u32(&changed.b, k->name, numbers[n]);
            if (!numbers[n] && dim && dim->when_absent != KEY_OR_ZERO &&
                !tells_tables_apart(s->arch, key))
                assert_refused(&changed, k->name);
            else if (numbers[n] == UINT32_MAX && dim && dim->dim != DIM_CONTEXT &&
                     dim->dim != DIM_ROPE_CONTEXT)
                assert_refused(&changed, k->name);
            else
                try(&changed);
        }
    }
}

static void a_number_that_no_model_has_is_named(void **state)
{
    for_each_table(write_odd_numbers);
}

static void write_odd_reals(struct subject *s)
{
    static const float numbers[] = {0.0f, -1.0f, 1e-30f, 3e38f, NAN, INFINITY, -INFINITY};

    for (size_t i = 1; i < s->b.n_keys; i++) {
        const struct builder_key *k = &s->b.keys[i];

        for (size_t n = 0; k->type == GGUF_VALUE_F32 && n < 7; n++) {
            struct subject changed = {.arch = s->arch, .b = s->b};
            char change[32];

            snprintf(change, sizeof(change), "of %g", (double)numbers[n]);
            about(&changed, change, k->name);
            gguf_builder_f32(&changed.b, k->name, numbers[n]);
            if (isfinite(numbers[n]))
                try(&changed);
            else
                assert_refused(&changed, k->name);
        }
    }
}

static void a_real_that_is_no_number_is_named(void **state)
{
    for_each_table(write_odd_reals);
}

/* ---- tensors ---- */

/* What the number of rows comes from: no shape of it is wrong by itself. */
static bool gives_a_dim(const char *tensor)
{
    return !strcmp(tensor, "token_embd.weight") || !strcmp(tensor, "token_types.weight");
}

static void miss_tensors(struct subject *s)
{
    struct model_fixture f;

    model_fixture_init(&f, &s->b);
    for (size_t i = 0; i < s->b.n_tensors; i++) {
        struct subject changed = {.arch = s->arch, .b = s->b};
        const char *name = s->b.tensors[i].name;

        if (is_optional(f.model, name) ||
            (s->arch->only_tensor && !strcmp(name, s->arch->only_tensor)))
            continue;
        gguf_builder_drop(&changed.b, name);
        about(&changed, "left out", name);
        assert_refused(&changed, name);
    }
    model_fixture_finish(&f);
}

static void a_tensor_that_is_missing_is_named(void **state)
{
    for_each_table(miss_tensors);
}

static void change_tensors(struct subject *s)
{
    for (size_t i = 0; i < s->b.n_tensors; i++) {
        const struct builder_tensor *t = &s->b.tensors[i];

        for (unsigned change = 0; change < 4; change++) {
            static const char *const changes[] = {"of a column more", "of a row more",
                                                  "of a plane more", "of a type without kernels"};
            struct subject changed = {.arch = s->arch, .b = s->b};
            struct builder_tensor *to = &changed.b.tensors[i];

            if (change == 0)
                to->cols++;
            else if (change == 1)
                to->rows = t->rows ? t->rows + 1 : 2;
            else if (change == 2)
                to->rows = t->rows ? t->rows : 1, to->planes = t->planes ? t->planes + 1 : 2;
            else
                to->type = GGUF_TYPE_I32;
            if (change == 1 && gives_a_dim(t->name))
                continue;
            about(&changed, changes[change], t->name);
            assert_refused(&changed, t->name);
        }
    }
}

static void a_tensor_of_another_shape_or_type_is_named(void **state)
{
    for_each_table(change_tensors);
}

static void add_a_tensor(struct subject *s)
{
    static const char *const more[] = {"blk.0.attn_more.weight", "blk.6.attn_norm.weight",
                                       "blk.7.attn_norm.weight", "v.patch_embd.weight"};

    for (size_t i = 0; i < 4; i++) {
        struct subject changed = {.arch = s->arch, .b = s->b};

        gguf_builder_tensor(&changed.b, more[i], GGUF_TYPE_F32, 64, 0);
        about(&changed, "added", more[i]);
        if (i == 1 && dim_row(s->arch, "nextn_predict_layers"))
            try(&changed); /* of the layer that predicts further tokens */
        else
            assert_refused(&changed, more[i]);
    }
}

static void a_tensor_that_no_table_knows_is_named(void **state)
{
    for_each_table(add_a_tensor);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);

    return len >= n && !strcmp(text + len - n, end);
}

/* Every weight that is multiplied by may have them, of the one shape and type. */
static void add_scales(struct subject *s)
{
    size_t n = s->b.n_tensors;
    struct error err = {0};

    gguf_builder_scales(&s->b);
    if (model_fixture_try(&s->b, &err) < 0)
        fail_msg("%s with scales is refused: %s", s->arch->name, err.text);
    assert_true(s->b.n_tensors > n);
    for (size_t i = n; i < s->b.n_tensors; i++) {
        static const char *const changes[] = {"of one number more", "of another row",
                                              "of another type"};

        struct subject changed = {.arch = s->arch, .b = s->b};
        struct builder_tensor *t = &changed.b.tensors[i];

        assert_true(ends_with(t->name, "scale"));
        if (i % 3 == 0)
            t->cols++;
        else if (i % 3 == 1)
            t->rows = t->cols > 1 ? t->cols : 2, t->cols = 1;
        else
            t->type = GGUF_TYPE_F16;
        about(&changed, changes[i % 3], t->name);
        assert_refused(&changed, t->name);
    }
}

static void scales_are_taken_and_odd_ones_are_named(void **state)
{
    for_each_table(add_scales);
}

/* Of what is looked up, added or normed they would have to count, and do not. */
static void add_odd_scales(struct subject *s)
{
    for (size_t i = 0, n = s->b.n_tensors; i < n; i++) {
        struct subject changed = {.arch = s->arch, .b = s->b};
        const char *weight = s->b.tensors[i].name;
        char name[64];

        snprintf(name, sizeof(name), "%.*s.scale", (int)strcspn(weight, "."), weight);
        if (ends_with(weight, "_norm.weight") && strncmp(weight, "output", 6))
            snprintf(name, sizeof(name), "%.*s.scale", (int)(strlen(weight) - 7), weight);
        else if (strncmp(weight, "token_embd", 10) && strncmp(weight, "output_norm", 11))
            continue;
        gguf_builder_tensor(&changed.b, name, GGUF_TYPE_F32, 1, 0);
        about(&changed, "added", name);
        assert_refused(&changed, name);
    }
}

static void scales_that_would_not_count_are_named(void **state)
{
    for_each_table(add_odd_scales);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_table_takes_the_file_that_is_made_of_it),
    cmocka_unit_test(a_key_that_is_missing_is_named),
    cmocka_unit_test(a_key_of_another_type_is_named),
    cmocka_unit_test(a_number_that_no_model_has_is_named),
    cmocka_unit_test(a_real_that_is_no_number_is_named),
    cmocka_unit_test(a_tensor_that_is_missing_is_named),
    cmocka_unit_test(a_tensor_of_another_shape_or_type_is_named),
    cmocka_unit_test(a_tensor_that_no_table_knows_is_named),
    cmocka_unit_test(scales_are_taken_and_odd_ones_are_named),
    cmocka_unit_test(scales_that_would_not_count_are_named),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
