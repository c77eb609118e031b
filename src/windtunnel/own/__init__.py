"""Who owns what: scopes, leases, and the reaper that clears what dead owners left.

Whatever is started or taken (task, thread, child process, port, file, mount, server, database)
belongs to a :class:`Scope` and is gone when the scope ends. What could outlive a killed process
is written to an inventory before it is used; :func:`reap` clears the inventories of the dead.
What is claimed against others (a port, a database, a slot of a named resource) is a lease, held
through something the kernel takes back when the holder dies: a file lock or a bound socket.

>>> from windtunnel.own import Scope
>>> with Scope("example") as scope:
...     sleeper = scope.child(["sleep", "60"])
...     sleeper.running
True
>>> sleeper.running
False
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.own.children import Child, MissingBinaryError
    from windtunnel.own.identity import ProcessIdentity
    from windtunnel.own.inventory import Inventory
    from windtunnel.own.named import NamedLease
    from windtunnel.own.once import shared
    from windtunnel.own.port import PortLease
    from windtunnel.own.postgres import PostgresServer, PostgresTemplate
    from windtunnel.own.reaper import Reaped, reap
    from windtunnel.own.redis import RedisServer
    from windtunnel.own.scope import Leak, Scope

_HOMES = {
    "Child": "children",
    "Inventory": "inventory",
    "Leak": "scope",
    "MissingBinaryError": "children",
    "NamedLease": "named",
    "PortLease": "port",
    "PostgresServer": "postgres",
    "PostgresTemplate": "postgres",
    "ProcessIdentity": "identity",
    "Reaped": "reaper",
    "RedisServer": "redis",
    "Scope": "scope",
    "reap": "reaper",
    "shared": "once",
}

__all__ = [
    "Child",
    "Inventory",
    "Leak",
    "MissingBinaryError",
    "NamedLease",
    "PortLease",
    "PostgresServer",
    "PostgresTemplate",
    "ProcessIdentity",
    "Reaped",
    "RedisServer",
    "Scope",
    "reap",
    "shared",
]


def __getattr__(name: str) -> object:
    # The plugin imports `own.leasing` in every run; a run that leases nothing pays for no more.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
