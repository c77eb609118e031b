"""Causes other than order: change one thing on purpose and see whether the failure rate changes.

Each intervention first *screens* several settings with few runs each, then *confirms* the pair
that differs most with as many runs as the plan allows, on new runs, so that a difference picked
out of many is not taken for more than it is. What explains the failures is the first
intervention, in the order of :data:`INTERVENTIONS`, that separates them beyond doubt; else the
one with the smallest p-value, if it is small enough.
"""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import glob
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from windtunnel.core import UsageError
from windtunnel.probe.bench import Bench, OutOfBudget
from windtunnel.probe.experiment import AS_IT_IS, Conditions
from windtunnel.probe.findings import Cause, Contrast, Finding
from windtunnel.probe.lab import Lab
from windtunnel.probe.statistics import Rate

_BEYOND_DOUBT = 1e-4
_SIGNIFICANT = 0.005
_RIVALS = 6
_MORE_ROUNDS, _WORTH_MORE = 2, 0.2  # where few runs hint at a difference, more are made
_RUNS_WITHIN_S = 12.0  # confirming one intervention takes about so long at most


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to run the test.

    :param name: how it reads after "fails 3/10 ...".
    :param by_hand: variables that do the same outside a lab, where they are others than
        ``conditions.environment``.
    :param fresh: whether each run needs a fresh process.
    :param at_start: whether the conditions shall hold from the import of the tests on.
    """

    name: str
    conditions: Conditions = AS_IT_IS
    by_hand: tuple[tuple[str, str], ...] = ()
    fresh: bool = False
    at_start: bool = False

    def command(self, pytest_command: Sequence[str]) -> str:
        """That command under this setting, as a shell takes it."""
        variables = self.by_hand or self.conditions.environment
        wishes = {} if self.by_hand else self.conditions.wishes()
        words = [f"{name}={shlex.quote(value)}" for name, value in variables]
        if wishes:
            words += ["python", "-m", "windtunnel.probe.chamber", shlex.quote(json.dumps(wishes))]
        return " ".join([*words, shlex.join(pytest_command)])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an intervention showed: the contrast, and the setting under which it fails."""

    contrast: Contrast
    failing: Setting


@dataclasses.dataclass(frozen=True, slots=True)
class Intervention:
    """One thing that is changed.

    :param key: what ``--change`` calls it.
    :param settings: gives the ways to run the test; the first is what the others are compared
        with, the baseline where it is as usual. Raises :class:`Unavailable` where this machine
        cannot do it.
    """

    key: str
    name: str
    cause: Cause
    settings: Callable[[Bench], Sequence[Setting]]
    screen: int = 3


class Unavailable(Exception):
    """This machine cannot make that change; the text says why."""


def investigate(
    bench: Bench, finding: Finding, baseline: Rate, repeats: int, keys: Sequence[str] = ()
) -> bool:
    """Fill in the finding with the intervention that explains the failures; whether one does.

    :param baseline: the failure rate alone, as it is.
    :param keys: of the interventions to make; all when empty.
    """
    best: tuple[Intervention, Outcome] | None = None
    for intervention in INTERVENTIONS:
        if keys and intervention.key not in keys:
            continue
        try:
            bench.budget.tell(f"changing {intervention.name}")
            outcome = _try(bench, finding, intervention, baseline, repeats)
        except Unavailable as reason:
            finding.notes.append(f"not tried: {intervention.name} ({reason})")
            continue
        except OutOfBudget as error:
            finding.notes.append(f"stopped before {intervention.name}: {error.what}")
            break
        if outcome is None:
            continue
        if best is None or outcome.contrast.p_value < best[1].contrast.p_value:
            best = (intervention, outcome)
        if outcome.contrast.p_value <= _BEYOND_DOUBT:
            break
    if best is None or best[1].contrast.p_value > _SIGNIFICANT:
        return False
    intervention, outcome = best
    finding.cause = intervention.cause
    finding.shown_by = outcome.contrast
    finding.tried = [tried for tried in finding.tried if tried is not outcome.contrast]
    finding.reason = f"its outcome changes with {intervention.name}"
    finding.command = outcome.failing.command(bench.fresh.command([bench.target]))
    with contextlib.suppress(OutOfBudget):
        bench.budget.tell("confirming in fresh processes")
        finding.confirmed = bench.alone(3, outcome.failing.conditions, fresh=True)
    return True


def _try(
    bench: Bench, finding: Finding, intervention: Intervention, baseline: Rate, repeats: int
) -> Outcome | None:
    labs = _Labs()
    try:
        return _compare(bench, finding, intervention, baseline, repeats, labs)
    finally:
        labs.close()


def _compare(
    bench: Bench,
    finding: Finding,
    intervention: Intervention,
    baseline: Rate,
    repeats: int,
    labs: _Labs,
) -> Outcome | None:
    settings = list(intervention.settings(bench))
    screened = [(s, _measure(bench, s, intervention.screen, labs)) for s in settings]
    screened = [(s, rate) for s, rate in screened if rate.runs]
    usual = Setting(name="as it is")
    if settings[0].conditions == AS_IT_IS and not settings[0].fresh:
        usual = settings[0]
        # Where the test fails at times anyway, few runs may hide a difference: all that is known
        # of it as it is counts in choosing what to confirm.
        screened = [(s, rate + baseline if s is usual else rate) for s, rate in screened]
    elif not settings[0].fresh:
        screened.append((usual, baseline))
    if not screened:
        return None
    low = min(screened, key=lambda pair: pair[1].failures / pair[1].runs)
    high = max(screened, key=lambda pair: pair[1].failures / pair[1].runs)
    if _share(high[1]) - _share(low[1]) < 0.3:
        return _unmoved(finding, intervention, screened, baseline)
    runs = _affordable(bench, repeats, high[0])
    before, after = (low, high) if high[0] is not usual else (high, low)
    contrast = _contrast(bench, before[0], after[0], runs, labs)
    for _ in range(_MORE_ROUNDS):
        if not _SIGNIFICANT < contrast.p_value < _WORTH_MORE:
            break
        contrast = _contrast(bench, before[0], after[0], runs, labs, contrast)
    finding.tried.append(contrast)
    return Outcome(contrast=contrast, failing=high[0])


def _contrast(
    bench: Bench,
    before: Setting,
    after: Setting,
    runs: int,
    labs: _Labs,
    so_far: Contrast | None = None,
) -> Contrast:
    none = Rate(0, 0)
    return Contrast(
        before=before.name,
        before_rate=(so_far.before_rate if so_far else none) + _measure(bench, before, runs, labs),
        after=after.name,
        after_rate=(so_far.after_rate if so_far else none) + _measure(bench, after, runs, labs),
    )


def _unmoved(
    finding: Finding,
    intervention: Intervention,
    screened: Sequence[tuple[Setting, Rate]],
    baseline: Rate,
) -> Outcome | None:
    """All settings ended alike. For a test that is mixed as it is, that itself may say much."""
    total = sum((rate for _, rate in screened), Rate(0, 0))
    contrast = Contrast(
        before="as it is",
        before_rate=baseline,
        after=f"with {intervention.name} changed",
        after_rate=total,
    )
    finding.tried.append(contrast)
    if baseline.mixed and not total.mixed and contrast.p_value <= _SIGNIFICANT:
        return Outcome(contrast=contrast, failing=screened[0][0])
    return None


def _share(rate: Rate) -> float:
    return rate.failures / rate.runs


class _Labs:
    """The labs that one intervention starts, each kept while the next settings can use it."""

    def __init__(self) -> None:
        self._open: dict[Conditions, Lab] = {}

    def started_so(self, small: Lab, setting: Setting) -> Lab:
        """A lab with the setting's environment; under all its conditions if it says so."""
        start = setting.conditions
        if not setting.at_start:
            start = Conditions(environment=start.environment)
        if start not in self._open:
            if setting.at_start:
                self.close()
            try:
                self._open[start] = Lab(small.site, small.arguments, start)
            except UsageError as error:
                raise Unavailable(f"pytest does not start so: {error.found[-200:]}") from None
        return self._open[start]

    def close(self) -> None:
        """End them."""
        for lab in self._open.values():
            lab.close()
        self._open.clear()


def _measure(bench: Bench, setting: Setting, runs: int, labs: _Labs) -> Rate:
    bench.missing.clear()
    conditions = setting.conditions
    if conditions.environment and not setting.fresh and bench.small is not None:
        # What a process takes from its environment at its start needs a lab started so.
        lab = labs.started_so(bench.small, setting)
        rate = bench.rate(lambda: bench.fails_alone(lab, conditions), runs)
    else:
        rate = bench.alone(runs, conditions, fresh=setting.fresh)
    missing = set(bench.missing) - {"snapshot"}
    if missing:
        raise Unavailable("; ".join(bench.missing[name] for name in sorted(missing)))
    return rate


def _affordable(bench: Bench, repeats: int, setting: Setting) -> int:
    """Runs for confirmation: more where the test is quick, to see small differences too."""
    cost_s = bench.longest_s + (0.6 if setting.fresh else 0.03)
    if setting.conditions.rivals or setting.conditions.paused:
        cost_s *= 5
    return max(min(repeats, 8), min(3 * repeats, int(_RUNS_WITHIN_S / 2 / cost_s)))


# What is changed, one function a kind.


def _seeds(bench: Bench) -> list[Setting]:
    quick = bench.longest_s < 0.05 and bench.small is not None
    return [
        Setting(name=f"with random seed {seed}", conditions=Conditions(seed=seed))
        for seed in range(48 if quick else 12)
    ]


def _seeds_at_import(bench: Bench) -> list[Setting]:
    return [
        Setting(
            name=f"with random seed {seed} from the start",
            conditions=Conditions(seed=seed, environment=(("PYTHONHASHSEED", "0"),)),
            fresh=True,
        )
        for seed in range(5)
    ]


def _hash_seeds(bench: Bench) -> list[Setting]:
    return [
        Setting(
            name=f"with PYTHONHASHSEED={seed}",
            conditions=Conditions(environment=(("PYTHONHASHSEED", str(seed)),)),
            fresh=True,
        )
        for seed in range(8)
    ]


def _listings(bench: Bench) -> list[Setting]:
    return [
        Setting(name="as it is"),
        *(
            Setting(name=f"with directory listings {order}", conditions=Conditions(listing=order))
            for order in ("sorted", "reversed", "shuffled")
        ),
    ]


_ZONES = (("UTC0", "UTC"), ("<+14>-14", "UTC+14"), ("<-12>12", "UTC-12"), ("<+0545>-5:45", "+5:45"))


def _zones(bench: Bench) -> list[Setting]:
    return [
        Setting(name="as it is"),
        *(
            Setting(
                name=f"in time zone {label}",
                conditions=Conditions(zone=zone),
                by_hand=(("TZ", zone),),
            )
            for zone, label in _ZONES
        ),
    ]


# UTC instants at which code that handles dates goes wrong, in a spread of seasons, weekdays,
# hours and seconds.
_DATES = (
    ((2025, 6, 18, 12, 0, 0), "on a Wednesday noon"),
    ((2025, 6, 15, 3, 20, 31), "on a Sunday night"),
    ((2024, 2, 29, 12, 0, 2), "on a leap day"),
    ((2025, 1, 31, 18, 30, 45), "at the end of January"),
    ((2024, 12, 31, 23, 59, 59), "in the last second of the year"),
    ((2025, 1, 1, 0, 0, 1), "in the first second of the year"),
    ((2025, 5, 7, 23, 59, 59), "in the last second of a day"),
    ((2038, 1, 19, 3, 14, 9), "after 2038-01-19"),
    ((2019, 8, 5, 9, 10, 11), "in 2019"),
)
# Summer time begins at the first of these instants and ends at the second, in the zone given.
_DST_ZONE = "EST5EDT,M3.2.0,M11.1.0"
_DST = (
    ((2025, 3, 9, 6, 59, 59), "in the last second before summer time"),
    ((2025, 11, 2, 5, 59, 59), "in the last second before winter time"),
)


def _dates(bench: Bench) -> list[Setting]:
    library = _libfaketime()
    if library is None and importlib.util.find_spec("time_machine") is None:
        raise Unavailable("neither libfaketime nor time-machine is installed")
    settings = [_moved(library, None, "with the clock under control, at the true time")]
    for zone, dates in (("", _DATES), (_DST_ZONE, _DST)):
        for date, label in dates:
            settings.append(_moved(library, calendar.timegm((*date, 0, 0, 0)), label, zone))
    return settings


def _import_dates(bench: Bench) -> list[Setting]:
    return [
        dataclasses.replace(setting, name=f"{setting.name}, also at import", at_start=True)
        for setting in _dates(bench)[:5]
    ]


def _moved(library: str | None, epoch: float | None, label: str, zone: str = "") -> Setting:
    by_hand = {"TZ": zone} if zone else {}
    environment: dict[str, str] = {}
    if library is not None:
        by_hand |= {"LD_PRELOAD": library, "FAKETIME_FMT": "%s", "FAKETIME": f"@{epoch}"}
        environment = {
            "LD_PRELOAD": library,
            "FAKETIME": "+0",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }
    return Setting(
        name=label,
        conditions=Conditions(
            date=epoch, zone=zone, environment=tuple(sorted(environment.items()))
        ),
        by_hand=tuple(by_hand.items()) if library is not None and epoch is not None else (),
    )


def _libfaketime() -> str | None:
    if sys.platform != "linux":
        return None
    found = sorted(glob.glob("/usr/lib*/*/faketime/libfaketimeMT.so.1"))
    found += sorted(glob.glob("/usr/lib*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def _frozen(bench: Bench) -> list[Setting]:
    if importlib.util.find_spec("time_machine") is None:
        raise Unavailable("time-machine is not installed")
    noon = calendar.timegm((2025, 6, 18, 12, 0, 0, 0, 0, 0))
    return [
        Setting(
            name=f"with the clock standing at 12:00:{seconds:09.6f}",
            conditions=Conditions(date=noon + seconds, frozen=True),
        )
        for seconds in (0.0, 0.0001, 0.251, 0.5027, 0.7773, 0.999999, 7.0, 31.3331)
    ]


def _network(bench: Bench) -> list[Setting]:
    return [
        Setting(name="as it is"),
        Setting(name="without network", conditions=Conditions(network=False)),
    ]


def _switching(bench: Bench) -> list[Setting]:
    core = _a_core()
    return [
        Setting(name="as it is"),
        *(
            Setting(
                name=f"with threads switched every {text}",
                conditions=Conditions(switch_s=seconds, core=core),
            )
            for seconds, text in ((1e-6, "microsecond"), (5.0, "5 seconds"))
        ),
        Setting(name="with short sleeps between its lines", conditions=Conditions(noise=True)),
    ]


def _load(bench: Bench) -> list[Setting]:
    core = _a_core()
    if core is None:
        raise Unavailable("processes cannot be bound to a core here")
    return [
        Setting(name="as it is"),
        Setting(name="on one core", conditions=Conditions(core=core)),
        Setting(
            name=f"on one core with {_RIVALS} busy processes",
            conditions=Conditions(core=core, rivals=_RIVALS, nice=5),
        ),
        Setting(
            name="with the process stopped most of the time",
            conditions=Conditions(paused=True),
        ),
    ]


def _a_core() -> int | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


def _descriptors(bench: Bench) -> list[Setting]:
    return [
        Setting(name="as it is"),
        *(
            Setting(
                name=f"with at most {files} open files",
                conditions=Conditions(files=files),
            )
            for files in (256, 64)
        ),
    ]


INTERVENTIONS: tuple[Intervention, ...] = (
    Intervention("seed", "the random seed", Cause.RANDOMNESS, _seeds, screen=1),
    Intervention("hashes", "the seed of hashes", Cause.RANDOMNESS, _hash_seeds, screen=1),
    Intervention("listings", "the order of directory listings", Cause.RANDOMNESS, _listings),
    Intervention("zone", "the time zone", Cause.TIME, _zones),
    Intervention("date", "the date", Cause.TIME, _dates, screen=2),
    Intervention("instant", "the instant the clock shows", Cause.TIME, _frozen),
    Intervention("network", "the network", Cause.NETWORK, _network),
    Intervention("threads", "when threads are switched", Cause.CONCURRENCY, _switching, screen=5),
    Intervention("load", "the load of the CPU", Cause.CONCURRENCY, _load, screen=5),
    Intervention("files", "the limit of open files", Cause.RESOURCE, _descriptors),
    Intervention("import-date", "the date at import", Cause.TIME, _import_dates, screen=2),
    Intervention(
        "import-seed", "the random seed at import", Cause.RANDOMNESS, _seeds_at_import, screen=1
    ),
)
