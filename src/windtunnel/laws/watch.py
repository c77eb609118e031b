"""Which instructions of a law ran: seen by ``sys.monitoring``, on 3.11 by a trace function.

Monitoring looks at the law's own code alone, and beside a debugger or a coverage tool. A trace
function there is only one of: where somebody else's is installed, :attr:`Watch.blind` says so, and
the law is run a second time with that one put aside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from windtunnel.laws.points import Point, points_of

_monitoring: Any = getattr(sys, "monitoring", None)
MONITORED = _monitoring is not None
_NAME = "windtunnel.laws"
# 0 to 2 and 5 are spoken for by Python's documentation, 3 is taken by Hypothesis.
_CHOICE = (4, 3, 5, 2, 1, 0)


class Watch:
    """Sees which points of a law were reached, over all of its examples.

    :param code: the law's code; None where it is not written in Python.

    >>> def law(subject, draw):
    ...     for one in subject:
    ...         assert one > 0
    >>> with Watch(law.__code__) as watch:
    ...     law([], None)
    >>> [point.told for point in watch.missed()]
    ['loop over nothing: for one in subject', 'assertion never reached: one > 0']
    """

    def __init__(self, code: CodeType | None) -> None:
        points = points_of(code) if code is not None else None
        self.points: tuple[Point, ...] = points or ()
        self._codes = frozenset(_all(code)) if code is not None and self.points else frozenset()
        self._ran: set[tuple[CodeType, int]] = set()
        self._before: Any = None
        self._tool = 0

    def saw(self, code: CodeType, at: int) -> None:
        """An instruction is about to run."""
        if code in self._codes:
            self._ran.add((code, at))

    @property
    def blind(self) -> bool:
        """Whether another trace function is in the way."""
        return bool(self._codes) and not MONITORED and sys.gettrace() is not None

    def __enter__(self) -> Watch:
        if self._codes:
            self._monitor() if MONITORED else self._trace()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._codes:
            return
        if MONITORED:
            self._unmonitor()
        else:
            sys.settrace(self._before)

    def missed(self) -> list[Point]:
        """The points that no instruction was run of."""
        ran = [place for code in self._codes for place in self._places(code)]
        return [
            point for point in self.points if not any(point.span.holds(*place) for place in ran)
        ]

    def _places(self, code: CodeType) -> Iterator[tuple[int, int]]:
        for index, (line, _, column, _) in enumerate(code.co_positions()):
            if line is not None and column is not None and (code, 2 * index) in self._ran:
                yield line, column

    # -- 3.12 and later ---------------------------------------------------------------------------

    def _monitor(self) -> None:
        monitoring = _monitoring
        event = monitoring.events.INSTRUCTION
        if not _watching:
            self._tool = next(one for one in _CHOICE if monitoring.get_tool(one) is None)
            monitoring.use_tool_id(self._tool, _NAME)
            monitoring.register_callback(self._tool, event, _saw)
        else:
            self._tool = _watching[0]._tool
        _watching.append(self)
        for code in self._codes:
            monitoring.set_local_events(self._tool, code, event)

    def _unmonitor(self) -> None:
        monitoring = _monitoring
        _watching.remove(self)
        for code in self._codes:
            if not any(code in other._codes for other in _watching):
                monitoring.set_local_events(self._tool, code, 0)
        if not _watching:
            monitoring.register_callback(self._tool, monitoring.events.INSTRUCTION, None)
            monitoring.free_tool_id(self._tool)

    # -- 3.11 -------------------------------------------------------------------------------------

    def _trace(self) -> None:
        ran, codes = self._ran, self._codes

        def inside(frame: FrameType, event: str, _: object) -> Any:
            if event == "opcode":
                ran.add((frame.f_code, frame.f_lasti))
            return inside

        def called(frame: FrameType, event: str, _: object) -> Any:
            if frame.f_code not in codes:
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            return inside

        self._before = sys.gettrace()
        sys.settrace(called)


_watching: list[Watch] = []  # a law may run laws itself


def _saw(code: CodeType, at: int) -> None:
    for watch in _watching:
        watch.saw(code, at)


def _all(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all(constant)
