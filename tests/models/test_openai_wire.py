"""OpenAI's bytes: frames, headers, refusals in the API's words, and nothing that breaks it."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib

import pytest
from mutations import answered, bodies

from windtunnel.core.clock import RealClock
from windtunnel.core.faults import Fault
from windtunnel.core.seed import Seed
from windtunnel.models import ModelCore, Reply, ToolCall
from windtunnel.models.dialects import dialect
from windtunnel.models.dialects.openai_pictures import picture
from windtunnel.models.dialects.openai_sounds import FORMATS, sound
from windtunnel.models.protocol import HttpRequest

HI = [{"role": "user", "content": "hi"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["a"], "additionalProperties": False}
FLAT_CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
FLAT_RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}


def tool(schema=CLOSED, strict=True, name="f"):
    return {"type": "function", "function": {"name": name, "strict": strict, "parameters": schema}}


def schema_format(schema, strict=True):
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": strict, "schema": schema}}


@pytest.fixture
def core():
    return ModelCore(("openai",), seed=Seed(7))


def post(core, path, body, **headers):
    head = (("content-type", "application/json"), *headers.items())
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return core.respond(HttpRequest("POST", f"/v1/{path}", headers=head, body=data))


def chat(core, **changed):
    body = {"model": "gpt-4o", "messages": HI, **changed}
    return post(core, "chat/completions", {k: v for k, v in body.items() if v is not ...})


def respond(core, **changed):
    body = {"model": "gpt-4o", "input": "hi", **changed}
    return post(core, "responses", {k: v for k, v in body.items() if v is not ...})


def error_of(response):
    body = json.loads(response.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


# -- refusals -------------------------------------------------------------------------------------

CHAT_REFUSALS = {
    "no model": ({"model": ...}, None, None, "must provide a model"),
    "no messages": ({"messages": ...}, "messages", "missing_required_parameter", "'messages'"),
    "messages no list": ({"messages": "hi"}, "messages", "invalid_type", "got a string"),
    "messages empty": ({"messages": []}, "messages", "empty_array", "empty array"),
    "unknown role": (
        {"messages": [{"role": "wizard", "content": "hi"}]},
        "messages[0].role",
        "invalid_value",
        "'wizard'. Supported values are: 'system', 'assistant'",
    ),
    "no role": (
        {"messages": [{"content": "hi"}]},
        "messages[0].role",
        "missing_required_parameter",
        "role",
    ),
    "no content": (
        {"messages": [{"role": "user"}]},
        "messages[0].content",
        "missing_required_parameter",
        "content",
    ),
    "content a number": (
        {"messages": [{"role": "user", "content": 7}]},
        "messages[0].content",
        "invalid_type",
        "got an integer",
    ),
    "unknown part": (
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        "messages[0].content[0].type",
        "invalid_value",
        "'smell'",
    ),
    "unknown field": ({"temprature": 1}, None, None, "Unrecognized request argument"),
    "too warm": (
        {"temperature": 3},
        "temperature",
        "decimal_above_max_value",
        "Expected a value <= 2, but got 3",
    ),
    "n of none": ({"n": 0}, "n", "integer_below_min_value", ">= 1"),
    "stream a word": ({"stream": "yes"}, "stream", "invalid_type", "expected a boolean"),
    "many stops": ({"stop": list("abcde")}, "stop", "array_above_max_length", "length 5"),
    "long metadata": (
        {"metadata": {"a": "x" * 513}},
        "metadata.a",
        "string_above_max_length",
        "513",
    ),
    "a result of no call": (
        {"messages": [*HI, RESULT]},
        "messages.[1].role",
        None,
        "must be a response to a preceeding message with 'tool_calls'",
    ),
    "a call without result": (
        {"messages": [*HI, CALLED, *HI]},
        "messages.[2].role",
        None,
        "did not have response messages: call_1",
    ),
    "a result of another call": (
        {"messages": [*HI, CALLED, {**RESULT, "tool_call_id": "call_2"}]},
        "messages.[2].tool_call_id",
        None,
        "'call_2' not found",
    ),
    "two results of one call": (
        {"messages": [*HI, CALLED, RESULT, RESULT]},
        "messages.[3].tool_call_id",
        None,
        "not found",
    ),
    "no tools": ({"tools": []}, "tools", "empty_array", "empty array"),
    "unknown tool": ({"tools": [{"type": "saw"}]}, "tools[0].type", "invalid_value", "'saw'"),
    "tool without name": (
        {"tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
        "missing_required_parameter",
        "name",
    ),
    "tool with a blank": (
        {"tools": [tool(name="get weather")]},
        "tools[0].function.name",
        "invalid_value",
        "pattern",
    ),
    "strict but open": (
        {"tools": [tool(OPEN)]},
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "'additionalProperties' is required to be supplied and to be false",
    ),
    "strict but optional": (
        {"tools": [tool({**OPEN, "additionalProperties": False, "required": []})]},
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "Missing 'a'",
    ),
    "no object": (
        {"tools": [tool({"type": "string"}, False)]},
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "got 'type: \"string\"'",
    ),
    "unknown type": (
        {"tools": [tool({"type": "object", "properties": {"a": {"type": "text"}}}, False)]},
        "tools[0].function.parameters",
        "invalid_function_parameters",
        "'text' is not valid",
    ),
    "choice without tools": (
        {"tool_choice": "auto"},
        "tool_choice",
        None,
        "only allowed when 'tools'",
    ),
    "choice of none there": (
        {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
        None,
        "'g' not found",
    ),
    "unknown format": (
        {"response_format": {"type": "yaml"}},
        "response_format.type",
        "invalid_value",
        "'yaml'",
    ),
    "format without schema": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
        "json_schema",
    ),
    "strict format but open": (
        {"response_format": schema_format(OPEN)},
        "response_format",
        "invalid_json_schema",
        "additionalProperties",
    ),
    "json not spoken of": (
        {"response_format": {"type": "json_object"}},
        "messages",
        None,
        "must contain the word 'json'",
    ),
    "usage of no stream": (
        {"stream_options": {"include_usage": True}},
        "stream_options",
        None,
        "only allowed when 'stream'",
    ),
    "tops of nothing": ({"top_logprobs": 2}, "top_logprobs", None, "'logprobs' is enabled"),
}


@pytest.mark.parametrize(
    ("changed", "param", "code", "words"), CHAT_REFUSALS.values(), ids=list(CHAT_REFUSALS)
)
def test_a_chat_that_the_api_would_refuse_is_refused(core, changed, param, code, words):
    response = chat(core, **changed)
    error = error_of(response)
    assert (response.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert words in error["message"]


RESPONSE_REFUSALS = {
    "no model": ({"model": ...}, "model", "missing_required_parameter"),
    "no input": ({"input": ...}, "input", "missing_required_parameter"),
    "unknown field": ({"messages": HI}, "messages", "unknown_parameter"),
    "unknown item": ({"input": [{"type": "smell"}]}, "input[0].type", "invalid_value"),
    "unknown role": (
        {"input": [{"role": "tool", "content": "x"}]},
        "input[0].role",
        "invalid_value",
    ),
    "few tokens": ({"max_output_tokens": 3}, "max_output_tokens", "integer_below_min_value"),
    "a call without output": ({"input": [FLAT_CALL]}, "input", None),
    "an output of no call": ({"input": [FLAT_RESULT]}, "input", None),
    "nothing before": (
        {"previous_response_id": "resp_none"},
        "previous_response_id",
        "previous_response_not_found",
    ),
    "two pasts": (
        {"previous_response_id": "resp_none", "conversation": "conv_none"},
        None,
        "mutually_exclusive_parameters",
    ),
    "nested tool": ({"tools": [tool()]}, "tools[0].name", "missing_required_parameter"),
    "unknown format": (
        {"text": {"format": {"type": "yaml"}}},
        "text.format.type",
        "invalid_value",
    ),
    "strict format but open": (
        {"text": {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": OPEN}}},
        "text.format.schema",
        "invalid_json_schema",
    ),
}


@pytest.mark.parametrize(
    ("changed", "param", "code"), RESPONSE_REFUSALS.values(), ids=list(RESPONSE_REFUSALS)
)
def test_a_response_that_the_api_would_refuse_is_refused(core, changed, param, code):
    response = respond(core, **changed)
    error = error_of(response)
    assert (response.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("embeddings", {"model": "m"}, "input"),
        ("embeddings", {"model": "m", "input": []}, "input"),
        ("embeddings", {"model": "m", "input": ""}, "input"),
        ("embeddings", {"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ("embeddings", {"model": "m", "input": [{}]}, "input[0]"),
        ("moderations", {}, "input"),
        ("completions", {"model": "m", "prompt": "a", "logprobs": 9}, "logprobs"),
        ("images/generations", {}, "prompt"),
        ("images/generations", {"prompt": "a", "size": "big"}, "size"),
        ("audio/speech", {"model": "m", "input": "a"}, "voice"),
        ("audio/transcriptions", {"model": "m"}, "file"),
        ("batches", {"input_file_id": "f", "endpoint": "/v1/no"}, "completion_window"),
        ("files", {"purpose": "batch"}, "file"),
    ],
)
def test_the_other_endpoints_name_the_field_at_fault(core, path, body, param):
    response = post(core, path, body)
    assert response.status == 400
    assert error_of(response)["param"] == param


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}'])
def test_what_is_no_json_cannot_be_parsed(core, body):
    response = post(core, "chat/completions", body)
    assert response.status == 400
    assert "could not parse the JSON body" in error_of(response)["message"]


def test_an_unknown_path_or_method_or_thing_is_not_found(core):
    assert "Invalid URL (POST /v1/nothing)" in error_of(post(core, "nothing", {}))["message"]
    wrong = core.respond(HttpRequest("DELETE", "/v1/embeddings"))
    assert (wrong.status, error_of(wrong)["type"]) == (405, "invalid_request_error")
    for path in ("responses/resp_no", "files/file-no", "batches/batch_no", "conversations/conv_no"):
        missed = core.respond(HttpRequest("GET", f"/v1/{path}"))
        assert missed.status == 404
        assert path.partition("/")[2] in error_of(missed)["message"]


def test_a_key_that_is_missing_and_one_that_is_wrong_are_told_apart():
    core = ModelCore(("openai",), api_key="right")
    missing = core.respond(HttpRequest("GET", "/v1/models"))
    assert (missing.status, error_of(missing)["code"]) == (401, None)
    wrong = HttpRequest("GET", "/v1/models", headers=(("authorization", "Bearer sk-a"),))
    assert error_of(core.respond(wrong))["code"] == "invalid_api_key"
    right = HttpRequest("GET", "/v1/models", headers=(("authorization", "bearer right"),))
    assert core.respond(right).status == 200


FULL_CHAT = {
    "model": "gpt-4o",
    "messages": [{"role": "system", "content": "s"}, *HI, CALLED, RESULT],
    "tools": [tool()],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": schema_format(CLOSED),
    "stop": ["a"],
    "n": 2,
    "stream": True,
    "stream_options": {"include_usage": True},
    "logprobs": True,
    "top_logprobs": 2,
    "metadata": {"a": "b"},
    "modalities": ["text"],
}
FULL_RESPONSE = {
    "model": "gpt-4o",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        FLAT_CALL,
        FLAT_RESULT,
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "q"}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": CLOSED, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
}
FULL = {
    "chat/completions": FULL_CHAT,
    "responses": FULL_RESPONSE,
    "responses/input_tokens": {"model": "m", "input": FULL_RESPONSE["input"]},
    "responses/compact": {"model": "m", "input": FULL_RESPONSE["input"]},
    "embeddings": {"model": "m", "input": ["a", "b"], "dimensions": 8, "encoding_format": "float"},
    "moderations": {"model": "m", "input": [{"type": "text", "text": "a"}]},
    "completions": {"model": "m", "prompt": ["a"], "n": 2, "logprobs": 2, "stream": True},
    "images/generations": {"prompt": "a", "n": 2, "size": "64x64", "partial_images": 1},
    "audio/speech": {"model": "m", "voice": "v", "input": "x", "response_format": "wav"},
    "audio/transcriptions": {"model": "m", "file": "x", "response_format": "verbose_json"},
    "conversations": {"items": HI, "metadata": {"a": "b"}},
    "batches": {
        "input_file_id": "file-abc123",
        "endpoint": "/v1/responses",
        "completion_window": "24h",
    },
}


@pytest.mark.parametrize("path", FULL)
def test_a_thousand_malformed_requests_get_an_answer_or_an_error_of_the_right_shape(core, path):
    assert post(core, path, FULL[path]).status == 200
    seen = set()
    for body in bodies(FULL[path], 1000):
        request = HttpRequest(
            "POST", f"/v1/{path}", headers=(("content-type", "application/json"),), body=body
        )
        status, data = answered(core, request)
        seen.add(status)
        if status >= 400:
            assert set(json.loads(data)["error"]) == {"message", "type", "param", "code"}, body
    assert core.defects == []
    assert seen <= {200, 400, 404}
    assert {200, 400} <= seen


# -- frames ---------------------------------------------------------------------------------------


def test_chat_chunks_are_data_lines_and_end_in_done(core):
    core.scripts.on("hi").reply("one two")
    response = chat(core, stream=True)
    assert response.content_type == "text/event-stream; charset=utf-8"
    *frames, done, rest = response.body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "one"},
        {"content": " two"},
        {},
    ]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({len(frame) for frame in frames[1:3]}) == 1  # padded to one length
    plain = chat(core, stream=True, stream_options={"include_obfuscation": False}).body
    assert b"obfuscation" not in plain


def test_response_events_are_named_as_their_type(core):
    response = respond(core, stream=True)
    blocks = [block.split("\n") for block in response.body.decode().strip().split("\n\n")]
    for number, (event, data) in enumerate(blocks):
        told = json.loads(data.removeprefix("data: "))
        assert event == f"event: {told['type']}"
        assert told["sequence_number"] == number
    assert b"[DONE]" not in response.body


def test_the_pieces_of_a_script_are_the_pieces_of_the_stream(core):
    core.scripts.on("hi").reply(Reply("abc", pieces=("a", "bc")))
    assert chat(core, stream=True).body.count(b'"content":"bc"') == 1
    assert respond(core, stream=True).body.count(b'"delta":"bc"') == 1


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_an_answer_ends_before_a_stop_sequence(core, path):
    core.scripts.on("hi").reply("one two END three")
    asked = {"messages": HI} if path.startswith("chat") else {"prompt": "hi"}
    made = json.loads(post(core, path, {"model": "m", "stop": ["END", "x"], **asked}).body)
    choice = made["choices"][0]
    assert choice.get("text", choice.get("message", {}).get("content")) == "one two "
    assert made["usage"]["completion_tokens"] == 2 + 1  # the space is a token of its own


def test_malformed_arguments_are_sent_as_the_script_wrote_them(core):
    core.scripts.on("hi").reply(ToolCall("f", text='{"a": '))
    message = json.loads(chat(core).body)["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": '


def test_a_custom_tool_gets_text(core):
    core.scripts.on("hi").reply(ToolCall("f", text="print(1)"))
    custom = {"type": "custom", "custom": {"name": "f"}}
    call = json.loads(chat(core, tools=[custom]).body)["choices"][0]["message"]["tool_calls"][0]
    assert (call["type"], call["custom"]["input"]) == ("custom", "print(1)")
    flat = json.loads(respond(core, tools=[{"type": "custom", "name": "f"}]).body)["output"][0]
    assert (flat["type"], flat["input"]) == ("custom_tool_call", "print(1)")


def test_an_error_in_the_midst_of_a_stream_is_the_apis_own(core):
    core.scripts.on("hi").reply(
        "one two three", faults=[Fault("error_event", "*", arguments={"after_events": 2})]
    )
    last = chat(core, stream=True).body.strip().split(b"\n\n")[-1]
    assert set(json.loads(last.removeprefix(b"data: "))["error"]) == {
        "message", "type", "param", "code",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bytes():
    class Still(RealClock):
        def time(self):
            return 1_700_000_000.0

    def told():
        core = ModelCore(("openai",), seed=Seed(7), clock=Still())
        return chat(core).body, respond(core, stream=True).body, chat(core, tools=[tool()]).body

    assert told() == told()
    other = ModelCore(("openai",), seed=Seed(8), clock=Still())
    assert chat(other).body != told()[0]


def test_azures_paths_name_the_model(core):
    core.scripts.on("hi", model="mine").reply("Hello!")
    request = HttpRequest(
        "POST",
        "/openai/deployments/mine/chat/completions",
        "api-version=2024-10-21",
        (("api-key", "k"),),
        json.dumps({"messages": HI}).encode(),
    )
    made = json.loads(core.respond(request).body)
    assert (made["model"], made["choices"][0]["message"]["content"]) == ("mine", "Hello!")
    assert dialect("openai").key_of(request) == "k"


def test_stored_things_do_not_grow_without_end(core):
    for _ in range(1100):
        respond(core)
        chat(core, store=True)
    assert len(core.state.store("openai.responses")) == 1024
    assert len(core.state.store("openai.chat")) == 1024


def test_an_example_of_the_description_is_answered_with_an_example(core):
    got = core.respond(HttpRequest("GET", "/v1/responses/resp_123"))
    assert json.loads(got.body)["id"] == "resp_123"
    assert respond(core, previous_response_id="previous_response_id").status == 200


# -- files that are made --------------------------------------------------------------------------


def test_a_png_is_whole():
    data = picture("png", 100, 50)
    at, kinds = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(kind + content)
        kinds.append(kind)
        if kind == b"IDAT":
            assert len(zlib.decompress(content)) == 50 * (1 + 13)
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


MAGIC = {
    "mp3": b"\xff\xfb",
    "opus": b"OggS",
    "aac": b"\xff\xf1",
    "flac": b"fLaC",
    "wav": b"RIFF",
    "jpeg": b"\xff\xd8",
    "webp": b"RIFF",
    "gif": b"GIF89a",
    "svg": b"<svg",
    "png": b"\x89PNG",
}


@pytest.mark.parametrize("form", MAGIC)
def test_a_file_begins_as_its_format_does(form):
    data = sound(form) if form in FORMATS else picture(form, 8, 8)
    assert data.startswith(MAGIC[form])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9, 17), (1536, 1024)])
def test_a_picture_has_the_size_that_was_asked_for(width, height):
    jpeg = picture("jpeg", width, height)
    frame = jpeg.index(b"\xff\xc0")
    assert struct.unpack_from(">HH", jpeg, frame + 5) == (height, width)
    webp = picture("webp", width, height)
    bits = int.from_bytes(webp[21:25], "little")
    assert ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) == (width, height)
    assert len(webp) == 8 + int.from_bytes(webp[4:8], "little")


def test_a_flac_file_has_a_tenth_of_a_second_in_it():
    data = sound("flac")
    bits = int.from_bytes(data[18:26], "big")
    rate, samples = bits >> 44, bits & (1 << 36) - 1
    assert (rate, samples) == (24_000, 2_400)
    assert data[26:42] == hashlib.md5(bytes(2 * samples)).digest()
    least, most = data[12:15], data[15:18]
    assert int.from_bytes(least, "big") == int.from_bytes(most, "big") == len(data) - 42
