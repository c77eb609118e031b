"""The ``windtunnel`` command: one module a command group, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys

from windtunnel.core import ExitCode, WindtunnelError

COMMANDS = {
    "run": "run a project's pytest suite in parallel, isolated and recorded",
    "replay": "repeat one failed seed of a simulated test",
    "flaky": "list flaky tests, hunt for their causes, quarantine and release them",
    "bench": "measure, compare, and read the history of measurements",
    "report": "write the page of a recorded run",
    "models": "serve the model APIs by script, and check servers of them",
    "session": "a prompt at which code runs under capabilities",
    "validate": "check an integration of sessions, and put executors to escape attempts",
    "record": "merge, export, import, check and trim the record",
    "doctor": "say what of this machine can be used, and what is missing",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code (:class:`windtunnel.core.ExitCode`)."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(_help())
        return int(ExitCode.OK if arguments else ExitCode.USAGE_ERROR)
    if name == "--version":
        from windtunnel import __version__

        print(f"windtunnel {__version__}")
        return int(ExitCode.OK)
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1)
        print(f"windtunnel: there is no command {name!r}", file=sys.stderr)
        print(
            f"  to fix: {f'did you mean {close[0]}?' if close else 'see windtunnel --help'}",
            file=sys.stderr,
        )
        return int(ExitCode.USAGE_ERROR)
    try:
        return int(importlib.import_module(f"windtunnel.cli.{name}").main(arguments[1:]))
    except WindtunnelError as error:
        print(f"windtunnel: {error}", file=sys.stderr)
        return int(error.exit_code)
    except SystemExit as stop:
        # argparse ends with 2, which pytest and our table give to an interrupted run.
        return int(ExitCode.USAGE_ERROR) if stop.code == 2 else int(stop.code or 0)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader has seen enough (`windtunnel flaky --json | head`); nor can Python flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: windtunnel COMMAND [OPTIONS]",
            "",
            "commands:",
            *lines,
            "",
            "`windtunnel COMMAND --help` explains a command.",
        ]
    )
