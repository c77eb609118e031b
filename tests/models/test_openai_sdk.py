"""The official client against our server: what it asks for, it gets, in its own types.

The client validates every answer strictly, and refuses one that does not fit its types. The same
tests run with the client's major version before (see ``test_openai_frameworks.py``).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import struct
import wave

import openai
import pydantic
import pytest

from windtunnel.models import Reply, ToolCall, Usage, serve

HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
FLAT_WEATHER = {"type": "function", **WEATHER["function"]}
CALLS = [ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Rome"})]


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str]


@pytest.fixture(scope="module")
def house():
    with serve(("openai",)) as server:
        yield server


@pytest.fixture(scope="module")
def strict(house):
    with openai.OpenAI(
        base_url=f"{house.url}/v1", api_key="k", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture
def server(house):
    house.reset()
    return house


@pytest.fixture
def client(server, strict):
    return strict


def _async_client(server):
    return openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="k", max_retries=0, _strict_response_validation=True
    )


# -- chat -----------------------------------------------------------------------------------------


def test_a_scripted_answer_comes_with_usage_that_adds_up(server, client):
    server.on("hi").reply("Hello, you!")
    made = client.chat.completions.create(model="gpt-4o", messages=HI)
    choice = made.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello, you!", "stop")
    assert made.usage.completion_tokens == 4
    assert made.usage.prompt_tokens > 0
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.id.startswith("chatcmpl-")
    assert made._request_id.startswith("req_")


def test_a_stream_is_the_same_answer_in_pieces_and_counts_only_when_asked(server, client):
    server.on("hi").reply("Hello, you!", then="repeat")
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello, you!"
    assert len(chunks) > 4
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    counted = list(
        client.chat.completions.create(
            model="gpt-4o", messages=HI, stream=True, stream_options={"include_usage": True}
        )
    )
    assert counted[-1].choices == []
    assert counted[-1].usage.completion_tokens == 4
    assert all(chunk.usage is None for chunk in counted[:-1])


def test_tools_are_called_and_their_results_go_back(server, client):
    server.on(contains="weather").reply(CALLS)
    server.on(tool_result="weather").reply("Cold.")
    talk = [{"role": "user", "content": "weather?"}]
    made = client.chat.completions.create(model="gpt-4o", messages=talk, tools=[WEATHER])
    message = made.choices[0].message
    assert made.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert [json.loads(call.function.arguments)["city"] for call in message.tool_calls] == [
        "Oslo",
        "Rome",
    ]
    assert len({call.id for call in message.tool_calls}) == 2
    talk.append(message.model_dump())
    talk += [
        {"role": "tool", "tool_call_id": call.id, "content": "-3"} for call in message.tool_calls
    ]
    said = client.chat.completions.create(model="gpt-4o", messages=talk, tools=[WEATHER])
    assert said.choices[0].message.content == "Cold."


def test_streamed_tool_calls_are_put_together_by_the_client(server, client):
    server.on("hi").reply(CALLS)
    with client.chat.completions.stream(model="gpt-4o", messages=HI, tools=[WEATHER]) as stream:
        kinds = {event.type for event in stream}
        made = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert [call.function.name for call in made.choices[0].message.tool_calls] == ["weather"] * 2
    assert made.choices[0].message.tool_calls[1].function.arguments == '{"city":"Rome"}'


def test_no_parallel_calls_are_made_where_the_client_wants_none(server, client):
    server.on("hi").reply(CALLS)
    made = client.chat.completions.create(
        model="gpt-4o", messages=HI, tools=[WEATHER], parallel_tool_calls=False
    )
    assert len(made.choices[0].message.tool_calls) == 1


def test_the_functions_of_old_are_called_as_they_were(server, client):
    server.on("hi").reply(CALLS[0])
    functions = [{"name": "weather", "parameters": {"type": "object", "properties": {}}}]
    made = client.chat.completions.create(model="gpt-4o", messages=HI, functions=functions)
    assert made.choices[0].finish_reason == "function_call"
    assert made.choices[0].message.function_call.name == "weather"


def test_structured_output_satisfies_the_schema_without_any_script(server, client):
    made = client.chat.completions.parse(model="gpt-4o", messages=HI, response_format=Person)
    assert isinstance(made.choices[0].message.parsed, Person)
    tool = openai.pydantic_function_tool(Person)
    called = client.chat.completions.parse(
        model="gpt-4o", messages=HI, tools=[tool], tool_choice="required"
    )
    arguments = called.choices[0].message.tool_calls[0].function.parsed_arguments
    assert isinstance(arguments, Person)


def test_a_structured_stream_is_parsed_by_the_client(server, client):
    server.on("hi").reply({"name": "Ada", "age": 36, "tags": []})
    with client.chat.completions.stream(
        model="gpt-4o", messages=HI, response_format=Person
    ) as stream:
        made = stream.get_final_completion()
    assert made.choices[0].message.parsed == Person(name="Ada", age=36, tags=[])


def test_log_probabilities_are_of_the_tokens_and_in_order(server, client):
    server.on("hi").reply("Hello, you!")
    made = client.chat.completions.create(
        model="gpt-4o", messages=HI, logprobs=True, top_logprobs=3
    )
    content = made.choices[0].logprobs.content
    assert "".join(token.token for token in content) == "Hello, you!"
    for token in content:
        tops = [top.logprob for top in token.top_logprobs]
        assert token.logprob <= 0
        assert len(tops) == 3
        assert tops == sorted(tops, reverse=True)
        assert tops[0] == token.logprob


def test_several_answers_are_several_choices(server, client):
    server.on("hi").reply(Reply("one", choices=(Reply("two"),)))
    made = client.chat.completions.create(model="gpt-4o", messages=HI, n=3)
    assert [choice.message.content for choice in made.choices] == ["one", "two", "one"]
    assert [choice.index for choice in made.choices] == [0, 1, 2]


@pytest.mark.parametrize(
    ("reply", "finish"),
    [(Reply("cut", finish="length"), "length"), (Reply(refusal="No."), "stop")],
    ids=["length", "refusal"],
)
def test_an_answer_says_why_it_ended(server, client, reply, finish):
    server.on("hi").reply(reply)
    made = client.chat.completions.create(model="gpt-4o", messages=HI)
    assert made.choices[0].finish_reason == finish
    assert (made.choices[0].message.refusal or "") == reply.refusal


def test_an_answer_in_sound_has_its_transcript(server, client):
    server.on("hi").reply("Hello!")
    made = client.chat.completions.create(
        model="gpt-4o-audio-preview",
        messages=HI,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    )
    audio = made.choices[0].message.audio
    assert audio.transcript == "Hello!"
    _check_wav(base64.b64decode(audio.data))


def test_stored_completions_are_found_again(server, client):
    server.set_response("Hello!")
    made = client.chat.completions.create(
        model="gpt-4o", messages=HI, store=True, metadata={"job": "a"}
    )
    client.chat.completions.create(model="gpt-4o", messages=HI)
    chat = client.chat.completions
    assert [one.id for one in chat.list()] == [made.id]
    assert [one.id for one in chat.list(metadata={"job": "b"})] == []
    assert chat.retrieve(made.id).choices[0].message.content == "Hello!"
    assert chat.update(made.id, metadata={"job": "b"}).metadata == {"job": "b"}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as loose:
        sent = loose.chat.completions.messages.list(made.id)
    assert [one.content for one in sent] == ["hi"]
    assert chat.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        chat.retrieve(made.id)


# -- responses ------------------------------------------------------------------------------------


def test_a_response_goes_on_where_the_one_before_ended(server, client):
    server.on("hi").reply("Hello!")
    server.on("again?").reply(lambda call: f"{len(call.messages)} messages, {call.system}")
    first = client.responses.create(model="gpt-4o", input="hi")
    assert first.output_text == "Hello!"
    second = client.responses.create(
        model="gpt-4o", input="again?", previous_response_id=first.id, instructions="Be brief."
    )
    assert second.output_text == "3 messages, Be brief."
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(first.id).output_text == "Hello!"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as loose:
        items = loose.responses.input_items.list(second.id)
    assert [item.content[0].text for item in items] == ["again?"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_response_that_is_not_stored_cannot_be_gone_on_from(server, client):
    made = client.responses.create(model="gpt-4o", input="hi", store=False)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="gpt-4o", input="hi", previous_response_id=made.id)
    assert refused.value.code == "previous_response_not_found"


def test_the_events_of_a_response_are_numbered_without_gaps(server, client):
    server.on("hi").reply("Hello, you!", thinking="Somebody greets me.")
    with client.responses.stream(
        model="gpt-4o", input="hi", reasoning={"summary": "auto"}
    ) as stream:
        events = list(stream)
        made = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert made.output_text == "Hello, you!"
    assert made.output[0].summary[0].text == "Somebody greets me."
    assert made.usage.output_tokens_details.reasoning_tokens > 0
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


def test_a_response_calls_tools_whole_and_streamed(server, client):
    server.on(contains="weather").reply(CALLS)
    server.on(tool_result="weather").reply("Cold.")
    with client.responses.stream(model="gpt-4o", input="weather?", tools=[FLAT_WEATHER]) as stream:
        kinds = [event.type for event in stream]
        made = stream.get_final_response()
    assert kinds.count("response.function_call_arguments.done") == 2
    calls = [item for item in made.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Oslo", "Rome"]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "-3"} for call in calls
    ]
    said = client.responses.create(
        model="gpt-4o", input=results, previous_response_id=made.id, tools=[FLAT_WEATHER]
    )
    assert said.output_text == "Cold."


def test_a_response_is_parsed_to_the_type_that_was_asked_for(server, client):
    made = client.responses.parse(model="gpt-4o", input="hi", text_format=Person)
    assert isinstance(made.output_parsed, Person)


def test_a_response_in_the_background_is_queued_and_then_done_or_cancelled(server, client):
    server.set_response("Hello!")
    made = client.responses.create(model="gpt-4o", input="hi", background=True)
    assert (made.status, made.output) == ("queued", [])
    assert client.responses.retrieve(made.id).output_text == "Hello!"
    other = client.responses.create(model="gpt-4o", input="hi", background=True)
    assert client.responses.cancel(other.id).status == "cancelled"
    assert client.responses.retrieve(other.id).status == "cancelled"
    whole = client.responses.create(model="gpt-4o", input="hi")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(whole.id)


def test_a_stream_is_taken_up_again_where_it_was_left(server, client):
    server.set_response("Hello, you!")
    events = list(client.responses.create(model="gpt-4o", input="hi", background=True, stream=True))
    rest = client.responses.retrieve(
        events[0].response.id, stream=True, starting_after=events[3].sequence_number
    )
    assert [event.type for event in rest] == [event.type for event in events[4:]]


def test_a_response_that_ran_out_of_tokens_is_incomplete(server, client):
    server.on("hi").reply(Reply("Hel", finish="length"))
    made = client.responses.create(model="gpt-4o", input="hi", max_output_tokens=16)
    assert made.status == "incomplete"
    assert made.incomplete_details.reason == "max_output_tokens"


def test_conversations_keep_what_is_said_in_them(server, client):
    server.set_response("Hello!")
    talk = client.conversations.create(metadata={"job": "a"})
    client.responses.create(model="gpt-4o", input="hi", conversation=talk.id)
    items = client.conversations.items.list(talk.id, order="asc")
    assert [item.role for item in items] == ["user", "assistant"]
    counted = client.responses.input_tokens.count(model="gpt-4o", input="hi", conversation=talk.id)
    assert counted.input_tokens > 5
    assert client.conversations.delete(talk.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(talk.id)


# -- the others -----------------------------------------------------------------------------------


def test_embeddings_are_the_same_as_numbers_and_in_base64(server, client):
    ask = {"model": "text-embedding-3-small", "input": ["a red fox", "a red dog", "sums"]}
    numbers = client.embeddings.create(**ask, encoding_format="float")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as loose:
        packed = loose.embeddings.create(**ask)
    fox, dog, sums = (one.embedding for one in numbers.data)
    assert packed.data[0].embedding == pytest.approx(fox, rel=1e-6)
    assert len(fox) == 1536
    assert math.hypot(*fox) == pytest.approx(1, rel=1e-6)
    assert sum(map(float.__mul__, fox, dog)) > sum(map(float.__mul__, fox, sums))
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 0
    short = client.embeddings.create(**ask, dimensions=8, encoding_format="float")
    assert [len(one.embedding) for one in short.data] == [8] * 3


def test_scripted_embeddings_are_given_back(server, client):
    server.on("fox", kind="embedding").reply(Reply(embeddings=((0.6, 0.8),)))
    made = client.embeddings.create(model="e", input="fox", encoding_format="float")
    assert made.data[0].embedding == [0.6, 0.8]


def test_moderation_flags_what_the_script_says(server, client):
    server.on(kind="moderation", contains="kill").reply(Reply(flagged=("violence",)))
    bad = client.moderations.create(input="kill it").results[0]
    good = client.moderations.create(input="pet it").results[0]
    assert (bad.flagged, bad.categories.violence, bad.categories.hate) == (True, True, False)
    assert bad.category_scores.violence > 0.5 > bad.category_scores.hate
    assert not good.flagged


def test_completions_of_old_are_whole_and_streamed(server, client):
    server.on("Once").reply(" upon a time", then="repeat")
    made = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once", echo=True, logprobs=2
    )
    assert made.choices[0].text == "Once upon a time"
    assert "".join(made.choices[0].logprobs.tokens) == "Once upon a time"
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as loose:
        chunks = loose.completions.create(
            model="gpt-3.5-turbo-instruct", prompt="Once", stream=True
        )
        assert "".join(chunk.choices[0].text for chunk in chunks) == " upon a time"


def test_models_are_listed_added_and_missed(server, client):
    server.add_model("mine")
    assert "mine" in [one.id for one in client.models.list()]
    assert client.models.retrieve("mine").id == "mine"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nobodys")
    assert refused.value.code == "model_not_found"
    server.remove_model("gpt-4o")
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-4o", messages=HI)
    assert refused.value.code == "model_not_found"


def test_a_batch_answers_each_line_of_its_file(server, client):
    server.on("hi").reply("Hello!", then="repeat")
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o", "messages": messages},
        }
        for number, messages in enumerate((HI, HI, []))
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    assert client.files.content(file.id).read() == content
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert batch.status == "validating"
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    done = [json.loads(line) for line in client.files.content(batch.output_file_id).text.split()]
    said = [one["response"]["body"]["choices"][0]["message"]["content"] for one in done]
    assert said == ["Hello!"] * 2
    failed = json.loads(client.files.content(batch.error_file_id).text)
    assert failed["response"]["status_code"] == 400


def test_files_are_kept_listed_and_deleted(server, client):
    file = client.files.create(file=("a.txt", b"abc"), purpose="user_data")
    assert (file.bytes, file.filename, file.purpose) == (3, "a.txt", "user_data")
    assert [one.id for one in client.files.list(purpose="user_data")] == [file.id]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_an_upload_in_parts_becomes_a_file(server, client):
    made = client.uploads.upload_file_chunked(
        file=b"abcdefghij", filename="a.txt", mime_type="text/plain", purpose="user_data",
        part_size=4, bytes=10,
    )  # fmt: skip
    assert made.status == "completed"
    assert client.files.content(made.file.id).read() == b"abcdefghij"


def _check_wav(data):
    with wave.open(io.BytesIO(data)) as sound:
        assert sound.getnframes() > 0


def test_speech_is_a_sound_and_is_written_down(server, client):
    spoken = client.audio.speech.create(
        model="tts-1", voice="alloy", input="hi", response_format="wav"
    )
    _check_wav(spoken.read())
    server.on(kind="audio").reply("Hello there!", then="repeat")
    ask = {"model": "whisper-1", "file": ("a.wav", spoken.read())}
    assert client.audio.transcriptions.create(**ask).text == "Hello there!"
    verbose = client.audio.transcriptions.create(
        **ask, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert [word.word for word in verbose.words] == ["Hello", "there!"]
    events = list(client.audio.transcriptions.create(**ask, stream=True))
    assert events[-1].text == "".join(event.delta for event in events[:-1]) == "Hello there!"


def test_an_image_is_a_picture_of_the_size_that_was_asked_for(server, client):
    made = client.images.generate(model="gpt-image-1", prompt="a fox", size="1536x1024")
    data = base64.b64decode(made.data[0].b64_json)
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (1536, 1024)
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    linked = client.images.generate(model="dall-e-3", prompt="a fox").data[0]
    assert client._client.get(linked.url).content.startswith(b"\x89PNG")
    events = list(
        client.images.generate(model="gpt-image-1", prompt="x", stream=True, partial_images=1)
    )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_an_error_is_the_clients_own_of_that_status(server, client, status, kind):
    server.fail_next(status=status, message="because")
    with pytest.raises(kind) as raised:
        client.chat.completions.create(model="gpt-4o", messages=HI)
    assert raised.value.status_code == status
    assert raised.value.body["message"] == "because"
    assert set(raised.value.body) == {"message", "type", "param", "code"}
    assert raised.value.request_id.startswith("req_")


def test_a_client_that_tries_again_gets_its_answer(server, client):
    server.on("hi").reply("Hello!")
    server.fail_next(2, status=429, retry_after_s=0.001)
    patient = client.with_options(max_retries=2)
    made = patient.chat.completions.create(model="gpt-4o", messages=HI)
    assert made.choices[0].message.content == "Hello!"
    assert server.request_count == 3


def test_headers_tell_the_request_and_what_is_left(server, client):
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
    assert raw.headers["x-request-id"] == raw.request_id
    left = int(raw.headers["x-ratelimit-remaining-requests"])
    assert left < int(raw.headers["x-ratelimit-limit-requests"])
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")


def test_a_key_is_asked_for_where_one_is_set():
    with serve(("openai",), api_key="right") as server:
        for key, message in (("wrong-wrong-wrong", "wrong-wr*****rong"), ("right", "")):
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
                if message:
                    with pytest.raises(openai.AuthenticationError, match="Incorrect API key") as no:
                        client.models.list()
                    assert message in no.value.message
                    assert no.value.code == "invalid_api_key"
                else:
                    assert client.models.list().data


def test_usage_that_the_script_gives_is_told_by_all(server, client):
    server.set_response(Reply("Hello!", usage=Usage(100, 20, 40, 5)))
    chat = client.chat.completions.create(model="gpt-4o", messages=HI).usage
    made = client.responses.create(model="gpt-4o", input="hi").usage
    assert (chat.prompt_tokens, chat.completion_tokens, chat.total_tokens) == (100, 20, 120)
    assert (made.input_tokens, made.output_tokens, made.total_tokens) == (100, 20, 120)
    assert chat.prompt_tokens_details.cached_tokens == 40
    assert made.input_tokens_details.cached_tokens == 40
    assert made.output_tokens_details.reasoning_tokens == 5


# -- asynchronous ---------------------------------------------------------------------------------


async def _all_at_once(server):
    async with _async_client(server) as client:

        async def streamed(number):
            chunks = await client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": f"{number}"}], stream=True
            )
            return "".join([one.choices[0].delta.content or "" async for one in chunks])

        texts = await asyncio.gather(*(streamed(number) for number in range(20)))
        async with client.responses.stream(model="gpt-4o", input="7") as stream:
            kinds = [event.type async for event in stream]
            made = await stream.get_final_response()
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="gpt-4o", messages=[])
    return texts, kinds, made.output_text


def test_the_asynchronous_client_gets_each_answer_to_its_own_question(server):
    server.on(matches=r"^\d+$").reply(lambda call: f"number {call.last_user_text}")
    texts, kinds, said = asyncio.run(_all_at_once(server))
    assert texts == [f"number {number}" for number in range(20)]
    assert kinds[-1] == "response.completed"
    assert said == "number 7"
