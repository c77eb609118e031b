"""Leases: who may lead, for how long, under which fencing token.

Tokens only grow. A worker that has seen a token refuses work under a smaller one, so a leader
that lost its lease without noticing does no harm.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A claim on ``name`` by ``holder``, under a fencing token."""

    name: str
    holder: str
    token: int


class StoreUnreachableError(Exception):
    """The store did not answer: nobody knows whether it did what it was asked to do."""


class LeaseStore(Protocol):
    """Where leases are kept. Every call may raise :class:`StoreUnreachableError`."""

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """The lease for ``ttl`` seconds, or None while somebody else holds it."""
        ...

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Hold it for ``ttl`` seconds from now; False if it is no longer ours."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give it back, if it is still ours."""
        ...


class MemoryLeaseStore:
    """Leases of one process, for a fleet that runs in one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, tuple[Lease, float]] = {}
        self._tokens = 0

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        if self._current(name) is not None:
            return None
        self._tokens += 1
        lease = Lease(name, holder, self._tokens)
        self._held[name] = (lease, self._clock() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        if self._current(lease.name) != lease:
            return False
        self._held[lease.name] = (lease, self._clock() + ttl)
        return True

    async def release(self, lease: Lease) -> None:
        if self._current(lease.name) == lease:
            del self._held[lease.name]

    def _current(self, name: str) -> Lease | None:
        lease, until = self._held.get(name, (None, 0.0))
        return lease if self._clock() < until else None


class RedisLeaseStore:
    """Leases in Redis, for coordinators on different machines."""

    # Compare and act in one script: between a GET and a DEL the lease could change hands.
    _RENEW = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('pexpire',KEYS[1],ARGV[2])"
    _RELEASE = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('del',KEYS[1])"

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        with self._reaching():
            token = int(await self._redis.incr(f"{name}:tokens"))
            lease = Lease(name, holder, token)
            value, milliseconds = self._value(lease), int(ttl * 1000)
            taken = await self._redis.set(f"{name}:lease", value, nx=True, px=milliseconds)
        return lease if taken else None

    async def renew(self, lease: Lease, ttl: float) -> bool:
        return bool(await self._call(self._RENEW, lease, int(ttl * 1000)))

    async def release(self, lease: Lease) -> None:
        await self._call(self._RELEASE, lease)

    async def _call(self, script: str, lease: Lease, *arguments: int) -> object:
        key, value = f"{lease.name}:lease", self._value(lease)
        with self._reaching():
            return await self._redis.eval(script, 1, key, value, *map(str, arguments))

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        from redis.exceptions import ConnectionError, TimeoutError

        try:
            yield
        except (ConnectionError, TimeoutError) as error:
            raise StoreUnreachableError(str(error)) from error

    @staticmethod
    def _value(lease: Lease) -> str:
        return f"{lease.holder}/{lease.token}"
