"""Laws of Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

from windtunnel.models.laws import book as books
from windtunnel.models.laws.book import Book, Ways, add_common, allowed
from windtunnel.models.laws.peer import Answer, NotExercisedError, Peer, expect, parsed, shown, take

_API = "https://docs.anthropic.com/en/api"
BOOK = Book("anthropic", f"{_API}/messages")
law = BOOK.law
CHAT = "/v1/messages"
_STREAM = "https://docs.anthropic.com/en/docs/build-with-claude/streaming"
_ERRORS = f"{_API}/errors"
_REASONS = {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"}


def choose(peer: Peer) -> None:
    """Name the model that is asked, where nobody did: from the server's list."""
    answer = peer.ask("GET", "/v1/models")
    listed = parsed(answer.body) if answer.status == 200 else {}
    data = listed.get("data") if isinstance(listed, dict) else None
    names = [str(one.get("id")) for one in data or () if isinstance(one, dict)]
    peer.model = peer.model or next(iter(names), "claude-sonnet-4-5")


def chat(peer: Peer, text: str = "Say hello.", stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a message."""
    messages = [{"role": "user", "content": text}]
    body = {"model": peer.model, "max_tokens": 200, "messages": messages, **more}
    return body | {"stream": True} if stream else body


def _with_tool(peer: Peer, text: str, name: str, schema: Any) -> dict[str, Any]:
    tool = {"name": name, "input_schema": schema}
    return chat(peer, text, tools=[tool], tool_choice={"type": "tool", "name": name})


def _named(peer: Peer, word: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"word": {"type": "string", "enum": [word]}},
        "required": ["word"],
    }
    return _with_tool(peer, f"Call the tool with {word}.", "say", schema)


def _refused(answer: Answer, statuses: tuple[int, ...]) -> None:
    expect(answer.status in statuses, f"status {answer.status}, not {statuses[0]}")
    body = answer.json(answer.status)
    expect(take(body, "type", str) == "error", "type is not 'error'")
    take(body, "error.type", str)
    expect(bool(take(body, "error.message", str)), "error.message is empty")


def _said(body: Any) -> str:
    parts = take(body, "content", list)
    return "".join(str(one.get("text") or shown(one.get("input", ""))) for one in parts)


def _counted(usage: Any) -> None:
    for name in ("input_tokens", "output_tokens"):
        expect(take(usage, name, int) > 0, f"{name} is not above zero")


def _events(peer: Peer) -> list[Any]:
    found: list[Any] = []
    for name, data in peer.post(CHAT, chat(peer, stream=True)).events():
        value = parsed(data)
        kind = take(value, "type", str)
        expect(kind == name, f"the event {name!r} holds a {kind!r}")
        if kind != "ping":
            found.append(value)
    expect(bool(found), "the stream has no events")
    return found


@law(
    "models",
    "the list of models has data, with ids and types, and has_more",
    f"{_API}/models-list",
)
def _models(peer: Peer) -> None:
    body = allowed(peer.ask("GET", "/v1/models"), "a list of models is")
    for one in take(body, "data", list):
        take(one, "id", str)
        expect(take(one, "type", str) == "model", "the type is not 'model'")
    take(body, "has_more", bool)


@law("answer", "a message has id, type, role, model, content and stop_reason")
def _answer(peer: Peer) -> None:
    body = peer.post(CHAT, chat(peer)).json()
    expect(bool(take(body, "id", str)), "id is empty")
    expect(take(body, "type", str) == "message", "type is not 'message'")
    expect(take(body, "role", str) == "assistant", "role is not 'assistant'")
    take(body, "model", str)
    expect(bool(_said(body)), "the content is empty")
    reason = take(body, "stop_reason", str)
    expect(reason in _REASONS, f"stop_reason is {reason!r}")


@law("usage", "a message counts the tokens read and written, above zero")
def _usage(peer: Peer) -> None:
    _counted(take(peer.post(CHAT, chat(peer)).json(), "usage", dict))


@law("stream-events", "a stream's events bear their type and come in order, blocks within", _STREAM)
def _order(peer: Peer) -> None:
    kinds = [one["type"] for one in _events(peer)]
    expect(kinds[0] == "message_start", f"the stream begins with {kinds[0]}")
    expect(kinds[-2:] == ["message_delta", "message_stop"], f"the stream ends with {kinds[-2:]}")
    is_open = False
    for kind in kinds[1:-2]:
        expect(kind.startswith("content_block_"), f"{kind} stands among the blocks")
        expect(is_open != (kind == "content_block_start"), f"{kind} stands out of order")
        is_open = kind != "content_block_stop"
    expect(not is_open, "the last block is not closed")


@law("stream-text", "a stream's deltas make a text, and its end has stop_reason and usage", _STREAM)
def _text(peer: Peer) -> None:
    events = _events(peer)
    deltas = [one for one in events if one["type"] == "content_block_delta"]
    text = "".join(str(take(one, "delta", dict).get("text", "")) for one in deltas)
    expect(bool(text), "the deltas make no text")
    ends = [one for one in events if one["type"] == "message_delta"]
    expect(bool(ends), "there is no message_delta")
    expect(take(ends[-1], "delta.stop_reason", str) in _REASONS, "stop_reason is none of the API's")
    expect(take(ends[-1], "usage.output_tokens", int) > 0, "usage.output_tokens is not above zero")


@law("tools", "tools are called by tool_use blocks with id, name and an object of input")
def _tools(peer: Peer) -> None:
    asked = _with_tool(peer, books.QUESTION, books.TOOL, books.WHERE)
    body = allowed(peer.post(CHAT, asked), "tools are")
    used = [one for one in take(body, "content", list) if one.get("type") == "tool_use"]
    if not used:
        raise NotExercisedError("the model answered without calling the tool")
    expect(bool(take(used[0], "id", str)), "the id of a tool_use is empty")
    expect(take(used[0], "name", str) == books.TOOL, "the call is of another tool")
    take(used[0], "input", dict)
    reason = take(body, "stop_reason", str)
    expect(reason == "tool_use", f"stop_reason is {reason!r}, not 'tool_use'")


@law("count-tokens", "count_tokens counts above zero", f"{_API}/messages-count-tokens")
def _count(peer: Peer) -> None:
    asked = {"model": peer.model, "messages": chat(peer)["messages"]}
    body = allowed(peer.post(f"{CHAT}/count_tokens", asked), "counting is")
    expect(take(body, "input_tokens", int) > 0, "input_tokens is not above zero")


@law("unknown-model", "an unknown model is 404 in the API's error shape", _ERRORS)
def _unknown_model(peer: Peer) -> None:
    answer = peer.post(CHAT, chat(peer) | {"model": books.UNKNOWN_MODEL})
    if answer.status == 200:
        raise NotExercisedError("the server takes any model's name")
    _refused(answer, (404,))


@law("missing-field", "a message without max_tokens is 400 in the API's error shape", _ERRORS)
def _missing(peer: Peer) -> None:
    body = chat(peer)
    del body["max_tokens"]
    _refused(peer.post(CHAT, body), (400,))


@law("wrong-type", "messages that are no list are 400 in the API's error shape", _ERRORS)
def _wrong_type(peer: Peer) -> None:
    _refused(peer.post(CHAT, chat(peer) | {"messages": "hello"}), (400,))


@law("unpaired-tool", "a tool_result without its tool_use is 400 in the API's error shape",
     "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use")  # fmt: skip
def _unpaired(peer: Peer) -> None:
    part = {"type": "tool_result", "tool_use_id": "toolu_nobody", "content": "sunny"}
    body = chat(peer) | {"messages": [{"role": "user", "content": [part]}]}
    _refused(peer.post(CHAT, body), (400,))


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
