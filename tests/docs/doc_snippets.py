"""Reads the fenced blocks of a Markdown page and runs them, in order, in one folder.

The format is told to authors at the top of docs/README.md. Nothing here knows pytest.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600

_FENCE = re.compile(r"^ {0,3}(`{3,})\s*([\w+-]*)\s*$")
_DIRECTIVE = re.compile(r"^<!--\s*snippet:\s*(.+?)\s*-->\s*$")
_FILE = re.compile(r"^# ([\w./-]+\.(?:py|toml|ini|cfg|ya?ml|txt|json))\s*$")


class SnippetError(AssertionError):
    """A block did not do what its page says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it stands, its language, its text and what was said above it."""

    page: Path
    line: int
    language: str
    text: str
    directive: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The path that the block's first line names, if the block is a file's content."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match.group(1) if match else ""

    @property
    def exit_code(self) -> int:
        match = re.fullmatch(r"exit (\d+)(?:, output varies)?", self.directive)
        return int(match.group(1)) if match else 0

    @property
    def compares_output(self) -> bool:
        return not self.directive.endswith("output varies")


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks, in order."""
    directive, fence, language, start, text = "", "", "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if fence:
            if match and match.group(1).startswith(fence) and not match.group(2):
                yield Block(page, start, language, "\n".join(text) + "\n", directive)
                fence, directive = "", ""
            else:
                text.append(line)
        elif match:
            fence, language, start, text = match.group(1), match.group(2), number, []
        elif told := _DIRECTIVE.match(line):
            directive = told.group(1)
        elif line.strip():
            directive = ""
    if fence:
        raise SnippetError(f"{page}:{start}: the block is never closed")


def run_page(page: Path, folder: Path) -> int:
    """Run the page's blocks in ``folder``; returns how many did something.

    :raises SnippetError: naming the page and line of the block that went wrong.
    """
    folder.mkdir(exist_ok=True)
    todo = list(blocks(page))
    if any("examples" in block.text for block in todo if not block.directive.startswith("skip ")):
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=_LITTER)
    done, before = 0, ""
    for block in todo:
        _check_directive(block)
        if block.directive.startswith("skip "):
            continue
        if block.file:
            target = folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            before = f"{before}\n{block.text}" if block.directive == "continues" else block.text
            _run_python(block, before, folder)
        elif block.language == "console":
            _run_console(block, folder)
        elif block.language == "sh":
            _run(block, ["sh", "-e", "-c", block.text], folder)
        elif block.language == "toml":
            _check_toml(block)
        else:
            continue
        done += 1
    return done


_LITTER = shutil.ignore_patterns(".windtunnel", "__pycache__", ".pytest_cache", "*.egg-info")


def _check_directive(block: Block) -> None:
    if not re.fullmatch(
        r"|skip \S.*|continues|output varies|exit \d+(, output varies)?", block.directive
    ):
        raise SnippetError(f"{block.where}: unknown directive {block.directive!r}")


def _run_python(block: Block, source: str, folder: Path) -> None:
    if re.search(r"^>>> ", source, re.MULTILINE):
        script = folder / ".snippet.txt"
        command = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", script.name]
    else:
        script = folder / ".snippet.py"
        command = [sys.executable, script.name]
    script.write_text(source, encoding="utf-8")
    _run(block, command, folder)


def _run_console(block: Block, folder: Path) -> None:
    for command, expected in _session(block):
        output = _run(block, ["sh", "-c", command], folder)
        if expected and block.compares_output and not matches(expected, output):
            raise SnippetError(
                f"{block.where}: `{command}` printed\n{output}\nbut the page shows\n"
                + "\n".join(expected)
            )


def _session(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The block's commands, each with the output lines shown below it."""
    command, expected = "", list[str]()
    for line in block.text.splitlines():
        if command.endswith("\\") and not expected:
            command = f"{command[:-1]}{line.removeprefix('> ').lstrip()}"
        elif line.startswith("$ "):
            if command:
                yield command, expected
            command, expected = line[2:], []
        elif not command:
            raise SnippetError(f"{block.where}: a console block begins with a `$ ` line")
        elif line.strip():
            expected.append(line)
    if command:
        yield command, expected


def matches(expected: list[str], output: str) -> bool:
    """Whether the shown lines occur in the output in that order.

    ``...`` stands for any text within a line; blanks at the ends and in runs do not count, nor
    do lines of the output that the page leaves out.
    """
    seen = iter([" ".join(line.split()) for line in output.splitlines()])
    for line in expected:
        parts = " ".join(line.split()).split("...")
        pattern = re.compile(".*".join(map(re.escape, parts)))
        if not any(pattern.fullmatch(found) for found in seen):
            return False
    return True


def _check_toml(block: Block) -> None:
    import tomllib

    from windtunnel.core import Settings

    document = tomllib.loads(block.text)
    Settings.resolve({}, {}, document.get("tool", {}).get("windtunnel", {}))


def _run(block: Block, command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SnippetError(f"{block.where}: still ran after {TIMEOUT_S} s: {command}") from error
    if done.returncode != block.exit_code:
        raise SnippetError(
            f"{block.where}: exit code {done.returncode}, not {block.exit_code}, of\n"
            f"{block.text}\nIt printed:\n{done.stdout}"
        )
    return done.stdout


def environment() -> dict[str, str]:
    """The environment a reader has: this interpreter first on PATH, nothing of this test run."""
    dropped = ("PYTEST", "COV_", "COVERAGE", "GITHUB_", "WINDTUNNEL", "FORCE_COLOR")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped) and k != "CI"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
