/* SPDX-License-Identifier: MIT */
/* Gives up what a user's requests have left for later ones, in memory and on disk. */
#include "command.h"
#include "conversation.h"
#include "fields.h"
#include "progress.h"

#include "base/number.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

static const char options[] = "  --user WHO      another user's: a name or a number (for root)\n"
                              "  --socket PATH   the daemon's socket (HEARTH_SOCKET)\n";

static int find_uid(const char *who, json_int_t *ret_uid, struct error *err)
{
    const struct passwd *user = getpwnam(who);
    uint64_t uid;

    if (user)
        uid = user->pw_uid;
    else if (number_parse(who, 10, false, UINT32_MAX, &uid) < 0)
        return error_set(err, ENOENT, "there is no user %s", who);
    *ret_uid = (json_int_t)uid;
    return 0;
}

static void tell(const json_t *answer)
{
    char memory[FORMAT_BYTES_SIZE], disk[FORMAT_BYTES_SIZE];
    uint64_t memory_bytes = number_of(answer, "memory_bytes");
    uint64_t disk_bytes = number_of(answer, "disk_bytes");

    format_bytes(memory, memory_bytes);
    if (!json_object_get(answer, "disk_bytes"))
        printf("forgotten: %s of memory; the disk is still being looked through, and what is yours "
               "there goes, too\n",
               memory);
    else if (!memory_bytes && !disk_bytes)
        puts("nothing was kept");
    else
        printf("forgotten: %s of memory, %s on disk\n", memory, format_bytes(disk, disk_bytes));
}

static bool on_answer(void *user, const json_t *answer)
{
    bool *is_told = user;

    tell(answer);
    *is_told = true;
    return true;
}

/* As a stream, which is waited for: the caches are gone through between two steps, and one of a
 * long prompt may take long. */
static int ask(const char *socket, const json_t *body, struct error *err)
{
    struct client *client;
    bool is_told = false;
    int r = client_create(socket, &client, err);

    if (r < 0)
        return r;
    conversation_tell_waits(client);
    r = client_stream(client, "/hearth/v1/forget", body, on_answer, &is_told, err);
    if (r == 0 && !is_told)
        r = error_set(err, EIO, "the daemon's answer to forget is not JSON");
    client_destroy(client);
    return r;
}

static int run(int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'},
        {"user", required_argument, NULL, 'u'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    const char *socket = NULL, *who = NULL;
    struct error err = {0};
    json_int_t uid = 0;
    json_t *body;
    int c, r;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 's')
            socket = optarg;
        else if (c == 'u')
            who = optarg;
        else
            return command_usage(&command_forget, options);
    }
    if (optind != argc)
        return command_usage(&command_forget, options);
    if (who && find_uid(who, &uid, &err) < 0)
        return command_fail(EXIT_FAILED, "%s", err.text);
    body = who ? json_pack("{s:I}", "uid", uid) : json_object();
    r = body ? ask(socket, body, &err) : error_set(&err, ENOMEM, "out of memory");
    json_decref(body);
    return r < 0 ? command_fail(conversation_exit_code(r), "%s", err.text) : EXIT_OK;
}

const struct command command_forget = {"forget", "", "give up what conversations left", run};
