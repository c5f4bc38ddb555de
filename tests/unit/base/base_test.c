/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/list.h"
#include "base/number.h"
#include "base/strbuf.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void error_sentence_carries_code_and_prefix(void **state)
{
    struct error err = {0};

    assert_int_equal(error_set(&err, EINVAL, "width %d is odd", 3), -EINVAL);
    assert_int_equal(error_prefix(&err, "m.gguf"), -EINVAL);
    assert_string_equal(err.text, "m.gguf: width 3 is odd");
    assert_int_equal(error_set_errno(NULL, -ENOENT, "x"), -ENOENT);
    error_set_errno(&err, ENOENT, "a.txt");
    assert_string_equal(err.text, "a.txt: No such file or directory");
}

static void error_text_longer_than_the_struct_is_cut(void **state)
{
    struct error err;
    char big[2000];

    memset(big, 'a', sizeof(big));
    big[1999] = 0;
    error_set(&err, EIO, "%s", big);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_prefix(&err, "%s", big);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void strbuf_keeps_bytes_and_stops_at_its_limit(void **state)
{
    struct strbuf s;

    strbuf_init(&s, 100);
    for (int i = 0; i < 10; i++)
        strbuf_printf(&s, "%09d,", i);
    assert_int_equal(s.len, 100);
    assert_int_equal(s.failed, false);
    strbuf_add_char(&s, 'x');
    assert_int_equal(s.failed, true);
    assert_int_equal(s.len, 100);
    assert_null(strbuf_steal(&s));
    strbuf_reset(&s);
    strbuf_add(&s, "a\0b", 3);
    strbuf_consume(&s, 1);
    assert_memory_equal(s.data, "\0b\0", 3);
    strbuf_finish(&s);
}

static void strbuf_stolen_empty_is_a_string(void **state)
{
    struct strbuf s;
    char *p;

    strbuf_init(&s, 0);
    p = strbuf_steal(&s);
    assert_string_equal(p, "");
    free(p);
}

static void arena_is_zeroed_aligned_and_limited(void **state)
{
    struct arena a;
    char *p;

    arena_init(&a, 100000);
    p = arena_alloc(&a, 3);
    assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
    for (int i = 0; i < 1000; i++) {
        char *q = arena_alloc(&a, 50);
        assert_non_null(q);
        assert_int_equal(q[0] | q[49], 0);
        memset(q, 0xff, 50);
    }
    assert_non_null(arena_alloc(&a, 20000));
    assert_null(arena_alloc(&a, 50000));
    assert_null(arena_array(&a, (size_t)-1 / 2, 4));
    assert_null(arena_alloc(&a, (size_t)-1));
    assert_string_equal(arena_strndup(&a, "hello", 4), "hell");
    arena_finish(&a);
    assert_non_null(arena_alloc(&a, 90000));
    arena_finish(&a);
}

struct item {
    int n;
    struct list link;
};

static void list_keeps_order_and_forgives_double_removal(void **state)
{
    struct list head;
    struct item items[4] = {{1}, {2}, {3}, {4}};
    int sum = 0;

    list_init(&head);
    assert_null(list_first(&head, struct item, link));
    for (int i = 0; i < 4; i++)
        list_push_back(&head, &items[i].link);
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    list_for_each (it, &head, struct item, link)
        sum = sum * 10 + it->n;
    assert_int_equal(sum, 134);
    list_for_each_safe (it, &head, struct item, link)
        list_remove(&it->link);
    assert_int_equal(list_empty(&head), true);
}

static void utf8_follows_the_unicode_table(void **state)
{
    char out[4];
    uint32_t cp;

    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        int n = utf8_encode(c, out);
        if (c >= 0xd800 && c <= 0xdfff) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(utf8_decode(out, (size_t)n, &cp), n);
        assert_int_equal(cp, c);
        for (int cut = 1; cut < n; cut++) {
            assert_int_equal(utf8_decode(out, (size_t)cut, &cp), 0);
            assert_int_equal(utf8_whole_prefix(out, (size_t)cut), 0);
        }
        assert_int_equal(utf8_whole_prefix(out, (size_t)n), n);
    }
    assert_int_equal(utf8_encode(0x110000, out), 0);
    assert_int_equal(utf8_decode("\xc0\x80", 2, &cp), -1);
    assert_int_equal(utf8_decode("\xed\xa0\x80", 3, &cp), -1);
    assert_int_equal(utf8_decode("\xf4\x90\x80\x80", 4, &cp), -1);
    assert_int_equal(utf8_decode("\xe2\x28", 2, &cp), -1);
    assert_int_equal(utf8_is_valid("a\xe2\x82\xac", 4), true);
    assert_int_equal(utf8_is_valid("a\xe2\x82", 3), false);
    assert_int_equal(utf8_whole_prefix("a\xe2\x82", 3), 1);
    assert_int_equal(utf8_whole_prefix("\xff\xff", 2), 2);
}

static void numbers_are_whole_words_within_their_bounds(void **state)
{
    uint64_t n = 7;

    assert_int_equal(number_parse("12", 10, false, 12, &n), 0);
    assert_int_equal(n, 12);
    assert_int_equal(number_parse("3G", 10, true, UINT64_MAX, &n), 0);
    assert_int_equal(n, 3ull << 30);
    assert_int_equal(number_parse("0660", 8, false, 0777, &n), 0);
    assert_int_equal(n, 0660);
    assert_int_equal(number_parse("13", 10, false, 12, &n), -EINVAL);
    assert_int_equal(number_parse("3G", 10, false, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(number_parse("3Gi", 10, true, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(number_parse("99999999999G", 10, true, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(number_parse("-1", 10, false, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(number_parse("", 10, false, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(n, 0660);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(error_sentence_carries_code_and_prefix),
    cmocka_unit_test(error_text_longer_than_the_struct_is_cut),
    cmocka_unit_test(strbuf_keeps_bytes_and_stops_at_its_limit),
    cmocka_unit_test(strbuf_stolen_empty_is_a_string),
    cmocka_unit_test(arena_is_zeroed_aligned_and_limited),
    cmocka_unit_test(list_keeps_order_and_forgives_double_removal),
    cmocka_unit_test(utf8_follows_the_unicode_table),
    cmocka_unit_test(numbers_are_whole_words_within_their_bounds),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
