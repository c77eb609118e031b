"""A suite is written, run once in a process of its own, and its outcomes are read by many tests."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS|SKIPPED)\S* (\S+\.py::\S+)", re.M)


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """A suite that was run."""

    folder: Path
    code: int
    text: str

    def outcome(self, test: str) -> str:
        """How the test of that name ended; the worse of two."""
        found = [
            outcome
            for outcome, nodeid in _OUTCOME.findall(self.text)
            if nodeid.endswith(f"::{test}")
        ]
        assert found, f"{test} is not in\n{self.text}"
        return max(found, key=["PASSED", "SKIPPED", "XFAIL", "XPASS", "FAILED", "ERROR"].index)

    def of(self, test: str) -> str:
        """What was printed of that test's failure."""
        parts = re.split(
            rf"^_+ (?:ERROR at \w+ of )?(?:\w+\.)?{re.escape(test)} _+$", self.text, flags=re.M
        )
        assert len(parts) > 1, f"{test} did not fail in\n{self.text}"
        return re.split(r"^(?:_{3,} .* _{3,}|=+ .* =+)$", parts[1], flags=re.M)[0]

    def token(self, test: str) -> str:
        """The token that was printed with that test's failure."""
        found = re.search(r"replay: windtunnel replay (\S+)", self.of(test))
        assert found, self.of(test)
        return found[1]


def environment(hash_seed: str = "0") -> dict[str, str]:
    """Without what the outer run set, and without what would slow inner ones."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "COV_", "CI"))
    }
    return {
        **kept,
        "PYTHONHASHSEED": hash_seed,
        "PYTEST_ADDOPTS": "-p no:syrupy -p no:hypothesispytest",
    }


def write(folder: Path, **modules: str) -> None:
    """Write a project of these modules there."""
    (folder / "pytest.ini").write_text(INI)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


def command(folder: Path, *words: str, hash_seed: str = "0", stdin: str = "") -> Ran:
    """Run ``windtunnel`` with these words there."""
    return _ran(folder, ["windtunnel", *words], hash_seed, stdin)


def pytest_run(folder: Path, *words: str, hash_seed: str = "0") -> Ran:
    """Run plain pytest with these words there."""
    return _ran(folder, ["pytest", "-rA", *words], hash_seed, "")


def python(folder: Path, script: str) -> Ran:
    """Run a script there."""
    return _ran(folder, [], "0", "", [sys.executable, script])


def _ran(
    folder: Path, words: list[str], hash_seed: str, stdin: str, whole: list[str] | None = None
) -> Ran:
    done = subprocess.run(
        whole or [sys.executable, "-m", *words],
        cwd=folder,
        env=environment(hash_seed),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return Ran(folder, done.returncode, done.stdout)
