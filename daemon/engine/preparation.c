/* SPDX-License-Identifier: MIT */
#include "engine/preparation.h"

#include <stdlib.h>

struct preparation {
    struct list link;
    struct loaded_model *lm;
    struct runner_config config;
    size_t next; /* plan */
};

void preparation_add(struct list *list, struct loaded_model *lm, const struct runner_config *cfg)
{
    struct preparation *p = malloc(sizeof(*p));

    if (!p) {
        loaded_model_unref(lm);
        return;
    }
    *p = (struct preparation){.lm = lm, .config = *cfg};
    list_push_back(list, &p->link);
}

static void destroy(struct preparation *p)
{
    list_remove(&p->link);
    loaded_model_unref(p->lm);
    free(p);
}

/* Whatever stands against it will be told when the plan is made. */
static bool prepare_next(struct preparation *p, struct device *dev)
{
    return runner_prepare(p->lm->model, dev, &p->config, p->next++, NULL) == 0;
}

bool preparation_step(struct list *list, struct device *dev)
{
    struct preparation *p;

    if (!dev || list_empty(list))
        return false;
    p = list_first(list, struct preparation, link);
    if (!prepare_next(p, dev))
        destroy(p);
    return true;
}

void preparation_complete(struct list *list, const struct loaded_model *lm, struct device *dev)
{
    list_for_each_safe (p, list, struct preparation, link) {
        if (p->lm != lm)
            continue;
        while (prepare_next(p, dev))
            ;
        destroy(p);
    }
}

void preparation_rewind(struct list *list)
{
    list_for_each (p, list, struct preparation, link)
        p->next = 0;
}

void preparation_drop(struct list *list, const struct loaded_model *lm)
{
    list_for_each_safe (p, list, struct preparation, link)
        if (!lm || p->lm == lm)
            destroy(p);
}
