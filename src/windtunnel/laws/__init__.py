"""Laws: the contract kit. One suite for everything that claims to be of one kind, real and fake.

A *law* is a plain function that must hold for every *subject* of a *contract*. The contract says
who the subjects are, how one is made and used, and what it may be given; general laws (same input
same output, cancellation, leaks ...) come with it. pytest collects one test per subject and law.

>>> from windtunnel import laws
>>> @laws.law
... def is_empty_at_first(collection, draw):
...     assert len(collection) == 0
>>> Collections = laws.contract(subjects=[list, dict], more_laws=[is_empty_at_first])
>>> [(one.subject, one.verdict.value) for one in laws.check(Collections)]
[('list', 'pass'), ('dict', 'pass')]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.laws import general as general
    from windtunnel.laws.base import Contract as Contract
    from windtunnel.laws.base import contract as contract
    from windtunnel.laws.book import Law as Law
    from windtunnel.laws.book import law as law
    from windtunnel.laws.book import scenario as scenario
    from windtunnel.laws.book import trigger as trigger
    from windtunnel.laws.case import Case as Case
    from windtunnel.laws.case import Completion as Completion
    from windtunnel.laws.doubles import Difference as Difference
    from windtunnel.laws.doubles import differences as differences
    from windtunnel.laws.errors import ContractError as ContractError
    from windtunnel.laws.errors import LawBrokenError as LawBrokenError
    from windtunnel.laws.errors import NothingToTest as NothingToTest
    from windtunnel.laws.errors import VacuousError as VacuousError
    from windtunnel.laws.examples import Draw as Draw
    from windtunnel.laws.running import Finding as Finding
    from windtunnel.laws.running import check as check
    from windtunnel.laws.subjects import Subject as Subject
    from windtunnel.laws.subjects import entry_points as entry_points
    from windtunnel.laws.subjects import registry as registry
    from windtunnel.laws.subjects import subclasses as subclasses
    from windtunnel.laws.waivers import Waiver as Waiver
    from windtunnel.laws.waivers import waive as waive

# Every public name, and the module of this room that has it.
_HOMES: dict[str, str] = {
    "Case": "case",
    "Completion": "case",
    "Contract": "base",
    "ContractError": "errors",
    "Difference": "doubles",
    "Draw": "examples",
    "Finding": "running",
    "Law": "book",
    "LawBrokenError": "errors",
    "NothingToTest": "errors",
    "Subject": "subjects",
    "VacuousError": "errors",
    "Waiver": "waivers",
    "check": "running",
    "contract": "base",
    "differences": "doubles",
    "entry_points": "subjects",
    "general": "",
    "law": "book",
    "registry": "subjects",
    "scenario": "book",
    "subclasses": "subjects",
    "trigger": "book",
    "waive": "waivers",
}

__all__ = [
    "Case",
    "Completion",
    "Contract",
    "ContractError",
    "Difference",
    "Draw",
    "Finding",
    "Law",
    "LawBrokenError",
    "NothingToTest",
    "Subject",
    "VacuousError",
    "Waiver",
    "check",
    "contract",
    "differences",
    "entry_points",
    "general",
    "law",
    "registry",
    "scenario",
    "subclasses",
    "trigger",
    "waive",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not home:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
