"""Histories written as text: one letter a result, one word a state of the code."""

from __future__ import annotations

from windtunnel.core import Outcome
from windtunnel.record.protocol import OutcomeRow

DAY_S = 86_400.0


def row(
    letter: str,
    *,
    run: int = 1,
    tree: str = "",
    nodeid: str = "test_a.py::test_a",
    environment: str = "env",
    attempt: int = 1,
    final: bool = True,
    quarantined: bool = False,
    call_s: float = 1.0,
    started: float | None = None,
) -> OutcomeRow:
    """One result of one test; by default a run a day."""
    return OutcomeRow(
        run=run,
        nodeid=nodeid,
        outcome=Outcome.from_letter(letter),
        attempt=attempt,
        final=final,
        phase="",
        setup_s=0.0,
        call_s=call_s,
        teardown_s=0.0,
        started=run * DAY_S if started is None else started,
        worker="main",
        order=0,
        isolation="",
        message="",
        output="",
        quarantined=quarantined,
        replay="",
        seed=0,
        commit="",
        tree=tree,
        environment=environment,
    )


def history(words: str, **fields: object) -> list[OutcomeRow]:
    """``". . F. ."``: four states of the code, on the third the test failed and passed."""
    rows: list[OutcomeRow] = []
    for number, word in enumerate(words.split(), start=1):
        for letter in word:
            rows.append(row(letter, run=len(rows) + 1, tree=f"tree{number}", **fields))  # type: ignore[arg-type]
    return rows


def unversioned(letters: str, **fields: object) -> list[OutcomeRow]:
    """A run a letter, outside of any repository."""
    return [row(letter, run=run, **fields) for run, letter in enumerate(letters, start=1)]  # type: ignore[arg-type]
