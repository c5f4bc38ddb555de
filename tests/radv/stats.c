/* SPDX-License-Identifier: MIT */
/*
 * Compiles every pipeline that the Vulkan device would make, at every subgroup size, and prints
 * what the driver tells of the compiled code, one line each. Meant for a RADV without hardware
 * (tests/radv/run); nothing is run.
 */
#include "device/vulkan/vk_gpu.h"
#include "device/vulkan/vk_pipelines.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- statistics are asked for by standing between the back end and the driver ---- */

static PFN_vkCreateDevice real_create_device;
static PFN_vkCreateComputePipelines real_create_pipelines;

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice gpu,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *a, VkDevice *d)
{
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)info->pNext, // NOLINT
        .pipelineExecutableInfo = VK_TRUE,
    };
    const char *names[16];
    VkDeviceCreateInfo more = *info;

    memcpy(names, info->ppEnabledExtensionNames, info->enabledExtensionCount * sizeof(*names));
    names[more.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    more.ppEnabledExtensionNames = names;
    more.pNext = &feature;
    return real_create_device(gpu, &more, a, d);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice d, VkPipelineCache cache,
                                                       uint32_t n,
                                                       const VkComputePipelineCreateInfo *info,
                                                       const VkAllocationCallbacks *a,
                                                       VkPipeline *p)
{
    VkComputePipelineCreateInfo more = *info;

    more.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR |
                  VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
    return real_create_pipelines(d, cache, n, &more, a, p);
}

/* ---- what is told of a pipeline ---- */

static const struct {
    const char *driver, *ours; /* the driver's name of a figure, and the column's */
} columns[] = {
    {"Spilled VGPRs", "vgpr_spills"}, {"Spilled SGPRs", "sgpr_spills"},
    {"Scratch size", "scratch"},      {"LDS size", "lds"},
    {"Pre-Sched VGPRs", "vgprs"},     {"Instructions", "instructions"},
};

enum { N_COLUMNS = sizeof(columns) / sizeof(*columns) };

static uint64_t statistic(const VkPipelineExecutableStatisticKHR *list, uint32_t n,
                          const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(list[i].name, name))
            return list[i].value.u64;
    return UINT64_MAX;
}

static uint32_t count(const char *text, const char *word)
{
    uint32_t n = 0;

    for (const char *p = text; p && (p = strstr(p, word)); p += strlen(word))
        n++;
    return n;
}

/* The assembly of the only executable of a compute pipeline; malloc'd, "" where there is none. */
static char *assembly(VkDevice device, VkPipeline pipeline)
{
    const VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutableInternalRepresentationKHR list[16] = {0};
    uint32_t n = 16;
    char *text = NULL;

    for (uint32_t i = 0; i < n; i++)
        list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
    if (vkGetPipelineExecutableInternalRepresentationsKHR(device, &info, &n, list) < 0)
        return strdup("");
    for (uint32_t i = 0; i < n; i++)
        list[i].pData = calloc(1, list[i].dataSize + 1);
    vkGetPipelineExecutableInternalRepresentationsKHR(device, &info, &n, list);
    for (uint32_t i = 0; i < n; i++) {
        if (!text && !strcmp(list[i].name, "Assembly"))
            text = list[i].pData;
        else
            free(list[i].pData);
    }
    return text ? text : strdup("");
}

static void print_pipeline(VkDevice device, VkPipeline pipeline, const struct vk_launch *l)
{
    const VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutableStatisticKHR list[64] = {0};
    uint32_t n = 64;
    char constants[80] = "", *text = assembly(device, pipeline);
    size_t used = 0;

    for (uint32_t i = 0; i < n; i++)
        list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    if (vkGetPipelineExecutableStatisticsKHR(device, &info, &n, list) < 0)
        n = 0;
    for (uint32_t i = 0; i < l->n_constants; i++)
        used += (size_t)snprintf(constants + used, sizeof(constants) - used, "%s%u", i ? "," : "",
                                 l->constants[i]);
    printf("%s\t%u\t%u\t%s", l->shader, l->subgroup_size, l->workgroup_size,
           constants[0] ? constants : "-");
    for (size_t i = 0; i < N_COLUMNS; i++) {
        uint64_t value = statistic(list, n, columns[i].driver);

        if (value == UINT64_MAX)
            printf("\t?");
        else
            printf("\t%llu", (unsigned long long)value);
    }
    printf("\t%u\t%u\n", count(text, "v_dot4_"), count(text, "v_wmma_"));
    free(text);
}

/* ---- all there is to compile ---- */

struct seen {
    struct vk_launch *list;
    size_t n;
};

static bool is_new(struct seen *s, const struct vk_launch *l)
{
    for (size_t i = 0; i < s->n; i++)
        if (vk_launch_is_same_pipeline(&s->list[i], l))
            return false;
    s->list = realloc(s->list, (s->n + 1) * sizeof(*s->list));
    if (!s->list)
        abort();
    s->list[s->n++] = *l;
    return true;
}

struct run {
    VkDevice device;
    const struct vk_gpu *gpu;
    struct vk_pipelines *pipelines;
    struct seen seen;
    bool ok;
};

static void compile(struct run *r, const struct dispatch *d)
{
    struct error err = {0};
    struct vk_launch l;
    VkPipeline p;

    vk_launch_for(&r->gpu->caps, d, &l);
    if (!is_new(&r->seen, &l))
        return;
    if (vk_pipelines_get(r->pipelines, &l, &p, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        r->ok = false;
        return;
    }
    print_pipeline(r->device, p, &l);
}

/* A dispatch of the shapes of an 8B model; only what decides on the launch matters. */
static struct dispatch example(enum kernel_op op, enum gguf_type type, enum activation_type act,
                               uint32_t rows, uint32_t channels, uint32_t kv_type)
{
    struct dispatch d = {
        .op = op, .weight_type = type, .activation = act, .max_rows = rows, .label = ""};
    const struct kv_layer kv = {.block_bytes = 131072,
                                .n_kv_heads = 8,
                                .n_channels_k = channels,
                                .n_channels_v = channels,
                                .n_blocks = 256,
                                .type = kv_type};

    switch (op) {
    case KERNEL_EMBED:
        d.args.embed.n_cols = 4096;
        d.args.embed.n_rows = 128256;
        break;
    case KERNEL_RMS_NORM:
        d.args.rms_norm.n_cols = 4096;
        d.args.rms_norm.n_groups = 1;
        break;
    case KERNEL_LAYER_NORM:
        d.args.layer_norm.n_cols = 4096;
        break;
    case KERNEL_QUANTIZE:
        d.args.quantize.n_cols = 4096;
        break;
    case KERNEL_MATMUL:
        d.args.matmul.n_cols = 4096;
        d.args.matmul.n_rows = 14336;
        break;
    case KERNEL_ROPE:
        d.args.rope.n_heads = 32;
        d.args.rope.n_channels = d.args.rope.n_rot = channels;
        break;
    case KERNEL_KV_STORE:
        d.args.kv_store.kv = kv;
        break;
    case KERNEL_ATTENTION:
        d.args.attention.kv = kv;
        d.args.attention.n_heads = 32;
        d.args.attention.n_splits = 1;
        break;
    case KERNEL_ATTENTION_COMBINE:
        d.args.attention_combine.n_heads = 32;
        break;
    case KERNEL_INDEX_SCORES:
        d.args.index_scores.kv = kv;
        d.args.index_scores.n_heads = 64;
        d.args.index_scores.n_positions = 131072;
        break;
    case KERNEL_INDEX_CHOOSE:
        break;
    case KERNEL_GLU:
        d.args.glu.n_cols = 14336;
        break;
    case KERNEL_ADD:
        d.args.add.n_cols = 4096;
        break;
    case KERNEL_SOFTCAP:
        d.args.softcap.n_cols = 256000;
        break;
    case KERNEL_ROUTE:
        break;
    case KERNEL_EXPERT_ROWS:
        d.args.expert_rows.n_experts = 128;
        break;
    case KERNEL_MATMUL_EXPERTS:
        d.args.matmul_experts = (struct args_matmul_experts){
            .n_rows = 1536, .n_cols = 4096, .n_experts = 128, .n_used = 8};
        break;
    case KERNEL_SCALE:
        d.args.scale.n_used = 1;
        d.args.scale.n_cols = 4096;
        break;
    case KERNEL_EXPERT_SUM:
        d.args.expert_sum.n_cols = 4096;
        break;
    case KERNEL_SHORT_CONV:
        d.args.short_conv.n_cols = 8192;
        break;
    case KERNEL_DELTA_NET:
        d.args.delta_net.n_heads_v = 32;
        d.args.delta_net.n_channels_v = 128;
        break;
    case KERNEL_COPY:
        d.args.copy.n_groups = 128;
        d.args.copy.n = 512;
        break;
    case KERNEL_GATHER:
        d.args.gather.n_cols = 4096;
        break;
    case KERNEL_SAMPLE:
        d.args.sample.n_vocab = 128256;
        break;
    case KERNEL_OP_COUNT:
        break;
    }
    return d;
}

/* Whether the planner would ever record the op with these activations. */
static bool is_recorded(const struct run *r, enum kernel_op op, enum gguf_type type,
                        enum activation_type act, uint32_t rows)
{
    if (op == KERNEL_QUANTIZE)
        return act != ACT_F32;
    if ((op == KERNEL_MATMUL || op == KERNEL_MATMUL_EXPERTS) && act != ACT_F32)
        return (int)act == vk_activation_for(&r->gpu->caps, type, 4096, rows);
    return act == ACT_F32;
}

/* An op with one weight type: all batches, activations, widths of heads and types of cache. */
static void compile_op(struct run *r, enum kernel_op op, enum gguf_type type)
{
    static const uint32_t rows[] = {1, 4, 16, 64, 512}, channels[] = {64, 80, 128, 256};

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (int act = 0; act < ACT_TYPE_COUNT; act++) {
            if (!is_recorded(r, op, type, (enum activation_type)act, rows[i]))
                continue;
            for (size_t c = 0; c < 2 * sizeof(channels) / sizeof(*channels); c++) {
                uint32_t kv_type = c % 2 ? KV_Q8_0 : KV_F16;
                struct dispatch d =
                    example(op, type, (enum activation_type)act, rows[i], channels[c / 2], kv_type);

                if (kv_type == KV_F16 || channels[c / 2] % KV_RUN == 0)
                    compile(r, &d);
            }
        }
    }
}

static void compile_all(struct run *r)
{
    for (int op = 0; op < KERNEL_OP_COUNT; op++) {
        bool is_typed = op == KERNEL_EMBED || op == KERNEL_MATMUL || op == KERNEL_MATMUL_EXPERTS;

        for (int type = 0; type < (is_typed ? GGUF_TYPE_LIMIT : 1); type++)
            if (!is_typed || kernel_supports_type((enum gguf_type)type))
                compile_op(r, (enum kernel_op)op, (enum gguf_type)type);
    }
}

int main(void)
{
    VkInstance instance = VK_NULL_HANDLE;
    struct vk_gpu *list = NULL;
    struct run r = {.ok = true};
    struct error err = {0};
    uint32_t size_max;
    size_t n = 0;

    setenv("CACHE_DIRECTORY", "/nonexistent", 1); /* everything is compiled */
    if (vk_instance_create(&instance, &err) < 0 || vk_gpus_list(instance, &list, &n, &err) < 0 ||
        !n) {
        printf("# %s\n", err.text[0] ? err.text : "no Vulkan device");
        return 77;
    }
    real_create_device = vkCreateDevice;
    vkCreateDevice = create_device;
    real_create_pipelines = vkCreateComputePipelines;
    vkCreateComputePipelines = create_pipelines;
    if (list[0].missing[0] || vk_gpu_open(&list[0], &r.device, &err) < 0) {
        fprintf(stderr, "%s lacks %s %s\n", list[0].name, list[0].missing, err.text);
        return 1;
    }
    printf("# %s, %s\n", list[0].name, list[0].driver);
    printf("kernel\tsubgroup\tworkgroup\tconstants");
    for (size_t i = 0; i < N_COLUMNS; i++)
        printf("\t%s", columns[i].ours);
    printf("\tv_dot4\tv_wmma\n");
    r.gpu = &list[0];
    size_max = list[0].caps.subgroup_max;
    for (uint32_t size = list[0].caps.subgroup_min; size <= size_max; size *= 2) {
        list[0].caps.subgroup_default = list[0].caps.subgroup_min = size;
        list[0].caps.subgroup_max = size;
        if (vk_pipelines_create(r.device, &list[0], &r.pipelines, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        compile_all(&r);
        vk_pipelines_destroy(r.pipelines);
    }
    vkDestroyDevice(r.device, NULL);
    vkDestroyInstance(instance, NULL);
    free(r.seen.list);
    free(list);
    return r.ok ? 0 : 1;
}
