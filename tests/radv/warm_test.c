/* SPDX-License-Identifier: MIT */
/* What a second start compiles, by RADV's own word. RADV_FORCE_FAMILY needs no GPU. */
#include "harness.h"

#include "device/vulkan/vk_pipelines.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char cache_dir[32];

static int setup(void **state)
{
    static const char *const icds[] = {"/usr/share/vulkan/icd.d/radeon_icd.json",
                                       "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json"};

    *state = NULL;
    for (size_t i = 0; i < 2 && !*state; i++)
        if (access(icds[i], R_OK) == 0)
            *state = (void *)(uintptr_t)icds[i];
    if (!*state)
        return 0;
    setenv("VK_DRIVER_FILES", *state, 1);
    setenv("VK_ICD_FILENAMES", *state, 1);
    setenv("RADV_FORCE_FAMILY", "gfx1151", 1);
    setenv("MESA_SHADER_CACHE_DISABLE", "1", 1); /* only our file remembers */
    strcpy(cache_dir, "/tmp/hearth-warm-XXXXXX");
    assert_non_null(mkdtemp(cache_dir));
    setenv("CACHE_DIRECTORY", cache_dir, 1);
    return 0;
}

/* Calls visit for the only file there is, if any. */
static void each_file(void (*visit)(const char *path))
{
    DIR *dir = opendir(cache_dir);
    char path[320];

    for (const struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof(path), "%s/%s", cache_dir, e->d_name);
        if (e->d_name[0] != '.')
            visit(path);
    }
    if (dir)
        closedir(dir);
}

static void remove_file(const char *path)
{
    unlink(path);
}

static int teardown(void **state)
{
    if (!*state)
        return 0;
    each_file(remove_file);
    rmdir(cache_dir);
    return 0;
}

/* One start: compiles three kernels and counts. */
static struct device_pipelines start(void)
{
    static const struct vk_launch launches[] = {
        {.shader = "add", .subgroup_size = 32, .workgroup_size = 256},
        {.shader = "add", .subgroup_size = 64, .workgroup_size = 256},
        {.shader = "embed_f16", .subgroup_size = 32, .workgroup_size = 256},
    };
    VkInstance instance = VK_NULL_HANDLE;
    VkDevice device = VK_NULL_HANDLE;
    struct vk_pipelines *p = NULL;
    struct device_pipelines counted;
    struct vk_gpu *list = NULL;
    struct error err = {0};
    size_t n = 0;

    if (vk_instance_create(&instance, &err) < 0 || vk_gpus_list(instance, &list, &n, &err) < 0 ||
        !n)
        SKIP("RADV makes no device without a GPU here: its version has no RADV_FORCE_FAMILY");
    if (vk_gpu_open(&list[0], &device, &err) < 0 ||
        vk_pipelines_create(device, &list[0], &p, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < sizeof(launches) / sizeof(*launches); i++) {
        VkPipeline pipeline;

        if (vk_pipelines_get(p, &launches[i], &pipeline, &err) < 0)
            fail_msg("%s", err.text);
    }
    vk_pipelines_count(p, &counted);
    vk_pipelines_destroy(p);
    vkDestroyDevice(device, NULL);
    vkDestroyInstance(instance, NULL);
    free(list);
    return counted;
}

static void damage(const char *path)
{
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    fseek(f, 100, SEEK_SET);
    fputs("damage", f);
    fclose(f);
}

static void a_warm_start_compiles_nothing_and_a_damaged_cache_all(void **state)
{
    struct device_pipelines p;

    if (!*state)
        SKIP("RADV is not installed (mesa-vulkan-drivers)");
    p = start();
    assert_true(p.tells_compiled);
    assert_int_equal(p.n, 3);
    assert_int_equal(p.n_compiled, 3);
    p = start();
    assert_int_equal(p.n, 3);
    assert_int_equal(p.n_compiled, 0);
    each_file(damage);
    assert_int_equal(start().n_compiled, 3);
    assert_int_equal(start().n_compiled, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_warm_start_compiles_nothing_and_a_damaged_cache_all, setup,
                                    teardown),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
