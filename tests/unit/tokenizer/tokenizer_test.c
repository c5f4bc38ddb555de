/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"
#include "harness.h"
#include "tiny_vocab.h"
#include "tokenizer/detokenizer.h"
#include "vocab_file.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct tokenizer *create(const struct tokenizer_desc *desc)
{
    struct tokenizer *t = NULL;
    struct error err = {0};

    if (tokenizer_create(desc, &t, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

static struct tokenizer *create_bpe(void)
{
    static struct tiny_vocab v;

    tiny_vocab_bpe(&v);
    return create(&v.desc);
}

static struct tokenizer *create_spm(void)
{
    static struct tiny_vocab v;

    tiny_vocab_spm(&v);
    return create(&v.desc);
}

static struct token_array encode(const struct tokenizer *t, const char *text, size_t len,
                                 unsigned flags)
{
    struct token_array ids = {0};
    struct error err = {0};

    if (tokenizer_encode(t, text, len, flags, &ids, &err) < 0)
        fail_msg("%s", err.text);
    return ids;
}

/* The pieces of a text's tokens, joined by '|'. */
static void assert_pieces(const struct tokenizer *t, const char *text, unsigned flags,
                          const char *want)
{
    struct token_array ids = encode(t, text, strlen(text), flags);
    struct strbuf got;

    strbuf_init(&got, 0);
    strbuf_add_str(&got, "");
    for (size_t i = 0; i < ids.n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, ids.ids[i], &len);

        if (i)
            strbuf_add_char(&got, '|');
        strbuf_add(&got, piece, len);
    }
    strbuf_add_char(&got, 0);
    assert_string_equal(got.data, want);
    strbuf_finish(&got);
    token_array_finish(&ids);
}

static void decode_all(const struct tokenizer *t, const int32_t *ids, size_t n, struct strbuf *out)
{
    struct detokenizer d;

    detokenizer_init(&d, t, -1, true);
    for (size_t i = 0; i < n; i++)
        detokenizer_add(&d, ids[i], out);
    detokenizer_flush(&d, out);
    assert_false(out->failed);
}

static void assert_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_array ids = encode(t, text, len, 0);
    struct strbuf out;

    strbuf_init(&out, 0);
    decode_all(t, ids.ids, ids.n, &out);
    assert_int_equal(out.len, len);
    if (len)
        assert_memory_equal(out.data, text, len);
    strbuf_finish(&out);
    token_array_finish(&ids);
}

/* ---- ids ---- */

static void bpe_joins_by_rank(void **state)
{
    struct tokenizer *t = create_bpe();

    assert_pieces(t, "hello world", 0, "hello| w|o|r|l|d");
    assert_pieces(t, "helloll", 0, "hello|ll");
    assert_pieces(t, "aaaaaaa", 0, "aaaa|aa|a");
    assert_pieces(t, "", 0, "");
    tokenizer_destroy(t);
}

static void spm_joins_by_score_behind_a_space(void **state)
{
    struct tokenizer *t = create_spm();

    assert_pieces(t, "hello", 0, " hello");
    assert_pieces(t, "hello hello", 0, " hello| hello");
    assert_pieces(t, "  hello", 0, "  | hello");
    assert_pieces(t, "lllo", 0, " |ll|lo");
    assert_pieces(t, "", TOKENIZE_ADD_SPECIAL, "<s>");
    tokenizer_destroy(t);
}

static void spm_falls_back_to_bytes(void **state)
{
    struct tokenizer *t = create_spm();
    struct token_array ids = encode(t, "\u4f60", 3, 0);

    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.ids[1], 3 + 0xe4);
    assert_int_equal(ids.ids[2], 3 + 0xbd);
    assert_int_equal(ids.ids[3], 3 + 0xa0);
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void spm_without_byte_tokens_gives_unknown(void **state)
{
    static const struct tokenizer_text texts[] = {{"<unk>", 5}, {"a", 1}};
    static const int32_t types[] = {TOKENIZER_TYPE_UNKNOWN, TOKENIZER_TYPE_NORMAL};
    struct tokenizer_desc desc;
    struct token_array ids;
    struct tokenizer *t;

    tokenizer_desc_init(&desc);
    desc.model = "llama";
    desc.n_tokens = 2;
    desc.texts = texts;
    desc.types = types;
    desc.add_space_prefix = 0;
    t = create(&desc);
    ids = encode(t, "a\u4f60", 4, 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[1], 0);
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void special_tokens_count_only_when_asked(void **state)
{
    struct tokenizer *t = create_bpe();

    assert_pieces(t, "a<|im_end|>", 0, "a|<|||i|m|_|e|n|d|||>");
    assert_pieces(t, "a<|im_end|>", TOKENIZE_PARSE_SPECIAL, "a|<|im_end|>");
    assert_pieces(t, "a<tool>b", 0, "a|<tool>|b");
    assert_pieces(t, "<tool><tool><tool>", 0, "<tool><tool>|<tool>");
    assert_pieces(t, "<|im_<|im_end|>", TOKENIZE_PARSE_SPECIAL, "<|||i|m|_|<|im_end|>");
    tokenizer_destroy(t);
}

static void text_never_becomes_a_control_token(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;
    struct token_array ids;

    /* parts whose joining would spell </s>, with better scores than anything else */
    tiny_vocab_spm(&v);
    tiny_vocab_add(&v, "</", TOKENIZER_TYPE_NORMAL, 9);
    tiny_vocab_add(&v, "s>", TOKENIZER_TYPE_NORMAL, 9);
    tiny_vocab_add(&v, "<", TOKENIZER_TYPE_NORMAL, 9);
    tiny_vocab_add(&v, "/", TOKENIZER_TYPE_NORMAL, 9);
    tiny_vocab_add(&v, "s", TOKENIZER_TYPE_NORMAL, 9);
    tiny_vocab_add(&v, ">", TOKENIZER_TYPE_NORMAL, 9);
    t = create(&v.desc);
    ids = encode(t, "</s><0x41>", 10, 0);
    for (size_t i = 0; i < ids.n; i++) {
        assert_int_not_equal(ids.ids[i], v.desc.eos);
        assert_int_not_equal(ids.ids[i], 3 + 0x41);
    }
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void phi3_specials_swallow_white_space(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_spm(&v);
    v.desc.architecture = "phi3";
    t = create(&v.desc);
    assert_pieces(t, "<|user|>\n hello<s> hello", TOKENIZE_PARSE_SPECIAL,
                  "<|user|>| hello|<s>| | hello");
    tokenizer_destroy(t);
}

static void bos_and_eos_follow_the_model(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    t = create(&v.desc);
    assert_pieces(t, "a", TOKENIZE_ADD_SPECIAL, "a");
    assert_false(tokenizer_adds_bos(t));
    tokenizer_destroy(t);
    v.desc.add_bos = 1;
    v.desc.add_eos = 1;
    t = create(&v.desc);
    assert_pieces(t, "a", TOKENIZE_ADD_SPECIAL, "<|im_start|>|a|<|im_end|>");
    assert_pieces(t, "a", 0, "a");
    tokenizer_destroy(t);
    v.desc.pre = "llama-bpe";
    v.desc.add_bos = v.desc.add_eos = -1;
    t = create(&v.desc);
    assert_pieces(t, "a", TOKENIZE_ADD_SPECIAL, "<|im_start|>|a");
    tokenizer_destroy(t);
}

static void whole_words_win_where_the_rule_says(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    tiny_vocab_add(&v, "xyz", TOKENIZER_TYPE_NORMAL, 0); /* no merge makes it */
    t = create(&v.desc);
    assert_pieces(t, "xyz", 0, "x|y|z");
    tokenizer_destroy(t);
    v.desc.pre = "llama-bpe";
    t = create(&v.desc);
    assert_pieces(t, "xyz xyz", 0, "xyz| |x|y|z");
    tokenizer_destroy(t);
}

static void merges_of_unknown_tokens_end_as_bytes(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    tiny_vocab_add_merge(&v, "x y");   /* "xy" is no token */
    tiny_vocab_add_merge(&v, "xy z");  /* nor "xyz" */
    tiny_vocab_add_merge(&v, "xyz q"); /* but this is */
    tiny_vocab_add_merge(&v, "nopair");
    tiny_vocab_add_merge(&v, " ");
    tiny_vocab_add_merge(&v, "");
    tiny_vocab_add(&v, "xyzq", TOKENIZER_TYPE_NORMAL, 0);
    t = create(&v.desc);
    assert_pieces(t, "xyz", 0, "x|y|z");
    assert_pieces(t, "xyzq", 0, "xyzq");
    tokenizer_destroy(t);
}

/* What the pieces should be was seen from llama.cpp with the same vocabulary. */
static void gemma_4_joins_characters_within_lines(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_lines(&v);
    t = create(&v.desc);
    assert_pieces(t, "hello world", 0, "hello| w|o|r|l|d");
    assert_pieces(t, "hello  hello", 0, "hello| | hello");
    assert_pieces(t, "  hello", 0, " | hello");
    assert_pieces(t, " w hello", 0, " w| hello");
    assert_pieces(t, "a\n\n\n\nb", 0, "a|\n\n|\n\n|b");
    assert_pieces(t, "abcabcaaaaaaa", 0, "abc|abc|aaaa|aa|a");
    /* what merges make and no token is, is bytes */
    assert_pieces(t, "xyz qz", 0, "x|y|z| |q|z");
    assert_pieces(t, "\u00e9\u00e8", 0, "\u00e9|\xc3|\xa8");
    assert_pieces(t, "a\u2581w", 0, "a| w");
    assert_pieces(t, "h", TOKENIZE_ADD_SPECIAL, "<bos>|h");
    assert_pieces(t, "<|tool_call>h", TOKENIZE_PARSE_SPECIAL, "<|tool_call>|h");
    tokenizer_destroy(t);
}

static void end_tokens_are_known_by_name(void **state)
{
    static struct tiny_vocab v;
    int32_t eot, end, call, returns;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    eot = tiny_vocab_add(&v, "<|eot_id|>", TOKENIZER_TYPE_NORMAL, 0); /* the file's mistake */
    end = tiny_vocab_add(&v, "<|end|>", TOKENIZER_TYPE_CONTROL, 0);
    t = create(&v.desc);
    assert_true(tokenizer_is_end(t, v.desc.eos));
    assert_true(tokenizer_is_end(t, eot));
    assert_true(tokenizer_is_control(t, eot));
    assert_true(tokenizer_is_end(t, end));
    assert_false(tokenizer_is_end(t, 'a'));
    assert_false(tokenizer_is_end(t, -1));
    assert_false(tokenizer_is_end(t, 100000));
    tokenizer_destroy(t);
    returns = tiny_vocab_add(&v, "<|return|>", TOKENIZER_TYPE_CONTROL, 0);
    call = tiny_vocab_add(&v, "<|call|>", TOKENIZER_TYPE_CONTROL, 0);
    t = create(&v.desc);
    assert_true(tokenizer_is_end(t, returns));
    assert_true(tokenizer_is_end(t, call));
    assert_false(tokenizer_is_end(t, end)); /* in harmony it ends a message only */
    tokenizer_destroy(t);
}

static void markup_is_part_of_an_answer_and_never_made_of_words(void **state)
{
    static struct tiny_vocab v;
    struct detokenizer d;
    struct token_array ids = {0};
    struct strbuf out;
    int32_t call, other;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    call = tiny_vocab_add(&v, "[TOOL_CALLS]", TOKENIZER_TYPE_CONTROL, 0);
    other = tiny_vocab_add(&v, "[OTHER]", TOKENIZER_TYPE_CONTROL, 0);
    t = create(&v.desc);
    strbuf_init(&out, 0);
    detokenizer_init(&d, t, -1, false);
    detokenizer_add(&d, other, &out);
    detokenizer_add(&d, call, &out);
    detokenizer_flush(&d, &out);
    assert_string_equal(out.data, "[TOOL_CALLS]");
    assert_int_equal(tokenizer_encode(t, "[TOOL_CALLS]", 12, 0, &ids, NULL), 0);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_not_equal(ids.ids[i], call);
    token_array_finish(&ids);
    strbuf_finish(&out);
    tokenizer_destroy(t);
}

/* Names of which the first byte is not one that all others begin with, too. */
static void marks_around_calls_are_known_by_name(void **state)
{
    static const char *const names[] = {"<|tool_calls_section_begin|>",
                                        "<|tool_call_argument_begin|>",
                                        "<|tool_call_end|>",
                                        "<｜tool▁calls▁begin｜>",
                                        "<｜tool▁sep｜>",
                                        "｜DSML｜",
                                        "<|tool_call>"};
    static struct tiny_vocab v;
    int32_t first, other;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    other = tiny_vocab_add(&v, "｜OTHER｜", TOKENIZER_TYPE_CONTROL, 0);
    first = (int32_t)v.desc.n_tokens;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        tiny_vocab_add(&v, names[i], TOKENIZER_TYPE_CONTROL, 0);
    t = create(&v.desc);
    assert_false(tokenizer_is_markup(t, other));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(tokenizer_is_markup(t, first + (int32_t)i));
    tokenizer_destroy(t);
}

/* ---- refusals ---- */

static void assert_refused(const struct tokenizer_desc *desc, int code, const char *named)
{
    struct tokenizer *t = NULL;
    struct error err = {0};

    assert_int_equal(tokenizer_create(desc, &t, &err), -code);
    assert_null(t);
    assert_non_null(strstr(err.text, named));
}

static void unknown_kinds_are_refused_by_name(void **state)
{
    static struct tiny_vocab v;

    tiny_vocab_bpe(&v);
    v.desc.pre = "no-such-pre";
    assert_refused(&v.desc, ENOTSUP, "no-such-pre");
    v.desc.pre = "gpt-2 phi-2";
    assert_refused(&v.desc, ENOTSUP, "gpt-2 phi-2");
    v.desc.pre = "";
    assert_refused(&v.desc, ENOTSUP, "\"\"");
    v.desc.model = "rwkv";
    assert_refused(&v.desc, ENOTSUP, "rwkv");
    v.desc.model = NULL;
    assert_refused(&v.desc, EINVAL, "tokenizer");
    v.desc.model = "gpt2";
    v.desc.pre = NULL;
    v.desc.n_tokens = 0;
    assert_refused(&v.desc, EINVAL, "no tokens");
}

static void invalid_utf8_is_an_error_that_names_the_byte(void **state)
{
    struct tokenizer *t = create_bpe();
    struct token_array ids = encode(t, "aa", 2, 0);
    struct error err = {0};

    assert_int_equal(tokenizer_encode(t, "hello world \xff!", 14, 0, &ids, &err), -EILSEQ);
    assert_non_null(strstr(err.text, "byte 12"));
    assert_int_equal(tokenizer_encode(t, "ab\xe2\x82", 4, 0, &ids, &err), -EILSEQ);
    assert_non_null(strstr(err.text, "byte 2"));
    assert_int_equal(ids.n, 1);
    assert_int_equal(tokenizer_encode(t, "\xff", 1, TOKENIZE_ANY_BYTES, &ids, &err), 0);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[1], 0xff);
    assert_int_equal(tokenizer_encode(t, "", (size_t)TOKENIZER_TEXT_LIMIT + 1, 0, &ids, &err),
                     -E2BIG);
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void a_missing_byte_is_an_error_that_names_it(void **state)
{
    static struct tiny_vocab v;
    struct token_array ids = {0};
    struct error err = {0};
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    v.texts['q'] = (struct tokenizer_text){"other", 5};
    t = create(&v.desc);
    assert_int_equal(tokenizer_encode(t, "aq", 2, 0, &ids, &err), -EINVAL);
    assert_non_null(strstr(err.text, "\"q\""));
    assert_int_equal(ids.n, 0);
    tokenizer_destroy(t);
    v.desc.unk = 'u';
    t = create(&v.desc);
    assert_pieces(t, "aq", 0, "a|u");
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void wordpiece_cuts_words_and_says_what_it_lacks(void **state)
{
    static struct tiny_vocab v;
    struct token_array ids = {0};
    struct error err = {0};
    struct tokenizer *t;

    tiny_vocab_spm(&v);
    v.desc.model = "bert";
    v.desc.unk = -1;
    t = create(&v.desc);
    assert_pieces(t, " H\u00e9llo\thello ", 0, " hello| hello");
    assert_pieces(t, "hellohe", 0, " hello|he");
    assert_int_equal(tokenizer_encode(t, "hello q hello", 13, 0, &ids, &err), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_non_null(strstr(err.text, "\"q\""));
    assert_int_equal(ids.n, 0);
    tokenizer_destroy(t);
    v.desc.unk = 0;
    t = create(&v.desc);
    assert_pieces(t, "hello heq hello", 0, " hello|<unk>| hello");
    token_array_finish(&ids);
    tokenizer_destroy(t);
}

static void odd_descriptions_do_no_harm(void **state)
{
    static struct tiny_vocab v;
    struct tokenizer *t;

    tiny_vocab_bpe(&v);
    v.types[0] = -5;
    v.types[1] = 77;
    tiny_vocab_add(&v, "", TOKENIZER_TYPE_CONTROL, 0);
    tiny_vocab_add(&v, "", TOKENIZER_TYPE_NORMAL, 0);
    tiny_vocab_add(&v, "hello", TOKENIZER_TYPE_NORMAL, 0); /* again */
    tiny_vocab_add(&v, "<tool>", TOKENIZER_TYPE_CONTROL, 0);
    tiny_vocab_add(&v, "\xff\xfe", TOKENIZER_TYPE_NORMAL, 0);
    v.desc.bos = INT32_MAX;
    v.desc.eos = 1000;
    v.desc.unk = -7;
    v.desc.add_bos = 1;
    t = create(&v.desc);
    assert_int_equal(tokenizer_special(t, TOKENIZER_BOS), -1);
    assert_int_equal(tokenizer_special(t, TOKENIZER_EOS), -1);
    assert_false(tokenizer_adds_bos(t));
    assert_pieces(t, "hello<tool>", TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL, "hello|<tool>");
    tokenizer_destroy(t);
    for (size_t i = 0; i < v.desc.n_tokens; i++)
        v.texts[i] = (struct tokenizer_text){NULL, 0};
    v.desc.unk = 0;
    t = create(&v.desc);
    assert_pieces(t, "hi", 0, "|");
    tokenizer_destroy(t);
}

/* ---- back to text ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Characters of all sorts; returns the length. */
static size_t random_text(uint32_t *seed, char *out, size_t n_chars)
{
    static const uint32_t limits[] = {0x80, 0x80, 0x80, 0x800, 0x3100, 0x10000, 0x110000};
    size_t len = 0;

    while (n_chars--) {
        uint32_t limit = limits[next_random(seed) % 7];
        static const char *const words[] = {"hello", " ", "<tool>", "aaaa", "'ll", "\r\n"};
        const char *word = words[next_random(seed) % 6];

        if (next_random(seed) % 4) {
            len += (size_t)utf8_encode(next_random(seed) % limit, out + len);
        } else {
            memcpy(out + len, word, strlen(word));
            len += strlen(word);
        }
    }
    return len;
}

static void bpe_round_trips_random_text(void **state)
{
    static const char *const pres[] = {
        "gpt-2",  "default",      "llama-bpe",      "qwen2",       "qwen35", "gpt-4o",    "tekken",
        "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3", "smollm", "seed-coder"};
    static struct tiny_vocab v;
    char text[1024];
    uint32_t seed = 1;

    tiny_vocab_bpe(&v);
    for (size_t p = 0; p < sizeof(pres) / sizeof(pres[0]); p++) {
        struct tokenizer *t;

        v.desc.pre = pres[p];
        t = create(&v.desc);
        for (int i = 0; i < 500; i++)
            assert_round_trip(t, text, random_text(&seed, text, next_random(&seed) % 120));
        tokenizer_destroy(t);
    }
}

static void spm_round_trips_random_text(void **state)
{
    struct tokenizer *t = create_spm();
    char text[1024];
    uint32_t seed = 2;

    for (int i = 0; i < 2000; i++) {
        size_t len = random_text(&seed, text, next_random(&seed) % 120);

        /* U+2581 is the space to SentencePiece */
        if (!memmem(text, len, "\u2581", 3))
            assert_round_trip(t, text, len);
    }
    tokenizer_destroy(t);
}

static void any_bytes_round_trip_as_pieces(void **state)
{
    struct tokenizer *ts[] = {create_bpe(), create_spm()};
    uint32_t seed = 3;
    char text[256];

    for (int i = 0; i < 4000; i++) {
        struct tokenizer *t = ts[i & 1];
        size_t n = next_random(&seed) % 256, at = 0;
        struct token_array ids;

        for (size_t k = 0; k < n; k++)
            text[k] = (char)next_random(&seed);
        ids = encode(t, text, n, TOKENIZE_ANY_BYTES);
        for (size_t k = 0; k < ids.n; k++) {
            size_t len;
            const char *piece = tokenizer_piece(t, ids.ids[k], &len);

            if (k == 0 && (i & 1)) { /* the space put before */
                assert_int_equal(piece[0], ' ');
                piece++;
                len--;
            }
            assert_true(len <= n - at);
            assert_memory_equal(piece, text + at, len);
            at += len;
        }
        assert_int_equal(at, n);
        token_array_finish(&ids);
    }
    tokenizer_destroy(ts[0]);
    tokenizer_destroy(ts[1]);
}

static void streamed_text_is_whole_characters_and_the_same(void **state)
{
    struct tokenizer *t = create_bpe();
    uint32_t seed = 4;

    for (int i = 0; i < 3000; i++) {
        char text[64];
        size_t n = next_random(&seed) % 64;
        struct strbuf streamed, whole;
        struct detokenizer d;

        strbuf_init(&streamed, 0);
        strbuf_init(&whole, 0);
        for (size_t k = 0; k < n; k++) /* mostly bytes that begin or go on with characters */
            text[k] = (char)(next_random(&seed) % 4 ? 0x80 + next_random(&seed) % 0x80
                                                    : next_random(&seed));
        detokenizer_init(&d, t, -1, false);
        for (size_t k = 0; k < n; k++) {
            size_t before = streamed.len;

            detokenizer_add(&d, (unsigned char)text[k], &streamed);
            assert_true(utf8_is_valid(streamed.data + before, streamed.len - before));
        }
        detokenizer_flush(&d, &streamed);
        /* the oracle: one U+FFFD for each longest start of a character, else for each byte */
        for (size_t k = 0; k < n;) {
            uint32_t cp;
            int used = utf8_decode(text + k, n - k, &cp);
            size_t bad = 1;

            if (used > 0) {
                strbuf_add(&whole, text + k, (size_t)used);
                k += (size_t)used;
                continue;
            }
            while (bad < 3 && k + bad < n && utf8_decode(text + k, bad + 1, &cp) == 0)
                bad++;
            if (utf8_decode(text + k, 1, &cp) < 0)
                bad = 1;
            strbuf_add_str(&whole, "\xef\xbf\xbd");
            k += bad;
        }
        assert_int_equal(streamed.len, whole.len);
        if (whole.len)
            assert_memory_equal(streamed.data, whole.data, whole.len);
        strbuf_finish(&streamed);
        strbuf_finish(&whole);
    }
    tokenizer_destroy(t);
}

static void assert_decodes(const struct tokenizer *t, int32_t previous, const char *text,
                           const char *want)
{
    struct token_array ids = encode(t, text, strlen(text), TOKENIZE_PARSE_SPECIAL);
    struct detokenizer d;
    struct strbuf out;

    strbuf_init(&out, 0);
    detokenizer_init(&d, t, previous, false);
    for (size_t i = 0; i < ids.n; i++)
        detokenizer_add(&d, ids.ids[i], &out);
    detokenizer_flush(&d, &out);
    strbuf_add_char(&out, 0);
    assert_string_equal(out.data, want);
    strbuf_finish(&out);
    token_array_finish(&ids);
}

static void the_space_that_encoding_added_comes_off(void **state)
{
    struct tokenizer *t = create_spm();

    assert_decodes(t, -1, "hello hello", "hello hello");
    assert_decodes(t, tokenizer_special(t, TOKENIZER_BOS), "hello", "hello");
    assert_decodes(t, 300, "hello", " hello"); /* goes on behind other text */
    assert_decodes(t, -1, "hello<|user|>hello", "hellohello");
    tokenizer_destroy(t);
    t = create_bpe();
    assert_decodes(t, -1, " hello", " hello");
    tokenizer_destroy(t);
}

/* ---- hard texts ---- */

static void long_words_take_no_quadratic_time(void **state)
{
    struct tokenizer *t = create_bpe();
    size_t len = 4 << 20;
    char *text = malloc(len);
    struct token_array ids;

    assert_non_null(text);
    memset(text, 'a', len);
    ids = encode(t, text, len, 0); /* hours if quadratic */
    assert_int_equal(ids.n, len / 4);
    token_array_finish(&ids);
    memset(text, ' ', len);
    text[len - 1] = 'x';
    ids = encode(t, text, len, 0);
    assert_int_equal(ids.n, len);
    token_array_finish(&ids);
    free(text);
    tokenizer_destroy(t);
}

static void white_space_takes_no_quadratic_time_in_any_pre_tokenizer(void **state)
{
    static const char *const pres[] = {"llama-bpe", "deepseek-llm", "deepseek-v3", "gpt-4o"};
    static struct tiny_vocab v;
    size_t len = 1 << 20;
    char *text = malloc(len);

    assert_non_null(text);
    tiny_vocab_bpe(&v);
    for (size_t p = 0; p < sizeof(pres) / sizeof(pres[0]); p++) {
        struct token_array ids;
        struct tokenizer *t;

        v.desc.pre = pres[p];
        t = create(&v.desc);
        memset(text, ' ', len);
        text[len - 1] = 'x';
        ids = encode(t, text, len, 0);
        assert_int_equal(ids.n, len);
        token_array_finish(&ids);
        for (size_t i = 0; i < len; i++)
            text[i] = i % 2 ? '\n' : ' ';
        ids = encode(t, text, len, 0);
        assert_int_equal(ids.n, len);
        token_array_finish(&ids);
        memset(text, 'A', len);
        ids = encode(t, text, len, 0);
        assert_int_equal(ids.n, len);
        token_array_finish(&ids);
        tokenizer_destroy(t);
    }
    free(text);
}

/* Both ways to merge, and the word cache, must not be seen in the result. */
static void long_texts_equal_their_parts(void **state)
{
    struct tokenizer *t = vocab_file_load("qwen2");
    struct token_array whole = {0}, parts = {0};
    char text[20000];
    size_t len = 0;
    uint32_t seed = 5;

    if (!t)
        SKIP("no vocabulary file for qwen2");
    while (len < sizeof(text) - 100) {
        size_t start = len, n = 1 + next_random(&seed) % 70;
        struct error err = {0};

        /* a word that begins with a space and has letters only is cut from its neighbours */
        text[len++] = ' ';
        while (n--)
            text[len++] = (char)('a' + next_random(&seed) % (n % 3 ? 26 : 3));
        assert_int_equal(tokenizer_encode(t, text + start, len - start, 0, &parts, &err), 0);
    }
    whole = encode(t, text, len, 0);
    assert_int_equal(whole.n, parts.n);
    assert_memory_equal(whole.ids, parts.ids, whole.n * sizeof(int32_t));
    token_array_finish(&whole);
    token_array_finish(&parts);
    tokenizer_destroy(t);
}

static void *encode_often(void *arg)
{
    struct tokenizer *t = arg;

    for (int i = 0; i < 200; i++) {
        struct token_array ids = {0};

        if (tokenizer_encode(t, "hello world, hello", 18, 0, &ids, NULL) < 0 || ids.n != 9)
            return arg;
        token_array_finish(&ids);
    }
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    struct tokenizer *t = create_bpe();
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    tokenizer_destroy(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bpe_joins_by_rank),
    cmocka_unit_test(spm_joins_by_score_behind_a_space),
    cmocka_unit_test(spm_falls_back_to_bytes),
    cmocka_unit_test(spm_without_byte_tokens_gives_unknown),
    cmocka_unit_test(special_tokens_count_only_when_asked),
    cmocka_unit_test(text_never_becomes_a_control_token),
    cmocka_unit_test(phi3_specials_swallow_white_space),
    cmocka_unit_test(bos_and_eos_follow_the_model),
    cmocka_unit_test(whole_words_win_where_the_rule_says),
    cmocka_unit_test(merges_of_unknown_tokens_end_as_bytes),
    cmocka_unit_test(gemma_4_joins_characters_within_lines),
    cmocka_unit_test(end_tokens_are_known_by_name),
    cmocka_unit_test(markup_is_part_of_an_answer_and_never_made_of_words),
    cmocka_unit_test(marks_around_calls_are_known_by_name),
    cmocka_unit_test(unknown_kinds_are_refused_by_name),
    cmocka_unit_test(invalid_utf8_is_an_error_that_names_the_byte),
    cmocka_unit_test(a_missing_byte_is_an_error_that_names_it),
    cmocka_unit_test(wordpiece_cuts_words_and_says_what_it_lacks),
    cmocka_unit_test(odd_descriptions_do_no_harm),
    cmocka_unit_test(bpe_round_trips_random_text),
    cmocka_unit_test(spm_round_trips_random_text),
    cmocka_unit_test(any_bytes_round_trip_as_pieces),
    cmocka_unit_test(streamed_text_is_whole_characters_and_the_same),
    cmocka_unit_test(the_space_that_encoding_added_comes_off),
    cmocka_unit_test(long_words_take_no_quadratic_time),
    cmocka_unit_test(white_space_takes_no_quadratic_time_in_any_pre_tokenizer),
    cmocka_unit_test(long_texts_equal_their_parts),
    cmocka_unit_test(threads_share_a_tokenizer),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
