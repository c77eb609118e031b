"""Reports on their way to another process: from a worker to its controller, from a forked test to
its worker. What cannot travel stays behind; a report never stops the run."""

from __future__ import annotations

import contextlib
import pickle
from typing import Any

import pytest


def packed(config: pytest.Config, report: pytest.TestReport) -> tuple[str, Any]:
    """A report as it travels: pickled where it is pytest's own and holds only text, else as
    the plugins that know it serialise it, without what plugins put on it and cannot be pickled."""
    if type(report) is pytest.TestReport and (
        report.longrepr is None or isinstance(report.longrepr, (str, tuple))
    ):
        with contextlib.suppress(Exception):  # an attribute that cannot be pickled
            return "pickled", pickle.dumps(report, protocol=5)
    plain = _picklable(report)
    return "serialized", config.hook.pytest_report_to_serializable(config=config, report=plain)


def unpacked(config: pytest.Config, kind: str, payload: Any) -> pytest.TestReport:
    """What :func:`packed` packed."""
    report: pytest.TestReport
    if kind == "pickled":
        report = pickle.loads(payload)
    else:
        report = config.hook.pytest_report_from_serializable(config=config, data=payload)
    return report


def _picklable(report: pytest.TestReport) -> pytest.TestReport:
    kept = dict(vars(report))
    for name, value in vars(report).items():
        try:
            pickle.dumps(value, protocol=5)
        except Exception:
            if name == "longrepr":
                kept[name] = str(value)
            elif name == "user_properties":
                kept[name] = [(str(key), str(each)) for key, each in value]
            elif name == "keywords":
                kept[name] = dict.fromkeys(value, 1)
            else:
                del kept[name]
    plain: pytest.TestReport = object.__new__(type(report))
    vars(plain).update(kept)
    return plain
