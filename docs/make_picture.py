"""Draws the picture of the terminal report in the README: `python docs/make_picture.py`.

Runs the suite of examples/fleet in a copy of it, a few times so that there is a history to judge,
then once more on a terminal of its own, and writes what that terminal showed to docs/terminal.svg
by rich's SVG export.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 100
SHOWN = ["windtunnel", "run", "examples/fleet", "-n", "4", "--isolation", "env", "--reruns", "2"]


def main() -> int:
    """Run the example and write the picture."""
    parser = argparse.ArgumentParser(description="Draw the terminal report of examples/fleet.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "terminal.svg")
    parser.add_argument("--history", type=int, default=12, help="runs before the one drawn")
    given = parser.parse_args()
    command = [sys.executable, "-m", *SHOWN]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(
            ROOT / "examples",
            Path(folder, "examples"),
            ignore=shutil.ignore_patterns(".windtunnel", ".pytest_cache", "__pycache__"),
        )
        for number in range(given.history):
            print(f"run {number + 1} of {given.history + 1}")
            subprocess.run([*command, "-q"], cwd=folder, check=False, stdout=subprocess.DEVNULL)
        print("the run that is drawn")
        screen = on_terminal([*command, "--flaky-report"], folder)
    given.output.write_text(picture(report_of(screen)), encoding="utf-8")
    print(given.output)
    return 0


def on_terminal(command: list[str], folder: str) -> str:
    """Run a command on a terminal of its own; what it wrote, escape sequences and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    unwanted = ("COLUMNS", "NO_COLOR", "CI", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm-256color"},
    )
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the last writer has gone
            break
        if not piece:
            break
        written += piece
    process.wait()
    os.close(ours)
    return written.decode("utf-8", errors="replace").replace("\r\n", "\n")


def report_of(screen: str) -> str:
    """The part from our summary on, below the command."""
    lines = screen.splitlines()
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    start = next(
        (number for number, line in enumerate(bare) if re.fullmatch(r"=+ windtunnel =+", line)),
        None,
    )
    if start is None:
        raise SystemExit(f"the run printed no summary:\n{screen}")
    shown = " ".join([*SHOWN, "--flaky-report"])
    return "\n".join([f"\x1b[1;32m$\x1b[0m {shown}", "\x1b[2m…\x1b[0m", *lines[start:]])


def picture(ansi: str) -> str:
    """The text as rich draws it, without the web fonts that rich would fetch."""
    text = Text.from_ansi(ansi)
    console = Console(record=True, width=COLUMNS + 2, file=io.StringIO(), force_terminal=True)
    console.print(text, soft_wrap=False)
    svg = console.export_svg(title="windtunnel", unique_id="windtunnel-terminal")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
