/* SPDX-License-Identifier: MIT */
/*
 * A small file of every architecture, made from nothing but its table: all keys that the table
 * reads, and all tensors in the shapes that follow from them. So a table that is added is tested
 * without a word about it here.
 */
#ifndef HEARTH_TESTS_MODEL_TABLE_FILE_H
#define HEARTH_TESTS_MODEL_TABLE_FILE_H

#include "gguf_builder.h"
#include "model/arch.h"

/* The i-th of all tables; NULL past the last. Several may have one name. */
const struct arch *table_file_arch(size_t i);

/* The file of the table, with every optional tensor; fails the test when the table itself does not
 * take the keys. */
void table_file_build(struct gguf_builder *b, const struct arch *arch);

#endif
