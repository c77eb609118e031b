"""What a script may answer with, and how it becomes a :class:`Reply`.

A text is an answer; so are a tool call, a list of tool calls, a dict (sent as JSON), an error, an
HTTP status, a whole :class:`Reply`, :func:`shaped` for a value that satisfies the schema the client
asked for, and a function of the call that returns any of these, now or when awaited.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Awaitable, Mapping
from typing import Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import ModelCall, RefusedError, Reply, ReplyError, ToolCall
from windtunnel.models.shape import Schema, sample
from windtunnel.models.state import ServerState

Made: TypeAlias = Reply | Awaitable[Reply]
KINDS = {
    400: "invalid_request",
    401: "authentication",
    402: "quota",
    403: "permission",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    422: "invalid_request",
    429: "rate_limit",
    500: "server",
    502: "server",
    503: "unavailable",
    504: "timeout",
    529: "overloaded",
}


def error(
    status: int, message: str = "", *, kind: str = "", retry_after_s: float | None = None
) -> ReplyError:
    """An error of that status, of the kind such a status usually has.

    >>> error(429).kind
    'rate_limit'
    """
    usual = KINDS.get(status, "server" if status >= 500 else "invalid_request")
    return ReplyError(status, kind or usual, message, retry_after_s)


@dataclasses.dataclass(frozen=True, slots=True)
class Shaped:
    """A value that satisfies the schema of the call, with some of its fields given."""

    given: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])


def shaped(**given: Any) -> Shaped:
    """Answer with JSON that satisfies the schema the client sent, drawn from the server's seed.

    :param given: fields to have as they are.
    """
    return Shaped(given)


def check(answer: object) -> None:
    """Refuse what cannot be an answer, where it is written and not when it is asked for.

    :raises UsageError: saying what can.
    """
    if isinstance(answer, str | Reply | ReplyError | ToolCall | Mapping | Shaped):
        return
    if callable(answer) or hasattr(answer, "model_dump") or _calls(answer):
        return
    raise UsageError(
        "this is nothing that a model can answer",
        found=repr(answer)[:120],
        fix="give a text, a dict, a Reply, ToolCalls, an error(...), shaped() or a function",
    )


def made(answer: Any, call: ModelCall, state: ServerState) -> Made:
    """The reply that an answer stands for.

    :raises UsageError: when a function returned what cannot be an answer.
    """
    if isinstance(answer, str):
        return Reply(answer)
    if isinstance(answer, Reply):
        return answer
    if isinstance(answer, ReplyError):
        return Reply(error=answer)
    if isinstance(answer, ToolCall):
        return Reply(tool_calls=(answer,))
    if isinstance(answer, Shaped):
        return _shaped(answer, call, state)
    if isinstance(answer, Mapping):
        return Reply(dumps(answer).decode())
    if hasattr(answer, "model_dump"):
        return Reply(dumps(answer.model_dump(mode="json")).decode())
    if _calls(answer):
        return Reply(tool_calls=tuple(answer))
    if inspect.isawaitable(answer):
        return _awaited(answer, call, state)
    if callable(answer):
        return made(answer(call), call, state)
    check(answer)
    raise AssertionError(answer)  # pragma: no cover


async def _awaited(answer: Awaitable[Any], call: ModelCall, state: ServerState) -> Reply:
    reply = made(await answer, call, state)
    return reply if isinstance(reply, Reply) else await reply


def _calls(answer: object) -> bool:
    return (
        isinstance(answer, list | tuple)
        and bool(answer)
        and all(isinstance(part, ToolCall) for part in answer)
    )


def _shaped(answer: Shaped, call: ModelCall, state: ServerState) -> Reply:
    chance = state.random(f"shape/{call.model}/{call.prompt}")
    if call.schema is not None:
        value = _sampled(call.schema, chance)
        if isinstance(value, dict):
            value |= answer.given
        return Reply(dumps(value).decode())
    if answer.given or call.json_mode:
        return Reply(dumps(dict(answer.given)).decode())
    return default_reply(call, state)


# -- what is answered when nothing is scripted -----------------------------------------------------

_OPENINGS = ("Sure.", "Of course.", "Here is an answer.", "Understood.", "Certainly.")
_BODIES = (
    "This is a reply that was made up from a seed.",
    "No script was written for this, so the words mean nothing.",
    "The same request under the same seed is answered the same way.",
    "Nothing here was thought by a model.",
)


def default_reply(call: ModelCall, state: ServerState) -> Reply:
    """A seeded answer that fits the call: JSON for a schema, a call for a tool that must be used,
    words otherwise. The same request under the same seed has the same answer."""
    chance = state.random(f"default/{call.model}/{call.prompt}")
    if call.kind not in ("chat", "completion"):
        return Reply()
    tool = demanded(call)
    if tool is not None:
        arguments = _sampled(tool.schema, chance) if tool.schema else {}
        return Reply(tool_calls=(ToolCall(tool.name, arguments),))
    if call.schema is not None:
        return Reply(dumps(_sampled(call.schema, chance)).decode())
    if call.json_mode:
        return Reply('{"answer":"made up from a seed"}')
    text = f"{chance.choice(_OPENINGS)} {chance.choice(_BODIES)}"
    limit = call.max_tokens
    if limit is None or state.count(text) <= limit:
        return Reply(text)
    from windtunnel.models.tokens import pieces

    return Reply("".join(pieces(text)[: max(limit, 0)]), finish="length")


def _sampled(schema: Schema, chance: random.Random) -> Any:
    """A value for the client's schema.

    :raises RefusedError: where there is none. What a provider then answers cannot be told (some
        refuse such schemas, some have the model run until it is stopped), so it is the refusal
        that their documentation has for schemas they do not take.
    """
    try:
        return sample(schema, chance)
    except UsageError as error:
        why = f"Invalid schema: {error.what}: {error.found}"
        raise RefusedError(ReplyError(400, "invalid_request", why)) from None


def demanded(call: ModelCall) -> Any:
    """The tool that the client insists on, None where it does not."""
    if not call.tools or call.tool_choice in ("auto", "none"):
        return None
    for tool in call.tools:
        if tool.name == call.tool_choice:
            return tool
    return call.tools[0]


__all__ = ["Made", "Shaped", "check", "default_reply", "error", "made", "shaped"]
