"""Where one attempt is carried out: the ground, the executor, and what is noted of both."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import anyio

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.sessions.confinement import measures
from windtunnel.sessions.confinement.functions import TALK, Shelf, constraints, functions
from windtunnel.sessions.confinement.ground import MEMORY_MB, OUTPUT_BYTES, Ground
from windtunnel.sessions.confinement.machinery import Machinery, Ours
from windtunnel.sessions.confinement.model import Canary
from windtunnel.sessions.confinement.terms import Factory, Terms, close_of
from windtunnel.sessions.protocol import Executor, Limits

_WINDOW_S = 0.1
_CALM = 0.05
"""The share of a window that who does nothing may work, and a starved loop does not stay below."""


class Stage:
    """What a play has at hand.

    :ivar ground: everything that must not be reached.
    :ivar language: the executor's, ``"python"`` or ``"starlark"``.
    :ivar machinery: tokens and contexts.
    :ivar code: the attempt's code in the language at hand.
    """

    def __init__(self, factory: Factory, ground: Ground, *, patience_s: float) -> None:
        self.factory = factory
        self.patience_s = patience_s
        self.ground = ground
        self.machinery: Machinery = getattr(factory, "machinery", None) or Ours()
        self.language = "python"
        self.code = ""
        self.timeout_s = 5.0
        self.notes: list[str] = []
        self.shelf = Shelf(self.ground)
        self.terms = Terms(
            functions=tuple(functions(self.ground, self.shelf)),
            limits=Limits(timeout_s=5.0, memory_mb=MEMORY_MB, output_bytes=OUTPUT_BYTES),
        )
        self._executor: Executor | None = None
        self._calm_s: float | None = None

    @property
    def executor(self) -> Executor:
        """The executor, made when first asked for and then kept: an executor runs each piece of
        code from nothing, so what one attempt leaves behind is an escape too."""
        if self._executor is None:
            self._executor = self.factory(self.terms)
        return self._executor

    def begin(self, code: str, timeout_s: float) -> None:
        """Clear the ground for the next attempt."""
        self.ground.begin()
        self.shelf.begin()
        self.code = code
        self.timeout_s = timeout_s
        self.notes = []

    def tokens(self, *types: str, **more: dict[str, Any]) -> list[Any]:
        """Tokens for what is granted: all of it, or these types alone."""
        bounds = constraints(self.ground)
        return [self.machinery.token(type, **bounds.get(type, {})) for type in types or bounds]

    def context(self, *types: str, **how: Any) -> Any:
        """A context with those tokens."""
        return self.machinery.context("attempt", self.tokens(*types), **how)

    async def execute(
        self,
        code: str | None = None,
        *,
        grants: Any = None,
        inputs: Mapping[str, Any] | None = None,
        executor: Executor | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Run code (the attempt's own by default) and look at what came out of it.

        :param grants: tokens or a context; what the ground grants by default.
        :returns: the result, None where the executor raised.
        """
        limit = self.timeout_s if timeout_s is None else timeout_s
        started = REAL_CLOCK.monotonic()
        result = None
        try:
            result = await (executor or self.executor).execute(
                self.code if code is None else code,
                timeout_s=limit,
                grants=self.tokens() if grants is None else grants,
                inputs={**self.ground.inputs(), **(inputs or {})},
            )
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as stop:
            self.ground.saw(Canary.HOST, f"{type(stop).__name__} was raised in the host")
        except (RecursionError, MemoryError) as error:
            self.ground.saw(Canary.HOST, f"{type(error).__name__} was raised in the host")
        except Exception as error:  # an executor of others may raise what it likes: a refusal
            self.notes.append(f"the executor raised {type(error).__name__}: {error}"[:200])
        took = REAL_CLOCK.monotonic() - started
        if took > limit + self.patience_s:
            self.ground.saw(Canary.LATE, f"it took {took:.1f} s; its limit was {limit:g} s")
        if result is not None:
            self.ground.came_out(result)
            self._note(result)
        return result

    def _note(self, result: Any) -> None:
        kind = getattr(result, "error_type", "")
        self.notes.append(f"{kind}: {getattr(result, 'error', '')}"[:200] if kind else "it ran")

    def tried(self) -> None:
        """The attempt on the host's machinery has been made."""
        self.ground.tries += 1

    def vault(self, context: Any = None) -> None:
        """Open the vault if a context allows it: what every forged token is for.

        :param context: whose capability to use; the current one by default.
        """
        self.machinery.use(self.machinery.current() if context is None else context, "vault.open")
        self.ground.saw(Canary.FORBIDDEN, "the vault was opened")

    def refuses(self) -> contextlib.suppress:
        """A block in which the machinery may refuse as it likes."""
        return contextlib.suppress(Exception)

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """The folder of the secret is in the host's import path for the block."""
        sys.path.append(str(self.ground.folder))
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(self.ground.folder))
            sys.modules.pop("secret", None)

    def read(self, context: Any, path: str) -> None:
        """Read a file if a context allows it."""
        self.machinery.use(context, "fs.read", path, operation="read")
        self.ground.opened(path, self.ground.root)

    @contextlib.asynccontextmanager
    async def another(self, extra: Iterable[Any] = ()) -> AsyncIterator[Executor]:
        """A second executor, with host functions besides those of the ground."""
        terms = Terms(functions=(*self.terms.functions, *extra), limits=self.terms.limits)
        executor = self.factory(terms)
        try:
            yield executor
        finally:
            await closed(executor)

    async def settle(self) -> None:
        """Whether what ran is really over: no process with the marker, no thread at work."""
        self.ground.over = True
        deadline = REAL_CLOCK.monotonic() + self.patience_s
        while left := measures.carrying(self.ground.marker):
            if REAL_CLOCK.monotonic() > deadline:
                self.ground.saw(Canary.PROCESS, f"pid {', '.join(map(str, left))}")
                measures.end(left)
                break
            await anyio.sleep(0.01)
        while (used := await self._used_in_a_window()) > await self.calm_s():
            if REAL_CLOCK.monotonic() > deadline:
                share = used / _WINDOW_S
                self.ground.saw(Canary.WORKING, f"{share:.0%} of a processor is still used")
                break

    async def calm_s(self) -> float:
        """What is used in a window when nothing of ours is at work, and some more."""
        if self._calm_s is None:
            self._calm_s = max(_CALM * _WINDOW_S, 2 * await self._used_in_a_window())
        return self._calm_s

    async def _used_in_a_window(self) -> float:
        before = measures.working_s()
        await anyio.sleep(_WINDOW_S)
        return measures.working_s() - before

    async def close(self) -> None:
        """Close the executor."""
        if self._executor is not None:
            await closed(self._executor)
            self._executor = None


async def closed(executor: Any) -> None:
    """Close an executor, where it can be closed."""
    close = close_of(executor)
    done = close() if close else None
    if inspect.isawaitable(done):
        await done


__all__ = ["TALK", "Stage", "closed"]
