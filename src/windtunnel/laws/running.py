"""Putting one subject to one law: the examples, the loop, the judgement."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from windtunnel.core.seed import Seed, run_seed
from windtunnel.core.verdict import Verdict
from windtunnel.laws import drive, vacuity
from windtunnel.laws.base import Contract, needs_loop
from windtunnel.laws.book import Law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.entries import Calls, Entry
from windtunnel.laws.errors import (
    LawBrokenError,
    NeedsLoopError,
    NothingToTest,
    RunningLoopError,
    VacuousError,
)
from windtunnel.laws.examples import Draw, Plan, Seen, explore
from windtunnel.laws.reading import Reading, read
from windtunnel.laws.subjects import Subject
from windtunnel.laws.vacuity import Vacuity
from windtunnel.laws.watch import Watch

_MORE = 8
"""How many times the examples a law is put to that never came to something."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What putting a subject to a law came to.

    :param subject: the subject's name.
    :param law: the law's title.
    :param verdict: ``PASS`` where it held; ``UNKNOWN`` where there was nothing to test.
    :param reason: what was found where it is no pass.
    :param examples: how many examples it was put to.
    """

    subject: str
    law: str
    verdict: Verdict
    reason: str = ""
    examples: int = 0


class Trial:
    """One subject put to one law.

    :param reading: the contract.
    :param seed: what examples are drawn from.
    :param fixtures: what ``make`` is given by keyword.
    :ivar ended: how a scenario or trigger ended, in the last example.
    """

    def __init__(
        self,
        reading: Reading,
        subject: Subject,
        entry: Entry,
        *,
        seed: Seed | None = None,
        fixtures: Mapping[str, Any] | None = None,
    ) -> None:
        law = entry.law
        self.contract = contract = reading.contract()
        self.subject = subject
        self.entry = entry
        self.examples = 0
        self.ended: Completion | None = None
        self._reading = reading
        self._key = "/".join(
            (reading.contract.__module__, reading.contract.__qualname__, subject.name, entry.title)
        )
        self._seed = seed or run_seed()
        self._fixtures = dict(fixtures or {})
        self._seen = Seen()
        self._law = law.bound(contract)
        # The laws of the house run with a loop and without one, and report what they came to.
        self._house = house = law.general or isinstance(law.function, Calls)
        self._looping = needs_loop(contract, () if house else (law.function,))
        code = getattr(inspect.unwrap(law.function), "__code__", None)
        self._watch = Watch(None if house else code)
        self._tested = 0
        self._untestable: list[str] = []

    def unwatched(self) -> None:
        """Do not look at which lines of the law run: where what that costs is measured."""
        self._watch = Watch(None)

    def run(self) -> Vacuity:
        """Look for an example that breaks the law, and raise what it raises.

        :returns: what was left untested where it held.
        :raises NothingToTest: where the law has nothing to say of the subject, in any example.
        """
        __tracebackhide__ = True
        given = self.entry.law.examples or self.contract.examples
        try:
            self._explore(given)
        except NeedsLoopError:
            self._looping = True
            self._explore(given)
        if self._watch.blind:
            with self._watch:
                self._explore(given)
        self._must_have_tested()
        left = self._left()
        if left.unexcused and self.examples >= given:
            # What it never came to may be rare only, and must not be vacuous under one seed in ten.
            with self._watch if self._watch.blind else contextlib.nullcontext():
                self._explore(given * _MORE, "more")
            left = self._left()
        return left

    def _left(self) -> Vacuity:
        return vacuity.judged(
            self.entry.law,
            self.entry.title,
            self.subject.name,
            type(self.contract).__name__,
            examples=self.examples,
            missed=self._watch.missed(),
            seen=self._seen.branches,
            waivers=self._reading.waivers,
        )

    def _must_have_tested(self) -> None:
        if self._untestable and not self._tested:
            raise NothingToTest(self._untestable[0])
        for branch in self.entry.law.branches:
            if branch not in self._seen.branches and branch in self._seen.moot:
                raise NothingToTest(self._seen.moot[branch])

    def _explore(self, examples: int, part: str = "") -> None:
        __tracebackhide__ = True
        self.examples = 0
        plan = Plan(
            name=self.entry.title,
            key=self._key,
            seed=self._seed.child(f"laws/{self._key}{part}").value,
            examples=examples,
        )
        explore(self._once, plan)

    def _once(self, data: Any) -> None:
        __tracebackhide__ = True
        self.examples += 1
        draw = Draw(data, self._seen)
        backend = self.contract.backend if self._looping else None
        try:
            with contextlib.nullcontext() if self._watch.blind else self._watch:
                drive.run(lambda: self._example(draw), backend, self.contract.tolerance_s)
        except NothingToTest as why:  # of this example; others may be another matter
            self._untestable.append(str(why))
        else:
            self._tested += 1

    async def _example(self, draw: Draw) -> None:
        __tracebackhide__ = True
        case = Case(
            self.contract,
            self.subject,
            looping=self._looping,
            fixtures=self._fixtures,
            others=self._reading.subjects,
        )
        draw.case = case
        case.config = draw.config()
        made = await case.make()
        try:
            await self._judge(case, made, draw)
        finally:
            await case.finish()

    async def _judge(self, case: Case, made: Any, draw: Draw) -> None:
        __tracebackhide__ = True
        law = self.entry.law

        async def work() -> Any:
            __tracebackhide__ = True
            result = self._law(made, draw)
            return await (result if self._house else case.settled(result))

        if law.kind == "law":
            await work()
            return
        self.ended = ended = await case.completed(work)
        if law.kind == "scenario" and ended.failed:
            _failed(law, ended.error, "must succeed", repr(ended))
        if law.kind == "trigger":
            must_have_failed(law, ended, case.contract)


def must_have_failed(law: Law, ended: Any, contract: Contract) -> None:
    """That a trigger failed in the way it must."""
    import re

    if not ended.failed:
        broken(f"the trigger {law.name} must fail", found=repr(ended))
    types = law.raises or contract.errors
    if ended.raised and not isinstance(ended.error, types):
        names = " or ".join(one.__name__ for one in types)
        _failed(law, ended.error, "must fail otherwise", repr(ended), names)
    if law.match and not re.search(law.match, ended.message):
        broken(
            f"the error of the trigger {law.name} says something else",
            expected=f"a message that matches {law.match!r}",
            found=ended.message,
        )


def _failed(law: Law, error: Any, what: str, ended: str, expected: str = "") -> None:
    try:
        broken(f"the {law.kind} {law.name} {what}", expected=expected, found=ended)
    except AssertionError as failure:
        raise failure from (error if isinstance(error, BaseException) else None)


def check(
    contract: type[Contract],
    *,
    subjects: Collection[str] | None = None,
    laws: Collection[str] | None = None,
    seed: Seed | None = None,
    fixtures: Mapping[str, Any] | None = None,
) -> Iterator[Finding]:
    """Put subjects to a contract's laws without pytest, one finding each.

    :param subjects: names of those that are put to it; None for all.
    :param laws: titles of the laws that are asked; None for all.
    :param seed: what examples are drawn from; the run's by default.
    :param fixtures: what ``make`` takes by keyword.
    :raises ContractError: where the contract cannot be read.
    :raises RunningLoopError: for asynchronous subjects, inside a running event loop.

    >>> from windtunnel import laws
    >>> @laws.law
    ... def is_empty_at_first(collection, draw):
    ...     assert len(collection) == 0
    >>> Collections = laws.contract(subjects=[list, dict], more_laws=[is_empty_at_first])
    >>> [(one.subject, one.verdict.value) for one in laws.check(Collections)]
    [('list', 'pass'), ('dict', 'pass')]
    """
    reading = read(contract)
    for subject in reading.subjects:
        if subjects is None or subject.name in subjects:
            for entry in reading.asked(subject):
                if laws is not None and entry.title not in laws:
                    continue
                if entry.left_out_by:
                    yield _left_out(subject, entry)
                else:
                    yield judged(Trial(reading, subject, entry, seed=seed, fixtures=fixtures))


def _left_out(subject: Subject, entry: Entry) -> Finding:
    verdict = Verdict.UNKNOWN if entry.reason else Verdict.FAIL
    reason = f"left out by {entry.left_out_by}: {entry.reason or 'no reason is given'}"
    return Finding(subject.name, entry.title, verdict, reason)


def judged(trial: Trial) -> Finding:
    """Run a trial, and say what it came to instead of raising."""
    verdict, reason = Verdict.PASS, ""
    try:
        left = trial.run()
        if left.unexcused:
            raise left.error()
    except NothingToTest as why:
        verdict, reason = Verdict.UNKNOWN, str(why)
    except RunningLoopError:
        raise
    except Exception as error:
        ours = isinstance(error, LawBrokenError | VacuousError)  # whose message says it all
        told = str(error) if ours else f"{type(error).__name__}: {error}"
        verdict, reason = Verdict.FAIL, told.strip()
    return Finding(trial.subject.name, trial.entry.title, verdict, reason, trial.examples)
