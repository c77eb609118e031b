"""Which tests are flaky, and why we think so.

:func:`judge` is a pure function from histories to judgements, most damaging first;
:func:`judge_record` reads the histories out of a record. What counts as a result: every attempt
that ended, reruns included; errors in set-up and teardown, crashes and timeouts are failures;
an expected failure is a pass; skips count as nothing at all. The probabilities come from
:mod:`windtunnel.judge.explain`, where the prior is stated with its sources.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from windtunnel.core import Flakiness, Settings, Stability
from windtunnel.judge.explain import Group, Posterior, explain
from windtunnel.record.protocol import OutcomeRow

CALL_AT = 0.8
"""Posterior probability from which a test is called stable, flaky or broken; below it, unknown."""

ATTENTION_S = 28 * 60.0
"""Seconds of a human's time that one failed run costs: 28 minutes, Slack Engineering, *Handling
Flaky Tests at Scale: Auto Detection & Suppression* (2022)."""

STRIP = 20
"""Number of recent results drawn."""

_WEEK_S = 7 * 86_400.0


class Histories(Protocol):
    """What a judge needs of a record: :class:`windtunnel.record.Record` is one."""

    def history(
        self, nodeids: Collection[str] | None = None, *, last: int = 100
    ) -> Mapping[str, Sequence[OutcomeRow]]:
        """Every attempt of the last runs of each test, oldest first."""
        ...


def judge_record(
    record: Histories, settings: Settings, nodeids: Collection[str] | None = None
) -> list[Flakiness]:
    """Judge the tests of a record, or those named, over their last 100 runs.

    :returns: one judgement a test and environment, most damaging first.
    """
    return judge(record.history(nodeids, last=100), settings)


def judge(
    history: Mapping[str, Sequence[OutcomeRow]], settings: Settings | None = None
) -> list[Flakiness]:
    """Judge each test in each environment it ran in.

    :param history: results by test, oldest first.
    :param settings: the thresholds ``flaky_min_results``, ``flaky_failure_rate`` and
        ``flaky_quarantine_results``; the defaults where None.
    :returns: one judgement a test and environment that has results which count, most damaging
        first, then likeliest flaky, then by name.

    >>> judge({})
    []
    """
    settings = settings or Settings()
    found = [
        _judge_one(nodeid, environment, rows, settings)
        for nodeid, all_rows in history.items()
        for environment, rows in _by_environment(all_rows).items()
    ]
    return sorted(found, key=lambda it: (-it.damage_s, -it.p_flaky, it.nodeid, it.environment))


def simple_rule(results: int, failures: int, settings: Settings) -> bool:
    """The plain rule: enough results, both outcomes, failure rate at the threshold or over it.

    >>> simple_rule(3, 1, Settings()), simple_rule(3, 3, Settings()), simple_rule(2, 1, Settings())
    (True, False, False)
    """
    return (
        results >= settings.flaky_min_results
        and 0 < failures < results
        and failures / results >= settings.flaky_failure_rate
    )


def _by_environment(rows: Sequence[OutcomeRow]) -> dict[str, list[OutcomeRow]]:
    counted: dict[str, list[OutcomeRow]] = {}
    for row in rows:
        if row.outcome.bad or row.outcome.good:
            counted.setdefault(row.environment, []).append(row)
    return counted


def _judge_one(
    nodeid: str, environment: str, rows: list[OutcomeRow], settings: Settings
) -> Flakiness:
    groups = group_by_code(rows)
    posterior = explain(list(groups.values()))
    results = len(rows)
    failures = sum(bad for bad, _ in groups.values())
    enough = results >= settings.flaky_min_results or bool(_mixed(groups))
    stability = _stability(posterior, results, failures) if enough else Stability.UNKNOWN
    plain = simple_rule(results, failures, settings)
    judged = Flakiness(
        nodeid=nodeid,
        environment=environment,
        stability=stability,
        results=results,
        failures=failures,
        p_stable=posterior.stable,
        p_flaky=posterior.flaky,
        p_broken=posterior.broken,
        rate_low=posterior.low,
        rate_high=posterior.high,
        strip="".join(row.outcome.letter for row in rows[-STRIP:]),
        reason=_reason(stability, groups, posterior)
        if enough
        else f"too few results: {results} of {settings.flaky_min_results}",
        simple_rule=plain,
        quarantine_recommended=False,
        damage_s=_damage_s(rows) if failures else 0.0,
    )
    if judged.suspect and results >= settings.flaky_quarantine_results:
        return dataclasses.replace(judged, quarantine_recommended=True)
    return judged


def group_by_code(rows: Sequence[OutcomeRow]) -> dict[str, Group]:
    """Failures and passes on each state of the code, in the order in which it was first seen.

    Where the content hash is not known (no repository), the code may have changed between any two
    runs, and each run is a group of its own; the attempts of one run always ran the same code.
    """
    groups: dict[str, Group] = {}
    for row in rows:
        code = row.tree or f"run {row.run}"
        bad, good = groups.get(code, (0, 0))
        groups[code] = (bad + 1, good) if row.outcome.bad else (bad, good + 1)
    return groups


def _mixed(groups: Mapping[str, Group]) -> list[str]:
    """States of the code on which the test both failed and passed: near-proof, however few."""
    return [code for code, (bad, good) in groups.items() if bad and good]


def _stability(posterior: Posterior, results: int, failures: int) -> Stability:
    if posterior.flaky >= CALL_AT and failures:
        return Stability.FLAKY
    if posterior.broken >= CALL_AT:
        return Stability.REGRESSED if failures < results else Stability.BROKEN
    return Stability.STABLE if posterior.stable >= CALL_AT else Stability.UNKNOWN


def _reason(stability: Stability, groups: Mapping[str, Group], posterior: Posterior) -> str:
    results = sum(bad + good for bad, good in groups.values())
    failures = sum(bad for bad, _ in groups.values())
    if stability is Stability.FLAKY:
        return _why_flaky(groups, results, failures)
    if stability is Stability.BROKEN:
        return f"failed in all {_count(results, 'result')}"
    if stability is Stability.REGRESSED:
        code, since = _turning_point(groups, bad_after=True)
        return f"a regression: fails since {_name(code)}, {_count(since, 'result')} ago"
    if stability is Stability.UNKNOWN:
        return (
            f"failed {failures} of {results}; {posterior.flaky:.0%} flaky, "
            f"{posterior.broken:.0%} broken: more results will tell"
        )
    if not failures:
        return f"passed in all {_count(results, 'result')}"
    code, since = _turning_point(groups, bad_after=False)
    return f"passes since {_name(code)}: {_count(since, 'result')} without failure"


def _why_flaky(groups: Mapping[str, Group], results: int, failures: int) -> str:
    mixed = _mixed(groups)
    if not mixed:
        return (
            f"failed {failures} of {results}, on and off over {_count(len(groups), 'change')} "
            "of the code"
        )
    bad, good = groups[mixed[-1]]
    same = f"failed {bad} and passed {good} of {bad + good} on the same code ({_name(mixed[-1])})"
    return same if len(mixed) == 1 else f"{same}, and so on {_count(len(mixed) - 1, 'other state')}"


def _turning_point(groups: Mapping[str, Group], *, bad_after: bool) -> tuple[str, int]:
    """The first code of the closing stretch without the other outcome, and its results."""
    first, since = "", 0
    for code in reversed(list(groups)):
        bad, good = groups[code]
        if good if bad_after else bad:
            break
        first, since = code, since + bad + good
    return first, since


def _name(code: str) -> str:
    if code.startswith("run "):
        return code
    return f"tree {code[:10]}" if code else "the latest code"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _damage_s(rows: Sequence[OutcomeRow]) -> float:
    """Seconds a week: every failure costs its time again, one that failed a run also a human's."""
    weeks = max(1.0, (rows[-1].started - rows[0].started) / _WEEK_S)
    cost = 0.0
    for row in rows:
        if row.outcome.bad:
            cost += row.duration_s
            if row.final and not row.quarantined:
                cost += ATTENTION_S
    return cost / weeks
