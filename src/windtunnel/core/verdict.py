"""What a judge says: pass, fail or unknown, with the reason."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable


class Verdict(enum.Enum):
    """Three-valued: what could not be decided is ``UNKNOWN`` and is never shown as a pass."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        raise TypeError("a Verdict has three values: compare it, as in `verdict is Verdict.PASS`")

    @staticmethod
    def all_of(verdicts: Iterable[Verdict]) -> Verdict:
        """One failure fails all; else one unknown leaves all unknown; nothing is unknown.

        >>> Verdict.all_of([Verdict.PASS, Verdict.UNKNOWN])
        <Verdict.UNKNOWN: 'unknown'>
        >>> Verdict.all_of([])
        <Verdict.UNKNOWN: 'unknown'>
        """
        seen = set(verdicts)
        if Verdict.FAIL in seen:
            return Verdict.FAIL
        if Verdict.UNKNOWN in seen or not seen:
            return Verdict.UNKNOWN
        return Verdict.PASS


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason.

    :param verdict: what was decided.
    :param reason: one sentence that says why, with the figures it rests on.
    """

    verdict: Verdict
    reason: str
