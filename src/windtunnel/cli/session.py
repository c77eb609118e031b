"""``windtunnel session``: a prompt at which code runs under capabilities."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.core import REAL_CLOCK, ExitCode, MissingExtraError, UsageError

if TYPE_CHECKING:
    from windtunnel.sessions.hosting import HostFunction
    from windtunnel.sessions.repl.shell import Shell


def main(argv: list[str]) -> int:
    """Run the command."""
    given = _parser().parse_args(argv)
    try:
        return asyncio.run(_session(given))
    except ModuleNotFoundError as error:
        if error.name in ("anyio", "prompt_toolkit", "pygments"):
            raise MissingExtraError("sessions", needed_for="windtunnel session") from None
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel session",
        description="A prompt at which code runs in a session, under capabilities that are"
        " granted there. Lines come from a terminal, a pipe, or -c.",
        allow_abbrev=False,
    )
    parser.add_argument("--engine", default="monty", help="which engine (monty)")
    parser.add_argument(
        "--functions",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module whose host functions the code may call, in place of the usual ones",
    )
    parser.add_argument(
        "--grant",
        metavar="'CAP [PATTERN] [BOUND=N]'",
        action="append",
        default=[],
        help="grant this from the start, without asking",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a run may take (60)")
    parser.add_argument("--memory", type=int, default=256, help="mebibytes it may take (256)")
    parser.add_argument("--history", metavar="FILE", help="file of earlier lines; empty for none")
    parser.add_argument("-c", dest="code", metavar="CODE", help="run this and end")
    return parser


async def _session(given: argparse.Namespace) -> int:
    from windtunnel import sessions
    from windtunnel.sessions.repl.granting import parse_grant
    from windtunnel.sessions.repl.shell import Shell

    functions = _functions(given.functions)
    tokens = [parse_grant(text, REAL_CLOCK.time()) for text in given.grant]
    limits = sessions.Limits(timeout_s=given.timeout, memory_mb=given.memory)
    interactive = given.code is None and sys.stdin.isatty() and sys.stdout.isatty()
    async with sessions.open(
        given.engine, functions=functions, capabilities=tokens, limits=limits
    ) as session:
        if interactive:
            from windtunnel.sessions.repl.terminal import Terminal

            terminal = Terminal(given.engine, lambda: shell.words, _history(given.history))
            shell = Shell(session, engine=given.engine, functions=functions, screen=terminal)
            terminal.say(f"windtunnel session on {given.engine}: {session.isolation}", "dim")
            with contextlib.suppress(NotImplementedError):  # an event loop without signals
                # Ctrl-C ends what runs, or drops the line; it never ends the prompt.
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
            terminal.say(".help lists the commands, Ctrl-D leaves", "dim")
            while not shell.leaving and (text := await terminal.read()) is not None:
                await shell.enter(text)
            return int(ExitCode.OK)
        from windtunnel.sessions.repl.screen import Pipe

        shell = Shell(session, engine=given.engine, functions=functions, screen=Pipe())
        return await _entries(shell, given.code)


async def _entries(shell: Shell, code: str | None) -> int:
    """Run what was given, entry by entry; a failing entry is a failing exit code."""
    from windtunnel.sessions.repl.entry import is_whole

    if code is not None:
        await shell.enter(code)
    else:
        text = ""
        for line in sys.stdin:
            text += line
            # A block goes on while its lines are indented, and to an empty line at a prompt.
            if is_whole(text.rstrip("\n")) and not shell.leaving:
                await shell.enter(text)
                text = ""
        if not shell.leaving:
            await shell.enter(text)
    return int(ExitCode.TESTS_FAILED if shell.failures else ExitCode.OK)


def _functions(modules: list[str]) -> tuple[HostFunction, ...]:
    from windtunnel.sessions.hosting import HostFunction

    if not modules:
        from windtunnel.sessions.repl.functions import FUNCTIONS

        return FUNCTIONS
    sys.path.insert(0, os.getcwd())
    found: list[HostFunction] = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"cannot import --functions {name}", found=str(error)) from None
        here = [each for each in vars(module).values() if isinstance(each, HostFunction)]
        if not here:
            raise UsageError(
                f"the module {name} has no host function", fix="make one with @host_function"
            )
        found += here
    return tuple(found)


def _history(given: str | None) -> Path | None:
    if given is not None:
        return Path(given) if given else None
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "windtunnel" / "session_history"
