"""Figures as people read them: durations down to nanoseconds, rates, bytes, shares."""

from __future__ import annotations

import math

from windtunnel.draw import seconds


def duration(value_s: float) -> str:
    """A duration in three digits, from nanoseconds up.

    >>> [duration(x) for x in (3.14e-8, 0.00000123, 0.0123, 2.0, float("nan"))]
    ['31.4 ns', '1.23 µs', '12.3 ms', '2.00 s', '-']
    """
    if math.isnan(value_s):
        return "-"
    if value_s < 0:
        return f"-{duration(-value_s)}"
    if math.isinf(value_s):
        return "∞"
    if 0 < value_s < 0.9995e-6:
        return f"{three(value_s * 1e9)} ns"
    if 0 < value_s < 0.9995e-3:
        return f"{three(value_s * 1e6)} µs"
    return seconds(value_s)


def three(value: float) -> str:
    """A number in three digits.

    >>> three(1.234), three(123.4), three(12345.6)
    ('1.23', '123', '12,346')
    """
    if math.isnan(value):
        return "-"
    size = abs(value)
    return f"{value:,.{0 if size >= 99.95 else 1 if size >= 9.995 else 2}f}"


def rate(a_second: float) -> str:
    """Calls a second.

    >>> rate(0.5), rate(1234567.0)
    ('0.50/s', '1,234,567/s')
    """
    return f"{three(a_second)}/s"


def size(count: float) -> str:
    """Bytes, in the units that allocators use.

    >>> size(0), size(1536), size(3_200_000)
    ('0 B', '1.50 KiB', '3.05 MiB')
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= factor:
            return f"{three(count / factor)} {unit}"
    return f"{count:.0f} B"


def percent(share: float) -> str:
    """A change, with its sign.

    >>> percent(0.0512), percent(-0.1)
    ('+5.1 %', '-10.0 %')
    """
    return f"{share * 100:+.1f} %"
