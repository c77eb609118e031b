"""The OpenAI and Anthropic endpoints of an Ollama server, asked by those official clients."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import ollama
import openai
import pytest

from windtunnel.models import MockOllamaServer, ToolCall, serve

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[MockOllamaServer]:
    with MockOllamaServer(models=["llama3.2", "all-minilm"]) as started:
        yield started


@pytest.fixture
def client(server: MockOllamaServer) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(
        base_url=server.url + "/v1", api_key="ollama", max_retries=0, http_client=http
    )


def test_openais_client_talks_to_ollamas_models(
    server: MockOllamaServer, client: openai.OpenAI
) -> None:
    server.on("hi").reply("Hello, you!")
    whole = client.chat.completions.create(model="llama3.2", messages=HI)  # type: ignore[arg-type]
    assert whole.choices[0].message.content == "Hello, you!"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 11
    stream = client.chat.completions.create(
        model="llama3.2",
        messages=HI,  # type: ignore[arg-type]
        stream=True,
    )
    said = [part.choices[0].delta.content or "" for part in stream if part.choices]
    assert "".join(said) == "Hello, you!"
    (there,) = ollama.Client(server.url, verify=False).ps().models
    assert there.model == "llama3.2:latest"


def test_tools_go_through_it(server: MockOllamaServer, client: openai.OpenAI) -> None:
    server.set_response(ToolCall("f", {"x": 1}))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    made = client.chat.completions.create(
        model="llama3.2",
        messages=HI,  # type: ignore[arg-type]
        tools=[tool],  # type: ignore[list-item]
    )
    (used,) = made.choices[0].message.tool_calls or ()
    assert used.type == "function"
    assert (used.function.name, used.function.arguments) == ("f", '{"x":1}')


def test_models_are_ollamas_and_embeddings_of_their_size(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {
        "llama3.2:latest",
        "all-minilm:latest",
    }
    assert client.models.retrieve("all-minilm").owned_by == "library"
    made = client.embeddings.create(model="all-minilm", input=["a", "b"])
    assert [len(one.embedding) for one in made.data] == [384, 384]


def test_an_unknown_model_is_refused_in_openais_shape(
    server: MockOllamaServer, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=HI)  # type: ignore[arg-type]
    body = {"model": "nope", "messages": HI}
    http = httpx.Client(verify=False)
    answer = http.post(server.url + "/v1/chat/completions", json=body)
    assert answer.json()["error"] == {
        "message": "model 'nope' not found",
        "type": "not_found_error",
        "param": None,
        "code": None,
    }


def test_anthropics_client_talks_to_ollamas_models(server: MockOllamaServer) -> None:
    server.on("hi").reply("Hello, you!")
    http = anthropic.DefaultHttpxClient(verify=False)
    client = anthropic.Anthropic(base_url=server.url, api_key="ollama", http_client=http)
    made = client.messages.create(model="llama3.2", max_tokens=9, messages=HI)  # type: ignore[arg-type]
    assert made.content[0].to_dict() == {"type": "text", "text": "Hello, you!"}


def test_beside_the_other_dialects_its_paths_are_found_by_their_prefix() -> None:
    with serve() as server:
        http = httpx.Client(verify=False)
        ids = {
            name: http.get(f"{server.url}{prefix}/v1/models").json()["data"][0]["id"]
            for name, prefix in (("openai", ""), ("ollama", "/ollama"))
        }
        assert ids["ollama"] == "llama3.2:latest"
        assert ids["openai"].startswith("gpt")
