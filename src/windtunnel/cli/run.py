"""``windtunnel run``: pytest, in parallel, isolated and recorded.

The options of the house are taken by their plain names; everything else goes to pytest as it is.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from windtunnel.cli import hash_seed
from windtunnel.core.settings import FIELDS, read_pyproject

# Plain names that pytest or a well-known plugin of it has: those keep their meaning.
_LEFT_TO_PYTEST = {"timeout", "html", "workers"}


def main(argv: list[str]) -> int:
    """Run a suite; the exit code is pytest's, or one of ours (see ``docs/run.md``)."""
    options, rest = _parser().parse_known_args(argv)
    if not hash_seed.pinned():
        # So that a token can say under which one a simulated test failed. Where none is to be
        # expected it is drawn, as the interpreter would: one that is always the same hides tests
        # that lean on the order of a set.
        chosen = "0" if _simulates(options) else str(secrets.randbits(32))
        hash_seed.restart_with(chosen, ["run", *argv])
    import pytest

    return int(pytest.main([*plugin_arguments(options), *rest]))


def _simulates(options: argparse.Namespace) -> bool:
    """Whether simulated tests are to be expected before any test is collected."""
    if any((options.seeds, options.all_seeds, options.traces, options.tape)):
        return True  # those are about simulated tests, marked ones too
    if options.world is not None or options.check_determinism:
        return options.world == "simulated" or bool(options.check_determinism)
    return read_pyproject(Path.cwd()).get("world") == "simulated"


def plugin_arguments(options: argparse.Namespace) -> list[str]:
    """The same options under the names that the pytest plugin knows."""
    arguments = ["-p", "windtunnel", f"--wt-workers={options.workers}"]
    for name, field in FIELDS.items():
        value = getattr(options, name, None)
        if name in _LEFT_TO_PYTEST or value is None:
            continue
        flag = f"--wt-{name.replace('_', '-')}"
        arguments.append(flag if isinstance(field.default, bool) else f"{flag}={value}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel run",
        usage="windtunnel run [OPTIONS] [PATH | NODEID ...] [PYTEST OPTIONS]",
        description="Run a project's pytest suite in parallel, isolated and recorded.",
        epilog="All other options are pytest's, and keep their meaning: -k, -x, --lf, -q ...",
        allow_abbrev=False,
    )
    parser.add_argument(
        "-n",
        "--workers",
        dest="workers",
        default="auto",
        metavar="N",
        help="worker processes (default: one a core; 0 runs in this process)",
    )
    for name, field in FIELDS.items():
        if name in _LEFT_TO_PYTEST:
            continue
        flag = f"--{name.replace('_', '-')}"
        help = str(field.metadata["help"]).replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true", default=None, help=help)
        else:
            parser.add_argument(flag, metavar="VALUE", help=help)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
