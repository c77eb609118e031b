"""All lease stores keep the same contract; Redis is a server of this worker's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from fleet import (
    HttpLeaseStore,
    Keeper,
    LeaseStore,
    MemoryLeaseStore,
    RedisLeaseStore,
    Server,
    StoreUnreachableError,
)


@pytest.fixture(params=["memory", "keeper", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LeaseStore]:
    if request.param == "memory":
        yield MemoryLeaseStore()
        return
    if request.param == "keeper":
        async with Server(Keeper().routes) as keeper, httpx.AsyncClient() as http:
            yield HttpLeaseStore(http, keeper.url)
        return
    from redis.asyncio import Redis

    client = Redis.from_url(request.getfixturevalue("redis_lease").url)
    yield RedisLeaseStore(client)
    await client.aclose()


async def test_one_holder_at_a_time(store: LeaseStore):
    assert await store.acquire("leader", "ann", 10) is not None
    assert await store.acquire("leader", "bob", 10) is None


async def test_a_lease_given_back_can_be_had_under_a_larger_token(store: LeaseStore):
    first = await store.acquire("leader", "ann", 10)
    assert first is not None
    await store.release(first)
    second = await store.acquire("leader", "bob", 10)
    assert second is not None
    assert second.token > first.token


async def test_a_lease_that_was_not_renewed_expires(store: LeaseStore):
    lost = await store.acquire("leader", "ann", 0.05)
    assert lost is not None
    async with asyncio.timeout(10):
        while (new := await store.acquire("leader", "bob", 10)) is None:
            await asyncio.sleep(0.01)
    assert new.holder == "bob"
    assert not await store.renew(lost, 10)


async def test_a_lost_lease_gives_nothing_back(store: LeaseStore):
    first = await store.acquire("leader", "ann", 10)
    assert first is not None
    await store.release(first)
    await store.acquire("leader", "bob", 10)
    await store.release(first)
    assert await store.acquire("leader", "cy", 10) is None


async def test_renewing_keeps_the_others_out_past_the_first_term():
    now = 0.0
    store = MemoryLeaseStore(clock=lambda: now)
    lease = await store.acquire("leader", "ann", 3)
    assert lease is not None
    now = 2.0
    assert await store.renew(lease, 3)
    now = 4.0
    assert await store.acquire("leader", "bob", 3) is None
    now = 5.0
    assert await store.acquire("leader", "bob", 3) is not None


async def test_a_keeper_that_does_not_answer_is_said_to_be_unreachable():
    async with Server({}) as gone:
        url = gone.url
    async with httpx.AsyncClient() as http:
        with pytest.raises(StoreUnreachableError, match="ConnectError"):
            await HttpLeaseStore(http, url).acquire("leader", "ann", 1)
