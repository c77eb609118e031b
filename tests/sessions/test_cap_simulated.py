"""Capabilities in the simulated world: expiry in virtual time, and the same seals run after run."""

from __future__ import annotations

import asyncio
import time

import pytest

from windtunnel.core import Seed
from windtunnel.sessions import (
    CapabilityContext,
    CapabilityDenied,
    CarryingThreadPool,
    carry,
    current_context,
    seal,
    unseal,
)
from windtunnel.sim import World, WorldConfig, new_loop

KEY = bytes(range(32))


def run(main, seed=1):
    world = World(Seed(seed), WorldConfig())
    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


def test_a_token_expires_in_virtual_time():
    async def main():
        root = CapabilityContext("root")
        root.grant("mail", expires_in_s=3_600)
        await asyncio.sleep(3_599)
        root.use("mail")
        await asyncio.sleep(1.001)
        with pytest.raises(CapabilityDenied, match="expired"):
            root.use("mail")
        return root.violations[0].time, time.time()

    refused_at, ended_at = run(main)
    assert refused_at == ended_at  # of one virtual moment, in which the real clock would go on


def test_a_world_run_again_draws_the_same_ids_and_opens_its_own_seals():
    async def main():
        token = CapabilityContext("root").grant("mail", uses=1)
        text = seal(token, KEY)
        assert unseal(text, KEY) is token
        with pytest.raises(CapabilityDenied, match="opened before"):
            unseal(text, KEY)
        CapabilityContext("there", tokens=[token]).use("mail")
        return token.id, text.split(".")[2]

    first, again, other = run(main), run(main), run(main, seed=2)
    assert first == again
    assert first[0] != other[0]


def test_contexts_follow_the_work_as_outside():
    def here():
        return current_context().name

    async def main():
        loop = asyncio.get_running_loop()
        with CapabilityContext("mine").scope():
            task = asyncio.create_task(asyncio.to_thread(here))
            bare = loop.run_in_executor(None, here)
            carried = loop.run_in_executor(None, carry(here))
            with CarryingThreadPool() as pool:
                pooled = loop.run_in_executor(pool, here)
                seen = await asyncio.gather(task, bare, carried, pooled)
        return seen, here()

    expected = (["mine", "nothing", "mine", "mine"], "nothing")
    assert run(main) == expected
    assert asyncio.run(main()) == expected
