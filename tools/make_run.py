"""``make run``: set up .venv and run the main job on the example."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import environments
import steps

COMMAND = ["run", "examples/fleet", "-n", "4", "--isolation", "env,fork", "--reruns", "2"]


def main() -> int:
    began = time.perf_counter()
    steps.say("setting up .venv (the first time this downloads a few packages)")
    try:
        python = environments.ensure(
            environments.ROOT / ".venv", environments.base_python(), environments.run_packages()
        )
    except environments.SetupError as error:
        return steps.fail(error)
    steps.say(f"ready after {time.perf_counter() - began:.1f} s")
    steps.say(f"$ windtunnel {' '.join(COMMAND)} --flaky-report")
    windtunnel = str(python.parent / "windtunnel")
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return subprocess.run(
        [windtunnel, *COMMAND, "--flaky-report"],
        cwd=environments.ROOT,
        env=environment,
        check=False,
    ).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
