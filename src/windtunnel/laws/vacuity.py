"""Vacuity: what a law that held never tested, whether that is excused, and who is told.

What a law must have come to is read from its source (:mod:`windtunnel.laws.points`), and from the
``branches`` that it names and reports by ``draw.saw``. Whatever no example came to is vacuous, and
fails unless a waiver names the law and a reason. A waiver that excuses nothing is reported.

The word is the model checkers': Beer, Ben-David, Eisner and Rodeh, "Efficient Detection of Vacuity
in ACTL Formulas", CAV 1997.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Iterator, Sequence

from windtunnel.core.events import Violation, emit
from windtunnel.laws.book import Law
from windtunnel.laws.errors import VacuousError
from windtunnel.laws.points import Point
from windtunnel.laws.waivers import Waiver


class StaleWaiverWarning(UserWarning):
    """A waiver excuses nothing any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Untested:
    """Something that a law never came to for a subject.

    :param told: what, as failures show it and waivers name it.
    :param place: ``file:line``, empty where it is no line of its own.
    :param waiver: what excuses it, None where nothing does.
    """

    told: str
    place: str = ""
    waiver: Waiver | None = None

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        return self.told + place + (f", waived: {self.waiver.reason}" if self.waiver else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Vacuity:
    """What a law that held left untested of one subject.

    :param untested: all of it, excused or not.
    :param stale: waivers that speak of the law and subject, and excuse nothing.
    """

    law: Law
    title: str
    subject: str
    contract: str
    examples: int
    untested: tuple[Untested, ...] = ()
    stale: tuple[Waiver, ...] = ()

    @property
    def unexcused(self) -> list[Untested]:
        """What fails."""
        return [one for one in self.untested if one.waiver is None]

    def tell(self, nodeid: str = "") -> None:
        """Put it on record, and raise where something is not excused.

        :raises VacuousError: naming everything that is not excused.
        """
        if self.untested:
            told = "; ".join(str(one) for one in self.untested)
            self._emit(told, nodeid, self.law.place, fails=bool(self.unexcused))
        for waiver in self.stale:
            told = f"a waiver no longer applies: {waiver.reason}"
            self._emit(told, nodeid, self.law.place)
            file, _, line = self.law.place.rpartition(":")
            warnings.warn_explicit(
                f"{self.contract}: {self.law.name} of {self.subject} is not vacuous, and is waived"
                f" ({waiver.reason}): take the waiver away, or name other subjects",
                StaleWaiverWarning,
                file or "unknown",
                int(line or 0),
            )
        if self.unexcused:
            raise self.error()

    def _emit(self, detail: str, nodeid: str, place: str, *, fails: bool = False) -> None:
        emit(
            Violation(
                rule="vacuous",
                subject=f"{self.contract}/{self.subject}/{self.title}",
                detail=detail,
                nodeid=nodeid,
                location=place,
                fails=fails,
            )
        )

    def error(self) -> VacuousError:
        """What a vacuous law fails with."""
        times = "one example" if self.examples == 1 else f"{self.examples} examples"
        return VacuousError(
            f"the law {self.title} is vacuous for {self.subject}: it held in {times}, and yet",
            found="\n         ".join(str(one) for one in self.unexcused),
            fix="give inputs that come to it; or, with the reason why it is no loss,"
            f" waivers = {{{self.law.name!r}: 'why'}}",
        )


def judged(
    law: Law,
    title: str,
    subject: str,
    contract: str,
    *,
    examples: int,
    missed: Sequence[Point],
    seen: Collection[str],
    waivers: Sequence[Waiver],
) -> Vacuity:
    """What was left untested by a law that held.

    :param missed: points of its source that were never reached.
    :param seen: the branches that it reported.
    """
    speaking = [one for one in waivers if one.covers(law.name, subject)]
    untested = tuple(_excused(one, law, subject, speaking) for one in _all(law, missed, seen))
    used = {id(one.waiver) for one in untested}
    stale = tuple(one for one in speaking if id(one) not in used)
    return Vacuity(law, title, subject, contract, examples, untested, stale)


def _all(law: Law, missed: Sequence[Point], seen: Collection[str]) -> Iterator[Untested]:
    for branch in law.branches:
        if branch not in seen:
            yield Untested(f"never seen: {branch}")
    file = law.place.rpartition(":")[0]
    for point in missed:
        yield Untested(point.told, f"{file}:{point.line}")


def _excused(one: Untested, law: Law, subject: str, waivers: Sequence[Waiver]) -> Untested:
    for waiver in waivers:
        if waiver.covers(law.name, subject, one.told):
            return dataclasses.replace(one, waiver=waiver)
    return one
