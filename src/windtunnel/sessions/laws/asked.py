"""The subject of a law about executors and sessions, and what the laws share."""

# A law in a contract's body takes the subject, where a method takes itself.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from windtunnel import laws
from windtunnel.core.errors import MissingExtraError, UsageError
from windtunnel.sessions.capabilities import CapabilityToken
from windtunnel.sessions.laws.phrases import PYTHON, Language, Phrase
from windtunnel.sessions.protocol import ExecResult
from windtunnel.sessions.values import ValueCrossingError

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SHORT_S = 0.05
"""Seconds that code which never ends is given."""
ENOUGH_S = 30.0
"""Seconds within which what was ended must have ended, also on a busy machine."""
READING = (CapabilityToken("fs.read"),)
"""What the host function ``read`` needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """An executor or a session, and how its language says what the laws need said.

    :param of: the executor or session.
    :param language: its language.
    """

    of: Any
    language: Language

    async def say(self, phrase: Phrase | None, **options: Any) -> ExecResult:
        """Have it execute a phrase.

        :raises NothingToTest: where the language has no such phrase.
        """
        if phrase is None:
            raise laws.NothingToTest(f"{self.language.name} has no words for it")
        execute = self.of.run if hasattr(self.of, "run") else self.of.execute
        result: ExecResult = await execute(phrase.code, **options)
        return result

    async def expect(self, phrase: Phrase | None, **options: Any) -> ExecResult:
        """Have it execute a phrase, which must end as the phrase says."""
        result = await self.say(phrase, **options)
        assert phrase is not None
        must_end_as(result, phrase)
        return result


def named(*names: str) -> Any:
    """A strategy of phrases' names; None where Hypothesis is not installed."""
    try:
        from hypothesis import strategies
    except ImportError:
        return None
    return strategies.sampled_from(names)


class GuestContract(laws.Contract):
    """What the contracts of executors and sessions have in common: how they are used.

    :cvar language: what their guests speak, where the factory does not say.
    """

    language: ClassVar[Language] = PYTHON
    inputs = named("answer", "other", "fresh", "prints", "statement")
    invalid_inputs = named("fails", "broken")
    slow_inputs = named("forever")
    examples = 5
    asynchronous = True
    timeout_s = SHORT_S
    tolerance_s = 6.0
    without: ClassVar[Mapping[str, str]] = {
        "input_is_not_mutated": "phrases are text; of inputs, inputs_are_not_changed asks it"
    }

    async def call(self, subject: Asked, input: str) -> ExecResult:
        """Execute the phrase of that name."""
        return await subject.say(subject.language.phrases()[input])

    async def call_within(self, subject: Asked, input: str, timeout_s: float) -> ExecResult:
        """The same under a limit."""
        return await subject.say(subject.language.phrases()[input], timeout_s=timeout_s)

    def view(self, result: Any) -> Any:
        """What two executions of the same have in common: all but the time and the wording."""
        if not isinstance(result, ExecResult):
            return result
        return result.ok, result.value, result.error_type, result.output

    def error(self, result: Any) -> Any:
        """Failing code is an outcome."""
        if isinstance(result, ExecResult) and not result.ok:
            return f"{result.error_type}: {result.error}"
        return None

    async def close(self, subject: Asked) -> None:
        """Close it, where it can be closed."""
        close = getattr(subject.of, "close", None)
        if close is not None:
            await close()

    @laws.law
    async def code_may_have_a_margin(asked: Asked) -> None:
        """Code in an indented literal runs as it is meant."""
        answer = asked.language.answer
        indented = dataclasses.replace(answer, code=f"\n    {answer.code}\n")
        await asked.expect(indented)

    @laws.law
    async def a_value_is_the_callers_own(asked: Asked) -> None:
        """Changing a value that was given changes nothing of what is given next."""
        first = await asked.expect(asked.language.fresh)
        first.value.append("changed")
        await asked.expect(asked.language.fresh)

    @laws.law
    async def inputs_are_not_changed(asked: Asked) -> None:
        """What code does to its inputs happens to its own copies."""
        given = {"it": [1, [2]]}
        before = copy.deepcopy(given)
        result = await asked.say(asked.language.changes, inputs=given)
        assert result.value == [1, [2], "more"], result
        assert given == before, f"the input was changed to {given!r}"

    @laws.law
    async def text_that_is_no_unicode_arrives_or_is_refused(asked: Asked) -> None:
        """A lone surrogate comes back as it was, or does not cross at all."""
        await _back_or_refused(asked, "\ud800")

    @laws.law
    async def a_limit_that_is_none_is_refused(asked: Asked) -> None:
        """A time limit is above zero."""
        for wrong in (0, -1.0, float("nan")):
            try:
                await asked.say(asked.language.answer, timeout_s=wrong)
            except UsageError:
                continue
            raise AssertionError(f"timeout_s={wrong} was accepted")

    @laws.law
    async def the_output_is_limited(asked: Asked) -> None:
        """A flood of output ends as an outcome."""
        result = await asked.expect(asked.language.floods)
        assert len(result.output.encode()) <= 1_000_000

    @laws.law
    async def the_depth_is_limited(asked: Asked) -> None:
        """Endless recursion ends as an outcome."""
        await asked.expect(asked.language.deep)
        await asked.expect(asked.language.answer)

    @laws.law
    async def cancelling_leaves_it_usable(asked: Asked) -> None:
        """Who no longer awaits code ends it; the next execution is served."""
        with anyio.move_on_after(SHORT_S) as scope:
            await asked.say(asked.language.forever, timeout_s=ENOUGH_S)
        assert scope.cancelled_caught, "what never ends has ended by itself"
        with anyio.fail_after(ENOUGH_S):
            await asked.expect(asked.language.answer)


async def _back_or_refused(asked: Asked, value: Any) -> None:
    try:
        result = await asked.say(asked.language.echo, inputs={"it": value})
    except ValueCrossingError:
        return
    assert result.value == value, result


def must_end_as(result: ExecResult, phrase: Phrase) -> None:
    """That a result is what the phrase says, and is well formed whatever it is."""
    assert isinstance(result, ExecResult), f"expected an ExecResult, got {result!r}"
    seen = f"{phrase.code!r} gave {result!r}"
    if phrase.error_type:
        assert not result.ok, f"expected {phrase.error_type}; {seen}"
        assert result.error_type == phrase.error_type, f"expected {phrase.error_type}; {seen}"
        assert result.error, f"a failure must say what failed; {seen}"
        assert result.value is None, f"a failure has no value; {seen}"
    else:
        assert result.ok, f"expected it to end well; {seen}"
        error = result.error or result.error_type
        assert not error, f"what ends well has no error; {seen}"
        assert result.value == phrase.value, f"expected {phrase.value!r}; {seen}"
        assert result.output == phrase.output, f"expected the output {phrase.output!r}; {seen}"
    times = result.timings
    assert min(times.start_s, times.run_s) >= 0, f"time does not run backwards; {seen}"
    assert math.isclose(times.total_s, times.start_s + times.run_s)


def crossing(language: Language) -> SearchStrategy[Any]:
    """Values that must arrive exactly: what JSON has, and what else the language has.

    :raises MissingExtraError: where Hypothesis is not installed.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingExtraError("laws", needed_for="a law that draws values") from error
    leaf: SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.integers(10**30, 10**40)
        | st.floats()
        | st.text(max_size=20)
        | st.sampled_from(["'\"\\\n\r\t\0", "é́", "\u2028", "0.1", "{x}", "\U0001f600"])
    )
    if language.rich:
        moments = st.datetimes().map(lambda moment: moment.replace(fold=0))
        leaf = leaf | st.binary(max_size=20) | moments

    def containers(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
        made = st.lists(inner, max_size=3)
        named = st.dictionaries(st.text(max_size=5), inner, max_size=3)
        return made | named | st.tuples(inner, inner) if language.rich else made | named

    return st.recursive(leaf, containers, max_leaves=8)


__all__ = ["ENOUGH_S", "READING", "SHORT_S", "Asked", "GuestContract", "crossing", "must_end_as"]
