"""Which script answers, and how: order, sequences, conditions, scenarios, files, shapes."""

from __future__ import annotations

import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dialect import asked, said, sent

from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed
from windtunnel.models import ModelServer, Reply, ToolCall, error, fault, shaped
from windtunnel.models.files import ScriptFile, read
from windtunnel.models.protocol import Message, ModelCall
from windtunnel.models.shape import sample


@pytest.fixture
def server() -> ModelServer:
    return ModelServer(("tiny",), seed=Seed(7))


def answer(server: ModelServer, text: str = "hello", **more) -> str:
    plan = server.core.handle(asked(text, **more))
    found = said(plan)
    return found["text"] if "text" in found else found["error"]["message"]


# -- order ----------------------------------------------------------------------------------------


def test_exact_goes_before_pattern_and_pattern_before_default_however_they_were_written(server):
    server.set_response("default")
    server.on(contains="cat").reply("pattern")
    server.on("a cat").reply("exact")
    server.on(model="tiny-1").reply("model")
    assert answer(server, "a cat") == "exact"
    assert answer(server, "my cat") == "pattern"
    assert answer(server, "a dog") == "model"
    assert answer(server, "a dog", model="other") == "default"


def test_of_two_alike_the_one_with_more_conditions_goes_first_then_the_one_written_last(server):
    server.on(contains="cat", model="m").reply("two conditions")
    server.on(contains="cat").reply("first")
    server.on(contains="cat").reply("second")
    assert answer(server, "cat", model="m") == "two conditions"
    assert answer(server, "cat") == "second"


def test_what_a_tool_returned_is_answered_before_the_text_that_had_it_called():
    server = ModelServer(("openai",), seed=Seed(7))
    server.on("weather?").reply(ToolCall("look_up", {"city": "Oslo"}))
    server.on(tool_result="look_up").reply("Sunny.")
    calls = agent(server, "weather?")
    assert calls == ["look_up", "Sunny."]
    assert agent(server, "weather?") == calls  # the next conversation begins with the tool again


def test_without_a_result_a_script_for_one_does_not_go_first(server):
    server.on("hello").reply("exact")
    server.on(tool_result=False).reply("nothing returned")
    assert answer(server, "hello") == "exact"


def agent(server: ModelServer, text: str) -> list[str]:
    """What an agent's loop comes to: the tools it calls, one after the other, and the answer."""
    messages: list[dict[str, object]] = [{"role": "user", "content": text}]
    seen: list[str] = []
    with server.open_in_process(), httpx.Client() as client:
        while len(seen) < 4:  # a loop that does not end is cut
            body = {"model": "gpt-4o", "messages": messages}
            url = "https://api.openai.com/v1/chat/completions"
            said = client.post(url, json=body).json()["choices"][0]["message"]
            if not said.get("tool_calls"):
                return [*seen, said["content"]]
            (call,) = said["tool_calls"]
            seen.append(call["function"]["name"])
            result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
            messages += [said, result]
    return seen


@pytest.mark.parametrize(
    ("wanted", "text", "fits"),
    [
        ("cat", "a cat!", True),
        ("cat", "concatenate", False),
        ("2+2", "what is 2+2?", True),
        ("hello", "say hello world", True),
        (["a", "b"], "b and a", True),
        (["a", "b"], "only a", False),
        ("naïve", "a naïve one", True),
    ],
)
def test_words_are_never_found_within_other_words(server, wanted, text, fits):
    server.on(contains=wanted).reply("yes")
    server.set_response("no")
    assert answer(server, text) == ("yes" if fits else "no")


def test_a_models_name_is_meant_whole_and_a_tag_latest_is_no_other_model(server):
    server.on(model="gpt-4").reply("four")
    server.set_response("other")
    assert answer(server, model="gpt-4") == "four"
    assert answer(server, model="gpt-4:latest") == "four"
    assert answer(server, model="gpt-4o") == "other"
    server.on(model=re.compile("gpt-.*")).reply("any gpt")
    assert answer(server, model="gpt-4o") == "any gpt"


def test_all_conditions_must_hold(server):
    server.on(
        matches=r"\d+ apples", system="shop", tools="buy", stream=False, where=lambda call: True
    ).reply("yes")
    server.set_response("no")
    full = {"system": "you keep a shop", "tools": ["buy", "sell"]}
    assert answer(server, "12 apples", **full) == "yes"
    assert answer(server, "apples", **full) == "no"
    assert answer(server, "12 apples", **(full | {"tools": ["sell"]})) == "no"
    assert answer(server, "12 apples", **(full | {"system": "workshop"})) == "no"


def test_a_function_that_says_yes_or_no_is_asked_about_each_call(server):
    yes = [True, False, True]
    server.on(where=lambda call: yes.pop(0)).reply("yes")
    server.set_response("no")
    assert [answer(server) for _ in range(3)] == ["yes", "no", "yes"]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (True, True),
        ("search", True),
        ("sunny", True),
        (re.compile("sun.y"), True),
        ({"search": "sunny"}, True),
        ({"search": True}, True),
        (False, False),
        ("rainy", False),
        ("sun", False),
        ({"other": "sunny"}, False),
    ],
)
def test_results_of_tools_are_recognised_by_name_or_content(server, wanted, fits):
    server.on(tool_result=wanted).reply("yes")
    server.set_response("no")
    assert answer(server, results={"search": "sunny today"}) == ("yes" if fits else "no")


# -- answers --------------------------------------------------------------------------------------


def test_several_answers_are_given_one_after_the_other_and_then_none(server):
    script = server.on("hello").reply("a", "b")
    assert [answer(server), answer(server)] == ["a", "b"]
    assert "has given its answers (2) already" in answer(server)
    assert script.count == 2


def test_a_sequence_may_repeat_its_last_answer_or_begin_again(server):
    server.on("last").reply(["a", "b"], then="repeat")
    server.on("round").reply(["a", "b"], then="cycle")
    assert [answer(server, "last") for _ in range(4)] == ["a", "b", "b", "b"]
    assert [answer(server, "round") for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_script_for_so_many_times_leaves_the_rest_to_the_next(server):
    server.set_response("default")
    server.on("hello").reply("once", times=1)
    assert [answer(server), answer(server)] == ["once", "default"]


def test_the_nth_call_that_fits_is_counted_whoever_answers_it(server):
    server.set_response("default")
    server.on("hello", nth=2).reply("second")
    server.on("hello", nth=[3, 4]).reply("later")
    answers = [answer(server) for _ in range(5)]
    assert answers == ["default", "second", "later", "later", "default"]


def test_an_answer_may_be_text_dict_reply_tools_error_or_made_by_a_function(server):
    server.on("text").reply("words")
    server.on("dict").reply({"a": [1]})
    server.on("reply").reply(Reply("whole"))
    server.on("parts").reply(text="parts", thinking="hm")
    server.on("tools").reply([ToolCall("f", {"x": 1}), ToolCall("g")])
    server.on("error").reply(error(418, "no coffee"))
    server.on("call").reply(lambda call: f"{call.model}!")
    server.on("fault").reply(fault("status", status=409))
    assert answer(server, "text") == "words"
    assert json.loads(answer(server, "dict")) == {"a": [1]}
    assert answer(server, "reply") == "whole"
    assert answer(server, "parts") == "parts"
    calls = said(server.core.handle(asked("tools")))["calls"]
    assert calls == [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}]
    plan = server.core.handle(asked("error"))
    assert (sent(plan)[0], said(plan)["error"]["message"]) == (418, "no coffee")
    assert answer(server, "call") == "tiny-1!"
    assert sent(server.core.handle(asked("fault")))[0] == 409


@pytest.mark.parametrize("wrong", [3, None, [], object()])
def test_what_no_model_can_answer_is_refused_where_it_is_written(server, wrong):
    with pytest.raises(UsageError):
        server.on().reply(wrong)


def test_set_response_replaces_what_was_set_and_leaves_scripts_alone(server):
    server.on("hello").reply("script")
    server.set_response("first")
    server.set_response("second")
    server.set_response("mine", model="m")
    assert answer(server) == "script"
    assert answer(server, "other") == "second"
    assert answer(server, "other", model="m") == "mine"


def test_an_error_is_set_and_lifted(server):
    server.set_error(503, "down")
    assert sent(server.core.handle(asked()))[0] == 503
    server.set_error(None)
    assert sent(server.core.handle(asked()))[0] == 200


def test_the_next_requests_fail_and_the_ones_after_do_not(server):
    server.fail_next(2, status=429, retry_after_s=1.5)
    first = sent(server.core.handle(asked()))
    assert (first[0], first[1]["retry-after"]) == (429, "1.5")
    assert [sent(server.core.handle(asked()))[0] for _ in range(2)] == [429, 200]


# -- calls that no script fits --------------------------------------------------------------------


def test_without_scripts_everything_is_answered_and_with_scripts_nothing_else(server):
    assert sent(server.core.handle(asked("anything")))[0] == 200
    server.on("hello").reply("world")
    assert sent(server.core.handle(asked("anything")))[0] == 400
    assert [one.call.last_user_text for one in server.core.unmatched] == ["anything"]


def test_a_call_that_no_script_fits_is_told_the_nearest_and_how_it_differs(server):
    server.on("What is the weather in Paris?").reply("Sunny.")
    server.on("Tell me a joke").reply("No.")
    told = answer(server, "What is the weather in Pairs?")
    assert "the nearest of 2: on(text='What is the weather in Paris?')" in told
    assert "- What is the weather in Paris?" in told
    assert "+ What is the weather in Pairs?" in told
    assert os.path.basename(__file__) in told


@pytest.mark.parametrize(
    ("conditions", "text", "hint"),
    [
        ({"contains": "plan"}, "planning", "only inside a longer word"),
        ({"contains": "Plan"}, "a plan", "upper and lower case differ"),
        ({"model": "gpt-4"}, "hello", "found 'tiny-1'"),
    ],
)
def test_the_reason_is_named(server, conditions, text, hint):
    server.on(**conditions).reply("x")
    assert hint in answer(server, text)


def test_a_lenient_server_answers_them_all_the_same():
    lenient = ModelServer(("tiny",), strict=False)
    lenient.on("hello").reply("world")
    assert sent(lenient.core.handle(asked("anything")))[0] == 200
    assert lenient.core.unmatched == []


# -- scenarios ------------------------------------------------------------------------------------


def conversation(*said_: tuple[str, str]) -> ModelCall:
    return ModelCall("tiny", "say", "m", messages=tuple(Message(r, t) for r, t in said_))  # type: ignore[arg-type]


def chosen(server: ModelServer, call: ModelCall) -> str | None:
    scripts = server.core.scripts
    outcome = scripts.choose(call, server.core.state, scripts.fitting(call))
    return None if outcome is None else outcome.reply.text  # type: ignore[union-attr]


def test_the_turns_of_a_scenario_follow_the_conversation_and_not_the_number_of_requests(server):
    trip = server.scenario("trip")
    trip.turn(contains="flight").reply("Where to?")
    trip.turn().reply("Booked.")
    first = conversation(("user", "a flight"))
    second = conversation(("user", "a flight"), ("assistant", "Where to?"), ("user", "Oslo"))
    assert chosen(server, first) == "Where to?"
    assert chosen(server, first) == "Where to?"  # a client that tries again
    assert not trip.complete
    assert chosen(server, second) == "Booked."
    assert trip.complete
    trip.assert_complete()


def test_states_are_kept_for_each_conversation_by_itself(server):
    door = server.scenario("door")
    door.on("knock").reply("Who is there?").goto("asked")
    door.on("knock", state="asked").reply("You knocked already.")
    one, other = conversation(("user", "knock")), conversation(("user", "hi"), ("user", "knock"))
    assert chosen(server, one) == "Who is there?"
    assert chosen(server, one) == "You knocked already."
    assert chosen(server, other) == "Who is there?"


def test_a_scenario_that_was_not_played_to_its_end_says_what_is_missing(server):
    trip = server.scenario("trip")
    trip.turn("a").reply("b")
    trip.turn("c").reply("d")
    chosen(server, conversation(("user", "a")))
    with pytest.raises(AssertionError, match=r"never came to:\n  on\(text='c', turn=2\)"):
        trip.assert_complete()


# -- files ----------------------------------------------------------------------------------------

FILE = """
models: [tiny-2]
scripts:
  - on: {contains: weather}
    reply: Sunny.
  - on: {text: list}
    reply: [First., Second.]
    then: cycle
  - on: {text: error}
    error: {status: 429, retry_after_s: 2}
  - on: {text: tools}
    reply: {tool_calls: [{name: f, arguments: {x: 1}}]}
  - on: {text: slow}
    reply: Slow.
    latency: 0.5
  - on: {text: broken}
    reply: x
    faults: [{verb: truncate, missing: 3}]
scenarios:
  trip:
    - on: {text: go}
      reply: Where to?
"""


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_scripts_are_read_from_yaml_and_json(server, tmp_path, suffix):
    path = tmp_path / "scripts.yaml"
    path.write_text(FILE)
    if suffix == ".json":
        path = tmp_path / "scripts.json"
        path.write_text(json.dumps(read(tmp_path / "scripts.yaml")))
    server.load(path)
    assert answer(server, "the weather") == "Sunny."
    assert [answer(server, "list") for _ in range(3)] == ["First.", "Second.", "First."]
    assert sent(server.core.handle(asked("error")))[1]["retry-after"] == "2"
    assert said(server.core.handle(asked("tools")))["calls"][0]["arguments"] == {"x": 1}
    assert next(iter(server.core.handle(asked("slow")).steps)).delay_s == 0.5
    assert server.core.handle(asked("broken")).ending == "close"
    assert answer(server, "go") == "Where to?"
    assert "tiny-2" in server.core.state.models


class Ticking:
    """A clock that is a second further whenever it is asked."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


def test_a_file_that_changes_is_read_again_and_a_wrong_one_leaves_the_scripts_as_they_were(
    tmp_path,
):
    server = ModelServer(("tiny",), clock=Ticking())
    path = tmp_path / "scripts.yaml"
    path.write_text("- {on: {text: hello}, reply: one}")
    file = server.load(path)
    assert answer(server) == "one"
    path.write_text("- {on: {text: hello}, reply: two}")
    assert answer(server) == "two"
    path.write_text("- {on: {texd: hello}, reply: three}")
    assert answer(server) == "two"
    assert "did you mean text?" in str(file.problem)
    path.write_text("- {on: {text: hello}, reply: four}")
    assert answer(server) == "four"
    assert file.problem is None
    path.unlink()
    assert answer(server) == "four"
    assert "cannot be read" in str(file.problem)
    path.write_text("")  # as it is when another program has begun to write it
    assert answer(server) == "four"
    path.write_text("- {on: {text: hello}, reply: five}")
    assert answer(server) == "five"
    assert file.problem is None
    assert file.count == len(server.core.scripts) == 1


def test_a_file_that_is_written_twice_within_a_tick_is_read_twice(tmp_path):
    server = ModelServer(("tiny",), clock=Ticking())
    path = tmp_path / "scripts.yaml"
    for word in ("one", "two"):
        path.write_text(f"- {{on: {{text: hello}}, reply: {word}}}")
        os.utime(path, ns=(10**18, 10**18))
        if word == "one":
            server.load(path)
        assert answer(server) == word


def test_a_file_is_read_again_by_one_of_the_threads_that_ask(tmp_path):
    server = ModelServer(("tiny",), clock=Ticking())
    path = tmp_path / "scripts.yaml"
    path.write_text("- {on: {text: hello}, reply: one}")
    file, told = server.load(path), []

    def asks_meanwhile(file: ScriptFile) -> None:
        told.append(file.count)
        with ThreadPoolExecutor(1) as pool:  # whose look finds that another is at it
            told.append(pool.submit(answer, server).result())

    file.on_reload = asks_meanwhile
    path.write_text("- {on: {text: hello}, reply: two}")
    assert answer(server) == "two"
    assert told == [1, "two"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("scripts: {}", "scripts is a list"),
        ("- {reply: x, onn: {}}", r"scripts\[0\] has an unknown field\s+found: 'onn'"),
        ("- {on: {nth: 1}}", r"scripts\[0\] needs one of reply, shaped and error"),
        ("- {on: {matches: '('}, reply: x}", r"scripts\[0\]: matches= takes a regular expression"),
        ("- {reply: x, faults: [storm]}", r"scripts\[0\]: a model server has no such fault"),
        ("- {reply: {txt: x}}", r"scripts\[0\].reply has an unknown field"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_meant_gets_one_clear_error(server, tmp_path, text, where):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=where):
        ScriptFile(path, server.core)
    assert len(server.core.scripts) == 0


# -- shapes ---------------------------------------------------------------------------------------

SCHEMAS = [
    {"type": "integer", "minimum": 3, "maximum": 3},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.01},
    {"type": "integer", "multipleOf": 7, "minimum": 1},
    {"type": "string", "minLength": 30, "maxLength": 31},
    {"type": "string", "pattern": r"^[A-Z]{2}\d{4}(-x|-y)?$"},
    {"type": ["string", "null"]},
    {"enum": ["a", 1, None]},
    {"const": {"x": 1}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]},
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["value", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    {
        "type": "object",
        "properties": {
            "when": {"type": "string", "format": "date-time"},
            "who": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["when", "who", "tags"],
        "additionalProperties": False,
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: next(iter(schema)))
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_a_shaped_value_satisfies_its_schema(schema, seed):
    jsonschema.validate(sample(schema, random.Random(seed)), schema)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/x"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}},
        {"type": "planet"},
    ],
    ids=str,
)
def test_a_schema_without_a_value_gets_one_clear_error(schema):
    with pytest.raises(UsageError):
        sample(schema, random.Random(1))


def test_an_answer_is_shaped_by_the_schema_of_the_call_with_fields_of_ones_own(server):
    server.on().reply(shaped(name="Ann"))
    schema = {"type": "object", "properties": {"name": {}, "age": {"type": "integer"}}}
    found = json.loads(answer(server, schema=schema))
    assert found["name"] == "Ann"
    assert isinstance(found["age"], int)
