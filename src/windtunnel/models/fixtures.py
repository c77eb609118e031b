"""The fixture ``model_server``: a server of all dialects for one test.

A synchronous test's server stands in the house's thread, an asynchronous test's in the loop that
runs the test, a simulated test's in the simulated world. It is open in process, the environment
points official clients at it, and a call that no script fits fails the test.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import platform
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any

import pytest

from windtunnel.core.seed import run_seed
from windtunnel.models.listening import Listener, Lookout, bound, kept, listening_again
from windtunnel.models.pace import Pace
from windtunnel.models.script import Script
from windtunnel.models.server import ModelServer
from windtunnel.models.thread import HOUSE

_PLUGIN = "windtunnel-models"
_STAYS = pytest.StashKey[bool]()
SERVER = pytest.StashKey["FixtureServer"]()
SIMULATED_PORT = 28_080
"""Where the server of a simulated test listens in its world: below the ports that are given out."""


class FixtureServer(ModelServer):
    """A :class:`ModelServer` that follows its test into the test's event loop."""

    def __init__(self, seed: Any) -> None:
        super().__init__(seed=seed)
        self._follows = False  # an asynchronous test
        self._lookout: Lookout | None = None
        self._sock: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inner: Listener | None = None  # in that loop
        self._said: tuple[tuple[Script, ...], Pace | None] | None = None

    def take_port(self, *, simulated: bool) -> None:
        """Have an address, and somebody who looks after it until the test's loop does.

        :param simulated: whether it is one of the simulated network's, where the port is free, and
            the same in every process: what a world does must not depend on the machine's.
        """
        self._follows = True
        if simulated:
            self._port = SIMULATED_PORT
            return
        self._sock = bound(self.host, 0)
        self._port = self._sock.getsockname()[1]
        self._lookout = Lookout(self.core, self._sock, HOUSE.enter())
        HOUSE.post(self._lookout.begin)

    def leave_port(self) -> None:
        """Give the address up."""
        if self._lookout is not None:
            # Waited for: in the test that comes next a descriptor would go that this one had.
            HOUSE.call(self._lookout.close)
            HOUSE.leave()
            self._sock.close()
            self._lookout = None

    def refuse_connections(self) -> None:
        """Let nobody connect for a while, and hang up on those who have."""
        if not self._follows:
            super().refuse_connections()
        elif not self.core.refused:
            self.core.refused = True
            inner, self._inner = self._inner, None
            if inner is not None:
                _in_loop(inner.loop, inner.close)
            if self._lookout is not None:
                HOUSE.call(self._lookout.close)
                self._sock.close()
                self._kept_port = kept(self.host, self.port)

    def accept_connections(self) -> None:
        """Let clients connect again, at the same address."""
        if not self._follows:
            super().accept_connections()
        elif self.core.refused:
            self.core.refused = False
            loop = self._loop
            if self._lookout is not None:
                self._sock = listening_again(self._kept_port, self.host, self.port)
                self._kept_port = None
                self._lookout = Lookout(self.core, self._sock, HOUSE.enter())
                HOUSE.leave()
                HOUSE.post(self._lookout.begin)
            if loop is not None:
                _in_loop(loop, self._stand, loop)

    def _stand(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._sock is None or _simulated(loop):
            sock = bound(self.host, self.port)
        else:
            sock = self._sock.dup()
        self._inner = Listener(self.core, sock, loop)
        self._inner.begin()

    async def during(self, body: Awaitable[Any]) -> Any:
        """Stand in the running loop while a test's body runs."""
        loop = asyncio.get_running_loop()
        simulated = _simulated(loop)
        if simulated:
            self._begin_seed()
        self._loop = loop
        if not self.core.refused:
            self._stand(loop)
        try:
            result = await body
        finally:
            inner, self._inner, self._loop = self._inner, None, None
            if inner is not None:
                inner.close()
        if simulated:
            self.judge()  # each seed by itself
        return result

    def _begin_seed(self) -> None:
        """Every seed of a simulated test begins with what the test's fixtures had said."""
        if self._said is None:
            self._said = tuple(self.core.scripts), self.core.pace
            return
        self.core.reset()
        scripts, self.core.pace = self._said
        for script in scripts:
            script.rewind()
            self.core.scripts.add(script)

    def judge(self) -> None:
        """Raise what a function that answers raised, and fail where no script fitted a call."""
        for defect in self.core.defects:
            raise defect
        complaints = _complaints(self)
        if complaints:
            pytest.fail("\n".join(f"model_server: {why}" for why in complaints), pytrace=False)


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> None:
    """Have something done in a loop: at once where that is the running one, else soon."""
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        call(*arguments)
    else:
        loop.call_soon_threadsafe(call, *arguments)


def _simulated(loop: asyncio.AbstractEventLoop) -> bool:
    return type(loop).__module__.startswith("windtunnel.sim")


def model_server(request: pytest.FixtureRequest) -> Iterator[FixtureServer]:
    """Body of the fixture ``model_server``."""
    config = request.config
    _prepare(config)
    item: Any = request.node
    server = FixtureServer(run_seed().child(item.nodeid))
    body: Any = getattr(item, "obj", None)
    asynchronous = inspect.iscoroutinefunction(body)
    simulated = item.get_closest_marker("simulated") is not None
    if asynchronous:
        server.take_port(simulated=simulated)
        item.obj = _within(body, server)
    else:
        server.start()
    # In a simulated test the server's own address is one of the simulated network's.
    server.open_in_process(loopback=not simulated)
    if simulated:
        # Official clients name the platform in their headers; asked for the first time in the
        # simulated world it would start a process there (`uname`). The answer is kept.
        platform.platform()
        platform.processor()
    before = _set_environment(server.environment())
    item.stash[SERVER] = server
    try:
        yield server
    finally:
        _restore_environment(before)
        if asynchronous:
            item.obj = body  # of the next seed or attempt, which has a server of its own
        server.close_in_process()
        server.leave_port()
        server.stop()
        del item.stash[SERVER]


def _within(body: Callable[..., Any], server: FixtureServer) -> Callable[..., Any]:
    @functools.wraps(body)
    async def run(*args: Any, **kwargs: Any) -> Any:
        return await server.during(body(*args, **kwargs))

    return run


def _prepare(config: pytest.Config) -> None:
    """Once a session: the hook that fails tests, and the house's thread, which then stays."""
    if not config.pluginmanager.has_plugin(_PLUGIN):
        config.pluginmanager.register(_Judge(), _PLUGIN)
        HOUSE.enter()
        config.add_cleanup(HOUSE.leave)


class _Judge:
    """Fails a test whose calls no script fits, at its end and not in the teardown."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        server = pyfuncitem.stash.get(SERVER, None)
        if server is None:
            return (yield)
        try:
            result = yield
        except Exception as error:
            for why in _complaints(server):
                error.add_note(f"model_server: {why}")
            raise
        server.judge()
        return result


def _complaints(server: ModelServer) -> list[str]:
    unmatched = server.core.unmatched
    more = [f"and {unmatched.dropped} more calls"] if unmatched.dropped else []
    return [one.why for one in unmatched] + more


# -- environment -----------------------------------------------------------------------------------

_NO_PROXY = ("NO_PROXY", "no_proxy")


def _set_environment(wanted: dict[str, str]) -> dict[str, str | None]:
    changed = dict(wanted)
    if any(name.lower().endswith("_proxy") for name in os.environ):
        for name in _NO_PROXY:
            known = os.environ.get(name, "")
            changed[name] = ",".join(part for part in (known, "127.0.0.1,localhost") if part)
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    return before


def _restore_environment(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


__all__ = ["SERVER", "FixtureServer", "model_server"]
