/* SPDX-License-Identifier: MIT */
/*
 * A model in this process, without the daemon: for the commands that measure and compare (logits,
 * bench). One thread.
 */
#ifndef HEARTH_CLI_LOCAL_MODEL_H
#define HEARTH_CLI_LOCAL_MODEL_H

#include "engine/runner.h"

struct local_model {
    struct device *device;
    struct loaded_model *lm;
    struct runner *runner;
};

struct local_model_config {
    const char *path, *device; /* device NULL: "auto" */
    uint32_t context_tokens;   /* 0: the model's own */
    uint32_t batch_tokens;     /* 0: default */
    uint32_t kv_type;          /* KV_F16, KV_Q8_0 */
    bool full_barriers;
};

int local_model_open(struct local_model *m, const struct local_model_config *cfg,
                     struct error *err);
/* The exit code of such a failure, before the close: a device that does not exist is a wrong
 * argument. */
int local_model_exit_code(const struct local_model *m, int error);
void local_model_close(struct local_model *m); /* fine on a half-opened one */

/* "f16" or "q8_0"; -EINVAL. */
int parse_kv_type(const char *name, uint32_t *ret_type);

/* A comma- or space-separated list of token ids, or "@FILE" holding one. malloc'd. */
int parse_tokens(const char *list, uint32_t **ret_tokens, size_t *ret_n, struct error *err);

#endif
