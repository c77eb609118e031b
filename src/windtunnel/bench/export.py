"""A result as plain data, for ``--json`` and for other programs. Format 1."""

from __future__ import annotations

import dataclasses
import math

from windtunnel.bench.result import FIGURES, Json, Result

FORMAT = 1


def to_json(result: Result) -> dict[str, Json]:
    """The figures, with counts and how they were got; what is not known is null."""
    figures: dict[str, Json] = {name: _plain(getattr(result, name)) for name in FIGURES}
    low, high = result.interval("median")
    mean_low, mean_high = result.interval("mean")
    outliers = result.outliers
    return {
        "format": FORMAT,
        "name": result.name,
        "n": result.n,
        "failures": result.failures,
        "errors": [{"error": error, "count": count} for error, count in result.errors],
        "samples": len(result.times_s),
        "inner": result.inner,
        **figures,
        "median_interval": [_plain(low), _plain(high)],
        "mean_interval": [_plain(mean_low), _plain(mean_high)],
        "outliers": {"low": outliers.low, "high": outliers.high, "far": outliers.far},
        "failed_s": [_plain(x) for x in result.failed_s[:100]],
        "throughput": _plain(result.throughput),
        "elapsed_s": _plain(result.elapsed_s),
        "cpu_per_call": _plain(result.cpu_per_call_s),
        "concurrency": result.concurrency,
        "rate": result.rate,
        "late": result.late_s,
        "warmup_calls": result.warmup_calls,
        "steady": result.steady,
        "clock": result.clock,
        "processes": result.processes,
        "memory": None if result.memory is None else dict(dataclasses.asdict(result.memory)),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
