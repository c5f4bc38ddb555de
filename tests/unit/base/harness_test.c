/* SPDX-License-Identifier: MIT */
/* What the tests' own front makes of cmocka's words. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void a_skipped_test(void **state)
{
    SKIP("it is here to be skipped");
}

static void a_skipped_test_keeps_its_name_and_is_no_failure(void **state)
{
    char self[4000], command[4100], said[1000] = "";
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    FILE *child;
    size_t n;

    self[len > 0 ? len : 0] = 0;
    snprintf(command, sizeof(command), "'%s' -t a_skipped_test 2>&1", self);
    child = popen(command, "r");
    assert_non_null(child);
    n = fread(said, 1, sizeof(said) - 1, child);
    assert_int_equal(pclose(child), 0);
    said[n] = 0;
    assert_non_null(strstr(said, "# it is here to be skipped\n"));
    assert_non_null(strstr(said, "\nok 1 - a_skipped_test # SKIP\n"));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_skipped_test_keeps_its_name_and_is_no_failure),
    };
    static const struct CMUnitTest skipped[] = {
        cmocka_unit_test(a_skipped_test),
    };
    bool is_child = argc == 3 && !strcmp(argv[2], "a_skipped_test");

    return is_child ? TEST_MAIN(argc, argv, skipped) : TEST_MAIN(argc, argv, tests);
}
