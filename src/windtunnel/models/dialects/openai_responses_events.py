"""A response as the events of its making, each with its sequence number.

The finished object is there before the first event is sent; the events tell how it would have come
to be. So a stream that is cut short leaves the stored response whole, and one that is asked for
again is the same.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from windtunnel.models.dialects.openai_tokens import cut, logprob, padding
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import Chunk, JsonObject, Reply
from windtunnel.models.tokens import pieces

_FINAL = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
    "cancelled": "response.completed",
}


def events(
    made: JsonObject, reply: Reply | None, raw: JsonObject, sent: list[int], after: int = -1
) -> Iterator[Chunk]:
    """The frames of a response's stream.

    :param reply: what it was made of, which may say how its text is cut.
    :param raw: the request's body.
    :param sent: a list of one number, kept at how many events there have been.
    :param after: leave out the events up to that sequence number.
    """
    asked = raw.get("stream_options") or {}
    stream = _Stream(sent, asked.get("include_obfuscation") is not False)
    frames = _all(stream, made, reply)
    for number, chunk in enumerate(frames):
        if number > after:
            yield chunk


def error_event(error: JsonObject, number: int) -> bytes:
    """The event that reports an error in the midst of a stream."""
    body = {"type": "error", "sequence_number": number} | {
        name: error.get(name) for name in ("code", "message", "param")
    }
    return b"event: error\ndata: " + dumps(body) + b"\n\n"


def _all(stream: _Stream, made: JsonObject, reply: Reply | None) -> Iterator[Chunk]:
    begun = made | {"status": "in_progress", "output": [], "usage": None, "completed_at": None}
    begun["incomplete_details"] = None
    if made["background"]:
        first = begun | {"status": "queued"}
        yield stream.event("response.created", {"response": first})
        yield stream.event("response.queued", {"response": first})
    else:
        yield stream.event("response.created", {"response": begun})
    yield stream.event("response.in_progress", {"response": begun})
    for place, item in enumerate(made["output"]):
        kind = item["type"]
        if kind == "message":
            yield from _message(stream, place, item, reply)
        elif kind == "reasoning":
            yield from _reasoning(stream, place, item)
        elif kind == "function_call":
            yield from _called(stream, place, item, "arguments", "function_call_arguments")
        elif kind == "custom_tool_call":
            yield from _called(stream, place, item, "input", "custom_tool_call_input")
    yield stream.event(_FINAL.get(made["status"], "response.completed"), {"response": made})


def _message(stream: _Stream, place: int, item: JsonObject, reply: Reply | None) -> Iterator[Chunk]:
    yield stream.added(place, item | {"status": "in_progress", "content": []})
    for inner, part in enumerate(item["content"]):
        where = {"item_id": item["id"], "output_index": place, "content_index": inner}
        if part["type"] == "refusal":
            empty = {"type": "refusal", "refusal": ""}
            yield stream.event("response.content_part.added", where | {"part": empty})
            for piece in pieces(part["refusal"]):
                yield stream.event("response.refusal.delta", where | {"delta": piece}, 1)
            yield stream.event("response.refusal.done", where | {"refusal": part["refusal"]})
        else:
            yield from _text(stream, where, part, reply)
        yield stream.event("response.content_part.done", where | {"part": part})
    yield stream.done(place, item)


def _text(
    stream: _Stream, where: JsonObject, part: JsonObject, reply: Reply | None
) -> Iterator[Chunk]:
    text = part["text"]
    empty = part | {"text": "", "logprobs": []}
    yield stream.event("response.content_part.added", where | {"part": empty})
    top = len(part["logprobs"][0]["top_logprobs"]) if part["logprobs"] else -1
    cuts: Sequence[str] = pieces(text)
    if reply is not None and reply.pieces:
        cuts = cut(reply)
    write = stream.deltas(where)
    for piece in cuts:
        yield write(piece, _short([logprob(piece, top)]) if top >= 0 else [])
    scored = _short(part["logprobs"])
    yield stream.event("response.output_text.done", where | {"logprobs": scored, "text": text})


def _reasoning(stream: _Stream, place: int, item: JsonObject) -> Iterator[Chunk]:
    yield stream.added(place, item | {"summary": []})
    for inner, part in enumerate(item["summary"]):
        where = {"item_id": item["id"], "output_index": place, "summary_index": inner}
        empty = {"type": "summary_text", "text": ""}
        yield stream.event("response.reasoning_summary_part.added", where | {"part": empty})
        for piece in pieces(part["text"]):
            yield stream.event("response.reasoning_summary_text.delta", where | {"delta": piece}, 1)
        done = where | {"text": part["text"]}
        yield stream.event("response.reasoning_summary_text.done", done)
        yield stream.event("response.reasoning_summary_part.done", where | {"part": part})
    yield stream.done(place, item)


def _called(
    stream: _Stream, place: int, item: JsonObject, field: str, word: str
) -> Iterator[Chunk]:
    yield stream.added(place, item | {"status": "in_progress", field: ""})
    where = {"item_id": item["id"], "output_index": place}
    for piece in pieces(item[field]):
        yield stream.event(f"response.{word}.delta", where | {"delta": piece}, 1)
    done = where | {field: item[field]}
    if field == "arguments":
        done["name"] = item["name"]
    yield stream.event(f"response.{word}.done", done)
    yield stream.done(place, item)


def _short(scored: list[JsonObject]) -> list[JsonObject]:
    """Log probabilities as events have them: without bytes."""
    return [
        {
            "token": one["token"],
            "logprob": one["logprob"],
            "top_logprobs": [
                {"token": other["token"], "logprob": other["logprob"]}
                for other in one["top_logprobs"]
            ],
        }
        for one in scored
    ]


class _Stream:
    """Numbers the events of one stream and writes them."""

    __slots__ = ("_padded", "_sent")

    def __init__(self, sent: list[int], padded: bool) -> None:
        self._sent = sent
        self._padded = padded

    def event(self, name: str, body: JsonObject, tokens: int = 0) -> Chunk:
        """One event."""
        number = self._sent[0]
        self._sent[0] = number + 1
        made: dict[str, Any] = {"type": name, "sequence_number": number}
        made |= body
        if self._padded and "delta" in body:
            made["obfuscation"] = padding(body["delta"])
        return Chunk(f"event: {name}\ndata: ".encode() + dumps(made) + b"\n\n", tokens, name)

    def added(self, place: int, item: JsonObject) -> Chunk:
        """A new item of the output."""
        return self.event("response.output_item.added", {"output_index": place, "item": item})

    def done(self, place: int, item: JsonObject) -> Chunk:
        """An item of the output is complete."""
        return self.event("response.output_item.done", {"output_index": place, "item": item})

    def deltas(self, where: JsonObject) -> _Deltas:
        """What writes the deltas of one text, by far the commonest events."""
        return _Deltas(self._sent, where, self._padded)


class _Deltas:
    __slots__ = ("_padded", "_rest", "_sent")

    def __init__(self, sent: list[int], where: JsonObject, padded: bool) -> None:
        self._sent = sent
        self._padded = padded
        self._rest = b"," + dumps(where)[1:-1] + b',"delta":'

    def __call__(self, piece: str, scored: list[JsonObject]) -> Chunk:
        number = self._sent[0]
        self._sent[0] = number + 1
        pad = b',"obfuscation":"' + padding(piece).encode() + b'"' if self._padded else b""
        data = (
            b"event: response.output_text.delta\n"
            b'data: {"type":"response.output_text.delta","sequence_number":%d%b%b,"logprobs":%b%b}'
            b"\n\n"
        ) % (number, self._rest, dumps(piece), dumps(scored) if scored else b"[]", pad)
        return Chunk(data, 1, "response.output_text.delta")
