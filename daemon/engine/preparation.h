/* SPDX-License-Identifier: MIT */
/*
 * Compiling what a model will need of the device while its weights are still being read: a list of
 * models, one plan of one of them at a time, so that answers of others go on in between. Device
 * thread.
 */
#ifndef HEARTH_ENGINE_PREPARATION_H
#define HEARTH_ENGINE_PREPARATION_H

#include "base/list.h"
#include "engine/runner.h"

/* Takes over the reference to lm, also when there is no memory; then what it needs is compiled when
 * it is used. */
void preparation_add(struct list *list, struct loaded_model *lm, const struct runner_config *cfg);
/* Compiles for one plan of the first model; false when nothing is left to do. */
bool preparation_step(struct list *list, struct device *dev);
/* Compiles all that is left of a model, as it is about to be used. */
void preparation_complete(struct list *list, const struct loaded_model *lm, struct device *dev);
/* There is another device: all begin again. */
void preparation_rewind(struct list *list);
/* Forgets about a model; NULL: about all. */
void preparation_drop(struct list *list, const struct loaded_model *lm);

#endif
