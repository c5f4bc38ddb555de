/* SPDX-License-Identifier: MIT */
/*
 * out[t][h] = sum over j of softmax_j(scale * q[t][h].k[j]) * v[j] over the paged cache, with
 * window, softcap and sinks; see args_attention and ref_attention. A variant for each type of cache.
 * q f32[T][H][n_channels_k], out f32[T][H][n_channels_v]; where keys and values lie is in kv.glsl.
 *
 * A workgroup takes up to QUERIES queries that share their keys: HEADS query heads of one key head
 * times ROWS rows that follow one another (rows of different sequences one after the other). Its
 * subgroups take the cache's blocks in turn, each with a softmax of its own that rescales what it
 * has when a greater score comes (Milakov & Gimelshein 2018); at the end they are put together. With
 * n_splits > 1 (then ROWS is 1) a workgroup takes one range of a row's positions, and writes what
 * attention_combine.comp puts together ("flash decoding", Dao et al. 2023). Inside a subgroup a lane
 * is
 *   a position while scores are made: it reads its key in order, and each key once for all queries;
 *   a run of V_WIDTH channels while values are added up: the lanes read a row of values together,
 *   and its weights come from the lanes of its positions by broadcast.
 * The loop over the cache has no barrier (lavapipe makes one of the workgroup even of a subgroup's).
 *
 * Scores are kept in units of ln 2, so that exp2 makes the weights.
 *
 * Which subgroup works on a block hangs on the block alone, so that neither do sums change with the
 * rows that are worked on together.
 *
 * Grid: workgroups stride over (range, tile of rows, key head, chunk of its query heads); the empty
 * ranges, and there may be many, come last.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#define ARGS args_attention
#include "common.glsl"
#include "kv.glsl"
#include "tanh.glsl"

layout(constant_id = 2) const uint HEADS = 1;
layout(constant_id = 3) const uint ROWS = 1;
layout(constant_id = 4) const uint CK = 64;     /* n_channels_k */
layout(constant_id = 5) const uint K_WIDTH = 1; /* 8: keys are read by 16 bytes (q8_0 always is); 1:
                                                   by f16 */
layout(constant_id = 6) const uint V_WIDTH = 1; /* 4, 2 or 1 channels of values at once */
layout(constant_id = 7) const uint V_RUNS = 2;  /* of V_WIDTH channels, that a lane keeps */

layout(constant_id = 8) const bool HAS_CHOSEN = false; /* positions */

const uint QUERIES = HEADS * ROWS;
const uint BLOCK = KV_BLOCK_TOKENS;
/* Positions of a block for each lane; or lanes for each position, which share its channels. */
const uint PER_LANE = (BLOCK + SUBGROUP_SIZE - 1) / SUBGROUP_SIZE;
const uint PARTS = (SUBGROUP_SIZE + BLOCK - 1) / BLOCK;
const uint V_LANE = V_RUNS * V_WIDTH; /* channels a lane keeps */
const uint CK_QUADS = (CK + 31) / 32 * 8; /* of a query, zeros behind */
/* Reads that are on their way at once: 16 bytes of a position's key, rows of values. Lanes of
 * several positions have enough of them. */
const uint READS = PER_LANE > 1 ? 1 : 4;
const uint SLOTS = PER_LANE > 1 ? 4 : 8;
const uint ROOM = QUERIES * SUBGROUP_SIZE; /* of a subgroup, when all is put together */

const float LOG2_E = 1.4426950408889634;
const float NEVER = ATTENTION_NEVER; /* the score of what is not seen */

shared vec4 queries[QUERIES * CK_QUADS];
shared float rooms[N_SUBGROUPS * ROOM];
shared float greatests[N_SUBGROUPS * QUERIES];
shared float totals[N_SUBGROUPS * QUERIES];

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Quads { uvec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Pairs { uvec2 v[]; };

/* The subgroup's softmax so far, for each query: sums is spread over lanes by channels, total by
 * positions. */
float sums[QUERIES * V_LANE];
float greatest[QUERIES];
float total[QUERIES];
float scores[QUERIES * PER_LANE]; /* of one block, then their weights */
/* Positions that each row sees: [first, end). */
uint row_first[ROWS], row_end[ROWS];
/* Of one block, by bits: what each row looks at of it. */
uint row_chosen[ROWS];

/* Queries of rows [t, t + n_rows) and n_heads heads from `head` on, scaled; the others zeros. */
void load_queries(uint t, uint n_rows, uint head, uint n_heads)
{
    float scale = push.a.scale * (push.a.softcap > 0.0 ? 1.0 / push.a.softcap : LOG2_E);

    for (uint i = gl_LocalInvocationID.x; i < QUERIES * CK_QUADS; i += WORKGROUP_SIZE) {
        uint r = i / CK_QUADS / HEADS, h = i / CK_QUADS % HEADS, c = i % CK_QUADS * 4;
        uint64_t row = (uint64_t(t + r) * push.a.n_heads + head + h) * CK;
        vec4 q = vec4(0.0);

        [[unroll]] for (uint k = 0; k < 4; k++)
            if (r < n_rows && h < n_heads && c + k < CK)
                q[k] = F32(push.a.q + row * 4).v[c + k];
        queries[i] = q * scale;
    }
}

/* Adds the products of all queries with channels 8 c.. of a key, to the lane's score i. */
void add_products(uvec4 k, uint c, uint i)
{
    vec4 low = vec4(unpackHalf2x16(k.x), unpackHalf2x16(k.y));
    vec4 high = vec4(unpackHalf2x16(k.z), unpackHalf2x16(k.w));

    [[unroll]] for (uint q = 0; q < QUERIES; q++)
        scores[q * PER_LANE + i] += dot(queries[q * CK_QUADS + c * 2], low) +
                                    dot(queries[q * CK_QUADS + c * 2 + 1], high);
}

#ifdef KV_TYPE_Q8_0
/* As many reads as a run of channels has, so that none is past the last. */
const uint READS_Q8 = PER_LANE > 1 ? 1 : KV_RUN / 16;

vec4 unpack_q8(uint q)
{
    int x = int(q);

    return vec4(bitfieldExtract(x, 0, 8), bitfieldExtract(x, 8, 8), bitfieldExtract(x, 16, 8),
                bitfieldExtract(x, 24, 8));
}

/* Adds the products of all queries with channels 16 c.. of a key, to the lane's score i. */
void add_products_q8(uvec4 k, float scale, uint c, uint i)
{
    [[unroll]] for (uint n = 0; n < 4; n++) {
        vec4 x = unpack_q8(k[n]) * scale;

        [[unroll]] for (uint q = 0; q < QUERIES; q++)
            scores[q * PER_LANE + i] += dot(queries[q * CK_QUADS + c * 4 + n], x);
    }
}

void add_keys(uint64_t keys, uint position, uint part)
{
    F16 scales = F16(keys + BLOCK * CK);

    [[dont_unroll]] for (uint c = part * READS_Q8; c < CK / 16; c += PARTS * READS_Q8) {
        [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
            uint slot = i * SUBGROUP_SIZE + position;
            float scale = float(scales.v[slot * (CK / KV_RUN) + c * 16 / KV_RUN]);
            uvec4 k[READS_Q8];

            [[unroll]] for (uint n = 0; n < READS_Q8; n++)
                k[n] = Quads(keys).v[slot * (CK / 16) + c + n];
            [[unroll]] for (uint n = 0; n < READS_Q8; n++)
                add_products_q8(k[n], scale, c + n, i);
        }
    }
}
#else
void add_keys(uint64_t keys, uint position, uint part)
{
    if (K_WIDTH == 8) {
        /* past the last one zeros of the query meet what is there */
        [[dont_unroll]] for (uint c = part * READS; c < CK / 8; c += PARTS * READS) {
            [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
                uint row = (i * SUBGROUP_SIZE + position) * (CK / 8);
                uvec4 k[READS];

                [[unroll]] for (uint n = 0; n < READS; n++)
                    k[n] = Quads(keys).v[row + min(c + n, CK / 8 - 1)];
                [[unroll]] for (uint n = 0; n < READS; n++)
                    add_products(k[n], c + n, i);
            }
        }
    } else {
        for (uint c = part; c < CK; c += PARTS) {
            [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
                float k = float(F16(keys).v[(i * SUBGROUP_SIZE + position) * CK + c]);

                [[unroll]] for (uint q = 0; q < QUERIES; q++)
                    scores[q * PER_LANE + i] += queries[q * CK_QUADS + c / 4][c % 4] * k;
            }
        }
    }
}
#endif

/* Products of all queries with the 32 keys at an address: scores[query][PER_LANE]. */
void score(uint64_t keys)
{
    [[unroll]] for (uint i = 0; i < QUERIES * PER_LANE; i++)
        scores[i] = 0.0;
    add_keys(keys, LANE % BLOCK, LANE / BLOCK);
    [[unroll]] for (uint step = BLOCK; step < SUBGROUP_SIZE; step *= 2)
        [[unroll]] for (uint i = 0; i < QUERIES * PER_LANE; i++)
            scores[i] += subgroupShuffleXor(scores[i], step);
}

/* Scores of the block whose positions begin at `first` to weights; what there was is rescaled to the
 * new greatest score. */
void soften(uint first)
{
    if (push.a.softcap > 0.0)
        [[unroll]] for (uint i = 0; i < QUERIES * PER_LANE; i++)
            scores[i] = push.a.softcap * LOG2_E * tanh_exact(scores[i]);
    [[unroll]] for (uint q = 0; q < QUERIES; q++) {
        float most = greatest[q], rescale;

        [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
            uint j = first + i * SUBGROUP_SIZE + LANE % BLOCK;
            float s = scores[q * PER_LANE + i];

            s = j >= row_first[q / HEADS] && j < row_end[q / HEADS] ? s : NEVER;
            if (HAS_CHOSEN)
                s = (row_chosen[q / HEADS] >> (j - first) & 1) != 0 ? s : NEVER;
            scores[q * PER_LANE + i] = s;
            most = max(most, s);
        }
        most = subgroupMax(most);
        rescale = exp2(greatest[q] - most);
        greatest[q] = most;
        total[q] *= rescale;
        [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
            float s = scores[q * PER_LANE + i], weight = s > NEVER ? exp2(s - most) : 0.0;

            scores[q * PER_LANE + i] = weight;
            total[q] += LANE < BLOCK ? weight : 0.0;
        }
        [[unroll]] for (uint i = 0; i < V_LANE; i++)
            sums[q * V_LANE + i] *= rescale;
    }
}

/* Channels c.. of the values of a slot, zeros where there are none. */
#ifdef KV_TYPE_Q8_0
vec4 load_values(uint64_t values, uint slot, uint c, bool is_there)
{
    uint cv = push.a.kv.n_channels_v, at = slot * cv + c;
    float scale = float(F16(values).v[BLOCK / 2 * cv + at / KV_RUN]); /* one base: few registers */
    vec4 v;

    if (V_WIDTH == 4)
        v = unpack_q8(U32(values).v[at / 4]);
    else if (V_WIDTH == 2)
        v = unpack_q8(uint(U16(values).v[at / 2]));
    else
        v = vec4(float(int(I8(values).v[at])), 0.0, 0.0, 0.0);
    return is_there ? v * scale : vec4(0.0);
}
#else
vec4 load_values(uint64_t values, uint slot, uint c, bool is_there)
{
    uint64_t row = values + slot * push.a.kv.n_channels_v * 2;

    if (V_WIDTH == 4) {
        uvec2 v = Pairs(row).v[c / 4];

        v = is_there ? v : uvec2(0);
        return vec4(unpackHalf2x16(v.x), unpackHalf2x16(v.y));
    }
    if (V_WIDTH == 2) {
        uint v = U32(row).v[c / 2];

        return vec4(unpackHalf2x16(is_there ? v : 0), 0.0, 0.0);
    }
    return vec4(is_there ? float(F16(row).v[c]) : 0.0, 0.0, 0.0, 0.0);
}
#endif

/* Adds the values of SLOTS slots from `first` on; weight i of the first is in lane `lane`. What lies
 * outside of [begin, end) may be anything, but can be read. */
void mix_slots(uint64_t values, uint first, uint begin, uint end, uint i, uint lane)
{
    uint cv = push.a.kv.n_channels_v;

    [[unroll]] for (uint run = 0; run < V_RUNS; run++) {
        uint c = (run * SUBGROUP_SIZE + LANE) * V_WIDTH;
        vec4 v[SLOTS];

        c = c < cv ? c : 0; /* a lane without channels makes what nobody reads */
        [[unroll]] for (uint k = 0; k < SLOTS; k++)
            v[k] = load_values(values, first + k, c, first + k >= begin && first + k < end);
        [[unroll]] for (uint q = 0; q < QUERIES; q++) {
            [[unroll]] for (uint k = 0; k < SLOTS; k++) {
                float weight = subgroupBroadcast(scores[q * PER_LANE + i], lane + k);

                [[unroll]] for (uint x = 0; x < V_WIDTH; x++)
                    sums[q * V_LANE + run * V_WIDTH + x] += weight * v[k][x];
            }
        }
    }
}

/* Adds the block's values of slots [begin, end). Short code where a lane has one position; else a
 * lane's number must be known to the compiler, or its broadcast becomes long (lavapipe). */
void mix_values(uint64_t values, uint begin, uint end)
{
    if (PER_LANE == 1) {
        [[dont_unroll]] for (uint slot = begin / SLOTS * SLOTS; slot < end; slot += SLOTS)
            mix_slots(values, slot, begin, end, 0, slot);
        return;
    }
    [[unroll]] for (uint i = 0; i < PER_LANE; i++) {
        [[unroll]] for (uint lane = 0; lane < BLOCK / PER_LANE; lane += SLOTS) {
            uint slot = i * SUBGROUP_SIZE + lane;

            if (slot + SLOTS > begin && slot < end)
                mix_slots(values, slot, begin, end, i, lane);
        }
    }
}

/* What rows [t, t + n_rows) look at of block b; whether that is anything. */
bool load_chosen(uint t, uint n_rows, uint b)
{
    uint all = 0;

    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        bool is_there = r < n_rows && b < push.a.chosen_words;
        uint64_t row = push.a.chosen + uint64_t(min(r, n_rows - 1) + t) * push.a.chosen_words * 4;

        row_chosen[r] = is_there ? U32(row).v[b] : 0;
        all |= row_chosen[r];
    }
    return all != 0;
}

/* The subgroup's share of the blocks that hold positions [first, end) of the sequence of rows
 * [t, t + n_rows). */
void attend(step_seq seq, uint t, uint n_rows, uint g, uint first, uint end)
{
    kv_layer kv = push.a.kv;
    uint n_blocks = min((end + BLOCK - 1) / BLOCK, seq.n_blocks), b = first / BLOCK;

    for (b += (SUBGROUP - b) % N_SUBGROUPS; b < n_blocks; b += N_SUBGROUPS) {
        uint64_t block = kv_block(kv, seq, b);
        uint at = b * BLOCK;

        if (block == 0)
            continue;
        if (HAS_CHOSEN && !load_chosen(t, n_rows, b))
            continue;
        score(block + kv_keys(kv, g));
        soften(at);
        mix_values(block + kv_values(kv, g), max(first, at) - at, min(end - at, BLOCK));
    }
}

/* Puts the subgroups' softmaxes to one scale, of which greatest and total are told to each. */
void agree(uint head, uint n_heads)
{
    [[unroll]] for (uint q = 0; q < QUERIES; q++) {
        total[q] = subgroupAdd(total[q]);
        if (LANE == 0) {
            greatests[SUBGROUP * QUERIES + q] = greatest[q];
            totals[SUBGROUP * QUERIES + q] = total[q];
        }
    }
    barrier();
    [[unroll]] for (uint q = 0; q < QUERIES; q++) {
        bool has_sink = push.a.sinks != 0 && q % HEADS < n_heads;
        float sink = has_sink ? F32(push.a.sinks).v[head + q % HEADS] * LOG2_E : NEVER;
        float most = sink, factor;

        for (uint i = 0; i < N_SUBGROUPS; i++)
            most = max(most, greatests[i * QUERIES + q]);
        total[q] = has_sink ? exp2(sink - most) : 0.0;
        for (uint i = 0; i < N_SUBGROUPS; i++)
            total[q] += totals[i * QUERIES + q] * exp2(greatests[i * QUERIES + q] - most);
        factor = exp2(greatest[q] - most);
        greatest[q] = most;
        [[unroll]] for (uint i = 0; i < V_LANE; i++)
            sums[q * V_LANE + i] *= factor;
    }
}

/* Adds up what the subgroups have, a channel of each lane at a time, and writes it. */
void finish(uint t, uint n_rows, uint head, uint n_heads, uint split)
{
    uint cv = push.a.kv.n_channels_v;
    bool is_part = push.a.n_splits > 1;
    uint stride = is_part ? push.a.n_splits * (cv + 2) : cv; /* from head to head */
    uint64_t first = (uint64_t(t) * push.a.n_heads + head) * stride + (is_part ? split * (cv + 2) : 0);
    F32 to = F32(push.a.out_address + first * 4);

    if (is_part && gl_LocalInvocationID.x == 0) {
        [[unroll]] for (uint q = 0; q < HEADS; q++) {
            if (q < n_heads) {
                to.v[q * stride] = greatest[q];
                to.v[q * stride + 1] = total[q];
            }
        }
    }
    [[unroll]] for (uint i = 0; i < V_LANE; i++) {
        [[unroll]] for (uint q = 0; q < QUERIES; q++) {
            uint at = SUBGROUP * ROOM + q * SUBGROUP_SIZE + LANE;

            rooms[at] = total[q] > 0.0 ? sums[q * V_LANE + i] / (is_part ? 1.0 : total[q]) : 0.0;
        }
        barrier();
        for (uint k = gl_LocalInvocationID.x; k < QUERIES * SUBGROUP_SIZE; k += WORKGROUP_SIZE) {
            uint q = k / SUBGROUP_SIZE, r = q / HEADS, h = q % HEADS;
            uint c = (i / V_WIDTH * SUBGROUP_SIZE + k % SUBGROUP_SIZE) * V_WIDTH + i % V_WIDTH;
            float sum = 0.0;

            for (uint s = 0; s < N_SUBGROUPS; s++)
                sum += rooms[s * ROOM + k];
            if (r < n_rows && h < n_heads && c < cv)
                to.v[(r * push.a.n_heads + h) * stride + (is_part ? 2 : 0) + c] = sum;
        }
        barrier();
    }
}

/* Rows [t, t + n_rows) of one sequence, n_heads query heads from `head` on, key head g; of the row's
 * ranges the one of number `split`. */
void attend_rows(uint t, uint n_rows, uint head, uint n_heads, uint g, uint split)
{
    step_seq seq = kv_seq_of(push.a.step, push.a.seqs, StepTokens(push.a.tokens).v[t].seq);
    uint first = 0xffffffff, end = 0;

    load_queries(t, n_rows, head, n_heads);
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        row_first[r] = row_end[r] = 0;
        if (r < n_rows) {
            uint position = StepTokens(push.a.tokens).v[t + r].position;

            row_first[r] = attention_first(position, push.a.window);
            row_end[r] = position + 1;
            first = min(first, row_first[r]);
            end = max(end, row_end[r]);
        }
    }
    [[unroll]] for (uint q = 0; q < QUERIES; q++) {
        greatest[q] = NEVER;
        total[q] = 0.0;
    }
    [[unroll]] for (uint i = 0; i < QUERIES * V_LANE; i++)
        sums[i] = 0.0;
    barrier();
    if (push.a.n_splits > 1) {
        uint width = attention_split_blocks(end - 1, push.a.window, push.a.n_splits) * BLOCK;
        uint begin = first / BLOCK * BLOCK + split * width;

        first = max(first, begin);
        end = min(end, begin + width);
    }
    attend(seq, t, n_rows, g, first, end);
    agree(head, n_heads);
    finish(t, n_rows, head, n_heads, split);
}

void main()
{
    uint n_tokens = step_rows(push.a.step, ROWS_TOKENS), n_kv = push.a.kv.n_kv_heads;
    uint group = push.a.n_heads / n_kv, n_chunks = (group + HEADS - 1) / HEADS;
    uint n_tiles = (n_tokens + ROWS - 1) / ROWS, n_splits = push.a.n_splits, run;
    uint n_items = n_tiles * n_kv * n_chunks * n_splits;

    for (uint item = gl_WorkGroupID.x; item < n_items; item += push.n_groups) {
        uint chunk = item % n_chunks, g = item / n_chunks % n_kv, unit = item / n_chunks / n_kv;
        uint t = unit % n_tiles * ROWS, end = min(t + ROWS, n_tokens), split = unit / n_tiles;
        uint head = chunk * HEADS, n_heads = min(HEADS, group - head);

        for (; t < end; t += run) {
            uint seq = StepTokens(push.a.tokens).v[t].seq;
            uint position = StepTokens(push.a.tokens).v[t].position;

            run = 1;
            if (split > 0 && split >= attention_n_ranges(position, push.a.window, n_splits))
                continue;
            while (t + run < end && StepTokens(push.a.tokens).v[t + run].seq == seq)
                run++;
            attend_rows(t, run, g * group + head, n_heads, g, split);
        }
    }
}
