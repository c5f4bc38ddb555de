/* SPDX-License-Identifier: MIT */
/*
 * A model file in memory: its directory, its tokenizer and chat template, and the pools that hold
 * its bytes. Made on a loader thread; immutable once filled, and then shared by reference count
 * (the device thread computes with it while others tokenize).
 */
#ifndef HEARTH_ENGINE_LOADED_MODEL_H
#define HEARTH_ENGINE_LOADED_MODEL_H

#include "gguf/gguf.h"
#include "model/model.h"
#include "pool/pool_fill.h"
#include "template/template.h"
#include "tokenizer/tokenizer.h"

#include <stdatomic.h>

struct loaded_model {
    atomic_uint ref_count;
    char *path;
    struct gguf *gguf;
    struct model *model;
    struct tokenizer *tokenizer;
    struct template *chat_template; /* NULL: the file has none */
    char *chat_template_source;
    struct pool **pools;           /* [gguf_n_files], NULL until filled */
    struct pool_file_id *file_ids; /* [gguf_n_files] as they were when the headers were read */
    struct pool_key *file_keys;    /* [gguf_n_files] names of the pools; set by the fill */
    struct pool_key key;           /* of the whole model, for what belongs to it; likewise */
    struct pool_key lasting_key;   /* the same where the machine may start anew in between */
    struct pool_fill_result fill;  /* how the last file was read, if any was */
    uint64_t file_bytes;           /* of all files */
    uint64_t resident_bytes;       /* of these, found in memory and not read */
    atomic_ullong taken_bytes;     /* of pools that the fill has made so far; any thread */
    atomic_ullong filled_bytes;    /* of file_bytes: found, or read so far; any thread */
    /* where the weights lie, as of the end of the fill */
    uint64_t pool_bytes, huge_bytes;
    char pool_text[64], pool_promises[512];
    bool rests;          /* see loaded_model_rest() */
    atomic_bool is_left; /* see loaded_model_leave() */
};

/* Reads and checks everything but the weights. */
int loaded_model_open(const char *path, struct loaded_model **ret_lm, struct error *err);

struct loaded_model_progress {
    void (*report)(void *user, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
    void *user;
    const atomic_bool *is_cancelled; /* may be NULL */
    const atomic_bool *is_urgent;    /* somebody waits for it; may be NULL */
};
/* Takes the pools that hold the files already; resident_bytes then tells how much that is. */
int loaded_model_find(struct loaded_model *lm, const struct pool_config *pools, struct error *err);
/* Finds what is there, unless that was done; creates the other pools, reads the files into them and
 * seals them. -ECANCELED when told to stop. On failure it has no pools, whoever refers to it. */
int loaded_model_fill(struct loaded_model *lm, const struct pool_config *pools,
                      const struct loaded_model_progress *progress, struct error *err);

/* While nothing of it is on a device, the kernel may take its memory back, if its kind of pool is
 * one of which it can. Device thread. */
void loaded_model_rest(struct loaded_model *lm);
/* It is used again; -ESTALE when the memory was taken back: then drop and fill it. Device thread.
 */
int loaded_model_wake(struct loaded_model *lm, struct error *err);
/* Without its pools, as after loaded_model_open. Nobody may use them meanwhile; of its model, all
 * but the addresses. */
void loaded_model_drop(struct loaded_model *lm);

/* Its pools are for the next process to find: else, when the last reference goes, they become idle
 * and whoever holds them may free them. */
void loaded_model_leave(struct loaded_model *lm);

struct loaded_model *loaded_model_ref(struct loaded_model *lm);
void loaded_model_unref(struct loaded_model *lm); /* NULL is fine */

/* How its files were read, in a few words: "io_uring, direct". */
const char *loaded_model_read_note(const struct loaded_model *lm);

#endif
