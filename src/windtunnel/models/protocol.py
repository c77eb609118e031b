"""The nouns of a model server: a request, what it asks for, what is answered, and how it is sent.

Bytes come in as an :class:`HttpRequest`. A dialect reads it into a :class:`ModelCall`, which is the
same whatever API it came by. A script turns the call into a :class:`Reply`, the dialect turns the
reply into a :class:`Response`, and the core turns that into a :class:`Plan`: bytes, the pauses
between them, and an ending. A transport only sends plans. Nothing here opens a socket or waits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from windtunnel.models.jsonio import loads

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object as it was parsed; what it holds is the API's business."""

Ending: TypeAlias = Literal["keep", "close", "reset", "stall"]
"""What happens to the connection after the last byte of a plan: it is kept for the next request,
closed in order (FIN), reset (RST), or left open and silent for ever."""

Kind: TypeAlias = Literal["chat", "completion", "embedding", "moderation", "image", "audio", "load"]
"""What a call wants. Scripts are matched against ``chat`` and ``completion`` calls unless they name
another kind; the others have seeded answers of their own."""

Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
"""Why a reply ended, in words that are no provider's; each dialect has its own for them."""

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
"""Who speaks. A dialect's other names (``developer``, ``model``, ``function``) become these."""


# -- what comes in --------------------------------------------------------------------------------


class HttpRequest(NamedTuple):
    """One HTTP request, parsed.

    :param method: upper-case.
    :param path: as it was sent, without the query, percent-encoding left alone.
    :param query: what stood after the question mark, undecoded.
    :param headers: in order; names in lower case.
    :param body: the whole body, transfer encoding undone.
    :param version: ``"1.1"`` or ``"1.0"``.
    :param keep_alive: whether the client wants the connection kept.

    >>> request = HttpRequest("GET", "/", headers=(("host", "a"), ("accept", "*/*")))
    >>> request.header("accept"), request.header("cookie", "none")
    ('*/*', 'none')
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    version: str = "1.1"
    keep_alive: bool = True

    def header(self, name: str, default: str = "") -> str:
        """The first header of that (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return default


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants called.

    :param arguments: the arguments, parsed.
    :param id: what the result refers to; made by the dialect where it is empty.
    :param text: the arguments exactly as they are to be sent (also malformed ones); empty to
        have :attr:`arguments` written as JSON.
    """

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    id: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What a called tool returned, as the client reports it."""

    id: str
    name: str
    content: str
    error: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A tool the client offers. ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    strict: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    :param text: its text parts, joined.
    :param thinking: thinking that the client sends back.
    :param images: references or data of its images, as sent.
    :param raw: the message as the API has it.
    """

    role: Role
    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    images: tuple[str, ...] = ()
    raw: Any = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A dialect that read a role and a text and nothing else leaves `raw` out.
            return _filled(self, name, lambda: {"role": self.role, "content": self.text})


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCall:
    """What a client asks a model, whatever API it came by.

    :param dialect: name of the dialect.
    :param endpoint: name the dialect gives to the route: ``"chat"``, ``"responses"`` …
    :param kind: what is wanted.
    :param messages: the conversation without the system prompt.
    :param system: the system prompt, its parts joined.
    :param tools: tools offered.
    :param tool_choice: ``auto``, ``none``, ``required``, or the name of the tool demanded.
    :param schema: the JSON schema the answer must satisfy, None for free text.
    :param json_mode: whether the answer must be JSON (with or without a schema).
    :param stream: whether the answer is streamed.
    :param n: how many answers.
    :param max_tokens: limit of the answer, None where not given.
    :param inputs: what to embed, moderate or complete: one string each.
    :param options: everything else the dialect wants to remember for rendering.
    :param raw: the body as it was parsed.
    :param request: the request it came in.
    :param namespace: which test it belongs to, empty when nobody said.
    """

    dialect: str
    endpoint: str
    model: str
    kind: Kind = "chat"
    messages: tuple[Message, ...] = ()
    system: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    schema: Mapping[str, Any] | None = None
    json_mode: bool = False
    stream: bool = False
    n: int = 1
    max_tokens: int | None = None
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    raw: JsonObject = dataclasses.field(default_factory=dict[str, Any])
    request: HttpRequest = dataclasses.field(default_factory=lambda: HttpRequest("POST", "/"))
    namespace: str = ""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # A dialect that had no need of all fields leaves `raw` out: few ever look at it.
            return _filled(self, name, lambda: loads(self.request.body))

    @property
    def last_user_text(self) -> str:
        """Text of the last message by the user; for a completion, its prompt."""
        messages = self.messages
        if messages and (last := messages[-1]).role == "user" and not last.tool_results:
            return last.text  # mostly, and found without a loop
        for message in reversed(messages):
            if message.role == "user" and not message.tool_results:
                return message.text
        return self.inputs[-1] if self.inputs else ""

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """Results of tools that came after the model spoke last."""
        found: list[ToolResult] = []
        for message in reversed(self.messages):
            if message.role == "assistant":
                break
            found[:0] = message.tool_results
        return tuple(found)

    @property
    def prompt(self) -> str:
        """All text the model would read: system prompt, messages, tool results, inputs."""
        parts = [self.system, *self.inputs]
        for message in self.messages:
            parts += (message.text, *(result.content for result in message.tool_results))
        return "\n".join(part for part in parts if part)


def _filled(owner: Message | ModelCall, name: str, make: Callable[[], Any]) -> Any:
    """The field ``raw`` of a noun that was made without it."""
    if name != "raw":
        raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
    value = make()
    object.__setattr__(owner, "raw", value)
    return value


# -- what goes out --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written. ``input_tokens`` includes the cached ones, ``output_tokens`` those
    spent on thinking."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Read and written together."""
        return self.input_tokens + self.output_tokens


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyError:
    """An error answer, which each dialect writes in its provider's own words.

    :param status: the HTTP status.
    :param kind: its cause; a dialect maps it to its own type: ``invalid_request``,
        ``authentication``, ``permission``, ``not_found``, ``too_large``, ``rate_limit``,
        ``quota``, ``server``, ``overloaded``, ``timeout``, ``context_length``,
        ``content_filter``, ``unavailable``, ``model_not_found``.
    :param message: what the provider would say.
    :param retry_after_s: seconds for the ``retry-after`` header, None to send none.
    :param code: the provider's own code, where the kind does not give it.
    :param param: the field at fault, as the provider names it.
    """

    status: int
    kind: str = "invalid_request"
    message: str = ""
    retry_after_s: float | None = None
    code: str | None = None
    param: str | None = None


class RefusedError(Exception):
    """Raised by a dialect while it parses: the provider would refuse this request so."""

    def __init__(self, error: ReplyError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers.

    :param text: the answer's text.
    :param thinking: what it thought before.
    :param tool_calls: tools to call.
    :param finish: why it ended; None to have it follow from the rest.
    :param usage: tokens to report; None to have them counted.
    :param refusal: the text of a refusal.
    :param pieces: how the text is cut when it is streamed; empty for one piece a token.
    :param embeddings: one vector an input; None for seeded ones.
    :param media: bytes of an image or a sound; empty for a small valid file.
    :param flagged: moderation categories that are flagged.
    :param choices: further answers, where more than one was asked for (``n``); missing ones are
        copies of this.
    :param extra: fields to add to the provider's object as they are.
    :param error: answer with this error instead of all that.
    """

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
    refusal: str = ""
    pieces: tuple[str, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] | None = None
    media: bytes = b""
    flagged: tuple[str, ...] = ()
    choices: tuple[Reply, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    error: ReplyError | None = None

    @property
    def finished(self) -> Finish:
        """:attr:`finish`, or what follows from the rest of the reply."""
        if self.finish is not None:
            return self.finish
        if self.tool_calls:
            return "tool_calls"
        return "refusal" if self.refusal else "stop"


class Awaited(Protocol):
    """Something that comes in its own time; see :class:`~windtunnel.models.feed.Feed`."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until there is more; whether there was in time."""
        ...

    def when_more(self, call: Callable[[], None]) -> None:
        """Have a function called, in any thread, once there is more."""
        ...


class BrokenOffError(Exception):
    """Raised by the steps of a plan: what was to come does not, and the connection ends here."""


class Chunk(NamedTuple):
    """One frame of a streamed body: an SSE event or an NDJSON line, whole, with its line ends.

    :param data: the frame's bytes.
    :param tokens: how many output tokens it carries; pacing waits for them.
    :param event: what the API calls it (``message_start``, ``[DONE]``), for faults that drop or
        double an event.
    :param awaits: who knows when the next frame is there; the data then is empty.
    """

    data: bytes
    tokens: int = 0
    event: str = ""
    awaits: Awaited | None = None


@dataclasses.dataclass(slots=True)
class Response:
    """An HTTP response before it is framed.

    :param body: bytes, or frames when it is streamed.
    :param headers: besides content type and length, which the core writes.
    """

    status: int = 200
    body: bytes | Iterable[Chunk] = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Step(NamedTuple):
    """Wait, then send these bytes. Where ``awaits`` is not None there are none: it is told how to
    wait, and the plan is asked again for its next step."""

    delay_s: float
    data: bytes
    awaits: Awaited | None = None


@dataclasses.dataclass(slots=True)
class Plan:
    """The bytes of one HTTP/1.1 response, head and all, with the pauses between them.

    ``steps`` may be an iterator: it is asked for the next step when the last one is sent.
    ``response`` is what it was made of, None where the bytes were spoilt by a fault; ``recorded``
    is its entry in the journal, where the transport notes how it ended.
    """

    steps: Iterable[Step]
    ending: Ending = "keep"
    response: Response | None = None
    recorded: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class RateState:
    """What is left of the allowed requests and tokens of this minute."""

    limit_requests: int = 10_000
    remaining_requests: int = 9_999
    reset_requests_s: float = 0.006
    limit_tokens: int = 2_000_000
    remaining_tokens: int = 1_999_000
    reset_tokens_s: float = 0.03


class Route(NamedTuple):
    """A method and a path that a dialect answers.

    :param path: may hold names in braces, each for one segment (``/v1/models/{model}``), or, with
        ``:path`` after the name, for the whole rest (``/api/blobs/{digest:path}``).
    :param endpoint: how the dialect calls it.
    """

    method: str
    path: str
    endpoint: str


Params: TypeAlias = Mapping[str, str]
"""What stood in a route's braces, percent-decoded."""

Headers: TypeAlias = Sequence[tuple[str, str]]
