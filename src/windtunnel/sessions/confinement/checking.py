"""Put an executor to the attempts, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Collection, Iterable

import anyio

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.core.errors import UsageError
from windtunnel.sessions.confinement.ground import Ground
from windtunnel.sessions.confinement.library import ATTEMPTS, FAMILIES
from windtunnel.sessions.confinement.model import Attempt, Canary, Family, Play
from windtunnel.sessions.confinement.quiet import unrecorded
from windtunnel.sessions.confinement.report import Outcome, Report, Row
from windtunnel.sessions.confinement.stage import Stage
from windtunnel.sessions.confinement.terms import Factory

PATIENCE_S = 10.0
"""Seconds beyond its limit that an execution may take, and its end, on a busy machine."""
_CONTROL_S = 10.0


async def check(
    factory: Factory,
    *,
    families: Iterable[str] | None = None,
    attempts: Iterable[str] | None = None,
    patience_s: float = PATIENCE_S,
) -> Report:
    """Put an executor to the attempts, here in this process.

    An executor that is not to be trusted at all belongs into :func:`check_apart`: what escapes
    here, escapes into this process, and what hangs here hangs it.

    :param factory: makes the executor on the terms it is given.
    :param families: the families to try; all by default.
    :param attempts: the attempts to try, by id; all of the families by default.
    :param patience_s: seconds beyond its limit that an execution may take.
    :raises UsageError: where there is no such family or attempt.

    >>> import anyio
    >>> from windtunnel import sessions
    >>> from windtunnel.sessions import confinement
    >>> def factory(terms):
    ...     return sessions.executor("monty", functions=terms.functions, limits=terms.limits)
    >>> report = anyio.run(lambda: confinement.check(factory, families=["aliasing"]))
    >>> report.verdict
    <Verdict.PASS: 'pass'>
    """
    wanted = chosen(families, attempts)
    controls: list[Row] = []
    rows: list[Row] = []
    with unrecorded(), contextlib.closing(Ground()) as ground:
        async for row in checked(factory, wanted, patience_s=patience_s, ground=ground):
            (controls if row.id.startswith("control ") else rows).append(row)
    return Report(tuple(rows), tuple(controls))


def chosen(
    families: Iterable[str] | None = None, attempts: Iterable[str] | None = None
) -> list[Attempt]:
    """The attempts of these families, or these attempts.

    :raises UsageError: where there is no such family or attempt.
    """
    _known("family", families, FAMILIES)
    _known("attempt", attempts, ATTEMPTS)
    named = None if families is None else set(families)
    ids = None if attempts is None else set(attempts)
    return [
        attempt
        for attempt in ATTEMPTS.values()
        if (named is None or attempt.family in named) and (ids is None or attempt.id in ids)
    ]


def _known(what: str, given: Iterable[str] | None, known: Collection[str]) -> None:
    for name in () if given is None else given:
        if name not in known:
            raise UsageError(
                f"there is no {what} of that name", found=repr(name), fix=f"use {', '.join(known)}"
            )


async def checked(
    factory: Factory,
    attempts: Iterable[Attempt],
    *,
    patience_s: float,
    controlled: Collection[str] = (),
    ground: Ground,
) -> AsyncGenerator[Row, None]:
    """The rows as they come, each family's control first.

    :param controlled: the families whose control has been made.
    :param ground: where they are made.
    """
    stage = Stage(factory, ground, patience_s=patience_s)
    try:
        if not controlled:
            await stage.calm_s()  # while nothing was tried
        stage.language = getattr(factory, "language", "") or await _language(stage)
        seen = set(controlled)
        for attempt in attempts:
            if attempt.family not in seen:
                seen.add(attempt.family)
                yield await control(stage, FAMILIES[attempt.family])
            yield await tried(stage, attempt)
    finally:
        with anyio.CancelScope(shield=True):
            await stage.close()


async def _language(stage: Stage) -> str:
    """Which language it speaks: ``type(1)`` is a string in Starlark alone."""
    stage.begin("tell(str(type(1)))", _CONTROL_S)
    await stage.execute()
    return "starlark" if stage.ground.told == ["int"] else "python"


async def control(stage: Stage, family: Family) -> Row:
    """Do the legal thing of a family."""
    started = REAL_CLOCK.monotonic()
    given = family.control
    if callable(given):
        stage.begin("", _CONTROL_S)
        broke_off = await _watched(stage, given)
        good = stage.ground.tries > 0 and not broke_off
    else:
        stage.begin(given.get(stage.language) or given["python"], _CONTROL_S)
        await _watched(stage, None)
        good = stage.ground.told[-1:] == ["done"]
    return Row(
        id=f"control {family.name}",
        family=family.name,
        outcome=Outcome.WITHSTOOD if good else Outcome.NOT_APPLICABLE,
        notes=() if good else tuple(stage.notes),
        took_s=REAL_CLOCK.monotonic() - started,
    )


async def tried(stage: Stage, attempt: Attempt) -> Row:
    """Make one attempt, in each of its variants until one escapes."""
    started = REAL_CLOCK.monotonic()
    notes: list[str] = []
    outcome, variant = Outcome.NOT_APPLICABLE, ""
    variants = attempt.variants(stage.language) if attempt.by_guest else [("host", "")]
    if not variants:
        said = f"it has no form in {stage.language}"
        return Row(id=attempt.id, family=attempt.family, outcome=outcome, variant="none",
                   notes=(said,))  # fmt: skip
    for name, code in variants:
        came_to = await _outcome(stage, attempt, code)
        notes += stage.notes
        if came_to is not Outcome.NOT_APPLICABLE or not variant:
            outcome, variant = came_to, name
        if outcome is Outcome.ESCAPED:
            break
    return Row(
        id=attempt.id,
        family=attempt.family,
        outcome=outcome,
        variant=variant,
        evidence={canary.name.lower(): seen for canary, seen in stage.ground.effects.items()},
        notes=tuple(notes),
        took_s=REAL_CLOCK.monotonic() - started,
    )


async def _outcome(stage: Stage, attempt: Attempt, code: str) -> Outcome:
    stage.begin(code, attempt.timeout_s)
    broke_off = await _watched(stage, attempt.play, attempt)
    if stage.ground.effects:
        return Outcome.ESCAPED
    if stage.ground.tries and not broke_off:
        return Outcome.WITHSTOOD
    return Outcome.NOT_APPLICABLE


async def _watched(stage: Stage, play: Play | None, attempt: Attempt | None = None) -> bool:
    """Carry it out under the eyes of the ground; whether it broke off, so that nothing is known."""
    broke_off = False
    aims = attempt.aims if attempt else None
    weighed = attempt is not None and attempt.family == "exhaustion"
    settles = aims in (Canary.PROCESS, Canary.WORKING, Canary.LATE)
    if settles:
        await stage.calm_s()
    with stage.ground.watched(streams=aims is Canary.FLOOD, weighed=weighed):
        try:
            await (play(stage) if play else stage.execute())
        except Exception as error:  # of the executor or the machinery, whoever's they are
            stage.notes.append(f"it broke off: {type(error).__name__}: {error}"[:300])
            broke_off = True
        stage.shelf.look()
        if settles:
            await stage.settle()
    return broke_off


__all__ = ["PATIENCE_S", "check", "checked", "chosen", "control", "tried"]
