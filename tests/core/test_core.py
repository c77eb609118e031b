"""Seeds, events, faults, verdicts, clocks, settings and errors, through their public names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.core import (
    EVENT_TYPES,
    ExitCode,
    Fault,
    FaultPlan,
    Outcome,
    RealClock,
    Sample,
    Seed,
    Settings,
    UsageError,
    Verdict,
    emit,
    set_sink,
)
from windtunnel.core.settings import FIELDS, read_pyproject


@given(st.integers(0, 2**63 - 1), st.text(), st.text())
def test_seed_streams_do_not_move_each_other(value: int, name: str, other: str) -> None:
    seed = Seed(value)
    alone = [seed.stream(name).random() for _ in range(3)]
    seed.stream(other).random()
    assert [seed.stream(name).random() for _ in range(3)] == alone
    if name != other:
        assert seed.child(name) != seed.child(other)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_a_seed_is_the_same_under_every_hash_seed(hash_seed: str) -> None:
    code = "from windtunnel.core import Seed; print(Seed(7).child('a').stream('net').random())"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert float(output) == Seed(7).child("a").stream("net").random()


@pytest.mark.parametrize("text", ["", "x", "-1", str(2**63), "1.5"])
def test_a_seed_that_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="a seed is a whole number from 0"):
        Seed.parse(text)


faults_strategy = st.builds(
    Fault,
    verb=st.text(min_size=1),
    target=st.text(),
    at_s=st.floats(0, 1e6),
    until_s=st.none() | st.floats(1e6, 1e9),
    arguments=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()),
)


@given(st.lists(faults_strategy, max_size=5))
def test_a_fault_plan_goes_through_json_and_back(faults: list[Fault]) -> None:
    plan = FaultPlan.of(faults)
    assert FaultPlan.from_json(plan.to_json()) == plan
    assert [fault.at_s for fault in plan] == sorted(fault.at_s for fault in faults)


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ("nonsense", "JSON object"),
        ('{"format": 2, "faults": []}', '"format": 1'),
        ('{"format": 1, "faults": {}}', 'a list "faults"'),
        ('{"format": 1, "faults": [{"verb": "crash", "target": "a", "when": 1}]}', "faults[0]"),
        ('{"format": 1, "faults": [{"verb": "crash"}]}', "needs the field 'target'"),
        ('{"format": 1, "faults": [{"verb": 1, "target": "a"}]}', "faults[0].verb"),
        ('{"format": 1, "faults": [{"verb": "", "target": "a"}]}', "needs a verb"),
        ('{"format": 1, "faults": [{"verb": "x", "target": "a", "at_s": -1}]}', "0 s or later"),
    ],
)
def test_a_bad_fault_plan_names_the_fault_and_the_field(document: str, names: str) -> None:
    with pytest.raises(UsageError) as caught:
        FaultPlan.from_json(document)
    assert names in str(caught.value)


def test_a_verdict_has_no_truth_value_and_unknown_is_never_a_pass() -> None:
    with pytest.raises(TypeError, match="three values"):
        bool(Verdict.PASS)
    assert Verdict.all_of([Verdict.PASS, Verdict.PASS]) is Verdict.PASS
    assert Verdict.all_of([Verdict.UNKNOWN, Verdict.FAIL]) is Verdict.FAIL
    assert Verdict.all_of([]) is Verdict.UNKNOWN


def test_events_without_a_sink_go_nowhere_and_with_one_arrive() -> None:
    before = set_sink(None)
    try:
        emit(Sample(name="lost", value=1.0))
        seen: list[object] = []
        set_sink(seen.append)
        emit(Sample(name="kept", value=2.0))
    finally:
        set_sink(before)
    assert [event.name for event in seen] == ["kept"]  # type: ignore[attr-defined]


def test_every_event_has_scalar_fields_and_a_kind_of_its_own() -> None:
    assert all(kind == cls.kind for kind, cls in EVENT_TYPES.items())
    assert len(EVENT_TYPES) == 7


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_outcome_is_its_letter_and_good_bad_or_neither(outcome: Outcome) -> None:
    assert Outcome.from_letter(outcome.letter) is outcome
    assert not (outcome.good and outcome.bad)
    assert outcome is Outcome.SKIPPED or outcome.good or outcome.bad


def test_the_clock_is_deaf_to_moved_dates() -> None:
    clock = RealClock()
    before = clock.time()
    with time_machine.travel(0, tick=False):
        first, second = clock.monotonic(), clock.monotonic()
        assert second > first
        assert 0 <= clock.time() - before < 60


def test_the_first_source_that_gives_a_setting_wins() -> None:
    ini, pyproject = {"reruns": "2", "dist": "load"}, {"reruns": 3, "dist": "loadfile", "seed": 9}
    settings = Settings.resolve({"reruns": "1"}, ini, pyproject)
    assert (settings.reruns, settings.dist, settings.seed) == (1, "load", 9)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("isolation", "env,forks", "'forks' is none of"),
        ("workers", "-1", "negative"),
        ("workers", "many", "cannot use --wt-workers"),
        ("dist", "each", "none of duration"),
        ("seeds", "1e3", "not a whole number"),
        ("reruns_delay", "soon", "not a number"),
        ("reruns_delay", "inf", "finite"),
        ("flaky_failure_rate", "30", "from 0 to 1"),
        ("restore", "perhaps", "neither true nor false"),
        ("reruns_dealy", "1", "did you mean reruns_delay?"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_one_clear_error(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.resolve({name: value}, {}, {})
    assert says in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE_ERROR


def test_every_setting_has_a_help_text_and_a_default_of_its_type() -> None:
    defaults = Settings()
    for name, field in FIELDS.items():
        assert field.metadata["help"]
        parsed = Settings.resolve({}, {}, {name: getattr(defaults, name)})
        assert getattr(parsed, name) == getattr(defaults, name)


def test_pyproject_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    assert read_pyproject(tmp_path) == {}
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.windtunnel]\nisolation = ["env", "fork"]\n', encoding="utf-8")
    table = read_pyproject(tmp_path)
    assert Settings.resolve({}, {}, table).isolation == {"env", "fork"}
    path.write_text("[tool.windtunnel\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"pyproject\.toml is not TOML"):
        read_pyproject(tmp_path)


def test_the_plan_that_is_printed_is_plain_json() -> None:
    plan = FaultPlan.of([Fault("slow", "a->b", arguments={"latency_s": 0.2})])
    assert json.loads(plan.to_json()) == {
        "format": 1,
        "faults": [
            {"verb": "slow", "target": "a->b", "at_s": 0.0, "arguments": {"latency_s": 0.2}}
        ],
    }
