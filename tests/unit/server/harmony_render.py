#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Chat requests that must give gpt-oss what harmony's own library gives it.

Each is rendered with the model's template. That template has rules of its own, and the model knows the text by it:
where it differs from the library, the case lists the parts (template's, library's), and nothing else may differ.
"""
import copy
import datetime
import json
import os
import subprocess
import sys

BUILD = os.environ["BUILD_DIR"]
DATA = os.path.join(os.environ["HEARTH_SHARED"], "data", "templates")
TEMPLATE = os.path.join(DATA, "llama.cpp", "openai-gpt-oss-120b.jinja")
VECTORS = os.path.join(DATA, "harmony-vectors")

# Vectors that are what a model wrote: test-server-harmony takes them apart.
COMPLETIONS = {"simple_reasoning_response", "simple_tool_call", "streamable_parser", "tool_response_parsing"}

# The template always tells the date, ends instructions with an empty line, and knows one set of channels.
NO_DATE = ("Current date: 2025-06-28\n", "")
INSTRUCTIONS = ("\n\n<|end|>", "<|end|>")
CHANNELS = ("analysis, commentary, final", "analysis, final")
# It wants a message; the library renders none.
NO_USER = ("<|start|>user<|message|>X<|end|>", "")


def user(text):
    return {"role": "user", "content": text}


def answer(text, why=None):
    return {"role": "assistant", "content": text, **({"reasoning_content": why} if why else {})}


def function(name, description, properties=None, required=()):
    parameters = {"type": "object", "properties": properties, "required": list(required)} if properties else None
    return {"type": "function", "function": {"name": name, "description": description,
                                             **({"parameters": parameters} if parameters else {})}}


X = user("X")
TWO = user("What is 2 + 2?")
CAPITAL = user("What is the capital of the largest country in the world?")
ROBOT = {"role": "developer", "content": "Answer the user's questions like a robot."}
FORMAT = {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
TOOLS = [
    function("get_location", "Gets the location of the user."),
    function("get_current_weather", "Gets the current weather in the provided location.",
             {"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
              "format": FORMAT}, ["location"]),
    function("get_multiple_weathers", "Gets the current weather in the provided list of locations.",
             {"locations": {"type": "array", "items": {"type": "string"}, "description":
                            'List of city and state, e.g. ["San Francisco, CA", "New York, NY"]'},
              "format": FORMAT}, ["locations"]),
    function("kitchensink", "A function with various complex schemas.",
             {"string": {"type": "string", "title": "STRING", "description": "A string",
                         "examples": ["hello", "world"]},
              "string_nullable": {"type": "string", "nullable": True, "description": "A nullable string",
                                  "default": "the default"},
              "string_enum": {"type": "string", "enum": ["a", "b", "c"]},
              "oneof_string_or_number": {"description": "a oneof", "default": "20", "oneOf": [
                  {"type": "string", "default": "default_string_in_oneof"},
                  {"type": "number", "description": "numbers can happen too"}]}}),
]


def chat(*messages, **more):
    return {"messages": list(messages), **more}


def effort(level, *messages):
    return chat(*messages, **({"reasoning_effort": level} if level != "medium" else {}))


def builtin(*names, **more):
    return chat(X, chat_template_kwargs={"builtin_tools": list(names)}, **more)


# vector: (request, parts that differ)
CASES = {
    "no_tools": (chat(X), [NO_USER]),
    "browser_tool_only": (builtin("browser"), [NO_USER]),
    "browser_and_python_tool": (builtin("browser", "python"), [NO_USER]),
    "browser_and_function_tool": (builtin("browser", tools=[function(
        "lookup_weather", "Use this tool to lookup the weather in a given location. Call it with the parameter "
        "'location', can be any textual description of a location.", {"location": {"type": "string"}},
        ["location"])]), [NO_USER]),
    "simple_convo": (chat(TWO), [NO_DATE]),
    "reasoning_system_message": (chat(TWO), [NO_DATE, CHANNELS]),
    "reasoning_system_message_no_instruction": (
        effort("high", user("What is the best place to eat candy in the world?")), [NO_DATE, CHANNELS]),
    # the template knows no cutoff but its own
    "reasoning_system_message_with_dates": (
        chat(user("What is 42 * pi?")), [CHANNELS, ("Knowledge cutoff: 2024-06", "Knowledge cutoff: 2021-01")]),
    "render_functions_with_parameters": (
        {**effort("high", {"role": "developer", "content": "Always respond in riddles"},
                  user("What is the weather like in SF?")), "tools": TOOLS},
        # a comma behind a default; no description of the whole, no titles, no examples; choices on one line
        [("default: celsius,", "default: celsius"), ('"the default",', '"the default"'),
         ("kitchensink = (_: {\n// A string", "kitchensink = (_: // params object\n{\n// STRING\n//\n// A string\n"
          '// Examples:\n// - "hello"\n// - "world"'),
         ("// a oneof\noneof_string_or_number?: string                    // default: \"default_string_in_oneof\" | \n"
          "number// numbers can happen too// default: 20,",
          "// a oneof\n// default: 20\noneof_string_or_number?:\n | string // default: \"default_string_in_oneof\"\n"
          " | number // numbers can happen too\n,")]),
    # what led to an answer that was given is dropped
    "dropping_cot_by_default": (chat(TWO, answer("2 + 2 equals 4.", "It is four."), user("What about 9 / 2?")), []),
    # the library keeps it where it is told to; the template knows no such switch
    "preserve_cot": (
        chat(TWO, answer("2 + 2 equals 4.", 'User asks a simple question: "What is 2 + 2?" The answer: 4.'),
             user("What about 9 / 2?")),
        [("<|start|>assistant<|channel|>final<|message|>2",
          '<|start|>assistant<|channel|>analysis<|message|>User asks a simple question: "What is 2 + 2?" The '
          'answer: 4.<|end|><|start|>assistant<|channel|>final<|message|>2')]),
    # of a conversation that ends with an answer: shown whole, but as one that is over
    "keep_analysis_between_finals": (
        chat(TWO, answer("4"), user("What is 3 + 5?"), answer("8", "thinking 3+5"),
             chat_template_kwargs={"add_generation_prompt": False}), [("<|return|>", "<|end|>")]),
    # what led to a call stays until there is an answer; the tool's text comes as a JSON string, from a named sender
    "does_not_drop_if_ongoing_analysis": (
        chat(user("What is the weather in SF?"),
             {"role": "assistant", "content": None, "reasoning_content":
              "User asks: \u201cWhat is the weather in SF?\u201d We need to use lookup_weather tool.",
              "tool_calls": [{"id": "1", "type": "function", "function": {
                  "name": "lookup_weather", "arguments": '{"location": "San Francisco"}'}}]},
             {"role": "tool", "tool_call_id": "1", "content": '{"temperature": 20, "description": "sunny"}'}),
        [("commentary json<|message|>", "commentary <|constrain|>json<|message|>"),
         ("functions.lookup_weather to=assistant<|channel|>commentary<|message|>", "functions.lookup_weather<|message|>"),
         (json.dumps('{"temperature": 20, "description": "sunny"}'), '{"temperature": 20, "description": "sunny"}')]),
}
for level in ("low", "medium", "high"):
    CASES["simple_convo_%s_effort" % level] = (effort(level, ROBOT, CAPITAL), [NO_DATE, INSTRUCTIONS])
    CASES["simple_convo_%s_effort_no_instruction" % level] = (effort(level, CAPITAL), [NO_DATE])


def now_of(name):
    return datetime.datetime(*((2021, 1, 1) if name.endswith("with_dates") else (2025, 6, 28)), 12,
                             tzinfo=datetime.timezone.utc)


def vector(name):
    with open(os.path.join(VECTORS, "test_%s.txt" % name), encoding="utf-8") as f:
        return f.read().rstrip()


def rendered():
    cases = [{"request": request, "now": int(now_of(name).timestamp())} for name, (request, _) in CASES.items()]
    program = os.path.join(BUILD, "tests", "unit", "server", "render-chat")
    out = subprocess.run([program, TEMPLATE], input=json.dumps(cases), stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(CASES, json.loads(out.stdout)))


def requests_give_harmonys_text():
    for name, got in rendered().items():
        want, text = vector(name), got["text"].rstrip()
        if not want.startswith("<|start|>system"):      # the template always begins with it
            text = text[text.index("<|end|>") + len("<|end|>"):]
        for ours, theirs in CASES[name][1]:
            assert ours in text, "%s: %r is not in %r" % (name, ours, text)
            text = text.replace(ours, theirs)
        assert text == want, "%s:\n got  %r\n want %r" % (name, text, want)


def requests_give_what_python_renders():
    try:
        import jinja2
        import jinja2.sandbox
    except ImportError:
        return "no python3-jinja2"
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    with open(TEMPLATE, encoding="utf-8") as f:
        template = env.from_string(f.read())
    for name, got in rendered().items():
        want = template.render(copy.deepcopy(got["vars"]), strftime_now=now_of(name).strftime)
        assert got["text"] == want, "%s:\n got  %r\n want %r" % (name, got["text"], want)


def every_vector_is_used():
    names = {f[len("test_"):-len(".txt")] for f in os.listdir(VECTORS)}
    assert set(CASES) | COMPLETIONS == names, set(CASES) ^ COMPLETIONS ^ names


TESTS = (requests_give_harmonys_text, requests_give_what_python_renders, every_vector_is_used)


def main():
    if not os.path.exists(TEMPLATE) or not os.path.isdir(VECTORS):
        print("1..0 # SKIP no templates/harmony-vectors")
        return 0
    failed = 0
    print("1..%d" % len(TESTS))
    for i, test in enumerate(TESTS, 1):
        why, skipped = None, None
        try:
            skipped = test()
        except (AssertionError, subprocess.CalledProcessError) as e:
            why = str(e)
        print("%s %d - %s%s" % ("not ok" if why else "ok", i, test.__name__, " # SKIP %s" % skipped if skipped else ""))
        if why:
            print("# " + why.replace("\n", "\n# "))
            failed += 1
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
