"""The record as JSON lines: one event a line, by the names of its fields.

The first line is ``{"windtunnel_export": 1}``. Every other line is an event of
:mod:`windtunnel.core.events` with two names more: ``event``, its kind, and ``run_id``. The JSON is
standard: the numbers that JSON has not are the strings ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``. A reader skips kinds and names it does not know.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator

from windtunnel.core import (
    EVENT_TYPES,
    Event,
    Resource,
    RunFinished,
    RunStarted,
    Sample,
    TestFinished,
    TestStarted,
    UsageError,
    Violation,
)
from windtunnel.record.protocol import OutcomeRow, RunRow
from windtunnel.record.store import Record

FORMAT = 1

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool, int),
}


def export_lines(record: Record, runs: Iterable[RunRow]) -> Iterator[str]:
    """The lines, without their ends, of an export of these runs."""
    yield _dump({"windtunnel_export": FORMAT})
    for run in runs:
        for event in run_events(record, run):
            yield _dump({"event": event.kind, "run_id": run.run_id} | _by_name(event))


def import_lines(lines: Iterable[str], source: str) -> Iterator[tuple[str, Event]]:
    """The events in an export, each with its run's name.

    :param source: the file's name, for errors.
    :raises UsageError: for what is no export, or one of a newer format; says which line.
    """
    numbered = enumerate(lines, start=1)
    first = next(numbered, None)
    head = _load(first[1], f"{source}:1") if first else {}
    version = head.get("windtunnel_export")
    if version != FORMAT:
        raise UsageError(
            f"cannot import {source}",
            found=f"a first line with windtunnel_export = {version!r}",
            fix=f"give a file of `windtunnel record export`; this version reads format {FORMAT}",
        )
    for number, line in numbered:
        if not line.strip():
            continue
        where = f"{source}:{number}"
        document = _load(line, where)
        run_id = document.get("run_id")
        if not isinstance(run_id, str) or not run_id:
            raise UsageError(f"cannot import {where}", found=f"run_id = {run_id!r}")
        cls = EVENT_TYPES.get(str(document.get("event")))
        if cls is not None:
            yield run_id, _event(cls, document, where)


def run_events(record: Record, run: RunRow) -> Iterator[Event]:
    """All that is recorded of a run, as events again."""
    yield RunStarted(
        time=run.started,
        run_id=run.run_id,
        argv=run.argv,
        root=run.root,
        commit=run.commit,
        tree=run.tree,
        environment=run.environment,
        environment_text=run.environment_text,
        isolation=run.isolation,
        world=run.world,
        workers=run.workers,
        seed=run.seed,
        ci=run.ci,
    )
    for row in record.unfinished(run.number):
        yield TestStarted(
            time=row.started,
            nodeid=row.nodeid,
            worker=row.worker,
            attempt=row.attempt,
            order=row.order,
        )
    for outcome in record.outcomes(run.number):
        yield outcome_event(outcome)
    for cls, rows in (
        (Sample, record.samples(run=run.number)),
        (Violation, record.violations(run.number)),
        (Resource, record.resources(run.number)),
    ):
        for some in rows:
            fields = dataclasses.asdict(some)
            del fields["run"]
            yield cls(**fields)
    if run.finished is not None:
        yield RunFinished(
            time=run.finished,
            exit_code=run.exit_code or 0,
            duration_s=run.duration_s or 0.0,
            collected=run.collected,
        )


def outcome_event(row: OutcomeRow) -> TestFinished:
    """The event that a row was made from."""
    return TestFinished(
        time=row.started + row.duration_s,
        nodeid=row.nodeid,
        outcome=row.outcome.value,
        worker=row.worker,
        attempt=row.attempt,
        final=row.final,
        phase=row.phase,
        setup_s=row.setup_s,
        call_s=row.call_s,
        teardown_s=row.teardown_s,
        started=row.started,
        order=row.order,
        isolation=row.isolation,
        message=row.message,
        output=row.output,
        quarantined=row.quarantined,
        replay=row.replay,
        seed=row.seed,
    )


def _by_name(event: Event) -> dict[str, object]:
    return {field.name: _finite(getattr(event, field.name)) for field in dataclasses.fields(event)}


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _dump(document: dict[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _load(line: str, where: str) -> dict[str, object]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise UsageError(f"cannot import {where}: it is no JSON", found=str(error)) from None
    if not isinstance(document, dict):
        raise UsageError(f"cannot import {where}: it is no JSON object", found=line.strip()[:80])
    return document


def _event(cls: type[Event], document: dict[str, object], where: str) -> Event:
    values: dict[str, object] = {}
    for field in dataclasses.fields(cls):
        if field.name not in document:
            if field.default is dataclasses.MISSING:
                raise UsageError(f"cannot import {where}: {cls.kind} has no {field.name}")
            continue
        value, kind = document[field.name], str(field.type)
        if kind == "float" and isinstance(value, str):
            value = _NOT_FINITE.get(value, value)
        if not isinstance(value, _TYPES[kind]) or (kind != "bool" and isinstance(value, bool)):
            raise UsageError(
                f"cannot import {where}: {cls.kind}'s {field.name} is no {kind}",
                found=repr(value)[:80],
            )
        values[field.name] = float(value) if kind == "float" else value  # type: ignore[arg-type]  # checked above
    return cls(**values)  # type: ignore[arg-type]  # checked above
