"""This process's servers: started when first needed, kept for its life, one set a process.

A facility is Redis or PostgreSQL as a test sees it. The servers belong to the process that runs
the tests, the worker: a test isolated in a forked child of it uses the worker's, a forked worker
never its controller's, which runs no tests and so has none.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from windtunnel.core import Settings, WindtunnelError
from windtunnel.own.scope import Scope

if TYPE_CHECKING:
    from windtunnel.own.postgres import PostgresLease, PostgresServer
    from windtunnel.own.redis import RedisLease, RedisServer, RedisShare

NAMES = ("redis", "postgres")


class Lease(Protocol):
    """What a test is given of a facility."""

    @property
    def environment(self) -> dict[str, str]: ...


class Facility(Protocol):
    """Redis or PostgreSQL for the tests of one process."""

    def lend(self) -> Lease:
        """What the next test is given."""
        ...

    def begin(self, lease: Lease) -> None:
        """An attempt at the test begins: make what it was given as new."""
        ...

    def take_back(self, lease: Lease) -> None:
        """The test is over."""
        ...


class Redis:
    """One database, the same for every test of the process, emptied before each attempt."""

    def __init__(self, scope: Scope, settings: Settings) -> None:
        from windtunnel.own.redis import RedisServer, RedisShare

        self._server: RedisServer | RedisShare = (
            RedisShare(scope, settings.redis_url, settings.redis_by)
            if settings.redis_url
            else RedisServer(scope)
        )

    def lend(self) -> RedisLease:
        return self._server.lease

    def begin(self, lease: Lease) -> None:
        self._server.clean()

    def take_back(self, lease: Lease) -> None:
        pass


class Postgres:
    """A database of its own for each test."""

    def __init__(self, scope: Scope, settings: Settings, root: Path) -> None:
        from windtunnel.own.postgres import PostgresServer, template_from

        self._server: PostgresServer = PostgresServer(
            scope, template=template_from(settings.postgres_template, root)
        )
        # Shared with forked children: whether an attempt, in whichever process, has used it.
        self._used = mmap.mmap(-1, 1)

    def lend(self) -> PostgresLease:
        self._used[0] = 0
        return self._server.clean()

    def begin(self, lease: Lease) -> None:
        from windtunnel.own.postgres import PostgresLease

        if self._used[0] and isinstance(lease, PostgresLease):
            self._server.again(lease)
        self._used[0] = 1

    def take_back(self, lease: Lease) -> None:
        from windtunnel.own.postgres import PostgresLease

        if isinstance(lease, PostgresLease):
            self._server.finish(lease)

    def extra(self) -> PostgresLease:
        """Another database, besides the test's."""
        return self._server.clean()


class Facilities:
    """The facilities of this process. One that could not be started is not tried again."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self._settings = settings
        self._root = root
        self._scope = Scope("the worker's servers", house=True)
        self._started: dict[str, Facility] = {}
        self._problems: dict[str, WindtunnelError] = {}

    def get(self, name: str) -> Facility:
        """The facility of that name, started.

        :raises WindtunnelError: what kept it from starting, also the second time.
        """
        if name in self._problems:
            raise self._problems[name]
        if name not in self._started:
            try:
                self._started[name] = (
                    Redis(self._scope, self._settings)
                    if name == "redis"
                    else Postgres(self._scope, self._settings, self._root)
                )
            except WindtunnelError as error:
                self._problems[name] = error
                raise
        return self._started[name]

    def close(self) -> None:
        """End the servers."""
        self._scope.close()
