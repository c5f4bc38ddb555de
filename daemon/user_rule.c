/* SPDX-License-Identifier: MIT */
#include "user_rule.h"

#include "base/number.h"

#include <errno.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT_MOST = 1000 };

static const struct limit {
    const char *name;
    size_t offset;
    bool is_wide;   /* uint64_t, else uint32_t */
    bool has_units; /* takes K, M, G, T */
    uint64_t most;
} limits[] = {
    {"weight", offsetof(struct engine_user_rule, weight), false, false, WEIGHT_MOST},
    {"requests", offsetof(struct engine_user_rule, requests), false, false, UINT32_MAX},
    {"streams", offsetof(struct engine_user_rule, streams), false, false, UINT32_MAX},
    {"waiting", offsetof(struct engine_user_rule, waiting), false, false, UINT32_MAX},
    {"kv-bytes", offsetof(struct engine_user_rule, kv_bytes), true, true, UINT64_MAX},
    {"tokens-per-minute", offsetof(struct engine_user_rule, tokens_per_minute), true, false,
     UINT32_MAX},
};

enum { N_LIMITS = sizeof(limits) / sizeof(limits[0]) };

static int read_who(const char *who, struct engine_user_rule *rule, struct error *err)
{
    uint64_t uid;

    if (strcmp(who, "*") == 0) {
        rule->is_of_others = true;
    } else if (strcmp(who, "tcp") == 0) {
        rule->uid = ENGINE_UID_UNKNOWN;
    } else if (number_parse(who, 10, false, UINT32_MAX - 1, &uid) == 0) {
        rule->uid = (uid_t)uid;
    } else {
        const struct passwd *user = getpwnam(who);

        if (!user)
            return error_set(err, -EINVAL,
                             "there is no user '%.64s': give a name, a number, tcp, or * for all "
                             "others",
                             who);
        rule->uid = user->pw_uid;
    }
    return 0;
}

static int read_class(const char *value, struct engine_user_rule *rule, struct error *err)
{
    rule->has_class = true;
    rule->class = ENGINE_INTERACTIVE;
    if (strcmp(value, "background") == 0)
        rule->class = ENGINE_BACKGROUND;
    else if (strcmp(value, "interactive") != 0)
        return error_set(err, -EINVAL, "class is interactive or background, not '%.64s'", value);
    return 0;
}

static int read_limit(const char *word, struct engine_user_rule *rule, struct error *err)
{
    const char *value = strchr(word, '=');
    size_t len = value ? (size_t)(value - word) : 0;
    uint64_t n;

    if (value && len == 5 && strncmp(word, "class", len) == 0)
        return read_class(value + 1, rule, err);
    for (size_t i = 0; i < N_LIMITS && value; i++) {
        const struct limit *l = &limits[i];
        void *to = (char *)rule + l->offset;

        if (strlen(l->name) != len || strncmp(word, l->name, len) != 0)
            continue;
        if (number_parse(value + 1, 10, l->has_units, l->most, &n) < 0 || !n)
            return error_set(err, -EINVAL, "%s: '%.64s' is not a number from 1 to %llu", l->name,
                             value + 1, (unsigned long long)l->most);
        if (l->is_wide)
            *(uint64_t *)to = n;
        else
            *(uint32_t *)to = (uint32_t)n;
        return 0;
    }
    return error_set(err, -EINVAL,
                     "'%.64s' is none of weight=N, requests=N, streams=N, waiting=N, "
                     "kv-bytes=BYTES, tokens-per-minute=N, class=interactive|background",
                     word);
}

int user_rule_parse(const char *text, struct engine_user_rule *ret_rule, struct error *err)
{
    struct engine_user_rule rule = {0};
    char copy[1024], *rest = NULL, *word;
    int rc;

    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return error_set(err, -EINVAL, "user: the line is too long");
    word = strtok_r(copy, " \t", &rest);
    rc = word ? read_who(word, &rule, err) : error_set(err, -EINVAL, "the value is empty");
    while (rc == 0 && (word = strtok_r(NULL, " \t", &rest)))
        rc = read_limit(word, &rule, err);
    if (rc < 0) {
        error_prefix(err, "user");
        return rc;
    }
    *ret_rule = rule;
    return 0;
}

int user_rules_parse(const char *const *texts, struct engine_user_rule **ret_rules, size_t *ret_n,
                     struct error *err)
{
    struct engine_user_rule *rules;
    size_t n = 0;
    int rc = 0;

    while (texts[n])
        n++;
    rules = calloc(n + 1, sizeof(*rules));
    if (!rules)
        return error_set(err, -ENOMEM, "no memory for the settings");
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = user_rule_parse(texts[i], &rules[i], err);
        for (size_t k = 0; k < i && rc == 0; k++)
            if (rules[k].uid == rules[i].uid && rules[k].is_of_others == rules[i].is_of_others)
                rc = error_set(err, -EINVAL, "user: '%.64s' and '%.64s' are of the same user",
                               texts[k], texts[i]);
    }
    if (rc < 0) {
        free(rules);
        return rc;
    }
    *ret_rules = rules;
    *ret_n = n;
    return 0;
}
