/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "pool/pool_choice.h"

#include <errno.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)

/* A machine that offers everything. */
static struct pool_offer rich(void)
{
    return (struct pool_offer){.udmabuf_limit_bytes = 4094 * MIB, .has_large_memfds = true};
}

static struct pool_offer without_module(void)
{
    struct pool_offer offer = rich();

    error_set(&offer.kmod, ENOENT, "load the module");
    return offer;
}

static const struct pool_wishes cpu = {.maps_files = true, .is_kept = true};
static const struct pool_wishes gpu = {.maps_dmabufs = true, .is_kept = true};
static const struct pool_wishes old_gpu = {0}; /* maps anonymous memory alone */
static const struct pool_wishes discrete = {.copies = true};

static struct pool_choice choose(const struct pool_offer *offer, const struct pool_wishes *wishes)
{
    struct pool_choice choice;

    pool_choose(offer, wishes, &choice);
    assert_true(choice.text[0]);
    return choice;
}

static void module_is_taken_where_the_device_can_use_it(void **state)
{
    struct pool_offer offer = rich();

    assert_int_equal(choose(&offer, &cpu).kind, POOL_KIND_KMOD);
    assert_int_equal(choose(&offer, &gpu).kind, POOL_KIND_KMOD);
    assert_int_equal(choose(&offer, &discrete).kind, POOL_KIND_KMOD);
    assert_string_equal(choose(&offer, &gpu).advice, "");
    assert_int_equal(choose(&offer, &old_gpu).kind, POOL_KIND_ANON);
    assert_non_null(strstr(choose(&offer, &old_gpu).advice, "maps neither its dma-bufs nor"));
}

static void without_the_module_advice_is_how_to_get_it(void **state)
{
    struct pool_offer offer = without_module();

    assert_int_equal(strncmp(choose(&offer, &cpu).advice, "load the module", 15), 0);
    assert_int_equal(strncmp(choose(&offer, &gpu).advice, "load the module", 15), 0);
    assert_int_equal(strncmp(choose(&offer, &old_gpu).advice, "load the module", 15), 0);
}

static void memfds_go_through_udmabuf_only_whole_and_in_large_pages(void **state)
{
    struct pool_offer offer = without_module();
    struct pool_wishes hugetlb = gpu;
    struct pool_choice choice = choose(&offer, &gpu);

    hugetlb.use_hugetlb = true;
    assert_int_equal(choice.kind, POOL_KIND_MEMFD);
    assert_int_equal(choice.is_exported, true);

    offer.udmabuf_limit_bytes = 64 * MIB;
    choice = choose(&offer, &gpu);
    assert_int_equal(choice.kind, POOL_KIND_ANON);
    assert_non_null(strstr(choice.advice, "at most 64 MiB in one piece: set its parameter"));

    offer = without_module();
    offer.has_large_memfds = false;
    choice = choose(&offer, &gpu);
    assert_int_equal(choice.kind, POOL_KIND_ANON);
    assert_non_null(strstr(choice.advice, "shmem_enabled"));
    assert_int_equal(choose(&offer, &hugetlb).kind, POOL_KIND_MEMFD);

    offer = without_module();
    error_set(&offer.udmabuf, EACCES, "no udmabuf");
    choice = choose(&offer, &gpu);
    assert_int_equal(choice.kind, POOL_KIND_ANON);
    assert_non_null(strstr(choice.advice, "no udmabuf"));
}

static void memfds_serve_a_cpu_where_somebody_keeps_them(void **state)
{
    struct pool_offer offer = without_module();
    struct pool_wishes alone = cpu;

    alone.is_kept = false;
    assert_int_equal(choose(&offer, &cpu).kind, POOL_KIND_MEMFD);
    assert_int_equal(choose(&offer, &cpu).is_exported, false);
    assert_int_equal(choose(&offer, &alone).kind, POOL_KIND_ANON);
    offer.has_large_memfds = false; /* small pages are too slow a way to keep weights */
    assert_int_equal(choose(&offer, &cpu).kind, POOL_KIND_ANON);
}

static void what_is_offered_here_can_be_chosen_from(void **state)
{
    struct pool_offer offer;

    pool_offer_get(&offer);
    assert_int_equal(offer.kmod.code != 0, offer.kmod.text[0] != 0);
    assert_int_equal(offer.udmabuf.code != 0, offer.udmabuf.text[0] != 0);
    choose(&offer, &cpu);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(module_is_taken_where_the_device_can_use_it),
    cmocka_unit_test(without_the_module_advice_is_how_to_get_it),
    cmocka_unit_test(memfds_go_through_udmabuf_only_whole_and_in_large_pages),
    cmocka_unit_test(memfds_serve_a_cpu_where_somebody_keeps_them),
    cmocka_unit_test(what_is_offered_here_can_be_chosen_from),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
