"""Every attempt escapes from an executor that is weak enough, or else it would prove nothing.

The weak executors reach the process that they run in, so they are put to the attempts in processes
of their own, and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from windtunnel.core import Verdict
from windtunnel.sessions import confinement
from windtunnel.sessions.confinement.inside import loaded

WEAK = Path(__file__).with_name("leaky_executor.py")
PATIENCE_S = 0.3
FAMILIES = {
    "aliasing", "importing", "attributes", "formatting", "traversal", "injection", "tokens", "uses",
    "expiry", "contexts", "smuggling", "exhaustion", "timeouts", "floods",
}  # fmt: skip

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def leaky() -> confinement.Report:
    """What becomes of the executor that searches the code for names."""
    return confinement.check_apart(f"{WEAK}:by_names", patience_s=PATIENCE_S)


@pytest.fixture(scope="module")
def escapes(leaky: confinement.Report) -> dict[str, confinement.Row]:
    """The rows of what escaped, from it or from one that is weak in another way."""
    found = {row.id: row for row in leaky.escapes}
    for kind in ("by_builtins", "by_patience", "by_alarm"):
        left = [id for id in confinement.ATTEMPTS if id not in found]
        report = confinement.check_apart(f"{WEAK}:{kind}", attempts=left, patience_s=PATIENCE_S)
        found.update({row.id: row for row in report.escapes})
    return found


def test_the_library_has_at_least_120_attempts_in_every_family_that_is_known():
    assert len(confinement.ATTEMPTS) >= 120
    assert set(confinement.FAMILIES) == FAMILIES
    assert min(len(one.attempts) for one in confinement.FAMILIES.values()) >= 8


def test_no_two_attempts_have_one_name():
    assert sum(len(one.attempts) for one in confinement.FAMILIES.values()) == len(
        confinement.ATTEMPTS
    )


def test_every_attempt_says_why_it_works_and_where_that_is_public():
    silent = [one.id for one in confinement.ATTEMPTS.values() if not one.why or not one.source]
    assert silent == []


@pytest.mark.parametrize("id", confinement.ATTEMPTS)
def test_it_escapes_from_a_weak_executor_by_the_effect_that_it_aims_at(id, escapes):
    assert id in escapes, "no weak executor fails it"
    assert confinement.ATTEMPTS[id].aims.name.lower() in escapes[id].evidence


UNBOUNDED = {"depth-recursion": "without any limit it would take all memory of the machine"}


@pytest.mark.parametrize("language", ["subset", "starlark"])
def test_the_code_for_another_language_escapes_too(language):
    ids = [id for id, one in confinement.ATTEMPTS.items() if language in one.code]
    report = confinement.check_apart(f"{WEAK}:as_{language}", attempts=ids, patience_s=PATIENCE_S)
    kept_in = {row.id for row in report.rows if row.outcome is not confinement.Outcome.ESCAPED}
    assert kept_in <= set(UNBOUNDED)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_leaky_executor_fails_the_family(family, leaky):
    of_family = [row for row in leaky.rows if row.family == family]
    assert [row for row in of_family if row.outcome is confinement.Outcome.ESCAPED]
    assert leaky.verdict is Verdict.FAIL


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_leaky_executor_can_do_the_legal_thing_of_the_family(family, leaky):
    (control,) = [row for row in leaky.controls if row.family == family]
    assert control.outcome is confinement.Outcome.WITHSTOOD, control.notes


def test_the_leaky_executor_has_a_guard_and_refuses_what_is_done_openly():
    refuses = loaded(f"{WEAK}:refuses")
    plain = (
        "forbidden()", "import os", "from sys import path", "open('/etc/passwd')",
        "eval('1')", "().__class__", "getattr(1, 'real')", "'{0.__class__}'",
    )  # fmt: skip
    assert [code for code in plain if not refuses(code)] == []
