"""The shell: takes what was typed, runs it in the session, and says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, TypeVar

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.core.errors import WindtunnelError
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import ExecResult
from windtunnel.sessions.repl.commands import COMMANDS, Command, find
from windtunnel.sessions.repl.entry import names_bound
from windtunnel.sessions.repl.screen import Screen, printable
from windtunnel.sessions.session import EngineSession

T = TypeVar("T")
_SHOWN_AFTER_S = 0.4
_REFRESHED_EVERY_S = 0.1
_LONGEST_VALUE = 20_000


class Shell:
    """One session at a prompt.

    :param session: an open session.
    :param engine: the name of its engine.
    :param functions: the host functions that it was opened with.
    :param screen: where to write and ask.
    """

    def __init__(
        self,
        session: EngineSession,
        *,
        engine: str,
        functions: Sequence[HostFunction],
        screen: Screen,
    ) -> None:
        self.session = session
        self.engine = engine
        self.functions = tuple(functions)
        self.screen = screen
        self.names: set[str] = set()
        self.failures = 0
        self.leaving = False

    async def enter(self, text: str) -> None:
        """Run a line, or several."""
        text = text.strip("\n")
        if not text.strip():
            return
        try:
            if text.lstrip().startswith("."):
                await self._command(text.strip())
            else:
                await self.execute(text)
        except WindtunnelError as error:
            self.fail(str(error))

    async def execute(self, code: str) -> ExecResult | None:
        """Run code in the session and show what came of it; None where it was interrupted."""
        result = await self.during(self.session.run(code), "running")
        if result is not None:
            self.show(result)
            if result.ok:
                self.names |= names_bound(code)
        return result

    def show(self, result: ExecResult) -> None:
        """Write what the code printed, and its value or its error."""
        if result.output:
            self.screen.output(printable(result.output))
            if not result.output.endswith("\n"):
                self.screen.output("\n")
        if not result.ok:
            self.fail(printable(f"{result.error_type}: {result.error}"))
        elif result.value is not None:
            self.screen.say(shown(result.value), "value")

    def fail(self, text: str) -> None:
        """Say that something did not work."""
        self.failures += 1
        self.screen.say(text, "error")

    async def during(self, work: Coroutine[Any, Any, T], label: str) -> T | None:
        """Wait for work, show that it goes on, and end it on Ctrl-C; None where it was ended."""
        task = asyncio.ensure_future(work)
        began = REAL_CLOCK.monotonic()
        with _ends_on_interrupt(task):
            while not task.done():
                await asyncio.wait({task}, timeout=_REFRESHED_EVERY_S)
                spent_s = REAL_CLOCK.monotonic() - began
                if spent_s > _SHOWN_AFTER_S and not task.done():
                    self.screen.progress(f"{label} … {spent_s:.1f} s (Ctrl-C ends it)")
        self.screen.progress("")
        if task.cancelled():
            self.fail(f"interrupted after {REAL_CLOCK.monotonic() - began:.1f} s")
            return None
        return task.result()

    async def _command(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        command = find(word)
        if isinstance(command, Command):
            await command.run(self, rest.strip())
        else:
            close = f"; did you mean {command}?" if command else ""
            self.fail(f"there is no command {word}{close} (.help lists them)")

    @property
    def words(self) -> list[str]:
        """What can be completed: names of the guest, host functions and commands."""
        return sorted(self.names | {f.name for f in self.functions} | set(COMMANDS))


def shown(value: object) -> str:
    """A value on the screen, cut where it is very long."""
    text = printable(repr(value))
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


@contextlib.contextmanager
def _ends_on_interrupt(task: asyncio.Future[Any]) -> Generator[None, None, None]:
    """SIGINT cancels the task, and nothing else."""
    loop = asyncio.get_running_loop()
    try:
        before = signal.getsignal(signal.SIGINT)
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    except (NotImplementedError, RuntimeError, ValueError):  # off the main thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
