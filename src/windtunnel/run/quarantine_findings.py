"""What collecting told about quarantines, and how it gets from workers to their controller.

pytest-xdist's controller collects nothing, so it cannot see markers; and a worker that crashes
under a quarantined test cannot say so any more. Each worker that collects by itself therefore
leaves what it found in a file beside the record, before its first test.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from windtunnel.core import REAL_CLOCK, UsageError
from windtunnel.run.quarantine_file import Entries, Entry, best, parse_until
from windtunnel.run.session import RunState

MARKER = "quarantine"
_MARKER_FIELDS = {"reason", "until"}
_OLD_S = 2 * 86_400.0


@dataclasses.dataclass(slots=True)
class Findings:
    """The collected tests that a quarantine names.

    :param held: entry by test, for those whose failure is excused.
    :param expired: entry by test, for those whose every quarantine is over.
    :param left_out: tests left out by ``--skip-quarantine``.
    :param stale: entries of the file that name no test, though their tests were collected.
    :param errors: what is wrong with a test's marker, by test; not handed to a controller.
    """

    held: dict[str, Entry] = dataclasses.field(default_factory=dict[str, Entry])
    expired: dict[str, Entry] = dataclasses.field(default_factory=dict[str, Entry])
    left_out: list[str] = dataclasses.field(default_factory=list[str])
    stale: list[Entry] = dataclasses.field(default_factory=list[Entry])
    errors: dict[str, UsageError] = dataclasses.field(default_factory=dict[str, UsageError])

    def __bool__(self) -> bool:
        return bool(self.held or self.expired or self.left_out or self.stale)


def find(
    items: Iterable[pytest.Item], entries: Entries, today: datetime.date, *, skip: bool
) -> Findings:
    """Sort out which of the collected tests a marker or an entry names.

    :param skip: whether quarantined tests are to be left out.
    """
    found = Findings()
    for item in items:
        nodeid = item.nodeid
        try:
            all_of_it = of_marker(item)
        except UsageError as error:
            found.errors[nodeid] = error
            continue
        if entries:
            all_of_it += entries.naming(nodeid)
        if not all_of_it:
            continue
        holding = best(entry for entry in all_of_it if not entry.expired(today))
        if holding is None:
            last = best(all_of_it)
            if last is not None:
                found.expired[nodeid] = last
        elif skip:
            found.left_out.append(nodeid)
        else:
            found.held[nodeid] = holding
    return found


def stale(items: Iterable[pytest.Item], entries: Entries, root: Path) -> list[Entry]:
    """The entries that name no test, though their file was collected or is not there at all."""
    if not entries:
        return []
    nodeids = [item.nodeid for item in items]
    files = {nodeid.partition("::")[0] for nodeid in nodeids}
    named = {entry for nodeid in nodeids for entry in entries.naming(nodeid)}
    return [
        entry
        for entry in entries.all
        if entry not in named
        and not entry.is_pattern
        and ((file := entry.test.partition("::")[0]) in files or not (root / file).exists())
    ]


def of_marker(item: pytest.Item) -> list[Entry]:
    """The quarantines that markers put on a test, its class or its module.

    :raises UsageError: for a field or value that cannot be meant.
    """
    return [_entry(item, mark) for mark in item.iter_markers(MARKER)]


def _entry(item: pytest.Item, mark: pytest.Mark) -> Entry:
    where = f"@pytest.mark.{MARKER} on {item.nodeid}"
    fields: dict[str, object] = dict(mark.kwargs)
    if len(mark.args) == 1 and "reason" not in fields:
        fields["reason"] = mark.args[0]
    elif mark.args:
        raise UsageError(
            f"{where} has arguments without a name",
            found=", ".join(map(repr, mark.args)),
            fix='write it as (reason="...", until="2026-12-31")',
        )
    for key in fields:
        if key not in _MARKER_FIELDS:
            raise UsageError(
                f"{where} has an unknown field {key!r}", fix="fields are reason and until"
            )
    reason = fields.get("reason", "")
    if not isinstance(reason, str):
        raise UsageError(f"{where}: 'reason' is not a string", found=repr(reason))
    until = parse_until(fields.get("until"), where)
    return Entry(item.nodeid, reason, until=until, source="marker")


def leave(state: RunState, findings: Findings) -> None:
    """Leave a worker's findings for its controller. Workers find the same, so the last one wins."""
    path = _path(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{state.worker}")
    whole.write_text(json.dumps(_to_json(findings)), encoding="utf-8")
    os.replace(whole, path)


def fetch(state: RunState) -> Findings | None:
    """What a worker of this run left, if one did."""
    try:
        return _from_json(json.loads(_path(state).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None


def clear(state: RunState) -> None:
    """Remove what this run's workers left, and what runs left that were killed days ago."""
    _path(state).unlink(missing_ok=True)
    for path in state.state_dir.glob("quarantine-*"):
        try:
            if path.stat().st_mtime < REAL_CLOCK.time() - _OLD_S:
                path.unlink()
        except FileNotFoundError:
            pass  # another run cleared it


def _path(state: RunState) -> Path:
    return state.state_dir / f"quarantine-{state.run_id}.json"


def _to_json(findings: Findings) -> dict[str, object]:
    return {
        "held": {nodeid: _fields(entry) for nodeid, entry in findings.held.items()},
        "expired": {nodeid: _fields(entry) for nodeid, entry in findings.expired.items()},
        "left_out": findings.left_out,
        "stale": [_fields(entry) for entry in findings.stale],
    }


def _fields(entry: Entry) -> list[str]:
    until = entry.until.isoformat() if entry.until else ""
    return [entry.test, entry.reason, entry.owner, until, entry.source]


def _from_json(document: Mapping[str, object]) -> Findings:
    def entry(fields: list[str]) -> Entry:
        test, reason, owner, until, source = fields
        return Entry(test, reason, owner, parse_until(until, source), source)

    held, expired = document["held"], document["expired"]
    left_out, stale = document["left_out"], document["stale"]
    assert isinstance(held, dict)
    assert isinstance(expired, dict)
    assert isinstance(left_out, list)
    assert isinstance(stale, list)
    return Findings(
        {nodeid: entry(fields) for nodeid, fields in held.items()},
        {nodeid: entry(fields) for nodeid, fields in expired.items()},
        left_out,
        [entry(fields) for fields in stale],
    )
