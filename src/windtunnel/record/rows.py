"""From SQLite's rows to the rows of :mod:`windtunnel.record.protocol`: columns and joins."""

from __future__ import annotations

from typing import Any, TypeAlias

from windtunnel.core import Outcome
from windtunnel.record.batch import unsigned
from windtunnel.record.protocol import OutcomeRow, RunRow

SqlRow: TypeAlias = "tuple[Any, ...]"  # Any: what SQLite hands out

RUN = (
    'number, run_id, started, argv, root, "commit", tree, environment, environment_text,'
    " isolation, world, workers, seed, ci, finished, exit_code, duration_s, collected"
)
OUTCOME = (
    "o.run, t.nodeid, o.outcome, o.attempt, o.final, o.phase, o.setup_s, o.call_s, o.teardown_s,"
    " o.started, w.name, o.position, i.name, coalesce(x.message, ''), coalesce(x.output, ''),"
    " o.quarantined, coalesce(x.replay, ''), o.seed"
)
OUTCOME_JOINS = (
    " JOIN tests t ON t.id = o.test JOIN names w ON w.id = o.worker"
    " JOIN names i ON i.id = o.isolation LEFT JOIN texts x"
    " ON x.run = o.run AND x.test = o.test AND x.attempt = o.attempt"
)


def run_row(row: SqlRow) -> RunRow:
    """A run, from its row in the database."""
    return RunRow(
        number=row[0],
        run_id=row[1],
        started=row[2],
        argv=row[3],
        root=row[4],
        commit=row[5],
        tree=row[6],
        environment=row[7],
        environment_text=row[8],
        isolation=row[9],
        world=row[10],
        workers=row[11],
        seed=unsigned(row[12]),
        ci=row[13],
        finished=row[14],
        exit_code=row[15],
        duration_s=row[16],
        collected=row[17],
    )


def outcome_row(row: SqlRow, facts: dict[int, tuple[str, str, str]]) -> OutcomeRow:
    """An attempt, from its row and the facts (commit, tree, environment) of its run."""
    commit, tree, environment = facts.get(row[0], ("", "", ""))
    return OutcomeRow(
        run=row[0],
        nodeid=row[1],
        outcome=Outcome.from_letter(row[2]),
        attempt=row[3],
        final=bool(row[4]),
        phase=row[5],
        setup_s=row[6],
        call_s=row[7],
        teardown_s=row[8],
        started=row[9],
        worker=row[10],
        order=row[11],
        isolation=row[12],
        message=row[13],
        output=row[14],
        quarantined=bool(row[15]),
        replay=row[16],
        seed=unsigned(row[17]),
        commit=commit,
        tree=tree,
        environment=environment,
    )
