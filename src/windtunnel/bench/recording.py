"""Measurements on record: samples as events, thinned where there are many.

The names in the record of a measurement NAME: ``bench/NAME`` are durations in seconds a call (a
failed call's with ``failed``), ``bench/NAME/failures`` counts calls that failed,
``bench/NAME/peak`` is memory in bytes. ``bench/measured`` has NAME as its unit and the number of
calls as its value, ``bench/on`` the machine as its unit: by these two, measurements are found.
"""

from __future__ import annotations

import os

from windtunnel.bench import machine
from windtunnel.bench.result import Result
from windtunnel.core import Sample, current_test, emit

_MOST = 200


def put_on_record(result: Result, nodeid: str = "") -> Result:
    """Emit the samples of a result; returns the result itself.

    :param nodeid: the test; the one that pytest runs now where not given.
    """
    nodeid = nodeid or current_test()
    name = f"bench/{result.name}"

    def put(name: str, value: float, unit: str, *, failed: bool = False) -> None:
        emit(Sample(name=name, value=value, unit=unit, nodeid=nodeid, failed=failed))

    unit = "s" if result.clock == "real" else "s, virtual"
    for value in thinned(result.times_s):
        put(name, value, unit)
    for value in result.failed_s[:_MOST]:
        put(name, value, unit, failed=True)
    put(f"{name}/failures", result.failures, "calls")
    if result.memory is not None:
        put(f"{name}/peak", result.memory.peak_bytes, "B")
    if result.clock == "real":  # virtual time is the same on every machine, and no history
        put("bench/on", os.cpu_count() or 0, machine.fingerprint())
        put("bench/measured", result.n, result.name)
    return result


def thinned(times: tuple[float, ...], most: int = _MOST) -> list[float]:
    """At most ``most`` of the samples, evenly spread over their ranks: the quantiles stay.

    >>> thinned((3.0, 1.0, 2.0, 5.0, 4.0), 3)
    [1.0, 3.0, 5.0]
    """
    if len(times) <= most:
        return list(times)
    ordered = sorted(times)
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
