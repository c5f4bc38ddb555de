/* SPDX-License-Identifier: MIT */
/* Inside running only: running.c holds a model and its requests, running_step.c does its steps. */
#ifndef HEARTH_ENGINE_RUNNING_PRIVATE_H
#define HEARTH_ENGINE_RUNNING_PRIVATE_H

#include "engine/running.h"

/* Tells the scheduler what a request feeds before the next token can be drawn: the rest of its
 * prompt, then what was generated since. */
void running_note_pending(struct engine_request *r);

/* What of a request lies on the device: made before its first step, and again after the model was
 * suspended. The draws of its sampler go on where they were. */
int running_enter_device(struct running_model *m, struct engine_request *r, struct error *err);

/* Cache blocks that the requests of its user may hold at a time; UINT64_MAX: all there are. */
uint64_t running_blocks_most(const struct running_model *m, const struct engine_request *r);

/* running_restore.c: what requests begin with, read back from the disk tier. */

/* Whether the request, which has nothing yet, waits for that from now on. */
bool running_restore_begin(struct running_model *m, struct engine_request *r);
/* Moves on what is read and written; who waits no longer may run. True: there is more to do. */
bool running_restore_step(struct running_model *m);
/* Nobody waits any longer, so that what they hold comes free; false: nobody did. */
bool running_restore_give_up(struct running_model *m);
void running_restore_end(struct engine_request *r);

/* running_cost.c: what is known of speeds, and for each request what giving way would cost it. */
void running_get_speeds(const struct running_model *m, struct kv_speeds *ret);
void running_note_costs(struct running_model *m);

/* The ends of a request; it is the owner's afterwards and must not be touched. */
void running_finish(struct running_model *m, struct engine_request *r, enum engine_finish how);
void running_fail(struct running_model *m, struct engine_request *r, const struct error *err);
/* Ends it well; text still held back goes out first. */
void running_complete(struct running_model *m, struct engine_request *r, enum engine_finish how);

#endif
