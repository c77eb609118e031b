"""Running a simulated test: under which seeds, in which world, and again from what it left.

A *seed* is one run of a test in one world. The *marker* says how many and in what kind of world,
a *token* says all that is needed to run one of them again, a *tape file* holds its choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.explore.marker import Plan as Plan
    from windtunnel.explore.marker import simulated as simulated
    from windtunnel.explore.tape_file import TapeFile as TapeFile
    from windtunnel.explore.token import Token as Token

__all__ = ["Plan", "TapeFile", "Token", "simulated"]

# The marker is imported by every test module that uses it; the rest when a test is run.
_PLACES = {"Plan": "marker", "simulated": "marker", "TapeFile": "tape_file", "Token": "token"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
