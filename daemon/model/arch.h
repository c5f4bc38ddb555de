/* SPDX-License-Identifier: MIT */
/*
 * The table language models are described in. An architecture is constant tables and no control
 * flow: which GGUF keys give which dimension, which tensors play which role in which shape, and
 * which steps make up one forward pass. A new model earns a table; a new operation earns code
 * (graph.c and a kernel).
 */
#ifndef HEARTH_MODEL_ARCH_H
#define HEARTH_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole-number properties of a model. The second group is derived from the first (dims_derive.c).
 */
enum dim {
    DIM_ONE,
    DIM_ZERO,
    DIM_LAYERS,
    DIM_EMBD,     /* width of the residual stream */
    DIM_HEADS,    /* query heads */
    DIM_KV_HEADS, /* key/value heads */
    DIM_HEAD_K,   /* channels of one query or key head */
    DIM_HEAD_V,   /* channels of one value head */
    DIM_FF,       /* width of the feed-forward part */
    DIM_VOCAB,
    DIM_CONTEXT,      /* longest context it was trained for */
    DIM_ROPE,         /* channels of a head that are rotated */
    DIM_ROPE_CONTEXT, /* context before RoPE scaling; YaRN only */
    /* of mixtures of experts: */
    DIM_EXPERTS,
    DIM_EXPERTS_USED, /* for each token */
    DIM_FF_EXPERT,    /* width of one expert */
    DIM_FF_SHARED,    /* width of what every token goes through besides */
    DIM_EXPERTS_SHARED,
    DIM_LEADING, /* layers of the first kind, where those come first */
    DIM_NEXT,    /* layers behind the last that predict further tokens; kept, not used */
    /* of multi-head latent attention, where DIM_HEAD_K and DIM_HEAD_V are those of the one latent
       head that all query heads share: */
    DIM_HEAD_K_MLA, /* channels of a query head, as DIM_HEAD_V_MLA before the latents */
    DIM_HEAD_V_MLA,
    DIM_KV_RANK, /* channels of the latent of keys and values */
    DIM_Q_RANK,  /* of queries */
    DIM_WINDOW,  /* positions that windowed layers look back, their own included, or a chunk */
    DIM_PERIOD,  /* of kinds of layers, where one recurs */
    DIM_EXPERT_PERIOD, /* of layers with experts among dense ones */
    DIM_SHARED_KV,     /* layers at the end that have no keys and values of their own */
    /* of layers with a delta rule, which have heads of their own: */
    DIM_TAPS,          /* of the convolution before it */
    DIM_DELTA_HEADS_K, /* heads of queries, and as many of keys */
    DIM_DELTA_HEADS_V, /* of values */
    DIM_DELTA_HEAD_K,  /* channels of a query or key head */
    DIM_DELTA_V,       /* DIM_DELTA_HEADS_V * DIM_DELTA_HEAD_V */
    /* of an indexer, which chooses the positions that attention looks at: */
    DIM_INDEXER_HEADS,
    DIM_INDEXER_HEAD, /* channels of one */
    DIM_INDEXER_TOP,  /* positions chosen, at most */
    DIM_PER_LAYER,    /* channels of what each layer is told of a token besides; 0: nothing */
    DIM_TOKEN_TYPES,  /* kinds of text that a token may be of, of which only the first counts */
    DIM_KEYS_END,
    DIM_Q = DIM_KEYS_END, /* DIM_HEADS * DIM_HEAD_K */
    DIM_K,                /* DIM_KV_HEADS * DIM_HEAD_K */
    DIM_V,                /* DIM_KV_HEADS * DIM_HEAD_V */
    DIM_ATT,              /* DIM_HEADS * DIM_HEAD_V */
    DIM_ROPE_PAIRS,       /* DIM_ROPE / 2 */
    DIM_CHOICES,          /* words of DIM_EXPERTS_USED choices */
    DIM_EXPERTS_FF,       /* DIM_EXPERTS_USED * DIM_FF_EXPERT */
    DIM_EXPERTS_EMBD,     /* DIM_EXPERTS_USED * DIM_EMBD */
    DIM_CHOICE,           /* words of one choice */
    DIM_NOPE,             /* channels of a query head that are not rotated */
    DIM_Q_MLA,            /* DIM_HEADS * DIM_HEAD_K_MLA */
    DIM_Q_NOPE,           /* DIM_HEADS * DIM_NOPE */
    DIM_Q_LATENT,         /* DIM_HEADS * DIM_KV_RANK */
    DIM_ATT_MLA,          /* DIM_HEADS * DIM_HEAD_V_MLA */
    DIM_Q_GATED,          /* 2 * DIM_Q */
    DIM_DELTA_HEAD_V,     /* channels of a value head */
    DIM_DELTA_QKV,        /* 2 * DIM_DELTA_HEADS_K * DIM_DELTA_HEAD_K + DIM_DELTA_V */
    DIM_DELTA_GROUP,      /* value heads to each key head */
    DIM_DELTA_BETA_ALPHA, /* 2 * DIM_DELTA_HEADS_V */
    DIM_DELTA_K,          /* DIM_DELTA_HEADS_K * DIM_DELTA_HEAD_K */
    DIM_DELTA_QK,         /* 2 * DIM_DELTA_K */
    DIM_DELTA_QKVZ,       /* DIM_DELTA_QKV + DIM_DELTA_V */
    DIM_DELTA_GROUP_V,    /* channels of the values of one key head */
    DIM_DELTA_PAST_K,     /* 2 * DIM_DELTA_HEAD_K */
    DIM_DELTA_PAST_V,     /* DIM_DELTA_PAST_K + DIM_DELTA_GROUP_V */
    DIM_QK,               /* DIM_Q + DIM_K */
    DIM_QKV,              /* DIM_QK + DIM_V */
    DIM_INDEXER_Q,        /* DIM_INDEXER_HEADS * DIM_INDEXER_HEAD */
    DIM_GATE_UP,          /* 2 * DIM_FF */
    DIM_PER_LAYERS,       /* DIM_LAYERS * DIM_PER_LAYER */
    DIM_PER_LAYER_FIRST,  /* of a layer: its number * DIM_PER_LAYER */
    DIM_GATE_UP_EXPERT,   /* 2 * DIM_FF_EXPERT */
    DIM_GATE_UP_EXPERTS,  /* DIM_EXPERTS_USED * DIM_GATE_UP_EXPERT */
    DIM_COUNT,
};

/* Real-number properties. */
enum real {
    REAL_ONE,
    REAL_NORM_EPS,
    REAL_ROPE_BASE,
    REAL_ROPE_FACTOR,      /* context extension factor; 1: none */
    REAL_ROPE_ATTN_FACTOR, /* 1 where the file says nothing */
    REAL_YARN_LOG_MUL,     /* 0: none */
    REAL_YARN_BETA_FAST,
    REAL_YARN_BETA_SLOW,
    REAL_YARN_EXT_FACTOR, /* negative: 1 when the scaling type is yarn, else 0 */
    REAL_TEMP_SCALE,      /* position-dependent query temperature; 0: none */
    REAL_TEMP_OFFSET,     /* of the position, for that */
    REAL_EMBD_SCALE,      /* multiplies embeddings */
    REAL_YARN_SCORE_MUL,  /* YaRN's factor on attention scores instead of on rotations; 0: none */
    REAL_ROPE_BASE_LOCAL, /* of layers with has_local_rope */
    REAL_ATTN_SCALE,      /* multiplies scores */
    REAL_ATTN_SOFTCAP,    /* 0: none */
    REAL_LOGIT_SOFTCAP,   /* 0: none */
    REAL_ROOT_HALF,       /* the root of 1/2 */
    REAL_PER_LAYER_SCALE, /* the root of DIM_PER_LAYER / 2 */
    REAL_EMBD_ROOT,       /* 1 / the root of DIM_EMBD */
    REAL_BRANCH_SCALE,    /* of what is added to the stream; 0: none */
    REAL_LOGIT_DIVISOR,   /* 0: none */
    REAL_LOGIT_SCALE,     /* 1 / that */
    REAL_INDEXER_EPS,     /* of the norm of an indexer's keys */
    REAL_COUNT,
};

struct arch_dim {
    enum dim dim;
    const char *key; /* after "<architecture>." */
    enum { KEY_REQUIRED, KEY_OR_DIM, KEY_OR_QUOTIENT, KEY_OR_ZERO, KEY_OR_VALUE } when_absent;
    enum dim dim_a, dim_b; /* KEY_OR_DIM: dim_a; KEY_OR_ZERO: the file may say 0, too;
                              KEY_OR_QUOTIENT: dim_a / dim_b, which must divide */
    uint32_t value;        /* KEY_OR_VALUE */
    bool may_differ;       /* the key may hold a value for each layer */
};

struct arch_real {
    enum real real;
    const char *key;
    bool is_required;
    float value; /* when absent */
};

/* Roles of tensors. */
enum weight {
    WEIGHT_NONE,
    WEIGHT_TOKEN_EMBD,
    WEIGHT_POSITION_EMBD, /* what a position adds to the embedding, */
    WEIGHT_TOKEN_TYPES,   /* and what kind of text it is of */
    WEIGHT_EMBD_NORM,     /* of the sum */
    WEIGHT_EMBD_NORM_BIAS,
    WEIGHT_OUTPUT_NORM,
    WEIGHT_OUTPUT_NORM_BIAS,
    WEIGHT_OUTPUT,
    WEIGHT_ROPE_FACTORS,
    WEIGHT_ROPE_FACTORS_LONG, /* for sessions longer than DIM_ROPE_CONTEXT, and the others */
    WEIGHT_ROPE_FACTORS_SHORT,
    WEIGHT_ATTN_NORM,
    WEIGHT_ATTN_NORM_BIAS,
    WEIGHT_ATTN_Q,
    WEIGHT_ATTN_Q_BIAS,
    WEIGHT_ATTN_Q_NORM,
    WEIGHT_ATTN_K,
    WEIGHT_ATTN_K_BIAS,
    WEIGHT_ATTN_K_NORM,
    WEIGHT_ATTN_V,
    WEIGHT_ATTN_V_BIAS,
    WEIGHT_ATTN_OUT,
    WEIGHT_ATTN_OUT_BIAS,
    WEIGHT_ATTN_SINKS,
    WEIGHT_ATTN_Q_DOWN,
    WEIGHT_ATTN_Q_DOWN_NORM,
    WEIGHT_ATTN_KV_DOWN,
    WEIGHT_ATTN_KV_DOWN_NORM,
    WEIGHT_ATTN_K_HEADS,
    WEIGHT_ATTN_V_HEADS,
    WEIGHT_INDEXER_Q,
    WEIGHT_INDEXER_K,
    WEIGHT_INDEXER_K_NORM,
    WEIGHT_INDEXER_K_NORM_BIAS,
    WEIGHT_INDEXER_PROJ,
    WEIGHT_ATTN_POST_NORM, /* of attention's output */
    WEIGHT_ATTN_POST_NORM_BIAS,
    WEIGHT_FFN_NORM,
    WEIGHT_FFN_NORM_BIAS,
    WEIGHT_FFN_GATE,
    WEIGHT_FFN_UP,
    WEIGHT_FFN_UP_BIAS,
    WEIGHT_FFN_DOWN,
    WEIGHT_FFN_DOWN_BIAS,
    WEIGHT_FFN_POST_NORM,
    WEIGHT_FFN_POST_NORM_BIAS,
    WEIGHT_ROUTER,
    WEIGHT_ROUTER_BIAS,
    WEIGHT_ROUTER_CHOICE_BIAS, /* counts for the choice alone */
    WEIGHT_EXPERTS_GATE,
    WEIGHT_EXPERTS_GATE_BIAS,
    WEIGHT_EXPERTS_UP,
    WEIGHT_EXPERTS_UP_BIAS,
    WEIGHT_EXPERTS_DOWN,
    WEIGHT_EXPERTS_DOWN_BIAS,
    WEIGHT_SHARED_ROUTER,
    WEIGHT_SHARED_GATE,
    WEIGHT_SHARED_UP,
    WEIGHT_SHARED_DOWN,
    WEIGHT_DELTA_QKV,
    WEIGHT_DELTA_QKVZ,
    WEIGHT_DELTA_GATE,
    WEIGHT_DELTA_ALPHA,
    WEIGHT_DELTA_BETA,
    WEIGHT_DELTA_BETA_ALPHA,
    WEIGHT_DELTA_CONV,
    WEIGHT_DELTA_A,
    WEIGHT_DELTA_DT_BIAS,
    WEIGHT_DELTA_NORM,
    WEIGHT_DELTA_OUT,
    WEIGHT_ROUTER_NORM,         /* of the router's input */
    WEIGHT_EXPERTS_SCALES,      /* one for each */
    WEIGHT_EXPERTS_GATE_UP,     /* both in one: of each expert the gate's rows, then the other's */
    WEIGHT_EXPERTS_NORM,        /* of the experts' input */
    WEIGHT_EXPERTS_POST_NORM,   /* of their output */
    WEIGHT_DENSE_POST_NORM,     /* of the dense part's output, where there are experts beside it */
    WEIGHT_LAYER_SCALE,         /* of what a layer leaves in the stream */
    WEIGHT_PER_LAYER_EMBD,      /* what a token tells all layers, */
    WEIGHT_PER_LAYER_PROJ,      /* and its embedding does, */
    WEIGHT_PER_LAYER_NORM,      /* normed */
    WEIGHT_PER_LAYER_GATE,      /* of one layer: how its stream takes that, */
    WEIGHT_PER_LAYER_DOWN,      /* what comes of it, */
    WEIGHT_PER_LAYER_POST_NORM, /* normed */
    WEIGHT_COUNT,
};

enum {
    WEIGHT_OPTIONAL = 1 << 0,
    WEIGHT_VECTOR = 1 << 1, /* one row of f32 (norms, biases, factors) */
};

struct arch_weight {
    enum weight role;
    const char *pattern; /* tensor name; one %u stands for the layer */
    enum dim cols, rows; /* GGUF shape [cols, rows]; rows DIM_ONE for vectors */
    unsigned flags;
    enum weight fallback; /* role to use when an optional tensor is absent (tied embeddings) */
    enum dim planes;      /* GGUF shape [cols, rows, planes]; DIM_ONE but for experts */
    unsigned kinds;       /* of layers that have it, 1 << index of kinds; 0: all */
    /* Where the tensor holds several weights, rows below each other (of vectors: elements behind
     * each other): it has `of` rows, and this one's begin at `first`. of DIM_ONE: it is this one's
     * alone. */
    enum dim of, first;
};

/* What flows between steps; each value is f32[rows][width], width and rows as graph.c tabulates. */
enum value {
    VALUE_NONE,
    VALUE_X,      /* residual stream */
    VALUE_NORMED, /* input of a sub-layer */
    VALUE_BRANCH, /* its output, where that is normed before it is added */
    VALUE_Q,
    VALUE_K,
    VALUE_V,
    VALUE_ATT, /* attention's output, heads concatenated */
    VALUE_GATE,
    VALUE_UP,
    VALUE_Q_LOW,    /* the queries' latent */
    VALUE_Q_HEADS,  /* queries before they meet the latents */
    VALUE_Q_NOPE,   /* what of them is not rotated */
    VALUE_Q_LATENT, /* that, in the space of the latent of keys */
    VALUE_KV_LOW,   /* the latent of keys and values, then the rotated part of the key */
    VALUE_ATT_MLA,  /* attention's output, out of the latent space */
    VALUE_INDEX_Q,  /* of an indexer */
    VALUE_INDEX_K,
    VALUE_INDEX_WEIGHTS, /* of its heads */
    VALUE_INDEX_SCORES,  /* of as many positions as a session has, */
    VALUE_INDEX_CHOSEN,  /* and a bit for each */
    VALUE_ROUTER,        /* logits of the experts */
    VALUE_CHOICES,       /* struct expert_choice of each slot */
    VALUE_EXPERT_IN,     /* their input, where it is weighed instead of their output */
    VALUE_EXPERT_GATE,   /* of the chosen experts, slot by slot */
    VALUE_EXPERT_UP,
    VALUE_EXPERT_OUT,
    VALUE_SHARED_ROUTER, /* the same of the expert that all tokens share */
    VALUE_SHARED_CHOICE,
    VALUE_SHARED_GATE,
    VALUE_SHARED_UP,
    VALUE_SHARED_OUT,
    VALUE_Q_GATED,    /* queries, each head's followed by its gate */
    VALUE_ATT_GATE,   /* the gates, then the attention that they let through */
    VALUE_DELTA_QKVZ, /* queries, keys, values and gates of each key head */
    VALUE_DELTA_Q,    /* of these all queries, keys, values */
    VALUE_DELTA_K,
    VALUE_DELTA_V,
    VALUE_DELTA_IN,   /* queries, keys and values of a delta rule, before their convolution */
    VALUE_DELTA_QKV,  /* and after it */
    VALUE_DELTA_GATE, /* of its output, then what that lets through */
    VALUE_DELTA_BETA_ALPHA,
    VALUE_DELTA_ALPHA, /* how much it forgets */
    VALUE_DELTA_BETA,  /* how much it learns */
    VALUE_DELTA_OUT,
    VALUE_EXPERT_GATE_UP,  /* of the chosen experts, both of a slot together */
    VALUE_EXPERT_BRANCH,   /* their sum, where that is normed before it is added */
    VALUE_PER_LAYER,       /* what all layers are told of a token besides */
    VALUE_PER_LAYER_TOKEN, /* the token's own part of that */
    VALUE_PER_LAYER_UP,    /* one layer's part */
    VALUE_PER_LAYER_GATE,
    VALUE_LAST, /* rows whose logits are wanted */
    VALUE_LAST_NORMED,
    VALUE_LOGITS,
    VALUE_COUNT,
};

enum step_op {
    STEP_END,
    STEP_EMBED,          /* out = weight[token] * scale */
    STEP_EMBED_POSITION, /* out = weight[position] */
    STEP_EMBED_TYPE,     /* out = weight[0]; left out when its weight is absent */
    STEP_LAYER_NORM,     /* out = layer_norm(in) * weight + bias; scale: the epsilon, if another */
    STEP_NORM,           /* out = rms_norm(in) * weight * scale, in groups as wide as the weight */
    STEP_PLAIN_NORM,     /* out normed in place in groups of part.n, without a weight */
    STEP_HEAD_NORM,      /* out normed in place per head; left out when its weight is absent */
    STEP_MATMUL,         /* out = weight . in (+ bias) */
    STEP_MATMUL_ADD,     /* out += weight . in (+ bias) */
    STEP_ROPE,           /* out rotated in place */
    STEP_ROPE_QUERY,     /* as STEP_ROPE, and the position-dependent temperature */
    STEP_TEMPERATURE,  /* the temperature alone, of which temperature_step positions are one step */
    STEP_ROPE_INDEX,   /* out, of an indexer, rotated in place as ROPE_SPLIT */
    STEP_KV_STORE,     /* in: keys, in2: values */
    STEP_INDEX_STORE,  /* in: an indexer's keys */
    STEP_INDEX_SCORES, /* out = what the indexer's queries in, weighed by in2, see in its keys */
    STEP_INDEX_CHOOSE, /* out = the DIM_INDEXER_TOP positions of the greatest scores in */
    STEP_ATTENTION,    /* to the positions chosen in in2, or NONE: all; weight: the sinks of its
                          heads, if any */
    STEP_GLU,        /* out = silu(in) * in2, or the architecture's other activation; in2 NONE: 1 */
    STEP_GATED,      /* out = sigmoid(in) * in2 */
    STEP_ROUTE,      /* out = choices by the logits in; bias: counts for the choice alone; weight:
                        scales what each expert counts */
    STEP_GATE,       /* out = the choice of the one shared expert, which counts sigmoid(in) */
    STEP_EXPERTS,    /* out = weight[expert] . in (+ bias[expert]) for each of the choices in2 */
    STEP_EXPERT_SUM, /* out += the slots of in, as the choices in2 weigh them */
    STEP_EXPERT_MIX, /* out = the slots of in, likewise */
    STEP_HEADS,      /* out = weight[head] . in of each head */
    STEP_COPY,       /* out = in, parts of their groups */
    STEP_COPY_MORE,  /* the same into an out of which another part is there */
    STEP_SHORT_CONV, /* out = silu(convolution of in over the sequence's last rows) */
    STEP_DELTA_NET,  /* in: q, k, v; in2: alpha; in3: beta; weight: a; bias: that of alpha */
    STEP_ADD,        /* out = (out + in) * weight, which is one number, if any */
    STEP_ADD_TYPE,   /* out += in; left out when its weight is absent */
    STEP_SOFTCAP,    /* out capped in place; left out when REAL_LOGIT_SOFTCAP is 0 */
    STEP_GATHER,     /* out = rows of in whose logits are wanted */
    STEP_COUNT
};

struct arch_step {
    enum step_op op;
    enum value out, in, in2;
    enum weight weight, bias;
    enum value in3;
    struct arch_part {
        enum dim groups; /* of in and out alike */
        enum dim n, in_first, out_first;
    } part; /* of STEP_COPY and STEP_PLAIN_NORM */
    enum real scale;
};

/* Layers of one kind. */
struct arch_kind {
    const struct arch_step *steps; /* ends with STEP_END */
    bool is_windowed;    /* attention sees DIM_WINDOW positions, or with has_chunks those of
                            its chunk of as many */
    bool has_local_rope; /* of base REAL_ROPE_BASE_LOCAL and without scaling */
    bool shares_kv;      /* attention reads what the last layer before, of a kind that is
                            windowed alike but does not share, has stored */
    const struct arch_dim
        *dims;      /* what this kind has otherwise, ends with key NULL; NULL: nothing */
    bool has_state; /* sequences have state of fixed size there, and no keys and values */
};

enum { ARCH_KINDS_MOST = 4 };

/* Which layer is of which kind. */
enum layer_rule {
    LAYERS_ALIKE,    /* all of kinds[0] */
    LAYERS_PERIODIC, /* kinds[0], but each DIM_PERIOD-th of kinds[1] */
    LAYERS_LEADING,  /* DIM_LEADING of kinds[0], then all of kinds[1] */
    LAYERS_LISTED,   /* kinds[0] where list_key's element is true, else kinds[1]; the last
                        DIM_SHARED_KV of kinds[2] and kinds[3] instead */
    LAYERS_CROSSED,  /* as LAYERS_PERIODIC, and each DIM_EXPERT_PERIOD-th of kinds[2] and kinds[3]
                        instead */
};

/* How a router counts, where the file does not say. */
struct arch_router {
    uint32_t gate; /* GATE_SOFTMAX, ... */
    bool normalises;
};

struct arch {
    const char *name;        /* general.architecture */
    const char *only_key;    /* what of several tables' files only this one's have, and not as 0 */
    const char *only_tensor; /* the same as a tensor */
    bool has_experts;
    const struct arch_dim *dims;             /* ends with key NULL */
    const struct arch_real *reals;           /* ends with key NULL */
    const struct arch_weight *weights;       /* ends with pattern NULL */
    uint32_t rope_style;                     /* ROPE_PAIRED, ROPE_SPLIT */
    const struct arch_step *before, *after;  /* each ends with STEP_END */
    struct arch_kind kinds[ARCH_KINDS_MOST]; /* of layers */
    enum layer_rule rule;
    const char *list_key; /* of LAYERS_LISTED: an array with an element for each layer */
    uint32_t activation;  /* of STEP_GLU: GLU_SILU, ... */
    uint32_t delta_order; /* of a delta rule's value heads: DELTA_GROUPED, ... */
    struct arch_router router;
    bool has_chunks;           /* windows begin at multiples of DIM_WINDOW */
    uint32_t temperature_step; /* of STEP_TEMPERATURE, positions; files do not say it */
    bool turns_all; /* pairs, too, that rope.dimension_sections leaves out: by the first's position
                     */
    bool weighs_inputs;      /* of experts, not their outputs */
    bool scales_embeddings;  /* by the root of their width */
    float attn_scale;        /* of scores; 0: 1 / the root of a head's channels */
    bool turns_if_finetuned; /* nothing is rotated where rope.scaling.finetuned is false */
    bool is_bidirectional;   /* attention sees the whole text, behind each position, too */
    /* Of a model of as many layers scores are scaled by the stream's share of a head instead of the
     * head's own channels; 0: of none. Files do not say it. */
    uint32_t share_scaled_layers;
    /* A model of as many experts has no STEP_PLAIN_NORM; 0: there is none such. Nor this. */
    uint32_t unnormed_experts;
};

/* The n-th table of that name, those with an only_key or only_tensor first; NULL when there are not
 * as many. */
const struct arch *arch_find(const char *name, size_t n);
/* All known, for messages: "llama, mistral3, qwen2, ...". Static string. */
const char *arch_names(void);

#endif
