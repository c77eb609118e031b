"""How a run ends: by itself, or because a limit or an interruption ended it first."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from windtunnel.sessions.protocol import ExecResult, Timings
from windtunnel.sessions.values import check, decode, encode


def failed(error_type: str, message: str) -> ExecResult:
    """The result of code that failed."""
    return ExecResult(ok=False, error=message, error_type=error_type)


def no_surrogates(leaf: object) -> str:
    """What Rust cannot hold: text that is no UTF-8."""
    if isinstance(leaf, str):
        try:
            leaf.encode()
        except UnicodeEncodeError:
            return "a str with a lone surrogate"
    return ""


def crossable(
    value: Any,
    what: str = "value",
    unfit: Callable[[object], str] = no_surrogates,
    deepest: int | None = None,
) -> Any:
    """The value itself, where it crosses to an engine in Rust.

    :param unfit: what of a text or a moment the engine cannot hold; empty for nothing.
    :param deepest: how many containers may be within one another.
    :raises ValueCrossingError: where it does not, naming the place in it.
    """
    check(value, called=what, unfit=unfit, deepest=deepest)
    return value


def copied(value: Any) -> Any:
    """An equal value that shares nothing with it."""
    return decode(encode(value))


class Ended:
    """Why a run was ended from outside, once and by whoever was first."""

    def __init__(self) -> None:
        self.reason: tuple[str, str] | None = None
        self._mutex = threading.Lock()
        self._event = threading.Event()

    def because(self, error_type: str, message: str) -> bool:
        """Say why; False where it was said before."""
        with self._mutex:
            if self.reason is not None:
                return False
            self.reason = (error_type, message)
            self._event.set()
            return True

    def wait(self, seconds: float) -> None:
        """Wait that long, or until it is ended."""
        self._event.wait(seconds)

    def refuse_to_go_on(self) -> None:
        """Raise where it is ended."""
        if self.reason is not None:
            raise RuntimeError(self.reason[1])

    def result(
        self, outcome: ExecResult, output: str, timings: Timings, *, names_lost: bool
    ) -> ExecResult:
        """What the run comes to, given how it ended by itself."""
        if self.reason is not None:
            outcome, names_lost = failed(*self.reason), True
        if names_lost:
            lost = f"{outcome.error}; its process was ended and its names are lost"
            outcome = dataclasses.replace(outcome, error=lost)
        return dataclasses.replace(outcome, output=output, timings=timings)


class Output:
    """What a guest printed, up to a limit of bytes as UTF-8."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pieces: list[str] = []
        self._left = limit

    def add(self, text: str) -> bool:
        """Take it as far as it goes; False where it was too much."""
        data = text.encode("utf-8", "replace")
        if self._left < 0:
            return False
        kept = data[: self._left]
        self._pieces.append(kept.decode("utf-8", "ignore"))
        self._left -= len(data)
        return self._left >= 0

    @property
    def text(self) -> str:
        """What there is of it."""
        return "".join(self._pieces)
