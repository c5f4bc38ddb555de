/* SPDX-License-Identifier: MIT */
/* What amdgpu tells of memory, by libdrm, with a kernel made up here: its ioctls and its node. */
#include "harness.h"

#include "device/vulkan/vk_amdgpu.h"
#include "device/vulkan/vk_device.h"

#include <amdgpu_drm.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xf86drm.h>

#define GIB  (1ull << 30)
#define NODE makedev(226, 128)

static struct kernel {
    char path[64]; /* of the node; a plain file */
    const char *driver;
    int query_errno; /* of queries about memory; 0: they are answered */
    uint64_t vram, gtt, vram_used, gtt_used;
} kernel;

/* ---- what libdrm calls ---- */

/* At first it is asked for lengths only. */
static void answer_text(const char *text, char *to, __kernel_size_t *length)
{
    size_t n = strlen(text);

    if (to && *length >= n)
        memcpy(to, text, n);
    *length = n;
}

static int answer_version(struct drm_version *v)
{
    v->version_major = 3;
    answer_text(kernel.driver, v->name, &v->name_len);
    answer_text("20150101", v->date, &v->date_len);
    answer_text("AMD GPU", v->desc, &v->desc_len);
    return 0;
}

static int answer_info(const struct drm_amdgpu_info *q)
{
    const struct drm_amdgpu_info_vram_gtt sizes = {
        .vram_size = kernel.vram, .vram_cpu_accessible_size = GIB / 4, .gtt_size = kernel.gtt};
    const uint32_t works = 1;
    const void *answer = NULL;
    size_t n = 0;

#define ANSWER(X) (answer = &(X), n = sizeof(X))
    switch (q->query) {
    case AMDGPU_INFO_ACCEL_WORKING:
        ANSWER(works);
        break;
    case AMDGPU_INFO_VRAM_GTT:
        ANSWER(sizes);
        break;
    case AMDGPU_INFO_VRAM_USAGE:
        ANSWER(kernel.vram_used);
        break;
    case AMDGPU_INFO_GTT_USAGE:
        ANSWER(kernel.gtt_used);
        break;
    }
#undef ANSWER
    if (answer && q->query != AMDGPU_INFO_ACCEL_WORKING && kernel.query_errno) {
        errno = kernel.query_errno;
        return -1;
    }
    memset((void *)(uintptr_t)q->return_pointer, 0, q->return_size);
    if (answer)
        memcpy((void *)(uintptr_t)q->return_pointer, answer,
               n < q->return_size ? n : q->return_size);
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *what;

    va_start(args, request);
    what = va_arg(args, void *);
    va_end(args);
    if (_IOC_TYPE(request) != DRM_IOCTL_BASE)
        return (int)syscall(SYS_ioctl, fd, request, what);
    if (_IOC_NR(request) == _IOC_NR(DRM_IOCTL_VERSION))
        return answer_version(what);
    if (_IOC_NR(request) == _IOC_NR(DRM_IOCTL_AMDGPU_INFO))
        return answer_info(what);
    return 0;
}

static drmDevice known;
static char *known_nodes[DRM_NODE_MAX];

int drmGetDeviceFromDevId(dev_t node, uint32_t flags, drmDevicePtr *ret)
{
    if (node != NODE)
        return -ENODEV;
    known_nodes[DRM_NODE_RENDER] = kernel.path;
    known = (drmDevice){.nodes = known_nodes, .available_nodes = 1 << DRM_NODE_RENDER};
    *ret = &known;
    return 0;
}

void drmFreeDevice(drmDevicePtr *device)
{
    *device = NULL;
}

/* The GPU of the tests has no node of its own: it gets that of this file. */
int __real_vk_gpus_list(VkInstance instance, struct vk_gpu **ret_list, size_t *ret_n,
                        struct error *err);
int __wrap_vk_gpus_list(VkInstance instance, struct vk_gpu **ret_list, size_t *ret_n,
                        struct error *err);
int __wrap_vk_gpus_list(VkInstance instance, struct vk_gpu **ret_list, size_t *ret_n,
                        struct error *err)
{
    int r = __real_vk_gpus_list(instance, ret_list, ret_n, err);

    for (size_t i = 0; r == 0 && i < *ret_n; i++)
        (*ret_list)[i].node = NODE;
    return r;
}

/* ---- */

static int setup(void **state)
{
    int fd;

    kernel = (struct kernel){.path = "/tmp/hearth-node-XXXXXX",
                             .driver = "amdgpu",
                             .vram = 16 * GIB,
                             .vram_used = 5 * GIB,
                             .gtt = 64 * GIB,
                             .gtt_used = GIB};
    fd = mkstemp(kernel.path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    return unlink(kernel.path);
}

static void both_kinds_of_memory_are_read_from_the_driver(void **state)
{
    struct vk_amdgpu_memory m;

    assert_int_equal(vk_amdgpu_query(NODE, &m, NULL), 0);
    assert_int_equal(m.vram_bytes, 16 * GIB);
    assert_int_equal(m.vram_used_bytes, 5 * GIB);
    assert_int_equal(m.gtt_bytes, 64 * GIB);
    assert_int_equal(m.gtt_used_bytes, GIB);
}

static void an_apu_has_left_what_it_may_still_map(void **state)
{
    struct vk_device vk = {.gpu = {.node = NODE, .is_unified = true}};

    assert_int_equal(vk_free_bytes(&vk.device), 63 * GIB);
    kernel.gtt_used = 40 * GIB; /* asked anew each time */
    assert_int_equal(vk_free_bytes(&vk.device), 24 * GIB);
    kernel.gtt_used = 65 * GIB;
    assert_int_equal(vk_free_bytes(&vk.device), 0);
}

static void a_gpu_with_memory_of_its_own_has_left_what_is_free_of_that(void **state)
{
    struct vk_device vk = {.gpu = {.node = NODE}};

    assert_int_equal(vk_free_bytes(&vk.device), 11 * GIB);
}

static void a_gpu_of_another_driver_is_not_asked(void **state)
{
    struct vk_device vk = {.gpu = {.node = NODE, .is_unified = true}};
    struct vk_amdgpu_memory m;
    struct error err = {0};

    kernel.driver = "xe";
    assert_int_equal(vk_amdgpu_query(NODE, &m, &err), -ENOTSUP);
    assert_string_equal(err.text, "");
    assert_int_equal(vk_free_bytes(&vk.device), UINT64_MAX);
}

static void a_node_that_may_not_be_opened_is_named_with_its_group(void **state)
{
    struct vk_device vk = {.gpu = {.node = NODE, .is_unified = true}};
    struct vk_amdgpu_memory m;
    struct error err = {0};
    bool is_root = geteuid() == 0;
    int r;

    assert_int_equal(chmod(kernel.path, 0), 0);
    if (is_root) /* who may open everything */
        assert_int_equal(seteuid(65534), 0);
    r = vk_amdgpu_query(NODE, &m, &err);
    assert_int_equal(vk_free_bytes(&vk.device), UINT64_MAX);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(r, -EACCES);
    assert_says(err.text, kernel.path);
    assert_says(err.text, "group render");
}

static void a_node_that_is_not_there_is_named(void **state)
{
    struct vk_amdgpu_memory m;
    struct error err = {0};

    assert_int_equal(vk_amdgpu_query(makedev(226, 129), &m, &err), -ENODEV);
    assert_says(err.text, "226:129");
}

static void a_driver_that_does_not_answer_is_named(void **state)
{
    struct vk_amdgpu_memory m = {.gtt_bytes = 7};
    struct error err = {0};

    kernel.query_errno = EINVAL;
    assert_int_equal(vk_amdgpu_query(NODE, &m, &err), -EINVAL);
    assert_says(err.text, kernel.path);
    assert_int_equal(m.gtt_bytes, 7);
}

static struct device *create_device(struct device_info *ret_info)
{
    struct device *dev;
    struct error err = {0};

    if (device_create("vulkan", &dev, &err) < 0)
        SKIP("no Vulkan device: %s", err.text);
    device_get_info(dev, ret_info);
    return dev;
}

static void a_device_is_weighed_by_what_its_driver_tells(void **state)
{
    struct device_info info;
    struct device *dev = create_device(&info);

    assert_int_equal(device_free_bytes(dev), 63 * GIB);
    assert_null(strstr(info.note, kernel.path));
    device_destroy(dev);
}

static void a_device_notes_that_its_driver_does_not_tell(void **state)
{
    struct device_info info;
    struct device *dev;

    kernel.query_errno = EPERM;
    dev = create_device(&info);
    assert_says(info.note, "what the GPU has left is not known");
    assert_says(info.note, kernel.path);
    device_destroy(dev);
}

static void a_device_of_another_driver_has_nothing_to_note(void **state)
{
    struct device_info info;
    struct device *dev;

    kernel.driver = "i915";
    dev = create_device(&info);
    assert_null(strstr(info.note, "not known"));
    device_destroy(dev);
}

#define NODE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    NODE_TEST(both_kinds_of_memory_are_read_from_the_driver),
    NODE_TEST(an_apu_has_left_what_it_may_still_map),
    NODE_TEST(a_gpu_with_memory_of_its_own_has_left_what_is_free_of_that),
    NODE_TEST(a_gpu_of_another_driver_is_not_asked),
    NODE_TEST(a_node_that_may_not_be_opened_is_named_with_its_group),
    NODE_TEST(a_node_that_is_not_there_is_named),
    NODE_TEST(a_driver_that_does_not_answer_is_named),
    NODE_TEST(a_device_is_weighed_by_what_its_driver_tells),
    NODE_TEST(a_device_notes_that_its_driver_does_not_tell),
    NODE_TEST(a_device_of_another_driver_has_nothing_to_note),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
