"""What a law never came to is found, named, and fails unless it is waived."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed, Violation
from windtunnel.core.events import set_sink


def reason(law: Any, make: Any = list, **declared: Any) -> str:
    """Why the law is vacuous for what ``make`` makes; empty where it is not."""
    contract = laws.contract(subjects={"it": make}, more_laws=[law], **declared)
    name = getattr(law, "name", None) or law.__name__
    (one,) = laws.check(contract, laws=[name], seed=Seed(1))
    if one.verdict.value == "pass":
        return ""
    assert "is vacuous for it" in one.reason, one.reason
    return one.reason


# -- what is seen from the source -----------------------------------------------------------------


def test_a_loop_over_an_empty_result_is_vacuous():
    def law(subject, draw):
        for one in subject:
            assert one > 0

    assert "loop over nothing: for one in subject (tests/laws/test_vacuity.py:" in reason(law)
    assert reason(law, lambda: [1, 2]) == ""


def test_an_assertion_that_is_never_reached_is_vacuous():
    def law(subject, draw):
        if len(subject) > 3:
            return
        try:
            subject[0]
        except IndexError:
            return
        assert subject[0] == 1

    assert "assertion never reached: subject[0] == 1" in reason(law)
    assert reason(law, lambda: [1]) == ""


def test_a_branch_that_tests_something_must_be_taken_and_one_that_gives_up_need_not():
    def law(subject, draw):
        if subject is None:
            raise AssertionError("no subject")
        if not isinstance(subject, list):
            pytest.fail("no list")
        if subject:
            subject.clear()
        elif draw(st.booleans()):
            assert not subject
        else:
            subject.append(1)

    assert "branch never taken: if subject" in reason(law)
    assert "else of" not in reason(law)
    assert "else of if draw(st.booleans())" in reason(law, lambda: [1])


def test_the_other_side_of_an_or_in_an_assertion_must_have_been_needed():
    def law(subject, draw):
        ok = draw(st.booleans()) and not subject
        assert not ok or subject == []

    assert reason(law) == ""
    assert "alternative never needed: subject == []" in reason(law, lambda: [1])


def test_a_comprehension_in_an_assertion_must_have_gone_through_something():
    def law(subject, draw):
        assert all(one > 0 for one in subject)
        assert [one for one in subject if one < 0] == []

    assert reason(law).count("loop over nothing: for one in subject") == 2
    assert reason(law, lambda: [1]) == ""


def test_handlers_cases_and_nested_functions_are_seen_too():
    def law(subject, draw):
        try:
            subject.pop()
        except IndexError:
            assert subject == []
        match subject:
            case []:
                assert True is not None
            case [_]:
                assert len(subject) == 1

        def check():
            assert subject is not None

        if subject:
            check()

    found = reason(law)
    assert "case [_]" in found
    assert "assertion never reached: subject is not None" in found
    assert "except IndexError" not in found
    assert "branch never taken: except IndexError" in reason(law, lambda: [1, 2])


def test_an_asynchronous_law_is_seen_in_every_task():
    async def law(subject, draw):
        async def one(number):
            await asyncio.sleep(0)
            assert number >= 0

        await asyncio.gather(*(one(number) for number in subject))

    assert "assertion never reached: number >= 0" in reason(law)
    assert reason(law, lambda: [1]) == ""


def test_a_law_that_calls_and_asserts_nothing_is_vacuous():
    def law(subject, draw):
        """Something grand."""

    assert "it asserts nothing" in reason(law)


def test_all_examples_count_together():
    def law(subject, draw):
        if draw(st.integers(0, 9)) > 4:
            assert subject == []
        else:
            assert not subject

    assert reason(law) == ""


def test_what_is_rare_is_looked_for_in_more_examples_before_it_counts_as_never():
    @laws.law(branches=("one in twenty",))
    def rare(subject, draw):
        if draw(st.integers(0, 19)) == 7:
            draw.saw("one in twenty")

    @laws.law(branches=("never",))
    def never(subject, draw):
        if draw(st.integers(0, 19)) == 20:
            draw.saw("never")

    assert reason(rare, examples=4) == ""
    assert "it held in 20 examples" in reason(never, examples=4)


def test_a_law_may_name_branches_that_its_source_does_not_show():
    @laws.law(branches=("hit", "miss"))
    def cached(subject, draw):
        draw.saw("hit" if subject else "miss")

    assert "never seen: hit" in reason(cached)
    assert "never seen: miss" in reason(cached, lambda: [1])


# -- waivers --------------------------------------------------------------------------------------


def is_positive(subject, draw):
    for one in subject:
        assert one > 0


def told(waivers: Any, **subjects: Any) -> dict[str, str]:
    contract = laws.contract(
        "Numbers", subjects=subjects or {"it": list}, more_laws=[is_positive], waivers=waivers
    )
    return {one.subject: one.verdict.value for one in laws.check(contract, seed=Seed(1))}


def test_a_waiver_excuses_by_law_subject_and_finding():
    assert told({"is_positive": "none at first"}) == {"it": "pass"}
    some = [laws.waive("is_positive", "none at first", subject="empty*")]
    assert told(some, empty_list=list, empty_set=set, other=tuple) == {
        "empty_list": "pass",
        "empty_set": "pass",
        "other": "fail",
    }
    half = [laws.waive("is_positive", "none at first", finding="loop over nothing*")]
    assert told(half) == {"it": "fail"}


def test_a_waiver_needs_a_reason_and_the_name_of_a_law():
    with pytest.raises(laws.ContractError, match="has no reason"):
        laws.waive("is_positive", " ")
    with pytest.raises(laws.ContractError, match="name one of agrees_with"):
        told({"is_negative": "none at first"})


def test_what_is_waived_and_what_no_longer_is_vacuous_are_on_record():
    from windtunnel.laws.reading import read
    from windtunnel.laws.running import Trial

    contract = laws.contract(
        "Numbers",
        subjects={"empty": list, "full": lambda: [1]},
        more_laws=[is_positive],
        waivers={"is_positive": "none at first"},
    )
    reading, seen = read(contract), []
    before = set_sink(seen.append)
    try:
        for subject in reading.subjects:
            left = Trial(reading, subject, reading.entries["is_positive"]).run()
            if subject.name == "full":
                with pytest.warns(UserWarning, match="full is not vacuous, and is waived"):
                    left.tell("test_it.py::it")
            else:
                left.tell("test_it.py::it")
    finally:
        set_sink(before)
    assert [(type(one), one.rule, one.subject, one.fails) for one in seen] == [
        (Violation, "vacuous", "Numbers/empty/is_positive", False),
        (Violation, "vacuous", "Numbers/full/is_positive", False),
    ]
    assert "waived: none at first" in seen[0].detail
    assert "a waiver no longer applies: none at first" in seen[1].detail


# -- beside other tools ---------------------------------------------------------------------------

COVERED = """
from hypothesis import strategies as st
from windtunnel import laws

class Lists(laws.Contract):
    subjects = {"empty": list, "full": lambda: [1]}
    @laws.law
    def is_positive(subject, draw):
        for one in subject:
            assert one + draw(st.integers(0, 1)) > 0
"""


def test_coverage_measures_a_law_and_vacuity_is_seen_all_the_same(tmp_path: Path):
    (tmp_path / "test_lists.py").write_text(COVERED)
    command = [sys.executable, "-m", "pytest", "-q", "--cov=.", "--cov-report=term-missing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout
    assert "loop over nothing: for one in subject" in done.stdout
    (line,) = (one for one in done.stdout.splitlines() if one.startswith("test_lists.py "))
    assert line.split()[3] == "100%"
