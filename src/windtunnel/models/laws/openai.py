"""Laws of OpenAI's API, as any server that is compatible with it should keep them."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from typing import Any

from windtunnel.models.laws import book as books
from windtunnel.models.laws.book import Book, Ways, add_common, allowed, numbers, satisfies
from windtunnel.models.laws.peer import (
    Answer,
    BrokenError,
    NotExercisedError,
    Peer,
    expect,
    parsed,
    take,
)

_API = "https://platform.openai.com/docs/api-reference"
BOOK = Book("openai", f"{_API}/chat/create")
law = BOOK.law
CHAT = "/v1/chat/completions"
_STREAM = f"{_API}/chat-streaming"
_EMBED = f"{_API}/embeddings/create"
_ERRORS = "https://platform.openai.com/docs/guides/error-codes"
_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}
_NO_CHAT = ("embed", "whisper", "tts", "dall-e", "image", "moderation", "transcribe", "realtime")


def choose(peer: Peer) -> None:
    """Name the models that are asked, where nobody did: from the server's list."""
    answer = peer.ask("GET", "/v1/models")
    listed = parsed(answer.body) if answer.status == 200 else {}
    data = listed.get("data") if isinstance(listed, dict) else None
    names = [str(one.get("id")) for one in data or () if isinstance(one, dict)]
    chats = [name for name in names if not any(part in name for part in _NO_CHAT)]
    preferred = [name for name in chats if name.startswith("gpt-4o")]
    peer.model = peer.model or next(iter(preferred or chats), "gpt-4o-mini")
    embedders = [name for name in names if "embed" in name or "minilm" in name]
    peer.embedder = peer.embedder or next(iter(embedders), peer.model)


def chat(peer: Peer, text: str = "Say hello.", stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a chat."""
    body = {"model": peer.model, "messages": [{"role": "user", "content": text}], **more}
    return body | {"stream": True} if stream else body


def _shaped(schema: Mapping[str, Any]) -> dict[str, Any]:
    inner = {"name": "answer", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": inner}


def _named(peer: Peer, word: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [word]}},
        "required": ["word"],
        "additionalProperties": False,
    }
    return chat(peer, f"Answer with the word {word} as JSON.", response_format=_shaped(schema))


def _refused(answer: Answer, statuses: tuple[int, ...]) -> None:
    expect(answer.status in statuses, f"status {answer.status}, not {statuses[0]}")
    body = answer.json(answer.status)
    expect(bool(take(body, "error.message", str)), "error.message is empty")
    take(body, "error.type", str)
    take(body, "error", dict)


def _said(body: Any) -> str:
    return str(take(body, "choices.0.message.content", str))


def _adds_up(usage: Any) -> None:
    read, written = take(usage, "prompt_tokens", int), take(usage, "completion_tokens", int)
    total = take(usage, "total_tokens", int)
    expect(read > 0 and written > 0, f"a count of tokens is not above zero: {usage}")
    expect(read + written == total, f"{read} + {written} is not total_tokens {total}")


def _chunks(peer: Peer, **more: Any) -> list[Any]:
    events = peer.post(CHAT, chat(peer, stream=True, **more)).events()
    return [parsed(data) for _, data in events if data != "[DONE]"]


@law("models", "the list of models has object, data, and of each id and object", f"{_API}/models")
def _models(peer: Peer) -> None:
    body = peer.ask("GET", "/v1/models").json()
    expect(body.get("object") == "list", "object is not 'list'")
    for index, one in enumerate(take(body, "data", list)):
        expect(bool(take(one, "id", str)), f"data.{index}.id is empty")
        expect(take(one, "object", str) == "model", f"data.{index}.object is not 'model'")
        take(one, "created", int)
        take(one, "owned_by", str)


@law("answer", "a chat's answer has id, object, created, model, choices and finish_reason")
def _answer(peer: Peer) -> None:
    body = peer.post(CHAT, chat(peer)).json()
    expect(bool(take(body, "id", str)), "id is empty")
    expect(take(body, "object", str) == "chat.completion", "object is not 'chat.completion'")
    take(body, "created", int)
    take(body, "model", str)
    expect(take(body, "choices.0.index", int) == 0, "choices.0.index is not 0")
    expect(take(body, "choices.0.message.role", str) == "assistant", "role is not 'assistant'")
    expect(bool(_said(body)), "the content is empty")
    reason = take(body, "choices.0.finish_reason", str)
    expect(reason in _REASONS, f"finish_reason is {reason!r}")


@law("usage", "a chat's answer has usage above zero that adds up")
def _usage(peer: Peer) -> None:
    _adds_up(take(peer.post(CHAT, chat(peer)).json(), "usage", dict))


@law(
    "stream-frames",
    "a stream is `data:` frames and ends with [DONE]",
    _STREAM,
)
def _frames(peer: Peer) -> None:
    answer = peer.post(CHAT, chat(peer, stream=True))
    events = answer.events()
    expect(bool(events), "the stream has no frames")
    expect(events[-1][1] == "[DONE]", f"the stream ends with {events[-1][1][:60]!r}, not [DONE]")
    for _, data in events[:-1]:
        kind = take(parsed(data), "object", str)
        expect(kind == "chat.completion.chunk", f"a frame's object is {kind!r}")


@law("stream-text", "a stream's deltas make a text; its chunks share an id; one ends it", _STREAM)
def _text(peer: Peer) -> None:
    chunks = _chunks(peer)
    ids = {take(chunk, "id", str) for chunk in chunks}
    expect(len(ids) == 1, f"the chunks have {len(ids)} ids")
    choices = [choice for chunk in chunks for choice in take(chunk, "choices", list)]
    text = "".join(take(choice, "delta", dict).get("content") or "" for choice in choices)
    expect(bool(text), "the deltas make no text")
    reasons = [one["finish_reason"] for one in choices if one.get("finish_reason")]
    expect(len(reasons) == 1, f"{len(reasons)} chunks have a finish_reason, not one")
    expect(reasons[0] in _REASONS, f"finish_reason is {reasons[0]!r}")


@law("stream-usage", "a stream has usage, in a last chunk by itself, when asked and only then",
     _STREAM)  # fmt: skip
def _stream_usage(peer: Peer) -> None:
    plain = [chunk for chunk in _chunks(peer) if chunk.get("usage")]
    expect(not plain, "a stream has usage although nobody asked for it")
    asked = _chunks(peer, stream_options={"include_usage": True})
    found = [chunk for chunk in asked if chunk.get("usage")]
    expect(len(found) == 1 and found[0] is asked[-1], f"{len(found)} chunks have usage")
    expect(take(found[0], "choices", list) == [], "the chunk with usage has choices")
    _adds_up(found[0]["usage"])


@law("tools", "tools are called by tool_calls with ids and JSON arguments", f"{_API}/chat/object")
def _tools(peer: Peer) -> None:
    tool = {"type": "function", "function": {"name": books.TOOL, "parameters": books.WHERE}}
    asked = chat(peer, books.QUESTION, tools=[tool], tool_choice="required")
    body = allowed(peer.post(CHAT, asked), "tools are")
    message = take(body, "choices.0.message", dict)
    if not message.get("tool_calls"):
        raise NotExercisedError("the model answered without calling the tool")
    call = take(message, "tool_calls.0", dict)
    expect(bool(take(call, "id", str)), "the id of a tool call is empty")
    expect(take(call, "type", str) == "function", "the type of a tool call is not 'function'")
    expect(take(call, "function.name", str) == books.TOOL, "the call is of another tool")
    value = parsed(take(call, "function.arguments", str))
    expect(isinstance(value, dict), "the arguments are no JSON object")
    reason = take(body, "choices.0.finish_reason", str)
    expect(reason in ("tool_calls", "stop"), f"finish_reason is {reason!r}")


@law("json-schema", "an answer satisfies the response_format's schema",
     "https://platform.openai.com/docs/guides/structured-outputs")  # fmt: skip
def _json_schema(peer: Peer) -> None:
    asked = chat(peer, "Weather in Oslo, as JSON.", response_format=_shaped(books.SCHEMA))
    satisfies(_said(allowed(peer.post(CHAT, asked), "response_format is")))


def _embed(peer: Peer, **more: Any) -> list[Any]:
    body = {"model": peer.embedder, "input": ["one", "two", "three"], **more}
    found = allowed(peer.post("/v1/embeddings", body), "embedding is")
    expect(take(found, "usage.prompt_tokens", int) > 0, "usage.prompt_tokens is not above zero")
    data = take(found, "data", list)
    expect(len(data) == 3, f"{len(data)} vectors for 3 inputs")
    indexes = [take(one, "index", int) for one in data]
    expect(indexes == [0, 1, 2], f"the indexes are {indexes}")
    return [one.get("embedding") for one in data]


@law("embeddings", "embeddings are one vector an input, in order and all of one length", _EMBED)
def _embeddings(peer: Peer) -> None:
    vectors = [numbers(one, "embedding") for one in _embed(peer)]
    expect(len({len(one) for one in vectors}) == 1, "the vectors are not all of one length")


@law("embeddings-base64", "embeddings in base64 are the same numbers as in float", _EMBED)
def _base64(peer: Peer) -> None:
    plain = [numbers(one, "embedding") for one in _embed(peer, encoding_format="float")]
    for vector, coded in zip(plain, _embed(peer, encoding_format="base64"), strict=True):
        expect(isinstance(coded, str), "encoding_format base64 has no text for an answer")
        try:
            data = base64.b64decode(coded, validate=True)
        except binascii.Error as error:
            raise BrokenError(f"this is not base64: {error}") from None
        expect(len(data) == 4 * len(vector), f"{len(data)} bytes for {len(vector)} numbers")
        same = struct.unpack(f"<{len(vector)}f", data)
        pairs = zip(vector, same, strict=True)
        near = all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in pairs)
        expect(near, "the numbers in base64 are not those in float")


@law("unknown-model", "an unknown model is 404 in the API's error shape", _ERRORS)
def _unknown_model(peer: Peer) -> None:
    answer = peer.post(CHAT, chat(peer) | {"model": books.UNKNOWN_MODEL})
    if answer.status == 200:
        raise NotExercisedError("the server takes any model's name")
    _refused(answer, (404,))


@law("missing-field", "a chat without messages is 400 in the API's error shape", _ERRORS)
def _missing(peer: Peer) -> None:
    _refused(peer.post(CHAT, {"model": peer.model}), (400, 422))


@law("wrong-type", "messages that are no list are 400 in the API's error shape", _ERRORS)
def _wrong_type(peer: Peer) -> None:
    _refused(peer.post(CHAT, {"model": peer.model, "messages": "hello"}), (400, 422))


add_common(
    BOOK,
    Ways(
        path=lambda peer, stream: CHAT,
        body=chat,
        named=_named,
        said=_said,
        refused=_refused,
        nowhere="/v1/windtunnel-no-such-path",
        wrong_key=(401,),
    ),
)
