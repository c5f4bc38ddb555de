/* SPDX-License-Identifier: MIT */
/*
 * The engine: loaded models and the requests that run on them. This is all the server sees; no
 * tensor, no device call passes through here.
 *
 * Threads. One owner thread (the server's loop) calls everything below. Work happens on the
 * engine's own threads (loading; templates and tokenizing; the device). Whatever they have to say
 * reaches the owner when it calls engine_dispatch() after engine_event_fd() became readable: every
 * callback below runs inside engine_dispatch() (or inside engine_destroy), never elsewhere.
 */
#ifndef HEARTH_ENGINE_ENGINE_H
#define HEARTH_ENGINE_ENGINE_H

#include "base/error.h"
#include "engine/kv_disk_stats.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct engine;
struct engine_request;
struct pool_keeper; /* pool/pool_keeper.h */

enum engine_class { ENGINE_INTERACTIVE, ENGINE_BACKGROUND };

/* How keys and values lie in a cache: q8_0 takes about half as much as f16, and models whose heads
 * are not multiples of 32 channels cannot have it. */
enum engine_kv_type { ENGINE_KV_F16, ENGINE_KV_Q8_0 };

/* What a user may have. 0 leaves it to the rule for others, and there to no limit (weight: 1). */
struct engine_user_rule {
    uid_t uid;
    bool is_of_others;          /* for all users that no rule names; uid counts for nothing */
    uint32_t weight;            /* share of the device, against other users' */
    uint32_t requests;          /* running and waiting; more are refused */
    uint32_t streams;           /* running at a time; more wait */
    uint32_t waiting;           /* not begun; more are refused */
    uint64_t kv_bytes;          /* of each model's cache; requests that would take more wait */
    uint64_t tokens_per_minute; /* computed; more requests are refused until it has filled */
    enum engine_class class;    /* ENGINE_BACKGROUND: whatever the user asks */
    bool has_class;             /* false: as for others */
};

/* Who asks over TCP, where nobody vouches for the user. */
#define ENGINE_UID_UNKNOWN ((uid_t)-1)

#define ENGINE_KV_DISK_BYTES (16ull << 30)

struct engine_config {
    const char *device;            /* as device_create takes it; NULL: "auto" */
    const char *const *model_dirs; /* searched for *.gguf, NULL-terminated; may be NULL */
    uint32_t context_tokens;       /* per sequence; 0: the model's own, at most 8192 */
    uint32_t batch_tokens;         /* longest prefill step; 0: the default (512) */
    uint64_t kv_bytes;             /* cache of each model; 0: four contexts, if memory has them */
    enum engine_kv_type kv_type;   /* of every model's */
    uint32_t prefix_percent;       /* most of it that answers may leave for later ones; 0: none */
    const char *const *shared_prompts; /* system prompts whose computation serves all users,
                                          NULL-terminated; may be NULL. Copied */
    uint32_t queue_limit;              /* waiting requests over all; 0: 256 */
    uint32_t user_limit;               /* of one user, running and waiting; 0: half of that + 16 */
    const struct engine_user_rule *user_rules; /* [n_user_rules]; copied */
    size_t n_user_rules;
    uint64_t idle_after_ns; /* without requests, a model leaves the device; 0: never */
    const char *kv_disk;    /* directory for what caches hold that nobody uses; NULL: none. Where it
                               cannot be used the engine does without, and the stats say why */
    uint64_t kv_disk_bytes; /* at most; 0: ENGINE_KV_DISK_BYTES */
    uint64_t kv_disk_seconds; /* what was not used for longer goes; 0: no such limit */
    bool use_hugetlb;
    int numa_node;              /* -1: any */
    struct pool_keeper *keeper; /* keeps memory over a restart; borrowed; NULL: nobody does */
};

int engine_create(const struct engine_config *config, struct engine **ret_engine,
                  struct error *err);
/* Cancels what runs, waits for the threads; callbacks of what was cancelled run here. They may call
 * anything below; new work is refused with -ECANCELED. */
void engine_destroy(struct engine *e);
/* Other rules of users from now on (copied). What was asked before keeps the weight, the class and
 * the share of the cache that it had; how many may run, and tokens of a minute, count at once.
 * -ENOMEM: all stays as it was. */
int engine_set_user_rules(struct engine *e, const struct engine_user_rule *rules, size_t n,
                          struct error *err);
int engine_event_fd(const struct engine *e);
void engine_dispatch(struct engine *e);

/* ---- models ---- */

enum engine_model_state {
    ENGINE_MODEL_AVAILABLE,
    ENGINE_MODEL_LOADING,
    ENGINE_MODEL_READY,
    ENGINE_MODEL_UNLOADING
};

/* What is known of a model; strings live until the next call that names models. */
struct engine_model_info {
    const char *name; /* the file's stem, or the path it was loaded by */
    const char *path;
    enum engine_model_state state;
    uint64_t file_bytes, modified_unix;
    /* from here on only when loading or ready */
    const char *architecture, *type_name; /* "llama", "Q4_K_M" */
    uint64_t parameters;
    uint64_t loaded_bytes; /* progress */
    uint64_t pool_bytes;   /* where the weights lie */
    uint64_t huge_page_bytes;
    uint64_t device_copy_bytes; /* weights the device could not map and holds a copy of */
    const char *pool_kind;      /* "anonymous, 2 MiB pages" */
    const char *pool_promises;  /* what this kind of memory cannot give, a sentence; may be "" */
    const char *read_note;      /* how the file was read: "io_uring, direct", "resident, ..." */
    uint64_t resident_bytes;    /* of the file: found in memory and not read */
    uint64_t kv_bytes, kv_used_bytes;
    uint64_t prefix_bytes;       /* part of the cache that holds beginnings for later requests */
    uint64_t prefix_found_bytes; /* what an earlier process had left of these, at the load */
    bool is_cache_kept;          /* and a later one can find: where the memory outlives this one */
    uint32_t context_tokens, context_trained_tokens, n_vocab, n_embd;
    double load_seconds; /* while loading: so far */
    uint64_t device_ns;  /* its steps took, since it was loaded */
    uint32_t n_running, n_waiting;
    bool is_idle;   /* nothing of it is on the device: the next request takes a moment longer */
    bool is_pinned; /* see engine_pin */
    const char *chat_template; /* source or NULL */
};

/* All models known (catalogue and loaded), sorted by name; *ret_list is the engine's. */
int engine_models(struct engine *e, const struct engine_model_info **ret_list, size_t *ret_n);
/* Name, alias (":latest" and a ".gguf" ending are forgiven) or absolute path -> info; -ENOENT with
 * a sentence that lists near names. */
int engine_find_model(struct engine *e, const char *name, const struct engine_model_info **ret_info,
                      struct error *err);

/* Progress comes at most ten times a second; done comes exactly once (err->code 0 when ready). */
struct engine_load_events {
    void (*on_progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
    void (*on_done)(void *user, const struct error *err);
    bool is_background; /* nobody waits for it: it reads what loads that are waited for leave */
};
/* Loads (or joins the load under way; a ready model is done at the next dispatch). events may be
 * NULL. *ret_load names this wait for engine_load_forget; may be NULL. */
struct engine_load;
int engine_load(struct engine *e, const char *name, const struct engine_load_events *events,
                void *user, struct engine_load **ret_load, struct error *err);
/* The service is to stop: loads end, whoever waits for one is told (-ECANCELED), and none begins
 * any more. What runs goes on. Callbacks come from inside, and with the next dispatch. */
void engine_stop_loading(struct engine *e);
/* The caller no longer listens (its client left): no callback comes; the load itself goes on. */
void engine_load_forget(struct engine_load *load);
/* A load that lacks memory has it from models without requests, those first that were used longest
 * ago; from a pinned one only when all others do not suffice. Unloading ends it. -ENOENT. */
int engine_pin(struct engine *e, const char *name, bool is_pinned, struct error *err);
/* Begins to take up what an earlier process has left in memory of the models in the directories,
 * and returns. They are ready one after another, as after engine_load(), without being read; what
 * does not fit beside the others is left as if it had been unloaded. Once, at the start. */
int engine_adopt(struct engine *e, struct error *err);
/* Running requests are cancelled; -ENOENT when not loaded. A load under way ends soon: whoever
 * waits for it is told -ECANCELED. */
int engine_unload(struct engine *e, const char *name, struct error *err);

/* ---- text and tokens (for /tokenize: small and synchronous; the model must be ready) ---- */

int engine_tokenize(struct engine *e, const char *model, const char *text, size_t len,
                    bool add_special, bool parse_special, int32_t **ret_ids, size_t *ret_n,
                    struct error *err); /* ids malloc'd */
int engine_detokenize(struct engine *e, const char *model, const int32_t *ids, size_t n,
                      char **ret_text, size_t *ret_len, struct error *err); /* malloc'd */

/* The bytes one token stands for (part of a character, maybe; of a control token its name); they
 * live as long as the model is loaded. */
int engine_token_bytes(struct engine *e, const char *model, int32_t id, const char **ret_bytes,
                       size_t *ret_len, struct error *err);

/* ---- generation ---- */

struct engine_sampling {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: off */
    float top_p, min_p;
    float repeat_penalty; /* 1: off */
    float frequency_penalty, presence_penalty;
    uint32_t repeat_last_n; /* tokens the repeat penalty looks back; 0: off */
    uint64_t seed;
    bool has_seed; /* false: a random one, told in the result */
};
void engine_sampling_defaults(
    struct engine_sampling *s); /* temperature 0.8, top_k 40, top_p .95, min_p .05 */

/* What is asked. Everything is copied by engine_generate. */
struct engine_prompt {
    /* exactly one of these three */
    const json_t *
        chat; /* object with what the template sees: messages, tools, ... (borrowed; copied deep) */
    const char *text;   /* raw prompt, with text_len bytes */
    const int32_t *ids; /* n_ids tokens */
    size_t text_len, n_ids;
    bool add_special; /* text: BOS as the model says */
};

struct engine_params {
    struct engine_sampling sampling;
    uint32_t max_tokens;     /* 0: until the context is full */
    const char *const *stop; /* n_stop strings; a match ends the answer and is not part of it */
    size_t n_stop;
    const struct engine_bias {
        int32_t token;
        float bias;
    } * bias;
    size_t n_bias;
    int top_logprobs; /* -1: no logprobs; 0..20 */
    bool ignore_eos;
    uint32_t n_answers; /* this one and those that engine_fork will ask for: there must be room for
                           all; 0: 1 */
    enum engine_class class;
};

/* Who asks. */
struct engine_caller {
    uid_t uid;
    pid_t pid;
};

enum engine_finish {
    ENGINE_FINISH_STOP,    /* end token or stop string */
    ENGINE_FINISH_LENGTH,  /* max_tokens */
    ENGINE_FINISH_CONTEXT, /* the context is full */
    ENGINE_FINISH_CANCEL,
    ENGINE_FINISH_EXPIRED, /* engine_expire */
    ENGINE_FINISH_ERROR,   /* see error */
};

struct engine_top {
    int32_t token;
    float logprob;
};

/* One token of the answer. Text comes in whole characters and may lag behind (stop strings, split
 * characters), so text is empty for some tokens and holds several tokens' worth for others. */
struct engine_token {
    int32_t id;       /* -1: no token of its own, only text that was held back until the end */
    const char *text; /* newly decided text, text_len bytes; not NUL-terminated */
    size_t text_len;
    float logprob; /* when asked for */
    const struct engine_top *top;
    size_t n_top;
};

struct engine_result {
    enum engine_finish finish; /* STOP for a vector that is there */
    /* Set for ENGINE_FINISH_ERROR: -EINVAL the request's fault, -EMSGSIZE the prompt is longer than
     * the context, anything else ours. */
    const struct error *error;
    const char *stop_string; /* the one that matched, or NULL */
    uint32_t prompt_tokens, completion_tokens;
    uint32_t cached_tokens; /* of the prompt: not computed, as an earlier request had left them */
    uint64_t seed;
    const float *vector; /* engine_embed, ENGINE_FINISH_STOP: f32[n_vector], of length 1; the
                            engine's, gone after the callback */
    size_t n_vector;
    /* nanoseconds */
    uint64_t queue_ns, prefill_ns, decode_ns, first_token_ns; /* first_token from engine_generate */
};

struct engine_events {
    void (*on_start)(void *user,
                     uint32_t prompt_tokens); /* first work on the device; may be NULL */
    void (*on_token)(void *user, const struct engine_token *token);
    void (*on_done)(void *user,
                    const struct engine_result *result); /* once; the request is gone after */
};

/* Queues a request. The model is loaded first if need be. Fails at once with -EAGAIN (queue full,
 * say Retry-After), -EUSERS (the caller has as many as a user may, likewise), -EDQUOT (the caller
 * has spent the tokens of a minute, likewise), -ENOENT (no such model), -EINVAL (also for more
 * answers than a user may have requests); everything later comes through on_done. */
int engine_generate(struct engine *e, const char *model, const struct engine_prompt *prompt,
                    const struct engine_params *params, const struct engine_caller *caller,
                    const struct engine_events *events, void *user,
                    struct engine_request **ret_request, struct error *err);
/* Queues a text whose vector is wanted, for a model that makes them (its file names a pooling; one
 * that writes text refuses, as such models refuse engine_generate: -EINVAL through on_done). It is
 * scheduled, counted and limited as the prompt of any request; on_done brings the vector, on_token
 * is never called. prompt: a text or tokens, no longer than the context. Fails at once as
 * engine_generate does. */
int engine_embed(struct engine *e, const char *model, const struct engine_prompt *prompt,
                 enum engine_class class, const struct engine_caller *caller,
                 const struct engine_events *events, void *user,
                 struct engine_request **ret_request, struct error *err);
/* Queues another answer to the prompt of r, which has been computed: what is stored of it is shared
 * as with any later request of the same user. All that r asked for holds, but for its seed, which
 * is seed_step more. To be called from r's on_token or on_done. Limits were asked when r was; fails
 * at once where the service stops, memory is short or the model goes. */
int engine_fork(struct engine_request *r, uint64_t seed_step, const struct engine_events *events,
                void *user, struct engine_request **ret_request, struct error *err);
/* Ends it at the next step; on_done (CANCEL) still comes, unless forget is true: then no callback
 * comes after this call. */
void engine_cancel(struct engine_request *r, bool forget);
/* The last bytes of a chat's prompt as the template wrote it, whole characters, from on_start on;
 * "" of other prompts. Lives as long as the request. */
const char *engine_prompt_end(const struct engine_request *r);
/* Cancels all, and forgets none. */
void engine_cancel_all(struct engine *e);
/* Its time is up: it ends at the next step with what there is (ENGINE_FINISH_EXPIRED). */
void engine_expire(struct engine_request *r);
/* For a refusal with this code (-EAGAIN, -EUSERS, -EDQUOT): seconds after which asking again makes
 * sense, at least 1. */
uint32_t engine_retry_seconds(struct engine *e, uid_t uid, int code);
/* Flow control: a paused request keeps its place and computes nothing further. */
void engine_pause(struct engine_request *r, bool paused);

/* What was given up. */
struct engine_forgotten {
    uint64_t memory_bytes, disk_bytes;
    bool is_disk_known; /* false: just after the start; disk_bytes may be too few */
};
/* What the user's requests left for later ones is given up, in memory and on disk, about a second
 * after the steps under way at most; what runs keeps what it has. on_done (may be NULL) comes once,
 * with a later dispatch, when memory has been gone through; files are set aside before anything
 * else is done on disk. *ret_forget names this wait for engine_forget_leave(); may be NULL.
 * -ENOMEM. */
struct engine_forget;
int engine_forget(struct engine *e, uid_t uid,
                  void (*on_done)(void *user, const struct engine_forgotten *what), void *user,
                  struct engine_forget **ret_forget, struct error *err);
/* The caller no longer listens: no callback comes. */
void engine_forget_leave(struct engine_forget *forget);
/* What the user has on disk. False: not known yet, just after the start. */
bool engine_disk_bytes(struct engine *e, uid_t uid, uint64_t *ret_bytes);

/* ---- figures ---- */

enum { ENGINE_BATCH_MOST = 16 };

struct engine_stats {
    char device[128];
    char device_note[192];     /* what a user should know of it, a sentence; "" */
    const char *memory;        /* what weights lie in: "pools of the kernel module"; the engine's */
    const char *memory_advice; /* what would be better and how to have it; "" for the best */
    uint64_t requests_total, requests_failed, requests_cancelled;
    uint64_t prompt_tokens_total, completion_tokens_total;
    uint64_t prompts_total;        /* whose work on the device began */
    uint64_t cached_prompts_total; /* of these, with a beginning that an earlier request had left */
    uint64_t cached_tokens_total;  /* of prompts, not among prompt_tokens_total: not computed */
    uint64_t prefill_ns_total, decode_ns_total, steps_total;
    uint32_t n_pipelines; /* programs compiled for the device; 0 where that is not done */
    uint32_t n_compiled;  /* of these, not found on disk; when tells_compiled */
    bool tells_compiled;
    uint64_t batches[ENGINE_BATCH_MOST]; /* steps that generated, by streams in them, from 1 on */
    uint64_t device_losses_total;        /* each made anew, or tried to */
    uint32_t n_running, n_waiting;
    struct engine_disk_stats {
        bool is_used;
        const char *why_not;  /* a sentence, where it should be and is not; else "" */
        uint64_t limit_bytes; /* of what lies there */
        struct kv_disk_stats tier;
        uint64_t prompts, tokens; /* which began with what was read back, and how much of it */
    } disk;                       /* of the KV caches */
};
void engine_get_stats(struct engine *e, struct engine_stats *ret_stats);

/* One request that has not ended. */
struct engine_session {
    struct engine_caller caller;
    const char *model;
    enum engine_class class;
    bool has_begun;
    uint32_t prompt_tokens; /* 0 until it has begun */
    uint32_t completion_tokens;
    uint64_t age_ns;      /* since it was asked */
    uint64_t first_ns;    /* of these until the first token; 0: none yet */
    uint64_t generate_ns; /* between the first token and the last */
};
/* All, the oldest first, one call each. */
void engine_each_session(struct engine *e,
                         void (*tell)(void *user, const struct engine_session *session),
                         void *user);

/* One user's part. */
struct engine_user_stats {
    uid_t uid;
    uint64_t requests_total, refused_total;
    uint64_t prompt_tokens_total, completion_tokens_total; /* computed */
    uint32_t n_running, n_waiting;
};
/* false: the user has not asked lately. */
bool engine_get_user_stats(struct engine *e, uid_t uid, struct engine_user_stats *ret_stats);
/* Those of all users, one call each. */
void engine_each_user(struct engine *e,
                      void (*tell)(void *user, const struct engine_user_stats *stats), void *user);

#endif
