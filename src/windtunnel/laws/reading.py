"""A contract as it was read: its subjects, laws and waivers, all of them checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from windtunnel.laws.base import Contract
from windtunnel.laws.entries import Entry, entries
from windtunnel.laws.errors import ContractError
from windtunnel.laws.subjects import Subject, found
from windtunnel.laws.waivers import Waiver, as_waivers


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a contract declares, at one time: registries change.

    :param entries: its laws by title, also those that are not asked.
    """

    contract: type[Contract]
    subjects: tuple[Subject, ...]
    entries: dict[str, Entry]
    waivers: tuple[Waiver, ...]

    def subject(self, name: str) -> Subject:
        """The subject of that name.

        :raises ContractError: where there is none.
        """
        for one in self.subjects:
            if one.name == name:
                return one
        raise ContractError(
            f"{self.contract.__name__} has no such subject",
            found=repr(name),
            fix=f"name one of {', '.join(one.name for one in self.subjects)}",
        )

    def asked(self, subject: Subject) -> Iterator[Entry]:
        """The laws that the subject has a test of, also those that somebody took away."""
        for entry in self.entries.values():
            if not entry.missing and entry.law.role in ("", subject.role):
                yield entry


def read(contract: type[Contract]) -> Reading:
    """Read a contract.

    :raises ContractError: naming what cannot be meant.
    """
    subjects = found(contract.subjects, contract.doubles, of=contract.__name__)
    every = entries(contract)
    waivers = as_waivers(contract.waivers, (one.law.name for one in every.values()))
    return Reading(contract, subjects, every, tuple(waivers))
