/* SPDX-License-Identifier: MIT */
/* Renders the cases of the shared vector files; each failing case is printed by name. */
#ifndef HEARTH_TESTS_TEMPLATE_VECTORS_TEST_H
#define HEARTH_TESTS_TEMPLATE_VECTORS_TEST_H

void vectors_jinja_engine_cases_render(void **state);
void vectors_minja_syntax_cases_render(void **state);
void vectors_conversations_render(void **state);
void vectors_published_templates_render(void **state);
void vectors_real_templates_render_or_fail_as_in_python(void **state);

#endif
