"""The official anthropic client against the server: answers parsed by its own types, strictly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock
from pydantic import BaseModel

from windtunnel.models import ModelServer, ToolCall, error, serve

MODEL = "claude-opus-5-5"
HI: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("anthropic",)) as started:
        yield started


@pytest.fixture(scope="module")
def http() -> Iterator[Any]:
    with anthropic.DefaultHttpxClient(verify=False) as shared:
        yield shared


@pytest.fixture
def client(server: ModelServer, http: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=server.url, api_key="key", max_retries=0, http_client=http,
        _strict_response_validation=True,
    )  # fmt: skip


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def ask(client: anthropic.Anthropic, messages: Any = HI, **more: Any) -> Message:
    made: Message = client.messages.create(
        **{"model": MODEL, "max_tokens": 2048, "messages": messages, **more}
    )
    return made


def test_a_message_is_answered_with_ids_and_usage(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.on("hi").reply("Hello, you!")
    message = ask(client)
    assert (text_of(message), message.stop_reason) == ("Hello, you!", "end_turn")
    assert (message.id[:6], len(message.id)) == ("msg_01", 28)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 4)
    assert message._request_id is not None
    assert message._request_id.startswith("req_011C")


def test_every_event_of_a_stream_comes_in_order_and_makes_the_same_message(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.set_response("Hello, you!", thinking="Greet them.")
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    events: Any = client.messages.create(
        model=MODEL, max_tokens=2048, messages=HI, thinking=thinking, stream=True
    )
    kinds = []
    for event in events:
        kinds.append(event.type)
        if event.type == "content_block_delta":
            kinds[-1] = event.delta.type
    assert kinds == [
        "message_start",
        "content_block_start",
        *["thinking_delta"] * 3,
        "signature_delta",
        "content_block_stop",
        "content_block_start",
        *["text_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    with client.messages.stream(
        model=MODEL, max_tokens=2048, messages=HI, thinking=thinking
    ) as stream:
        assert "".join(stream.text_stream) == "Hello, you!"
        streamed = stream.get_final_message()
    whole = ask(client, thinking=thinking)
    assert [block.type for block in streamed.content] == ["thinking", "text"]
    assert streamed.to_dict()["content"] == whole.to_dict()["content"]
    assert streamed.usage.output_tokens == whole.usage.output_tokens == 7
    assert whole.usage.output_tokens_details is not None
    assert whole.usage.output_tokens_details.thinking_tokens == 3


def test_thinking_is_signed_omitted_or_switched_off_as_asked(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.set_response("42", thinking="six times seven")
    first = ask(client, thinking={"type": "adaptive"}).content[0]
    assert isinstance(first, ThinkingBlock)
    assert (first.thinking, len(first.signature) > 100) == ("six times seven", True)
    hidden = ask(client, thinking={"type": "adaptive", "display": "omitted"}).content[0]
    assert isinstance(hidden, ThinkingBlock)
    assert (hidden.thinking, hidden.signature) == ("", first.signature)
    off = ask(client, thinking={"type": "disabled"})
    assert [block.type for block in off.content] == ["text"]


def test_a_tool_is_used_and_its_result_finds_its_script(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
    server.on(tool_result={"get_weather": "21"}).reply("It is 21 degrees.")
    messages: Any = [{"role": "user", "content": "weather in Paris?"}]
    asked = ask(client, messages, tools=[WEATHER])
    (block,) = asked.content
    assert isinstance(block, ToolUseBlock)
    assert (block.name, block.input, asked.stop_reason) == (
        "get_weather",
        {"city": "Paris"},
        "tool_use",
    )
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "21 degrees"}
    messages += [
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [result]},
    ]
    assert text_of(ask(client, messages, tools=[WEATHER])) == "It is 21 degrees."


def test_parallel_tool_uses_are_streamed_as_json_bit_by_bit(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    arguments = {"city": "Llanfairpwllgwyngyll, where the train stops", "days": [1, 2, 3]}
    server.set_response([ToolCall("get_weather", arguments), ToolCall("get_weather", {})])
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=HI, tools=[WEATHER]
    ) as stream:
        bits = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    first, second = message.content
    assert isinstance(first, ToolUseBlock)
    assert isinstance(second, ToolUseBlock)
    assert (first.input, second.input, first.id != second.id) == (arguments, {}, True)
    assert len(bits) > 4
    assert json.loads("".join(bits)[:-2]) == arguments


def test_a_forced_tool_is_called_without_any_script(client: anthropic.Anthropic) -> None:
    choice: Any = {"type": "tool", "name": "get_weather"}
    (block,) = ask(client, tools=[WEATHER], tool_choice=choice).content
    assert isinstance(block, ToolUseBlock)
    assert isinstance(block.input["city"], str)


def test_structured_output_satisfies_its_schema(client: anthropic.Anthropic) -> None:
    class Person(BaseModel):
        name: str
        age: int

    made = client.messages.parse(model=MODEL, max_tokens=100, messages=HI, output_format=Person)
    assert isinstance(made.parsed_output, Person)


def test_a_stop_sequence_ends_the_text_before_it(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.set_response("one two STOP three")
    message = ask(client, stop_sequences=["STOP"])
    assert (text_of(message), message.stop_reason, message.stop_sequence) == (
        "one two ",
        "stop_sequence",
        "STOP",
    )


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_tokens"), ("content_filter", "refusal"), ("refusal", "refusal")],
)
def test_why_it_ended_is_said_in_anthropics_words(
    server: ModelServer, client: anthropic.Anthropic, finish: str, reason: str
) -> None:
    server.set_response("half an", finish=finish)
    message = ask(client)
    assert message.stop_reason == reason
    assert (message.stop_details is not None) == (reason == "refusal")


def test_tokens_are_counted_as_the_answer_counts_them(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    counted = client.messages.count_tokens(
        model=MODEL, messages=HI, system="Be short.", tools=[WEATHER]
    )
    message = ask(client, system="Be short.", tools=[WEATHER])
    assert counted.input_tokens == message.usage.input_tokens > 20


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "", anthropic.BadRequestError),
        (401, "", anthropic.AuthenticationError),
        (403, "", anthropic.PermissionDeniedError),
        (404, "", anthropic.NotFoundError),
        (413, "", anthropic.RequestTooLargeError),
        (429, "", anthropic.RateLimitError),
        (500, "", anthropic.InternalServerError),
        (529, "", anthropic.OverloadedError),
    ],
)
def test_errors_are_the_clients_own(
    server: ModelServer, client: anthropic.Anthropic, status: int, kind: str, raised: Any
) -> None:
    server.on("hi").reply(error(status))
    with pytest.raises(raised) as caught:
        ask(client)
    assert caught.value.type is not None
    assert caught.value.request_id == caught.value.body["request_id"]


def test_retries_wait_as_told_and_are_answered(server: ModelServer, http: Any) -> None:
    server.set_response("at last")
    server.fail_next(2, status=529, retry_after_s=0.001)
    client = anthropic.Anthropic(
        base_url=server.url, api_key="key", max_retries=2, http_client=http
    )
    assert text_of(ask(client)) == "at last"
    assert [one.status for one in server.requests] == [529, 529, 200]
    assert server.requests[2].request.header("x-stainless-retry-count") == "2"


def test_an_error_in_the_midst_of_a_stream_is_an_event(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.set_response("one two three")
    server.fail_next(fault="error_event", after=5, kind="overloaded")
    events: Any = client.messages.create(model=MODEL, max_tokens=9, messages=HI, stream=True)
    seen = [next(events).type for _ in range(4)]
    assert seen[-1] == "content_block_delta"
    with pytest.raises(anthropic.APIStatusError) as caught:
        next(events)
    assert caught.value.type == "overloaded_error"


def test_the_key_is_checked_where_one_is_set(http: Any) -> None:
    with serve(("anthropic",), api_key="right") as server:
        wrong = anthropic.Anthropic(
            base_url=server.url, api_key="wrong", max_retries=0, http_client=http
        )
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            ask(wrong)
        assert ask(wrong.with_options(api_key="right")).role == "assistant"


def test_models_are_listed_page_by_page_and_retrieved(
    server: ModelServer, client: anthropic.Anthropic
) -> None:
    server.add_model("claude-mine", display_name="Mine")
    page = client.models.list(limit=2)
    assert (len(page.data), page.has_more) == (2, True)
    names = [model.id for model in client.models.list(limit=2)]
    assert len(names) == len(set(names)) == 10
    assert client.models.retrieve("claude-mine").display_name == "Mine"
    server.remove_model("claude-mine")
    with pytest.raises(anthropic.NotFoundError, match="model: claude-mine"):
        client.models.retrieve("claude-mine")
    with pytest.raises(anthropic.NotFoundError, match="model: claude-mine"):
        ask(client, model="claude-mine")


def test_the_asynchronous_client_is_answered_alike() -> None:
    async def run() -> tuple[str, list[str]]:
        async with serve(("anthropic",)) as server:
            server.set_response("Hello, you!")
            http = anthropic.DefaultAsyncHttpxClient(verify=False)
            async with anthropic.AsyncAnthropic(
                base_url=server.url, api_key="key", http_client=http
            ) as client:
                whole = await client.messages.create(model=MODEL, max_tokens=9, messages=HI)
                async with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as stream:
                    parts = [text async for text in stream.text_stream]
            return text_of(whole), parts

    assert asyncio.run(run()) == ("Hello, you!", ["Hello", ",", " you", "!"])
