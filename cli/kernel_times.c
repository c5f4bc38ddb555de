/* SPDX-License-Identifier: MIT */
#include "kernel_times.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASSES = 5 };

/* Calls of one kind. */
struct kind {
    char name[64];
    uint32_t n_calls;
    uint64_t weight_bytes; /* of all calls; 0: reads none worth telling */
    double ns;
};

static void name_kind(const struct dispatch *d, struct kind *k)
{
    const struct args_matmul *m = &d->args.matmul;
    const struct args_matmul_experts *e = &d->args.matmul_experts;
    const char *type = gguf_type_get_info(d->weight_type)->name;

    *k = (struct kind){.n_calls = 1};
    if (d->op == KERNEL_MATMUL) {
        snprintf(k->name, sizeof(k->name), "matmul %s %ux%u", type, m->n_rows, m->n_cols);
        k->weight_bytes = gguf_type_row_bytes(d->weight_type, m->n_cols) * m->n_rows;
    } else if (d->op == KERNEL_MATMUL_EXPERTS) { /* how many experts it reads is not known here */
        snprintf(k->name, sizeof(k->name), "experts %s %ux%u", type, e->n_rows, e->n_cols);
    } else if (d->op == KERNEL_EMBED) {
        snprintf(k->name, sizeof(k->name), "embed %s", type);
    } else {
        snprintf(k->name, sizeof(k->name), "%s", kernel_op_name(d->op));
    }
}

static int run_once(struct device *dev, struct program *p, double *ret_ns, struct error *err)
{
    uint64_t start_ns = clock_now_ns(), ticket, busy_ns;
    int r = device_submit(dev, p, &ticket, err);

    if (r == 0)
        r = device_wait(dev, ticket, UINT64_MAX, err);
    if (r < 0)
        return r;
    busy_ns = program_busy_ns(p);
    *ret_ns = (double)(busy_ns ? busy_ns : clock_now_ns() - start_ns);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* ret_ns[n]: the median of the passes, the first apart, in which the device warms up. */
static int measure(struct device *dev, struct program **programs, size_t n, double *ret_ns,
                   struct error *err)
{
    double(*times)[PASSES] = calloc(n, sizeof(*times));
    int r = times ? 0 : error_set(err, ENOMEM, "out of memory");

    for (int pass = -1; pass < PASSES; pass++)
        for (size_t i = 0; r == 0 && i < n; i++)
            r = run_once(dev, programs[i], pass < 0 ? &ret_ns[i] : &times[i][pass], err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        qsort(times[i], PASSES, sizeof(double), by_value);
        ret_ns[i] = times[i][PASSES / 2];
    }
    free(times);
    return r;
}

static int by_time(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;

    return (x->ns < y->ns) - (x->ns > y->ns);
}

/* Puts the calls of a kind together; their number. */
static size_t sum_up(const struct dispatch *list, const double *ns, size_t n, struct kind *kinds)
{
    size_t n_kinds = 0;

    for (size_t i = 0; i < n; i++) {
        struct kind one;
        size_t k = 0;

        name_kind(&list[i], &one);
        while (k < n_kinds && strcmp(kinds[k].name, one.name))
            k++;
        if (k == n_kinds) {
            kinds[n_kinds++] = one;
        } else {
            kinds[k].n_calls++;
            kinds[k].weight_bytes += one.weight_bytes;
        }
        kinds[k].ns += ns[i];
    }
    qsort(kinds, n_kinds, sizeof(*kinds), by_time);
    return n_kinds;
}

static void print_kinds(const struct kind *kinds, size_t n)
{
    double total = 0;

    for (size_t i = 0; i < n; i++)
        total += kinds[i].ns;
    printf("\n| kernel | calls | us each | us in all | share | weights, GB/s |\n");
    printf("|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        printf("| %s | %u | %.1f | %.0f | %.0f %% | ", kinds[i].name, kinds[i].n_calls,
               kinds[i].ns / kinds[i].n_calls / 1e3, kinds[i].ns / 1e3, 100 * kinds[i].ns / total);
        if (kinds[i].weight_bytes)
            printf("%.0f |\n", (double)kinds[i].weight_bytes / kinds[i].ns);
        else
            printf("- |\n");
    }
    printf("| all | | | %.0f | | |\n", total / 1e3);
}

int kernel_times_print(struct device *dev, const struct dispatch *list, size_t n,
                       const struct step_header *header, struct error *err)
{
    struct program **programs = calloc(n, sizeof(struct program *));
    struct kind *kinds = calloc(n, sizeof(*kinds));
    double *ns = calloc(n, sizeof(*ns));
    int r = programs && kinds && ns ? 0 : error_set(err, ENOMEM, "out of memory");

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = program_create(dev, &list[i], 1, &programs[i], err);
        if (r == 0)
            program_show_step(programs[i], header);
    }
    if (r == 0)
        r = measure(dev, programs, n, ns, err);
    if (r == 0)
        print_kinds(kinds, sum_up(list, ns, n, kinds));
    for (size_t i = 0; programs && i < n; i++)
        program_destroy(programs[i]);
    free(programs);
    free(kinds);
    free(ns);
    return r;
}
