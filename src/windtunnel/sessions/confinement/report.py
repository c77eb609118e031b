"""What came of the attempts: a row for each, a verdict on the whole, as JSON and as a table."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from windtunnel.core.verdict import Verdict

SCHEMA = 1
"""Version of the JSON; it grows when a field changes its meaning or goes away."""
MOST_NOT_APPLICABLE = 0.5
"""The share of the guests' attempts that an executor may not understand at all."""


class Outcome(enum.Enum):
    """How an attempt ended."""

    WITHSTOOD = "withstood"
    ESCAPED = "escaped"
    NOT_APPLICABLE = "not applicable"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attempt, or one family's control.

    :param id: the attempt, or ``control`` and the family.
    :param variant: in which language its code was, ``host`` where there was none, ``none`` where
        it has no form in the executor's.
    :param evidence: canary and what was seen of it, where it escaped.
    :param notes: how each execution ended; for a control, why it failed.
    :param took_s: seconds.
    """

    id: str
    family: str
    outcome: Outcome
    variant: str = "host"
    evidence: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    took_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The row in plain words."""
        return {
            "id": self.id,
            "family": self.family,
            "outcome": self.outcome.value,
            "variant": self.variant,
            "evidence": dict(self.evidence),
            "notes": list(self.notes),
            "took_s": round(self.took_s, 4),
        }

    @staticmethod
    def from_json(text: Mapping[str, Any]) -> Row:
        """The row again."""
        return Row(
            id=text["id"],
            family=text["family"],
            outcome=Outcome(text["outcome"]),
            variant=text["variant"],
            evidence=text["evidence"],
            notes=tuple(text["notes"]),
            took_s=text["took_s"],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What became of an executor.

    :param rows: the attempts.
    :param controls: the legal thing of each family; ``withstood`` means that it could be done.
    """

    rows: tuple[Row, ...]
    controls: tuple[Row, ...] = ()

    @property
    def escapes(self) -> tuple[Row, ...]:
        """The attempts that escaped."""
        return self._those(Outcome.ESCAPED)

    @property
    def withstood(self) -> tuple[Row, ...]:
        """The attempts that were made and did not escape."""
        return self._those(Outcome.WITHSTOOD)

    @property
    def not_applicable(self) -> tuple[Row, ...]:
        """The attempts that the executor never came to make."""
        return self._those(Outcome.NOT_APPLICABLE)

    def _those(self, outcome: Outcome) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.outcome is outcome)

    @property
    def families(self) -> tuple[str, ...]:
        """The families, in order."""
        return tuple(dict.fromkeys(row.family for row in self.rows))

    def row(self, id: str) -> Row:
        """The row of an attempt.

        :raises KeyError: where there is none.
        """
        for row in self.rows:
            if row.id == id:
                return row
        raise KeyError(id)

    @property
    def vacuous(self) -> tuple[str, ...]:
        """Why having withstood says nothing here, a sentence each."""
        said = [
            f"{row.family}: the executor cannot do the legal thing ({'; '.join(row.notes)})"
            for row in self.controls
            if row.outcome is not Outcome.WITHSTOOD
        ]
        for family in self.families:
            rows = [row for row in self.rows if row.family == family]
            if all(row.outcome is Outcome.NOT_APPLICABLE for row in rows):
                said.append(f"{family}: none of {len(rows)} attempts could be made")
        by_guest = [row for row in self.rows if row.variant not in ("host", "none")]
        missed = sum(row.outcome is Outcome.NOT_APPLICABLE for row in by_guest)
        if missed > MOST_NOT_APPLICABLE * len(by_guest):
            said.append(
                f"{missed} of {len(by_guest)} attempts of guests could not be made; at most "
                f"{MOST_NOT_APPLICABLE:.0%} may"
            )
        return tuple(said)

    @property
    def verdict(self) -> Verdict:
        """Fail where something escaped, unknown where too little could be tried, else pass."""
        if self.escapes:
            return Verdict.FAIL
        if not self.rows or self.vacuous:
            return Verdict.UNKNOWN
        return Verdict.PASS

    def as_json(self) -> dict[str, Any]:
        """The report in plain words."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict.value,
            "escaped": len(self.escapes),
            "withstood": len(self.withstood),
            "not_applicable": len(self.not_applicable),
            "vacuous": list(self.vacuous),
            "controls": [row.as_json() for row in self.controls],
            "rows": [row.as_json() for row in self.rows],
        }

    def summary(self) -> str:
        """The verdict in a line."""
        return (
            f"{self.verdict.value}: {len(self.rows)} attempts, {len(self.escapes)} escaped, "
            f"{len(self.withstood)} withstood, {len(self.not_applicable)} not applicable"
        )

    def table(self, *, every: bool = False) -> str:
        """A line a family, the escapes with what proves them, the verdict.

        :param every: a line for each attempt besides.
        """
        width = max((len(family) for family in self.families), default=6)
        lines = [f"{'family':<{width}}  attempts  escaped  withstood  not applicable"]
        for family in self.families:
            rows = [row for row in self.rows if row.family == family]
            each = [sum(row.outcome is kind for row in rows) for kind in _COLUMNS]
            lines.append(
                f"{family:<{width}}  {len(rows):>8}  {each[0]:>7}  {each[1]:>9}  {each[2]:>14}"
            )
        shown = self.rows if every else self.escapes
        lines += [""] * bool(shown) + [_line(row) for row in shown]
        lines += [f"vacuous: {reason}" for reason in self.vacuous]
        return "\n".join([*lines, self.summary()])


_COLUMNS = (Outcome.ESCAPED, Outcome.WITHSTOOD, Outcome.NOT_APPLICABLE)


def _line(row: Row) -> str:
    seen = "; ".join(f"{canary}: {detail}" for canary, detail in row.evidence.items())
    told = seen or (row.notes[-1] if row.notes else "")
    return (
        f"{row.outcome.value:<14}  {row.family}/{row.id}  {' '.join(told.split())[:160]}".rstrip()
    )


__all__ = ["MOST_NOT_APPLICABLE", "SCHEMA", "Outcome", "Report", "Row"]
