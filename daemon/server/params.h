/* SPDX-License-Identifier: MIT */
/* What a completion request asks of the engine, out of OpenAI's fields (and a few of Hearth's). */
#ifndef HEARTH_SERVER_PARAMS_H
#define HEARTH_SERVER_PARAMS_H

#include "engine/engine.h"
#include "server/fields.h"

enum { PARAMS_MAX_STOP = 32, PARAMS_MAX_BIAS = 1024, PARAMS_MAX_CHOICES = 16 };

struct params {
    struct engine_params engine; /* points into this struct and into the request's JSON */
    const char *model;           /* NULL: not named. Borrowed from the JSON */
    bool is_stream, includes_usage;
    unsigned n_choices;    /* answers wanted, 1 to PARAMS_MAX_CHOICES */
    float timeout_seconds; /* 0: as the server allows */
    const char *stop[PARAMS_MAX_STOP];
    struct engine_bias *bias; /* NULL when none */
};

/* object outlives *p. is_chat chooses between the two ways of asking for logprobs. */
int params_init(struct params *p, const json_t *object, bool is_chat, struct api_error *err);
void params_finish(struct params *p);

/* OpenAI's tiers: "flex" may take longer, which here is the background class. */
int params_read_class(const json_t *object, enum engine_class *class, struct api_error *err);

#endif
