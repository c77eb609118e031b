"""Gemini's bytes: arrays and events, refusals in Google's words, and nothing that breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mutations import answered, bodies

from windtunnel.core.seed import Seed
from windtunnel.models import ModelCore, ModelServer, ToolCall, serve
from windtunnel.models.protocol import HttpRequest

HTTP = httpx.Client(verify=False, headers={"x-goog-api-key": "key"})
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}}]}
RESPONSE = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"y": 2}}}]}
FUNCTION = {
    "name": "f",
    "description": "d",
    "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}, "required": ["x"]},
}
FULL = {
    "contents": [
        {"role": "user", "parts": [
            {"text": "hi"}, {"inline_data": {"mime_type": "image/png", "data": "aGk="}}]},
        CALL,
        RESPONSE,
    ],
    "systemInstruction": {"parts": [{"text": "short"}]},
    "tools": [{"functionDeclarations": [FUNCTION]}, {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "generationConfig": {
        "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 20, "candidateCount": 1,
        "stopSequences": ["END"], "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 100},
    },
}  # fmt: skip
EMBED = {
    "model": "models/gemini-embedding-001",
    "content": {"parts": [{"text": "a"}]},
    "taskType": "RETRIEVAL_QUERY",
    "outputDimensionality": 8,
}
BATCH = {"requests": [EMBED, {**EMBED, "title": "t"}]}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("gemini",)) as started:
        yield started


def ask(server: ModelServer, body: Any, method: str = "generateContent") -> httpx.Response:
    url = f"{server.url}/v1beta/models/gemini-2.5-flash:{method}"
    return HTTP.post(url, content=body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_stream_is_a_json_array_unless_events_are_asked_for(server: ModelServer) -> None:
    server.set_response("one two")
    array = ask(server, {"contents": HI}, "streamGenerateContent")
    assert array.headers["content-type"] == "application/json; charset=UTF-8"
    texts = [part["candidates"][0]["content"]["parts"][0]["text"] for part in array.json()]
    assert texts == ["one", " two"]
    events = ask(server, {"contents": HI}, "streamGenerateContent?alt=sse")
    assert events.headers["content-type"] == "text/event-stream"
    lines = [line for line in events.text.split("\r\n\r\n") if line]
    assert [json.loads(line.removeprefix("data: "))["candidates"] for line in lines] == [
        part["candidates"] for part in array.json()
    ]


def test_names_may_be_written_with_underscores(server: ModelServer) -> None:
    snake = {
        "contents": [CALL | {"role": "user", "parts": [{"text": "x"}]}],
        "system_instruction": {"parts": [{"text": "short"}]},
        "generation_config": {"max_output_tokens": "9", "stop_sequences": ["END"]},
    }
    assert ask(server, snake).status_code == 200
    call = server.last_request.call
    assert call is not None
    assert (call.system, call.max_tokens) == ("short", 9)


def test_schemas_become_json_schemas(server: ModelServer) -> None:
    shape = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    config = {"responseMimeType": "application/json", "responseSchema": shape}
    body = {
        "contents": HI,
        "tools": [{"functionDeclarations": [FUNCTION]}],
        "generationConfig": config,
    }
    ask(server, body)
    call = server.last_request.call
    assert call is not None
    assert call.schema == {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    assert call.tools[0].schema["properties"] == {"x": {"type": "integer"}}


def test_a_call_and_its_response_reach_the_scripts(server: ModelServer) -> None:
    server.set_response(ToolCall("f", {"x": 2}))
    asked = ask(server, {"contents": HI}).json()["candidates"][0]
    assert asked["content"]["parts"] == [{"functionCall": {"name": "f", "args": {"x": 2}}}]
    assert asked["finishReason"] == "STOP"
    assert ask(server, {"contents": [*HI, CALL, RESPONSE]}).status_code == 200
    call = server.last_request.call
    assert call is not None
    (result,) = call.tool_results
    assert (result.name, json.loads(result.content)) == ("f", {"y": 2})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON payload received."),
        (b"[]", "Root element must be a message."),
        ({}, "* GenerateContentRequest.contents: contents is not specified"),
        ({"contents": HI, "foo": 1}, 'Unknown name "foo": Cannot find field.'),
        (
            {"contents": [{"parts": [{"text": 5}]}]},
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5",
        ),
        (
            {"contents": HI, "generationConfig": {"maxTokens": 5}},
            "Unknown name \"maxTokens\" at 'generation_config': Cannot find field.",
        ),
        (
            {"contents": HI, "generationConfig": {"temperature": "hot"}},
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\"",
        ),
        (
            {"contents": HI, "generationConfig": {"temperature": 3}},
            "temperature must be in the range [0.0, 2.0]",
        ),
        ({"contents": [{"role": "wizard", "parts": [{"text": "x"}]}]}, "Please use a valid role"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "system role is not sup"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts: contents.parts must not be empty."),
        ({"contents": [{"parts": [{}]}]}, "parts[0].data: required oneof field 'data' must have"),
        (
            {"contents": HI, "tools": [{"functionDeclarations": [{"name": "a b"}]}]},
            "[FIELD_INVALID] Invalid function name.",
        ),
        (
            {"contents": HI, "tools": [{"functionDeclarations": [
                {**FUNCTION, "parameters": {"type": "OBJECT", "$schema": "x"}}]}]},
            "Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters'",
        ),
        (
            {"contents": [*HI, RESPONSE]},
            "function response turn comes immediately after a function call turn",
        ),
        (
            {"contents": [*HI, CALL, *HI]},
            "number of function response parts is equal to the number of function call parts",
        ),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_googles_words(
    server: ModelServer, body: Any, words: str
) -> None:
    answer = ask(server, body)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"], told["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in told["message"]


def test_all_violations_are_told_with_their_fields(server: ModelServer) -> None:
    body = {"contents": [{"parts": [{"text": 5, "nope": 1}]}], "tools": [{"x": {}}]}
    (details,) = ask(server, body).json()["error"]["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert [one["field"] for one in details["fieldViolations"]] == [
        "contents[0].parts[0].text",
        "contents[0].parts[0]",
        "tools[0]",
    ]


def test_an_error_of_a_streamed_array_is_in_an_array(server: ModelServer) -> None:
    (whole,) = ask(server, {}, "streamGenerateContent").json()
    assert whole["error"]["status"] == "INVALID_ARGUMENT"
    assert "error" in ask(server, {}, "streamGenerateContent?alt=sse").json()


def test_a_caller_without_a_key_is_not_registered() -> None:
    with serve(("gemini",), api_key="right") as server:
        url = f"{server.url}/v1/models/gemini-2.5-flash:generateContent"
        none = httpx.Client(verify=False).post(url, json={"contents": HI})
        assert (none.status_code, none.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert HTTP.post(url + "?key=right", json={"contents": HI}).status_code == 400
        bare = httpx.Client(verify=False)
        assert bare.post(url + "?key=right", json={"contents": HI}).status_code == 200


@pytest.mark.parametrize(
    ("method", "model", "body", "count"),
    [
        ("generateContent", "gemini-2.5-flash", FULL, 2000),
        ("streamGenerateContent", "gemini-2.5-flash", FULL, 500),
        ("countTokens", "gemini-2.5-flash", {"contents": FULL["contents"]}, 300),
        ("embedContent", "gemini-embedding-001", EMBED, 300),
        ("batchEmbedContents", "gemini-embedding-001", BATCH, 300),
    ],
)
def test_no_malformed_request_breaks_it_and_each_gets_its_error_shape(
    method: str, model: str, body: Any, count: int
) -> None:
    core = ModelCore(("gemini",), seed=Seed(7))
    refused = 0
    for content in bodies(body, count):
        request = HttpRequest("POST", f"/v1beta/models/{model}:{method}", body=content)
        status, sent = answered(core, request)
        assert status in (200, 400), (status, content)
        if status != 200:
            refused += 1
            told = json.loads(sent)
            told = told[0] if isinstance(told, list) else told
            assert {"code", "message", "status"} <= set(told["error"])
    assert core.defects == []
    assert refused > count // 5
