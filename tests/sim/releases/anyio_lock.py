"""Does everyone get the lock in the end, when some of those who wait for it give up?

anyio before 4.14.0 leaves a cancelled waiter in the queue when the lock is released in the same
turn of the loop, and whoever comes next waits for ever (agronholm/anyio#1145).
"""

import random

import anyio
import anyio.lowlevel

import windtunnel as wt


@wt.simulated
async def test_everyone_gets_the_lock(world):
    lock = anyio.Lock()

    async def work(scope):
        with scope:
            async with lock:
                await rest()

    async def rest():
        for _ in range(random.randrange(4)):
            await anyio.lowlevel.checkpoint()

    for _ in range(5):
        scopes = [anyio.CancelScope() for _ in range(3)]
        async with anyio.create_task_group() as group:
            for scope in scopes:
                group.start_soon(work, scope)
            await rest()
            random.choice(scopes).cancel()
