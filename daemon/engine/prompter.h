/* SPDX-License-Identifier: MIT */
/*
 * The thread that renders templates and tokenizes, so that a long prompt holds up neither the
 * server's loop nor the device. Requests whose model is loaded go in; they come out at the worker,
 * or as EVENT_DONE when they failed or were cancelled.
 */
#ifndef HEARTH_ENGINE_PROMPTER_H
#define HEARTH_ENGINE_PROMPTER_H

#include "engine/worker.h"

struct prompter;

int prompter_create(struct worker *w, struct event_queue *events, struct prompter **ret_prompter,
                    struct error *err);
/* Ends the thread; requests still waiting in it come out as cancelled. NULL is fine. */
void prompter_destroy(struct prompter *p);
/* Hands over a request; r->lm is set. Any thread. */
void prompter_submit(struct prompter *p, struct engine_request *r);

#endif
