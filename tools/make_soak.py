"""``make soak``: the house's own tests again and again under itself, then who was flaky."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import environments
import steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    packages = [*environments.run_packages(), *environments.group("dev")]
    try:
        python = environments.ensure(
            environments.ROOT / ".venv", environments.base_python(), packages
        )
    except environments.SetupError as error:
        return steps.fail(error)
    windtunnel = str(python.parent / "windtunnel")
    steps.say("== proofs on released packages, under ten times as many seeds")
    proofs = sorted(str(path) for path in (environments.ROOT / "tests/sim").glob("test_found_*.py"))
    long = {**os.environ, "WINDTUNNEL_SOAK": "1"}
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", *proofs], cwd=environments.ROOT, env=long, check=False
    )
    end, rounds, broken = time.monotonic() + minutes * 60, 0, int(done.returncode != 0)
    while rounds == 0 or time.monotonic() < end:
        rounds += 1
        steps.say(f"== round {rounds}, {max(0.0, end - time.monotonic()):.0f} s left")
        command = [windtunnel, "run", "tests", "-n", "auto", "-q"]
        broken += subprocess.run(command, cwd=environments.ROOT, check=False).returncode != 0
    subprocess.run([windtunnel, "flaky"], cwd=environments.ROOT, check=False)
    steps.say(f"{rounds + 1 - broken} of {rounds + 1} rounds were right, the proofs among them")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
