"""The core of a model server: request in, plan out, and no input or output of its own.

:meth:`ModelCore.handle` takes one request through the house in order: which dialect and endpoint
(:mod:`~windtunnel.models.routing`), may it come in, what does it ask (the dialect's ``parse``),
what is answered (the scripts), how it is written (the dialect's ``render``), what goes wrong and
how long it takes (faults and pace). Every way in, sockets or none, calls this and sends the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.seed import Seed, run_seed
from windtunnel.models import heads, tokens
from windtunnel.models.dialects import ALL, Dialect, dialect
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    ModelCall,
    Plan,
    RateState,
    RefusedError,
    Reply,
    ReplyError,
    Response,
    Step,
)
from windtunnel.models.routing import Routes
from windtunnel.models.state import ServerState

_COALESCED = 1 << 16
_LAST_CHUNK = b"0\r\n\r\n"
_RATE = RateState()


class Answers(Protocol):
    """Whoever decides what a call is answered."""

    def answer(self, call: ModelCall, state: ServerState) -> Reply:
        """The reply to a call."""
        ...


class ModelCore:
    """One server's behaviour, without a transport.

    :param dialects: which APIs it speaks; an earlier one goes first where paths are the same.
    :param models: the only models it has; None for each dialect's usual ones.
    :param api_key: the key a client must present; None takes any or none.
    :param seed: where identifiers and defaults are drawn from; None for the run's.
    """

    def __init__(
        self,
        dialects: Sequence[str] = ALL,
        *,
        answers: Answers,
        models: Iterable[str] | None = None,
        api_key: str | None = None,
        seed: Seed | None = None,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.dialects: tuple[Dialect, ...] = tuple(dialect(name) for name in dialects)
        self.answers = answers
        self.api_key = api_key
        self.state = ServerState(
            seed if seed is not None else run_seed(),
            clock,
            serve=self.respond,
            count=tokens.count,
            models=models,
        )
        if models is None:
            for spoken in self.dialects:
                for name in spoken.default_models:
                    self.state.models.add(name, dialect=spoken.name)
        self._routes = Routes(self.dialects)

    # -- from request to plan --------------------------------------------------------------------

    def handle(self, request: HttpRequest) -> Plan:
        """The bytes that answer a request."""
        spoken, response = self._answer(request)
        return self._plan(request, spoken, response)

    def respond(self, request: HttpRequest) -> Response:
        """The answer to a request, not yet framed; its body is all there."""
        _, response = self._answer(request)
        if not isinstance(response.body, bytes):
            response.body = b"".join(chunk.data for chunk in response.body)
        return response

    def _answer(self, request: HttpRequest) -> tuple[Dialect, Response]:
        spoken, endpoint, params = self._routes.find(request)
        state = self.state
        try:
            if self.api_key is not None and spoken.key_of(request) != self.api_key:
                raise RefusedError(ReplyError(401, "authentication"))
            if endpoint == "":
                raise RefusedError(self._routes.refusal(request))
            call = spoken.parse(endpoint, request, params, state)
            if isinstance(call, Response):
                return spoken, call
            reply = self.answers.answer(call, state)
            if reply.error is not None:
                raise RefusedError(reply.error)
            return spoken, spoken.render(call, reply, tokens.usage_of(call, reply), state)
        except RefusedError as refused:
            return spoken, self._refusal(spoken, refused.error, request)

    def _refusal(self, spoken: Dialect, error: ReplyError, request: HttpRequest) -> Response:
        response = spoken.error(error, request, self.state)
        if error.retry_after_s is not None:
            after = f"{error.retry_after_s:g}"
            response.headers = (*response.headers, ("retry-after", after))
        return response

    # -- framing ---------------------------------------------------------------------------------

    def _plan(self, request: HttpRequest, spoken: Dialect, response: Response) -> Plan:
        state = self.state
        head = heads.constant(
            response.status,
            response.content_type,
            (*spoken.headers, *spoken.rate_headers(_RATE), *response.headers),
        ) + heads.date_line(state.ids.now())
        if spoken.request_id_header:
            head += heads.line(spoken.request_id_header, spoken.request_id(state))
        body = response.body
        keep = request.keep_alive
        if not keep:
            head += b"connection: close\r\n"
        ending = "keep" if keep else "close"
        if isinstance(body, bytes):
            if response.status != 204:
                head += b"content-length: %d\r\n" % len(body)
            data = head + b"\r\n" + (b"" if request.method == "HEAD" else body)
            return Plan((Step(0.0, data),), ending, response)  # type: ignore[arg-type]
        if request.version == "1.0":
            frames = (chunk.data for chunk in body)
            return Plan(_coalesced(head + b"\r\n", frames), "close", response)
        head += b"transfer-encoding: chunked\r\n\r\n"
        if request.method == "HEAD":
            return Plan((Step(0.0, head),), ending, response)  # type: ignore[arg-type]
        return Plan(_coalesced(head, _framed(body)), ending, response)  # type: ignore[arg-type]


def _framed(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    for chunk in chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk.data), chunk.data)
    yield _LAST_CHUNK


def _coalesced(head: bytes, frames: Iterable[bytes]) -> Iterator[Step]:
    """Frames that wait for nothing go out together, as much at once as a socket takes."""
    waiting, size = [head], len(head)
    for frame in frames:
        waiting.append(frame)
        size += len(frame)
        if size >= _COALESCED:
            yield Step(0.0, b"".join(waiting))
            waiting, size = [], 0
    if waiting:
        yield Step(0.0, b"".join(waiting))
