"""Prometheus's default registry and the values of its metrics, fresh for each test.

Nothing is imported: until the project itself has imported ``prometheus_client`` there is nothing
to do. Metrics stay the same objects, since modules hold them; their values begin at zero in each
test and are put back after it. A collector that a test registers is unregistered after it, unless
it belongs to a module that the test was the first to import: that module stays imported, so its
collectors stay registered.

The library has no public way to read and set the values of all metrics, so this module knows
their attributes (``prometheus_client.metrics``, ``.values`` and ``.registry``, unchanged since
0.12).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

_PLAIN = ("_child_samples", "_created", "_exemplar")
_ABSENT = object()


@dataclasses.dataclass(slots=True)
class _Snapshot:
    """The registry's content and every metric's state."""

    registry: Any
    collectors: dict[Any, list[str]]
    names: dict[str, Any]
    nameless: list[Any]
    target: Any
    metrics: list[_Metric]

    @classmethod
    def take(cls, registry: Any) -> _Snapshot:
        with registry._lock:
            collectors = dict(registry._collector_to_names)
            return cls(
                registry,
                collectors,
                dict(registry._names_to_collectors),
                list(getattr(registry, "_collectors_without_names", ())),
                getattr(registry, "_target_info", None),
                [_Metric(c) for c in collectors if hasattr(c, "_labelnames")],
            )

    def put_back(self) -> None:
        registry = self.registry
        with registry._lock:
            _replace(registry._collector_to_names, self.collectors)
            _replace(registry._names_to_collectors, self.names)
            if hasattr(registry, "_collectors_without_names"):
                registry._collectors_without_names[:] = self.nameless
            registry._target_info = self.target
        for metric in self.metrics:
            metric.put_back()

    def include(self, collector: Any, names: list[str]) -> None:
        self.collectors[collector] = names
        self.names.update(dict.fromkeys(names, collector))
        if hasattr(collector, "_labelnames"):
            metric = _Metric(collector)
            metric.zero()
            self.metrics.append(_Metric(collector))


class _Metric:
    """The state of one metric, its labelled children included."""

    __slots__ = ("_children", "_labelled", "_numbers", "_object", "_own", "_plain")

    def __init__(self, metric: Any) -> None:
        fields = vars(metric)
        self._object = metric
        self._plain = {name: fields.get(name, _ABSENT) for name in _PLAIN}
        value = fields.get("_value", _ABSENT)
        # Info keeps a dict there, Enum an index; the others an object with get and set.
        self._own = _ABSENT if hasattr(value, "get") and hasattr(value, "set") else value
        self._numbers = [
            (number, number.get(), getattr(number, "_exemplar", None))
            for number in _numbers(fields)
        ]
        self._labelled = dict(fields["_metrics"]) if "_metrics" in fields else None
        self._children = [_Metric(child) for child in (self._labelled or {}).values()]

    def zero(self) -> None:
        for number, _, _ in self._numbers:
            _set(number, 0.0, None)
        if self._own is not _ABSENT:
            self._object._value = type(self._own)()
        for child in self._children:
            child.zero()

    def put_back(self) -> None:
        fields = vars(self._object)
        for name, value in self._plain.items():
            if value is _ABSENT:
                fields.pop(name, None)
            else:
                fields[name] = value
        for number, value, exemplar in self._numbers:
            _set(number, value, exemplar)
        if self._own is not _ABSENT:
            self._object._value = self._own
        if self._labelled is not None:
            _replace(self._object._metrics, self._labelled)
        for child in self._children:
            child.put_back()


class Metrics:
    """Keeps the default registry of each test apart; called at the boundary's borders."""

    def __init__(self) -> None:
        self._worker: _Snapshot | None = None
        self._test: _Snapshot | None = None
        self._modules: set[str] = set()

    def enter(self) -> None:
        self._modules = set(sys.modules) if "prometheus_client" in sys.modules else set()
        self._worker = _snapshot()
        if self._worker is not None:
            for metric in self._worker.metrics:
                metric.zero()
        _reopen_files()

    def pause(self) -> None:
        self._test = _snapshot()
        if self._worker is not None:
            self._keep_those_of_new_modules(self._worker)
            self._worker.put_back()
        _reopen_files()

    def resume(self) -> None:
        before, after = self._worker, _snapshot()
        if after is not None and self._test is not None:
            known = before.collectors if before is not None else {}
            for collector, names in after.collectors.items():
                if collector not in known and collector not in self._test.collectors:
                    self._test.include(collector, names)
            self._test.put_back()
        self._worker = after
        _reopen_files()

    def leave(self) -> None:
        if self._worker is not None:
            self._keep_those_of_new_modules(self._worker)
            self._worker.put_back()
        self._worker = self._test = None
        _reopen_files()

    def _keep_those_of_new_modules(self, worker: _Snapshot) -> None:
        registered = worker.registry._collector_to_names
        new = [c for c in list(registered) if c not in worker.collectors]
        if not new:
            return
        held = {
            id(value)
            for name, module in list(sys.modules.items())
            if name not in self._modules
            for value in list(getattr(module, "__dict__", {}).values())
        }
        for collector in new:
            if id(collector) in held:
                worker.include(collector, registered[collector])


def _snapshot() -> _Snapshot | None:
    module = sys.modules.get("prometheus_client.registry")
    registry = getattr(module, "REGISTRY", None)
    if registry is None or not hasattr(registry, "_collector_to_names"):
        return None
    return _Snapshot.take(registry)


def _numbers(fields: dict[str, Any]) -> Iterator[Any]:
    """The objects that hold a metric's numbers, unless those live in the files of the folder that
    PROMETHEUS_MULTIPROC_DIR names: each test has a folder of its own."""
    single = (fields.get(name) for name in ("_value", "_count", "_sum"))
    for value in (*single, *fields.get("_buckets", ())):
        number = hasattr(value, "get") and hasattr(value, "set")
        if number and not getattr(value, "_multiprocess", False):
            yield value


def _set(number: Any, value: float, exemplar: Any) -> None:
    number.set(value)
    if hasattr(number, "_exemplar"):
        number._exemplar = exemplar


def _replace(mapping: dict[Any, Any], content: dict[Any, Any]) -> None:
    if mapping != content:
        mapping.clear()
        mapping.update(content)


def _reopen_files() -> None:
    """Under PROMETHEUS_MULTIPROC_DIR, let the values move to the files of the folder it names now.

    The library does so itself when it finds itself in a forked child; it is told that it is one.
    """
    module = sys.modules.get("prometheus_client.values")
    value_class = getattr(module, "ValueClass", None)
    if not getattr(value_class, "_multiprocess", False):
        return
    check = getattr(value_class, "_MmapedValue__check_for_pid_change", None)
    if check is None or check.__closure__ is None:
        return
    for name, cell in zip(check.__code__.co_freevars, check.__closure__, strict=True):
        if name == "pid":
            cell.cell_contents["value"] = None
