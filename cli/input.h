/* SPDX-License-Identifier: MIT */
/* What is piped into a command. */
#ifndef HEARTH_CLI_INPUT_H
#define HEARTH_CLI_INPUT_H

#include "base/error.h"
#include "base/strbuf.h"

/* Appends all of standard input. */
int input_read(struct strbuf *to, struct error *err);

#endif
