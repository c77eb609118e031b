"""The contract of executors."""

# A law in a contract's body takes the subject, where a method takes itself.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import anyio

from windtunnel import laws
from windtunnel.sessions.capabilities import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityToken,
)
from windtunnel.sessions.errors import SessionClosedError
from windtunnel.sessions.laws.asked import (
    ENOUGH_S,
    READING,
    SHORT_S,
    Asked,
    GuestContract,
    crossing,
)
from windtunnel.sessions.protocol import Executor
from windtunnel.sessions.values import encode


class ExecutorContract(GuestContract):
    """What every executor keeps to. Set ``subjects``; factories take no arguments.

    An executor under test has the host function ``READ`` and limits that let code of a second pass.
    Where it speaks another language than Python, set ``language``, or return an :class:`Asked` from
    the factory.

    >>> from windtunnel import laws
    >>> from windtunnel.sessions.laws import ExecutorContract, scripted_executor
    >>> class Doubles(ExecutorContract):
    ...     subjects = {"double": scripted_executor}
    >>> {one.verdict.value for one in laws.check(Doubles, laws=["a_statement_has_no_value"])}
    {'pass'}
    """

    def make(self, factory: Any, config: Any) -> Asked:
        """An executor in its language."""
        made = factory() if config is None else factory(**config)
        return made if isinstance(made, Asked) else Asked(made, self.language)

    # -- outcomes ---------------------------------------------------------------------------------

    @laws.law
    async def is_an_executor(asked: Asked) -> None:
        """It has the protocol's methods."""
        assert isinstance(asked.of, Executor)

    @laws.law
    async def the_value_is_that_of_the_last_expression(asked: Asked) -> None:
        """Code's value is its last expression's."""
        await asked.expect(asked.language.answer)
        await asked.expect(asked.language.other)

    @laws.law
    async def a_statement_has_no_value(asked: Asked) -> None:
        """Code that ends with a statement has the value None."""
        await asked.expect(asked.language.statement)

    @laws.law
    async def failing_is_an_outcome(asked: Asked) -> None:
        """Code that fails raises nothing here, and says what failed."""
        for phrase in (asked.language.fails, asked.language.broken, asked.language.kept):
            await asked.expect(phrase)

    @laws.law
    async def output_is_what_was_printed(asked: Asked) -> None:
        """What is printed is the result's output, and nobody else's."""
        await asked.expect(asked.language.prints)
        await asked.expect(asked.language.answer)

    @laws.law
    async def nothing_is_left_for_the_next_execution(asked: Asked) -> None:
        """Each piece of code starts from nothing."""
        await asked.expect(asked.language.statement)
        await asked.expect(asked.language.kept)

    # -- inputs -----------------------------------------------------------------------------------

    @laws.law
    async def inputs_arrive_exactly(asked: Asked, draw: laws.Draw) -> None:
        """A value comes back as it was given: type, sign, every character."""
        value = draw(crossing(asked.language), "value")
        result = await asked.say(asked.language.echo, inputs={"it": value})
        assert result.ok, f"{value!r} was refused: {result!r}"
        assert encode(result.value) == encode(value), f"{value!r} came back as {result.value!r}"

    # -- limits -----------------------------------------------------------------------------------

    @laws.law
    async def the_time_limit_is_kept_and_it_serves_on(asked: Asked) -> None:
        """What never ends is ended, as an outcome; then it is as good as new."""
        with anyio.fail_after(ENOUGH_S):
            await asked.expect(asked.language.forever, timeout_s=SHORT_S)
        await asked.expect(asked.language.answer)

    # -- at the same time -------------------------------------------------------------------------

    @laws.law
    async def concurrent_executions_get_their_own_answers(asked: Asked) -> None:
        """Executions at the same time do not see one another."""
        language = asked.language
        async with anyio.create_task_group() as group:
            for phrase in (language.answer, language.fails, language.other, language.kept) * 2:
                group.start_soon(asked.expect, phrase)

    # -- capabilities -----------------------------------------------------------------------------

    @laws.law
    async def nothing_is_allowed_that_was_not_granted(asked: Asked) -> None:
        """Code without grants is denied a host function, also where its caller holds the right."""
        denied = "CapabilityDenied"
        ambient = CapabilityContext("ambient", tokens=READING)
        with ambient.scope():
            result = await asked.say(asked.language.reads)
        assert (result.ok, result.error_type) == (False, denied), result
        assert "fs.read" in result.error, f"the message names no capability: {result.error}"

    @laws.law
    async def what_was_granted_is_allowed_and_no_more(asked: Asked) -> None:
        """Grants reach the host function, within their bounds, and for that execution alone."""
        within = CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/**",)))
        await asked.expect(asked.language.reads, grants=[within])
        await asked.expect(asked.language.reads_outside, grants=[within])
        result = await asked.say(asked.language.reads)
        assert result.error_type == "CapabilityDenied", result

    @laws.law
    async def a_refusal_is_on_record(asked: Asked) -> None:
        """The context of the grants has the violation, with what was wanted."""
        context = CapabilityContext("job")
        context.grant("fs.read", resources="/data/**")
        await asked.expect(asked.language.reads_outside, grants=context)
        (violation,) = context.violations
        assert (violation.capability, violation.resource) == ("fs.read", "/etc/passwd")

    @laws.law
    async def uses_are_counted(asked: Asked) -> None:
        """A token for one use allows one."""
        once = CapabilityToken("fs.read", CapabilityConstraint(uses=1))
        await asked.expect(asked.language.reads, grants=[once])
        result = await asked.say(asked.language.reads, grants=[once])
        assert result.error_type == "CapabilityDenied", result

    # -- the end ----------------------------------------------------------------------------------

    @laws.law
    async def closing_twice_is_allowed_and_using_it_afterwards_is_not(asked: Asked) -> None:
        """A closed executor says so."""
        if not hasattr(asked.of, "close"):
            raise laws.NothingToTest("it cannot be closed")
        await asked.of.close()
        await asked.of.close()
        try:
            result = await asked.say(asked.language.answer)
        except SessionClosedError:
            return
        raise AssertionError(f"it still executes: {result!r}")


__all__ = ["ExecutorContract"]
