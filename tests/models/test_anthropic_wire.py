"""Anthropic's bytes: events, headers, refusals in the API's words, and nothing that breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mutations import answered, bodies

from windtunnel.core.seed import Seed
from windtunnel.models import ModelCore, ModelServer, serve
from windtunnel.models.protocol import HttpRequest

HTTP = httpx.Client(verify=False, headers={"anthropic-version": "2023-06-01", "x-api-key": "k"})
HI = [{"role": "user", "content": "hi"}]
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
FULL = {
    "model": "claude-opus-5-5",
    "max_tokens": 2048,
    "system": [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "hi"},
            {"type": "image",
             "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "abc"}, USE]},
        {"role": "user", "content": [RESULT]},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "stream": False,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("anthropic",)) as started:
        yield started


def ask(server: ModelServer, **changed: Any) -> httpx.Response:
    body = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": HI, **changed}
    kept = {name: value for name, value in body.items() if value is not ...}
    return HTTP.post(server.url + "/v1/messages", json=kept)


def test_a_stream_is_named_events_with_their_type_in_the_data(server: ModelServer) -> None:
    server.set_response("one two")
    answer = ask(server, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    blocks = [block.splitlines() for block in answer.text.strip().split("\n\n")]
    names = [first.removeprefix("event: ") for first, _ in blocks]
    data = [json.loads(second.removeprefix("data: ")) for _, second in blocks]
    assert names == [event["type"] for event in data]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert data[0]["message"]["content"] == []
    assert data[-2]["delta"]["stop_reason"] == "end_turn"
    assert data[-2]["usage"]["output_tokens"] == 2


def test_every_answer_tells_its_id_and_what_is_left_of_the_limits(server: ModelServer) -> None:
    headers = ask(server).headers
    assert headers["request-id"].startswith("req_011C")
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        limit = int(headers[f"anthropic-ratelimit-{kind}-limit"])
        assert 0 <= int(headers[f"anthropic-ratelimit-{kind}-remaining"]) < limit
        assert headers[f"anthropic-ratelimit-{kind}-reset"].endswith("Z")


def test_a_request_without_a_version_is_refused(server: ModelServer) -> None:
    answer = httpx.Client(verify=False).post(server.url + "/v1/messages", json=FULL)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "anthropic-version: header is required"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"messages": ...}, "messages: Field required"),
        ({"model": ...}, "model: Field required"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": "hi"}, "messages: Input should be a valid list"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role: Field required"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 'Unexpected role "wizard"'),
        ({"messages": [{"role": "user", "content": ""}]}, "text content blocks must be non-empty"),
        ({"messages": [{"role": "user", "content": []}]}, "must have non-empty content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "song"}]}]},
            "messages.0.content.0: Input tag 'song' found using 'type' does not match",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text.text: Field required",
        ),
        (
            {"messages": [*HI, {"role": "assistant", "content": "so "}]},
            "final assistant content cannot end with trailing whitespace",
        ),
        ({"temperature": 2}, "temperature: range: 0..1"),
        ({"frequency": 1}, "frequency: Extra inputs are not permitted"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
        ({"tool_choice": {"type": "any"}}, "may only be specified while providing tools"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
            "Tool 'g' not found in provided tools",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 10}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "any"}}}},
            "output_config.format.schema: Invalid schema",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_anthropics_words(
    server: ModelServer, changed: Any, words: str
) -> None:
    answer = ask(server, **changed)
    body = answer.json()
    assert (answer.status_code, body["type"]) == (400, "error")
    assert body["error"]["type"] == "invalid_request_error"
    assert words in body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([("assistant", [USE])], "messages.1: `tool_use` ids were found without `tool_result`"),
        (
            [("assistant", [USE]), ("user", "never mind")],
            "messages.1: `tool_use` ids were found without `tool_result`",
        ),
        (
            [("assistant", "ok"), ("user", [RESULT])],
            "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
        ),
        (
            [("assistant", [USE]), ("user", [RESULT, RESULT])],
            "each tool_use must have a single result",
        ),
        (
            [("assistant", [USE]), ("user", [RESULT]), ("assistant", [USE]), ("user", [RESULT])],
            "`tool_use` ids must be unique",
        ),
    ],
)
def test_tool_ids_must_pair(server: ModelServer, turns: Any, words: str) -> None:
    messages = HI + [{"role": role, "content": content} for role, content in turns]
    answer = ask(server, messages=messages, tools=[TOOL])
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True)


def test_results_may_come_in_several_messages_of_one_turn(server: ModelServer) -> None:
    uses = [USE, {**USE, "id": "toolu_2"}]
    messages = [
        *HI,
        {"role": "assistant", "content": uses},
        {"role": "user", "content": [RESULT]},
        {"role": "user", "content": [{**RESULT, "tool_use_id": "toolu_2"}]},
    ]
    assert ask(server, messages=messages, tools=[TOOL]).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense"])
def test_a_body_that_is_no_object_is_refused(server: ModelServer, body: bytes) -> None:
    answer = HTTP.post(server.url + "/v1/messages", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_older_completion_goes_on_from_its_prompt(server: ModelServer) -> None:
    server.on("hi").reply("Hello, you!")
    body: Any = {
        "model": "claude-2.1",
        "prompt": "\n\nHuman: hi\n\nAssistant:",
        "max_tokens_to_sample": 9,
    }
    whole = HTTP.post(server.url + "/v1/complete", json=body).json()
    assert (whole["type"], whole["completion"], whole["stop_reason"]) == (
        "completion",
        "Hello, you!",
        "stop_sequence",
    )
    streamed = HTTP.post(server.url + "/v1/complete", json={**body, "stream": True}).text
    data = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert "".join(event.get("completion", "") for event in data) == "Hello, you!"
    del body["max_tokens_to_sample"]
    refused = HTTP.post(server.url + "/v1/complete", json=body).json()
    assert refused["error"]["message"] == "max_tokens_to_sample: Field required"


def test_no_malformed_request_breaks_it_and_each_gets_its_error_shape() -> None:
    core = ModelCore(("anthropic",), seed=Seed(7))
    headers = (("anthropic-version", "2023-06-01"),)
    refused = 0
    for path, count in (("/v1/messages", 3000), ("/v1/messages/count_tokens", 400)):
        for content in bodies(FULL, count):
            request = HttpRequest("POST", path, headers=headers, body=content)
            status, sent = answered(core, request)
            assert status in (200, 400), (status, content)
            if status != 200:
                refused += 1
                body = json.loads(sent)
                assert (body["type"], set(body["error"])) == ("error", {"type", "message"})
    assert core.defects == []
    assert refused > 1000
