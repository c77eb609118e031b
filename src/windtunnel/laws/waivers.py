"""Waivers: vacuity that is excused, by the law's name and with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from windtunnel.laws.errors import ContractError


@dataclasses.dataclass(frozen=True, slots=True)
class Waiver:
    """An excuse for a law that tests nothing of a subject; made by :func:`waive`.

    :param law: the law's name.
    :param reason: why that is no loss.
    :param subject: the subject's name, where ``*`` and ``?`` are wildcards.
    :param finding: what was found vacuous, as the failure shows it, with the same wildcards.
    """

    law: str
    reason: str
    subject: str = "*"
    finding: str = "*"

    def covers(self, law: str, subject: str, finding: str = "*") -> bool:
        """Whether this excuses that of the subject; ``"*"`` asks for any finding."""
        return (
            self.law == law
            and fnmatchcase(subject, self.subject)
            and (finding == "*" or _matches(finding, self.finding))
        )


def _matches(text: str, pattern: str) -> bool:
    # Code is full of brackets, which fnmatch would read as sets of characters.
    return text == pattern or fnmatchcase(text, pattern.replace("[", "[[]"))


def waive(law: str, reason: str, *, subject: str = "*", finding: str = "*") -> Waiver:
    """Excuse a law that tests nothing of a subject.

    :param law: the law's name.
    :param reason: why that is no loss; it is shown with the test.
    :param subject: of which subjects, by name; ``*`` and ``?`` are wildcards.
    :param finding: of which finding, as the failure shows it, with the same wildcards.
    :raises ContractError: for a reason that says nothing.

    >>> waive("failure_says_so", "it takes any text", subject="null").covers(
    ...     "failure_says_so", "null")
    True
    """
    if not reason.strip():
        raise ContractError(f"the waiver of {law} has no reason", fix="say why it is no loss")
    return Waiver(law, reason, subject, finding)


def as_waivers(given: Mapping[str, str] | Sequence[Waiver], laws: Iterable[str]) -> list[Waiver]:
    """The waivers of a contract.

    :param laws: the names that a waiver may have.
    :raises ContractError: where one names no law, or has no reason.
    """
    pairs = given.items() if isinstance(given, Mapping) else ()
    waivers = [waive(*pair) for pair in pairs] or [*_listed(given)]
    known = set(laws)
    for one in waivers:
        if one.law not in known:
            raise ContractError(
                "a waiver names no law of the contract",
                found=repr(one.law),
                fix=f"name one of {', '.join(sorted(known))}",
            )
    return waivers


def _listed(given: Mapping[str, str] | Sequence[Waiver]) -> Iterable[Waiver]:
    return () if isinstance(given, Mapping) else given
