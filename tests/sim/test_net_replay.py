"""The same seed gives the same network, message for message, in any process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from simnet import ask, echo_server, network, simulate

from windtunnel.sim import World
from windtunnel.sim.net.links import LinkConfig, Lognormal

BUSY = network(between=LinkConfig(Lognormal(0.002, 0.7), loss=0.05, fragment=0.1, bandwidth=1e6))


async def _busy(world: World) -> None:
    """Some clients, some faults."""
    server = await world.nodes["a"].run(echo_server(None, 7000))

    async def client(number: int) -> None:
        for _ in range(3):
            try:
                reader, writer = await asyncio.open_connection("a", 7000)
                for size in range(5):
                    await ask(reader, writer, b"x" * (size * 100 + number))
                writer.close()
                await writer.wait_closed()
            except OSError:
                await asyncio.sleep(0.1)

    clients = [
        asyncio.create_task(world.nodes[name].run(client(number)))
        for number, name in enumerate("bcbcbc")
    ]
    await asyncio.sleep(0.02)
    world.partition("a", "b")
    await asyncio.sleep(0.5)
    world.heal()
    world.cut("a", "c")
    await asyncio.gather(*clients)
    server.close()


def fingerprint(seed: int) -> str:
    """All steps of a run and all messages, as one text."""
    _, world = simulate(_busy, seed=seed, net=BUSY, trace=True)
    messages = [(s[3], s[0], s[1], s[4].node.name) for s in world.net.segments]
    notes = [(note.at_ns, note.node, note.kind, dict(note.facts)) for note in world.trace.notes]
    return repr((world.trace.steps, messages, notes, world.now_ns))


def test_a_seed_is_a_run_message_for_message() -> None:
    first = fingerprint(7)
    assert first == fingerprint(7)
    assert first != fingerprint(8)


def test_another_process_with_another_hash_seed_runs_the_same() -> None:
    script = "import test_net_replay, sys; sys.stdout.write(test_net_replay.fingerprint(7))"
    here = Path(__file__).parent
    expected = fingerprint(7)
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(here), "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        )
        assert done.stdout == expected, done.stderr


def test_a_recorded_tape_runs_again_without_the_seed() -> None:
    from windtunnel.core.seed import Seed
    from windtunnel.sim import WorldConfig, new_loop

    _, world = simulate(_busy, seed=7, net=BUSY)
    again = World(Seed(99), WorldConfig(network=BUSY), replay=world.tape.entries())
    with again.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        for name in "abc":
            again.add_node(name)
        runner.run(_busy(again))
    assert again.now_ns == world.now_ns
    assert [s[0] for s in again.net.segments] == [s[0] for s in world.net.segments]
