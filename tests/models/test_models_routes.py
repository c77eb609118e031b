"""Who answers a path: the API whose client asks, and never another one in its place."""

from __future__ import annotations

import json

import pytest

from windtunnel.models import ModelCore, ModelServer
from windtunnel.models.protocol import HttpRequest, Response

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def ask(core: ModelCore, method: str, path: str, body: object = None, **headers: str) -> Response:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    data = b"" if body is None else json.dumps(body).encode()
    return core.respond(HttpRequest(method, path, "", named, data))


@pytest.mark.parametrize(
    ("headers", "shape"),
    [
        ({"anthropic_version": "2023-06-01", "x_api_key": "k"}, "not_found_error"),
        ({"x_goog_api_key": "k"}, "NOT_FOUND"),
    ],
)
def test_a_client_whose_api_has_no_such_path_is_told_so_by_its_own_api(headers, shape):
    response = ask(ModelCore(), "GET", "/v1/files", **headers)
    error = json.loads(response.body)["error"]
    assert response.status == 404
    assert shape in (error.get("type"), error.get("status"))
    assert json.loads(ask(ModelCore(), "GET", "/v1/files").body) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize("order", [("openai", "ollama"), ("ollama", "openai")])
def test_a_path_that_ollama_has_from_openai_is_openai_s_in_whatever_order_they_are_named(order):
    server = ModelServer(order)
    server.set_response("Hi.")
    made = json.loads(ask(server.core, "POST", "/v1/chat/completions", CHAT).body)
    assert made["system_fingerprint"] != "fp_ollama"
    there = ask(server.core, "POST", "/ollama/v1/chat/completions", CHAT)
    assert there.status == 404  # Ollama has no gpt-4o
    theirs = ask(server.core, "POST", "/v1/chat/completions", CHAT, user_agent="ollama-python/1")
    assert theirs.status == 404


def test_a_page_of_another_origin_may_call_it():
    server = ModelServer(("openai",), api_key="sk-1")
    server.set_response("Hi.")
    allowed = ask(
        server.core,
        "OPTIONS",
        "/v1/chat/completions",
        origin="http://localhost:3000",
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type",
    )
    told = dict(allowed.headers)
    assert allowed.status == 204  # a browser asks without the key
    assert "POST" in told["access-control-allow-methods"]
    assert told["access-control-allow-headers"] == "authorization,content-type"
    assert ask(server.core, "OPTIONS", "/v1/models").status == 401  # that is no such question


@pytest.mark.parametrize("stream", [False, True])
def test_only_a_page_of_another_origin_is_told_that_it_may_read_the_answer(stream):
    core = ModelServer(("openai",)).core
    body = json.dumps(CHAT | {"stream": stream}).encode()

    def head(*headers: tuple[str, str]) -> bytes:
        plan = core.handle(HttpRequest("POST", "/v1/chat/completions", "", headers, body))
        return b"".join(step.data for step in plan.steps).partition(b"\r\n\r\n")[0]

    assert b"\r\naccess-control-allow-origin: *" in head(("origin", "http://localhost:3000"))
    assert b"access-control" not in head()
