/* SPDX-License-Identifier: MIT */
/*
 * Runs dispatches with every array of the workspace in a buffer of its own, of no byte more, so
 * that what looks at accesses (GPU-assisted validation) sees one past the end of any.
 */
#include "check.h"
#include "few.h"

#include <string.h>

/* Where an array lies in the workspace, and apart. */
struct move {
    uint64_t workspace, apart, bytes;
};

/* Every 8-byte word that looks like an address in an array becomes one of the other place. */
static void move_words(void *words, size_t bytes, const struct move *moves, size_t n, bool is_back)
{
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t v;

        memcpy(&v, (char *)words + i, 8);
        for (size_t k = 0; k < n; k++) {
            uint64_t from = is_back ? moves[k].apart : moves[k].workspace;
            uint64_t to = is_back ? moves[k].workspace : moves[k].apart;

            if (v < from || v - from >= moves[k].bytes)
                continue;
            v = v - from + to;
            memcpy((char *)words + i, &v, 8);
            break;
        }
    }
}

static void copy_arrays(struct check *c, struct buffer *const *buffers, const struct move *moves,
                        bool is_back)
{
    for (size_t i = 0; i < c->n_arrays; i++) {
        void *workspace = check_at(c, c->arrays[i].offset), *apart = buffers[i]->host;
        void *to = is_back ? workspace : apart;

        memcpy(to, is_back ? apart : workspace, c->arrays[i].bytes);
        move_words(to, c->arrays[i].bytes, moves, c->n_arrays, is_back);
    }
}

bool check_run_apart(struct check *c, const struct dispatch *list, size_t n)
{
    struct buffer *buffers[CHECK_ARRAYS_MOST] = {NULL};
    struct move moves[CHECK_ARRAYS_MOST];
    struct dispatch moved[CHECK_LIST_MOST];
    struct program *p = NULL;
    struct error err = {0};
    bool ok = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->n_arrays; i++) {
        r = buffer_create(c->dev, c->arrays[i].bytes, BUFFER_HOST, &buffers[i], &err);
        if (r == 0)
            moves[i] = (struct move){check_address(c, c->arrays[i].offset), buffers[i]->address,
                                     c->arrays[i].bytes};
    }
    if (r == 0) {
        copy_arrays(c, buffers, moves, false);
        for (size_t i = 0; i < n; i++) {
            moved[i] = list[i];
            move_words(&moved[i].args, sizeof(moved[i].args), moves, c->n_arrays, false);
        }
        r = program_create(c->dev, moved, n, &p, &err);
        ok = check_finish(c, r, p, &err);
        few_settle(c->dev);
        copy_arrays(c, buffers, moves, true);
    } else {
        check_finish(c, r, NULL, &err);
    }
    for (size_t i = 0; i < c->n_arrays; i++)
        buffer_destroy(buffers[i]);
    return ok;
}
