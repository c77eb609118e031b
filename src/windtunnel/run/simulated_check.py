"""Running the seeds of a test again in another process, to see whether they run the same there.

The second process is a fresh interpreter: another address layout, the same hash seed. What
differs between the two is what a seed does not decide, and a token could not repeat.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from windtunnel.explore.comparison import Divergence, first_difference
from windtunnel.run.session import RunState
from windtunnel.run.simulated import hash_seed
from windtunnel.run.simulated_report import add_section, slug, told
from windtunnel.run.simulated_seeds import Summary

_LAST_LINES = 20


class DeterminismCheck:
    """The second process, and the comparison."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._folder = Path(tempfile.mkdtemp(prefix="wt-determinism-"))

    @property
    def traces(self) -> Path:
        """Where this process's traces go."""
        return self._folder / "here"

    def check(
        self,
        item: pytest.Item,
        summary: Summary,
        reports: list[pytest.TestReport],
        suspects: Callable[[int, Divergence], list[str]],
    ) -> None:
        """Fail the test when one of its seeds ran otherwise in the second process.

        :param suspects: what could not be controlled up to that point of that seed.
        """
        ran = summary.passed + summary.failed
        output = self._run_again(item, ran)
        for index in range(ran):
            name = f"{slug(item.nodeid)}/{index}.jsonl"
            here, there = self.traces / name, self._folder / "there" / name
            if not there.exists():
                _fail(item, reports, f"the second process did not run seed {index + 1}\n{output}")
                break
            with here.open() as mine, there.open() as other:
                difference = first_difference(mine, other)
            if difference is not None:
                lines = suspects(index, difference)
                _fail(item, reports, _text(index, ran, difference, lines))
                break
        for file in self._folder.glob("*/*/*.jsonl"):
            file.unlink()

    def close(self) -> None:
        """Remove what is left of the traces."""
        import shutil

        shutil.rmtree(self._folder, ignore_errors=True)

    def _run_again(self, item: pytest.Item, seeds: int) -> str:
        config, state = self._config, self._state
        command = [sys.executable, "-m", "pytest", *_options(config)]
        command += [
            "-p",
            "windtunnel",
            "--wt-workers=0",
            "--wt-isolation=none",
            "--wt-html=",
            f"--wt-record={self._folder}/record.db",
            f"--wt-seed={state.seed.value}",
            f"--wt-seeds={seeds}",
            f"--wt-traces={self._folder}/there",
            f"--rootdir={state.root}",
            "-o",
            f"cache_dir={self._folder}/cache",
            str(state.root / item.nodeid),
        ]
        ended = subprocess.run(
            command,
            cwd=state.invoked_in,
            env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONHASHSEED": hash_seed()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return "\n".join(ended.stdout.splitlines()[-_LAST_LINES:])


def _options(config: pytest.Config) -> list[str]:
    """The options of this run's command, without the files it names and without ours."""
    given = getattr(config, "workerinput", {}).get("mainargv")
    words = list(map(str, given[1:] if given else config.invocation_params.args))
    kept: list[str] = []
    skip = False
    for word in words:
        is_option = word.startswith("-")
        if skip or word in _WITH_VALUE:
            skip = not skip
        elif _goes_on(word, kept[-1] if kept else "", is_option):
            kept.append(word)
    return kept


def _goes_on(word: str, before: str, is_option: bool) -> bool:
    return not word.startswith(_DROPPED) if is_option else before in _KEPT_WITH_VALUE


# Options whose value is a word of its own: those that make no sense in the second process, and
# those that do.
_WITH_VALUE = frozenset({"-n", "--numprocesses", "-k", "-m", "--dist", "--junitxml"})
_DROPPED = ("--wt-", "-n", "--cov", "--pdb", "-x", "--lf", "--ff", "-k", "-m", "--junit")
_KEPT_WITH_VALUE = frozenset({"-p", "-c", "-o", "--asyncio-mode", "--import-mode"})


def _text(index: int, of: int, difference: Divergence, suspects: list[str]) -> str:
    lines = [
        f"seed {index + 1} of {of} ran otherwise in a second process",
        f"  first difference: step {difference.step}",
        f"    here:  {difference.here}",
        f"    there: {difference.there}",
        f"  just before, in both: {difference.before}",
    ]
    if suspects:
        lines += ["  could not be controlled:", *(f"    {line}" for line in suspects)]
    else:
        lines.append("  no set of objects hashed by address was found in its tasks")
    return "\n".join(lines)


def _fail(item: pytest.Item, reports: list[pytest.TestReport], text: str) -> None:
    bad = next((report for report in reports if report.failed), None)
    if bad is not None:
        add_section(bad, text)
        return
    for report in reports:
        if report.when == "call":
            report.outcome = "failed"
            report.longrepr = told(item, f"not deterministic: {text}")
