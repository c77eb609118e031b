"""The one store of events.

Every process of a run appends events to its own :class:`Spool`; one detached ingester moves them
into a SQLite file; :func:`open_record` first takes in what the ingester has not, and then reads.

>>> import tempfile
>>> from pathlib import Path
>>> from windtunnel.core import RunStarted, TestFinished
>>> from windtunnel.record import Spool, open_record
>>> with tempfile.TemporaryDirectory() as folder:
...     spool = Spool.open(Path(folder), "run-1")
...     spool.sink(RunStarted(run_id="run-1", argv="pytest", root=folder))
...     spool.sink(TestFinished(nodeid="test_a.py::test_a", outcome="passed", worker="main"))
...     with open_record(Path(folder) / "record.db") as record:
...         [(row.nodeid, row.strip) for row in record.recent()]
...     spool.close()
[('test_a.py::test_a', '.')]

The names are imported on first use: the ingester, which imports this package too, needs none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.record.launch import ensure_ingester
    from windtunnel.record.protocol import (
        Contents,
        DurationRow,
        OutcomeRow,
        RecentRow,
        ResourceRow,
        RunRow,
        SampleRow,
        UnfinishedRow,
        ViolationRow,
    )
    from windtunnel.record.redaction import Redaction
    from windtunnel.record.spool import RecordWarning, Spool
    from windtunnel.record.store import Record, open_record

_HOMES = {
    "Contents": "protocol",
    "DurationRow": "protocol",
    "OutcomeRow": "protocol",
    "RecentRow": "protocol",
    "Record": "store",
    "RecordWarning": "spool",
    "Redaction": "redaction",
    "ResourceRow": "protocol",
    "RunRow": "protocol",
    "SampleRow": "protocol",
    "Spool": "spool",
    "UnfinishedRow": "protocol",
    "ViolationRow": "protocol",
    "ensure_ingester": "launch",
    "open_record": "store",
}

__all__ = [
    "Contents",
    "DurationRow",
    "OutcomeRow",
    "RecentRow",
    "Record",
    "RecordWarning",
    "Redaction",
    "ResourceRow",
    "RunRow",
    "SampleRow",
    "Spool",
    "UnfinishedRow",
    "ViolationRow",
    "ensure_ingester",
    "open_record",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'windtunnel.record' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"windtunnel.record.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
