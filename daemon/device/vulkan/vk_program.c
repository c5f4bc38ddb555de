/* SPDX-License-Identifier: MIT */
/*
 * Programs: recorded once, submitted again and again. A program is cut into segments, one command
 * buffer and one submission each, because drivers reset a GPU whose submission takes too long (2 s
 * on recent kernels) and because other users of the GPU wait for its end. Where to cut is learnt:
 * each segment is timed by the GPU, and a program whose segments turn out too long or needlessly
 * short is cut and recorded anew before it runs again.
 */
#include "device/vulkan/vk_call.h"
#include "device/vulkan/vk_device.h"
#include "device/vulkan/vk_fault.h"
#include "device/vulkan/vk_pipelines.h"
#include "device/vulkan/vk_points.h"
#include "device/vulkan/vk_segments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES_PER_SEGMENT = 2 };

_Static_assert(VK_PART_NS <= VK_SEGMENT_LIMIT_NS / 2, "a part alone must be short enough");

struct vk_program {
    struct program program; /* first */
    struct vk_calls calls;
    uint32_t max_rows; /* the most of any dispatch */
    struct vk_segments segments;
    VkCommandPool pool;
    VkCommandBuffer *buffers; /* one per segment */
    VkSubmitInfo2 *submits;   /* one per segment, pointing into the next */
    VkCommandBufferSubmitInfo *infos;
    VkQueryPool queries; /* NULL where the GPU has no timestamps */
    uint64_t ticket;     /* of the last submission; 0: none yet */
    bool is_recorded;
    struct vk_program *next_unmeasured; /* of vk_device.unmeasured */
    const struct step_header *step;     /* as it was shown; NULL: not, so a step may be full */
    uint32_t rows_run;                  /* of the last submission */
};

static struct vk_program *program_of(struct program *p)
{
    return (struct vk_program *)(void *)p;
}

/* ---- recording ---- */

static void record_barrier(VkCommandBuffer commands, VkPipelineStageFlags2 to_stage,
                           VkAccessFlags2 to_access)
{
    const VkMemoryBarrier2 barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT,
        .srcAccessMask = VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT,
        .dstStageMask = to_stage,
        .dstAccessMask = to_access,
    };
    const VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
        .memoryBarrierCount = 1,
        .pMemoryBarriers = &barrier,
    };

    vkCmdPipelineBarrier2(commands, &info);
}

static void record_compute_barrier(VkCommandBuffer commands)
{
    record_barrier(commands, VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT,
                   VK_ACCESS_2_SHADER_STORAGE_READ_BIT | VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT);
}

static void record_calls(const struct vk_program *p, VkCommandBuffer commands, size_t first,
                         size_t end)
{
    struct vk_device *vk = vk_device_of(p->program.device);
    VkPipelineLayout layout = vk_pipelines_layout(vk->pipelines);
    VkPipeline bound = VK_NULL_HANDLE;

    for (size_t i = first; i < end; i++) {
        const struct vk_call *c = &p->calls.list[i];

        /* the first one of a segment waits for the segment, or program, before it */
        if (c->barrier || i == first)
            record_compute_barrier(commands);
        if (c->pipeline != bound)
            vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, c->pipeline);
        bound = c->pipeline;
        vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, c->push_bytes,
                           c->push);
        vkCmdDispatchBase(commands, c->first_group, 0, 0, c->groups[0], c->groups[1], c->groups[2]);
    }
}

static VkResult record_segment(const struct vk_program *p, size_t segment)
{
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkCommandBuffer commands = p->buffers[segment];
    uint32_t query = (uint32_t)segment * QUERIES_PER_SEGMENT;
    VkResult r = vkBeginCommandBuffer(commands, &begin);

    if (r != VK_SUCCESS)
        return r;
    if (p->queries) {
        vkCmdResetQueryPool(commands, p->queries, query, QUERIES_PER_SEGMENT);
        vkCmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, p->queries, query);
    }
    record_calls(p, commands, vk_segments_first(&p->segments, segment),
                 vk_segments_end(&p->segments, segment));
    if (segment + 1 == p->segments.n)
        record_barrier(commands, VK_PIPELINE_STAGE_2_HOST_BIT, VK_ACCESS_2_HOST_READ_BIT);
    if (p->queries)
        vkCmdWriteTimestamp2(commands, VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT, p->queries, query + 1);
    return vkEndCommandBuffer(commands);
}

static void forget_recording(struct vk_program *p)
{
    struct vk_device *vk = vk_device_of(p->program.device);

    vkDestroyCommandPool(vk->handle, p->pool, NULL); /* its buffers with it */
    vkDestroyQueryPool(vk->handle, p->queries, NULL);
    free(p->buffers);
    free(p->submits);
    free(p->infos);
    p->is_recorded = false;
    p->pool = VK_NULL_HANDLE;
    p->queries = VK_NULL_HANDLE;
    p->buffers = NULL;
    p->submits = NULL;
    p->infos = NULL;
}

static VkResult make_objects(struct vk_program *p)
{
    struct vk_device *vk = vk_device_of(p->program.device);
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = vk->gpu.queue_family,
    };
    const VkQueryPoolCreateInfo queries = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = (uint32_t)p->segments.n * QUERIES_PER_SEGMENT,
    };
    VkCommandBufferAllocateInfo buffers = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = (uint32_t)p->segments.n,
    };
    VkResult r = vkCreateCommandPool(vk->handle, &pool, NULL, &p->pool);

    if (r == VK_SUCCESS && vk->gpu.timestamp_ns > 0)
        r = vkCreateQueryPool(vk->handle, &queries, NULL, &p->queries);
    if (r != VK_SUCCESS)
        return r;
    buffers.commandPool = p->pool;
    return vkAllocateCommandBuffers(vk->handle, &buffers, p->buffers);
}

/* Records all segments as they are cut now. */
static int record(struct vk_program *p, struct error *err)
{
    struct vk_device *vk = vk_device_of(p->program.device);
    VkResult r;

    p->buffers = calloc(p->segments.n, sizeof(VkCommandBuffer));
    p->submits = calloc(p->segments.n, sizeof(*p->submits));
    p->infos = calloc(p->segments.n, sizeof(*p->infos));
    if (!p->buffers || !p->submits || !p->infos)
        return error_set(err, ENOMEM, "out of memory");
    r = make_objects(p);
    for (size_t i = 0; r == VK_SUCCESS && i < p->segments.n; i++) {
        r = record_segment(p, i);
        p->infos[i] = (VkCommandBufferSubmitInfo){
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
            .commandBuffer = p->buffers[i],
        };
        p->submits[i] = (VkSubmitInfo2){
            .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
            .commandBufferInfoCount = 1,
            .pCommandBufferInfos = &p->infos[i],
        };
    }
    p->is_recorded = r == VK_SUCCESS;
    return p->is_recorded ? 0 : vk_device_fail(vk, r, err, "a program cannot be recorded");
}

static int add_calls(struct vk_device *vk, const struct dispatch *d, struct vk_calls *calls,
                     struct error *err)
{
    struct vk_launch launch;
    VkPipeline pipeline;
    uint64_t points;
    int r;

    vk_launch_for(&vk->gpu.caps, d, &launch);
    r = vk_pipelines_get(vk->pipelines, &launch, &pipeline, err);
    if (r == 0)
        r = vk_points_address(vk, d, &points, err);
    if (r == 0 && vk_calls_add(calls, d, &launch, pipeline, points) < 0)
        r = error_set(err, ENOMEM, "out of memory");
    return r;
}

int vk_program_create(struct device *dev, const struct dispatch *list, size_t n,
                      struct program **ret_program, struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    struct vk_program *p;
    int r = vk_device_check(vk, err);

    if (r < 0)
        return r;
    p = calloc(1, sizeof(*p));
    if (!p)
        return error_set(err, ENOMEM, "out of memory");
    p->program.device = dev;
    for (size_t i = 0; i < n; i++) {
        r = add_calls(vk, &list[i], &p->calls, err);
        if (r < 0)
            goto fail;
        p->max_rows = list[i].max_rows > p->max_rows ? list[i].max_rows : p->max_rows;
    }
    r = vk_segments_init(&p->segments, p->calls.n, vk->call_ns_per_row * p->max_rows);
    r = r < 0 ? error_set(err, ENOMEM, "out of memory") : record(p, err);
    if (r < 0)
        goto fail;
    vk_pipelines_save(vk->pipelines);
    *ret_program = &p->program;
    return 0;
fail:
    vk_program_destroy(&p->program);
    return r;
}

/* Its times are no longer wanted. */
static void forget_times(struct vk_device *vk, const struct vk_program *p)
{
    for (struct vk_program **at = &vk->unmeasured; *at; at = &(*at)->next_unmeasured) {
        if (*at != p)
            continue;
        *at = p->next_unmeasured;
        return;
    }
}

int vk_prepare(struct device *dev, const struct dispatch *list, size_t n, struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    int r = vk_device_check(vk, err);

    for (size_t i = 0; r == 0 && i < n; i++) {
        struct vk_launch launch;
        VkPipeline pipeline;

        vk_launch_for(&vk->gpu.caps, &list[i], &launch);
        r = vk_pipelines_get(vk->pipelines, &launch, &pipeline, err);
    }
    vk_pipelines_save(vk->pipelines);
    return r;
}

void vk_program_destroy(struct program *program)
{
    struct vk_program *p = program_of(program);

    forget_times(vk_device_of(program->device), p);
    /* what still runs may read the command buffers */
    if (p->ticket && vk_wait(program->device, p->ticket, UINT64_MAX, NULL) < 0)
        vkDeviceWaitIdle(vk_device_of(program->device)->handle);
    forget_recording(p);
    vk_segments_finish(&p->segments);
    vk_calls_finish(&p->calls);
    free(p);
}

/* ---- running ---- */

/* How long the GPU took for a segment; 0 when it does not tell. */
static uint64_t segment_ns(const struct vk_program *p, size_t segment)
{
    struct vk_device *vk = vk_device_of(p->program.device);
    uint64_t ticks[QUERIES_PER_SEGMENT];

    if (vkGetQueryPoolResults(vk->handle, p->queries, (uint32_t)segment * QUERIES_PER_SEGMENT,
                              QUERIES_PER_SEGMENT, sizeof(ticks), ticks, sizeof(*ticks),
                              VK_QUERY_RESULT_64_BIT) != VK_SUCCESS ||
        ticks[1] <= ticks[0])
        return 0;
    return (uint64_t)((double)(ticks[1] - ticks[0]) * (double)vk->gpu.timestamp_ns);
}

void vk_program_show_step(struct program *program, const struct step_header *header)
{
    program_of(program)->step = header;
}

uint64_t vk_program_busy_ns(const struct program *program)
{
    const struct vk_program *p = (const struct vk_program *)(const void *)program;
    uint64_t sum = 0;

    for (size_t i = 0; p->queries && i < p->segments.n; i++)
        sum += segment_ns(p, i);
    return sum;
}

/* A call that takes long can only be made shorter by fewer rows: so many that the longest stays at
 * half the limit, by the rows of the step that was timed. More are advised in steps of two. */
static void advise_rows(struct vk_program *p)
{
    struct vk_device *vk = vk_device_of(p->program.device);
    struct device *dev = &vk->device;
    uint32_t rows;
    uint64_t longest_ns = vk_segments_longest_call(&p->segments, &rows), target;

    if (!longest_ns || !rows)
        return;
    vk->call_ns_per_row = (longest_ns + rows - 1) / rows;
    target = (uint64_t)rows * (VK_SEGMENT_LIMIT_NS / 2) / longest_ns;
    if (target < dev->advised_rows) {
        while (dev->advised_rows > 1 && dev->advised_rows > target)
            dev->advised_rows /= 2;
    } else if (target >= 2 * (uint64_t)dev->advised_rows &&
               2 * (uint64_t)rows > dev->advised_rows &&
               dev->advised_rows <= dev->info.max_rows / 2) {
        dev->advised_rows *= 2;
    }
}

/* Takes the GPU's times of the last submission, which has ended. */
static void take_times(struct vk_program *p)
{
    if (!p->queries) /* nothing is known of it: cuts and advice stay as careful as at first */
        return;
    for (size_t i = 0; i < p->segments.n; i++) {
        uint64_t ns = segment_ns(p, i);

        if (!ns)
            return;
        vk_segments_measured(&p->segments, i, ns, p->rows_run);
    }
    advise_rows(p);
}

/* Takes the times of all that has ended since; what is still under way keeps its place. */
static void measure(struct vk_device *vk)
{
    struct vk_program **at = &vk->unmeasured;
    uint64_t value = 0;

    if (!*at || vkGetSemaphoreCounterValue(vk->handle, vk->timeline, &value) != VK_SUCCESS)
        return;
    while (*at) {
        struct vk_program *p = *at;

        if (value < p->ticket) {
            at = &p->next_unmeasured;
            continue;
        }
        *at = p->next_unmeasured;
        take_times(p);
    }
}

/* Rows of the next step, as far as it was shown. */
static uint32_t step_rows_of(const struct vk_program *p)
{
    uint32_t n = p->step && p->step->n_tokens < p->max_rows ? p->step->n_tokens : p->max_rows;

    return n ? n : 1;
}

/* Cuts anew if the times, or what is to be done in the next step, say so; or records what could not
 * be recorded before. The program does not run now. */
static int recut(struct vk_program *p, struct error *err)
{
    uint32_t n_tokens = p->step ? p->step->n_tokens : UINT32_MAX;
    uint32_t n_positions = p->step ? p->step->n_positions : 0;

    for (size_t i = 0; i < p->calls.n; i++)
        if (p->calls.list[i].position_ns > 0)
            p->segments.bound_ns[i] = vk_call_bound_ns(&p->calls.list[i], n_tokens, n_positions);
    if (!vk_segments_recut(&p->segments, step_rows_of(p)) && p->is_recorded)
        return 0;
    forget_recording(p);
    return record(p, err);
}

int vk_submit(struct device *dev, struct program *program, uint64_t *ret_ticket, struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    struct vk_program *p = program_of(program);
    VkSemaphoreSubmitInfo signal = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO,
        .semaphore = vk->timeline,
        .value = vk->last_ticket + 1,
        .stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
    };
    VkSubmitInfo2 *last;
    VkResult result = VK_SUCCESS;
    size_t n;
    int r = vk_device_check(vk, err);

    if (r == 0 && p->ticket)
        r = vk_wait(dev, p->ticket, UINT64_MAX, err);
    if (r < 0)
        return r;
    measure(vk);
    r = recut(p, err);
    if (r < 0)
        return r;
    last = &p->submits[p->segments.n - 1];
    last->signalSemaphoreInfoCount = 1;
    last->pSignalSemaphoreInfos = &signal;
    /* One call each: drivers that merge the list of one call would make one long job of it. */
    for (n = 0; n < p->segments.n; n++) {
        result = vkQueueSubmit2(vk->queue, 1, &p->submits[n], VK_NULL_HANDLE);
        if (result != VK_SUCCESS)
            break;
    }
    last->pSignalSemaphoreInfos = NULL;
    last->signalSemaphoreInfoCount = 0;
    if (result != VK_SUCCESS) {
        if (n) /* what was submitted ends without a ticket */
            vkQueueWaitIdle(vk->queue);
        return vk_device_fail(vk, result, err, "a program cannot be submitted");
    }
    *ret_ticket = p->ticket = ++vk->last_ticket;
    p->rows_run = step_rows_of(p);
    forget_times(vk, p); /* a failing device may have left it there */
    p->next_unmeasured = vk->unmeasured;
    vk->unmeasured = p;
    return 0;
}

int vk_wait(struct device *dev, uint64_t ticket, uint64_t timeout_ns, struct error *err)
{
    struct vk_device *vk = vk_device_of(dev);
    const VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &vk->timeline,
        .pValues = &ticket,
    };
    VkResult result;
    int r = vk_device_check(vk, err);

    if (r < 0)
        return r;
    result = vkWaitSemaphores(vk->handle, &info, timeout_ns);
    if (result == VK_SUCCESS && vk->lose_at_ticket && ticket >= vk->lose_at_ticket)
        result = vk_fault_lose();
    if (result == VK_TIMEOUT)
        return error_set(err, ETIME, "the device is still at work");
    return result == VK_SUCCESS ? 0 : vk_device_fail(vk, result, err, "waiting for the GPU failed");
}
