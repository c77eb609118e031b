"""Links as plain data: distributions of latency, and refusals of what cannot be meant."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from simnet import connected, network, simulate

from windtunnel.core.errors import UsageError
from windtunnel.sim import World
from windtunnel.sim.net.links import (
    Exponential,
    Fixed,
    Latency,
    LinkConfig,
    Lognormal,
    NetworkConfig,
    Uniform,
)


def _latencies(latency: Latency, count: int = 300, seed: int = 1) -> list[float]:
    """How long messages over such a link take, seconds."""

    async def body(world: World) -> list[float]:
        client, _ = await connected(world)
        for _ in range(count):
            client.transport.write(b".")
            await asyncio.sleep(1)
        return [(s[0] - s[3]) / 1e9 for s in world.net.segments if s[1] == 1]

    found: list[float] = simulate(body, seed=seed, net=network(between=LinkConfig(latency)))[0]
    assert len(found) == count
    return sorted(found)


@pytest.mark.parametrize(
    ("latency", "median", "most"),
    [
        (Fixed(0.02), 0.02, 0.02),
        (Uniform(0.01, 0.03), 0.02, 0.03),
        (Lognormal(0.02, 0.5), 0.02, 0.15),
        (Exponential(0.01, least_s=0.01), 0.01693, 0.1),
    ],
)
def test_latencies_follow_their_distribution(latency: Latency, median: float, most: float) -> None:
    found = _latencies(latency)
    assert found[150] == pytest.approx(median, rel=0.15)
    assert found[-1] <= most
    assert found == _latencies(latency)
    assert (found == _latencies(latency, seed=2)) == isinstance(latency, Fixed)


def test_the_way_back_may_differ() -> None:
    async def body(world: World) -> tuple[float, float]:
        world.slow("a", "b", latency_s=0.5, symmetric=False)
        client, server = await connected(world)
        client.transport.write(b"there")
        server.transport.write(b"back")
        await asyncio.sleep(1)
        times = {s[4].node.name: (s[0] - s[3]) / 1e9 for s in world.net.segments}
        return times["b"], times["a"]

    assert simulate(body)[0] == (0.001, 0.5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Fixed(-1), "seconds of Fixed"),
        (lambda: Uniform(2, 1), "not below low_s"),
        (lambda: Lognormal(0.1, -1), "sigma of Lognormal"),
        (lambda: Exponential(float("inf")), "mean_s of Exponential"),
        (lambda: LinkConfig(latency=0.1), "write latency=Fixed"),  # type: ignore[arg-type]
        (lambda: LinkConfig(loss=1.5), "loss is a share"),
        (lambda: LinkConfig(fragment=-0.1), "fragment is a share"),
        (lambda: LinkConfig(bandwidth=0), "bandwidth"),
        (lambda: NetworkConfig(receive_buffer=0), "receive_buffer"),
        (lambda: NetworkConfig(user_timeout_s=0), "user_timeout_s"),
        (lambda: NetworkConfig(between=0.1), "between is a LinkConfig"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()
