/* SPDX-License-Identifier: MIT */
/* One house for each test, and questions to it whose answers are JSON. */
#ifndef HEARTH_TESTS_ASKING_H
#define HEARTH_TESTS_ASKING_H

#include "house.h"

/* The one that is open. */
extern struct house house;

/* Two requests may wait at a time. */
int open_house(void **state);
int close_house(void **state);
#define IN_HOUSE(test) cmocka_unit_test_setup_teardown(test, open_house, close_house)

/* The answer's JSON, the caller's; json NULL: a GET. */
json_t *ask(const char *path, const char *json, int status);
/* The string at a path like "choices.0.message.content"; "(null)" for null, "" when absent. */
const char *at(const json_t *json, const char *path);
/* Asks, and is told why not by such a parameter and code. */
void refused(const char *path, const char *json, int status, const char *param, const char *code);

#endif
