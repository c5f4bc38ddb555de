/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "base/cleanup.h"
#include "base/number.h"
#include "base/utf8.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/hearth/hearthd.conf"

enum { MIN_TOKEN = 16, MAX_PROMPT_BYTES = 256 << 10 };

enum kind { TEXT, LIST, NUMBER, BYTES, OCTAL, INTEGER, BOOLEAN, CHOICE };

/* The values of an enum, NULL-terminated. */
struct choice {
    const char *name;
    unsigned value;
};
static const struct choice levels[] = {{"error", LOG_LEVEL_ERROR},
                                       {"warn", LOG_LEVEL_WARN},
                                       {"info", LOG_LEVEL_INFO},
                                       {"debug", LOG_LEVEL_DEBUG},
                                       {0}};
static const struct choice kv_types[] = {{"f16", ENGINE_KV_F16}, {"q8_0", ENGINE_KV_Q8_0}, {0}};

/* One table for the flags, the file's keys and --help. */
static const struct setting {
    const char *name, *argument, *help;
    enum kind kind;
    size_t offset, count_offset;
    uint64_t max, min;
    bool is_live; /* taken up while serving; the others wait for the next start */
    const struct choice *choices;
} settings[] = {
    {"socket", "PATH", "Unix socket to serve", TEXT, offsetof(struct options, socket)},
    {"socket-mode", "OCTAL", "its permissions (0666 for root, else 0600)", OCTAL,
     offsetof(struct options, socket_mode), 0, 0777},
    {"model-dir", "DIR", "search models here too (repeatable)", LIST,
     offsetof(struct options, model_dirs), offsetof(struct options, n_model_dirs)},
    {"preload", "MODEL", "load this model at start (repeatable)", LIST,
     offsetof(struct options, preload), offsetof(struct options, n_preload)},
    {"device", "NAME", "auto, cpu, vulkan, vulkan:N; or several: vulkan,cpu", TEXT,
     offsetof(struct options, device)},
    {"context", "TOKENS", "longest context of a request", NUMBER,
     offsetof(struct options, context_tokens), 0, UINT32_MAX, .min = 1},
    {"batch", "TOKENS", "longest step over a prompt", NUMBER,
     offsetof(struct options, batch_tokens), 0, UINT32_MAX, .min = 1},
    {"kv-bytes", "BYTES", "KV cache of each model (K, M, G suffixes)", BYTES,
     offsetof(struct options, kv_bytes), 0, UINT64_MAX, .min = 1},
    {"kv-type", "TYPE", "how it keeps keys and values: f16 or q8_0, half as large (f16)", CHOICE,
     offsetof(struct options, kv_type), .choices = kv_types},
    {"prefix-percent", "N", "most of it that answers may leave for later ones (100; 0: none)",
     NUMBER, offsetof(struct options, prefix_percent), 0, 100},
    {"kv-disk", "DIR", "unused conversations go there, in clear (off)", TEXT,
     offsetof(struct options, kv_disk)},
    {"kv-disk-bytes", "BYTES", "most that lies there (16G)", BYTES,
     offsetof(struct options, kv_disk_bytes), 0, UINT64_MAX},
    {"kv-disk-days", "N", "what was not used for so long goes (30; 0: no limit)", NUMBER,
     offsetof(struct options, kv_disk_days), 0, 100000},
    {"shared-prompt", "FILE", "a system prompt that all users share (repeatable)", LIST,
     offsetof(struct options, shared_prompts), offsetof(struct options, n_shared_prompts)},
    {"idle-after", "SECONDS", "unused models leave the device (300; 0: never)", NUMBER,
     offsetof(struct options, idle_after_seconds), 0, 1000000000},
    {"queue-limit", "N", "most requests that wait", NUMBER, offsetof(struct options, queue_limit),
     0, UINT32_MAX, .min = 1},
    {"user-limit", "N", "most requests of one user, running and waiting", NUMBER,
     offsetof(struct options, user_limit), 0, UINT32_MAX, .min = 1},
    {"user", "WHO LIMITS", "what a user may have: 'alice weight=4 streams=8' (repeatable)", LIST,
     offsetof(struct options, users), offsetof(struct options, n_users), .is_live = true},
    {"request-seconds", "N", "longest time of a request (0: no limit)", NUMBER,
     offsetof(struct options, request_seconds), 0, 1000000000},
    {"max-connections", "N", "most open connections", NUMBER,
     offsetof(struct options, max_connections), 0, 1000000, .min = 1},
    {"drain-seconds", "N", "time running answers have after SIGTERM", NUMBER,
     offsetof(struct options, drain_seconds), 0, 86400},
    {"hugetlb", "yes|no", "take weights' memory from the hugetlb pool", BOOLEAN,
     offsetof(struct options, use_hugetlb)},
    {"numa-node", "N", "keep weights and work on one node", INTEGER,
     offsetof(struct options, numa_node), 0, 1023},
    {"listen", "ADDR:PORT", "also serve TCP on a loopback address", TEXT,
     offsetof(struct options, listen)},
    {"token-file", "PATH", "bearer tokens for TCP, one a line", TEXT,
     offsetof(struct options, token_file), .is_live = true},
    {"access-log", "yes|no", "a line for each request (yes, but no on a terminal)", BOOLEAN,
     offsetof(struct options, logs_access), .is_live = true},
    {"log-level", "LEVEL", "error, warn, info or debug", CHOICE,
     offsetof(struct options, log_level), .is_live = true, .choices = levels},
};

enum {
    N_SETTINGS = sizeof(settings) / sizeof(settings[0]),
    CONFIG_FLAG = 1000,
    HELP_FLAG,
    VERSION_FLAG
};

static void *field(struct options *o, size_t offset)
{
    return (char *)o + offset;
}

static int set_number(const struct setting *s, int base, const char *value, uint64_t *to,
                      struct error *err)
{
    uint64_t n;

    if (number_parse(value, base, s->kind == BYTES, s->max, &n) < 0 || n < s->min)
        return error_set(err, -EINVAL,
                         base == 8 ? "'%s' is not a number from %llo to %llo%s"
                                   : "'%s' is not a number from %llu to %llu%s",
                         value, (unsigned long long)s->min, (unsigned long long)s->max,
                         s->kind == BYTES ? "; K, M, G or T may follow it" : "");
    *to = n;
    return 0;
}

static int set_choice(const struct setting *s, struct options *o, const char *value,
                      struct error *err)
{
    struct strbuf names = {0};

    for (const struct choice *c = s->choices; c->name; c++) {
        if (strcmp(c->name, value) == 0) {
            memcpy(field(o, s->offset), &c->value, sizeof(c->value));
            strbuf_finish(&names);
            return 0;
        }
        strbuf_printf(&names, "%s%s", names.len ? ", " : "", c->name);
    }
    error_set(err, -EINVAL, "'%s' is not one of %s", value,
              names.failed ? "what it can be" : names.data);
    strbuf_finish(&names);
    return -EINVAL;
}

static int set_word(const struct setting *s, struct options *o, const char *value,
                    struct error *err)
{
    bool yes = strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "no") != 0 && strcmp(value, "false") != 0)
        return error_set(err, -EINVAL, "'%s' is neither yes nor no", value);
    *(bool *)field(o, s->offset) = yes;
    return 0;
}

static int set(const struct setting *s, struct options *o, const char *value, struct error *err)
{
    const char **text = field(o, s->offset);
    unsigned *count = field(o, s->count_offset);
    uint64_t n = 0;
    char *copy;
    int rc;

    switch (s->kind) {
    case NUMBER:
    case BYTES:
        return set_number(s, 10, value, field(o, s->offset), err);
    case OCTAL:
        return set_number(s, 8, value, field(o, s->offset), err);
    case INTEGER:
        rc = set_number(s, 10, value, &n, err);
        if (rc == 0)
            *(int *)field(o, s->offset) = (int)n;
        return rc;
    case BOOLEAN:
        return set_word(s, o, value, err);
    case CHOICE:
        return set_choice(s, o, value, err);
    case TEXT:
    case LIST:
        break;
    }
    if (!*value)
        return error_set(err, -EINVAL, "the value is empty");
    copy = arena_strndup(&o->arena, value, strlen(value));
    if (!copy)
        return error_set(err, -ENOMEM, "no memory for the settings");
    if (s->kind == LIST && *count >= OPTIONS_LIST)
        return error_set(err, -E2BIG, "more than %d are given", OPTIONS_LIST);
    if (s->kind == LIST)
        text += (*count)++;
    *text = copy;
    return 0;
}

static char *trim(char *s)
{
    char *end;

    s += strspn(s, " \t\r\n");
    end = s + strlen(s);
    while (end > s && strchr(" \t\r\n", end[-1]))
        *--end = 0;
    return s;
}

static int set_line(struct options *o, char *line, struct error *err)
{
    char *key = trim(line), *value = strchr(key, '=');
    int rc;

    if (!*key || *key == '#')
        return 0;
    if (!value)
        return error_set(err, -EINVAL, "'%.80s' is not KEY = VALUE", key);
    *value++ = 0;
    key = trim(key);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (strcmp(settings[i].name, key) != 0)
            continue;
        rc = set(&settings[i], o, trim(value), err);
        if (rc < 0)
            error_prefix(err, "%s", key);
        return rc;
    }
    return error_set(err, -EINVAL, "'%.80s' is not a setting", key);
}

static int read_file(struct options *o, struct error *err)
{
    const char *path = o->config ? o->config : DEFAULT_CONFIG;
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    char line[4096];
    int rc = 0;

    if (!f)
        return errno == ENOENT && !o->config ? 0 : error_set_errno(err, -errno, "%s", path);
    for (int n = 1; rc == 0 && fgets(line, sizeof(line), f); n++) {
        if (!strchr(line, '\n') && !feof(f))
            rc = error_set(err, -EINVAL, "the line is too long");
        else
            rc = set_line(o, line, err);
        if (rc < 0)
            error_prefix(err, "%s, line %d", path, n);
    }
    return rc;
}

static int read_tokens(struct options *o, struct error *err)
{
    _cleanup_fclose_ FILE *f = NULL;
    char line[1024];
    struct stat st;

    if (!o->token_file) {
        if (o->listen)
            return error_set(err, -EINVAL,
                             "listen needs token-file: TCP is not served to just "
                             "anyone on this machine");
        return 0;
    }
    f = fopen(o->token_file, "re");
    if (!f || fstat(fileno(f), &st) < 0)
        return error_set_errno(err, -errno, "%s", o->token_file);
    if (st.st_mode & 007)
        return error_set(err, -EPERM, "%s can be read by everyone: chmod 0600 %s", o->token_file,
                         o->token_file);
    while (fgets(line, sizeof(line), f)) {
        char *token = trim(line);

        if (!*token || *token == '#')
            continue;
        if (strlen(token) < MIN_TOKEN || strpbrk(token, " \t"))
            return error_set(err, -EINVAL, "%s: a token is at least %d characters without spaces",
                             o->token_file, MIN_TOKEN);
        if (o->n_tokens >= OPTIONS_LIST)
            return error_set(err, -E2BIG, "%s: more than %d tokens", o->token_file, OPTIONS_LIST);
        o->tokens[o->n_tokens++] = arena_strndup(&o->arena, token, strlen(token));
    }
    return o->n_tokens ? 0 : error_set(err, -EINVAL, "%s holds no token", o->token_file);
}

/* The texts of the files. */
static int read_shared_prompts(struct options *o, struct error *err)
{
    _cleanup_free_ char *text = malloc(MAX_PROMPT_BYTES + 1);

    if (!text)
        return error_set(err, -ENOMEM, "no memory for the settings");
    for (unsigned i = 0; i < o->n_shared_prompts; i++) {
        const char *path = o->shared_prompts[i];
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        size_t len;

        if (!f)
            return error_set_errno(err, -errno, "shared-prompt: %s", path);
        len = fread(text, 1, MAX_PROMPT_BYTES + 1, f);
        if (ferror(f))
            return error_set_errno(err, -errno, "shared-prompt: %s", path);
        if (len > MAX_PROMPT_BYTES)
            return error_set(err, -E2BIG, "shared-prompt: %s is longer than %d KiB", path,
                             MAX_PROMPT_BYTES >> 10);
        text[len] = 0;
        if (strspn(text, "\r\n") >= len || !utf8_is_valid(text, len) || memchr(text, 0, len))
            return error_set(err, -EINVAL, "shared-prompt: %s is no text in UTF-8", path);
        o->shared_texts[i] = arena_strndup(&o->arena, text, len);
        if (!o->shared_texts[i])
            return error_set(err, -ENOMEM, "no memory for the settings");
    }
    return 0;
}

/* Conversations must not land wherever the daemon happened to be started. */
static int check_kv_disk(const struct options *o, struct error *err)
{
    if (!o->kv_disk || o->kv_disk[0] == '/' || strcmp(o->kv_disk, "off") == 0)
        return 0;
    return error_set(err, -EINVAL,
                     "kv-disk: '%s' is not a directory's whole path: give it from / on, or off",
                     o->kv_disk);
}

static void print_help(void)
{
    printf("Usage: hearthd [OPTION]...\n"
           "Serves local language models to every program on this machine over a Unix socket.\n\n"
           "      --config PATH            settings file (" DEFAULT_CONFIG ")\n");
    for (size_t i = 0; i < N_SETTINGS; i++)
        printf("      --%s %s%*s%s\n", settings[i].name, settings[i].argument,
               (int)(22 - strlen(settings[i].name) - strlen(settings[i].argument)), "",
               settings[i].help);
    printf("  -h, --help\n  -V, --version\n\n"
           "The settings file has the same names, one NAME = VALUE a line. See hearthd(8).\n");
}

/* Reads every flag, or just --config (first, because the file comes before the flags). */
static enum options_result read_flags(struct options *o, int argc, char **argv, bool only_config,
                                      struct error *err)
{
    struct option flags[N_SETTINGS + 4] = {{0}};
    int flag;

    for (int i = 0; i < N_SETTINGS; i++)
        flags[i] = (struct option){settings[i].name, required_argument, NULL, i + 1};
    flags[N_SETTINGS] = (struct option){"config", required_argument, NULL, CONFIG_FLAG};
    flags[N_SETTINGS + 1] = (struct option){"help", no_argument, NULL, HELP_FLAG};
    flags[N_SETTINGS + 2] = (struct option){"version", no_argument, NULL, VERSION_FLAG};
    optind = 0;
    while ((flag = getopt_long(argc, argv, "hV", flags, NULL)) != -1) {
        if (flag == '?') {
            error_set(err, -EINVAL, "see hearthd --help");
            return OPTIONS_FAILED;
        }
        if (flag == 'h' || flag == HELP_FLAG) {
            print_help();
            return OPTIONS_EXIT;
        }
        if (flag == 'V' || flag == VERSION_FLAG) {
            puts("hearthd " HEARTH_VERSION);
            return OPTIONS_EXIT;
        }
        if (flag == CONFIG_FLAG)
            o->config = optarg;
        else if (!only_config && set(&settings[flag - 1], o, optarg, err) < 0) {
            error_prefix(err, "--%s", settings[flag - 1].name);
            return OPTIONS_FAILED;
        }
    }
    if (optind < argc) {
        error_set(err, -EINVAL, "'%s' is not an option: see hearthd --help", argv[optind]);
        return OPTIONS_FAILED;
    }
    return OPTIONS_RUN;
}

/* A directory named from where the daemon was started is told by its whole path, which others can
 * follow. */
static int complete_dirs(struct options *o, struct error *err)
{
    char here[PATH_MAX], whole[2 * PATH_MAX];

    for (unsigned i = 0; i < o->n_model_dirs; i++) {
        if (o->model_dirs[i][0] == '/' || !getcwd(here, sizeof(here)))
            continue;
        snprintf(whole, sizeof(whole), "%s/%s", here, o->model_dirs[i]);
        o->model_dirs[i] = arena_strndup(&o->arena, whole, strlen(whole));
        if (!o->model_dirs[i])
            return error_set(err, -ENOMEM, "no memory for the settings");
    }
    return 0;
}

/* The user's own directory and the system's, after those that were named. */
static int add_default_dirs(struct options *o, struct error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    static const char *const system_dirs[] = {"/var/lib/hearth/models", "/usr/share/hearth/models"};
    char dir[4096] = "";
    int rc = 0;

    if (data && data[0] == '/')
        snprintf(dir, sizeof(dir), "%s/hearth/models", data);
    else if (home && home[0] == '/')
        snprintf(dir, sizeof(dir), "%s/.local/share/hearth/models", home);
    o->n_named_dirs = o->n_model_dirs;
    for (int i = 0; i < 3 && rc == 0 && o->n_model_dirs < OPTIONS_LIST; i++) {
        const char *one = i ? system_dirs[i - 1] : dir;

        if (!*one)
            continue;
        o->model_dirs[o->n_model_dirs] = arena_strndup(&o->arena, one, strlen(one));
        if (!o->model_dirs[o->n_model_dirs++])
            rc = error_set(err, -ENOMEM, "no memory for the settings");
    }
    return rc;
}

enum options_result options_init(struct options *o, int argc, char **argv, struct error *err)
{
    enum options_result result;

    *o = (struct options){.numa_node = -1,
                          .logs_access = !isatty(STDERR_FILENO),
                          .drain_seconds = 30,
                          .prefix_percent = 100,
                          .kv_disk_days = 30,
                          .idle_after_seconds = 300,
                          .log_level = LOG_LEVEL_INFO};
    arena_init(&o->arena, 4 << 20);
    result = read_flags(o, argc, argv, true, err);
    if (result == OPTIONS_RUN && read_file(o, err) < 0)
        result = OPTIONS_FAILED;
    if (result == OPTIONS_RUN)
        result = read_flags(o, argc, argv, false, err);
    if (result == OPTIONS_RUN &&
        (read_tokens(o, err) < 0 || read_shared_prompts(o, err) < 0 || complete_dirs(o, err) < 0 ||
         add_default_dirs(o, err) < 0 || check_kv_disk(o, err) < 0 ||
         user_rules_parse(o->users, &o->rules, &o->n_rules, err) < 0))
        result = OPTIONS_FAILED;
    return result;
}

static bool texts_differ(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) != 0 : a != b;
}

static bool differs(const struct setting *s, const struct options *a, const struct options *b)
{
    const void *x = (const char *)a + s->offset, *y = (const char *)b + s->offset;

    switch (s->kind) {
    case TEXT:
        return texts_differ(*(const char *const *)x, *(const char *const *)y);
    case LIST: /* NULL-terminated both, in room for as many */
        for (size_t i = 0; i <= OPTIONS_LIST; i++)
            if (texts_differ(((const char *const *)x)[i], ((const char *const *)y)[i]))
                return true;
        return false;
    case NUMBER:
    case BYTES:
    case OCTAL:
        return *(const uint64_t *)x != *(const uint64_t *)y;
    case INTEGER:
        return *(const int *)x != *(const int *)y;
    case BOOLEAN:
        return *(const bool *)x != *(const bool *)y;
    case CHOICE:
        break;
    }
    return memcmp(x, y, sizeof(unsigned)) != 0;
}

void options_waiting(const struct options *old, const struct options *fresh, struct strbuf *names)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (!settings[i].is_live && differs(&settings[i], old, fresh))
            strbuf_printf(names, "%s%s", names->len ? ", " : "", settings[i].name);
}

void options_finish(struct options *o)
{
    free(o->rules);
    arena_finish(&o->arena);
}
