"""Is a notification passed on, when the task that it wakes is cancelled at that moment?

asyncio.Condition before Python 3.13 loses it (python/cpython#112202).
"""

import asyncio

import windtunnel as wt


@wt.simulated
async def test_each_of_two_items_finds_a_taker(world):
    condition, items, taken = asyncio.Condition(), [], []

    async def take(name):
        async with condition:
            await condition.wait_for(lambda: items)
            taken.append((name, items.pop()))

    takers = [asyncio.create_task(take(name)) for name in "abc"]
    await asyncio.sleep(1)

    async def put():
        for item in range(2):
            async with condition:
                items.append(item)
                condition.notify()
            await asyncio.sleep(0)

    async def give_up():
        takers[0].cancel()

    await asyncio.gather(put(), give_up())
    await asyncio.sleep(1)
    assert len(taken) == 2, f"{len(items)} items are left, and takers wait"
    for taker in takers:
        taker.cancel()
