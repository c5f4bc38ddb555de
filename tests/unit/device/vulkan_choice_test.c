/* SPDX-License-Identifier: MIT */
/* Which Vulkan device is taken, and why one is not. */
#include "harness.h"

#include "device/device.h"
#include "device/vulkan/vk_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void need_device(void)
{
    struct device *dev = NULL;
    struct error err = {0};

    if (device_create("vulkan", &dev, &err) < 0)
        SKIP("no Vulkan device");
    device_destroy(dev);
}

static void odd_configurations_are_refused_with_how_to_write_them(void **state)
{
    static const char *const configs[] = {"vulkan:x", "vulkan:0:3x", "vulkan:-1",
                                          "vulkan:0:", "vulkanic"};
    struct device *dev = NULL;

    for (size_t i = 0; i < sizeof(configs) / sizeof(*configs); i++) {
        struct error err = {0};

        assert_int_equal(device_create(configs[i], &dev, &err), -EINVAL);
        assert_null(dev);
        assert_says(err.text, "hearth devices");
    }
}

static void a_device_that_is_not_there_is_named(void **state)
{
    struct device *dev = NULL;
    struct error err = {0};

    need_device();
    assert_int_equal(device_create("vulkan:15", &dev, &err), -ENODEV);
    assert_says(err.text, "no Vulkan device 15");
}

static void a_subgroup_size_it_has_not_is_refused(void **state)
{
    struct device *dev = NULL;
    struct error err = {0};

    need_device();
    assert_int_equal(device_create("vulkan::2", &dev, &err), -EINVAL);
    assert_says(err.text, "subgroups of");
}

static void a_slip_in_a_fallback_is_told(void **state)
{
    struct device *dev = NULL;
    struct error err = {0};

    assert_int_equal(device_create("cpu,nonsense", &dev, &err), -EINVAL);
    assert_says(err.text, "nonsense");
    assert_int_equal(device_create("cpu,cpux:2", &dev, &err), -EINVAL);
    assert_null(dev);
}

static void a_fallback_is_taken_only_when_allowed_and_told(void **state)
{
    struct device *dev = NULL;
    struct device_info info;

    assert_true(device_create("vulkan:15", &dev, NULL) < 0);
    assert_int_equal(device_create("vulkan:15,cpu", &dev, NULL), 0);
    device_get_info(dev, &info);
    assert_string_equal(info.backend, "cpu");
    assert_true(strlen(info.note) > 10);
    device_destroy(dev);
}

static PFN_vkGetPhysicalDeviceFeatures2 real_features;

static VKAPI_ATTR void VKAPI_CALL no_int8(VkPhysicalDevice gpu, VkPhysicalDeviceFeatures2 *f)
{
    real_features(gpu, f);
    for (VkBaseOutStructure *s = (void *)f; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES)
            ((VkPhysicalDeviceVulkan12Features *)(void *)s)->shaderInt8 = VK_FALSE;
}

static void a_feature_it_lacks_is_named(void **state)
{
    VkInstance instance;
    struct vk_gpu *list;
    size_t n;

    need_device();
    assert_int_equal(vk_instance_create(&instance, NULL), 0);
    real_features = vkGetPhysicalDeviceFeatures2;
    vkGetPhysicalDeviceFeatures2 = no_int8;
    assert_int_equal(vk_gpus_list(instance, &list, &n, NULL), 0);
    vkGetPhysicalDeviceFeatures2 = real_features;
    assert_non_null(strstr(list[0].missing, "shaderInt8"));
    assert_int_equal(vk_gpu_choose(list, n), -1);
    free(list);
    vkDestroyInstance(instance, NULL);
}

static PFN_vkGetInstanceProcAddr real_proc_addr;

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL no_int8_proc_addr(VkInstance instance,
                                                                  const char *name)
{
    PFN_vkVoidFunction f = real_proc_addr(instance, name);

    if (strcmp(name, "vkGetPhysicalDeviceFeatures2") != 0)
        return f;
    real_features = (PFN_vkGetPhysicalDeviceFeatures2)f;
    return (PFN_vkVoidFunction)no_int8;
}

static void a_device_below_the_baseline_is_refused_by_what_it_lacks(void **state)
{
    struct device *dev = NULL, *cpu = NULL;
    struct error err = {0};
    struct device_info info = {0};
    int r, fallback;

    need_device();
    real_proc_addr = vkGetInstanceProcAddr;
    vkGetInstanceProcAddr = no_int8_proc_addr;
    r = device_create("vulkan:0", &dev, &err);
    fallback = device_create("vulkan,cpu", &cpu, NULL);
    vkGetInstanceProcAddr = real_proc_addr;
    assert_int_equal(r, -ENOTSUP);
    assert_null(dev);
    assert_says(err.text, "lacks what the kernels need: shaderInt8");
    assert_int_equal(fallback, 0);
    device_get_info(cpu, &info);
    device_destroy(cpu);
    assert_string_equal(info.backend, "cpu");
    assert_non_null(strstr(info.note, "shaderInt8"));
}

static void a_real_gpu_is_chosen_before_one_that_computes_on_the_cpu(void **state)
{
    struct vk_gpu list[4] = {{.type = VK_PHYSICAL_DEVICE_TYPE_CPU},
                             {.type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, .missing = "x"},
                             {.type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU},
                             {.type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU}};

    assert_int_equal(vk_gpu_choose(list, 4), 3);
    assert_int_equal(vk_gpu_choose(list, 3), 2);
    assert_int_equal(vk_gpu_choose(list, 2), -1);
}

static void a_gpu_that_is_passed_over_is_told(void **state)
{
    struct vk_gpu list[3] = {
        {.type = VK_PHYSICAL_DEVICE_TYPE_CPU, .name = "llvmpipe"},
        {.type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, .name = "Old", .missing = "shaderInt8"},
        {.type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, .name = "New"}};
    struct error err = {0};

    assert_int_equal(vk_gpus_explain(list, 3, true, &err), 0);
    assert_int_equal(vk_gpus_explain(list, 1, false, &err), 0);
    assert_int_equal(err.code, 0);
    assert_int_equal(vk_gpus_explain(list, 2, true, &err), -ENOTSUP);
    assert_says(err.text, "Old lacks shaderInt8");
    /* as Mesa is to a user to whom the render node is closed */
    assert_int_equal(vk_gpus_explain(list, 1, true, &err), -ENODEV);
    assert_says(err.text, "group render");
}

static void every_device_is_listed_and_one_is_auto(void **state)
{
    struct device_entry *list;
    size_t n, n_auto = 0;

    assert_int_equal(device_list(&list, &n, NULL), 0);
    assert_string_equal(list[0].config, "cpu");
    for (size_t i = 0; i < n; i++) {
        n_auto += list[i].is_auto;
        assert_true(strlen(list[i].why) > 0);
    }
    assert_int_equal(n_auto, 1);
    free(list);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(odd_configurations_are_refused_with_how_to_write_them),
    cmocka_unit_test(a_device_that_is_not_there_is_named),
    cmocka_unit_test(a_subgroup_size_it_has_not_is_refused),
    cmocka_unit_test(a_slip_in_a_fallback_is_told),
    cmocka_unit_test(a_fallback_is_taken_only_when_allowed_and_told),
    cmocka_unit_test(a_feature_it_lacks_is_named),
    cmocka_unit_test(a_device_below_the_baseline_is_refused_by_what_it_lacks),
    cmocka_unit_test(a_gpu_that_is_passed_over_is_told),
    cmocka_unit_test(a_real_gpu_is_chosen_before_one_that_computes_on_the_cpu),
    cmocka_unit_test(every_device_is_listed_and_one_is_auto),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
