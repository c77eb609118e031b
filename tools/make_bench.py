"""``make bench``: every benchmark, one after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import environments
import steps


def main() -> int:
    packages = [*environments.run_packages(), *environments.group("dev")]
    steps.say("setting up what is missing")
    try:
        python = environments.ensure(
            environments.ROOT / ".venv", environments.base_python(), packages
        )
    except environments.SetupError as error:
        return steps.fail(error)
    broken = []
    for script in sorted((environments.ROOT / "benchmarks").glob("[!_]*.py")):
        steps.say(f"\n== benchmarks/{script.name}")
        command = [str(python), str(script), *sys.argv[1:]]
        if subprocess.run(command, cwd=environments.ROOT, check=False).returncode:
            broken.append(script.name)
    steps.say(f"\nnot right: {', '.join(broken)}" if broken else "\nall benchmarks ran")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
