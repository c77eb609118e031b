"""What a check came to."""

from __future__ import annotations

import dataclasses

from windtunnel.core.verdict import Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :param check: which check: ``imports``, ``engines``, ``extensions``, ``adapters``,
        ``capabilities``, ``confinement``.
    :param name: what was looked at.
    :param verdict: ``UNKNOWN`` where it could not be tried, or may be meant.
    :param detail: what was found.
    :param location: ``file:line``, empty where there is none.
    :param fix: what to do, empty where nothing.
    """

    check: str
    name: str
    verdict: Verdict
    detail: str = ""
    location: str = ""
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding in plain words."""
        return {**dataclasses.asdict(self), "verdict": self.verdict.value}


__all__ = ["Finding"]
