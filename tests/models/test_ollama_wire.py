"""Ollama's bytes: lines, refusals in the words of its server, and no request that breaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mutations import answered, bodies

from windtunnel.core.seed import Seed
from windtunnel.models import MockOllamaServer, ModelCore, ToolCall
from windtunnel.models.protocol import HttpRequest

HTTP = httpx.Client(verify=False)
HI = [{"role": "user", "content": "hi"}]
CHAT = {
    "model": "qwen3",
    "messages": [
        {"role": "system", "content": "short"},
        {"role": "user", "content": "hi", "images": ["aGk="]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "tool_name": "f", "content": "2", "tool_call_id": "c1"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "required": ["x"], "properties": {"x": {}}},
            },
        }
    ],
    "options": {"temperature": 0.5, "num_predict": 5, "stop": ["x"]},
    "format": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "keep_alive": "5m",
    "think": True,
    "stream": False,
    "logprobs": True,
    "top_logprobs": 2,
}
GENERATE = {
    "model": "qwen3",
    "prompt": "hi",
    "system": "s",
    "images": ["aGk="],
    "context": [1, 2],
    "options": {"seed": 1},
    "format": "json",
    "stream": True,
}


@pytest.fixture
def server() -> Iterator[MockOllamaServer]:
    with MockOllamaServer() as started:
        yield started


def ask(server: MockOllamaServer, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTP.post(server.url + path, content=content)


def test_a_chat_is_streamed_unless_it_is_refused_to(server: MockOllamaServer) -> None:
    streamed = ask(server, "/api/chat", {"model": "llama3.2", "messages": HI})
    assert streamed.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert len(lines) > 2
    assert set(lines[0]) == {"model", "created_at", "message", "done"}
    whole = ask(server, "/api/chat", {"model": "llama3.2", "messages": HI, "stream": False})
    assert whole.headers["content-type"] == "application/json; charset=utf-8"
    assert list(whole.json())[:5] == ["model", "created_at", "message", "done", "done_reason"]
    assert whole.json()["created_at"].endswith("Z")


def test_tool_calls_have_ids_and_an_index(server: MockOllamaServer) -> None:
    server.set_response([ToolCall("f", {"x": 1}), ToolCall("g")])
    body = {"model": "llama3.2", "messages": HI, "stream": False}
    first, second = ask(server, "/api/chat", body).json()["message"]["tool_calls"]
    assert first["id"].startswith("call_")
    assert first["function"] == {"index": 0, "name": "f", "arguments": {"x": 1}}
    assert second["function"] == {"index": 1, "name": "g", "arguments": {}}


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"{", 400, "unexpected EOF"),
        ("/api/chat", b"{'a'", 400, "invalid character '\\'' looking for beginning of"),
        ("/api/chat", b"[]", 400, "json: cannot unmarshal array into Go value of type api.Chat"),
        ("/api/chat", {"messages": HI}, 400, "model is required"),
        ("/api/chat", {"model": 1}, 400, "cannot unmarshal number into Go struct field ChatReq"),
        ("/api/chat", {"model": "a b"}, 400, "invalid model name"),
        (
            "/api/chat",
            {"model": "qwen3", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
            400,
            "array into Go struct field ChatRequest.messages.content of type string",
        ),
        (
            "/api/chat",
            {"model": "qwen3", "messages": [{"role": "wizard", "content": "x"}]},
            400,
            "Invalid role: wizard",
        ),
        (
            "/api/chat",
            {
                "model": "qwen3",
                "messages": [{"role": "assistant", "tool_calls": [
                    {"function": {"name": "f", "arguments": "{}"}}]}],
            },
            400,
            "of type api.ToolCallFunctionArguments",
        ),
        ("/api/chat", {"model": "qwen3", "messages": HI, "format": "xml"}, 500, "invalid format"),
        (
            "/api/chat",
            {"model": "qwen3", "messages": HI, "options": {"num_ctx": "big"}},
            500,
            'option "num_ctx" must be of type integer',
        ),
        ("/api/chat", {"model": "qwen3", "keep_alive": "soon"}, 400, "time: invalid duration"),
        ("/api/chat", {"model": "qwen3", "top_logprobs": 21}, 400, "between 0 and 20"),
        ("/api/chat", {"model": "qwen3", "think": "hard"}, 400, "invalid think value"),
        ("/api/generate", {"prompt": "x"}, 404, "model '' not found"),
        (
            "/api/generate",
            {"model": "qwen3", "prompt": "x", "raw": True, "system": "s"},
            400,
            "raw mode does not support template, system, or context",
        ),
        ("/api/generate", {"model": "llava", "images": ["a?b"]}, 400, "illegal base64 data"),
        ("/api/embed", {"model": "all-minilm", "input": 5}, 400, "invalid input type"),
        ("/api/embed", {"model": "all-minilm", "input": [1]}, 400, "invalid input type"),
        ("/api/embeddings", {"prompt": "x"}, 400, "model is required"),
        ("/api/embeddings", {"model": "no", "prompt": "x"}, 404, "try pulling it first"),
        ("/api/show", {}, 400, "model is required"),
        ("/api/copy", {"source": "?", "destination": "b"}, 400, 'source "?" is invalid'),
        ("/api/create", {"model": "new"}, 400, "neither 'from' or 'files' was specified"),
        ("/api/pull", {"model": "::"}, 400, "invalid model name"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_ollamas_words(
    server: MockOllamaServer, path: str, body: Any, status: int, words: str
) -> None:
    answer = ask(server, path, body)
    assert set(answer.json()) == {"error"}
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_an_unknown_path_or_method_is_plain_text(server: MockOllamaServer) -> None:
    answer = HTTP.get(server.url + "/api/nothing")
    assert (answer.status_code, answer.text) == (404, "404 page not found")
    answer = HTTP.get(server.url + "/api/chat")
    assert (answer.status_code, answer.text) == (405, "405 method not allowed")


def test_an_embedding_that_may_not_be_cut_is_refused_when_too_long(
    server: MockOllamaServer,
) -> None:
    body = {"model": "all-minilm", "input": "word " * 600}
    assert ask(server, "/api/embed", body).status_code == 200
    refused = ask(server, "/api/embed", {**body, "truncate": False})
    assert refused.json() == {"error": "the input length exceeds the context length"}


@pytest.mark.parametrize(("path", "body"), [("/api/chat", CHAT), ("/api/generate", GENERATE)])
def test_no_malformed_request_breaks_it_and_each_gets_its_error_shape(path: str, body: Any) -> None:
    core = ModelCore(("ollama",), seed=Seed(7))
    refused = 0
    for content in bodies(body, 1700):
        status, sent = answered(core, HttpRequest("POST", path, body=content))
        assert status in (200, 400, 404, 500), (status, content)
        if status != 200:
            refused += 1
            assert set(json.loads(sent)) == {"error"}, content
            assert isinstance(json.loads(sent)["error"], str)
    assert core.defects == []
    assert refused > 500


def test_a_question_that_is_asked_again_keeps_the_model_loaded_as_the_first_did():
    core = ModelCore(("ollama",))
    body = {"model": "llama3.2", "messages": HI, "stream": False}
    request = HttpRequest("POST", "/api/chat", body=json.dumps(body).encode())

    def load_s(at: float) -> float:
        core.state.ids.fixed_time = at
        return json.loads(core.respond(request).body)["load_duration"] / 1e9

    assert load_s(1000.0) > 0.5
    for number in range(1, 5):  # each just before it would be unloaded
        assert load_s(1000.0 + 299 * number) < 0.1
    assert load_s(1000.0 + 299 * 4 + 301) > 0.5
