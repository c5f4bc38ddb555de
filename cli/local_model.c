/* SPDX-License-Identifier: MIT */
#include "local_model.h"

#include "command.h"
#include "progress.h"

#include "engine/pool_buffer.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void report(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    progress_show(user, done_bytes, total_bytes);
}

int local_model_open(struct local_model *m, const struct local_model_config *cfg, struct error *err)
{
    struct runner_config rc = {
        .batch_tokens = cfg->batch_tokens,
        .pools = {.kind = POOL_KIND_AUTO, .numa_node = -1},
        .full_barriers = cfg->full_barriers,
    };
    struct device_info info;
    char memory[80];
    struct progress bar;
    struct loaded_model_progress progress = {.report = report, .user = &bar};
    int r;

    *m = (struct local_model){0};
    r = device_create(cfg->device ? cfg->device : "auto", &m->device, err);
    if (r < 0)
        return r;
    device_get_info(m->device, &info);
    pool_config_for_device(&rc.pools, &info, memory, NULL);
    r = loaded_model_open(cfg->path, &m->lm, err);
    if (r < 0)
        return r;
    progress_begin(&bar, "loading");
    r = loaded_model_fill(m->lm, &rc.pools, &progress, err);
    progress_end(&bar);
    if (r < 0)
        return r;
    rc.context_tokens = m->lm->model->dims.dim[DIM_CONTEXT];
    if (cfg->context_tokens && cfg->context_tokens < rc.context_tokens)
        rc.context_tokens = cfg->context_tokens;
    rc.cache = kv_size_of(m->lm->model, cfg->kv_type, rc.context_tokens, 1,
                          rc.batch_tokens ? rc.batch_tokens : RUNNER_BATCH_TOKENS);
    return runner_create(m->lm, m->device, &rc, &m->runner, err);
}

int local_model_exit_code(const struct local_model *m, int error)
{
    if (m->device)
        return EXIT_NO_MODEL;
    return error == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

void local_model_close(struct local_model *m)
{
    runner_destroy(m->runner);
    loaded_model_unref(m->lm);
    device_destroy(m->device);
    *m = (struct local_model){0};
}

int parse_kv_type(const char *name, uint32_t *ret_type)
{
    if (strcmp(name, "f16") && strcmp(name, "q8_0"))
        return -EINVAL;
    *ret_type = strcmp(name, "q8_0") ? KV_F16 : KV_Q8_0;
    return 0;
}

/* ---- token lists ---- */

static int read_all(const char *path, char **ret_text, struct error *err)
{
    FILE *f = fopen(path, "r");
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;

    if (!f)
        return error_set_errno(err, errno, "%s", path);
    errno = 0;
    n = getdelim(&text, &cap, '\0', f);
    fclose(f);
    if (n < 0) {
        free(text);
        return errno ? error_set_errno(err, errno, "%s", path)
                     : error_set(err, EINVAL, "%s is empty", path);
    }
    *ret_text = text;
    return 0;
}

static int parse_list(const char *text, uint32_t **ret_tokens, size_t *ret_n, struct error *err)
{
    uint32_t *tokens = NULL;
    size_t n = 0, cap = 0;

    for (const char *p = text; *p;) {
        unsigned long value;
        char *end;
        if (*p == ',' || isspace((unsigned char)*p)) {
            p++;
            continue;
        }
        errno = 0;
        value = strtoul(p, &end, 10);
        if (end == p || errno || value > INT32_MAX || *p == '-') {
            free(tokens);
            return error_set(err, EINVAL, "\"%.20s\" is not a token id", p);
        }
        if (n == cap) {
            uint32_t *more = realloc(tokens, (cap = cap ? cap * 2 : 64) * sizeof(*more));
            if (!more) {
                free(tokens);
                return error_set(err, ENOMEM, "out of memory");
            }
            tokens = more;
        }
        tokens[n++] = (uint32_t)value;
        p = end;
    }
    if (!n)
        return error_set(err, EINVAL, "the list of tokens is empty");
    *ret_tokens = tokens;
    *ret_n = n;
    return 0;
}

int parse_tokens(const char *list, uint32_t **ret_tokens, size_t *ret_n, struct error *err)
{
    char *text = NULL;
    int r;

    if (list[0] != '@')
        return parse_list(list, ret_tokens, ret_n, err);
    r = read_all(list + 1, &text, err);
    if (r == 0)
        r = parse_list(text, ret_tokens, ret_n, err);
    free(text);
    return r;
}
