"""How long a test may take: the ``timeout`` marker and the run's settings, as one limit.

The marker's arguments, the options ``--timeout`` and ``--timeout-method``, the ini keys
``timeout``, ``timeout_method`` and ``timeout_func_only`` and the variable ``PYTEST_TIMEOUT`` are
those of pytest-timeout, whether or not it is installed. Nothing here runs a test.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from typing import Any

import pytest

from windtunnel.core import Settings, UsageError
from windtunnel.record.protocol import DurationRow

METHODS = ("signal", "thread")
_ARGUMENTS = ("timeout", "method", "func_only", "disable_debugger_detection")


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """The time one attempt at a test may take.

    :param seconds: how long; 0 is no limit.
    :param method: ``signal`` makes the test fail where it is; ``thread`` ends the process.
    :param func_only: whether set-up and teardown are left out of the time.
    :param even_debugged: whether the limit holds while a debugger is at work.
    """

    seconds: float = 0.0
    method: str = "signal"
    func_only: bool = False
    even_debugged: bool = False


def of_run(config: pytest.Config, settings: Settings) -> Limit:
    """The limit of a test without a marker.

    Where pytest-timeout is installed, what it was told comes first.

    :raises UsageError: when an ini key or PYTEST_TIMEOUT cannot be meant.
    """
    theirs = getattr(config, "_env_timeout", None)
    if theirs is not None:
        seconds = float(theirs)
    elif settings.timeout:
        seconds = settings.timeout
    elif given := os.environ.get("PYTEST_TIMEOUT"):
        seconds = _seconds(given, "PYTEST_TIMEOUT")
    else:
        seconds = _seconds(config.getini("timeout") or 0, "timeout in the ini file")
    option = getattr(config.option, "wt_timeout_method", None)
    option = option or getattr(config.option, "timeout_method", None)
    return Limit(
        seconds,
        _method(option or config.getini("timeout_method") or "signal", "timeout_method"),
        _flag(config.getini("timeout_func_only"), "timeout_func_only"),
        bool(getattr(config, "_env_timeout_disable_debugger_detection", False)),
    )


def of_item(item: pytest.Item, default: Limit) -> Limit:
    """The limit of that test: its nearest ``timeout`` marker's, else the default.

    :raises UsageError: when the marker's arguments cannot be meant; names the test.
    """
    marker = item.get_closest_marker("timeout")
    if marker is None:
        return default
    where = f"the timeout marker of {item.nodeid}"
    given = _arguments(marker, where)
    func_only, even = given.get("func_only"), given.get("disable_debugger_detection")
    return Limit(
        _seconds(given.get("timeout", default.seconds), where),
        _method(given.get("method") or default.method, where),
        default.func_only if func_only is None else _flag(func_only, where),
        default.even_debugged if even is None else _flag(even, where),
    )


def suggest(durations: Iterable[DurationRow]) -> float:
    """A timeout for a suite, in seconds, from how long its tests took; 0 when nothing is known.

    Ten times the longest 75th percentile of any test, at least ten seconds, rounded up to a
    number people write (1, 2, 3, 5, 10, 20, 30 s, 1, 2, 3, 5, 10, ... min). A timeout is there to
    end hangs, not to judge speed: a test that takes ten times its usual is one on a machine in
    trouble or one that hangs, while twice its usual happens every day on a shared CI machine.

    >>> suggest([DurationRow("a", p75_s=0.2, mean_s=0.2, results=9)])
    10.0
    >>> suggest([DurationRow("a", p75_s=4.1, mean_s=4.0, results=9)])
    60.0
    """
    longest = max((row.p75_s for row in durations), default=0.0)
    if longest <= 0:
        return 0.0
    wanted = max(10.0, 10 * longest)
    unit = 60.0 if wanted > 30 else 1.0
    power = 10.0 ** math.floor(math.log10(max(wanted / unit, 1.0)))
    steps = (step * power * unit for step in (1, 2, 3, 5, 10))
    return next(step for step in steps if step >= wanted)


def _arguments(marker: pytest.Mark, where: str) -> dict[str, Any]:
    if not marker.args and not marker.kwargs:
        raise UsageError(f"{where} has no arguments", fix="write timeout(SECONDS)")
    if len(marker.args) > 2:
        raise UsageError(f"{where} has too many arguments", found=repr(marker.args))
    given: dict[str, Any] = dict(zip(_ARGUMENTS, marker.args, strict=False))
    for name, value in marker.kwargs.items():
        if name not in _ARGUMENTS:
            raise UsageError(
                f"{where} has no argument {name!r}", fix=f"it takes {', '.join(_ARGUMENTS)}"
            )
        if name in given:
            raise UsageError(f"{where} gives {name} twice", found=repr(value))
        given[name] = value
    return given


def _seconds(value: object, where: str) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise UsageError(f"{where} is not a number of seconds", found=repr(value))
    return max(seconds, 0.0)


def _method(value: object, where: str) -> str:
    if value not in METHODS:
        raise UsageError(f"{where}: the method is none of {', '.join(METHODS)}", found=repr(value))
    return str(value)


def _flag(value: object, where: str) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0", "", "yes", "no"):
        return value.lower() in ("true", "1", "yes")
    if not isinstance(value, bool):
        raise UsageError(f"{where}: neither true nor false", found=repr(value))
    return value
