"""Writes events of a run, and says on standard output, after each, that it has been emitted.

``python writer.py STATE_DIR RUN_ID ROLE TESTS FIRST``: a ``controller`` begins the run, starts
the ingester and waits until its standard input is closed; a worker runs that many tests.
"""

import os
import sys
from pathlib import Path

from windtunnel.core import RunFinished, RunStarted, TestFinished, TestStarted, emit, set_sink
from windtunnel.record import Spool, ensure_ingester

state_dir, run_id, role, tests, first = sys.argv[1:]
spool = Spool.open(Path(state_dir), run_id)
set_sink(spool.sink)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if role == "controller":
    emit(RunStarted(run_id=run_id, argv="pytest -n 2", root="/p", workers=2))
    ensure_ingester(Path(state_dir) / "record.db")
    say("started")
    sys.stdin.read()
    emit(RunFinished(exit_code=0, duration_s=1.0, collected=int(tests)))
    say("finished")
else:
    for order in range(int(tests)):
        nodeid = f"tests/test_some.py::test_{int(first) + order}"
        emit(TestStarted(nodeid=nodeid, worker=role, order=order))
        emit(TestFinished(nodeid=nodeid, outcome="passed", worker=role, order=order, call_s=0.001))
        say(nodeid)
spool.close()
