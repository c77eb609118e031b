"""What laws give and raise, by their public names."""

from __future__ import annotations

from typing import Any

import pytest

from windtunnel import laws
from windtunnel.core import ExitCode, Verdict


@laws.law
def gives_twice(double: Any, draw: laws.Draw) -> None:
    assert double(3) == 6


@laws.law
def never_comes_to_its_point(double: Any, draw: laws.Draw) -> None:
    for each in []:
        assert double(each) == each


# For ``check``, and no suite of this module's: only what stands in a module by itself is one.
CONTRACTS = {
    "doubling": laws.contract(
        "Doubling",
        subjects={"good": lambda: lambda n: n * 2, "stuck": lambda: lambda n: 0},
        more_laws=[gives_twice, never_comes_to_its_point],
        general=(),
        call=lambda double, n: double(n),
    )
}


def test_a_law_is_an_object_with_a_name() -> None:
    assert isinstance(gives_twice, laws.Law)
    assert gives_twice.name == "gives_twice"


def test_findings_tell_subject_law_and_verdict() -> None:
    found = {(one.subject, one.law): one for one in laws.check(CONTRACTS["doubling"])}
    assert all(isinstance(one, laws.Finding) for one in found.values())
    assert found["good", "gives_twice"].verdict is Verdict.PASS
    assert found["stuck", "gives_twice"].verdict is Verdict.FAIL
    vacuous = found["good", "never_comes_to_its_point"]
    assert vacuous.verdict is Verdict.FAIL
    assert "loop over nothing" in vacuous.reason


def test_a_call_that_raised_is_told_from_one_that_returned_an_error() -> None:
    raised = laws.Completion(True, error=ValueError("too large"))
    returned = laws.Completion(True, value={"error": "too large"}, error="too large")
    assert (raised.raised, returned.raised) == (True, False)
    assert raised.message == returned.message == "too large"


def test_a_subject_has_a_title() -> None:
    assert laws.Subject("mock", dict, "fake", "real").title == "mock-fake-of-real"


def test_an_excuse_covers_a_law_of_the_subjects_it_names() -> None:
    waiver = laws.waive("gives_twice", "it is known", subject="g*")
    assert isinstance(waiver, laws.Waiver)
    assert waiver.covers("gives_twice", "good")
    assert not waiver.covers("gives_twice", "stuck")


def test_differences_are_listed() -> None:
    (difference,) = laws.differences(CONTRACTS["doubling"], fake="stuck", real="good")
    assert isinstance(difference, laws.Difference)
    assert "gives_twice" in difference.what


def test_what_laws_raise_ends_a_run_with_codes_of_their_own() -> None:
    assert issubclass(laws.LawBrokenError, AssertionError)
    assert laws.VacuousError.exit_code is ExitCode.VACUOUS
    with pytest.raises(laws.ContractError):
        laws.contract(no_such_member=1)


def test_a_law_in_the_place_of_a_member_is_one_clear_error() -> None:
    with pytest.raises(laws.ContractError, match="name of a member of Contract"):

        class Wrong(laws.Contract):
            @laws.law
            def doubles(subject: Any, draw: laws.Draw) -> None: ...
