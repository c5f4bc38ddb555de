/* SPDX-License-Identifier: MIT */
/* Whether a model has room on this machine now, and how many conversations: the sums are the
 * engine's (engine/footprint.h), by which a daemon lets loads in or refuses them. One thread. */
#ifndef HEARTH_CLI_MODEL_FIT_H
#define HEARTH_CLI_MODEL_FIT_H

#include "daemon_models.h"

#include "base/error.h"
#include "model/model.h"

struct model_fit_question {
    const struct model *model;
    const char *path;
    uint64_t file_bytes;
    const char *device;      /* as device_create takes it; NULL: "auto" */
    uint32_t context_tokens; /* 0: the default */
    uint32_t kv_type;        /* KV_F16, KV_Q8_0 */
    const struct daemon_models *others;
};

enum { MODEL_FIT_CONTEXTS = 12 };

struct model_fit {
    char device[128];
    bool fits;
    struct error refusal; /* why it does not */
    bool is_loaded;       /* by the daemon: then its weights are no need */
    uint32_t context_tokens;
    uint64_t cache_bytes; /* the least it is given */
    uint64_t need_host_bytes, free_host_bytes;
    uint64_t need_device_bytes, free_device_bytes; /* free: UINT64_MAX where it has no limit */
    /* when models that nobody uses have gone: */
    uint32_t longest_tokens; /* of a conversation alone */
    size_t n_contexts;
    struct {
        uint32_t tokens;
        uint64_t n_sequences; /* so long ones at a time */
    } contexts[MODEL_FIT_CONTEXTS];
};

int model_fit_judge(const struct model_fit_question *q, struct model_fit *ret_fit,
                    struct error *err);

#endif
