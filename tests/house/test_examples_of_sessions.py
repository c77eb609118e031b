"""The examples that users copy: they pass, and there are as many as their page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "sessions"


def test_every_example_of_sessions_passes_in_a_folder_of_its_own(tmp_path: Path) -> None:
    copied = shutil.copytree(EXAMPLES, tmp_path / "copied")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"],
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    passed = {
        tuple(name.split("::"))
        for name in re.findall(r"^(\S+?)(?:\[.*\])? PASSED", done.stdout, re.MULTILINE)
    }
    counted = Counter(file for file, _ in passed)
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    promised = re.findall(r"\]\((test_\w+\.py)\).*\| (\d+) \|", page)
    assert {file: int(number) for file, number in promised} == dict(counted)
    assert sum(counted.values()) >= 44
