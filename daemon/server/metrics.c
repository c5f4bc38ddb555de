/* SPDX-License-Identifier: MIT */
/* /metrics in Prometheus' text format, version 0.0.4. */
#include "server/api.h"
#include "server/jsonout.h"
#include "server/server_impl.h"

#include <stdio.h>

static void head(struct strbuf *out, const char *name, const char *type, const char *help)
{
    strbuf_printf(out, "# HELP hearth_%s %s\n# TYPE hearth_%s %s\n", name, help, name, type);
}

static void one(struct strbuf *out, const char *name, const char *type, const char *help,
                double value)
{
    head(out, name, type, help);
    strbuf_printf(out, "hearth_%s %.15g\n", name, value);
}

static void histogram(struct strbuf *out, const char *name, const char *help,
                      const struct server_histogram *h)
{
    unsigned long long below = 0;

    head(out, name, "histogram", help);
    for (int i = 0; i < SERVER_BUCKETS; i++) {
        below += h->counts[i];
        strbuf_printf(out, "hearth_%s_bucket{le=\"%g\"} %llu\n", name, server_bounds[i], below);
    }
    strbuf_printf(
        out, "hearth_%s_bucket{le=\"+Inf\"} %llu\nhearth_%s_sum %.9g\nhearth_%s_count %llu\n", name,
        (unsigned long long)h->n, name, h->sum_seconds, name, (unsigned long long)h->n);
}

static void server_part(struct strbuf *out, const struct server *s)
{
    const struct server_figures *f = &s->figures;

    one(out, "connections", "gauge", "Open connections.", s->n_connections);
    one(out, "connections_total", "counter", "Connections accepted.", (double)f->connections_total);
    one(out, "slow_readers_dropped_total", "counter",
        "Connections ended because they did not read.", (double)f->slow_readers_dropped);
    one(out, "received_bytes_total", "counter", "Bytes received.", (double)f->bytes_in);
    one(out, "sent_bytes_total", "counter", "Bytes sent.", (double)f->bytes_out);
    one(out, "request_body_bytes", "gauge", "Bytes held of requests being received.",
        (double)s->bodies_bytes);
    head(out, "http_requests_total", "counter", "Requests answered, by class of status.");
    for (int i = 2; i < 6; i++)
        strbuf_printf(out, "hearth_http_requests_total{status=\"%dxx\"} %llu\n", i,
                      (unsigned long long)f->requests_by_class[i]);
    histogram(out, "http_request_seconds", "From the complete request to the end of the answer.",
              &f->request_seconds);
    histogram(out, "queue_seconds", "Wait before the first work on a generation.",
              &f->queue_seconds);
    histogram(out, "time_to_first_token_seconds", "From the request to its first token.",
              &f->first_token_seconds);
    histogram(out, "time_between_tokens_seconds", "Between two tokens of one answer.",
              &f->token_seconds);
}

/* Steps that generated, by how many streams took part. */
static void batches(struct strbuf *out, const struct engine_stats *e)
{
    unsigned long long below = 0, streams = 0;

    head(out, "batch_streams", "histogram", "Streams in a step that generated.");
    for (unsigned i = 0; i < ENGINE_BATCH_MOST; i++) {
        below += e->batches[i];
        streams += e->batches[i] * (i + 1);
        if (!((i + 1) & i)) /* bounds at powers of two */
            strbuf_printf(out, "hearth_batch_streams_bucket{le=\"%u\"} %llu\n", i + 1, below);
    }
    strbuf_printf(out,
                  "hearth_batch_streams_bucket{le=\"+Inf\"} %llu\nhearth_batch_streams_sum %llu\n"
                  "hearth_batch_streams_count %llu\n",
                  below, streams, below);
}

/* What caches have on disk, where there is such a directory. */
static void disk_part(struct strbuf *out, const struct engine_disk_stats *d)
{
    if (!d->is_used)
        return;
    one(out, "kv_disk_bytes", "gauge", "Bytes of KV caches on disk.", (double)d->tier.bytes);
    one(out, "kv_disk_limit_bytes", "gauge", "Most bytes that may lie there.",
        (double)d->limit_bytes);
    one(out, "kv_disk_blocks", "gauge", "Blocks of KV caches on disk.", (double)d->tier.files);
    one(out, "kv_disk_written_blocks_total", "counter", "Blocks written to disk.",
        (double)d->tier.written_blocks);
    one(out, "kv_disk_written_bytes_total", "counter", "Bytes written to disk.",
        (double)d->tier.written_bytes);
    one(out, "kv_disk_read_blocks_total", "counter", "Blocks read back from disk.",
        (double)d->tier.read_blocks);
    one(out, "kv_disk_read_bytes_total", "counter", "Bytes read back from disk.",
        (double)d->tier.read_bytes);
    one(out, "kv_disk_failed_writes_total", "counter", "Blocks that could not be written.",
        (double)d->tier.failed_writes);
    one(out, "kv_disk_damaged_blocks_total", "counter",
        "Blocks that were not as they had been written, and were thrown away.",
        (double)d->tier.damaged_blocks);
    one(out, "kv_disk_dropped_blocks_total", "counter",
        "Blocks removed from disk for a limit or at a user's wish.",
        (double)d->tier.dropped_blocks);
    one(out, "prompts_restored_total", "counter", "Prompts whose beginning was read from disk.",
        (double)d->prompts);
    one(out, "prompt_tokens_restored_total", "counter", "Prompt tokens read from disk.",
        (double)d->tokens);
}

static void engine_part(struct strbuf *out, struct server *s)
{
    struct engine_stats e;

    engine_get_stats(s->engine, &e);
    one(out, "generations_total", "counter", "Generations asked for.", (double)e.requests_total);
    one(out, "generations_failed_total", "counter", "Generations that failed.",
        (double)e.requests_failed);
    one(out, "generations_cancelled_total", "counter", "Generations cancelled.",
        (double)e.requests_cancelled);
    one(out, "generations_running", "gauge", "Generations running.", e.n_running);
    one(out, "generations_waiting", "gauge", "Generations queued.", e.n_waiting);
    one(out, "prompts_total", "counter", "Prompts begun.", (double)e.prompts_total);
    one(out, "prompts_cached_total", "counter",
        "Prompts whose beginning an earlier request had left in the KV cache.",
        (double)e.cached_prompts_total);
    one(out, "prompt_tokens_total", "counter", "Prompt tokens computed.",
        (double)e.prompt_tokens_total);
    one(out, "prompt_tokens_cached_total", "counter",
        "Prompt tokens not computed, as an earlier request had left them.",
        (double)e.cached_tokens_total);
    one(out, "completion_tokens_total", "counter", "Tokens generated.",
        (double)e.completion_tokens_total);
    one(out, "prefill_seconds_total", "counter", "Time spent on prompts.",
        (double)e.prefill_ns_total / 1e9);
    one(out, "decode_seconds_total", "counter", "Time spent generating.",
        (double)e.decode_ns_total / 1e9);
    one(out, "steps_total", "counter", "Steps submitted to the device.", (double)e.steps_total);
    batches(out, &e);
    one(out, "device_losses_total", "counter", "Times the device was lost.",
        (double)e.device_losses_total);
    disk_part(out, &e.disk);
}

/* One gauge with a line for each ready model. */
static void models_part(struct strbuf *out, const struct engine_model_info *models, size_t n)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } gauges[] = {
        {"model_pool_bytes", "Memory of a model's weights.",
         offsetof(struct engine_model_info, pool_bytes)},
        {"model_huge_page_bytes", "Part of the weights in large pages.",
         offsetof(struct engine_model_info, huge_page_bytes)},
        {"model_kv_bytes", "Memory of a model's KV cache.",
         offsetof(struct engine_model_info, kv_bytes)},
        {"model_kv_used_bytes", "Part of the KV cache that running requests hold.",
         offsetof(struct engine_model_info, kv_used_bytes)},
        {"model_prefix_bytes", "Part of the KV cache that holds beginnings for later requests.",
         offsetof(struct engine_model_info, prefix_bytes)},
    };

    for (size_t g = 0; g < sizeof(gauges) / sizeof(gauges[0]); g++) {
        head(out, gauges[g].name, "gauge", gauges[g].help);
        for (size_t i = 0; i < n; i++) {
            const char *base = (const char *)&models[i];

            if (models[i].state != ENGINE_MODEL_READY)
                continue;
            strbuf_printf(out, "hearth_%s{model=\"", gauges[g].name);
            for (const char *c = models[i].name; *c; c++) {
                if (*c == '"' || *c == '\\')
                    strbuf_add_char(out, '\\');
                strbuf_add_char(out, *c == '\n' ? ' ' : *c);
            }
            strbuf_printf(
                out, "\"} %llu\n",
                (unsigned long long)*(const uint64_t *)(const void *)(base + gauges[g].offset));
        }
    }
}

struct users_part {
    const struct exchange *x;
    struct strbuf *out;
    const char *name;
    size_t offset;
};

static void user_line(void *user, const struct engine_user_stats *u)
{
    const struct users_part *p = user;
    const char *base = (const char *)u;
    char uid[16] = "tcp";

    if (!api_sees(p->x, u->uid))
        return;
    if (u->uid != ENGINE_UID_UNKNOWN)
        snprintf(uid, sizeof(uid), "%u", (unsigned)u->uid);
    strbuf_printf(p->out, "hearth_%s{uid=\"%s\"} %llu\n", p->name, uid,
                  (unsigned long long)*(const uint64_t *)(const void *)(base + p->offset));
}

/* Each user's counters, of those the client may see. */
static void users_part(struct strbuf *out, const struct exchange *x)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } counters[] = {
        {"user_generations_total", "Generations a user asked for.",
         offsetof(struct engine_user_stats, requests_total)},
        {"user_refused_total", "Generations refused for a user's own limits.",
         offsetof(struct engine_user_stats, refused_total)},
        {"user_prompt_tokens_total", "Prompt tokens computed for a user.",
         offsetof(struct engine_user_stats, prompt_tokens_total)},
        {"user_completion_tokens_total", "Tokens generated for a user.",
         offsetof(struct engine_user_stats, completion_tokens_total)},
    };

    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        struct users_part p = {x, out, counters[i].name, counters[i].offset};

        head(out, counters[i].name, "counter", counters[i].help);
        engine_each_user(x->server->engine, user_line, &p);
    }
}

void api_metrics(struct exchange *x, const char *tail)
{
    const struct engine_model_info *models = NULL;
    struct strbuf *out = exchange_scratch(x);
    size_t n = 0;

    server_part(out, x->server);
    engine_part(out, x->server);
    users_part(out, x);
    if (engine_models(x->server->engine, &models, &n) == 0)
        models_part(out, models, n);
    exchange_reply(x, out->failed ? 503 : 200, "text/plain; version=0.0.4; charset=utf-8",
                   out->data, out->len);
}
