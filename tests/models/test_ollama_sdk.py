"""The official ollama client against the server: what it asks is answered in types of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from windtunnel.models import MockOllamaServer, ToolCall, error

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[MockOllamaServer]:
    with MockOllamaServer() as started:
        yield started


@pytest.fixture
def client(server: MockOllamaServer) -> ollama.Client:
    return ollama.Client(server.url, verify=False)


def get_weather(city: str, unit: str = "celsius") -> str:
    """Weather of a city.

    Args:
      city: its name
      unit: of the temperature
    """
    return f"{city}: 21 {unit}"


def test_a_chat_is_answered_with_counts_and_durations_that_add_up(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on("hi").reply("Hello, you!")
    answer = client.chat("llama3.2", HI)
    assert (answer.message.role, answer.message.content) == ("assistant", "Hello, you!")
    assert (answer.done, answer.done_reason, answer.model) == (True, "stop", "llama3.2")
    assert (answer.prompt_eval_count, answer.eval_count) == (7, 4)
    parts = answer.load_duration, answer.prompt_eval_duration, answer.eval_duration
    assert all(part is not None and part > 0 for part in parts)
    assert answer.total_duration == sum(part or 0 for part in parts)


def test_a_streamed_chat_comes_a_token_a_line_and_counts_the_same(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on("hi").reply("Hello, you!")
    parts = list(client.chat("llama3.2", HI, stream=True))
    assert [part.message.content for part in parts] == ["Hello", ",", " you", "!", ""]
    assert [part.done for part in parts] == [False] * 4 + [True]
    whole = client.chat("llama3.2", HI)
    assert (parts[-1].eval_count, parts[-1].prompt_eval_count) == (
        whole.eval_count,
        whole.prompt_eval_count,
    )


def test_a_tool_is_called_and_its_result_comes_back_under_its_name(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
    server.on(tool_result={"get_weather": "21"}).reply("It is 21 degrees.")
    messages: list[Any] = [{"role": "user", "content": "weather in Paris?"}]
    asked = client.chat("qwen3", messages, tools=[get_weather])
    (used,) = asked.message.tool_calls or ()
    assert (used.function.name, used.function.arguments) == ("get_weather", {"city": "Paris"})
    result = get_weather(**used.function.arguments)
    messages += [asked.message, {"role": "tool", "tool_name": "get_weather", "content": result}]
    assert client.chat("qwen3", messages, tools=[get_weather]).message.content == (
        "It is 21 degrees."
    )


def test_tool_calls_are_streamed_each_in_a_line(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.set_response([ToolCall("a", {"x": 1}), ToolCall("b", {"y": [2]})])
    parts = list(client.chat("qwen3", HI, tools=[get_weather], stream=True))
    names = [call.function.name for part in parts for call in part.message.tool_calls or ()]
    assert names == ["a", "b"]
    assert (parts[-1].done, parts[-1].message.tool_calls) == (True, None)


@pytest.mark.parametrize("think", [True, "high"])
def test_thinking_is_told_apart_from_what_is_said(
    server: MockOllamaServer, client: ollama.Client, think: Any
) -> None:
    server.set_response("42", thinking="six times seven")
    answer = client.chat("qwen3", HI, think=think)
    assert (answer.message.thinking, answer.message.content) == ("six times seven", "42")
    parts = list(client.chat("qwen3", HI, think=think, stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == "six times seven"
    assert "".join(part.message.content or "" for part in parts) == "42"
    assert client.chat("qwen3", HI, think=False).message.thinking is None


def test_a_format_is_satisfied_without_any_script(client: ollama.Client) -> None:
    class Person(BaseModel):
        name: str
        age: int
        tags: list[str]

    answer = client.chat("llama3.2", HI, format=Person.model_json_schema())
    assert Person.model_validate_json(answer.message.content or "")
    plain = client.generate("llama3.2", "json please", format="json")
    assert plain.response
    assert plain.response.startswith("{")


def test_generate_answers_a_prompt_and_gives_a_context(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on("Why is the sky blue?").reply("Rayleigh.")
    answer = client.generate("llama3.2", "Why is the sky blue?")
    assert (answer.response, answer.done_reason) == ("Rayleigh.", "stop")
    assert answer.context
    assert client.generate("llama3.2", "Why is the sky blue?", raw=True).context is None
    parts = list(client.generate("llama3.2", "Why is the sky blue?", stream=True))
    assert "".join(part.response or "" for part in parts) == "Rayleigh."


def test_a_system_prompt_and_images_reach_the_call(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.set_response("a cat")
    client.generate("llava", "what is it?", images=["aGVsbG8="], system="Be short.")
    call = server.last_request.call
    assert call is not None
    assert (call.system, call.messages[0].images) == ("Be short.", ("aGVsbG8=",))


def test_logprobs_come_a_token_each(server: MockOllamaServer, client: ollama.Client) -> None:
    server.set_response("Hello, you!")
    answer = client.chat("llama3.2", HI, logprobs=True, top_logprobs=3)
    assert answer.logprobs is not None
    assert [one.token for one in answer.logprobs] == ["Hello", ",", " you", "!"]
    assert all(one.logprob <= 0 and len(one.top_logprobs or ()) == 3 for one in answer.logprobs)


def test_embeddings_are_unit_vectors_of_the_models_size_and_the_same_each_time(
    client: ollama.Client,
) -> None:
    answer = client.embed("nomic-embed-text", ["a", "b", "a"])
    first, second, third = (list(one) for one in answer.embeddings)
    assert (len(first), first == third, first == second) == (768, True, False)
    assert sum(value * value for value in first) == pytest.approx(1, abs=1e-5)
    assert answer.prompt_eval_count == 6
    short = client.embed("all-minilm", "a", dimensions=64).embeddings[0]
    assert len(short) == 64
    assert sum(value * value for value in short) == pytest.approx(1, abs=1e-5)
    assert len(client.embeddings("all-minilm", "a").embedding) == 384


def test_scripted_embeddings_are_given_as_they_are(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on(kind="embedding").reply(embeddings=((1.0, 0.0), (0.0, 1.0)))
    assert client.embed("nomic-embed-text", ["a", "b"]).embeddings == [[1.0, 0.0], [0.0, 1.0]]


def test_an_empty_prompt_loads_and_keep_alive_zero_unloads(client: ollama.Client) -> None:
    assert client.ps().models == []
    loaded = client.generate("llama3.2", "", keep_alive="1h")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    (there,) = client.ps().models
    assert there.model == "llama3.2:latest"
    assert client.chat("llama3.2", [], keep_alive=0).done_reason == "unload"
    assert client.ps().models == []


def test_the_first_answer_has_the_model_loaded_and_the_second_finds_it_there(
    client: ollama.Client,
) -> None:
    first, second = client.chat("llama3.2", HI), client.chat("llama3.2", HI)
    assert first.load_duration is not None
    assert second.load_duration is not None
    assert first.load_duration > 10 * second.load_duration


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.chat("nope", HI),
        lambda client: list(client.chat("nope", HI, stream=True)),
        lambda client: client.generate("nope", "hi"),
        lambda client: client.embed("nope", "hi"),
        lambda client: client.embeddings("nope", "hi"),
        lambda client: client.show("nope"),
        lambda client: client.delete("nope"),
        lambda client: client.copy("nope", "other"),
    ],
)
def test_an_unknown_model_is_404_everywhere(client: ollama.Client, ask: Any) -> None:
    with pytest.raises(ollama.ResponseError) as raised:
        ask(client)
    assert raised.value.status_code == 404
    assert "nope" in raised.value.error
    assert "not found" in raised.value.error


def test_errors_have_the_words_and_statuses_of_ollama(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.fail_next(status=503)
    with pytest.raises(ollama.ResponseError, match="server busy, please try again") as raised:
        client.chat("llama3.2", HI)
    assert raised.value.status_code == 503
    server.on("hi").reply(error(500, "out of memory"))
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        client.chat("llama3.2", HI)


def test_an_error_in_the_midst_of_a_stream_is_a_line_of_its_own(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.set_response("one two three")
    server.fail_next(fault="error_event", after=2, message="llama runner process has terminated")
    parts = client.chat("llama3.2", HI, stream=True)
    assert [next(parts).message.content, next(parts).message.content] == ["one", " two"]
    with pytest.raises(ollama.ResponseError, match="llama runner process has terminated"):
        next(parts)


def test_the_asynchronous_client_is_answered_alike() -> None:
    async def ask() -> tuple[str, list[str], int]:
        async with MockOllamaServer() as server:
            server.set_response("Hello, you!")
            client = ollama.AsyncClient(server.url, verify=False)
            whole = await client.chat("llama3.2", HI)
            parts = [
                part.message.content or ""
                async for part in await client.chat("llama3.2", HI, stream=True)
            ]
            return whole.message.content or "", parts, server.request_count

    assert asyncio.run(ask()) == ("Hello, you!", ["Hello", ",", " you", "!", ""], 2)
