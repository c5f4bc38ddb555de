/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "base/strbuf.h"
#include "gguf/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Writing GGUF, field by field. */

static void put_u32(struct strbuf *s, uint32_t v)
{
    strbuf_add(s, &v, 4);
}

static void put_u64(struct strbuf *s, uint64_t v)
{
    strbuf_add(s, &v, 8);
}

static void put_str(struct strbuf *s, const char *text)
{
    put_u64(s, strlen(text));
    strbuf_add_str(s, text);
}

static void put_header(struct strbuf *s, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    strbuf_init(s, 0);
    strbuf_add_str(s, "GGUF");
    put_u32(s, version);
    put_u64(s, n_tensors);
    put_u64(s, n_kv);
}

static void put_key(struct strbuf *s, const char *key, enum gguf_value_type type)
{
    put_str(s, key);
    put_u32(s, type);
}

static void put_kv_u32(struct strbuf *s, const char *key, uint32_t v)
{
    put_key(s, key, GGUF_VALUE_U32);
    put_u32(s, v);
}

static void put_tensor(struct strbuf *s, const char *name, uint64_t d0, uint64_t d1,
                       enum gguf_type type, uint64_t offset)
{
    put_str(s, name);
    put_u32(s, 2);
    put_u64(s, d0);
    put_u64(s, d1);
    put_u32(s, type);
    put_u64(s, offset);
}

static void put_padding(struct strbuf *s, size_t alignment)
{
    while (s->len % alignment)
        strbuf_add_char(s, 0);
}

static void put_zeros(struct strbuf *s, size_t n)
{
    memset(strbuf_reserve(s, n), 0, n);
    s->len += n;
}

static int parse(const struct strbuf *s, struct gguf **ret, struct error *err)
{
    return gguf_parse(s->data, s->len, s->len, ret, err);
}

/* Parses what must be refused with a sentence that holds `needle`. */
static void assert_refused(struct strbuf *s, const char *needle)
{
    struct error err = {0};
    struct gguf *g = NULL;

    assert_int_equal(parse(s, &g, &err), -EINVAL);
    assert_null(g);
    assert_says(err.text, needle);
    assert_int_equal(parse(s, &g, NULL), -EINVAL);
    strbuf_finish(s);
}

static char dir[] = "/tmp/gguf-test-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char *write_file(const char *name, const void *data, size_t len)
{
    const char *path = in_dir(name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* What each refused file of the shared set must say. */
static const struct {
    const char *file, *says;
} sentences[] = {
    {"bad_magic.gguf", "not a GGUF file: it begins with bytes 46 55 47 47"},
    {"bad_version_0.gguf", "version 0"},
    {"bad_version_future.gguf", "version 4"},
    {"bad_n_tensors_huge.gguf", "claims 18446744073709551615 tensors"},
    {"bad_n_tensors_plus1.gguf", "tensor 2 of 2"},
    {"bad_n_kv_plus1.gguf", "metadata"},
    {"bad_key_len_2p40.gguf", "needs 1099511627776 bytes"},
    {"bad_key_not_utf8.gguf", "not printable UTF-8 (byte 0xff"},
    {"bad_kv_type_max.gguf", "value type 4294967295"},
    {"bad_bool_2.gguf", "bool of value 2"},
    {"bad_align_13.gguf", "general.alignment is 13"},
    {"bad_align_type.gguf", "general.alignment is of type str"},
    {"bad_arr_count_huge.gguf", "claims 4611686018427387904 elements"},
    {"bad_arr_type.gguf", "array of value type 99"},
    {"bad_tensor_name_long.gguf", "name of 65 bytes"},
    {"bad_tensor_ndims_huge.gguf", "1000000 dimensions"},
    {"bad_tensor_dims_wrap.gguf", "63 bits"},
    {"bad_tensor_nbytes.gguf", "63 bits"},
    {"bad_tensor_type.gguf", "type 255"},
    {"bad_tensor_row_block.gguf", "rows of 33 elements, but Q4_0"},
    {"bad_tensor_offset_past_end.gguf", "the file ends at 384"},
    {"bad_tensor_duplicate.gguf", "tensor t stands there twice"},
    {"bad_data_truncated.gguf", "tensor t0 needs 256 bytes at offset 128 but the file ends at 383"},
    {"trunc_000.gguf", "is empty"},
    {"trunc_003.gguf", "ends at 3"},
    {"trunc_007.gguf", "ends at 7"},
    {"trunc_015.gguf", "ends at 15"},
    {"trunc_023.gguf", "its 23 bytes"},
    {"trunc_031.gguf", "31"},
    {"trunc_051.gguf", "51"},
    {"trunc_063.gguf", "ends at 63"},
    {"trunc_080.gguf", "ends at 80"},
};

static void check_verdict(const char *file, bool is_accepted)
{
    char relative[300];
    struct error err = {0};
    struct gguf *g = NULL;
    const char *path, *says = "";
    size_t len;
    char *data;
    int r;

    snprintf(relative, sizeof(relative), "data/malformed-gguf/%s", file);
    path = harness_shared(relative);
    assert_non_null(path);
    r = gguf_open(path, &g, &err);
    if (is_accepted != (r == 0))
        fail_msg("%s: %s", file, r ? err.text : "accepted");
    gguf_close(g);
    g = NULL;
    data = harness_read_file(path, &len);
    assert_int_equal(gguf_parse(data, len, len, &g, NULL), r);
    gguf_close(g);
    free(data);
    for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++)
        if (!strcmp(sentences[i].file, file))
            says = sentences[i].says;
    assert_int_equal(is_accepted, !*says);
    if (!is_accepted && (!strstr(err.text, says) || !strstr(err.text, file)))
        fail_msg("%s: \"%s\" does not say \"%s\"", file, err.text, says);
}

static void gguf_gives_the_expected_verdict_and_names_the_fault(void **state)
{
    size_t len, n = 0;
    char *table = harness_read_file(harness_shared("data/malformed-gguf/EXPECT.tsv"), &len);
    char *line, *rest = table;

    if (!table)
        SKIP("no shared data");
    strsep(&rest, "\n");
    while ((line = strsep(&rest, "\n")) && *line) {
        char *file = strsep(&line, "\t");
        strsep(&line, "\t");
        check_verdict(file, !strcmp(strsep(&line, "\t"), "accept"));
        n++;
    }
    assert_int_equal(n, 35);
    free(table);
}

static void put_every_type(struct strbuf *s)
{
    put_header(s, 3, 0, 14);
    put_key(s, "u8", GGUF_VALUE_U8);
    strbuf_add_char(s, (char)200);
    put_key(s, "i8", GGUF_VALUE_I8);
    strbuf_add_char(s, (char)-100);
    put_key(s, "u16", GGUF_VALUE_U16);
    strbuf_add(s, "\xff\xff", 2);
    put_key(s, "i16", GGUF_VALUE_I16);
    strbuf_add(s, "\xfe\xff", 2);
    put_kv_u32(s, "u32", 0xfffffffe);
    put_key(s, "i32", GGUF_VALUE_I32);
    put_u32(s, (uint32_t)-5);
    put_key(s, "f32", GGUF_VALUE_F32);
    strbuf_add(s, &(float){0.5f}, 4);
    put_key(s, "bool", GGUF_VALUE_BOOL);
    strbuf_add_char(s, 1);
    put_key(s, "str", GGUF_VALUE_STR);
    put_str(s, "fire");
    put_key(s, "u64", GGUF_VALUE_U64);
    put_u64(s, UINT64_MAX);
    put_key(s, "i64", GGUF_VALUE_I64);
    put_u64(s, (uint64_t)-7);
    put_key(s, "f64", GGUF_VALUE_F64);
    strbuf_add(s, &(double){0.25}, 8);
    put_key(s, "words", GGUF_VALUE_ARRAY);
    put_u32(s, GGUF_VALUE_STR);
    put_u64(s, 3);
    put_str(s, "a");
    put_str(s, "");
    put_str(s, "ccc");
    put_key(s, "nested", GGUF_VALUE_ARRAY);
    put_u32(s, GGUF_VALUE_ARRAY);
    put_u64(s, 2);
    put_u32(s, GGUF_VALUE_I16);
    put_u64(s, 2);
    strbuf_add(s, "\xff\xff\x07\x00", 4);
    put_u32(s, GGUF_VALUE_F32);
    put_u64(s, 0);
}

static void gguf_reads_every_value_type(void **state)
{
    struct error err = {0};
    const struct gguf_array *a;
    struct gguf_str str;
    struct strbuf s;
    struct gguf *g;
    uint64_t u64;
    uint32_t u32;
    int32_t i32;
    float f32;
    bool b;

    put_every_type(&s);
    assert_int_equal(parse(&s, &g, &err), 0);
    assert_int_equal(gguf_n_kv(g), 14);
    assert_string_equal(gguf_kv(g, 13)->key, "nested");
    assert_null(gguf_kv(g, 14));
    assert_int_equal(gguf_get_u32(g, "u8", &u32, &err) || u32 != 200, 0);
    assert_int_equal(gguf_get_u32(g, "u16", &u32, &err) || u32 != 65535, 0);
    assert_int_equal(gguf_get_u32(g, "u32", &u32, &err) || u32 != 0xfffffffe, 0);
    assert_int_equal(gguf_get_u64(g, "u64", &u64, &err) || u64 != UINT64_MAX, 0);
    assert_int_equal(gguf_get_i32(g, "i8", &i32, &err) || i32 != -100, 0);
    assert_int_equal(gguf_get_i32(g, "i16", &i32, &err) || i32 != -2, 0);
    assert_int_equal(gguf_get_i32(g, "i32", &i32, &err) || i32 != -5, 0);
    assert_int_equal(gguf_get_i32(g, "i64", &i32, &err) || i32 != -7, 0);
    assert_int_equal(gguf_get_f32(g, "f32", &f32, &err) || f32 != 0.5f, 0);
    assert_int_equal(gguf_get_f32(g, "f64", &f32, &err) || f32 != 0.25f, 0);
    assert_int_equal(gguf_get_bool(g, "bool", &b, &err) || !b, 0);
    assert_int_equal(gguf_get_str(g, "str", &str, &err), 0);
    assert_string_equal(str.data, "fire");
    assert_int_equal(gguf_get_array(g, "words", GGUF_VALUE_STR, &a, &err), 0);
    assert_int_equal(a->n, 3);
    assert_int_equal(a->strs[1].len, 0);
    assert_memory_equal(a->strs[2].data, "ccc", 3);
    assert_int_equal(gguf_get_array(g, "nested", GGUF_VALUE_ARRAY, &a, &err), 0);
    assert_int_equal(a->arrays[0].n, 2);
    assert_int_equal(((const int16_t *)a->arrays[0].data)[0], -1);
    assert_int_equal(gguf_array_get_u32(&a->arrays[0], 0, &u32), false);
    assert_int_equal(gguf_array_get_u32(&a->arrays[0], 1, &u32) && u32 == 7, true);
    assert_int_equal(gguf_array_get_u32(&a->arrays[0], 2, &u32), false);
    assert_int_equal(a->arrays[1].n, 0);
    gguf_close(g);
    strbuf_finish(&s);
}

static void gguf_refuses_values_that_do_not_fit_and_names_the_key(void **state)
{
    const struct gguf_array *a = NULL;
    struct error err = {0};
    struct gguf_str str;
    struct strbuf s;
    struct gguf *g;
    uint64_t u64 = 1;
    uint32_t u32 = 1;
    int32_t i32 = 1;
    float f32 = 1;
    bool b = false;

    put_every_type(&s);
    assert_int_equal(parse(&s, &g, &err), 0);
    assert_int_equal(gguf_get_u32(g, "nothing", &u32, &err), -ENOENT);
    assert_string_equal(err.text, "metadata key nothing is missing");
    assert_int_equal(gguf_get_u32(g, "u64", &u32, &err), -EINVAL);
    assert_string_equal(err.text, "metadata key u64 is 18446744073709551615, too large for u32");
    assert_int_equal(gguf_get_u64(g, "i64", &u64, &err), -EINVAL);
    assert_string_equal(err.text, "metadata key i64 is -7, it must not be negative");
    assert_int_equal(gguf_get_u32(g, "str", &u32, &err), -EINVAL);
    assert_string_equal(err.text, "metadata key str is of type str, it must be u32");
    assert_int_equal(gguf_get_i32(g, "u32", &i32, &err), -EINVAL);
    assert_int_equal(gguf_get_f32(g, "u32", &f32, &err), -EINVAL);
    assert_int_equal(gguf_get_bool(g, "u8", &b, &err), -EINVAL);
    assert_int_equal(gguf_get_str(g, "words", &str, &err), -EINVAL);
    assert_int_equal(gguf_get_array(g, "words", GGUF_VALUE_U32, &a, &err), -EINVAL);
    assert_string_equal(err.text, "metadata key words is an array of str, it must be one of u32");
    assert_int_equal(u32 == 1 && u64 == 1 && i32 == 1 && f32 == 1 && !b && !a, true);
    gguf_close(g);
    strbuf_finish(&s);
}

/* Two tensors of 64 and 36 bytes at alignment 64. */
static void put_two_tensors(struct strbuf *s, uint32_t version)
{
    put_header(s, version, 2, 1);
    put_kv_u32(s, "general.alignment", 64);
    put_tensor(s, "b", 8, 2, GGUF_TYPE_F32, 0);
    put_tensor(s, "a", 32, 2, GGUF_TYPE_Q4_0, 64);
    put_padding(s, 64);
    put_zeros(s, 64 + 36);
}

static void gguf_places_tensors_by_the_files_alignment(void **state)
{
    for (uint32_t version = 2; version <= 3; version++) {
        const struct gguf_tensor *t;
        struct strbuf s;
        struct gguf *g;

        put_two_tensors(&s, version);
        assert_int_equal(parse(&s, &g, NULL), 0);
        assert_int_equal(gguf_file(g, 0)->version, version);
        assert_int_equal(gguf_file(g, 0)->alignment, 64);
        assert_int_equal(gguf_file(g, 0)->data_offset, s.len - 100);
        assert_memory_equal(gguf_file(g, 0)->header, s.data, gguf_file(g, 0)->header_bytes);
        assert_int_equal(gguf_n_files(g), 1);
        assert_null(gguf_file(g, 1));
        assert_int_equal(gguf_n_tensors(g), 2);
        assert_string_equal(gguf_tensor(g, 0)->name, "b");
        assert_null(gguf_tensor(g, 2));
        assert_null(gguf_find_tensor(g, "c"));
        t = gguf_find_tensor(g, "a");
        assert_int_equal(t->offset, s.len - 36);
        assert_int_equal(t->bytes, 36);
        assert_int_equal(t->elements, 64);
        assert_int_equal(t->shape[0] == 32 && t->shape[1] == 2 && t->shape[2] == 1, true);
        gguf_close(g);
        strbuf_finish(&s);
    }
}

static void gguf_refuses_every_shorter_file(void **state)
{
    struct error err;
    struct strbuf s;
    struct gguf *g;

    put_two_tensors(&s, 3);
    for (size_t len = 0; len < s.len; len++) {
        assert_int_equal(gguf_parse(s.data, len, len, &g, &err), -EINVAL);
        assert_int_equal(gguf_open(write_file("cut.gguf", s.data, len), &g, &err), -EINVAL);
    }
    /* the header alone will do when the file is known to be longer, half a header will not */
    assert_int_equal(gguf_parse(s.data, s.len - 100, s.len, &g, &err), 0);
    gguf_close(g);
    assert_int_equal(gguf_parse(s.data, 60, s.len, &g, &err), -EINVAL);
    assert_string_equal(err.text, "the header goes on past the 60 bytes given");
    strbuf_finish(&s);
}

static void gguf_refuses_overlap_misalignment_and_wrapping_offsets(void **state)
{
    struct strbuf s;

    put_header(&s, 3, 2, 0);
    put_tensor(&s, "first", 8, 2, GGUF_TYPE_F32, 0);
    put_tensor(&s, "second", 8, 2, GGUF_TYPE_F32, 32);
    put_padding(&s, 32);
    put_zeros(&s, 128);
    assert_refused(&s, "tensors first and second overlap");

    put_header(&s, 3, 1, 0);
    put_tensor(&s, "t", 8, 2, GGUF_TYPE_F32, 4);
    put_padding(&s, 32);
    put_zeros(&s, 128);
    assert_refused(&s, "tensor t lies at data offset 4, which the alignment of 32");

    put_header(&s, 3, 1, 0);
    put_tensor(&s, "t", 8, 2, GGUF_TYPE_F32, UINT64_MAX - 31);
    put_padding(&s, 32);
    put_zeros(&s, 128);
    assert_refused(&s, "more than 64 bits can count");
}

static void gguf_names_what_it_cannot_read(void **state)
{
    struct strbuf s;

    put_header(&s, 0x03000000, 0, 0);
    assert_refused(&s, "big-endian");
    put_header(&s, 1, 0, 0);
    assert_refused(&s, "version 1");
    strbuf_init(&s, 0);
    strbuf_add_str(&s, "version https://git-lfs.github.com/spec/v1\n");
    assert_refused(&s, "Git LFS pointer");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "old", 32, 1, (enum gguf_type)31, 0);
    assert_refused(&s, "tensor old has type Q4_0_4_4, which was withdrawn");
    put_header(&s, 3, 1, 0);
    put_tensor(&s, "none", 32, 0, GGUF_TYPE_F32, 0);
    assert_refused(&s, "tensor none has no elements");
    put_header(&s, 3, 0, 2);
    put_kv_u32(&s, "again", 1);
    put_kv_u32(&s, "again", 1);
    assert_refused(&s, "metadata key again stands there twice");
    put_header(&s, 3, 0, 1);
    put_kv_u32(&s, "esc\x1b[31m", 1);
    assert_refused(&s, "not printable UTF-8 (byte 0x1b");
    put_header(&s, 3, 0, 1);
    put_kv_u32(&s, "", 1);
    assert_refused(&s, "empty name");
    put_header(&s, 3, 1, 0);
    put_zeros(&s, 50);
    assert_refused(&s, "empty name");
}

static void gguf_refuses_arrays_nested_too_deep(void **state)
{
    struct strbuf s;

    put_header(&s, 3, 0, 1);
    put_key(&s, "deep", GGUF_VALUE_ARRAY);
    for (int i = 0; i < 10000; i++) {
        put_u32(&s, GGUF_VALUE_ARRAY);
        put_u64(&s, 1);
    }
    assert_refused(&s, "nests arrays deeper than 4");
}

static void gguf_names_files_that_are_no_models(void **state)
{
    struct error err = {0};
    struct gguf *g = NULL;

    assert_int_equal(gguf_open(in_dir("absent.gguf"), &g, &err), -ENOENT);
    assert_non_null(strstr(err.text, "absent.gguf: No such file"));
    assert_int_equal(gguf_open(dir, &g, &err), -EISDIR);
    assert_non_null(strstr(err.text, "is a directory"));
    assert_int_equal(mkfifo(in_dir("fifo.gguf"), 0600), 0);
    assert_int_equal(gguf_open(in_dir("fifo.gguf"), &g, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(gguf_open("/dev/null", &g, &err), -EINVAL);
    assert_null(g);
    if (geteuid() == 0)
        return;
    assert_int_equal(chmod(write_file("locked.gguf", "GGUF", 4), 0), 0);
    assert_int_equal(gguf_open(in_dir("locked.gguf"), &g, &err), -EACCES);
}

/* A terabyte file that is a hole costs neither its size nor the claim in its header. */
static void gguf_spends_little_on_a_crafted_sparse_file(void **state)
{
    struct error err = {0};
    struct gguf *g = NULL;
    struct rusage before, after;
    struct strbuf s;
    const char *path;

    put_header(&s, 3, 0, 1);
    put_key(&s, "bomb", GGUF_VALUE_ARRAY);
    put_u32(&s, GGUF_VALUE_STR);
    put_u64(&s, (uint64_t)1 << 36);
    path = write_file("sparse.gguf", s.data, s.len);
    strbuf_finish(&s);
    if (truncate(path, (off_t)1 << 40) < 0)
        SKIP("no sparse files here");
    getrusage(RUSAGE_SELF, &before);
    assert_int_equal(gguf_open(path, &g, &err), -EINVAL);
    getrusage(RUSAGE_SELF, &after);
    assert_non_null(strstr(err.text, "claims 68719476736 elements"));
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, 16384);
    unlink(path);
}

/* Writes part `no` of a split of `count`; returns its path. */
static const char *write_part(const char *name, uint16_t no, uint16_t count, int32_t n_tensors,
                              const char *tensor)
{
    struct strbuf s;
    const char *path;

    put_header(&s, 3, 1, no == 0 ? 4 : 3);
    put_key(&s, "split.no", GGUF_VALUE_U16);
    strbuf_add(&s, &no, 2);
    put_key(&s, "split.count", GGUF_VALUE_U16);
    strbuf_add(&s, &count, 2);
    put_key(&s, "split.tensors.count", GGUF_VALUE_I32);
    strbuf_add(&s, &n_tensors, 4);
    if (no == 0)
        put_kv_u32(&s, "only.in.first", 42);
    put_tensor(&s, tensor, 32, 1, GGUF_TYPE_F32, 0);
    put_padding(&s, 32);
    put_zeros(&s, 128);
    path = write_file(name, s.data, s.len);
    strbuf_finish(&s);
    return path;
}

static void assert_open_fails(const char *path, int code, const char *needle)
{
    struct error err = {0};
    struct gguf *g = NULL;

    assert_int_equal(gguf_open(path, &g, &err), code);
    assert_says(err.text, needle);
}

static void gguf_joins_the_files_of_a_split_model(void **state)
{
    struct error err = {0};
    struct gguf *g;
    uint32_t v;

    write_part("m-00001-of-00003.gguf", 0, 3, 3, "x");
    write_part("m-00002-of-00003.gguf", 1, 3, 3, "y");
    assert_open_fails(in_dir("m-00002-of-00003.gguf"), -ENOENT,
                      "m-00003-of-00003.gguf: is missing");
    write_part("m-00003-of-00003.gguf", 2, 3, 3, "z");
    for (int part = 1; part <= 3; part++) {
        char name[64];
        snprintf(name, sizeof(name), "m-%05d-of-00003.gguf", part);
        assert_int_equal(gguf_open(in_dir(name), &g, &err), 0);
        assert_int_equal(gguf_n_files(g), 3);
        assert_int_equal(gguf_n_tensors(g), 3);
        assert_string_equal(gguf_tensor(g, 2)->name, "z");
        assert_int_equal(gguf_find_tensor(g, "y")->file, 1);
        assert_int_equal(gguf_get_u32(g, "only.in.first", &v, &err), 0);
        assert_non_null(strstr(gguf_file(g, 2)->path, "m-00003-of-00003.gguf"));
        assert_int_equal(fcntl(gguf_file(g, 2)->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        gguf_close(g);
    }
}

static void gguf_refuses_a_split_model_that_does_not_fit_together(void **state)
{
    write_part("n-00001-of-00002.gguf", 0, 2, 2, "x");
    write_part("n-00002-of-00002.gguf", 1, 2, 2, "x");
    assert_open_fails(in_dir("n-00001-of-00002.gguf"), -EINVAL, "tensor x stands there twice");
    write_part("n-00002-of-00002.gguf", 1, 3, 2, "y");
    assert_open_fails(in_dir("n-00001-of-00002.gguf"), -EINVAL, "is not part 2 of 2");
    write_part("n-00002-of-00002.gguf", 1, 2, 2, "y");
    write_part("n-00001-of-00002.gguf", 0, 2, 5, "x");
    assert_open_fails(in_dir("n-00001-of-00002.gguf"), -EINVAL, "says the model has 5 tensors");
    write_part("renamed.gguf", 0, 2, 2, "x");
    assert_open_fails(in_dir("renamed.gguf"), -EINVAL, "does not end in -00001-of-00002.gguf");
    write_part("n-00007-of-00002.gguf", 6, 2, 2, "x");
    assert_open_fails(in_dir("n-00007-of-00002.gguf"), -EINVAL, "does not end in");
}

static void gguf_reads_real_vocabularies_and_weights(void **state)
{
    struct error err = {0};
    const struct gguf_array *a;
    const char *path = harness_shared("data/tokenizers/ggml-vocab-llama-bpe.gguf");
    struct gguf_str str;
    struct gguf *g;

    if (!path)
        SKIP("no shared data");
    assert_int_equal(gguf_open(path, &g, &err), 0);
    assert_int_equal(gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_VALUE_STR, &a, &err), 0);
    assert_int_equal(a->n, 128256);
    assert_memory_equal(a->strs[9906].data, "Hello", 5);
    gguf_close(g);

    path = harness_shared("data/weights/stories260K/stories260K-Q8_0.gguf");
    if (!path)
        path = harness_shared("data/weights/stories260K-Q8_0.gguf");
    assert_non_null(path);
    assert_int_equal(gguf_open(path, &g, &err), 0);
    assert_int_equal(gguf_get_str(g, "general.architecture", &str, &err), 0);
    assert_string_equal(str.data, "llama");
    assert_non_null(gguf_find_tensor(g, "token_embd.weight"));
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        assert_ptr_equal(gguf_find_tensor(g, gguf_tensor(g, i)->name), gguf_tensor(g, i));
    for (size_t i = 0; i < gguf_n_kv(g); i++)
        assert_ptr_equal(gguf_find(g, gguf_kv(g, i)->key), gguf_kv(g, i));
    gguf_close(g);
}

static void gguf_type_table_equals_the_quants_manifest(void **state)
{
    char *text = harness_read_file(harness_shared("data/quants/MANIFEST.json"), NULL);
    char *at = text, name[32];
    unsigned id, elements, bytes, n = 0;

    if (!text)
        SKIP("no shared data");
    while ((at = strstr(at, "\"type\":"))) {
        assert_int_equal(
            sscanf(at,
                   "\"type\": \"%31[^\"]\", \"ggml_type_id\": %u, \"block_elems\": %u, "
                   "\"block_bytes\": %u",
                   name, &id, &elements, &bytes),
            4);
        assert_string_equal(gguf_type_name(id), name);
        assert_int_equal(gguf_type_get_info(id)->block_elements, elements);
        assert_int_equal(gguf_type_get_info(id)->block_bytes, bytes);
        at++;
        n++;
    }
    assert_int_equal(n, 24);
    free(text);
    assert_int_equal(gguf_type_row_bytes(GGUF_TYPE_Q4_K, 512), 288);
    assert_int_equal(gguf_type_row_bytes(GGUF_TYPE_Q4_K, 511), 0);
    assert_int_equal(gguf_type_row_bytes(GGUF_TYPE_F64, UINT64_MAX), 0);
    assert_int_equal(gguf_type_row_bytes(4, 32), 0);
    assert_string_equal(gguf_type_name(4), "unknown");
    assert_null(gguf_type_get_info(4000000000u));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gguf_gives_the_expected_verdict_and_names_the_fault),
    cmocka_unit_test(gguf_reads_every_value_type),
    cmocka_unit_test(gguf_refuses_values_that_do_not_fit_and_names_the_key),
    cmocka_unit_test(gguf_places_tensors_by_the_files_alignment),
    cmocka_unit_test(gguf_refuses_every_shorter_file),
    cmocka_unit_test(gguf_refuses_overlap_misalignment_and_wrapping_offsets),
    cmocka_unit_test(gguf_names_what_it_cannot_read),
    cmocka_unit_test(gguf_refuses_arrays_nested_too_deep),
    cmocka_unit_test(gguf_names_files_that_are_no_models),
    cmocka_unit_test(gguf_spends_little_on_a_crafted_sparse_file),
    cmocka_unit_test(gguf_joins_the_files_of_a_split_model),
    cmocka_unit_test(gguf_refuses_a_split_model_that_does_not_fit_together),
    cmocka_unit_test(gguf_reads_real_vocabularies_and_weights),
    cmocka_unit_test(gguf_type_table_equals_the_quants_manifest),
};

static void remove_dir(void)
{
    static const char *const names[] = {
        "cut.gguf",
        "fifo.gguf",
        "locked.gguf",
        "m-00001-of-00003.gguf",
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf",
        "n-00001-of-00002.gguf",
        "n-00002-of-00002.gguf",
        "n-00007-of-00002.gguf",
        "renamed.gguf",
        "sparse.gguf",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(in_dir(names[i]));
    rmdir(dir);
}

int main(int argc, char **argv)
{
    if (!mkdtemp(dir))
        return 1;
    atexit(remove_dir);
    return TEST_MAIN(argc, argv, tests);
}
