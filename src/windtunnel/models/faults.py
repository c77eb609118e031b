"""What can go wrong with an answer, by the verbs of the shared plan of faults.

A verb does one of three things: it answers with an error instead (``status``, ``overloaded``), it
changes the frames of the answer (``missing_event``, ``malformed_json``), or it changes how the
bytes go out (``reset``, ``stall``, ``slow_drip``). Each is a small function of what it changes.

>>> fault("reset", after_bytes=10).verb
'reset'
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator

from windtunnel.core.errors import UsageError
from windtunnel.core.faults import Argument, Fault, FaultPlan
from windtunnel.models.answers import KINDS
from windtunnel.models.protocol import Chunk, Plan, ReplyError, Response, Step

# -- errors instead of an answer -------------------------------------------------------------------


def error_of(fault: Fault) -> ReplyError:
    """The error that a fault's arguments ``status``, ``kind`` and ``message`` describe."""
    status = int(_number(fault, "status", 500))
    usual = KINDS.get(status, "server" if status >= 500 else "invalid_request")
    kind = str(fault.arguments.get("kind") or usual)
    return ReplyError(status, kind, str(fault.arguments.get("message") or ""), _retry_after(fault))


def _of(status: int, kind: str, message: str = "") -> Callable[[Fault], ReplyError]:
    def make(fault: Fault) -> ReplyError:
        given = int(_number(fault, "status", status))
        said = str(fault.arguments.get("message") or message)
        return ReplyError(given, kind, said, _retry_after(fault))

    return make


ERRORS: dict[str, Callable[[Fault], ReplyError]] = {
    "status": error_of,
    "rate_limit": _of(429, "rate_limit"),
    "quota": _of(429, "quota"),
    "overloaded": _of(529, "overloaded"),
    "content_filter": _of(400, "content_filter"),
    "context_length": _of(400, "context_length"),
    "unloading": _of(503, "unavailable", "model is unloading"),
}
"""Verbs that answer with an error. Arguments: ``status``, ``message``, ``retry_after_s``."""


# -- frames of the answer --------------------------------------------------------------------------


def _missing_event(chunks: Iterable[Chunk], fault: Fault, error: bytes) -> Iterator[Chunk]:
    chosen = _choice(fault)
    for number, chunk in _numbered(chunks):
        if not chosen(number, chunk):
            yield chunk


def _duplicate_event(chunks: Iterable[Chunk], fault: Fault, error: bytes) -> Iterator[Chunk]:
    chosen = _choice(fault)
    for number, chunk in _numbered(chunks):
        yield chunk
        if chosen(number, chunk):
            yield chunk


def _malformed_json(chunks: Iterable[Chunk], fault: Fault, error: bytes) -> Iterator[Chunk]:
    chosen = _choice(fault)
    for number, chunk in _numbered(chunks):
        yield chunk._replace(data=_broken(chunk.data)) if chosen(number, chunk) else chunk


def _error_event(chunks: Iterable[Chunk], fault: Fault, error: bytes) -> Iterator[Chunk]:
    after = int(_number(fault, "after", 2))
    for number, chunk in _numbered(chunks):
        if number >= after:
            break
        yield chunk
    yield Chunk(error, 0, "error")


FRAMES: dict[str, Callable[[Iterable[Chunk], Fault, bytes], Iterator[Chunk]]] = {
    "missing_event": _missing_event,
    "duplicate_event": _duplicate_event,
    "malformed_json": _malformed_json,
    "error_event": _error_event,
}
"""Verbs that change frames. Arguments: ``event`` (the API's name for it) or ``number`` (from 0)
says which, ``after`` how many go before an error, which has a ``status``, ``kind``, ``message``."""


def _numbered(chunks: Iterable[Chunk]) -> Iterator[tuple[int, Chunk]]:
    """The frames with their numbers; waiting for one is none."""
    number = 0
    for chunk in chunks:
        if chunk.awaits is not None:
            yield -1, chunk
            continue
        yield number, chunk
        number += 1


def _choice(fault: Fault) -> Callable[[int, Chunk], bool]:
    event = fault.arguments.get("event")
    if event is not None:
        return lambda number, chunk: chunk.event == event
    wanted = int(_number(fault, "number", 1))
    return lambda number, chunk: number == wanted


def _broken(data: bytes) -> bytes:
    """JSON without its last closing bracket; the frame around it as it was."""
    at = max(data.rfind(b"}"), data.rfind(b"]"))
    return data[:at] + data[at + 1 :] if at >= 0 else data + b"{"


def spoil(response: Response, fault: Fault, error: Callable[[], bytes]) -> Response:
    """The response as the fault leaves it; unchanged where its verb is about something else.

    :param error: writes the provider's error frame.
    """
    if fault.verb == "wrong_content_type":
        response.content_type = str(fault.arguments.get("content_type") or "text/html")
        return response
    change = FRAMES.get(fault.verb)
    if change is None:
        return response
    if not isinstance(response.body, bytes):
        frame = error() if fault.verb == "error_event" else b""
        response.body = change(response.body, fault, frame)
    elif fault.verb == "malformed_json":
        response.body = _broken(response.body)
    elif fault.verb == "error_event":
        response.body = error()
    return response


# -- how the bytes go out --------------------------------------------------------------------------


def _reset(plan: Plan, fault: Fault) -> Plan:
    return Plan(_until(plan.steps, fault), "reset")


def _close(plan: Plan, fault: Fault) -> Plan:
    return Plan(_until(plan.steps, fault), "close")


def _stall(plan: Plan, fault: Fault) -> Plan:
    return Plan(_until(plan.steps, fault), "stall")


def _truncate(plan: Plan, fault: Fault) -> Plan:
    """All but the last bytes, then closed: a chunk, or a body of known length, that ends early."""
    short = int(_number(fault, "missing", 7))
    data = b""
    for step in plan.steps:
        if step.awaits is not None:
            step.awaits.wait()
        data += step.data
    head = data.find(b"\r\n\r\n") + 4
    return Plan((Step(0.0, data[: max(head, len(data) - short)]),), "close")


def _slow_drip(plan: Plan, fault: Fault) -> Plan:
    size = max(1, int(_number(fault, "size", 1)))
    pause = _number(fault, "pause_s", 0.01)

    def steps() -> Iterator[Step]:
        for step in plan.steps:
            if step.awaits is not None:
                yield step
            delay = step.delay_s
            for at in range(0, len(step.data), size):
                yield Step(delay, step.data[at : at + size])
                delay = pause

    return Plan(steps(), plan.ending)


def _split(plan: Plan, fault: Fault, cuts: Callable[[bytes], list[int]]) -> Plan:
    pause = _number(fault, "pause_s", 0.001)

    def steps() -> Iterator[Step]:
        for step in plan.steps:
            if step.awaits is not None:
                yield step
            delay, begin = step.delay_s, 0
            for cut in [*cuts(step.data), len(step.data)]:
                if cut > begin:
                    yield Step(delay, step.data[begin:cut])
                    delay, begin = pause, cut

    return Plan(steps(), plan.ending)


def _split_utf8(plan: Plan, fault: Fault) -> Plan:
    return _split(
        plan, fault, lambda data: [i for i in range(1, len(data)) if data[i] & 0xC0 == 0x80]
    )


def _split_frames(plan: Plan, fault: Fault) -> Plan:
    size = max(1, int(_number(fault, "size", 5)))
    return _split(plan, fault, lambda data: list(range(size, len(data), size)))


def _delay(plan: Plan, fault: Fault) -> Plan:
    steps = iter(plan.steps)
    first = next(steps, Step(0.0, b""))
    later = Step(first.delay_s + _number(fault, "seconds", 1.0), first.data)

    def delayed() -> Iterator[Step]:
        yield later
        yield from steps

    return Plan(delayed(), plan.ending)


WIRE: dict[str, Callable[[Plan, Fault], Plan]] = {
    "reset": _reset,
    "close": _close,
    "stall": _stall,
    "truncate": _truncate,
    "slow_drip": _slow_drip,
    "split_utf8": _split_utf8,
    "split_frames": _split_frames,
    "delay": _delay,
}
"""Verbs about the bytes. Arguments: ``after_bytes`` of the body or ``after_chunks`` of a stream
(neither: before the head) for reset, close and stall; ``missing`` bytes for truncate; ``size`` and
``pause_s`` for slow_drip and split_frames; ``seconds`` for delay."""

REFUSED = "refused"
"""The verb about the connection itself: who connects meanwhile is refused, whatever its target."""

VERBS = frozenset((*ERRORS, *FRAMES, *WIRE, "wrong_content_type", REFUSED))
"""Everything that can go wrong."""


def _until(steps: Iterable[Step], fault: Fault) -> Iterator[Step]:
    """The steps as far as the fault lets them out."""
    after_chunks = fault.arguments.get("after_chunks")
    after_bytes = fault.arguments.get("after_bytes")
    if after_chunks is None and after_bytes is None:
        return
    seen = b""
    for step in steps:
        seen_before = len(seen)
        seen += step.data
        end = _end(seen, after_chunks, after_bytes)
        if end is not None and end <= len(seen):
            yield Step(step.delay_s, step.data[: max(0, end - seen_before)])
            return
        yield step


def _end(seen: bytes, after_chunks: Argument, after_bytes: Argument) -> int | None:
    head = seen.find(b"\r\n\r\n")
    if head < 0:
        return None
    if after_bytes is not None:
        return head + 4 + int(float(after_bytes))
    at = head + 4
    for _ in range(int(float(after_chunks or 0))):
        line = seen.find(b"\r\n", at)
        if line < 0:
            return None
        at = line + 2 + int(seen[at:line], 16) + 2
    return at


def bend(plan: Plan, fault: Fault) -> Plan:
    """The plan as the fault leaves it; unchanged where its verb is about something else."""
    change = WIRE.get(fault.verb)
    return plan if change is None else change(plan, fault)


# -- which faults befall a request -----------------------------------------------------------------


def fault(verb: str, target: str = "*", **arguments: Argument) -> Fault:
    """A fault of an answer.

    :param verb: one of :data:`VERBS`.
    :param target: a model, a dialect or an endpoint; ``*`` for any.
    :param arguments: what the verb takes, and, for a fault in a plan, ``times`` (how many requests
        it befalls at most) and ``probability`` (for each).
    :raises UsageError: for an unknown verb.
    """
    made = Fault(verb, target, arguments=arguments)
    check(made)
    return made


def check(made: Fault) -> None:
    """Refuse a fault whose verb is unknown.

    :raises UsageError: naming those that are known.
    """
    if made.verb not in VERBS:
        raise UsageError(
            "a model server has no such fault",
            found=repr(made.verb),
            fix=f"use {', '.join(sorted(VERBS))}",
        )


class Weather:
    """The plan of faults a server stands under: which of them befall a request.

    :param plan: times are seconds after the server began.
    """

    def __init__(self, plan: FaultPlan, chance: random.Random) -> None:
        for one in plan:
            check(one)
        self._refusals = [one for one in plan if one.verb == REFUSED]
        self._plan = [one for one in plan if one.verb != REFUSED]
        self._chance = chance
        self._befallen = [0] * len(self._plan)

    def refuses(self, now_s: float) -> bool:
        """Whether connections are refused at that time."""
        return any(
            one.at_s <= now_s and (one.until_s is None or now_s < one.until_s)
            for one in self._refusals
        )

    def befall(self, now_s: float, *names: str) -> tuple[Fault, ...]:
        """The faults for a request at that time whose model, dialect and endpoint are named."""
        found = []
        for number, one in enumerate(self._plan):
            if one.target not in ("*", "", *names) or now_s < one.at_s:
                continue
            if one.until_s is not None and now_s >= one.until_s:
                continue
            times = one.arguments.get("times")
            if times is not None and self._befallen[number] >= int(float(times)):
                continue
            likely = one.arguments.get("probability")
            if likely is not None and self._chance.random() >= float(likely):
                continue
            self._befallen[number] += 1
            found.append(one)
        return tuple(found)


def _number(fault: Fault, name: str, default: float) -> float:
    value = fault.arguments.get(name)
    if value is None:
        return default
    try:
        return float(value)
    except ValueError:
        raise UsageError(
            f"the argument {name} of the fault {fault.verb} is a number", found=repr(value)
        ) from None


def _retry_after(fault: Fault) -> float | None:
    after = fault.arguments.get("retry_after_s")
    return None if after is None else float(after)
