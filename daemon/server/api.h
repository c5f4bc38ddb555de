/* SPDX-License-Identifier: MIT */
/* The handlers, named in router.c's table, and what they share. */
#ifndef HEARTH_SERVER_API_H
#define HEARTH_SERVER_API_H

#include "loop/timer.h"
#include "server/exchange.h"

/* api_openai.c; tail: what follows the route's prefix, decoded */
void api_chat_completions(struct exchange *x, const char *tail);
void api_completions(struct exchange *x, const char *tail);
void api_models(struct exchange *x, const char *tail);
void api_model(struct exchange *x, const char *tail);
/* api_embeddings.c */
void api_embeddings(struct exchange *x, const char *tail);
/* api_text.c */
void api_tokenize(struct exchange *x, const char *tail);
void api_detokenize(struct exchange *x, const char *tail);
/* api_hearth.c */
void api_health(struct exchange *x, const char *tail);
void api_hearth_load(struct exchange *x, const char *tail);
void api_hearth_unload(struct exchange *x, const char *tail);
void api_hearth_forget(struct exchange *x, const char *tail);
void api_hearth_models(struct exchange *x, const char *tail);
void api_hearth_status(struct exchange *x, const char *tail);
/* api_sessions.c */
void api_hearth_sessions(struct exchange *x, const char *tail);
/* metrics.c */
void api_metrics(struct exchange *x, const char *tail);

/* The body as an object (and drops its text). The caller owns *ret_object. */
int api_read_object(struct exchange *x, json_t **ret_object, struct api_error *err);
/* The engine's error as the API tells it; param names the field it is about, or NULL. Sets
 * Retry-After when trying again can help. -1. */
int api_engine_error(struct exchange *x, const struct error *why, const char *param,
                     struct api_error *err);
/* Whether this client may see what others do: root and the user the daemon runs as. */
bool api_sees_all(const struct exchange *x);
/* Whether this client may see what that user does: its own, too. */
bool api_sees(const struct exchange *x, uid_t uid);
/* Whether this client may name a model so: paths, which the daemon opens with its own rights, are
 * for root and for the user it runs as. 0, or -1 with a 403. */
int api_check_name(struct exchange *x, const char *name, struct api_error *err);
/* name, or the one model there is to choose when name is NULL. *ret_name lives until the next
 * engine_dispatch or engine_models. */
int api_pick_model(struct exchange *x, const char *name, const char **ret_name,
                   struct api_error *err);
/* Sets the timer to the earlier of what the client gives the request (0: nothing said) and what the
 * server allows. */
void api_set_deadline(struct exchange *x, struct timer *deadline, double client_seconds);
/* Microseconds may be cut, never rounded up. */
double api_milliseconds(uint64_t ns);

#endif
