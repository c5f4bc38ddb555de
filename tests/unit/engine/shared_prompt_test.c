/* SPDX-License-Identifier: MIT */
/* Which chats begin with a system prompt that is everybody's, and what of them is. */
#include "harness.h"

#include "engine/shared_prompt.h"

#include <string.h>

static struct shared_prompts prompts(void)
{
    static const char *const texts[] = {"You are kind.\n", "Answer,\nand rhyme.\r\n\n", NULL};
    struct shared_prompts p;

    assert_int_equal(shared_prompts_init(&p, texts, NULL), 0);
    assert_int_equal(p.n, 2);
    return p;
}

static json_t *chat_of(const struct shared_prompts *p, const char *json)
{
    json_t *chat = json_loads(json, 0, NULL), *got;

    assert_non_null(chat);
    got = shared_prompts_chat(p, chat);
    json_decref(chat);
    return got;
}

static void only_the_system_prompt_of_a_chat_is_taken(void **state)
{
    struct shared_prompts p = prompts();
    json_t *got = chat_of(
        &p, "{\"tools\": [1], \"messages\": ["
            "{\"role\": \"system\", \"content\": \"You are kind.\", \"name\": \"patient 7\"},"
            "{\"role\": \"user\", \"content\": \"My secret\"}]}");
    char *text;

    assert_non_null(got);
    text = json_dumps(got, JSON_COMPACT);
    assert_null(strstr(text, "secret"));
    assert_null(strstr(text, "tools"));
    assert_null(strstr(text, "patient"));
    assert_non_null(strstr(text, "You are kind."));
    assert_int_equal(json_array_size(json_object_get(got, "messages")), 2);
    free(text);
    json_decref(got);
    shared_prompts_finish(&p);
}

static void what_ends_the_last_line_counts_for_nothing(void **state)
{
    struct shared_prompts p = prompts();
    json_t *got;

    got = chat_of(
        &p, "{\"messages\": [{\"role\": \"developer\", \"content\": \"Answer,\\nand rhyme.\"}]}");
    assert_non_null(got);
    json_decref(got);
    got = chat_of(&p,
                  "{\"messages\": [{\"role\": \"system\", \"content\": \"You are kind.\\n\\n\"}]}");
    assert_non_null(got);
    json_decref(got);
    shared_prompts_finish(&p);
}

static void other_chats_are_the_users_alone(void **state)
{
    static const char *const others[] = {
        "{}",
        "{\"messages\": 5}",
        "{\"messages\": []}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"You are kind.\"}]}",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"You are kind\"}]}",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"You are kind. You are.\"}]}",
        "{\"messages\": [{\"role\": \"system\", \"content\": \"\\n\"}]}",
        "{\"messages\": [{\"role\": \"system\", \"content\": [\"You are kind.\"]}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"},"
        "{\"role\": \"system\", \"content\": \"You are kind.\"}]}",
    };
    struct shared_prompts p = prompts(), none;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_null(chat_of(&p, others[i]));
    shared_prompts_finish(&p);
    assert_int_equal(shared_prompts_init(&none, NULL, NULL), 0);
    assert_null(chat_of(&none, "{\"messages\": [{\"role\": \"system\", \"content\": \"\"}]}"));
    shared_prompts_finish(&none);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_the_system_prompt_of_a_chat_is_taken),
    cmocka_unit_test(what_ends_the_last_line_counts_for_nothing),
    cmocka_unit_test(other_chats_are_the_users_alone),
};

int main(int argc, char **argv)
{
    return TEST_MAIN(argc, argv, tests);
}
