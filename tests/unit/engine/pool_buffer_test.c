/* SPDX-License-Identifier: MIT */
/* How windows of pools get to a device: the device's import is wrapped at link time, the kernel
 * module is a stand-in. */
#include "fake_hearth.h"
#include "harness.h"

#include "engine/pool_buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

/* What the device says and answers, and what it was asked. */
static struct {
    struct device_info info;
    int dmabuf_code, host_code;
    unsigned n_dmabufs, n_hosts;
    int last_fd;
    void *last_host;
} device;

static struct buffer buffer;

void __wrap_device_get_info(const struct device *dev, struct device_info *ret_info);
int __wrap_buffer_import(struct device *dev, const struct memory_import *mem,
                         struct buffer **ret_buffer, struct error *err);

void __wrap_device_get_info(const struct device *dev, struct device_info *ret_info)
{
    *ret_info = device.info;
}

int __wrap_buffer_import(struct device *dev, const struct memory_import *mem,
                         struct buffer **ret_buffer, struct error *err)
{
    int code = mem->host ? device.host_code : device.dmabuf_code;

    if (mem->host) {
        device.n_hosts++;
        device.last_host = mem->host;
        assert_int_equal(mem->dmabuf_fd, -1);
    } else {
        device.n_dmabufs++;
        device.last_fd = mem->dmabuf_fd;
        assert_int_equal(fcntl(mem->dmabuf_fd, F_GETFD), FD_CLOEXEC);
    }
    if (code < 0)
        return error_set(err, code, mem->host ? "by its address" : "as a dma-buf");
    *ret_buffer = &buffer;
    return 0;
}

static struct pool *make(enum pool_kind kind)
{
    const struct pool_config config = {.kind = kind, .numa_node = -1};
    struct pool *pool = NULL;

    memset(&device, 0, sizeof(device));
    device.info.maps_dmabufs = true;
    fake_hearth_reset();
    assert_int_equal(pool_create(&config, 6 * MIB, "test", &pool, NULL), 0);
    return pool;
}

static int import(const struct pool *pool, struct error *err)
{
    struct buffer *ret = NULL;
    int r = pool_buffer_import(NULL, pool, 2 * MIB, 4 * MIB, false, &ret, err);

    assert_ptr_equal(ret, r == 0 ? &buffer : NULL);
    return r;
}

static void window_goes_as_a_dma_buf_where_both_know_them(void **state)
{
    struct pool *pool = make(POOL_KIND_KMOD);

    assert_int_equal(import(pool, NULL), 0);
    assert_int_equal(device.n_dmabufs, 1);
    assert_int_equal(device.n_hosts, 0);
    assert_int_equal(fcntl(device.last_fd, F_GETFD), -1); /* the import alone holds it now */
    pool_destroy(pool);
}

static void window_goes_by_its_address_where_one_does_not(void **state)
{
    static const enum pool_kind kinds[] = {POOL_KIND_KMOD, POOL_KIND_ANON, POOL_KIND_MEMFD};

    for (size_t i = 0; i < 3; i++) {
        struct pool *pool = make(kinds[i]);

        device.info.maps_dmabufs = kinds[i] != POOL_KIND_KMOD;
        assert_int_equal(import(pool, NULL), 0);
        assert_int_equal(device.n_dmabufs, 0);
        assert_int_equal(device.n_hosts, 1);
        assert_ptr_equal(device.last_host, (char *)pool_data(pool) + 2 * MIB);
        pool_destroy(pool);
    }
}

static void window_that_no_driver_maps_as_a_dma_buf_goes_by_its_address(void **state)
{
    static const int codes[] = {-ENOTSUP, -ENOMEM, -EINVAL};

    for (size_t i = 0; i < 3; i++) {
        struct pool *pool = make(POOL_KIND_KMOD);
        struct error err = {0};

        device.dmabuf_code = codes[i];
        assert_int_equal(import(pool, &err), 0);
        assert_int_equal(device.n_hosts, 1);
        device.host_code = -ENOMEM; /* and if that fails too, this is why */
        assert_int_equal(import(pool, &err), -ENOMEM);
        assert_string_equal(err.text, "by its address");
        pool_destroy(pool);
    }
}

static void lost_device_is_asked_once(void **state)
{
    struct pool *pool = make(POOL_KIND_KMOD);
    struct error err = {0};

    device.dmabuf_code = -EIO;
    assert_int_equal(import(pool, &err), -EIO);
    assert_string_equal(err.text, "as a dma-buf");
    assert_int_equal(device.n_hosts, 0);
    pool_destroy(pool);
}

static void kind_of_pools_follows_the_device(void **state)
{
    struct pool_config config = {.numa_node = -1};
    struct device_info gpu = {.is_zero_copy = true, .writes_imports = true, .maps_dmabufs = true};
    char text[80], advice[1024];

    fake_hearth_reset();
    pool_config_for_device(&config, &gpu, text, advice);
    assert_int_equal(config.kind, POOL_KIND_KMOD);
    assert_int_equal(config.stays_writable, true);
    assert_string_equal(text, "pools of the kernel module");
    assert_string_equal(advice, "");
    gpu.maps_dmabufs = false; /* it could neither map such a pool nor, sealed, its address */
    pool_config_for_device(&config, &gpu, text, NULL);
    assert_int_equal(config.kind, POOL_KIND_ANON);
    fake_hearth.open_errno = ENOENT;
    pool_config_for_device(&config, &gpu, text, advice);
    assert_non_null(strstr(advice, "modprobe hearth"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(window_goes_as_a_dma_buf_where_both_know_them),
    cmocka_unit_test(window_goes_by_its_address_where_one_does_not),
    cmocka_unit_test(window_that_no_driver_maps_as_a_dma_buf_goes_by_its_address),
    cmocka_unit_test(lost_device_is_asked_once),
    cmocka_unit_test(kind_of_pools_follows_the_device),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
