/* SPDX-License-Identifier: MIT */
#include "model/recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the step buffer ---- */

enum { STEP_ALIGN = 256 };

static uint64_t append(uint64_t *end, uint64_t bytes)
{
    uint64_t at = *end;

    *end = (at + bytes + STEP_ALIGN - 1) & ~(uint64_t)(STEP_ALIGN - 1);
    return at;
}

static struct step_layout lay_out_step(const struct model *m, const struct plan_config *cfg)
{
    struct step_layout l = {0};
    uint64_t n_vocab = m->dims.dim[DIM_VOCAB];

    append(&l.bytes, sizeof(struct step_header));
    l.tokens = append(&l.bytes, cfg->max_tokens * sizeof(struct step_token));
    if (m->arch->is_bidirectional) {
        l.wholes = append(&l.bytes, cfg->max_tokens * sizeof(struct step_token));
        l.types = append(&l.bytes, cfg->max_tokens * sizeof(struct step_token));
    }
    l.output_rows = append(&l.bytes, cfg->max_outputs * sizeof(uint32_t));
    l.seqs = append(&l.bytes, cfg->max_seqs * sizeof(struct step_seq));
    l.window_seqs = append(&l.bytes, cfg->max_seqs * sizeof(struct step_seq));
    if (cfg->has_sampler) {
        l.samples = append(&l.bytes, cfg->max_outputs * sizeof(struct step_sample));
        l.results = append(&l.result_bytes, cfg->max_outputs * sizeof(struct sample_result));
        l.scratch = append(&l.bytes, cfg->max_outputs * sample_scratch_bytes((uint32_t)n_vocab));
    }
    if (cfg->host_logits)
        l.logits = append(&l.result_bytes, cfg->max_outputs * n_vocab * sizeof(float));
    if (cfg->host_normed)
        l.normed = append(&l.result_bytes,
                          (uint64_t)cfg->max_outputs * m->dims.dim[DIM_EMBD] * sizeof(float));
    return l;
}

static void point_into(struct plan *p, const struct step_layout *l)
{
    char *host = p->step_buffer->host;
    char *back = p->result_buffer ? p->result_buffer->host : NULL;

    p->step.header = (void *)host;
    p->step.tokens = (void *)(host + l->tokens);
    if (l->wholes) {
        p->step.wholes = (void *)(host + l->wholes);
        memset(host + l->types, 0, p->config.max_tokens * sizeof(struct step_token));
    }
    p->step.output_rows = (void *)(host + l->output_rows);
    p->step.seqs = (void *)(host + l->seqs);
    p->step.window_seqs = (void *)(host + l->window_seqs);
    if (p->config.has_sampler) {
        p->step.samples = (void *)(host + l->samples);
        p->step.results = (void *)(back + l->results);
    }
    if (p->config.host_logits)
        p->step.logits = (void *)(back + l->logits);
    if (p->config.host_normed)
        p->step.normed = (void *)(back + l->normed);
}

/* ---- plans ---- */

static struct graph_config graph_config(const struct plan_config *cfg)
{
    return (struct graph_config){
        .max_tokens = cfg->max_tokens,
        .max_outputs = cfg->max_outputs,
        .ends_normed = cfg->host_normed,
        .context_tokens = cfg->context_tokens,
    };
}

int plan_workspace_bytes(const struct model *m, struct device *dev, const struct plan_config *cfg,
                         uint64_t *ret_bytes, struct error *err)
{
    struct graph_config gc = graph_config(cfg);
    struct graph *g;
    int r = graph_create(m, dev, &gc, &g, err);

    if (r < 0)
        return r;
    *ret_bytes = g->workspace_bytes;
    graph_destroy(g);
    return 0;
}

int plan_prepare(const struct model *m, struct device *dev, const struct kv_layer *kv,
                 const struct plan_config *cfg, struct error *err)
{
    const struct graph_config gc = graph_config(cfg);
    struct recorder rec = {.model = m, .cfg = cfg, .kv = kv, .layout = lay_out_step(m, cfg)};
    struct graph *g = NULL;
    int r = graph_create(m, dev, &gc, &g, err);

    rec.graph = g;
    if (r == 0)
        r = recorder_list_calls(&rec, err);
    if (r == 0)
        r = device_prepare(dev, rec.list, rec.n, err);
    free(rec.list);
    graph_destroy(g);
    return r;
}

static int record(struct plan *p, const struct model *m, const struct kv_layer *kv,
                  const struct graph *g, const struct buffer *workspace,
                  const struct step_layout *layout, struct error *err)
{
    struct recorder rec = {
        .model = m,
        .cfg = &p->config,
        .kv = kv,
        .graph = g,
        .step = p->step_buffer->address,
        .results = p->result_buffer ? p->result_buffer->address : 0,
        .workspace = workspace->address,
        .layout = *layout,
    };
    int r = recorder_list_calls(&rec, err);

    if (r < 0)
        return r;
    r = program_create(p->device, rec.list, rec.n, &p->program, err);
    p->calls = rec.list;
    p->n_calls = rec.n;
    p->n_barriers = rec.n_barriers;
    return r;
}

int plan_create(const struct model *m, struct device *dev, const struct kv_layer *kv,
                struct buffer *workspace, const struct plan_config *cfg, struct plan **ret_plan,
                struct error *err)
{
    struct graph_config gc = graph_config(cfg);
    struct step_layout layout = lay_out_step(m, cfg);
    struct graph *g = NULL;
    struct plan *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return error_set(err, ENOMEM, "out of memory");
    p->config = *cfg;
    p->device = dev;
    r = graph_create(m, dev, &gc, &g, err);
    if (r < 0)
        goto fail;
    if (g->workspace_bytes > workspace->bytes) {
        r = error_set(err, EINVAL, "workspace of %llu bytes is too small for %llu",
                      (unsigned long long)workspace->bytes, (unsigned long long)g->workspace_bytes);
        goto fail;
    }
    r = buffer_create(dev, layout.bytes, BUFFER_HOST, &p->step_buffer, err);
    if (r == 0 && layout.result_bytes)
        r = buffer_create(dev, layout.result_bytes, BUFFER_HOST | BUFFER_READ, &p->result_buffer,
                          err);
    if (r < 0)
        goto fail;
    point_into(p, &layout);
    r = record(p, m, kv, g, workspace, &layout, err);
    if (r < 0)
        goto fail;
    program_show_step(p->program, &p->header);
    graph_destroy(g);
    *ret_plan = p;
    return 0;
fail:
    graph_destroy(g);
    plan_destroy(p);
    return r;
}

void plan_set_header(struct plan *p, struct step_header header)
{
    p->header = header;
    *p->step.header = header;
}

void plan_destroy(struct plan *p)
{
    if (!p)
        return;
    program_destroy(p->program);
    buffer_destroy(p->step_buffer);
    buffer_destroy(p->result_buffer);
    free(p->calls);
    free(p);
}

uint64_t plan_buffer_bytes(const struct plan *p)
{
    if (!p)
        return 0;
    return p->step_buffer->bytes + (p->result_buffer ? p->result_buffer->bytes : 0);
}
