/* SPDX-License-Identifier: MIT */
/*
 * The models the engine knows: files found in the configured directories, and files loaded by path.
 * Owner thread only.
 */
#ifndef HEARTH_ENGINE_CATALOGUE_H
#define HEARTH_ENGINE_CATALOGUE_H

#include "base/list.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "engine/residency.h"

#include <pthread.h>

struct model_entry {
    struct list link; /* catalogue.entries, by name */
    char *name, *path;
    uint64_t file_bytes, modified_unix;
    dev_t device; /* with inode: which file it is, under whatever name */
    ino_t inode;
    bool is_listed; /* a directory holds it; else it goes when it is unloaded */
    bool was_seen;  /* during a scan */

    enum engine_model_state state;
    struct loaded_model *lm; /* a reference; set by the loader, the owner's from EVENT_LOADED on */
    struct list waiting;     /* engine_request.link: until READY */
    struct list listeners;   /* engine_load.link */
    /* the same of those who came after the load under way was cancelled: they want another */
    struct list late_waiting, late_listeners;
    uint32_t n_active;     /* requests not done yet */
    uint32_t n_running;    /* of these, started */
    uint32_t n_holds;      /* callbacks under way that come back to it */
    uint64_t last_used_ns; /* a request came or went; 0: none yet */
    bool is_pinned;        /* makes room for others last */

    /* the load under way */
    struct engine *engine;
    pthread_t loader;
    bool has_loader;
    struct event *opened, *loaded;   /* made in advance; the loader's while it runs */
    struct residency_bytes admitted; /* what the load under way may take */
    uint64_t found_bytes;            /* of the weights, it had when that was counted */
    bool is_adoption; /* nobody has asked for it: it takes nothing from others, and reads nothing */
    bool is_reload;   /* the device thread has it and its requests, but not its weights */
    bool waits_for_room, makes_room; /* see admission.h */
    bool is_measuring, was_measured; /* the device's free memory is, or was, looked at for it */
    atomic_bool cancel_load;
    atomic_bool is_urgent;     /* somebody waits for it, not in the background */
    uint64_t last_progress_ns; /* loader thread */
    uint64_t loaded_bytes;
    uint64_t load_start_ns;
    double load_seconds;
};

struct catalogue {
    struct list entries;
    char **dirs; /* NULL-terminated */
};

int catalogue_init(struct catalogue *c, const char *const *dirs, struct error *err);
void catalogue_finish(struct catalogue *c); /* no entry may be loaded any more */

/* Looks through the directories again; entries in use stay whatever the disk says. */
void catalogue_scan(struct catalogue *c);

/* Name, forgiven forms of it, or an absolute path of a readable file (which gets an entry, until
 * the next such path is asked for, unless something uses it by then). */
int catalogue_find(struct catalogue *c, const char *name, struct model_entry **ret_entry,
                   struct error *err);
/* The entry whose file has this very path, or NULL. */
struct model_entry *catalogue_find_path(struct catalogue *c, const char *path);

/* Around callbacks, which may do anything: the entry outlives what happens in between. */
void catalogue_hold(struct model_entry *entry);
void catalogue_release(struct catalogue *c, struct model_entry *entry); /* may drop it */

/* Drops an entry that no directory holds and nothing uses. */
void catalogue_forget(struct catalogue *c, struct model_entry *entry);

#endif
