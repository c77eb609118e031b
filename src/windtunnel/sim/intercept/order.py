"""The order of sets of connections, queues, events: by when they were first hashed.

An object without a hash of its own is hashed by its address, so a set of such objects is walked
in an order that differs from run to run. Tasks and futures of the simulated loop do not
(`windtunnel.sim.task`); here the same is done for the objects that servers are known to keep in
sets: asyncio's protocols (so those of websockets, aiohttp and uvicorn), its streams, queues and
locks, anyio's cancel scopes, and web frameworks' websockets. Sets of other objects that are
ordered by address are found by running a seed twice.

The hash is given for good when it is first asked for: outside of a world it is the address, so an
object that is in a set already when a world begins is found there.
"""

from __future__ import annotations

import sys
import weakref
from threading import get_ident
from typing import Any

from windtunnel.sim import inside

_NAMES = {
    "asyncio.protocols": ("BaseProtocol",),
    "asyncio.transports": ("BaseTransport",),
    "asyncio.base_events": ("Server",),
    "asyncio.streams": ("StreamReader", "StreamWriter"),
    "asyncio.queues": ("Queue",),
    "asyncio.locks": ("Lock", "Event", "Condition", "Semaphore", "Barrier"),
    "asyncio.timeouts": ("Timeout",),
    "asyncio.taskgroups": ("TaskGroup",),
    "anyio._backends._asyncio": ("CancelScope", "TaskGroup"),
    "aiohttp.web_response": ("StreamResponse",),
    "aiohttp.client": ("ClientSession",),
    "aiomysql.connection": ("Connection",),
    "redis.asyncio.connection": ("AbstractConnection", "Connection"),
    "starlette.requests": ("HTTPConnection",),
}
_done: set[str] = set()
_slotted: dict[int, tuple[object, int]] = {}


def put() -> None:
    """Give the known classes that are there a hash of their own."""
    for module, names in _NAMES.items():
        if module not in _done and module in sys.modules:
            _done.add(module)
            for name in names:
                cls = getattr(sys.modules[module], name, None)
                if isinstance(cls, type):
                    cls.__hash__ = _hash  # type: ignore[assignment,method-assign]


def _hash(self: Any) -> int:
    try:
        return self._windtunnel_hash  # type: ignore[no-any-return]
    except AttributeError:
        pass
    known = _slotted.get(id(self))
    if known is not None:
        return known[1]
    address = object.__hash__(self)
    world = inside.world
    serial = address
    if world is not None and inside.thread == get_ident():
        serial = world.loop.next_serial()
    try:
        object.__setattr__(self, "_windtunnel_hash", serial)
    except AttributeError:  # slots, and none for us
        return _keep_beside(self, serial, address)
    return serial


def _keep_beside(thing: Any, serial: int, address: int) -> int:
    """Keep a hash beside an object that has no room for it, as long as it lives."""
    number = id(thing)
    try:
        gone = weakref.ref(thing, lambda _: _slotted.pop(number, None))
    except TypeError:
        return address
    _slotted[number] = (gone, serial)
    return serial
