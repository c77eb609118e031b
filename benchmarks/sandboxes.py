"""What a place to run code costs: ours beside a plain interpreter and bubblewrap alone, by turns.

    python benchmarks/sandboxes.py [--quick]

Each figure is a median with the 5th and 95th percentile; kinds take turns, so that all meet the
same machine. What each kind does until it counts as done: it has answered ``1 + 1``.

* interpreter: ``subprocess.run([python, "-I", "-S", "-c", "print(1 + 1)"])``, no isolation at all;
* bwrap + interpreter: the same under bubblewrap with the same view and namespaces, without a
  filter, limits or a zygote;
* cell: forked from the warm zygote, namespaces, filter, limits and groups included; the same
  started cold, and as a plain process.

Memory is the proportional set size (``/proc/PID/smaps_rollup``): what is shared counts by parts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from windtunnel.sandboxes import ProcessSandbox, Program, tiers, view
from windtunnel.sandboxes.cell import ProcessCell
from windtunnel.sessions import Limits
from windtunnel.sessions.engines.process import ProcessGuest, program

ANSWER = "def main(channel):\n    while True: channel.send(str(eval(channel.receive())).encode())"
PROGRAM = Program((("answer", ANSWER),), "answer:main")
SOLVE = ["-I", "-S", "-B", "-c", "print(1 + 1)"]


def ask(cell: ProcessCell) -> None:
    cell.send(b"1 + 1")
    while (answer := cell.receive(30)) is None:
        pass
    assert answer == b"2"


def cold(tier: str | None) -> Callable[[], object]:
    """A sandbox from nothing to its first answer."""

    def begin() -> object:
        sandbox = ProcessSandbox(PROGRAM, tier=tier)
        ask(sandbox.start())
        return sandbox

    return begin


def warm(sandbox: ProcessSandbox) -> Callable[[], object]:
    def begin() -> object:
        cell = sandbox.start()
        ask(cell)
        return cell

    return begin


def command(argv: list[str]) -> Callable[[], object]:
    def begin() -> object:
        done = subprocess.run(argv, capture_output=True, check=True)
        assert done.stdout == b"2\n"
        return None

    return begin


def alternate(count: int, acts: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of each act, taken in turns; what it gives is closed untimed."""
    samples: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(count):
        for name, act in acts.items():
            begun = time.perf_counter()
            made = act()
            samples[name].append((time.perf_counter() - begun) * 1000)
            if made is not None:
                made.close()  # type: ignore[attr-defined]
    return samples


def show(samples: dict[str, list[float]], unit: str = "ms") -> None:
    for name, values in samples.items():
        ordered = sorted(values)
        low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
        median = statistics.median(ordered)
        print(f"  {name:<52} {median:9.3f} {unit}  ({low:.3f} to {high:.3f}, n={len(ordered)})")


def starting(count: int) -> None:
    print("from asking to the first answer")
    python = str(view.interpreter())
    bare = tiers.BY_USER.command(16)
    boxed = [*bare[: bare.index(python, bare.index("--chdir"))], python, *SOLVE]
    with (
        ProcessSandbox(PROGRAM, tier="bubblewrap") as zygote,
        ProcessSandbox(PROGRAM, tier="bubblewrap-cold") as alone,
        ProcessSandbox(PROGRAM, tier="plain") as plain,
    ):
        show(
            alternate(
                count,
                {
                    "interpreter, no isolation": command([python, *SOLVE]),
                    "bwrap + interpreter": command(boxed),
                    "cell from the warm zygote": warm(zygote),
                    "cell started cold under bubblewrap": warm(alone),
                    "cell in a plain process": warm(plain),
                    "sandbox, zygote and first cell": cold("bubblewrap"),
                },
            )
        )
        print(f"  ({zygote.isolation})")


def talking(count: int) -> None:
    print("a run in a cell that is there")
    guest = ProcessGuest(["host"])
    limits = Limits()

    def run(code: str) -> Callable[[], object]:
        def act() -> object:
            assert guest.run(code, inputs={}, limits=limits, host=lambda *_: 1).ok
            return None

        return act

    run("def f(): return 1")()

    def call() -> object:
        assert guest.call("f", (), {}, limits=limits, host=lambda *_: 1).value == 1
        return None

    acts = {
        "run('1')": run("1"),
        "call of a function that the guest defined": call,
        "run('host()'), one call of the host in it": run("host()"),
        "run of 100 calls of the host": run("for _ in range(100): host()"),
    }
    for act in acts.values():
        act()
    show(alternate(count, acts))
    guest.close()


def memory(count: int) -> None:
    print("memory of one more, of this many at once")
    with ProcessSandbox(program(), tier="bubblewrap") as sandbox:
        cells = [sandbox.start() for _ in range(count)]
        show({"cell of the process engine": [resident(cell.pid) for cell in cells]}, "MiB")
    python = str(view.interpreter())
    imports = "import ast, inspect, io, itertools, threading, json, zoneinfo; input()"
    others = [
        subprocess.Popen(
            [python, "-I", "-S", "-c", f"print(1, flush=True); {imports}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(count)
    ]
    for other in others:
        assert other.stdout is not None
        other.stdout.readline()
    show({"interpreter with the same imports": [resident(other.pid) for other in others]}, "MiB")
    for other in others:
        other.communicate(b"\n")


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    quick = parser.parse_args().quick
    starting(10 if quick else 100)
    talking(100 if quick else 1000)
    memory(10 if quick else 50)


if __name__ == "__main__":
    main()
