"""Plans of faults, carried out on a world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from windtunnel.core import Fault, FaultPlan, Seed, UsageError
from windtunnel.sim import World, new_loop
from windtunnel.sim.net.links import Fixed


def run(body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    world = World(Seed(5))
    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(body(world))


def plan(*faults: Fault) -> FaultPlan:
    return FaultPlan.of(faults)


def test_a_node_crashes_and_boots_again_at_its_times() -> None:
    async def body(world: World) -> None:
        ticks: list[float] = []

        async def main() -> None:
            while True:
                ticks.append(round(world.now_ns / 1e9, 3))
                await asyncio.sleep(1)

        world.start("a", main)
        world.apply(plan(Fault("crash", "a", at_s=2.5, until_s=6.5)))
        await asyncio.sleep(8)
        assert ticks == [0.0, 1.0, 2.0, 6.5, 7.5]

    run(body)


def test_a_pause_ends_where_the_plan_says() -> None:
    async def body(world: World) -> None:
        node = world.add_node("a")
        world.apply(plan(Fault("pause", "a", at_s=1, until_s=3)))
        await asyncio.sleep(2)
        assert node.state == "paused"
        await asyncio.sleep(2)
        assert node.state == "up"

    run(body)


def test_clocks_jump_and_drift_and_go_right_again() -> None:
    async def body(world: World) -> None:
        clock = world.add_node("a").clock
        world.apply(
            plan(
                Fault("jump", "a", at_s=1, until_s=2, arguments={"seconds": -30}),
                Fault("drift", "a", at_s=1, until_s=2, arguments={"ppm": 1000}),
            )
        )
        await asyncio.sleep(1.5)
        assert clock.offset_s == pytest.approx(-29.9995, abs=1e-5)
        assert clock.drift_ppm == 1000
        await asyncio.sleep(1)
        assert clock.offset_s == pytest.approx(0.001, abs=1e-5)
        assert clock.drift_ppm == 0

    run(body)


@pytest.mark.parametrize(
    ("target", "there", "back"),
    [("a->b", False, True), ("a-b", False, False), ("a|b", False, False)],
)
def test_a_partition_stops_what_its_target_says_until_it_is_healed(
    target: str, there: bool, back: bool
) -> None:
    async def body(world: World) -> None:
        a, b = world.add_node("a"), world.add_node("b")
        world.apply(plan(Fault("partition", target, at_s=1, until_s=2)))
        await asyncio.sleep(1.5)
        open_now = [not world.net.link(*pair).blocked for pair in ((a, b), (b, a))]
        assert open_now == [there, back]
        await asyncio.sleep(1)
        assert not world.net.link(a, b).blocked

    run(body)


def test_links_are_held_slowed_and_lossy_for_a_while() -> None:
    async def body(world: World) -> None:
        a, b = world.add_node("a"), world.add_node("node-b")
        world.apply(
            plan(
                Fault("hold", "a-node-b", until_s=2),
                Fault("slow", "a->node-b", until_s=2, arguments={"latency_s": 0.5}),
                Fault("drop", "a->node-b", until_s=2, arguments={"rate": 0.25}),
            )
        )
        link = world.net.link(a, b)
        await asyncio.sleep(1)
        assert (link.held, link.config.latency, link.config.loss) == (True, Fixed(0.5), 0.25)
        await asyncio.sleep(2)
        assert (link.held, link.config) == (False, link.base)

    run(body)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("crahs", "a"), "did you mean crash?"),
        (Fault("crash", "z"), "there is no node 'z'"),
        (Fault("crash", "test"), "nobody can crash the node of the test body"),
        (Fault("crash", "a", arguments={"hard": True}), "crash has no argument 'hard'"),
        (Fault("cut", "a"), "cut is done to a link"),
        (Fault("cut", "a-z"), "there is no node 'z'"),
        (Fault("cut", "a-b", until_s=3), "cut has no end"),
        (Fault("drop", "a-b"), "drop needs the argument 'rate'"),
        (Fault("drop", "a-b", arguments={"rate": 2}), "rate is a share"),
        (Fault("slow", "a-b"), "slow needs latency_s or bandwidth"),
        (Fault("slow", "a-b", arguments={"latency_s": -1}), "is a number from 0 on"),
        (Fault("jump", "a", arguments={"seconds": "soon"}), "could not convert"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_happens(fault: Fault, said: str) -> None:
    async def body(world: World) -> None:
        node = world.add_node("a")
        world.add_node("b")
        with pytest.raises(UsageError) as raised:
            world.apply(plan(Fault("crash", "a", at_s=0), fault))
        assert said in str(raised.value)
        assert "faults[" in str(raised.value)
        await asyncio.sleep(1)
        assert node.state == "up"

    run(body)
