/* SPDX-License-Identifier: MIT */
/*
 * What it costs to have keys and values again that were given up: computing them from their tokens,
 * or reading them back. Arithmetic alone.
 */
#ifndef HEARTH_ENGINE_KV_COST_H
#define HEARTH_ENGINE_KV_COST_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of a model on its device, and of the drive; 0: nothing yet. */
struct kv_speeds {
    uint64_t prompt_token_ns;    /* of a token among many */
    uint64_t generated_token_ns; /* of one that was generated, fed again as it was */
    uint64_t bytes_per_second;   /* read from the disk tier */
};

/* Tokens whose keys and values are wanted again. */
struct kv_loss {
    uint64_t prompt_tokens, generated_tokens;
    uint64_t disk_tokens; /* of these, the first are on disk */
    uint64_t disk_bytes;  /* of the files that hold them; 0: there are none */
};

/* What a token of a prompt takes by now, when so many of one step took so long: one of full_tokens
 * changes what is known by a quarter, one of fewer by as much less, as few tokens take longer than
 * their share of many, and prompts are computed by the many. token_ns 0: nothing is known yet. */
uint64_t kv_cost_learn_token_ns(uint64_t token_ns, uint32_t n_tokens, uint32_t full_tokens,
                                uint64_t ns);

/* How fast a drive is read. Zeroed: not known. */
struct kv_drive {
    uint64_t bytes_per_second;
    uint64_t read_ns; /* when it was read last, monotonic */
};

/* So many bytes took so long. One read among others changes what is known by a quarter at most, as
 * a drive may wake up or be busy. */
void kv_drive_note(struct kv_drive *d, uint64_t bytes, uint64_t ns, uint64_t now_ns);
/* 0: not known, or for too long that it still holds: what seemed slow is tried again. */
uint64_t kv_drive_speed(const struct kv_drive *d, uint64_t now_ns);

uint64_t kv_cost_compute_ns(const struct kv_speeds *s, const struct kv_loss *l);
uint64_t kv_cost_read_ns(const struct kv_speeds *s, const struct kv_loss *l);
/* The cheaper of both: all is computed, or what is on disk is read and the rest computed. */
uint64_t kv_cost_return_ns(const struct kv_speeds *s, const struct kv_loss *l);
/* Whether to read all of them is cheaper than to compute them. Where too little is known to tell,
 * it is read: that is how the drive's speed becomes known. */
bool kv_cost_prefers_reading(const struct kv_speeds *s, const struct kv_loss *l);

#endif
