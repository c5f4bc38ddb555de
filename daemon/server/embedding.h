/* SPDX-License-Identifier: MIT */
/* An answer of /v1/embeddings on its way: each input is a request to the engine, a few at a time,
 * and the vectors are told together in the order of the inputs. */
#ifndef HEARTH_SERVER_EMBEDDING_H
#define HEARTH_SERVER_EMBEDDING_H

#include "server/exchange.h"

struct embedding_input {
    const char *text; /* text_len bytes of the JSON, or NULL: */
    size_t text_len;
    int32_t *ids; /* n_ids tokens, malloc'd */
    size_t n_ids;
};

struct embedding_order {
    json_t *object;                 /* the request, a reference; texts lie in it */
    struct embedding_input *inputs; /* [n], malloc'd */
    size_t n;
    bool is_base64;
    uint32_t dimensions; /* the first ones, as a vector of length 1 again; 0: all */
    enum engine_class class;
    float timeout_seconds; /* 0: as the server allows */
};

/* Takes over all that the order holds, also on failure. */
int embedding_start(struct exchange *x, const char *model, struct embedding_order *order,
                    struct api_error *err);
void embedding_order_finish(struct embedding_order *order); /* fine on zeros */

#endif
