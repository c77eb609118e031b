"""The contract of sessions."""

# A law in a contract's body takes the subject, where a method takes itself.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread

from windtunnel import laws
from windtunnel.sessions.capabilities import CapabilityConstraint, CapabilityToken
from windtunnel.sessions.errors import CapabilityDenied, GuestError, SessionClosedError
from windtunnel.sessions.laws.asked import (
    ENOUGH_S,
    READING,
    SHORT_S,
    Asked,
    GuestContract,
    crossing,
)
from windtunnel.sessions.protocol import ExecResult, Session
from windtunnel.sessions.values import encode

_DATA = CapabilityConstraint(resources=("/data/**",))


class SessionContract(GuestContract):
    """What every session keeps to. Set ``subjects``; factories take ``capabilities``.

    A session under test has the host function ``READ``. Where it speaks another language than
    Python, set ``language``, or return an :class:`Asked` from the factory.

    >>> from windtunnel import laws
    >>> from windtunnel.sessions.laws import SessionContract, scripted_session
    >>> class Doubles(SessionContract):
    ...     subjects = {"double": scripted_session}
    >>> {one.verdict.value for one in laws.check(Doubles, laws=["names_live_on"])}
    {'pass'}
    """

    stateful = True

    def make(self, factory: Any, config: Any) -> Asked:
        """A session in its language, which may read below ``/data``."""
        made = factory(capabilities=[CapabilityToken("fs.read", _DATA)])
        return made if isinstance(made, Asked) else Asked(made, self.language)

    def stats(self, subject: Asked) -> dict[str, float]:
        """What its history says of the runs."""
        runs = [record.result.ok for record in subject.of.history if record.kind == "run"]
        return {"calls": len(runs), "succeeded": sum(runs), "failed": len(runs) - sum(runs)}

    # -- running ----------------------------------------------------------------------------------

    @laws.law
    async def is_a_session(asked: Asked) -> None:
        """It has the protocol's methods."""
        assert isinstance(asked.of, Session)

    @laws.law
    async def results_are_those_of_an_executor(asked: Asked) -> None:
        """Values, statements, failures and output are told as an executor tells them."""
        language = asked.language
        for phrase in (language.answer, language.other, language.fresh, language.prints):
            await asked.expect(phrase)
        for phrase in (language.fails, language.broken, language.kept, language.statement):
            await asked.expect(phrase)

    @laws.law
    async def names_live_on(asked: Asked) -> None:
        """What one run binds, the next one finds, also after one that failed."""
        await asked.expect(asked.language.statement)
        await asked.expect(asked.language.fails)
        result = await asked.say(asked.language.kept)
        assert (result.ok, result.value) == (True, 1), result

    @laws.law
    async def inputs_stay_as_names(asked: Asked) -> None:
        """What a run is given as input is there for the next one."""
        await asked.say(asked.language.answer, inputs={"kept": [1, "two"]})
        result = await asked.say(asked.language.kept)
        assert result.value == [1, "two"], result

    @laws.law
    async def defined_values_arrive_exactly(asked: Asked, draw: laws.Draw) -> None:
        """A value comes back as it was defined: type, sign, every character."""
        value = draw(crossing(asked.language), "value")
        await asked.of.define("it", value)
        result = await asked.say(asked.language.echo)
        assert result.ok, f"{value!r} was refused: {result!r}"
        assert encode(result.value) == encode(value), f"{value!r} came back as {result.value!r}"

    @laws.law
    async def runs_at_the_same_time_take_turns(asked: Asked) -> None:
        """No run sees another one half done."""
        await asked.of.define("n", 0)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(asked.expect, asked.language.counts)
        result = await asked.say(asked.language.count)
        assert result.value == 5, result

    # -- functions --------------------------------------------------------------------------------

    @laws.law
    async def functions_are_called_by_name(asked: Asked) -> None:
        """``call`` gives what the function returns, for arguments by position and by name."""
        await asked.expect(asked.language.defines)
        assert await asked.of.call("double", 21) == 42
        assert await asked.of.call("double", x="ab") == "abab"

    @laws.law
    async def arguments_and_results_cross_exactly(asked: Asked, draw: laws.Draw) -> None:
        """A function that gives back what it is given gives back an equal value."""
        value = draw(crossing(asked.language), "value")
        await asked.expect(asked.language.defines)
        result = await asked.of.call("same", value)
        assert encode(result) == encode(value), f"{value!r} came back as {result!r}"

    @laws.law
    async def a_function_that_fails_raises_a_guest_error(asked: Asked) -> None:
        """The error has the guest's type, and the session serves on."""
        await asked.expect(asked.language.defines)
        error = await _raised(lambda: asked.of.call("fail", 1))
        assert error.error_type == asked.language.fails.error_type, error
        assert error.message, "the error says nothing"
        assert await asked.of.call("double", 2) == 4

    @laws.law
    async def a_function_that_is_not_there_is_a_name_that_is_not_there(asked: Asked) -> None:
        """It fails as a name does that nothing has bound."""
        error = await _raised(lambda: asked.of.call("nowhere"))
        assert error.error_type == asked.language.kept.error_type, error
        assert "nowhere" in error.message, error

    @laws.law
    async def a_callback_is_the_function(asked: Asked) -> None:
        """It gives what the call gives: awaited, or called from a thread."""
        await asked.expect(asked.language.defines)
        callback = asked.of.callback("double")
        assert await callback.call(4) == 8
        assert await anyio.to_thread.run_sync(callback, 5) == 10

    @laws.law
    async def a_callback_has_its_default(asked: Asked) -> None:
        """Where the function fails, the default is the value."""
        await asked.expect(asked.language.defines)
        assert await asked.of.callback("fail", default="none").call(1) == "none"

    @laws.law
    async def callbacks_may_be_called_concurrently(asked: Asked) -> None:
        """Each call gets its own answer."""
        await asked.expect(asked.language.defines)
        callback, seen = asked.of.callback("double"), dict[int, int]()

        async def one(number: int) -> None:
            seen[number] = await callback.call(number)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)
        assert seen == {number: 2 * number for number in range(8)}

    # -- limits -----------------------------------------------------------------------------------

    @laws.law
    async def the_time_limit_is_kept_and_it_serves_on(asked: Asked) -> None:
        """What never ends is ended, as an outcome of ``run`` and an error of ``call``."""
        with anyio.fail_after(ENOUGH_S):
            await asked.expect(asked.language.forever, timeout_s=SHORT_S)
            await asked.expect(asked.language.spins)
            error = await _raised(lambda: asked.of.call("spin", timeout_s=SHORT_S))
        assert error.error_type == "TimeoutError", error
        await asked.expect(asked.language.answer)

    # -- capabilities -----------------------------------------------------------------------------

    @laws.law
    async def it_may_do_what_it_holds_and_no_more(asked: Asked) -> None:
        """The session's own tokens bound its host functions; a refusal is on record."""
        await asked.expect(asked.language.reads)
        await asked.expect(asked.language.reads_outside)
        (violation,) = asked.of.capabilities.violations
        assert (violation.capability, violation.resource) == ("fs.read", "/etc/passwd")

    @laws.law
    async def grants_only_narrow(asked: Asked) -> None:
        """A run may be given less than the session holds, never more."""
        less = CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/b",)))
        await _must_be_denied(lambda: asked.say(asked.language.reads, grants=[]))
        await _must_be_denied(lambda: asked.say(asked.language.reads, grants=[less]))
        await _must_be_denied(lambda: asked.say(asked.language.reads_outside, grants=READING))

    @laws.law
    async def it_holds_nothing_of_its_callers(asked: Asked) -> None:
        """What is current where it is used does not add to what it holds."""
        from windtunnel.sessions.capabilities import CapabilityContext

        with CapabilityContext("ambient", tokens=READING).scope():
            await asked.expect(asked.language.reads_outside)

    # -- history, reset, the end ------------------------------------------------------------------

    @laws.law
    async def the_history_is_what_was_executed(asked: Asked) -> None:
        """Runs, calls and definitions are on record with their results, oldest first."""
        await asked.expect(asked.language.defines)
        await asked.of.define("it", 1)
        await asked.of.call("double", 2)
        await asked.expect(asked.language.fails)
        seen = [(one.kind, one.code, one.result.ok) for one in asked.of.history]
        assert seen == [
            ("run", asked.language.defines.code, True),
            ("define", "it", True),
            ("call", "double", True),
            ("run", asked.language.fails.code, False),
        ], seen

    @laws.law
    async def reset_forgets_names_and_history(asked: Asked) -> None:
        """After a reset it is as new; what it may do stays."""
        await asked.expect(asked.language.statement)
        await asked.of.reset()
        assert list(asked.of.history) == []
        await asked.expect(asked.language.kept)
        await asked.expect(asked.language.reads)

    @laws.law
    async def closing_twice_is_allowed_and_using_it_afterwards_is_not(asked: Asked) -> None:
        """A closed session says so, in each of its methods."""
        await asked.of.close()
        await asked.of.close()
        for use in (
            lambda: asked.say(asked.language.answer),
            lambda: asked.of.call("double", 1),
            lambda: asked.of.define("it", 1),
        ):
            try:
                result = await use()
            except SessionClosedError:
                continue
            raise AssertionError(f"it still works: {result!r}")


async def _must_be_denied(run: Callable[[], Awaitable[ExecResult]]) -> None:
    """Grants beyond the session's may be refused to the caller, or to the code."""
    try:
        result = await run()
    except CapabilityDenied:
        return
    assert result.error_type == "CapabilityDenied", result


async def _raised(call: Callable[[], Awaitable[Any]]) -> GuestError:
    try:
        value = await call()
    except GuestError as error:
        return error
    raise AssertionError(f"expected a GuestError, and it returned {value!r}")


__all__ = ["SessionContract"]
