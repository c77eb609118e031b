"""An environment with all the neighbours in it, of which a test turns on those it names."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections import Counter
from pathlib import Path

from windtunnel.record import OutcomeRow, open_record

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
PYTHON = ROOT / ".venv-coexist" / "bin" / "python"


@dataclasses.dataclass
class Project:
    """A folder with a suite, run by pytest with windtunnel and the neighbours that are named."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def pytest(self, *arguments: str, beside: str = "", code: int = 0) -> str:
        """Plain pytest; returns what it printed."""
        return self._run(["-m", "pytest", "-p", "windtunnel", *arguments], beside, code)

    def windtunnel(self, *arguments: str, beside: str = "", code: int = 0) -> str:
        """`windtunnel run` with two workers, unless the arguments say otherwise."""
        workers = () if "-n" in arguments else ("-n", "2")
        return self._run(["-m", "windtunnel", "run", *workers, *arguments], beside, code)

    def recorded(self) -> list[OutcomeRow]:
        """All outcomes of the newest run, in the order in which each worker ran them."""
        with open_record(self.folder / ".windtunnel" / "record.db") as record:
            rows = record.outcomes(record.runs(limit=1)[0].number)
        return sorted(rows, key=lambda row: (row.worker, row.order, row.attempt))

    def counts(self) -> dict[str, int]:
        """How many tests of the newest run ended how."""
        return dict(Counter(str(row.outcome) for row in self.recorded() if row.final))

    def _run(self, command: list[str], beside: str, code: int) -> str:
        loaded = [word for name in beside.split() for word in ("-p", name)]
        # Under CI Hypothesis keeps no examples, and isolation that cannot be had is an error.
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_", "CI"))
        }
        if beside != "everybody":
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        else:
            loaded = []
        done = subprocess.run(
            [str(PYTHON), *command, "-p", "no:cacheprovider", *loaded],
            cwd=self.folder,
            env=environment | {"COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}"
        return done.stdout
