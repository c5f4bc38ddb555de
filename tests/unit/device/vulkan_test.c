/* SPDX-License-Identifier: MIT */
/* The Vulkan back end on whatever Vulkan device there is; faults are brought about by putting a
 * function of one's own in the place of the driver's. */
#include "harness.h"

#include "device/device.h"
#include "device/vulkan/vk_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { N_COLS = 64, X_AT = 4096, Y_AT = 8192, BUFFER_BYTES = 65536 };

struct fixture {
    struct device *dev;
    struct buffer *buf; /* the step header lies at its start */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = {0};

    *state = f;
    if (device_create("vulkan", &f->dev, &err) < 0) {
        print_message("# %s\n", err.text);
        return 0;
    }
    assert_int_equal(buffer_create(f->dev, BUFFER_BYTES, BUFFER_HOST, &f->buf, NULL), 0);
    *(struct step_header *)f->buf->host = (struct step_header){.n_tokens = 1, .n_outputs = 1};
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buffer_destroy(f->buf);
    device_destroy(f->dev);
    free(f);
    return 0;
}

#define NEED_DEVICE(f)                                                                             \
    do {                                                                                           \
        if (!(f)->dev)                                                                             \
            SKIP("no Vulkan device");                                                              \
    } while (0)

static float *floats(const struct fixture *f, size_t at)
{
    return (float *)(void *)((char *)f->buf->host + at);
}

/* x += y of one row. */
static struct dispatch add_call(uint64_t step, uint64_t x, uint64_t y)
{
    return (struct dispatch){
        .op = KERNEL_ADD,
        .barrier = true,
        .max_rows = 1,
        .label = "sum",
        .args.add = {.step = step, .x = x, .y = y, .n_cols = N_COLS},
    };
}

/* 0 without a device. */
static uint64_t address(const struct fixture *f, uint64_t offset)
{
    return f->buf ? f->buf->address + offset : 0;
}

static struct dispatch add_in(const struct fixture *f)
{
    return add_call(address(f, 0), address(f, X_AT), address(f, Y_AT));
}

static void run(struct device *dev, struct program *p)
{
    struct error err = {0};
    uint64_t ticket;

    if (device_submit(dev, p, &ticket, &err) < 0 ||
        device_wait(dev, ticket, 60000000000u, &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- programs ---- */

static void a_program_runs_again_and_again_with_the_same_calls(void **state)
{
    struct fixture *f = *state;
    struct dispatch list[50];
    struct program *p;

    NEED_DEVICE(f);
    for (size_t i = 0; i < 50; i++)
        list[i] = add_in(f);
    for (int i = 0; i < N_COLS; i++)
        floats(f, Y_AT)[i] = (float)i;
    assert_int_equal(program_create(f->dev, list, 50, &p, NULL), 0);
    /* enough runs for the cuts into submissions to be learnt and changed */
    for (int runs = 1; runs <= 4; runs++) {
        run(f->dev, p);
        for (int i = 0; i < N_COLS; i++)
            assert_true(floats(f, X_AT)[i] == (float)(i * 50 * runs));
    }
    program_destroy(p);
}

static void submissions_run_in_order_without_waiting_between(void **state)
{
    struct fixture *f = *state;
    struct dispatch forth = add_in(f);
    struct dispatch back = add_call(address(f, 0), address(f, Y_AT), address(f, X_AT));
    struct program *p, *q;
    uint64_t first, last = 0;

    NEED_DEVICE(f);
    floats(f, X_AT)[0] = 1;
    floats(f, Y_AT)[0] = 1;
    assert_int_equal(program_create(f->dev, &forth, 1, &p, NULL), 0);
    assert_int_equal(program_create(f->dev, &back, 1, &q, NULL), 0);
    for (int i = 0; i < 10; i++) { /* Fibonacci's numbers come only in this order */
        assert_int_equal(device_submit(f->dev, p, &first, NULL), 0);
        assert_int_equal(device_submit(f->dev, q, &last, NULL), 0);
        assert_true(last > first);
    }
    assert_int_equal(device_wait(f->dev, last, 60000000000u, NULL), 0);
    assert_true(floats(f, X_AT)[0] == 10946);
    assert_true(floats(f, Y_AT)[0] == 17711);
    program_destroy(p);
    program_destroy(q);
}

static double faked_ns, tick_ns; /* what every submission is said to have taken */

static VKAPI_ATTR VkResult VKAPI_CALL fake_times(VkDevice d, VkQueryPool q, uint32_t first,
                                                 uint32_t n, size_t bytes, void *data,
                                                 VkDeviceSize stride, VkQueryResultFlags flags)
{
    uint64_t *ticks = data;

    ticks[0] = 1000;
    ticks[1] = 1000 + (uint64_t)(faked_ns / tick_ns);
    return VK_SUCCESS;
}

/* Runs a step of n_tokens rows that is said to have taken that long, twice: times are looked at
 * when the next submission comes. */
static void run_timed(struct fixture *f, struct program *p, uint32_t n_tokens, double ns)
{
    ((struct step_header *)f->buf->host)->n_tokens = n_tokens;
    program_show_step(p, f->buf->host);
    faked_ns = ns;
    run(f->dev, p);
    run(f->dev, p);
}

static void rows_are_advised_by_the_time_they_take(void **state)
{
    struct fixture *f = *state;
    PFN_vkGetQueryPoolResults real = vkGetQueryPoolResults;
    struct dispatch d = add_in(f);
    struct program *p;
    uint32_t first;

    NEED_DEVICE(f);
    tick_ns = (double)vk_device_of(f->dev)->gpu.timestamp_ns;
    if (tick_ns <= 0)
        SKIP("a GPU without timestamps");
    first = device_advised_rows(f->dev);
    d.max_rows = first * 4; /* a bucket that is larger than the steps it serves */
    d.args.add.n_cols = 4;
    d.args.add.y = d.args.add.x;
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    vkGetQueryPoolResults = fake_times;
    run_timed(f, p, 4, 1000); /* fast, but of too few rows to say anything of more */
    assert_int_equal(device_advised_rows(f->dev), first);
    run_timed(f, p, first, 1000000);
    assert_int_equal(device_advised_rows(f->dev), first * 2);
    run_timed(f, p, first * 2, 90000000); /* twice as many would take too long, these do not */
    assert_int_equal(device_advised_rows(f->dev), first * 2);
    run_timed(f, p, first * 2, 150000000);
    assert_int_equal(device_advised_rows(f->dev), first);
    run_timed(f, p, first,
              1000000000); /* as a long context makes them: at once as few as it takes */
    assert_true(device_advised_rows(f->dev) <= first / 8);
    vkGetQueryPoolResults = real;
    program_destroy(p);
}

/* As a ring of two does: when one is submitted the other still runs. */
static void programs_queued_in_turn_are_all_timed(void **state)
{
    struct fixture *f = *state;
    PFN_vkGetQueryPoolResults real = vkGetQueryPoolResults;
    struct dispatch d = add_in(f);
    struct program *p[2];
    uint64_t tickets[2] = {0}, slow_ns = 5000000;

    NEED_DEVICE(f);
    tick_ns = (double)vk_device_of(f->dev)->gpu.timestamp_ns;
    if (tick_ns <= 0)
        SKIP("a GPU without timestamps");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(program_create(f->dev, &d, 1, &p[i], NULL), 0);
        program_show_step(p[i], f->buf->host);
    }
    ((struct step_header *)f->buf->host)->n_tokens = 1;
    vkGetQueryPoolResults = fake_times;
    faked_ns = (double)slow_ns;
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_submit(f->dev, p[i % 2], &tickets[i % 2], NULL), 0);
    /* the first has ended, or the third would not have been queued; the second may still run */
    assert_int_equal(vk_device_of(f->dev)->call_ns_per_row, slow_ns);
    vkGetQueryPoolResults = real;
    for (int i = 0; i < 2; i++)
        program_destroy(p[i]);
}

static void what_one_bucket_learnt_the_next_one_knows(void **state)
{
    struct fixture *f = *state;
    PFN_vkGetQueryPoolResults real = vkGetQueryPoolResults;
    struct dispatch d = add_in(f);
    struct program *p;

    NEED_DEVICE(f);
    tick_ns = (double)vk_device_of(f->dev)->gpu.timestamp_ns;
    if (tick_ns <= 0)
        SKIP("a GPU without timestamps");
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    vkGetQueryPoolResults = fake_times;
    run_timed(f, p, 1, 5000000);
    vkGetQueryPoolResults = real;
    program_destroy(p);
    assert_int_equal(vk_device_of(f->dev)->call_ns_per_row, 5000000);
}

static VKAPI_ATTR VkResult VKAPI_CALL no_pool(VkDevice d, const VkCommandPoolCreateInfo *i,
                                              const VkAllocationCallbacks *a, VkCommandPool *p)
{
    return VK_ERROR_OUT_OF_HOST_MEMORY;
}

static void a_program_that_could_not_be_cut_anew_runs_when_it_can(void **state)
{
    struct fixture *f = *state;
    PFN_vkCreateCommandPool real = vkCreateCommandPool;
    struct dispatch list[50];
    struct error err = {0};
    struct program *p;
    uint64_t ticket;

    NEED_DEVICE(f);
    if (vk_device_of(f->dev)->gpu.timestamp_ns <= 0)
        SKIP("a GPU without timestamps");
    for (size_t i = 0; i < 50; i++)
        list[i] = add_in(f);
    floats(f, Y_AT)[0] = 1;
    assert_int_equal(program_create(f->dev, list, 50, &p, NULL), 0);
    run(f->dev, p);
    vkCreateCommandPool = no_pool; /* the next submission wants to make four segments one */
    assert_int_equal(device_submit(f->dev, p, &ticket, &err), -ENOMEM);
    assert_int_equal(device_submit(f->dev, p, &ticket, &err), -ENOMEM);
    vkCreateCommandPool = real;
    run(f->dev, p);
    assert_true(floats(f, X_AT)[0] == 100);
    program_destroy(p);
}

/* ---- memory ---- */

static void new_buffers_are_zero_and_aligned(void **state)
{
    struct fixture *f = *state;

    NEED_DEVICE(f);
    for (int i = 0; i < 3; i++) {
        static const char zeros[5000];
        struct buffer *b;

        assert_int_equal(buffer_create(f->dev, sizeof(zeros), BUFFER_HOST, &b, NULL), 0);
        assert_int_equal(b->address % 4096, 0);
        assert_memory_equal(b->host, zeros, sizeof(zeros));
        memset(b->host, 0xff, sizeof(zeros));
        buffer_destroy(b);
        assert_int_equal(buffer_create(f->dev, sizeof(zeros), BUFFER_DEVICE, &b, NULL), 0);
        assert_int_equal(b->address % 4096, 0);
        assert_null(b->host);
        buffer_destroy(b);
    }
}

/* Adds what lies in foreign memory to x; true when the GPU saw it. */
static void add_from_import(struct fixture *f, void *memory, bool expect_import)
{
    struct memory_import mem = {.host = memory, .dmabuf_fd = -1, .bytes = 8192};
    struct error err = {0};
    struct buffer *b;
    struct dispatch d;
    struct program *p;

    for (int i = 0; i < N_COLS; i++)
        ((float *)memory)[i] = (float)i;
    memset(floats(f, X_AT), 0, N_COLS * sizeof(float));
    if (buffer_import(f->dev, &mem, &b, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(b->is_imported, expect_import);
    d = add_call(f->buf->address, f->buf->address + X_AT, b->address);
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    run(f->dev, p);
    for (int i = 0; i < N_COLS; i++)
        assert_true(floats(f, X_AT)[i] == (float)i);
    if (expect_import) { /* the same memory: what the CPU writes now is seen, too */
        ((float *)memory)[1] = 100;
        run(f->dev, p);
        assert_true(floats(f, X_AT)[1] == 101);
    }
    program_destroy(p);
    buffer_destroy(b);
}

static void host_memory_is_mapped_not_copied_where_it_is_shared(void **state)
{
    struct fixture *f = *state;
    struct device_info info;
    void *memory;

    NEED_DEVICE(f);
    device_get_info(f->dev, &info);
    memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    add_from_import(f, memory, info.is_zero_copy);
    munmap(memory, 8192);
}

static void host_memory_is_copied_where_it_is_not_shared(void **state)
{
    struct fixture *f = *state;
    void *memory;

    NEED_DEVICE(f);
    f->dev->info.is_zero_copy = false;
    memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    add_from_import(f, memory, false);
    munmap(memory, 8192);
}

static VKAPI_ATTR VkResult VKAPI_CALL refuse_pointer(VkDevice d,
                                                     VkExternalMemoryHandleTypeFlagBits t,
                                                     const void *p,
                                                     VkMemoryHostPointerPropertiesEXT *props)
{
    return VK_ERROR_INVALID_EXTERNAL_HANDLE;
}

static PFN_vkAllocateMemory real_allocate;

/* What some drivers say of memory of a file. */
static VKAPI_ATTR VkResult VKAPI_CALL refuse_import(VkDevice d, const VkMemoryAllocateInfo *i,
                                                    const VkAllocationCallbacks *a,
                                                    VkDeviceMemory *m)
{
    for (const VkBaseInStructure *s = i->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT)
            return VK_ERROR_UNKNOWN;
    return real_allocate(d, i, a, m);
}

static void host_memory_the_driver_refuses_is_copied(void **state)
{
    struct fixture *f = *state;
    PFN_vkGetMemoryHostPointerPropertiesEXT real = vkGetMemoryHostPointerPropertiesEXT;
    void *memory;

    NEED_DEVICE(f);
    memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    vkGetMemoryHostPointerPropertiesEXT = refuse_pointer;
    add_from_import(f, memory, false);
    vkGetMemoryHostPointerPropertiesEXT = real;
    real_allocate = vkAllocateMemory;
    vkAllocateMemory = refuse_import;
    add_from_import(f, memory, false);
    vkAllocateMemory = real_allocate;
    munmap(memory, 8192);
}

static void a_buffer_larger_than_the_gpu_takes_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buffer *b = NULL;
    struct error err = {0};

    NEED_DEVICE(f);
    assert_int_equal(buffer_create(f->dev, 1ull << 46, BUFFER_DEVICE, &b, &err), -ENOMEM);
    assert_null(b);
    assert_says(err.text, "MiB");
}

static VKAPI_ATTR VkResult VKAPI_CALL no_memory(VkDevice d, const VkMemoryAllocateInfo *i,
                                                const VkAllocationCallbacks *a, VkDeviceMemory *m)
{
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static void a_gpu_without_memory_left_says_so(void **state)
{
    struct fixture *f = *state;
    PFN_vkAllocateMemory real = vkAllocateMemory;
    struct buffer *b = NULL;
    struct error err = {0};
    int r;

    NEED_DEVICE(f);
    vkAllocateMemory = no_memory;
    r = buffer_create(f->dev, 1 << 20, BUFFER_DEVICE, &b, &err);
    vkAllocateMemory = real;
    assert_int_equal(r, -ENOMEM);
    assert_says(err.text, "ran out of memory");
    assert_int_equal(buffer_create(f->dev, 1 << 20, BUFFER_DEVICE, &b, NULL), 0);
    buffer_destroy(b);
}

/* ---- a lost device ---- */

static VKAPI_ATTR VkResult VKAPI_CALL lost_submit(VkQueue q, uint32_t n, const VkSubmitInfo2 *s,
                                                  VkFence f)
{
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL lost_wait(VkDevice d, const VkSemaphoreWaitInfo *i,
                                                uint64_t timeout)
{
    return VK_ERROR_DEVICE_LOST;
}

static void a_device_lost_at_submission_is_an_error_for_good(void **state)
{
    struct fixture *f = *state;
    PFN_vkQueueSubmit2 real = vkQueueSubmit2;
    struct dispatch d = add_in(f);
    struct buffer *b = NULL;
    struct error err = {0};
    struct program *p;
    uint64_t ticket = 7;
    int r;

    NEED_DEVICE(f);
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    vkQueueSubmit2 = lost_submit;
    r = device_submit(f->dev, p, &ticket, &err);
    vkQueueSubmit2 = real;
    assert_int_equal(r, -EIO);
    assert_int_equal(ticket, 7);
    assert_says(err.text, "reset or hung");
    /* the driver works again, but what it knew is gone: only a new device helps */
    assert_int_equal(device_submit(f->dev, p, &ticket, &err), -EIO);
    assert_int_equal(buffer_create(f->dev, 4096, BUFFER_HOST, &b, &err), -EIO);
    assert_says(err.text, "is lost");
    program_destroy(p);
}

static void a_device_lost_while_waiting_is_an_error(void **state)
{
    struct fixture *f = *state;
    PFN_vkWaitSemaphores real = vkWaitSemaphores;
    struct dispatch d = add_in(f);
    struct error err = {0};
    struct program *p;
    uint64_t ticket;
    int r;

    NEED_DEVICE(f);
    assert_int_equal(program_create(f->dev, &d, 1, &p, NULL), 0);
    assert_int_equal(device_submit(f->dev, p, &ticket, NULL), 0);
    vkWaitSemaphores = lost_wait;
    r = device_wait(f->dev, ticket, 1000000000u, &err);
    vkWaitSemaphores = real;
    assert_int_equal(r, -EIO);
    assert_says(err.text, "reset or hung");
    program_destroy(p);
}

#define VULKAN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    VULKAN_TEST(a_program_runs_again_and_again_with_the_same_calls),
    VULKAN_TEST(submissions_run_in_order_without_waiting_between),
    VULKAN_TEST(rows_are_advised_by_the_time_they_take),
    VULKAN_TEST(programs_queued_in_turn_are_all_timed),
    VULKAN_TEST(what_one_bucket_learnt_the_next_one_knows),
    VULKAN_TEST(a_program_that_could_not_be_cut_anew_runs_when_it_can),
    VULKAN_TEST(new_buffers_are_zero_and_aligned),
    VULKAN_TEST(host_memory_is_mapped_not_copied_where_it_is_shared),
    VULKAN_TEST(host_memory_is_copied_where_it_is_not_shared),
    VULKAN_TEST(host_memory_the_driver_refuses_is_copied),
    VULKAN_TEST(a_buffer_larger_than_the_gpu_takes_is_refused),
    VULKAN_TEST(a_gpu_without_memory_left_says_so),
    VULKAN_TEST(a_device_lost_at_submission_is_an_error_for_good),
    VULKAN_TEST(a_device_lost_while_waiting_is_an_error),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
