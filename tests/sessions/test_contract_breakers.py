"""Each law of the contracts can be broken: something weak in one way breaks the law about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from windtunnel import laws
from windtunnel.core import Verdict
from windtunnel.sessions import (
    CapabilityContext,
    CapabilityToken,
    ExecResult,
    MockCapabilityManager,
    current_context,
)
from windtunnel.sessions import laws as contracts
from windtunnel.sessions.laws import PYTHON, Asked, Language, Phrase


def verdict(contract: type[laws.Contract], factory: Any, law: str) -> tuple[Verdict, str]:
    declared = type("Weak", (contract,), {"subjects": {"weak": factory}, "examples": 10})
    (found,) = laws.check(declared, laws=[law])
    return found.verdict, found.reason


class Weak:
    """An executor that keeps the contract; each below is weak in one way."""

    def __init__(self) -> None:
        self.inner = contracts.scripted_executor()

    async def execute(self, code: str, **options: Any) -> ExecResult:
        return await self.inner.execute(code, **options)

    async def close(self) -> None:
        await self.inner.close()


class Raises(Weak):
    async def execute(self, code, **options):
        result = await super().execute(code, **options)
        if not result.ok:
            raise RuntimeError(result.error)
        return result


class SaysNothing(Weak):
    async def execute(self, code, **options):
        return dataclasses.replace(await super().execute(code, **options), error="")


class SharesValues(Weak):
    def __init__(self):
        super().__init__()
        self.given = {}

    async def execute(self, code, **options):
        result = await super().execute(code, **options)
        return dataclasses.replace(result, value=self.given.setdefault(code, result.value))


class ChangesInputs(Weak):
    async def execute(self, code, *, inputs=None, **options):
        result = await super().execute(code, inputs=inputs, **options)
        if inputs and isinstance(inputs["it"], list):
            inputs["it"].append("more")
        return result


class TakesNothingForZero(Weak):
    async def execute(self, code, *, inputs=None, **options):
        if inputs and inputs["it"] is None:
            inputs = {"it": 0}
        return await super().execute(code, inputs=inputs, **options)


class KeepsNames(Weak):
    async def execute(self, code, **options):
        if code == PYTHON.statement.code:
            self.inner.on(PYTHON.kept.code).returns(1)
        return await super().execute(code, **options)


class LosesOutput(Weak):
    async def execute(self, code, **options):
        return dataclasses.replace(await super().execute(code, **options), output="")


class IgnoresLimits(Weak):
    async def execute(self, code, *, timeout_s=None, **options):
        if "True" in code:
            return ExecResult(True)
        return await super().execute(code, **options)


class CrossesAnswers(Weak):
    def __init__(self):
        super().__init__()
        self.last = ""

    async def execute(self, code, **options):
        self.last = code
        await anyio.sleep(0.001)
        return await super().execute(self.last, **options)


class SticksWhenCancelled(Weak):
    def __init__(self):
        super().__init__()
        self.stuck = False

    async def execute(self, code, **options):
        if self.stuck:
            return ExecResult(False, error="it is stuck", error_type="RuntimeError")
        self.stuck = True
        result = await super().execute(code, **options)
        self.stuck = False
        return result


class AllowsAll(Weak):
    async def execute(self, code, *, grants=None, **options):
        return await super().execute(code, grants=[CapabilityToken("fs.read")], **options)


class AllowsWhatItsCallerHolds(Weak):
    async def execute(self, code, *, grants=None, **options):
        grants = current_context() if grants is None else grants
        return await super().execute(code, grants=grants, **options)


class CopiesTokens(Weak):
    async def execute(self, code, *, grants=None, **options):
        tokens = grants.tokens() if isinstance(grants, CapabilityContext) else grants
        fresh = [CapabilityToken(one.type, one.constraints) for one in tokens or ()]
        return await super().execute(code, grants=fresh, **options)


class NeverCloses(Weak):
    async def close(self):
        pass


@pytest.mark.parametrize(
    ("weak", "law"),
    [
        (Raises, "failing_is_an_outcome"),
        (SaysNothing, "failing_is_an_outcome"),
        (SharesValues, "a_value_is_the_callers_own"),
        (ChangesInputs, "inputs_are_not_changed"),
        (TakesNothingForZero, "inputs_arrive_exactly"),
        (KeepsNames, "nothing_is_left_for_the_next_execution"),
        (LosesOutput, "output_is_what_was_printed"),
        (IgnoresLimits, "the_time_limit_is_kept_and_it_serves_on"),
        (IgnoresLimits, "the_output_is_limited"),
        (IgnoresLimits, "a_limit_that_is_none_is_refused"),
        (CrossesAnswers, "concurrent_executions_get_their_own_answers"),
        (SticksWhenCancelled, "cancelling_leaves_it_usable"),
        (AllowsAll, "nothing_is_allowed_that_was_not_granted"),
        (AllowsAll, "what_was_granted_is_allowed_and_no_more"),
        (AllowsWhatItsCallerHolds, "nothing_is_allowed_that_was_not_granted"),
        (CopiesTokens, "uses_are_counted"),
        (CopiesTokens, "a_refusal_is_on_record"),
        (NeverCloses, "closing_twice_is_allowed_and_using_it_afterwards_is_not"),
    ],
)
def test_a_weak_executor_breaks_the_law_about_its_weakness(weak, law):
    assert verdict(contracts.ExecutorContract, Weak, law) == (Verdict.PASS, "")
    found, reason = verdict(contracts.ExecutorContract, weak, law)
    assert found is Verdict.FAIL
    assert reason


def weak_session(**overrides: Any) -> Any:
    def make(**options: Any) -> Any:
        session = contracts.scripted_session(**options)
        for name, override in overrides.items():
            setattr(session, name, override(session))
        return session

    return make


def forgets_names(session):
    real = session.run

    async def run(code, **options):
        result = await real(code, **options)
        session.python_namespace.clear()
        return result

    return run


def forgets_nothing(session):
    async def reset():
        session._history.clear()

    return reset


def interleaves(session):
    async def run(code, **options):
        before = dict(session.python_namespace)
        await anyio.sleep(0.001)
        session.python_namespace.update(before)
        return session.run_sync(code, **options)

    return run


def widens(session):
    real = session.run

    async def run(code, *, grants=None, **options):
        return await real(code, **options)

    return run


def returns_none(session):
    real = session.call

    async def call(function, /, *args, **options):
        try:
            return await real(function, *args, **options)
        except Exception:
            return None

    return call


def remembers_nothing(session):
    return lambda record: None


@pytest.mark.parametrize(
    ("weak", "law"),
    [
        (weak_session(run=forgets_names), "names_live_on"),
        (weak_session(run=forgets_names), "inputs_stay_as_names"),
        (weak_session(reset=forgets_nothing), "reset_forgets_names_and_history"),
        (weak_session(run=interleaves), "runs_at_the_same_time_take_turns"),
        (weak_session(run=widens), "grants_only_narrow"),
        (weak_session(call=returns_none), "a_function_that_fails_raises_a_guest_error"),
        (weak_session(call=returns_none), "the_time_limit_is_kept_and_it_serves_on"),
        (
            weak_session(_keep=lambda session: lambda record: None),
            "the_history_is_what_was_executed",
        ),
    ],
)
def test_a_weak_session_breaks_the_law_about_its_weakness(weak, law):
    assert verdict(contracts.SessionContract, contracts.scripted_session, law)[0] is Verdict.PASS
    assert verdict(contracts.SessionContract, weak, law)[0] is Verdict.FAIL


class OneForAll(MockCapabilityManager):
    """Its current context is one for all tasks and threads."""

    @contextmanager
    def scope(self, context: CapabilityContext) -> Iterator[CapabilityContext]:
        before = self._set
        self._set = context
        try:
            yield context
        finally:
            self._set = before


class ComparesText(MockCapabilityManager):
    def allowed(self, capability, resource="", **options):
        context = self.current_context
        return context is not None and any(
            resource in constraint.resources or not constraint.resources
            for token in context.tokens(capability)
            for constraint in token.constraints or [type("Any", (), {"resources": ()})]
        )


class UsesUpWhenAsked(MockCapabilityManager):
    def allowed(self, capability, resource="", **options):
        try:
            self.use(capability, resource, **options)
        except PermissionError:
            return False
        return True


class Refuses(MockCapabilityManager):
    def use(self, capability, resource="", **options):
        if not self.allowed(capability, resource, **options):
            raise KeyError(capability)


class CountsLoosely(MockCapabilityManager):
    def use(self, capability, resource="", **options):
        pass


@pytest.mark.parametrize(
    ("weak", "law"),
    [
        (OneForAll, "a_scope_goes_along_with_the_work"),
        (ComparesText, "patterns_match_normalised_paths"),
        (UsesUpWhenAsked, "asking_uses_nothing_up"),
        (Refuses, "a_refusal_is_raised_and_on_record"),
        (CountsLoosely, "uses_are_counted_exactly_under_threads"),
    ],
)
def test_a_weak_checker_breaks_the_law_about_its_weakness(weak, law):
    assert verdict(contracts.CheckerContract, MockCapabilityManager, law)[0] is Verdict.PASS
    assert verdict(contracts.CheckerContract, weak, law)[0] is Verdict.FAIL


def test_a_guest_of_another_language_says_the_phrases_in_its_own_words():
    shouting: Language = dataclasses.replace(
        PYTHON, name="shouting", answer=Phrase("SIX TIMES SEVEN", 42), other=Phrase("AB", "ab")
    )
    law = "the_value_is_that_of_the_last_expression"

    def make() -> Asked:
        return Asked(contracts.scripted_executor(shouting), shouting)

    assert verdict(contracts.ExecutorContract, make, law)[0] is Verdict.PASS
    found, reason = verdict(contracts.ExecutorContract, lambda: make().of, law)
    assert found is Verdict.FAIL
    assert "'6 * 7' gave" in reason


def test_what_a_language_cannot_say_is_not_asked():
    shallow = dataclasses.replace(PYTHON, name="shallow", deep=None)

    def make() -> Asked:
        return Asked(contracts.scripted_executor(shallow), shallow)

    found, reason = verdict(contracts.ExecutorContract, make, "the_depth_is_limited")
    assert (found, reason) == (Verdict.UNKNOWN, "shallow has no words for it")
