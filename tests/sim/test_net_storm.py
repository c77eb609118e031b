"""Streams in a storm of faults: whatever happens, bytes arrive in order, once, or not at all."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from simnet import network, simulate

from windtunnel.sim import World
from windtunnel.sim.net.links import LinkConfig, Lognormal

STORMY = network(
    between=LinkConfig(Lognormal(0.002, 0.8), loss=0.02, fragment=0.2, bandwidth=2e6),
    user_timeout_s=30,
    receive_buffer=20_000,
    send_buffer=20_000,
)


def _bytes(start: int, count: int) -> bytes:
    """A stream in which each place has its own contents, so that a gap or repeat is seen."""
    return b"".join(b"%08d" % (number % 10**8) for number in range(start, start + count))


class Checked(asyncio.Protocol):
    """Sends numbered bytes at its own pace, checks those it gets, and stops reading at times."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._sent = self._got = 0
        self._rest = b""
        self._full = False
        self.transport: Any = None
        self.ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._step()

    def data_received(self, data: bytes) -> None:
        assert data
        assert not self.ended
        data = self._rest + data
        whole = len(data) // 8
        assert data[: whole * 8] == _bytes(self._got, whole)
        self._got += whole
        self._rest = data[whole * 8 :]

    def pause_writing(self) -> None:
        assert not self._full
        self._full = True

    def resume_writing(self) -> None:
        assert self._full
        self._full = False

    def connection_lost(self, exc: BaseException | None) -> None:
        assert not self.ended
        self.ended = True

    def _step(self) -> None:
        if self.ended or self.transport.is_closing():
            return
        rng = self._rng
        if not self._full:
            count = rng.choice((1, 5, 300, 4_000))
            self.transport.write(_bytes(self._sent, count))
            self._sent += count
        if rng.random() < 0.3:
            self.transport.pause_reading()
        elif rng.random() < 0.6:
            self.transport.resume_reading()
        if rng.random() < 0.02:
            rng.choice((self.transport.close, self.transport.abort, self.transport.write_eof))()
        else:
            asyncio.get_running_loop().call_later(rng.expovariate(8), self._step)


async def _fault(world: World, rng: random.Random) -> None:
    """One fault, or its end."""
    a, b = rng.sample("abc", 2)
    match rng.randrange(9):
        case 0:
            world.partition(a, b, symmetric=rng.random() < 0.5)
        case 1 | 2:
            world.heal()
        case 3:
            world.hold(a, b, symmetric=rng.random() < 0.5)
        case 4 | 5:
            world.release()
        case 6:
            world.cut(a, b)
        case 7:
            node = world.nodes[a]
            if node.state == "up":
                node.pause()
            elif node.state == "paused":
                node.resume()
        case 8:
            node = world.nodes[a]
            if node.state in ("up", "paused"):
                node.crash()
                await asyncio.sleep(rng.random() * 5)
            if node.state == "crashed":
                node.restart()


def _storm(seed: int) -> tuple[int, int]:
    """Connections made and bytes delivered in a storm of forty faults."""
    rng = random.Random(seed)
    told: list[Any] = []
    made: list[Checked] = []

    async def body(world: World) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))

        def checked() -> Checked:
            made.append(Checked(world, random.Random(rng.random())))
            return made[-1]

        async def program(others: str) -> None:
            await loop.create_server(checked, None, 7000)
            while True:
                try:
                    async with asyncio.timeout(20):
                        await loop.create_connection(checked, rng.choice(others), 7000)
                except (OSError, TimeoutError):
                    pass
                await asyncio.sleep(rng.random())

        for name in "abc":
            world.nodes[name].boot(program, "abc".replace(name, ""))
        for _ in range(40):
            await asyncio.sleep(rng.expovariate(1))
            await _fault(world, rng)
        for name in "abc":
            world.nodes[name].resume()

    _, world = simulate(body, seed=seed, net=STORMY)
    assert told == []
    assert world.failures == []
    return len(made), sum(protocol._got for protocol in made)


@pytest.mark.parametrize("seed", range(3))
def test_bytes_stay_in_order_whatever_happens(seed: int) -> None:
    connections, numbers = _storm(seed)
    assert connections > 10
    assert numbers > 10_000
