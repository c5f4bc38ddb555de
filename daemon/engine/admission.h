/* SPDX-License-Identifier: MIT */
/*
 * Lets opened models take their memory: counts what there is, has those that nobody uses make room,
 * or refuses. What to do is residency.h's to say; here it is done. Owner thread.
 */
#ifndef HEARTH_ENGINE_ADMISSION_H
#define HEARTH_ENGINE_ADMISSION_H

#include "engine/engine_private.h"

enum admission {
    ADMISSION_GRANTED, /* it may take its memory */
    ADMISSION_WAITS,   /* room is being made, or looked for; admission_next() then names it */
    ADMISSION_REFUSED  /* err does the sum */
};

/* For an entry whose lm is open and not filled. */
enum admission admission_ask(struct engine *e, struct model_entry *entry, struct error *err);

/* After any event of a model: the entry that waits and asked first, when it can ask again; or NULL.
 */
struct model_entry *admission_next(struct engine *e);

#endif
