/* SPDX-License-Identifier: MIT */
/* The harness, with time enough for an emulated machine, and what every test program needs. */
#ifndef COMMON_TEST_H
#define COMMON_TEST_H

#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 180

#include "common/pool.h"
#include "common/proc.h"

/* A closed fd, a mapped address: what a setup step must have given for the test to mean anything. */
#define ASSERT_FD(fd) ASSERT_GE(fd, 0)
#define ASSERT_MAPPED(address) ASSERT_NE(MAP_FAILED, address)

#endif
