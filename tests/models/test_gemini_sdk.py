"""The official google-genai client against the server: answers parsed by its own types."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from windtunnel.models import ModelServer, ToolCall, error, serve

MODEL = "gemini-2.5-flash"


def client_of(server: ModelServer, version: str = "v1beta", **more: Any) -> genai.Client:
    options = types.HttpOptions(
        base_url=server.url,
        api_version=version,
        client_args={"verify": False},
        async_client_args={"verify": False},
        **more,
    )
    return genai.Client(api_key="key", http_options=options)


@pytest.fixture(scope="module")
def started() -> Iterator[ModelServer]:
    with serve(("gemini",)) as server:
        yield server


@pytest.fixture(scope="module")
def client(started: ModelServer) -> genai.Client:
    return client_of(started)


@pytest.fixture
def server(started: ModelServer) -> ModelServer:
    started.reset()
    return started


def ask(client: genai.Client, text: Any = "hi", **config: Any) -> Any:
    made = types.GenerateContentConfig(**config)
    return client.models.generate_content(model=MODEL, contents=text, config=made)


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
def test_content_is_generated_with_usage_that_adds_up(server: ModelServer, version: str) -> None:
    server.on("hi").reply("Hello, you!")
    answer = ask(client_of(server, version))
    assert (answer.text, answer.model_version) == ("Hello, you!", MODEL)
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    used = answer.usage_metadata
    assert (used.prompt_token_count, used.candidates_token_count) == (7, 4)
    assert used.total_token_count == 11
    assert answer.response_id


def test_a_stream_comes_bit_by_bit_and_ends_with_the_same_usage(
    server: ModelServer, client: genai.Client
) -> None:
    server.on("hi").reply("Hello, you!")
    parts = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    assert [part.text for part in parts] == ["Hello", ",", " you", "!"]
    reasons = [part.candidates[0].finish_reason for part in parts if part.candidates]
    assert reasons == [None, None, None, types.FinishReason.STOP]
    assert parts[-1].usage_metadata == ask(client).usage_metadata


def test_a_system_instruction_and_an_image_reach_the_call(
    server: ModelServer, client: genai.Client
) -> None:
    server.set_response("a cat")
    image = types.Part.from_bytes(data=b"png", mime_type="image/png")
    ask(client, ["what is it?", image], system_instruction="Be short.", max_output_tokens=9)
    call = server.last_request.call
    assert call is not None
    assert (call.system, call.max_tokens) == ("Be short.", 9)
    assert call.messages[0].images == ("cG5n",)


def test_functions_are_called_and_their_responses_come_back(
    server: ModelServer, client: genai.Client
) -> None:
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Weather of a city."""
        asked.append(city)
        return "21 degrees"

    server.on(contains="weather").reply(ToolCall("get_weather", {"city": "Paris"}))
    server.on(tool_result={"get_weather": "21 degrees"}).reply("It is 21 degrees.")
    chat = client.chats.create(model=MODEL, config=types.GenerateContentConfig(tools=[get_weather]))
    assert chat.send_message("weather in Paris?").text == "It is 21 degrees."
    assert asked == ["Paris"]


def test_parallel_function_calls_are_streamed_whole(
    server: ModelServer, client: genai.Client
) -> None:
    server.set_response([ToolCall("a", {"x": 1}), ToolCall("b", {"y": [2]})])
    parts = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    calls = [call for part in parts for call in part.function_calls or ()]
    assert [(call.name, call.args) for call in calls] == [("a", {"x": 1}), ("b", {"y": [2]})]


def test_a_function_that_must_be_called_is_called_without_any_script(
    server: ModelServer, client: genai.Client
) -> None:
    function = types.FunctionDeclaration(
        name="pick",
        parameters=types.Schema(
            type=types.Type.OBJECT, properties={"n": types.Schema(type=types.Type.INTEGER)}
        ),
    )
    answer = ask(
        client,
        tools=[types.Tool(function_declarations=[function])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY
            )
        ),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    assert answer.function_calls[0].name == "pick"


def test_structured_output_is_parsed_by_the_client(
    server: ModelServer, client: genai.Client
) -> None:
    class Person(BaseModel):
        name: str
        age: int
        nickname: str | None = None

    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    config = {"response_mime_type": "application/json", "response_schema": list[Person]}
    people = ask(client, **config).parsed
    assert all(isinstance(person, Person) for person in people)
    answer = ask(client, response_mime_type="text/x.enum", response_schema=Colour)
    assert answer.text in ("red", "blue")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    shaped = ask(client, response_mime_type="application/json", response_json_schema=schema)
    assert isinstance(shaped.parsed["n"], int)


def test_thoughts_are_told_where_they_are_asked_for_and_counted_anyway(
    server: ModelServer, client: genai.Client
) -> None:
    server.set_response("42", thinking="six times seven")
    plain = ask(client)
    assert [part.text for part in plain.candidates[0].content.parts] == ["42"]
    assert plain.usage_metadata.thoughts_token_count == 3
    assert plain.usage_metadata.total_token_count == 7 + 1 + 3
    thinking = types.ThinkingConfig(include_thoughts=True)
    parts = ask(client, thinking_config=thinking).candidates[0].content.parts
    assert [(part.text, part.thought) for part in parts] == [
        ("six times seven", True),
        ("42", None),
    ]


def test_several_candidates_and_stop_sequences(server: ModelServer, client: genai.Client) -> None:
    server.set_response("one END two")
    answer = ask(client, candidate_count=2, stop_sequences=["END"])
    texts = [candidate.content.parts[0].text for candidate in answer.candidates]
    assert texts == ["one ", "one "]
    assert [candidate.index for candidate in answer.candidates] == [0, 1]


def test_logprobs_come_a_token_each(server: ModelServer, client: genai.Client) -> None:
    server.set_response("Hello, you!")
    (candidate,) = ask(client, response_logprobs=True, logprobs=2).candidates
    chosen = candidate.logprobs_result.chosen_candidates
    assert [one.token for one in chosen] == ["Hello", ",", " you", "!"]
    assert candidate.avg_logprobs < 0


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "MAX_TOKENS"), ("content_filter", "SAFETY")]
)
def test_why_it_ended_is_said_in_googles_words(
    server: ModelServer, client: genai.Client, finish: str, reason: str
) -> None:
    server.set_response("half an", finish=finish)
    assert ask(client).candidates[0].finish_reason.value == reason


def test_a_blocked_prompt_has_feedback_and_no_candidates(
    server: ModelServer, client: genai.Client
) -> None:
    server.on("hi").reply(error(400, kind="content_filter"))
    answer = ask(client)
    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT


def test_embeddings_have_the_size_that_is_asked_for(
    server: ModelServer, client: genai.Client
) -> None:
    one = client.models.embed_content(model="gemini-embedding-001", contents="a").embeddings
    assert one is not None
    assert len(one[0].values or ()) == 3072
    config = types.EmbedContentConfig(output_dimensionality=8, task_type="RETRIEVAL_QUERY")
    many = client.models.embed_content(
        model="gemini-embedding-001", contents=["a", "b"], config=config
    ).embeddings
    assert many is not None
    assert [len(each.values or ()) for each in many] == [8, 8]
    server.on(kind="embedding").reply(embeddings=((0.5, 0.25),))
    again = client.models.embed_content(model="gemini-embedding-001", contents="a").embeddings
    assert again is not None
    assert again[0].values == [0.5, 0.25]


def test_tokens_are_counted_as_the_answer_counts_them(
    server: ModelServer, client: genai.Client
) -> None:
    counted = client.models.count_tokens(model=MODEL, contents="some words to count")
    answer = ask(client, "some words to count")
    assert counted.total_tokens == answer.usage_metadata.prompt_token_count


def test_models_are_listed_page_by_page_and_retrieved(
    server: ModelServer, client: genai.Client
) -> None:
    names = [model.name for model in client.models.list(config={"page_size": 3})]
    assert len(names) == len(set(names)) == 8
    model = client.models.get(model="gemini-2.5-pro")
    assert (model.name, "generateContent" in (model.supported_actions or ())) == (
        "models/gemini-2.5-pro",
        True,
    )
    server.remove_model("gemini-2.5-pro")
    with pytest.raises(errors.ClientError) as caught:
        client.models.get(model="gemini-2.5-pro")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (400, 400, "INVALID_ARGUMENT"),
        (403, 403, "PERMISSION_DENIED"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (500, 500, "INTERNAL"),
        (503, 503, "UNAVAILABLE"),
        (504, 504, "DEADLINE_EXCEEDED"),
        (529, 503, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("method", ["generate_content", "generate_content_stream"])
def test_errors_are_the_clients_own(
    server: ModelServer, client: genai.Client, status: int, code: int, name: str, method: str
) -> None:
    server.on("hi").reply(error(status))
    with pytest.raises(errors.APIError) as caught:
        list(getattr(client.models, method)(model=MODEL, contents="hi"))
    assert (caught.value.code, caught.value.status) == (code, name)


def test_retries_are_answered(server: ModelServer) -> None:
    server.set_response("at last")
    server.fail_next(2, status=503)
    retry = types.HttpRetryOptions(attempts=3, initial_delay=0.001, max_delay=0.002, jitter=0)
    assert ask(client_of(server, retry_options=retry)).text == "at last"
    assert [one.status for one in server.requests] == [503, 503, 200]


def test_an_error_in_the_midst_of_a_stream_is_raised(
    server: ModelServer, client: genai.Client
) -> None:
    server.set_response("one two three")
    server.fail_next(fault="error_event", after=2, kind="overloaded")
    parts = client.models.generate_content_stream(model=MODEL, contents="hi")
    assert [next(parts).text, next(parts).text] == ["one", " two"]
    with pytest.raises(errors.ServerError, match="overloaded"):
        next(parts)


def test_the_key_is_checked_where_one_is_set() -> None:
    with serve(("gemini",), api_key="right") as server:
        with pytest.raises(errors.ClientError, match="API key not valid") as caught:
            ask(client_of(server))
        assert caught.value.code == 400
        right = genai.Client(api_key="right", http_options=types.HttpOptions(base_url=server.url))
        assert ask(right).text


def test_the_asynchronous_client_is_answered_alike() -> None:
    async def run() -> tuple[str | None, list[str | None]]:
        async with serve(("gemini",)) as server:
            server.set_response("Hello, you!")
            client = client_of(server).aio
            whole = await client.models.generate_content(model=MODEL, contents="hi")
            stream = await client.models.generate_content_stream(model=MODEL, contents="hi")
            parts = [part.text async for part in stream]
            await client.aclose()
            return whole.text, parts

    assert asyncio.run(run()) == ("Hello, you!", ["Hello", ",", " you", "!"])
