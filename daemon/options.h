/* SPDX-License-Identifier: MIT */
/* hearthd's settings, from its configuration file and its command line, which wins. */
#ifndef HEARTH_OPTIONS_H
#define HEARTH_OPTIONS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "user_rule.h"

#include <stdbool.h>
#include <stdint.h>

enum { OPTIONS_LIST = 64 };

/* Strings are the options' own. NULL or 0: not given. */
struct options {
    const char *config, *socket, *device, *listen, *token_file;
    const char *model_dirs[OPTIONS_LIST + 1], *preload[OPTIONS_LIST + 1]; /* NULL-terminated */
    const char *tokens[OPTIONS_LIST + 1];
    const char *users[OPTIONS_LIST + 1];
    const char *shared_prompts[OPTIONS_LIST + 1],
        *shared_texts[OPTIONS_LIST + 1]; /* files; texts */
    struct engine_user_rule *rules;      /* [n_rules], what users says */
    size_t n_rules;
    unsigned n_model_dirs, n_preload, n_tokens, n_users, n_shared_prompts;
    unsigned n_named_dirs; /* of the model_dirs, the first; the others are the default ones */
    uint64_t context_tokens, batch_tokens, kv_bytes, queue_limit, user_limit, drain_seconds,
        max_connections;
    uint64_t prefix_percent;
    const char *kv_disk; /* NULL, "off": none */
    uint64_t kv_disk_bytes, kv_disk_days;
    uint64_t request_seconds;    /* 0: no limit */
    uint64_t idle_after_seconds; /* 0: never */
    uint64_t socket_mode;        /* 0: by who runs it */
    int numa_node;               /* -1: any */
    bool use_hugetlb, logs_access;
    enum log_level log_level;
    enum engine_kv_type kv_type;
    struct arena arena;
};

enum options_result { OPTIONS_RUN, OPTIONS_EXIT, OPTIONS_FAILED };

/* Reads the file, the flags and the token file. --help and --version print and say EXIT. */
enum options_result options_init(struct options *o, int argc, char **argv, struct error *err);
/* Appends the names of the settings that differ and are taken up at the next start only. */
void options_waiting(const struct options *old, const struct options *fresh, struct strbuf *names);
void options_finish(struct options *o);

#endif
