"""The attempts as laws: a pytest test for each, with its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from windtunnel import laws
from windtunnel.sessions.confinement.checking import PATIENCE_S, check
from windtunnel.sessions.confinement.library import ATTEMPTS, FAMILIES
from windtunnel.sessions.confinement.model import Attempt
from windtunnel.sessions.confinement.report import Outcome, Report
from windtunnel.sessions.confinement.terms import Factory


class Checked:
    """The reports of one factory, a family at a time, each made once."""

    def __init__(self, factory: Factory, patience_s: float) -> None:
        self._factory = factory
        self._patience_s = patience_s
        self._reports: dict[str, Report] = {}

    async def family(self, name: str) -> Report:
        """The report on a family."""
        if name not in self._reports:
            self._reports[name] = await check(
                self._factory, families=[name], patience_s=self._patience_s
            )
        return self._reports[name]

    async def whole(self) -> Report:
        """The report on all families."""
        reports = [await self.family(name) for name in FAMILIES]
        return Report(
            tuple(row for report in reports for row in report.rows),
            tuple(row for report in reports for row in report.controls),
        )


def _law(attempt: Attempt) -> laws.Law:
    async def withstands(checked: Checked) -> None:
        report = await checked.family(attempt.family)
        row = report.row(attempt.id)
        if row.outcome is Outcome.NOT_APPLICABLE:
            raise laws.NothingToTest(row.notes[-1] if row.notes else "it was never made")
        seen = "; ".join(f"{canary}: {detail}" for canary, detail in row.evidence.items())
        assert row.outcome is Outcome.WITHSTOOD, (
            f"it escaped: {attempt.why}\n  found: {seen}\n  source: {attempt.source}"
        )

    return laws.Law(withstands, name=attempt.id, says=attempt.why)


@laws.law
async def does_what_is_legal(checked: Checked) -> None:
    """It can do the legal thing of every family."""
    report = await checked.whole()
    unable = [row for row in report.controls if row.outcome is not Outcome.WITHSTOOD]
    assert not unable, f"it cannot: {'; '.join(f'{row.id}: {row.notes}' for row in unable)}"


@laws.law
async def comes_to_the_attempts(checked: Checked) -> None:
    """It understands enough of the attempts for its refusals to mean something."""
    report = await checked.whole()
    assert not report.vacuous, "; ".join(report.vacuous)


class ConfinementContract(laws.Contract):
    """What an executor withstands, a law an attempt. Set ``subjects``; a factory takes the
    :class:`~windtunnel.sessions.confinement.Terms`.

    The attempts of a family are made when the first of its laws is asked. They are made in this
    process: an executor that is not to be trusted at all belongs into
    :func:`~windtunnel.sessions.confinement.check_apart`.

    :cvar patience_s: seconds beyond its limit that an execution may take.

    >>> from windtunnel import laws, sessions
    >>> from windtunnel.sessions import confinement
    >>> def monty(terms):
    ...     return sessions.executor("monty", functions=terms.functions, limits=terms.limits)
    >>> class Engines(confinement.ConfinementContract):
    ...     subjects = {"monty": monty}
    >>> [(one.law, one.verdict.value) for one in laws.check(Engines, laws=["alias-list"])]
    [('alias-list', 'pass')]
    """

    asynchronous = True
    general = ()
    patience_s: ClassVar[float] = PATIENCE_S
    more_laws = (
        *(_law(attempt) for attempt in ATTEMPTS.values()),
        does_what_is_legal,
        comes_to_the_attempts,
    )
    _checked: ClassVar[dict[Any, Checked]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._checked = {}

    def make(self, factory: Callable[..., Any], config: Any) -> Checked:
        """What is known of the factory's executors."""
        if factory not in self._checked:
            self._checked[factory] = Checked(factory, self.patience_s)
        return self._checked[factory]


__all__ = ["Checked", "ConfinementContract", "comes_to_the_attempts", "does_what_is_legal"]
