"""One contract for the engines and for the doubles that stand for them."""

# ruff: noqa: RUF012 - a contract is declared, not changed

from __future__ import annotations

import pytest

from windtunnel import laws, sessions
from windtunnel.core import Verdict
from windtunnel.sessions import MockAsyncExecutor
from windtunnel.sessions import laws as contracts
from windtunnel.sessions.laws import READ, STARLARK, Asked

pytestmark = pytest.mark.once  # processes; what talks to them is tested on each


def executor(engine):
    return sessions.executor(engine, functions=[READ])


def session(engine, **options):
    return sessions.open(engine, functions=[READ], **options)


class TestExecutors(contracts.ExecutorContract):
    examples = 10  # fewer may never draw code that fails, which is vacuous
    subjects = {"monty": lambda: executor("monty"), "double": contracts.scripted_executor}
    doubles = {"double": "monty"}


class TestSessions(contracts.SessionContract):
    examples = 10
    subjects = {
        "monty": lambda **options: session("monty", **options),
        "double": contracts.scripted_session,
    }
    doubles = {"double": "monty"}


# Asked of monty and the double: what decides them is the session's, which all engines share.
SHARED = dict.fromkeys(
    (
        "same_input_same_output",
        "concurrent_calls_equal_a_serial_order",
        "failure_says_so",
        "stats_agree",
    ),
    "what decides it is shared with monty, of which it is asked",
)


class TestExecutorsInCells(contracts.ExecutorContract):
    examples = 10
    without = {**contracts.ExecutorContract.without, **SHARED}
    subjects = {
        "process": lambda: executor("process"),
        "starlark": lambda: Asked(executor("starlark"), STARLARK),
    }


class TestSessionsInCells(contracts.SessionContract):
    examples = 10
    without = {**contracts.SessionContract.without, **SHARED}
    subjects = {
        "process": lambda **options: session("process", **options),
        "starlark": lambda **options: Asked(session("starlark", **options), STARLARK),
    }


class TestCheckers(contracts.CheckerContract):
    subjects = {"real": sessions.Capabilities, "double": sessions.MockCapabilityManager}
    doubles = {"double": "real"}


def test_no_difference_is_found_between_the_double_and_the_real_one():
    class Few(contracts.SessionContract):
        examples = 10
        general = ("agrees_with_the_real_one",)
        subjects = TestSessions.subjects
        doubles = TestSessions.doubles

    assert laws.differences(Few, fake="double", real="monty") == []


def test_a_double_that_was_told_something_else_is_found_different():
    def liar() -> MockAsyncExecutor:
        executor = contracts.scripted_executor()
        executor.on("6 * 7").returns(43)
        executor.on("1 / 0").returns(0)
        return executor

    class Few(contracts.ExecutorContract):
        examples = 20
        subjects = {"monty": TestExecutors.subjects["monty"], "liar": liar}

    names = ["failing_is_an_outcome", "the_value_is_that_of_the_last_expression"]
    found = {one.law: one for one in laws.check(Few, subjects=["liar"], laws=names)}
    assert [one.verdict for one in found.values()] == [Verdict.FAIL, Verdict.FAIL]
    assert "expected ZeroDivisionError; '1 / 0' gave" in found[names[0]].reason
    assert "expected 42; '6 * 7' gave" in found[names[1]].reason
