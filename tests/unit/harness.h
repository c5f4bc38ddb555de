/* SPDX-License-Identifier: MIT */
/*
 * cmocka behind one small front: TAP output, `-t NAME` runs one test (glob allowed), `-l` lists.
 *
 *     static void strbuf_grows(void **state) { assert_int_equal(got, want); }
 *     static const struct CMUnitTest tests[] = { cmocka_unit_test(strbuf_grows) };
 *     int main(int argc, char **argv) { return TEST_MAIN(argc, argv, tests); }
 *
 * Use the two-argument assertions (assert_int_equal(got, want)); a test that cannot run here calls
 * skip() after print_message() of the reason.
 */
#ifndef HEARTH_TESTS_HARNESS_H
#define HEARTH_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

/* Returns a process exit code. */
int harness_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n_tests);

/* Path of a file of the shared test data ("data/quants/MANIFEST.json"), or NULL when absent. Static
 * buffer. */
const char *harness_shared(const char *relative);
/* Path below the source tree; static buffer. */
const char *harness_source(const char *relative);
/* Whole file, NUL added; malloc'd; NULL when unreadable. */
char *harness_read_file(const char *path, size_t *ret_len);

/* Fails unless the part is in the text. */
void assert_says(const char *text, const char *part);

/* Skips the running test, saying why. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        print_message("# " __VA_ARGS__);                                                           \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

#define TEST_MAIN(argc, argv, tests)                                                               \
    harness_main(argc, argv, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
