/* SPDX-License-Identifier: MIT */
/*
 * Memory that reaches the Vulkan device as a dma-buf: windows of pools of the kernel module, and of
 * a memfd through /dev/udmabuf. Needs those devices, so it runs in a guest (tests/vm/run -s
 * daemon).
 */
#include "harness.h"

#include "device/device.h"
#include "device/vulkan/vk_device.h"
#include "uapi/hearth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE_BYTES ((uint64_t)2 << 20)

/* A large page holds ROWS_PER_PAGE rows of a matrix of F16. */
enum { N_COLS = 1024, ROWS_PER_PAGE = 1024, N_PAGES = 3, STEP_BYTES = 4096 };

/* Memory that can be exported, mapped for the CPU. */
struct memory {
    bool is_pool;
    int fd;
    uint16_t *cpu; /* NULL once sealed */
};

struct fixture {
    struct memory memory;
    struct buffer *step[2]; /* of the Vulkan device, of the cpu device: step, x, out */
};

static struct device *devices[2];          /* Vulkan, cpu; made once */
static PFN_vkAllocateMemory real_allocate; /* where a test put another in its place */
static struct error no_device;             /* why there is no Vulkan device */

static bool have_devices(void)
{
    if (devices[0] || no_device.text[0])
        return devices[0];
    if (device_create("vulkan", &devices[0], &no_device) < 0)
        return false;
    assert_int_equal(device_create("cpu:1", &devices[1], NULL), 0);
    real_allocate = vkAllocateMemory;
    return true;
}

/* ---- memory to export ---- */

static int pool_ioctl(const struct memory *m, unsigned long request)
{
    struct hearth_pool_flags none = {0};

    return ioctl(m->fd, request, &none);
}

static struct hearth_info pool_info(const struct memory *m)
{
    struct hearth_info info;

    assert_int_equal(ioctl(m->fd, HEARTH_POOL_INFO, &info), 0);
    return info;
}

static int make_pool(void)
{
    struct hearth_create create = {
        .size_bytes = N_PAGES * LARGE_BYTES, .node = HEARTH_NODE_ANY, .mode = 0600};
    int device = open("/dev/hearth", O_RDWR | O_CLOEXEC), fd;

    if (device < 0)
        return -1;
    fd = ioctl(device, HEARTH_CREATE, &create);
    close(device);
    return fd;
}

static int make_memfd(void)
{
    int fd = access("/dev/udmabuf", R_OK | W_OK)
                 ? -1
                 : memfd_create("window", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -1;
    assert_int_equal(ftruncate(fd, N_PAGES * LARGE_BYTES), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

static int export_window(const struct memory *m, uint64_t offset, uint64_t bytes, unsigned flags)
{
    struct hearth_export window = {.offset = offset, .length = bytes, .flags = flags};
    struct udmabuf_create create = {
        .memfd = (uint32_t)m->fd, .flags = UDMABUF_FLAGS_CLOEXEC, .offset = offset, .size = bytes};
    int device, fd;

    if (m->is_pool)
        return ioctl(m->fd, HEARTH_POOL_EXPORT, &window);
    device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    fd = ioctl(device, UDMABUF_CREATE, &create);
    close(device);
    return fd;
}

static int export_writable(const struct memory *m, uint64_t offset, uint64_t bytes)
{
    int fd = export_window(m, offset, bytes, m->is_pool ? HEARTH_EXPORT_WRITE : 0);

    assert_true(fd >= 0);
    return fd;
}

/* The small integer at place i, as half precision, so that sums are exact in any order. */
static uint16_t half_at(uint64_t i)
{
    static const uint16_t halves[8] = {0x0000, 0x3c00, 0xbc00, 0x4000,
                                       0xc000, 0x4200, 0xc200, 0x4400}; /* 0 1 -1 2 -2 3 -3 4 */

    return halves[i * 0x9e3779b97f4a7c15u >> 61];
}

static void fill(struct memory *m)
{
    for (uint64_t i = 0; i < N_PAGES * LARGE_BYTES / 2; i++)
        m->cpu[i] = half_at(i);
}

static void seal(struct memory *m)
{
    munmap(m->cpu, N_PAGES * LARGE_BYTES);
    m->cpu = NULL;
    assert_int_equal(pool_ioctl(m, HEARTH_POOL_SEAL), 0);
}

/* ---- fixture ---- */

static int setup(struct fixture **state, bool is_pool)
{
    struct fixture *f = calloc(1, sizeof(*f));
    float *x;

    *state = f;
    f->memory = (struct memory){.is_pool = is_pool, .fd = is_pool ? make_pool() : make_memfd()};
    if (f->memory.fd < 0 || !have_devices())
        return 0;
    f->memory.cpu =
        mmap(NULL, N_PAGES * LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory.fd, 0);
    assert_ptr_not_equal(f->memory.cpu, MAP_FAILED);
    fill(&f->memory);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(buffer_create(devices[i],
                                       STEP_BYTES + 4 * (N_COLS + N_PAGES * ROWS_PER_PAGE),
                                       BUFFER_HOST, &f->step[i], NULL),
                         0);
        *(struct step_header *)f->step[i]->host =
            (struct step_header){.n_tokens = 1, .n_outputs = 1};
        x = (float *)(void *)((char *)f->step[i]->host + STEP_BYTES);
        for (int k = 0; k < N_COLS; k++)
            x[k] = (float)(k % 7 - 3);
    }
    return 0;
}

static int setup_pool(void **state)
{
    return setup((struct fixture **)state, true);
}

static int setup_udmabuf(void **state)
{
    return setup((struct fixture **)state, false);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (real_allocate)
        vkAllocateMemory = real_allocate;
    for (int i = 0; i < 2; i++)
        buffer_destroy(f->step[i]);
    if (f->memory.cpu)
        munmap(f->memory.cpu, N_PAGES * LARGE_BYTES);
    if (f->memory.fd >= 0)
        close(f->memory.fd);
    free(f);
    return 0;
}

#define NEED_ALL(f)                                                                                \
    do {                                                                                           \
        if ((f)->memory.fd < 0)                                                                    \
            SKIP("no %s here", (f)->memory.is_pool ? "/dev/hearth" : "/dev/udmabuf");              \
        if (!devices[0])                                                                           \
            SKIP("%s", no_device.text);                                                            \
        if (!vk_device_of(devices[0])->gpu.can_import_dmabuf)                                      \
            SKIP("the Vulkan driver imports no dma-bufs");                                         \
    } while (0)

static struct buffer *import(int fd, uint64_t bytes)
{
    struct memory_import mem = {.dmabuf_fd = fd, .bytes = bytes};
    struct error err = {0};
    struct buffer *b = NULL;

    if (buffer_import(devices[0], &mem, &b, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(b->is_imported);
    assert_int_equal(b->bytes, bytes);
    return b;
}

static struct buffer *import_and_close(int fd, uint64_t bytes)
{
    struct buffer *b = import(fd, bytes);

    close(fd);
    return b;
}

static void assert_refused(int fd, uint64_t bytes, int code, const char *part)
{
    struct memory_import mem = {.dmabuf_fd = fd, .bytes = bytes};
    struct error err = {0};
    struct buffer *b = NULL;

    assert_int_equal(buffer_import(devices[0], &mem, &b, &err), code);
    assert_null(b);
    assert_says(err.text, part);
}

/* ---- programs ---- */

static float *out_of(const struct fixture *f, int i)
{
    return (float *)(void *)((char *)f->step[i]->host + STEP_BYTES + 4 * N_COLS);
}

/* out = weight * x on device i, of n_rows rows at that address. */
static void multiply(struct fixture *f, int i, uint64_t weight, uint32_t n_rows)
{
    uint64_t at = f->step[i]->address, ticket;
    struct dispatch d = {
        .op = KERNEL_MATMUL,
        .weight_type = GGUF_TYPE_F16,
        .activation = ACT_F32,
        .max_rows = 1,
        .label = "window",
        .args.matmul = {.step = at,
                        .weight = weight,
                        .x = at + STEP_BYTES,
                        .out = at + STEP_BYTES + 4 * N_COLS,
                        .n_rows = n_rows,
                        .n_cols = N_COLS},
    };
    struct error err = {0};
    struct program *p;

    assert_int_equal(device_activation_for(devices[i], GGUF_TYPE_F16, N_COLS, 1), ACT_F32);
    memset(out_of(f, i), 0xff, 4 * n_rows);
    if (program_create(devices[i], &d, 1, &p, &err) < 0 ||
        device_submit(devices[i], p, &ticket, &err) < 0 ||
        device_wait(devices[i], ticket, 300000000000u, &err) < 0)
        fail_msg("%s", err.text);
    program_destroy(p);
}

/* What the GPU makes of the imported window is what the cpu device makes of the same bytes, which
 * it finds in a copy of them from byte `from` on. */
static void assert_equals_cpu(struct fixture *f, const struct buffer *window, uint64_t from)
{
    uint32_t n_rows = (uint32_t)(window->bytes / 2 / N_COLS);
    struct buffer *copy;

    assert_int_equal(buffer_create(devices[1], window->bytes, BUFFER_HOST, &copy, NULL), 0);
    for (uint64_t i = 0; i < window->bytes / 2; i++)
        ((uint16_t *)copy->host)[i] = half_at(from / 2 + i);
    multiply(f, 1, copy->address, n_rows);
    buffer_destroy(copy);
    multiply(f, 0, window->address, n_rows);
    assert_memory_equal(out_of(f, 0), out_of(f, 1), 4 * n_rows);
}

/* ---- what an import is ---- */

static void a_window_is_multiplied_as_on_the_cpu(void **state)
{
    struct fixture *f = *state;
    struct buffer *b;

    NEED_ALL(f);
    b = import_and_close(export_writable(&f->memory, LARGE_BYTES, 2 * LARGE_BYTES),
                         2 * LARGE_BYTES);
    assert_equals_cpu(f, b, LARGE_BYTES);
    buffer_destroy(b);
}

static void nothing_is_copied(void **state)
{
    struct fixture *f = *state;
    struct buffer *b;
    float before;

    NEED_ALL(f);
    b = import_and_close(export_writable(&f->memory, 0, LARGE_BYTES), LARGE_BYTES);
    multiply(f, 0, b->address, 1);
    before = out_of(f, 0)[0];
    f->memory.cpu[0] = 0x4900; /* 10, where 0 was; x is -3 there */
    multiply(f, 0, b->address, 1);
    assert_true(out_of(f, 0)[0] == before - 30);
    buffer_destroy(b);
}

static void the_gpu_writes_into_a_window(void **state)
{
    struct fixture *f = *state;
    uint64_t step, ticket;
    struct dispatch d;
    struct program *p;
    struct buffer *b;
    float *x;

    NEED_ALL(f);
    x = (float *)(void *)((char *)f->memory.cpu + LARGE_BYTES);
    b = import_and_close(export_writable(&f->memory, LARGE_BYTES, LARGE_BYTES), LARGE_BYTES);
    step = f->step[0]->address;
    for (int i = 0; i < N_COLS; i++)
        x[i] = (float)i;
    d = (struct dispatch){
        .op = KERNEL_ADD,
        .max_rows = 1,
        .label = "sum",
        .args.add = {.step = step, .x = b->address, .y = step + STEP_BYTES, .n_cols = N_COLS}};
    assert_int_equal(program_create(devices[0], &d, 1, &p, NULL), 0);
    assert_int_equal(device_submit(devices[0], p, &ticket, NULL), 0);
    assert_int_equal(device_wait(devices[0], ticket, 300000000000u, NULL), 0);
    for (int i = 0; i < N_COLS; i++)
        assert_true(x[i] == (float)(i + i % 7 - 3));
    program_destroy(p);
    buffer_destroy(b);
}

static void windows_that_overlap_show_the_same_memory(void **state)
{
    struct fixture *f = *state;
    struct buffer *a, *b;

    NEED_ALL(f);
    a = import_and_close(export_writable(&f->memory, 0, 2 * LARGE_BYTES), 2 * LARGE_BYTES);
    b = import_and_close(export_writable(&f->memory, LARGE_BYTES, 2 * LARGE_BYTES),
                         2 * LARGE_BYTES);
    assert_true(a->address + 2 * LARGE_BYTES <= b->address ||
                b->address + 2 * LARGE_BYTES <= a->address);
    assert_equals_cpu(f, a, 0);
    assert_equals_cpu(f, b, LARGE_BYTES);
    for (int i = 0; i < N_COLS; i++)
        f->memory.cpu[LARGE_BYTES / 2 + (unsigned)i] = 0x3c00; /* 1, in both */
    multiply(f, 0, a->address + LARGE_BYTES, 1);
    assert_true(out_of(f, 0)[0] == -5); /* of 1024 x all but two come in sevens that sum to 0 */
    multiply(f, 0, b->address, 1);
    assert_true(out_of(f, 0)[0] == -5);
    buffer_destroy(a);
    multiply(f, 0, b->address, 1);
    assert_true(out_of(f, 0)[0] == -5);
    buffer_destroy(b);
}

static void a_sealed_pool_is_multiplied_as_on_the_cpu(void **state)
{
    struct fixture *f = *state;
    struct buffer *b;
    int fd;

    NEED_ALL(f);
    seal(&f->memory);
    fd = export_window(&f->memory, 0, N_PAGES * LARGE_BYTES, 0);
    assert_true(fd >= 0);
    b = import_and_close(fd, N_PAGES * LARGE_BYTES);
    assert_equals_cpu(f, b, 0);
    buffer_destroy(b);
}

/* ---- what is refused ---- */

static void a_window_smaller_than_said_is_refused(void **state)
{
    struct fixture *f = *state;
    int fd;

    NEED_ALL(f);
    fd = export_writable(&f->memory, 0, LARGE_BYTES);
    assert_refused(fd, 2 * LARGE_BYTES, -EINVAL, "has 2097152 bytes, fewer than the 4194304");
    assert_refused(fd, LARGE_BYTES + 4096, -EINVAL, "fewer than");
    assert_refused(fd, LARGE_BYTES - 1, -EINVAL, "whole pages");
    assert_refused(fd, 0, -EINVAL, "");
    buffer_destroy(import_and_close(fd, LARGE_BYTES - 4096));
}

static void what_is_no_dmabuf_is_refused(void **state)
{
    struct fixture *f = *state;
    int closed = dup(1), pipes[2];

    NEED_ALL(f);
    close(closed);
    assert_refused(closed, LARGE_BYTES, -EBADF, "is not open");
    assert_refused(-1, LARGE_BYTES, -EBADF, "is not open");
    assert_refused(f->memory.fd, LARGE_BYTES, -EINVAL, "is no dma-buf");
    assert_int_equal(pipe(pipes), 0);
    assert_refused(pipes[0], LARGE_BYTES, -EINVAL, "is no dma-buf");
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- what is left behind ---- */

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void a_destroyed_buffer_leaves_no_descriptor(void **state)
{
    struct fixture *f = *state;
    int before, fd;

    NEED_ALL(f);
    before = count_fds();
    fd = export_writable(&f->memory, 0, LARGE_BYTES);
    for (int i = 0; i < 3; i++) {
        buffer_destroy(import(fd, LARGE_BYTES));
        assert_int_equal(count_fds(), before + 1);
    }
    close(fd);
}

/* Has the kernel take back what it may. */
static void reclaim(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

    assert_int_equal(write(fd, "2", 1), 1);
    close(fd);
}

static void a_pool_is_held_by_its_import_and_no_longer(void **state)
{
    struct fixture *f = *state;
    struct buffer *b;
    int fd;

    NEED_ALL(f);
    seal(&f->memory);
    fd = export_window(&f->memory, 0, 2 * LARGE_BYTES, 0);
    assert_true(fd >= 0);
    b = import_and_close(fd, 2 * LARGE_BYTES);
    assert_int_equal(pool_ioctl(&f->memory, HEARTH_POOL_IDLE), 0);
    assert_int_equal(pool_info(&f->memory).dmabufs, 1);
    reclaim();
    assert_int_equal(pool_info(&f->memory).state, HEARTH_STATE_SEALED);
    assert_equals_cpu(f, b, 0);
    buffer_destroy(b);
    assert_int_equal(pool_info(&f->memory).dmabufs, 0);
    assert_int_equal(pool_info(&f->memory).mappings, 0);
    reclaim();
    assert_int_equal(pool_info(&f->memory).state, HEARTH_STATE_EVICTED);
}

static VKAPI_ATTR VkResult VKAPI_CALL refuse(VkDevice d, const VkMemoryAllocateInfo *i,
                                             const VkAllocationCallbacks *a, VkDeviceMemory *m)
{
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static int stolen; /* the descriptor of another thread's file */

/* What lavapipe does, and what another thread may do at that moment. */
static VKAPI_ATTR VkResult VKAPI_CALL refuse_and_close(VkDevice d, const VkMemoryAllocateInfo *i,
                                                       const VkAllocationCallbacks *a,
                                                       VkDeviceMemory *m)
{
    for (const VkBaseInStructure *s = i->pNext; s; s = s->pNext) {
        if (s->sType != VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR)
            continue;
        stolen = ((const VkImportMemoryFdInfoKHR *)(const void *)s)->fd;
        close(stolen);
        assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), stolen);
    }
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void a_failed_import_closes_its_own_descriptor_alone(void **state)
{
    struct fixture *f = *state;
    int fd, before;

    NEED_ALL(f);
    fd = export_writable(&f->memory, 0, LARGE_BYTES);
    before = count_fds();
    vkAllocateMemory = refuse;
    assert_refused(fd, LARGE_BYTES, -ENOMEM, "ran out of memory");
    assert_int_equal(count_fds(), before);
    vkAllocateMemory = refuse_and_close;
    assert_refused(fd, LARGE_BYTES, -ENOMEM, "ran out of memory");
    assert_int_equal(count_fds(), before + 1);
    assert_int_equal(close(stolen), 0);
    vkAllocateMemory = real_allocate;
    buffer_destroy(import_and_close(fd, LARGE_BYTES));
}

#define POOL_TEST(name)                                                                            \
    {                                                                                              \
        "pool_" #name, name, setup_pool, teardown, NULL                                            \
    }
#define UDMABUF_TEST(name)                                                                         \
    {                                                                                              \
        "udmabuf_" #name, name, setup_udmabuf, teardown, NULL                                      \
    }

static const struct CMUnitTest tests[] = {
    POOL_TEST(a_window_is_multiplied_as_on_the_cpu),
    UDMABUF_TEST(a_window_is_multiplied_as_on_the_cpu),
    POOL_TEST(nothing_is_copied),
    UDMABUF_TEST(nothing_is_copied),
    POOL_TEST(the_gpu_writes_into_a_window),
    UDMABUF_TEST(the_gpu_writes_into_a_window),
    POOL_TEST(windows_that_overlap_show_the_same_memory),
    UDMABUF_TEST(windows_that_overlap_show_the_same_memory),
    POOL_TEST(a_sealed_pool_is_multiplied_as_on_the_cpu),
    POOL_TEST(a_window_smaller_than_said_is_refused),
    UDMABUF_TEST(a_window_smaller_than_said_is_refused),
    POOL_TEST(what_is_no_dmabuf_is_refused),
    POOL_TEST(a_destroyed_buffer_leaves_no_descriptor),
    UDMABUF_TEST(a_destroyed_buffer_leaves_no_descriptor),
    POOL_TEST(a_pool_is_held_by_its_import_and_no_longer),
    POOL_TEST(a_failed_import_closes_its_own_descriptor_alone),
    UDMABUF_TEST(a_failed_import_closes_its_own_descriptor_alone),
};

int main(int argc, char **argv)
{
    int failed;

    if (access("/dev/hearth", F_OK) && access("/dev/udmabuf", F_OK)) {
        puts("1..0 # SKIP neither /dev/hearth nor /dev/udmabuf: tests/vm/run 7.2 -s daemon has "
             "both");
        return 0; /* to a reader of TAP any other code is an error */
    }
    failed = TEST_MAIN(argc, argv, tests);
    device_destroy(devices[0]);
    device_destroy(devices[1]);
    return failed;
}
