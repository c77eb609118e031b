"""Proofs on releases of other people's packages, which are not installed: a proof runs in a process
of its own, in which their folders come first on ``sys.path``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from foreign import release

HERE = Path(__file__).parent / "releases"


def soaking() -> bool:
    """Whether ``make soak`` asks for the long version of a proof."""
    return os.environ.get("WINDTUNNEL_SOAK") == "1"


def prove(
    pytester: pytest.Pytester, file: str, seeds: int, *releases: tuple[str, str]
) -> pytest.RunResult:
    """Run ``releases/<file>`` under so many seeds, with these releases before any installed."""
    pytester.makepyfile(**{f"test_{file.removesuffix('.py')}": (HERE / file).read_text()})
    path = os.pathsep.join(str(release(*each)) for each in releases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        return pytester.runpytest_subprocess(
            f"--wt-seeds={seeds}",
            "-p",
            "no:cacheprovider",
            "--color=no",
            timeout=1200 if soaking() else 600,  # on a busy machine, too
        )


def seeds_run(pytester: pytest.Pytester) -> int:
    """Under how many seeds the proof was run, by what its run recorded."""
    export = pytester.run(sys.executable, "-m", "windtunnel", "record", "export")
    events = [json.loads(line) for line in export.outlines]
    (sample,) = [event for event in events if event.get("name") == "simulated.seeds"]
    return int(sample["value"])
