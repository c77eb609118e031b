"""Chat completions, written: a :class:`Reply` to the object or the stream of chunks.

Source: https://platform.openai.com/docs/api-reference/chat/object and ``.../chat/streaming``
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from windtunnel.models.dialects.openai_chat_quick import PLAIN
from windtunnel.models.dialects.openai_sounds import sound
from windtunnel.models.dialects.openai_tokens import (
    chat_usage,
    cut,
    logprob,
    logprobs,
    padding,
    stopped,
)
from windtunnel.models.dialects.openai_tools import arguments_text
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    JsonObject,
    ModelCall,
    Reply,
    Response,
    ToolCall,
    Usage,
)
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import count, pieces

STREAM = "text/event-stream; charset=utf-8"
DONE = Chunk(b"data: [DONE]\n\n", 0, "[DONE]")
FINGERPRINT = "fp_f1bac968c5"
_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
}


def render_chat(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to a chat completion request."""
    if _is_plain(call) and not (reply.tool_calls or reply.refusal or reply.extra):
        return Response(200, _text_alone(call, reply, usage, state))
    reply, usage = stopped(call, reply, usage)
    completion = _Completion(call, reply, usage, state)
    if call.stream:
        return Response(200, completion.frames(), STREAM)
    made = completion.whole()
    if call.raw.get("store"):
        keep(made, call, state)
    return Response(200, dumps(made))


def _is_plain(call: ModelCall) -> bool:
    """Whether one text answers it, whole and without anything that must be asked for."""
    if call.stream or call.n != 1:
        return False
    return call.options is PLAIN or _CHANGING.isdisjoint(call.raw)


def _text_alone(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> bytes:
    """What :meth:`_Completion.whole` makes of one text without anything else, as bytes: the answer
    that programs under load get by the thousand."""
    text = reply.text
    written = _written if len(text) < _LONG else _written.__wrapped__
    read, wrote = usage.input_tokens, usage.output_tokens
    return _TEXT_ALONE % (
        state.ids.alnum("chatcmpl-", 29).encode(),
        state.ids.now(),
        written(call.model, text, _FINISH[reply.finished]),
        read,
        wrote,
        read + wrote,
        usage.cached_tokens,
        usage.reasoning_tokens,
    )


def _message(content: str | None, refusal: str | None) -> JsonObject:
    return {"role": "assistant", "content": content, "refusal": refusal, "annotations": []}


@functools.lru_cache(maxsize=512)
def _written(model: str, text: str, finish: str) -> bytes:
    message = _message(text, None)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return dumps({"model": model, "choices": [choice]})[1:-1]


_LONG = 4096  # characters of a text that is not kept written
_TEXT_ALONE = (
    b'{"id":"%b","object":"chat.completion","created":%d,%b,"usage":{"prompt_tokens":%d,'
    b'"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":%d,"audio_tokens":0,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default",'
    b'"system_fingerprint":"' + FINGERPRINT.encode() + b'"}'
)
# Fields of a request that change how its answer is written.
_CHANGING = frozenset({"audio", "functions", "logprobs", "modalities", "stop", "store", "tools"})


def keep(made: JsonObject, call: ModelCall, state: ServerState) -> None:
    """Remember a completion, for those who ask for it by its identifier; the oldest goes first."""
    stored = state.store("openai.chat")
    stored[made["id"]] = {"object": made, "messages": call.raw["messages"]}
    if len(stored) > 1024:
        del stored[next(iter(stored))]


class _Completion:
    """One answer on its way out."""

    __slots__ = ("call", "choices", "created", "id", "legacy", "state", "top", "usage", "voiced")

    def __init__(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> None:
        self.call = call
        self.usage = usage
        self.state = state
        self.id = state.ids.alnum("chatcmpl-", 29)
        self.created = state.ids.now()
        raw = call.raw
        answers = (reply, *reply.choices)[: call.n]
        self.choices = answers + (reply,) * (call.n - len(answers))
        self.legacy = "functions" in raw and "tools" not in raw
        self.voiced = "audio" in (raw.get("modalities") or ())
        self.top: int = (raw.get("top_logprobs") or 0) if raw.get("logprobs") else -1

    # -- whole ----------------------------------------------------------------------------------

    def whole(self) -> JsonObject:
        call = self.call
        made: JsonObject = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": call.model,
            "choices": [self._choice(place, one) for place, one in enumerate(self.choices)],
            "usage": chat_usage(self.usage),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        if call.raw.get("store"):
            made["metadata"] = call.raw.get("metadata") or {}
        extra = self.choices[0].extra
        return made | dict(extra) if extra else made

    def _choice(self, place: int, reply: Reply) -> JsonObject:
        calls = self._calls(reply)
        said = reply.text if reply.text or not (calls or reply.refusal) else None
        message = _message(said, reply.refusal or None)
        if calls and self.legacy:
            message["function_call"] = {
                "name": calls[0].name,
                "arguments": arguments_text(calls[0]),
            }
        elif calls:
            message["tool_calls"] = [self._called(one) for one in calls]
        if self.voiced and reply.text:
            message["audio"] = self._audio(reply)
            message["content"] = None
        return {
            "index": place,
            "message": message,
            "logprobs": self._logprobs(reply),
            "finish_reason": self._finish(reply),
        }

    def _calls(self, reply: Reply) -> tuple[ToolCall, ...]:
        """The calls that may be made: one, where the client wants none in parallel."""
        calls = reply.tool_calls
        if len(calls) > 1 and (self.legacy or self.call.raw.get("parallel_tool_calls") is False):
            return calls[:1]
        return calls

    def _called(self, used: ToolCall) -> JsonObject:
        named = used.id or self.state.ids.alnum("call_", 24)
        if custom(self.call.raw, used.name):
            inner = {"name": used.name, "input": used.text or str(used.arguments.get("input", ""))}
            return {"id": named, "type": "custom", "custom": inner}
        inner = {"name": used.name, "arguments": arguments_text(used)}
        return {"id": named, "type": "function", "function": inner}

    def _audio(self, reply: Reply) -> JsonObject:
        form = (self.call.raw.get("audio") or {}).get("format", "wav")
        return {
            "id": self.state.ids.hex("audio_", 32),
            "data": base64.b64encode(reply.media or sound(form)).decode(),
            "expires_at": self.created + 3600,
            "transcript": reply.text,
        }

    def _logprobs(self, reply: Reply) -> JsonObject | None:
        if self.top < 0:
            return None
        content = logprobs(pieces(reply.text), self.top) if reply.text else None
        refused = logprobs(pieces(reply.refusal), self.top) if reply.refusal else None
        return {"content": content, "refusal": refused}

    def _finish(self, reply: Reply) -> str:
        finish = _FINISH[reply.finished]
        return "function_call" if finish == "tool_calls" and self.legacy else finish

    # -- in chunks ------------------------------------------------------------------------------

    def frames(self) -> Iterator[Chunk]:
        raw = self.call.raw
        asked = raw.get("stream_options") or {}
        frame = _Frame(self, asked.get("include_obfuscation") is not False)
        counted = asked.get("include_usage") is True
        frame.counted = counted
        for place, reply in enumerate(self.choices):
            yield from self._choice_frames(frame, place, reply)
        if counted:
            yield frame.usage(chat_usage(self.usage))
        if raw.get("store"):
            keep(self.whole(), self.call, self.state)
        yield DONE

    def _choice_frames(self, frame: _Frame, place: int, reply: Reply) -> Iterator[Chunk]:
        calls = self._calls(reply)
        first: JsonObject = {"role": "assistant", "content": "", "refusal": None}
        if self.voiced and reply.text:
            yield from self._spoken(frame, place, reply)
        elif not reply.text and (calls or reply.refusal):
            first["content"] = None
            yield frame.delta(place, first)
        else:
            yield frame.delta(place, first)
            for piece in cut(reply):
                yield frame.text(place, piece, self.top)
        for piece in pieces(reply.refusal):
            shown = {"content": None, "refusal": [logprob(piece, self.top)]}
            scored = shown if self.top >= 0 else None
            yield frame.delta(place, {"refusal": piece}, 1, logprobs=scored)
        if calls and self.legacy:
            yield from self._legacy(frame, place, calls[0])
        else:
            for number, used in enumerate(calls):
                yield from self._tool(frame, place, number, used)
        yield frame.delta(place, {}, finish=self._finish(reply))

    def _tool(self, frame: _Frame, place: int, number: int, used: ToolCall) -> Iterator[Chunk]:
        called = self._called(used)
        inner = called[called["type"]]
        body = "arguments" if "arguments" in inner else "input"
        text, inner[body] = inner[body], ""
        opening = {"tool_calls": [{"index": number, **called}]}
        yield frame.delta(place, opening, count(used.name) + 1)
        for piece in pieces(text):
            more = {"tool_calls": [{"index": number, called["type"]: {body: piece}}]}
            yield frame.delta(place, more, 1)

    def _legacy(self, frame: _Frame, place: int, used: ToolCall) -> Iterator[Chunk]:
        opening = {"function_call": {"name": used.name, "arguments": ""}}
        yield frame.delta(place, opening, count(used.name) + 1)
        for piece in pieces(arguments_text(used)):
            yield frame.delta(place, {"function_call": {"arguments": piece}}, 1)

    def _spoken(self, frame: _Frame, place: int, reply: Reply) -> Iterator[Chunk]:
        audio = self._audio(reply)
        opening = {"role": "assistant", "content": None, "audio": {"id": audio["id"]}}
        yield frame.delta(place, opening)
        for piece in cut(reply):
            yield frame.delta(place, {"audio": {"transcript": piece}}, 1)
        yield frame.delta(place, {"audio": {"data": audio["data"]}})
        yield frame.delta(place, {"audio": {"expires_at": audio["expires_at"]}})


class _Frame:
    """Writes the chunks of one stream. What all have in common is written once."""

    __slots__ = ("_head", "_made", "_padded", "_texts", "counted")

    def __init__(self, completion: _Completion, padded: bool) -> None:
        self._made: JsonObject = {
            "id": completion.id,
            "object": "chat.completion.chunk",
            "created": completion.created,
            "model": completion.call.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self._head = b"data: " + dumps(self._made)[:-1] + b',"choices":['
        self._padded = padded
        self._texts: dict[int, bytes] = {}
        self.counted = False

    def text(self, place: int, piece: str, top: int) -> Chunk:
        """A chunk of text; by far the commonest."""
        if top >= 0:
            scored = {"content": [logprob(piece, top)], "refusal": None}
            return self.delta(place, {"content": piece}, 1, logprobs=scored)
        head = self._texts.get(place)
        if head is None:
            head = self._texts[place] = self._head + b'{"index":%d,"delta":{"content":' % place
        return Chunk(
            head + dumps(piece) + b'},"logprobs":null,"finish_reason":null}]' + self._tail(piece),
            1,
            "chat.completion.chunk",
        )

    def delta(
        self,
        place: int,
        delta: Mapping[str, Any],
        tokens: int = 0,
        *,
        logprobs: JsonObject | None = None,
        finish: str | None = None,
    ) -> Chunk:
        """A chunk for one choice."""
        choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        data = self._head + dumps(choice) + b"]" + self._tail(str(delta.get("content") or ""))
        return Chunk(data, tokens, "chat.completion.chunk")

    def usage(self, usage: JsonObject) -> Chunk:
        """The chunk after the last choice's: no choice, only usage."""
        data = self._head + b'],"usage":' + dumps(usage)
        if self._padded:
            data += b',"obfuscation":"' + padding("").encode() + b'"'
        return Chunk(data + b"}\n\n", 0, "usage")

    def _tail(self, piece: str) -> bytes:
        counted = b',"usage":null' if self.counted else b""
        if self._padded:
            return counted + b',"obfuscation":"' + padding(piece).encode() + b'"}\n\n'
        return counted + b"}\n\n"


def custom(raw: JsonObject, name: str) -> bool:
    """Whether the tool of that name is a custom one, which takes text and not JSON."""
    for tool in raw.get("tools") or ():
        if tool.get("type") == "custom":
            inner = tool.get("custom", tool)
            if inner.get("name") == name:
                return True
    return False
