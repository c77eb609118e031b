"""Line coverage measured in forked children, added to what the parent measures.

A child's measurements would die with it. Instead of a data file a test, which costs milliseconds
each, the child sends the calls that coverage.py's collector would make on its data, and the
parent makes them, merged, when its last test is over. Whatever coverage.py this does not fit
(``Coverage._collector`` and ``Collector.covdata``, so named since coverage 4.0) is left alone.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from windtunnel.run.isolation.child import Sent

_Key = tuple[str | None, str, str]


class _Recorder:
    """Stands for coverage.py's data file in a child: takes down what would be written."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def record(argument: Any = None, *_: Any, **__: Any) -> None:
            self.calls.append((name, argument))

        return record


class CoverageOfChildren:
    """Collects what children send until it is handed to the coverage of this process."""

    def __init__(self) -> None:
        self._lines: dict[_Key, set[Any]] = {}
        self._tracers: dict[str, str] = {}

    @contextlib.contextmanager
    def in_child(self, sent: Sent) -> Iterator[None]:
        """Measure for the parent while the block runs."""
        collector = _collector()
        if collector is None:
            yield
            return
        # What the parent measured before the fork is the parent's to write.
        collector._clear_data()
        recorder = collector.covdata = _Recorder()
        try:
            yield
        finally:
            collector.flush_data()
            sent.coverage = recorder.calls

    def add(self, sent: Sent) -> None:
        """Take what a child has sent."""
        context: str | None = None
        for name, argument in sent.coverage:
            if name == "set_context":
                context = argument
            elif name in ("add_lines", "add_arcs"):
                for file, measured in argument.items():
                    self._lines.setdefault((context, name, file), set()).update(measured)
            elif name == "add_file_tracers":
                self._tracers.update(argument)

    def hand_over(self) -> None:
        """Write everything into the data of this process."""
        collector = _collector()
        if collector is None or not self._lines:
            return
        data = collector.covdata
        before = getattr(data, "_current_context", None)
        for context in sorted({key[0] for key in self._lines}, key=str):
            data.set_context(context if context is not None else before)
            for method in ("add_lines", "add_arcs"):
                files = {
                    file: measured
                    for (of, name, file), measured in self._lines.items()
                    if of == context and name == method
                }
                if files:
                    getattr(data, method)(files)
        data.add_file_tracers(self._tracers)
        data.set_context(before)
        self._lines.clear()


def _collector() -> Any:
    coverage: Any = sys.modules.get("coverage")
    if coverage is None or not hasattr(coverage, "Coverage"):
        return None
    current = coverage.Coverage.current()
    collector = getattr(current, "_collector", None)
    return collector if hasattr(collector, "covdata") else None
