"""Which machine and interpreter a figure was seen on: figures of others are no baseline."""

from __future__ import annotations

import functools
import os
import platform
import sys


@functools.cache
def fingerprint() -> str:
    """Interpreter, platform, processor and how many: ``"CPython 3.11.7 linux x86_64, …, 2 CPUs"``.

    Installed packages are not in it: that one of them was upgraded is among the causes for which
    figures are compared.

    >>> fingerprint().endswith("CPUs")
    True
    """
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{platform.python_implementation()} {version} {sys.platform} {platform.machine()}, "
        f"{_processor() or 'unknown processor'}, {os.cpu_count()} CPUs"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "cpu model"):
                    return value.strip()
    except OSError:
        return platform.processor()  # no such file on this system
    return platform.processor()
