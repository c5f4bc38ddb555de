/* SPDX-License-Identifier: MIT */
/* What hearthd.conf says of users: one `user = WHO NAME=VALUE...` each. */
#ifndef HEARTH_USER_RULE_H
#define HEARTH_USER_RULE_H

#include "engine/engine.h"

/* Reads "alice weight=4 streams=8". WHO is a name, a uid, "tcp" (clients over TCP, where nobody
 * knows the user) or "*" (all others). -EINVAL with a sentence. */
int user_rule_parse(const char *text, struct engine_user_rule *ret_rule, struct error *err);
/* The same for a NULL-terminated list; two of one user are refused. *ret_rules is malloc'd. */
int user_rules_parse(const char *const *texts, struct engine_user_rule **ret_rules, size_t *ret_n,
                     struct error *err);

#endif
