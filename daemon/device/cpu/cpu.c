/* SPDX-License-Identifier: MIT */
#include "device/cpu/cpu.h"
#include "device/cpu/threads.h"
#include "device/device_backend.h"
#include "kernels/ref.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_THREADS 256u
#define MAX_ROWS    4096u
/* A phase has at most this many dispatches, each at most CPU_ITEMS_MAX items: together below
 * THREADS_ITEMS_MAX. */
#define PHASE_DISPATCHES_MAX 60u

/* Products of a step that one worker does alone, some 100 us: before another were awake it would be
 * over, and waiting at each phase of it would cost both more than it saves. */
#define ALONE_PRODUCTS (3u << 19)
/* What an item of the other kernels counts as. */
#define ITEM_PRODUCTS 16384u

struct cpu_device {
    struct device device; /* first */
    const struct cpu_kernels *kernels;
    struct threads *threads;
    unsigned n_threads;
    uint8_t *scratch; /* n_threads * CPU_SCRATCH_BYTES */
};

/* Dispatches that may run side by side. */
struct phase {
    uint32_t first, n;
};

struct cpu_program {
    struct program program; /* first */
    struct job job;
    struct cpu_device *cpu;
    struct dispatch *list;
    uint32_t *item_end; /* per dispatch: items of its phase up to and with it, in this step */
    struct phase *phases;
    uint32_t n_phases;
    bool is_alone; /* this step, by ALONE_PRODUCTS; known to whoever begins its phases */
};

static struct cpu_program *program_of(struct job *job)
{
    return (struct cpu_program *)(void *)((char *)job - offsetof(struct cpu_program, job));
}

/* About how many products of two numbers a dispatch is in this step. */
static uint64_t products(const struct cpu_program *p, const struct dispatch *d)
{
    const struct args_matmul *m = &d->args.matmul;
    const struct args_matmul_experts *e = &d->args.matmul_experts;
    const struct args_attention *a = &d->args.attention;
    const struct step_header *step = addr_ptr(m->step); /* every op's arguments begin with it */
    const struct cpu_kernel *k = &p->cpu->kernels->ops[d->op];

    switch (d->op) {
    case KERNEL_MATMUL:
        return (uint64_t)m->n_rows * m->n_cols * step_rows(m->step, m->rows, d->max_rows);
    case KERNEL_MATMUL_EXPERTS:
        return (uint64_t)e->n_rows * e->n_cols * e->n_used *
               step_rows(e->step, ROWS_TOKENS, d->max_rows);
    case KERNEL_ATTENTION: /* of as many positions as a step that does not tell could have */
        return (uint64_t)a->n_heads * (a->kv.n_channels_k + a->kv.n_channels_v) *
               step_rows(a->step, ROWS_TOKENS, d->max_rows) *
               (step->n_positions ? step->n_positions : 1u << 20);
    default:
        return ITEM_PRODUCTS * (uint64_t)(k->run ? k->n_items(d) : 1);
    }
}

static bool is_for_one(const struct cpu_program *p)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < p->n_phases && sum <= ALONE_PRODUCTS; i++)
        for (uint32_t k = p->phases[i].first; k < p->phases[i].first + p->phases[i].n; k++)
            sum += products(p, &p->list[k]);
    return sum <= ALONE_PRODUCTS;
}

static uint32_t begin_phase(struct job *job, uint32_t index, bool *ret_small)
{
    struct cpu_program *p = program_of(job);
    const struct phase *phase = &p->phases[index];
    uint32_t total = 0;
    bool is_one_each = true;

    if (index == 0)
        p->is_alone = is_for_one(p);

    for (uint32_t i = phase->first; i < phase->first + phase->n; i++) {
        const struct cpu_kernel *k = &p->cpu->kernels->ops[p->list[i].op];
        uint32_t n = k->run ? k->n_items(&p->list[i]) : 1;

        is_one_each = is_one_each && n <= 1;
        total += n;
        p->item_end[i] = total;
    }
    *ret_small = p->is_alone || is_one_each;
    return total;
}

static void run_item(struct job *job, uint32_t index, uint32_t item, unsigned thread)
{
    struct cpu_program *p = program_of(job);
    uint32_t i = p->phases[index].first, begin = 0;
    const struct cpu_kernel *k;

    while (item >= p->item_end[i])
        begin = p->item_end[i++];
    k = &p->cpu->kernels->ops[p->list[i].op];
    if (k->run)
        k->run(&p->list[i], item - begin, p->cpu->scratch + (size_t)thread * CPU_SCRATCH_BYTES);
    else
        ref_run(&p->list[i]);
}

static void cpu_program_destroy(struct program *program)
{
    struct cpu_program *p = (struct cpu_program *)program;

    free(p->list);
    free(p->item_end);
    free(p->phases);
    free(p);
}

/* Cuts the list into phases at its barriers. */
static void cut_phases(struct cpu_program *p, size_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct phase *last = p->n_phases ? &p->phases[p->n_phases - 1] : NULL;

        if (!last || p->list[i].barrier || last->n == PHASE_DISPATCHES_MAX)
            p->phases[p->n_phases++] = (struct phase){i, 1};
        else
            last->n++;
    }
}

static int cpu_program_create(struct device *dev, const struct dispatch *list, size_t n,
                              struct program **ret_program, struct error *err)
{
    struct cpu_program *p = calloc(1, sizeof(*p));

    if (!p)
        return error_set(err, ENOMEM, "out of memory");
    p->program.device = dev;
    p->cpu = (struct cpu_device *)dev;
    p->list = malloc(n * sizeof(*p->list));
    p->item_end = calloc(n, sizeof(*p->item_end));
    p->phases = calloc(n, sizeof(*p->phases));
    if (!p->list || !p->item_end || !p->phases || n > UINT32_MAX) {
        cpu_program_destroy(&p->program);
        return error_set(err, ENOMEM, "out of memory");
    }
    memcpy(p->list, list, n * sizeof(*list));
    cut_phases(p, n);
    p->job = (struct job){p->n_phases, begin_phase, run_item};
    *ret_program = &p->program;
    return 0;
}

static void cpu_destroy(struct device *dev)
{
    struct cpu_device *cpu = (struct cpu_device *)dev;

    threads_destroy(cpu->threads);
    free(cpu->scratch);
    free(cpu);
}

static int cpu_activation_for(const struct device *dev, enum gguf_type type, uint32_t n_cols,
                              uint32_t max_rows)
{
    switch (type) {
    case GGUF_TYPE_Q8_0:
    case GGUF_TYPE_Q4_0:
        return ACT_Q8_32;
    case GGUF_TYPE_Q4_K:
    case GGUF_TYPE_Q5_K:
    case GGUF_TYPE_Q6_K:
        return ACT_Q8_256;
    default:
        return ACT_F32;
    }
}

/* Mapped, so that it is zeroed, aligned and can be of large pages. */
static int cpu_buffer_create(struct device *dev, struct buffer *buf, unsigned usage,
                             struct error *err)
{
    void *host = mmap(NULL, buf->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (host == MAP_FAILED)
        return error_set_errno(err, ENOMEM, "cannot allocate %llu bytes",
                               (unsigned long long)buf->bytes);
    madvise(host, buf->bytes, MADV_HUGEPAGE);
    buf->host = host;
    buf->address = (uint64_t)(uintptr_t)host;
    return 0;
}

static int cpu_buffer_import(struct device *dev, struct buffer *buf,
                             const struct memory_import *mem, struct error *err)
{
    if (!mem->host)
        return error_set(err, EINVAL, "the cpu device imports memory by its host pointer");
    buf->host = mem->host;
    buf->address = (uint64_t)(uintptr_t)mem->host;
    return 0;
}

/* Whole pages, as the kernel does: of the last one ThreadSanitizer else remembers who read it, and
 * says so to whoever is given its address next. */
static void cpu_buffer_destroy(struct device *dev, struct buffer *buf)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

    if (!buf->is_imported)
        munmap(buf->host, (buf->bytes + page_bytes - 1) / page_bytes * page_bytes);
}

static int cpu_submit(struct device *dev, struct program *p, uint64_t *ret_ticket,
                      struct error *err)
{
    struct cpu_device *cpu = (struct cpu_device *)dev;
    int r = threads_submit(cpu->threads, &((struct cpu_program *)p)->job, ret_ticket);

    return r < 0 ? error_set_errno(err, r, "cannot queue a program") : 0;
}

static int cpu_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err)
{
    struct cpu_device *cpu = (struct cpu_device *)dev;
    int r = threads_wait(cpu->threads, ticket, timeout_ns);

    return r < 0 ? error_set(err, -r, "the device is still at work") : 0;
}

static const struct device_ops cpu_ops = {
    .destroy = cpu_destroy,
    .activation_for = cpu_activation_for,
    .buffer_create = cpu_buffer_create,
    .buffer_import = cpu_buffer_import,
    .buffer_destroy = cpu_buffer_destroy,
    .program_create = cpu_program_create,
    .program_destroy = cpu_program_destroy,
    .submit = cpu_submit,
    .wait = cpu_wait,
};

/* The best level this CPU has, or the one asked for. */
static const struct cpu_kernels *choose_level(const char *name, struct error *err)
{
    for (const struct cpu_kernels *const *k = cpu_levels; *k; k++) {
        if (*name && strcmp(name, (*k)->name))
            continue;
        if ((*k)->is_supported())
            return *k;
        if (*name) {
            error_set(err, EOPNOTSUPP, "this CPU does not have %s", (*k)->long_name);
            return NULL;
        }
    }
    error_set(err, EINVAL, "no level of the cpu device is called '%s'", name);
    return NULL;
}

/* "[THREADS][:LEVEL]" */
static int parse_options(const char *options, struct cpu_device *cpu, struct error *err)
{
    unsigned long n = threads_allowed_cpus();
    const char *level = "";

    if (*options && *options != ':') {
        char *end;

        errno = 0;
        n = strtoul(options, &end, 10);
        if (errno || *options < '0' || *options > '9' || !n || n > MAX_THREADS ||
            (*end && *end != ':'))
            return error_set(err, EINVAL, "cpu:%s: the number of threads must be 1 to %u", options,
                             MAX_THREADS);
        options = end;
    }
    if (*options == ':')
        level = options + 1;
    cpu->n_threads = n > MAX_THREADS ? MAX_THREADS : (unsigned)n;
    cpu->kernels = choose_level(level, err);
    return cpu->kernels ? 0 : err ? err->code : -EINVAL;
}

int cpu_device_create(const char *options, struct device **ret_device, struct error *err)
{
    struct cpu_device *cpu = calloc(1, sizeof(*cpu));
    struct device_info *info;
    int r;

    if (!cpu)
        return error_set(err, ENOMEM, "out of memory");
    cpu->device.ops = &cpu_ops;
    r = parse_options(options, cpu, err);
    if (r < 0)
        goto fail;
    cpu->scratch = aligned_alloc(64, (size_t)cpu->n_threads * CPU_SCRATCH_BYTES);
    if (!cpu->scratch) {
        r = error_set(err, ENOMEM, "out of memory");
        goto fail;
    }
    r = threads_create(cpu->n_threads, &cpu->threads, err);
    if (r < 0)
        goto fail;
    info = &cpu->device.info;
    snprintf(info->name, sizeof(info->name), "cpu: %u thread%s, %s", cpu->n_threads,
             cpu->n_threads == 1 ? "" : "s", cpu->kernels->long_name);
    info->backend = "cpu";
    info->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    info->max_rows = MAX_ROWS;
    info->exact_rows = 1;
    info->n_threads = cpu->n_threads;
    info->is_zero_copy = true;
    *ret_device = &cpu->device;
    return 0;
fail:
    cpu_destroy(&cpu->device);
    return r;
}
