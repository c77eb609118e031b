"""What a use of a capability costs, in the ways in which it is used.

Each figure is the least of several rounds of many uses, less what the bare loop takes in the same
round, since a noisy machine only ever adds; the median and the quartiles of the rounds stand
beside it.

    python benchmarks/capabilities.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from windtunnel.sessions import (
    CapabilityContext,
    CapabilityDenied,
    HostFunction,
    current_context,
    seal,
    unseal,
)

PROMISE_US = 5.0
KEY = bytes(range(32))


def ways() -> dict[str, Callable[[], object]]:
    """What is measured, by name; the first is what the promise is about."""
    root = CapabilityContext("root")
    files = root.grant("fs.read", resources="/data/**", operations="read", expires_at=4e9)
    root.grant("net", hosts="**.example.com", ports=443)
    root.grant("plain")
    child = root.child("guest", [files.narrow(resources="/data/a/**")])
    deep = child.child("deeper", [child.tokens("fs.read")[0].narrow(uses=10**9)])
    read = HostFunction("read", lambda path: path, needs="fs.read", operation="read",
                        resource="path")  # fmt: skip
    scope = root.scope

    def refused() -> None:
        try:
            root.use("fs.read", "/etc/passwd", operation="read")
        except CapabilityDenied:
            return

    def guarded() -> None:
        with scope():
            read("/data/a/b.csv")

    path = "/data/a/b.csv"
    return {
        "use: a path, an operation, an expiry": lambda: root.use("fs.read", path, operation="read"),
        "use: nothing but the type": lambda: root.use("plain"),
        "use: a URL": lambda: root.use("net", "https://api.example.com/v1"),
        "use: narrowed once": lambda: child.use("fs.read", path, operation="read"),
        "use: narrowed twice, with a count": lambda: deep.use("fs.read", path, operation="read"),
        "allowed": lambda: root.allowed("fs.read", path, operation="read"),
        "current context": current_context,
        "scope and guarded call of a host function": guarded,
        "a refusal, recorded": refused,
        "seal and unseal": lambda: unseal(seal(files, KEY), KEY),
    }


def rounds_of(call: Callable[[], object], count: int, rounds: int) -> list[float]:
    """Microseconds a call, a figure a round, the loop taken off."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            nothing()
        bare = time.perf_counter() - began
        began = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - began - bare) / count * 1e6)
    return found


def nothing() -> None:
    """What the bare loop calls."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="5 rounds in place of 30")
    rounds = 5 if parser.parse_args().quick else 30
    least = {}
    print(f"{'us':<44}{'least':>8}{'median':>9}{'quartiles':>18}  n={rounds} x 2,000")
    for name, call in ways().items():
        found = rounds_of(call, 2_000, rounds)
        low, middle, high = statistics.quantiles(found, n=4)
        least[name] = min(found)
        spread = f"{low:.2f} .. {high:.2f}"
        print(f"{name:<44}{min(found):>8.2f}{middle:>9.2f}{spread:>18}")
    figure = next(iter(least.values()))
    word = "kept" if figure < PROMISE_US else "broken"
    print(f"promised: a use under {PROMISE_US:.0f} us; seen: {figure:.2f} us: {word}")
    return 1 if word == "broken" else 0


if __name__ == "__main__":
    sys.exit(main())
