"""How long `windtunnel flaky hunt` takes, and whether it is right, next to plain pytest processes.

Known answers: a generated suite of 1,000 tests with one victim of three polluters. The peer is
what a person would script: one fresh pytest process a candidate (pytest -p no:randomly CANDIDATE
VICTIM), timed on a sample of candidates and multiplied. Run: python benchmarks/hunt.py [--quick]
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLLUTERS = (101, 577, 803)


def write_suite(folder: Path, tests: int) -> tuple[str, set[str]]:
    files = 20
    per_file = tests // files
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "shared.py").write_text("state = set()\n")
    (folder / "conftest.py").write_text("")
    guilty: set[str] = set()
    for file in range(files):
        lines = ["import shared"]
        for number in range(file * per_file, (file + 1) * per_file):
            does = "shared.state.add(1)" if number in POLLUTERS else "pass"
            lines.append(f"def test_{number}(): {does}")
            if number in POLLUTERS:
                guilty.add(f"test_{file:02}.py::test_{number}")
        (folder / f"test_{file:02}.py").write_text("\n".join(lines) + "\n")
    (folder / "test_99.py").write_text("import shared\ndef test_v(): assert not shared.state\n")
    return "test_99.py::test_v", guilty


def hunt(folder: Path, victim: str, guilty: set[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel", "flaky", "hunt", "--json", "--quiet", victim],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    found = json.loads(done.stdout)["tests"][0]
    right = set(found["polluters"]) == guilty
    print(
        f"  hunt: {took:.1f} s, {'right' if right else 'WRONG'}: {len(found['polluters'])} "
        f"polluters of {found['candidates_tried']} tried"
    )
    return took


def one_process(folder: Path, candidate: str, victim: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", candidate, victim]
    subprocess.run(command, cwd=folder, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    quick = "--quick" in sys.argv
    rounds, tests = (1, 1000) if quick else (3, 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        victim, guilty = write_suite(folder, tests)
        hunts, processes = [], []
        stream = random.Random(0)
        for _ in range(rounds):  # interleaved, so that both meet the same machine
            hunts.append(hunt(folder, victim, guilty))
            for _ in range(5):
                number = stream.randrange(tests)
                candidate = f"test_{number // (tests // 20):02}.py::test_{number}"
                processes.append(one_process(folder, candidate, victim))
    each = statistics.median(processes)
    print(
        f"windtunnel flaky hunt, whole: median {statistics.median(hunts):.1f} s "
        f"({min(hunts):.1f} to {max(hunts):.1f}, n={len(hunts)})"
    )
    print(
        f"a pytest process a candidate: median {each:.2f} s each "
        f"({min(processes):.2f} to {max(processes):.2f}, n={len(processes)}), "
        f"so {each * tests:.0f} s for {tests}"
    )


if __name__ == "__main__":
    main()
