"""From a response to the bytes that go out and the pauses between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from windtunnel.models import cors, heads
from windtunnel.models.dialects import Dialect
from windtunnel.models.pace import Pace
from windtunnel.models.protocol import (
    BrokenOffError,
    Chunk,
    Ending,
    HttpRequest,
    Plan,
    RateState,
    Response,
    Step,
)
from windtunnel.models.state import ServerState

_COALESCED = 1 << 16
_LAST_CHUNK = b"0\r\n\r\n"
_UNLIMITED = RateState()
_step = tuple.__new__  # what a NamedTuple's own call does, but at once
_Frame: TypeAlias = Callable[[bytes], bytes]


class Framer:
    """Frames the responses of one dialect. What their heads have in common is built once."""

    def __init__(self, spoken: Dialect, state: ServerState) -> None:
        self._spoken = spoken
        self._state = state
        self._constant: dict[tuple[int, str], tuple[int, bytes]] = {}
        # Headers seen last, and whether a page of another origin sends them.
        self._seen: tuple[object, bool] = ((), False)
        self._id_name = spoken.request_id_header.encode()
        self._unlimited = (*spoken.headers, *spoken.rate_headers(_UNLIMITED))

    def plan(
        self,
        request: HttpRequest,
        response: Response,
        pace: Pace | None = None,
        tokens: int = 0,
        rate: RateState | None = None,
    ) -> Plan:
        """The plan that sends a response.

        :param pace: how long it takes, None for no time.
        :param tokens: how many tokens the answer has.
        :param rate: what is left of the client's allowance, None where nothing is limited.
        """
        head = self._head(response, rate)
        headers, page = self._seen
        if headers is not request.headers:  # of one client they are one object, see `wire`
            page = bool(request.header("origin"))
            self._seen = request.headers, page
        if page:
            head += cors.ALLOWED
        ending: Ending = "keep"
        if not request.keep_alive:
            head += b"connection: close\r\n"
            ending = "close"
        body = response.body
        if not isinstance(body, bytes):
            return self._streamed(request, head, body, pace, ending, response)
        if response.status == 204:
            data = head + b"\r\n"  # which has no body, and no length either
        elif request.method == "HEAD":
            data = head + b"content-length: %d\r\n\r\n" % len(body)
        else:
            data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        delay = pace.whole(tokens, self._chance()) if pace is not None else 0.0
        return Plan((_step(Step, (delay, data, None)),), ending, response)

    def _head(self, response: Response, rate: RateState | None) -> bytes:
        state = self._state
        second = state.ids.now()
        if rate is None:
            key = response.status, response.content_type
            known = self._constant.get(key)
            if known is None or known[0] != second:
                head = heads.constant(*key, self._unlimited) + heads.date_line(second)
                self._constant[key] = second, head
            else:
                head = known[1]
        else:
            limits = (*self._spoken.headers, *self._spoken.rate_headers(rate))
            head = heads.built(response.status, response.content_type, limits)
            head += heads.date_line(second)
        more = response.headers
        if self._id_name and not (more and _has(response, self._spoken.request_id_header)):
            head = b"%b%b: %b\r\n" % (
                head,
                self._id_name,
                self._spoken.request_id(state).encode(),
            )
        if more:
            head += b"".join(heads.line(key, value) for key, value in more)
        return head

    def _streamed(
        self,
        request: HttpRequest,
        head: bytes,
        body: Iterable[Chunk],
        pace: Pace | None,
        ending: Ending,
        response: Response,
    ) -> Plan:
        if request.method == "HEAD":
            return Plan((Step(0.0, head + b"transfer-encoding: chunked\r\n\r\n"),), ending)
        if request.version == "1.0":
            # Who knows no chunks reads until the connection is closed.
            head, ending, frame, last = head + b"\r\n", "close", _plain, b""
        else:
            head += b"transfer-encoding: chunked\r\n\r\n"
            frame, last = _framed, _LAST_CHUNK
        if pace is None:
            return Plan(_coalesced(head, body, frame, last), ending, response)
        return Plan(_paced(head, body, frame, last, pace, self._chance()), ending, response)

    def _chance(self) -> random.Random:
        """Chance for the pace of the next answer."""
        return self._state.random(self._state.ids.hex("pace/", 16))


def _has(response: Response, name: str) -> bool:
    """Whether the dialect wrote that header itself, as it tells the same in the body."""
    return any(key == name for key, _ in response.headers)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _plain(data: bytes) -> bytes:
    return data


def _coalesced(head: bytes, chunks: Iterable[Chunk], frame: _Frame, last: bytes) -> Iterator[Step]:
    """Frames that wait for nothing go out together, as many at once as a socket takes."""
    waiting, size = [head], len(head)
    try:
        for chunk in chunks:
            data = chunk[0]
            if not data:
                if chunk.awaits is not None:
                    yield from _awaiting(waiting, chunk)
                    waiting, size = [], 0
                continue  # an empty chunk would end the body
            waiting.append(frame(data))
            size += len(data)
            if size >= _COALESCED:
                yield Step(0.0, b"".join(waiting))
                waiting, size = [], 0
    except BrokenOffError:
        yield Step(0.0, b"".join(waiting))  # what did come, the client has
        raise
    waiting.append(last)
    yield Step(0.0, b"".join(waiting))


def _awaiting(waiting: list[bytes], chunk: Chunk) -> Iterator[Step]:
    """What there is goes out before the next frame is waited for."""
    if waiting:
        yield Step(0.0, b"".join(waiting))
    yield Step(0.0, b"", chunk.awaits)


def _paced(
    head: bytes,
    chunks: Iterable[Chunk],
    frame: _Frame,
    last: bytes,
    pace: Pace,
    chance: random.Random,
) -> Iterator[Step]:
    """The head comes with the first frame, when the first token is there; from then on each frame
    waits for its tokens."""
    delay, waiting, begun = pace.first(chance), head, False
    try:
        for chunk in chunks:
            if not chunk.data:
                if chunk.awaits is not None:
                    yield from _awaiting([waiting] if waiting and begun else [], chunk)
                    waiting = b"" if begun else waiting
                continue
            if not begun:
                waiting += frame(chunk.data)
                if chunk.tokens:
                    yield Step(delay, waiting)
                    waiting, begun = b"", True
                continue
            pause = pace.between(chunk.tokens, chance)
            if pause:
                if waiting:
                    yield Step(0.0, waiting)
                    waiting = b""
                yield Step(pause, frame(chunk.data))
            else:
                waiting += frame(chunk.data)
    except BrokenOffError:
        yield Step(0.0, waiting)
        raise
    yield Step(0.0 if begun else delay, waiting + last)
