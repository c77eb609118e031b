"""The fixtures of this room: ``leases``, ``port_lease``, ``redis_lease``, ``postgres_lease``.

Their bodies stand here; the plugin has a few lines for each that import this module when the
fixture is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from windtunnel.own.facilities import Lease
from windtunnel.own.leasing import WATCHER
from windtunnel.own.lending import Leasing
from windtunnel.own.named import NamedLease, parse_capacities
from windtunnel.own.port import PortLease
from windtunnel.own.postgres import PostgresLease
from windtunnel.own.redis import RedisLease
from windtunnel.own.scope import Scope

__all__ = ["Leases", "PortLease", "PostgresLease", "RedisLease"]

T = TypeVar("T")


class Leases:
    """What the fixture ``leases`` is: leases for fixtures and tests of any scope.

    What is taken belongs to the fixture, or the test, that takes it, and ends with it.
    """

    def __init__(self, leasing: Leasing) -> None:
        self._leasing = leasing

    def port(self, host: str = "127.0.0.1") -> PortLease:
        """A TCP port, bound: see :class:`windtunnel.own.PortLease`."""
        return self._leasing.scope().port(host)

    def redis(self) -> RedisLease:
        """The worker's Redis database. It is emptied before each test, whoever filled it."""
        lease = self._leasing.current.get("redis") or self._leasing.begin("redis", asked=True)
        assert isinstance(lease, RedisLease)
        return lease

    def postgres(self) -> PostgresLease:
        """A PostgreSQL database cloned from the template, besides the test's own."""
        return self._leasing.extra_database()

    def named(self, name: str, amount: int = 1) -> NamedLease:
        """Slots of a named resource. In a test the marker is better: it takes several
        resources in an order that cannot deadlock."""
        settings = self._leasing.state.settings
        return self._leasing.scope().add(
            NamedLease(
                {name: amount},
                parse_capacities(settings.capacities),
                within=settings.lease_timeout or float("inf"),
            )
        )

    def slots(self, name: str) -> tuple[int, ...]:
        """Which slots of a resource the running test holds by its marker, from 0."""
        named = self._leasing.named
        return named.slots.get(name, ()) if named is not None else ()

    def once(
        self,
        name: str,
        make: Callable[[Scope], T],
        destroy: Callable[[T], object] | None = None,
    ) -> T:
        """The value that the first worker to ask makes for all workers of this run.

        See :class:`windtunnel.own.once.Shared` for ``make`` and ``destroy``. This process uses
        it until it ends; the last process to end takes it down.
        """
        return self._leasing.share(name, make, destroy)

    def scope(self) -> Scope:
        """The scope of the fixture or test that asks; it is closed when that is done."""
        return self._leasing.scope()


# -- fixtures, as the plugin offers them ------------------------------------------------------


def leasing_of(config: pytest.Config) -> Leasing:
    """This process's leasing, attached now if nothing has needed it yet."""
    return config.stash[WATCHER].leasing()


def leases(request: pytest.FixtureRequest) -> Leases:
    """Body of the fixture ``leases``."""
    return Leases(leasing_of(request.config))


def port_lease(request: pytest.FixtureRequest) -> PortLease:
    """Body of the fixture ``port_lease``."""
    return leasing_of(request.config).scope().port()


def redis_lease(request: pytest.FixtureRequest) -> RedisLease:
    """Body of the fixture ``redis_lease``: what the test was lent."""
    lease = _lent(request.config, "redis")
    assert isinstance(lease, RedisLease)
    return lease


def postgres_lease(request: pytest.FixtureRequest) -> PostgresLease:
    """Body of the fixture ``postgres_lease``: what the test was lent."""
    lease = _lent(request.config, "postgres")
    assert isinstance(lease, PostgresLease)
    return lease


def _lent(config: pytest.Config, name: str) -> Lease | None:
    leasing = leasing_of(config)
    # Not lent yet where it is asked for in the midst of a test, by `getfixturevalue`.
    return leasing.current.get(name) or leasing.begin(name, asked=True)
