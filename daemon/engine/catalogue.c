/* SPDX-License-Identifier: MIT */
#include "engine/catalogue.h"

#include "base/strbuf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcasecmp(s + n - m, end);
}

/* Parts of a split model after the first are not models of their own. */
static bool is_later_part(const char *file)
{
    unsigned part, of;
    const char *tail = file;
    size_t n = strlen(file);

    if (n < 20)
        return false;
    tail = file + n - 20; /* -00002-of-00003.gguf */
    return sscanf(tail, "-%5u-of-%5u.gguf", &part, &of) == 2 && part > 1;
}

/* The stem: without ".gguf", and without the part number of a split model. */
static char *stem_of(const char *file)
{
    size_t n = strlen(file) - strlen(".gguf");
    unsigned part, of;

    if (n > 15 && sscanf(file + n - 15, "-%5u-of-%5u", &part, &of) == 2)
        n -= 15;
    return strndup(file, n);
}

static struct model_entry *entry_new(char *name, char *path)
{
    struct model_entry *e = name && path ? calloc(1, sizeof(*e)) : NULL;

    if (!e) {
        free(name);
        free(path);
        return NULL;
    }
    e->name = name;
    e->path = path;
    list_init(&e->link);
    list_init(&e->waiting);
    list_init(&e->listeners);
    list_init(&e->late_waiting);
    list_init(&e->late_listeners);
    return e;
}

static void entry_destroy(struct model_entry *e)
{
    list_remove(&e->link);
    free(e->name);
    free(e->path);
    free(e);
}

static void insert_sorted(struct catalogue *c, struct model_entry *e)
{
    list_for_each (it, &c->entries, struct model_entry, link) {
        if (strcmp(e->name, it->name) < 0) {
            list_insert_before(&it->link, &e->link);
            return;
        }
    }
    list_push_back(&c->entries, &e->link);
}

static bool is_in_use(const struct model_entry *e)
{
    return e->state != ENGINE_MODEL_AVAILABLE || e->has_loader || e->n_active || e->n_holds ||
           !list_empty(&e->listeners) || !list_empty(&e->waiting) ||
           !list_empty(&e->late_listeners) || !list_empty(&e->late_waiting);
}

static struct model_entry *find_name(struct catalogue *c, const char *name)
{
    list_for_each (it, &c->entries, struct model_entry, link)
        if (!strcmp(it->name, name))
            return it;
    return NULL;
}

struct model_entry *catalogue_find_path(struct catalogue *c, const char *path)
{
    list_for_each (it, &c->entries, struct model_entry, link)
        if (!strcmp(it->path, path))
            return it;
    return NULL;
}

static void note_file(struct model_entry *e, const struct stat *st)
{
    e->file_bytes = (uint64_t)st->st_size;
    e->modified_unix = (uint64_t)st->st_mtime;
    e->device = st->st_dev;
    e->inode = st->st_ino;
    e->was_seen = true;
}

static void scan_file(struct catalogue *c, const char *dir, const char *file)
{
    struct model_entry *e;
    struct stat st;
    char *path;

    if (file[0] == '.' || !ends_with(file, ".gguf") || is_later_part(file) ||
        asprintf(&path, "%s/%s", dir, file) < 0)
        return;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
        free(path);
        return;
    }
    e = catalogue_find_path(c, path);
    if (e) {
        free(path);
        note_file(e, &st);
        e->is_listed = true;
        return;
    }
    e = entry_new(stem_of(file), path);
    if (!e)
        return;
    if (find_name(c, e->name)) {
        /* the directory named first wins; the other is still there by its path */
        free(e->name);
        e->name = strdup(e->path);
        if (!e->name) {
            free(e->path);
            free(e);
            return;
        }
    }
    e->is_listed = true;
    note_file(e, &st);
    insert_sorted(c, e);
}

void catalogue_scan(struct catalogue *c)
{
    list_for_each (it, &c->entries, struct model_entry, link)
        it->was_seen = false;
    for (char **dir = c->dirs; dir && *dir; dir++) {
        DIR *d = opendir(*dir);
        struct dirent *file;
        while (d && (file = readdir(d)))
            scan_file(c, *dir, file->d_name);
        if (d)
            closedir(d);
    }
    list_for_each_safe (it, &c->entries, struct model_entry, link) {
        if (!it->was_seen) {
            it->is_listed = false;
            if (!is_in_use(it))
                entry_destroy(it);
        }
    }
}

int catalogue_init(struct catalogue *c, const char *const *dirs, struct error *err)
{
    size_t n = 0;

    *c = (struct catalogue){0};
    list_init(&c->entries);
    while (dirs && dirs[n])
        n++;
    c->dirs = calloc(n + 1, sizeof(*c->dirs));
    for (size_t i = 0; c->dirs && i < n; i++) {
        c->dirs[i] = strdup(dirs[i]);
        if (!c->dirs[i]) {
            catalogue_finish(c);
            return error_set(err, ENOMEM, "out of memory");
        }
    }
    if (!c->dirs)
        return error_set(err, ENOMEM, "out of memory");
    catalogue_scan(c);
    return 0;
}

void catalogue_finish(struct catalogue *c)
{
    list_for_each_safe (it, &c->entries, struct model_entry, link)
        entry_destroy(it);
    for (char **dir = c->dirs; dir && *dir; dir++)
        free(*dir);
    free(c->dirs);
    c->dirs = NULL;
}

static struct model_entry *find_same_file(struct catalogue *c, const struct stat *st)
{
    struct stat now;

    /* a number that once was this entry's file may since have been given to another */
    list_for_each (it, &c->entries, struct model_entry, link)
        if (it->device == st->st_dev && it->inode == st->st_ino && stat(it->path, &now) == 0 &&
            now.st_dev == st->st_dev && now.st_ino == st->st_ino)
            return it;
    return NULL;
}

/* Drops entries that were made to answer a question and led to nothing, so that asking for ever new
 * paths takes no memory. */
static void prune(struct catalogue *c)
{
    list_for_each_safe (it, &c->entries, struct model_entry, link)
        catalogue_forget(c, it);
}

/* The entry of a file given by its path: one that is known under another name, or a new one. */
static int find_path(struct catalogue *c, const char *given, struct model_entry **ret_entry,
                     struct error *err)
{
    struct model_entry *e;
    struct stat st;
    char *path;

    if (stat(given, &st) < 0)
        return error_set_errno(err, errno, "%s", given);
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s is %s, not a model file", given,
                         S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    e = find_same_file(c, &st);
    if (!e) {
        path = realpath(given, NULL);
        if (!path)
            return error_set_errno(err, errno, "%s", given);
        e = catalogue_find_path(c, path); /* another file lay there before: what is loaded stays */
        if (e) {
            free(path);
            *ret_entry = e;
            return 0;
        }
        prune(c);
        e = entry_new(strdup(path), path);
        if (!e)
            return error_set(err, ENOMEM, "out of memory");
        note_file(e, &st);
        insert_sorted(c, e);
    }
    *ret_entry = e;
    return 0;
}

static bool is_near(const char *name, const char *asked)
{
    return strcasestr(name, asked) || strcasestr(asked, name) ||
           (strlen(asked) >= 4 && !strncasecmp(name, asked, 4));
}

static int refuse(struct catalogue *c, const char *name, struct error *err)
{
    struct strbuf near;
    int n_near = 0, r;

    strbuf_init(&near, 300);
    list_for_each (it, &c->entries, struct model_entry, link)
        if (is_near(it->name, name) && n_near++ < 5)
            strbuf_printf(&near, "%s%s", n_near > 1 ? ", " : "", it->name);
    if (n_near)
        r = error_set(err, ENOENT, "there is no model \"%.100s\"; near it: %s", name,
                      near.data ? near.data : "");
    else
        r = error_set(err, ENOENT,
                      "there is no model \"%.100s\"; `hearth ls` lists those there are", name);
    strbuf_finish(&near);
    return r;
}

int catalogue_find(struct catalogue *c, const char *name, struct model_entry **ret_entry,
                   struct error *err)
{
    struct model_entry *e;
    char plain[512];

    if (name[0] == '/')
        return find_path(c, name, ret_entry, err);
    e = find_name(c, name);
    if (!e && (size_t)snprintf(plain, sizeof(plain), "%s", name) < sizeof(plain)) {
        if (ends_with(plain, ":latest"))
            plain[strlen(plain) - strlen(":latest")] = 0;
        if (ends_with(plain, ".gguf"))
            plain[strlen(plain) - strlen(".gguf")] = 0;
        e = find_name(c, plain);
    }
    if (!e)
        return refuse(c, name, err);
    *ret_entry = e;
    return 0;
}

void catalogue_hold(struct model_entry *entry)
{
    entry->n_holds++;
}

void catalogue_release(struct catalogue *c, struct model_entry *entry)
{
    entry->n_holds--;
    catalogue_forget(c, entry);
}

void catalogue_forget(struct catalogue *c, struct model_entry *entry)
{
    (void)c;
    if (!entry->is_listed && !is_in_use(entry))
        entry_destroy(entry);
}
