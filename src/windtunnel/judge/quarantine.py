"""Which tests to quarantine, and which to let out again. Pure: it reads histories and entries.

A test is proposed when its judgement recommends it and nothing quarantines it yet. A test is
released when its history says with :data:`RELEASE_AT` that it is stable now. That takes longer
the rarer it failed: the history is weighed as a whole (:mod:`windtunnel.judge.explain`), and ten
passes say little about a test that used to fail once in thirty runs.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence

from windtunnel.core import Flakiness, Settings
from windtunnel.judge.explain import explain
from windtunnel.judge.flaky import group_by_code
from windtunnel.record.protocol import OutcomeRow
from windtunnel.run.quarantine_file import Entries, Entry

HOLD_DAYS = 30
"""For how many days a proposed quarantine holds."""

RELEASE_AT = 0.95
"""Posterior probability of being stable now from which a test is released."""


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """A quarantine that may end.

    :param entry: the entry to remove; its source says where it is written.
    :param tests: the tests it held, with the number of results since each last failed.
    :param p_stable: the lowest posterior among them.
    """

    entry: Entry
    tests: Mapping[str, int]
    p_stable: float


def propose(
    judgements: Iterable[Flakiness],
    entries: Entries,
    today: datetime.date,
    owner_of: Callable[[str], str] = lambda nodeid: "",
    *,
    held: Callable[[str], bool] = lambda nodeid: False,
) -> list[Entry]:
    """New entries, most damaging first.

    :param owner_of: who owns a test, asked only for those proposed.
    :param held: whether a marker quarantines a test already.
    """
    proposed: dict[str, Entry] = {}
    for it in judgements:
        if not it.quarantine_recommended or it.nodeid in proposed or held(it.nodeid):
            continue
        if any(not entry.expired(today) for entry in entries.naming(it.nodeid)):
            continue
        proposed[it.nodeid] = Entry(
            test=it.nodeid,
            reason=f"flaky: {it.reason}",
            owner=owner_of(it.nodeid),
            until=today + datetime.timedelta(days=HOLD_DAYS),
        )
    return list(proposed.values())


def release(
    history: Mapping[str, Sequence[OutcomeRow]],
    entries: Entries,
    settings: Settings | None = None,
) -> list[Release]:
    """The quarantines whose every test is convincingly stable in every environment.

    A test that was run in quarantine and that no entry names is quarantined by its marker.
    A test without at least ``flaky_quarantine_results`` results since it last failed holds its
    entry back, and so does an entry none of whose tests was ever run.
    """
    least = (settings or Settings()).flaky_quarantine_results
    held: dict[Entry, list[str]] = {}
    for nodeid, rows in history.items():
        naming = entries.naming(nodeid)
        if not naming and rows and rows[-1].quarantined:
            naming = [Entry(nodeid, "", source="marker")]
        for entry in naming:
            held.setdefault(entry, []).append(nodeid)
    found = []
    for entry, nodeids in held.items():
        tests: dict[str, int] = {}
        lowest = 1.0
        for nodeid in nodeids:
            tests[nodeid], p_stable = _since_last_failure(history[nodeid])
            lowest = min(lowest, p_stable)
        if lowest >= RELEASE_AT and min(tests.values()) >= least:
            found.append(Release(entry, tests, lowest))
    return found


def _since_last_failure(rows: Sequence[OutcomeRow]) -> tuple[int, float]:
    """Results since the last failure in the environment where there are fewest, and the lowest
    probability of being stable among environments."""
    environments: dict[str, list[OutcomeRow]] = {}
    for row in rows:
        if row.outcome.bad or row.outcome.good:
            environments.setdefault(row.environment, []).append(row)
    fewest, lowest = -1, 1.0
    for counted in environments.values():
        since = 0
        for row in reversed(counted):
            if row.outcome.bad:
                break
            since += 1
        fewest = since if fewest < 0 else min(fewest, since)
        lowest = min(lowest, explain(list(group_by_code(counted).values())).stable)
    return max(fewest, 0), lowest


def to_toml(entries: Iterable[Entry]) -> str:
    """Entries as text for ``windtunnel.quarantine.toml``.

    >>> print(to_toml([Entry("tests/test_a.py::test_b", "flaky", until=datetime.date(2026, 5, 1))]))
    <BLANKLINE>
    [[quarantine]]
    test = "tests/test_a.py::test_b"
    reason = "flaky"
    owner = ""
    until = 2026-05-01
    <BLANKLINE>
    """
    text = ""
    for entry in entries:
        text += f"\n[[quarantine]]\ntest = {_quoted(entry.test)}\n"
        text += f"reason = {_quoted(entry.reason)}\nowner = {_quoted(entry.owner)}\n"
        if entry.until:
            text += f"until = {entry.until.isoformat()}\n"
    return text


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for the surrogates of unpaired halves
    and the delete character."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
