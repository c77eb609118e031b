"""The engines withstand what is tried on them, and the kit tells who does not."""

from __future__ import annotations

import json
from typing import ClassVar

import anyio
import pytest

from windtunnel import laws, sessions
from windtunnel.core import UsageError, Verdict
from windtunnel.core.events import Violation, emit, set_sink
from windtunnel.sessions import confinement
from windtunnel.sessions.confinement import ConfinementContract, Outcome, Report, Row


def engine(name):
    """The factory of an engine's executors."""

    def make(terms):
        return sessions.executor(name, functions=terms.functions, limits=terms.limits)

    return make


ENGINES = {name: engine(name) for name in ("monty", "starlark", "process")}


async def checked(factory, *, patience_s=10.0, **chosen):
    return await confinement.check(factory, patience_s=patience_s, **chosen)


# -- the engines ----------------------------------------------------------------------------------


class TestMonty(ConfinementContract):
    """A test an attempt; those that monty has no syntax for are skipped, and say so."""

    subjects: ClassVar = {"monty": ENGINES["monty"]}


@pytest.fixture(scope="module", params=["starlark", "process"])
def report(request):
    return anyio.run(lambda: checked(ENGINES[request.param]))


@pytest.mark.once
def test_nothing_escapes_from_the_engine(report):
    assert [(row.id, dict(row.evidence)) for row in report.escapes] == []


@pytest.mark.once
def test_enough_is_tried_on_the_engine_for_that_to_mean_something(report):
    assert report.vacuous == ()
    assert report.verdict is Verdict.PASS
    assert len(report.withstood) >= 120
    assert len(report.rows) == len(confinement.ATTEMPTS)


@pytest.mark.once
def test_the_engine_can_do_the_legal_thing_of_every_family(report):
    assert [row.id for row in report.controls if row.outcome is not Outcome.WITHSTOOD] == []
    assert len(report.controls) == len(confinement.FAMILIES)


def test_the_double_that_runs_no_code_is_not_said_to_be_confined():
    def double(terms):
        return sessions.MockAsyncExecutor()

    report = anyio.run(lambda: checked(double, families=["aliasing"]))
    assert report.verdict is Verdict.UNKNOWN


def test_a_language_without_import_is_put_to_the_ways_around_it_that_it_has():
    report = anyio.run(lambda: checked(ENGINES["starlark"], families=["importing"]))
    assert [row.id for row in report.withstood] == ["import-through-attribute", "import-statement"]
    assert {row.variant for row in report.not_applicable} == {"none"}
    assert report.verdict is Verdict.PASS


def test_the_attempts_are_made_under_trio_too():
    async def check():
        return await checked(ENGINES["monty"], families=["contexts", "uses"])

    report = anyio.run(check, backend="trio")
    assert report.verdict is Verdict.PASS


# -- vacuity --------------------------------------------------------------------------------------


class Refusing:
    """Hands on to a real executor what it does not refuse."""

    def __init__(self, terms, refuses):
        self.inner = ENGINES["monty"](terms)
        self.refuses = refuses

    async def execute(self, code, **how):
        if self.refuses(code):
            return sessions.ExecResult(ok=False, error_type="SyntaxError", error="refused")
        return await self.inner.execute(code, **how)

    async def close(self):
        await self.inner.close()


def test_an_executor_that_refuses_everything_passes_nothing():
    report = anyio.run(
        lambda: checked(lambda terms: Refusing(terms, lambda code: True), families=["aliasing"])
    )
    assert report.escapes == ()
    assert report.verdict is Verdict.UNKNOWN
    assert "aliasing: the executor cannot do the legal thing" in report.vacuous[0]


def test_an_executor_that_does_what_is_legal_and_nothing_else_passes_nothing_either():
    report = anyio.run(
        lambda: checked(
            lambda terms: Refusing(terms, lambda code: "tried" in code), families=["aliasing"]
        )
    )
    assert [row.outcome for row in report.controls] == [Outcome.WITHSTOOD]
    assert report.verdict is Verdict.UNKNOWN
    assert "aliasing: none of 21 attempts could be made" in report.vacuous


def test_an_executor_that_comes_to_fewer_than_half_of_the_attempts_passes_nothing():
    refused = ("alias-list", "alias-dict", "alias-map", "alias-loop")
    codes = {code for id in refused[:3] for _, code in confinement.ATTEMPTS[id].variants("python")}
    report = anyio.run(
        lambda: checked(lambda terms: Refusing(terms, codes.__contains__), attempts=refused)
    )
    assert report.verdict is Verdict.UNKNOWN
    assert "3 of 4 attempts of guests could not be made; at most 50% may" in report.vacuous


def test_an_executor_that_raises_is_told_with_what_it_raised():
    class Broken:
        async def execute(self, code, **how):
            raise OSError("no engine")

    report = anyio.run(lambda: checked(lambda terms: Broken(), attempts=["alias-list"]))
    assert report.verdict is Verdict.UNKNOWN
    assert "the executor raised OSError: no engine" in report.row("alias-list").notes


def test_what_is_refused_to_attempts_is_no_violation_of_the_run():
    seen = []
    before = set_sink(seen.append)
    try:
        anyio.run(lambda: checked(ENGINES["monty"], attempts=["path-parent", "token-edited"]))
        emit(Violation(rule="capability", subject="the user's own"))
    finally:
        set_sink(before)
    assert [event.subject for event in seen] == ["the user's own"]


# -- escapes are told -----------------------------------------------------------------------------


class Careless:
    """Calls a host function whenever the code of a guest names it."""

    def __init__(self, terms):
        self.functions = terms.functions

    async def execute(self, code, **how):
        for function in self.functions:
            if f"[{function.name}]" in code or function.name == "tried":
                function.call()
        return sessions.ExecResult(ok=True)


def test_what_escapes_is_told_with_what_was_seen_of_it():
    report = anyio.run(lambda: checked(Careless, attempts=["alias-list"]))
    (escape,) = report.escapes
    assert escape.evidence == {"forbidden": "the function ran, without its capability"}
    assert report.verdict is Verdict.FAIL
    assert "escaped         aliasing/alias-list  forbidden: the function ran" in report.table()


def test_what_a_guest_says_is_no_escape_and_a_secret_that_comes_out_is():
    class Talker:
        def __init__(self, terms):
            self.told = ""

        async def execute(self, code, *, inputs, **how):
            with open(inputs["secret_file"]) as file:
                secret = file.read()
            said = secret if "open" in code else "I escaped! root:x:0:0 SECRET uid=0(root)"
            return sessions.ExecResult(ok=True, value=[{"deep": said}], output="pwned")

    report = anyio.run(lambda: checked(Talker, attempts=["alias-list", "open-alias"]))
    assert report.row("alias-list").outcome is not Outcome.ESCAPED
    assert report.row("open-alias").evidence == {"secret": "it stands in the value of the result"}


# -- apart ----------------------------------------------------------------------------------------

DANGEROUS = """
import os, threading
from windtunnel import sessions

class Hangs:
    async def execute(self, code, **how):
        if "BaseException" in code:
            threading.Event().wait()
        return sessions.ExecResult(ok=True)

def hangs(terms):
    return Hangs()

class Dies(Hangs):
    async def execute(self, code, **how):
        if "BaseException" in code:
            os.abort()
        return sessions.ExecResult(ok=True)

def dies(terms):
    return Dies()

number = 3
"""


@pytest.fixture
def dangerous(tmp_path):
    file = tmp_path / "dangerous.py"
    file.write_text(DANGEROUS)
    return file


@pytest.mark.parametrize(
    ("factory", "seen"),
    [
        ("hangs", {"late": "the host process hung and had to be killed"}),
        ("dies", {"host": "the host process ended with SIGABRT"}),
    ],
)
def test_who_takes_the_process_with_it_has_escaped_and_the_rest_is_tried(dangerous, factory, seen):
    report = confinement.check_apart(
        f"{dangerous}:{factory}",
        attempts=["loop-empty", "loop-catching", "loop-finally"],
        patience_s=0.1,
    )
    assert [row.id for row in report.rows] == ["loop-empty", "loop-catching", "loop-finally"]
    assert report.row("loop-catching").evidence == seen
    assert report.row("loop-finally").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("name", ["nothing", "number"])
def test_a_factory_that_is_none_is_told(dangerous, name):
    with pytest.raises(UsageError, match=f"dangerous.py:{name} cannot be used"):
        confinement.check_apart(f"{dangerous}:{name}", attempts=["alias-list"])


def test_rows_are_told_as_they_come(dangerous):
    told = []
    confinement.check_apart(
        f"{dangerous}:dies", attempts=["loop-empty", "loop-catching"], on_row=told.append
    )
    assert [row.id for row in told] == ["control timeouts", "loop-empty", "loop-catching"]


# -- the report -----------------------------------------------------------------------------------


def row(id, outcome, **more):
    return Row(id=id, family="aliasing", outcome=outcome, variant="python", **more)


def test_the_report_is_json_and_rows_come_back_from_it():
    report = Report(
        (
            row("a", Outcome.WITHSTOOD, took_s=0.5),
            row("b", Outcome.ESCAPED, evidence={"host": "x"}),
        ),
        (row("control aliasing", Outcome.WITHSTOOD),),
    )
    text = json.loads(json.dumps(report.as_json()))
    assert (text["schema"], text["verdict"], text["escaped"]) == (1, "fail", 1)
    assert tuple(Row.from_json(one) for one in text["rows"]) == report.rows


def test_a_report_of_nothing_is_no_pass():
    assert Report(()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("chosen", [{"families": ["aliases"]}, {"attempts": ["alias"]}])
def test_a_family_or_an_attempt_that_is_none_is_told(chosen):
    with pytest.raises(UsageError, match=r"there is no (family|attempt) of that name"):
        anyio.run(lambda: checked(ENGINES["monty"], **chosen))


def test_the_contract_fails_with_what_was_seen():
    class Escaping(ConfinementContract):
        subjects: ClassVar = {"careless": Careless}

    (finding,) = laws.check(Escaping, laws=["alias-list"])
    assert finding.verdict is Verdict.FAIL
    assert "the function ran, without its capability" in finding.reason
