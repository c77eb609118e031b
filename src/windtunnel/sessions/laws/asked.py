"""The subject of a law about executors and sessions, and what the laws share."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel import laws
from windtunnel.core.errors import MissingExtraError
from windtunnel.sessions.capabilities import CapabilityToken
from windtunnel.sessions.laws.phrases import PYTHON, Language, Phrase
from windtunnel.sessions.protocol import ExecResult

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
    tolerance_s = ENOUGH_S

    async def call(self, subject: Asked, input: str) -> ExecResult:
        """Execute the phrase of that name."""
        return await subject.say(subject.language.phrases()[input])

    async def call_within(self, subject: Asked, input: str, timeout_s: float) -> ExecResult:
        """The same under a limit."""
        return await subject.say(subject.language.phrases()[input], timeout_s=timeout_s)

    def view(self, result: Any) -> Any:
        """What two executions of the same have in common: all but the time they took."""
        if not isinstance(result, ExecResult):
            return result
        return result.ok, result.value, result.error_type, result.error, result.output

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


def crossing() -> SearchStrategy[Any]:
    """Values that must arrive exactly.

    :raises MissingExtraError: where Hypothesis is not installed.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingExtraError("laws", needed_for="a law that draws values") from error
    leaf = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.integers(10**30, 10**40)
        | st.floats()
        | st.text(max_size=20)
        | st.text(st.characters(codec=None), max_size=5)
        | st.sampled_from(["'\"\\\n\r\t\0", "\ud800", "é́", "\u2028", "0.1", "{x}"])
        | st.binary(max_size=20)
        | st.datetimes()
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
        max_leaves=8,
    )


__all__ = ["ENOUGH_S", "READING", "SHORT_S", "Asked", "GuestContract", "crossing", "must_end_as"]
