"""``windtunnel replay``: repeat one failed seed of a simulated test.

The test runs in this process, so that ``--pdb``, debuggers and coverage work as for any test.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from windtunnel.cli import hash_seed
from windtunnel.core import UsageError
from windtunnel.explore import TapeFile


def main(argv: list[str]) -> int:
    """Repeat it; the exit code is 1 when it fails again, 17 (not reproduced) when it passes."""
    options, rest = _parser().parse_known_args(argv)
    given = options.token_or_file
    if os.path.exists(given):
        given = os.path.abspath(given)
    token = TapeFile.read(given).token
    if token.hash_seed:
        hash_seed.restart_with(token.hash_seed, ["replay", *argv])
    root = _root(token.nodeid)
    import pytest

    arguments = ["-p", "windtunnel", "--wt-workers=0", f"--wt-replay={given}"]
    if options.until:
        arguments.append(f"--wt-until={options.until}")
    return int(
        pytest.main([*arguments, f"--rootdir={root}", f"{root}{os.sep}{token.nodeid}", *rest])
    )


def _root(nodeid: str) -> Path:
    """The project's root: the nearest folder, from here upwards, that has the test's file.

    :raises UsageError: when there is none.
    """
    file = nodeid.partition("::")[0]
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / file).is_file():
            return folder
    raise UsageError(
        f"the test file {file} is not there",
        found=f"looked in {start} and above it",
        fix="replay from within the project whose run printed the token",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel replay",
        usage="windtunnel replay TOKEN_OR_FILE [--until STEP] [PYTEST OPTIONS]",
        description="Repeat one failed seed of a simulated test, step by step as it was.",
        epilog="All other options are pytest's: --pdb stops at the failing step, -s shows output.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "token_or_file",
        metavar="TOKEN_OR_FILE",
        help="what the failing test printed",
    )
    parser.add_argument(
        "--until",
        metavar="STEP",
        type=int,
        default=0,
        help="stop before that step and show who runs and who waits",
    )
    return parser
