/* SPDX-License-Identifier: MIT */
/* Which files are models, and by which names they are found. */
#include "harness.h"

#include "engine/catalogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct shelf {
    char dir[64], other[64];
    struct catalogue c;
};

static void put(const char *dir, const char *name)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("GGUF", f);
    fclose(f);
}

static int make_shelf(void **state)
{
    struct shelf *s = calloc(1, sizeof(*s));
    static const char *const names[] = {"tiny-q8_0.gguf",
                                        "Big.GGUF",
                                        "split-00001-of-00003.gguf",
                                        "split-00002-of-00003.gguf",
                                        "split-00003-of-00003.gguf",
                                        ".hidden.gguf",
                                        "notes.txt",
                                        "gguf"};
    const char *dirs[3];
    char path[512];

    strcpy(s->dir, "/tmp/hearth-shelf-XXXXXX");
    strcpy(s->other, "/tmp/hearth-other-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    assert_non_null(mkdtemp(s->other));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        put(s->dir, names[i]);
    snprintf(path, sizeof(path), "%s/folder.gguf", s->dir);
    mkdir(path, 0700);
    put(s->other, "tiny-q8_0.gguf");
    put(s->other, "zebra.gguf");
    dirs[0] = s->dir;
    dirs[1] = s->other;
    dirs[2] = NULL;
    assert_int_equal(catalogue_init(&s->c, dirs, NULL), 0);
    *state = s;
    return 0;
}

static int drop_shelf(void **state)
{
    struct shelf *s = *state;
    char command[256];

    catalogue_finish(&s->c);
    snprintf(command, sizeof(command), "rm -r %s %s", s->dir, s->other);
    free(s);
    return system(command);
}

static const char *at(const struct shelf *s, const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    return path;
}

static struct model_entry *find(struct shelf *s, const char *name)
{
    struct model_entry *e = NULL;
    struct error err = {0};

    if (catalogue_find(&s->c, name, &e, &err) < 0)
        fail_msg("%s", err.text);
    return e;
}

static void model_files_are_listed_by_name(void **state)
{
    struct shelf *s = *state;
    const char *want[] = {s->other, "Big", "split", "tiny-q8_0", "zebra"};
    size_t n = 0;

    list_for_each (e, &s->c.entries, struct model_entry, link) {
        assert_true(n < 5);
        if (n == 0) /* the second of one name is known by its path, which sorts first */
            assert_memory_equal(e->name, want[0], strlen(want[0]));
        else
            assert_string_equal(e->name, want[n]);
        assert_true(e->is_listed);
        assert_int_equal(e->file_bytes, 4);
        n++;
    }
    assert_int_equal(n, 5);
}

static void forms_of_a_name_are_forgiven(void **state)
{
    struct shelf *s = *state;
    struct model_entry *tiny = find(s, "tiny-q8_0");

    assert_ptr_equal(find(s, "tiny-q8_0:latest"), tiny);
    assert_ptr_equal(find(s, "tiny-q8_0.gguf"), tiny);
    assert_ptr_equal(find(s, "tiny-q8_0.gguf:latest"), tiny);
    assert_string_equal(tiny->path, at(s, "tiny-q8_0.gguf"));
    assert_string_equal(find(s, "split")->path, at(s, "split-00001-of-00003.gguf"));
}

static void unknown_names_are_answered_with_near_ones(void **state)
{
    struct shelf *s = *state;
    struct model_entry *e = NULL;
    struct error err = {0};
    char longest[2000];

    assert_int_equal(catalogue_find(&s->c, "tiny", &e, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"tiny\""));
    assert_non_null(strstr(err.text, "tiny-q8_0"));
    assert_int_equal(catalogue_find(&s->c, "qqqq", &e, &err), -ENOENT);
    assert_non_null(strstr(err.text, "hearth ls"));
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(catalogue_find(&s->c, longest, &e, &err), -ENOENT);
    assert_int_equal(catalogue_find(&s->c, "", &e, &err), -ENOENT);
    assert_null(e);
}

static void a_path_gets_an_entry_that_goes_when_unused(void **state)
{
    struct shelf *s = *state;
    struct model_entry *e, *again = NULL;
    size_t n = 0;

    e = find(s, at(s, "notes.txt"));
    assert_false(e->is_listed);
    assert_string_equal(e->name, at(s, "notes.txt"));
    assert_ptr_equal(find(s, at(s, "notes.txt")), e);
    e->n_active = 1;
    catalogue_forget(&s->c, e);
    assert_ptr_equal(find(s, at(s, "notes.txt")), e);
    e->n_active = 0;
    catalogue_forget(&s->c, e);
    list_for_each (it, &s->c.entries, struct model_entry, link) {
        n++;
        again = it;
    }
    assert_int_equal(n, 5);
    catalogue_forget(&s->c, again); /* a listed one stays */
    assert_string_equal(find(s, "zebra")->name, "zebra");
}

static void a_listed_file_is_the_same_by_any_path(void **state)
{
    struct shelf *s = *state;
    struct model_entry *tiny = find(s, "tiny-q8_0");
    char path[512];

    assert_ptr_equal(find(s, at(s, "tiny-q8_0.gguf")), tiny);
    snprintf(path, sizeof(path), "%s/../%s/./tiny-q8_0.gguf", s->dir, s->dir + 5);
    assert_ptr_equal(find(s, path), tiny);
    snprintf(path, sizeof(path), "%s/link.gguf", s->other);
    assert_int_equal(symlink(at(s, "tiny-q8_0.gguf"), path), 0);
    assert_ptr_equal(find(s, path), tiny);
}

static void a_replaced_file_keeps_its_entry(void **state)
{
    struct shelf *s = *state;
    struct model_entry *notes = find(s, at(s, "notes.txt"));

    put(s->dir, "fresh");
    assert_int_equal(rename(at(s, "fresh"), notes->path), 0);
    assert_ptr_equal(find(s, at(s, "notes.txt")), notes);
}

static void a_file_is_not_taken_for_the_one_that_lay_elsewhere(void **state)
{
    struct shelf *s = *state;
    struct model_entry *zebra = find(s, "zebra"), *moved;

    assert_int_equal(rename(zebra->path, at(s, "horse.gguf")), 0);
    moved = find(s, at(s, "horse.gguf"));
    assert_ptr_not_equal(moved, zebra);
    assert_string_equal(moved->path, at(s, "horse.gguf"));
}

static void paths_that_are_no_files_are_refused(void **state)
{
    struct shelf *s = *state;
    struct model_entry *e = NULL;
    struct error err = {0};

    assert_int_equal(catalogue_find(&s->c, at(s, "none.gguf"), &e, &err), -ENOENT);
    assert_non_null(strstr(err.text, "none.gguf"));
    assert_int_equal(catalogue_find(&s->c, s->dir, &e, &err), -EINVAL);
    assert_non_null(strstr(err.text, "a directory"));
    assert_int_equal(catalogue_find(&s->c, "/dev/null", &e, &err), -EINVAL);
    assert_non_null(strstr(err.text, "special"));
    assert_null(e);
}

static void scanning_follows_the_directory(void **state)
{
    struct shelf *s = *state;
    struct model_entry *e = find(s, "zebra"), *gone = NULL;
    char path[512];

    put(s->dir, "new.gguf");
    snprintf(path, sizeof(path), "%s/zebra.gguf", s->other);
    unlink(path);
    unlink(at(s, "Big.GGUF"));
    e->state = ENGINE_MODEL_READY; /* in use: it stays, though it lies nowhere any more */
    catalogue_scan(&s->c);
    assert_string_equal(find(s, "new")->name, "new");
    assert_int_equal(catalogue_find(&s->c, "Big", &gone, NULL), -ENOENT);
    assert_ptr_equal(find(s, "zebra"), e);
    assert_false(e->is_listed);
    e->state = ENGINE_MODEL_AVAILABLE;
    catalogue_scan(&s->c);
    assert_int_equal(catalogue_find(&s->c, "zebra", &gone, NULL), -ENOENT);
}

static void directories_that_are_not_there_are_no_fault(void **state)
{
    static const char *const dirs[] = {"/nonexistent/hearth", NULL};
    struct catalogue c;

    assert_int_equal(catalogue_init(&c, dirs, NULL), 0);
    assert_true(list_empty(&c.entries));
    catalogue_finish(&c);
    assert_int_equal(catalogue_init(&c, NULL, NULL), 0);
    catalogue_finish(&c);
}

#define ON_SHELF(test) cmocka_unit_test_setup_teardown(test, make_shelf, drop_shelf)

static const struct CMUnitTest tests[] = {
    ON_SHELF(model_files_are_listed_by_name),
    ON_SHELF(forms_of_a_name_are_forgiven),
    ON_SHELF(unknown_names_are_answered_with_near_ones),
    ON_SHELF(a_path_gets_an_entry_that_goes_when_unused),
    ON_SHELF(a_listed_file_is_the_same_by_any_path),
    ON_SHELF(a_replaced_file_keeps_its_entry),
    ON_SHELF(a_file_is_not_taken_for_the_one_that_lay_elsewhere),
    ON_SHELF(paths_that_are_no_files_are_refused),
    ON_SHELF(scanning_follows_the_directory),
    cmocka_unit_test(directories_that_are_not_there_are_no_fault),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
