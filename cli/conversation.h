/* SPDX-License-Identifier: MIT */
/*
 * Asking the daemon and printing the answer as it comes: what `run` and `chat` share. Ctrl-C ends
 * the answer, not the program.
 */
#ifndef HEARTH_CLI_CONVERSATION_H
#define HEARTH_CLI_CONVERSATION_H

#include "client.h"

#include <getopt.h>

/* Options both commands take; NULL or negative: the daemon's default. */
struct answer_options {
    const char *socket, *model, *system, *seed, *temperature, *max_tokens, *top_k, *top_p, *min_p;
    bool is_background; /* lets the requests of others by */
    bool shows_stats;   /* a line of figures after the answer, on stderr */
};

struct answer_stats {
    double first_token_s, total_s;
    double decode_s; /* of the tokens after the first, by the daemon's clock; 0 unknown */
    unsigned prompt_tokens, completion_tokens;
    char finish_reason[32];
};

extern const char answer_options_help[];
/* The long options of above, ended by zeros; their values are characters from 1 to 31. */
extern const struct option answer_long_options[];
/* Takes one of them; false when it is none of ours. */
bool answer_option(struct answer_options *o, int c, const char *value);
/* Numbers that are none, or that the daemon would refuse: prints a sentence and returns false. */
bool answer_options_check(const struct answer_options *o);

/* Loads the model if it is not loaded, with a progress bar. */
int conversation_load(struct client *c, const char *model, bool pins, struct error *err);

/* Puts a line on stderr when the daemon tells what a load or an answer waits for, or nothing. */
void conversation_tell_waits(struct client *c);

/* Sends messages (an array, borrowed), prints the answer, and returns its text (malloc'd) and
 * figures. -EINTR: cut short by Ctrl-C; what came by then is returned all the same. */
int conversation_ask(struct client *c, const struct answer_options *o, const json_t *messages,
                     char **ret_text, struct answer_stats *ret_stats, struct error *err);

void conversation_print_stats(const struct answer_stats *s);

/* {"role": role, "content": text}; bytes that are not UTF-8 become U+FFFD. */
json_t *conversation_message(const char *role, const char *text);

/* What went wrong as an exit code; of a load, everything but a missing daemon is the model's fault.
 */
int conversation_exit_code(int error);
int conversation_load_exit_code(int error);

#endif
