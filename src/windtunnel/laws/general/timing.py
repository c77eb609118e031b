"""A call that takes too long ends in time, says so, and its work really stops."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.laws import steps
from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.errors import LawBrokenError
from windtunnel.laws.examples import Draw
from windtunnel.laws.general.failing import says_so
from windtunnel.laws.leftovers import Leftovers, alive, working_threads
from windtunnel.laws.values import fingerprint, shown

_RAN_OUT = "a call that ran out of time"
_LOOK_AGAIN_S = 0.01


@general_law(needs=("call_within", "slow_inputs"), branches=(_RAN_OUT,), examples=3)
async def timeout_is_honoured(subject: Any, draw: Draw) -> None:
    """a slow call ends when its time is over, fails by a timeout, and nothing of it goes on"""
    case = draw.case
    contract = case.contract
    given = draw.declared("slow_inputs", "slow input")
    what = f"the call of {shown(given)} with {contract.timeout_s:g} s"
    before = alive()
    started = REAL_CLOCK.monotonic()
    ended = await _called(case, subject, given, what)
    took = REAL_CLOCK.monotonic() - started
    if not ended.failed:
        broken(f"{what} did not fail", found=f"{shown(ended)} after {took:.3f} s")
    _must_be_timeout(case, ended, what, took)
    draw.saw(_RAN_OUT)
    await _must_have_stopped(case, subject, before, what)
    if contract.inputs is not None and contract.declares("call"):
        await _must_serve(case, subject, draw.input("input afterwards"), what)


async def _called(case: Case, subject: Any, given: Any, what: str) -> Completion:
    contract = case.contract
    most = contract.timeout_s + contract.tolerance_s
    late = f"{what} does not end within {most:g} s"

    async def work() -> Any:
        return await case.settled(contract.call_within(subject, given, contract.timeout_s))

    if not case.looping:
        with _Interrupting(most, late):
            return await case.completed(work)
    ended: list[Completion] = []

    async def call() -> None:
        ended.append(await case.completed(work))

    with _Interrupting(most, late):
        in_time = await steps.within(call(), most, contract.backend)
    if not in_time:
        broken(late)
    return ended[0]


def _must_be_timeout(case: Case, ended: Completion, what: str, took: float) -> None:
    contract = case.contract
    if took > contract.timeout_s + contract.tolerance_s:
        most = f"{contract.timeout_s:g} s and {contract.tolerance_s:g} s of tolerance"
        broken(f"{what} ended too late", expected=most, found=f"{took:.3f} s")
    if isinstance(ended.error, BaseException):
        if not isinstance(ended.error, contract.timeout_errors):
            names = " or ".join(one.__name__ for one in contract.timeout_errors)
            broken(f"{what} failed with another error", expected=names, found=shown(ended))
        if not ended.message and type(ended.error) is TimeoutError:
            return  # what asyncio.timeout raises: its type says it all
    elif took < contract.timeout_s:
        broken(f"{what} failed before its time", found=f"{shown(ended)} after {took:.3f} s")
    says_so(ended, (BaseException,), what)


async def _must_have_stopped(case: Case, subject: Any, before: Leftovers, what: str) -> None:
    contract = case.contract
    backend = contract.backend if case.looping else None
    deadline = REAL_CLOCK.monotonic() + contract.tolerance_s
    while True:
        going = await _going_on(case, subject, before)
        if not going:
            return
        if REAL_CLOCK.monotonic() > deadline:
            late = f"{contract.tolerance_s:g} s later"
            broken(f"{what} timed out, and its work goes on {late}", found="; ".join(going))
        await steps.pause(_LOOK_AGAIN_S, backend)


async def _must_serve(case: Case, subject: Any, given: Any, what: str) -> None:
    late = f"after {what} timed out, the call of {shown(given)} does not end"
    within_s = case.contract.tolerance_s

    async def call() -> None:
        await case.call(subject, given)

    with _Interrupting(within_s, late):
        if not case.looping:
            await call()
        elif not await steps.within(call(), within_s, case.contract.backend):
            broken(f"{late} within {within_s:g} s")


async def _going_on(case: Case, subject: Any, before: Leftovers) -> list[str]:
    going = working_threads(before)
    kinds = ("task", "process")
    going += [told for key, told in alive().items() if key[0] in kinds and key not in before]
    if case.contract.declares("progress"):
        first = fingerprint(await case.settled(case.contract.progress(subject)))
        await steps.pause(3 * _LOOK_AGAIN_S, case.contract.backend if case.looping else None)
        second = fingerprint(await case.settled(case.contract.progress(subject)))
        if first != second:
            going.append(f"progress went from {shown(first)} to {shown(second)}")
    return going


class _Interrupting:
    """Raises in this thread when a block takes too long: a loop in Python is ended by it.

    What waits in C is not, and is left to the time limit of the test.
    """

    def __init__(self, seconds: float, late: str) -> None:
        self._thread = threading.get_ident()
        self._timer = threading.Timer(seconds + 0.5, self._interrupt)
        self._timer.daemon = True
        self._late = late
        self._fired = False

    def _interrupt(self) -> None:
        self._fired = True
        _raise_in(self._thread, _TooLateError)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()  # from here on it does not fire
        if self._fired and kind is not _TooLateError:
            _raise_in(self._thread, None)  # on its way, and not wanted any more
        if self._fired:
            raise LawBrokenError(self._late)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    raised = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


class _TooLateError(BaseException):
    """Not to be caught by what is interrupted."""
