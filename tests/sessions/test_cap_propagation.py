"""Where a context goes along with work, and where it does not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from windtunnel.sessions import (
    Capabilities,
    CapabilityContext,
    CapabilityDenied,
    CarryingThreadPool,
    HostFunction,
    carry,
    current_context,
)

NOTHING = "nothing"


def here() -> str:
    return current_context().name


async def here_async() -> str:
    await anyio.lowlevel.checkpoint()
    return current_context().name


def scope(name: str) -> contextlib.AbstractContextManager[CapabilityContext]:
    return CapabilityContext(name).scope()


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    return functools.partial(anyio.run, backend=request.param)


def test_child_tasks_take_it_along_and_keep_it(run):
    async def main():
        seen = {}

        async def child(name, go: anyio.Event):
            await go.wait()
            seen[name] = here()

        async with anyio.create_task_group() as group:
            go = anyio.Event()
            for name in ("a", "b"):
                with scope(name):
                    group.start_soon(child, name, go)
            with scope("another"):
                go.set()
        assert seen == {"a": "a", "b": "b"}
        assert here() == NOTHING

    run(main)


def test_tasks_see_no_scope_that_another_entered(run):
    async def main():
        entered, looked, seen = anyio.Event(), anyio.Event(), []

        async def enters():
            with scope("mine"):
                entered.set()
                await looked.wait()
                seen.append(here())

        async def looks():
            await entered.wait()
            seen.append(here())
            looked.set()

        async with anyio.create_task_group() as group:
            group.start_soon(enters)
            group.start_soon(looks)
        assert seen == [NOTHING, "mine"]

    run(main)


def test_worker_threads_of_anyio_take_it_along_and_bring_it_back(run):
    async def main():
        def worker():
            return here(), anyio.from_thread.run(here_async), anyio.from_thread.run_sync(here)

        with scope("mine"):
            assert await anyio.to_thread.run_sync(worker) == ("mine", "mine", "mine")
        assert await anyio.to_thread.run_sync(here) == NOTHING

    run(main)


def test_a_scope_entered_in_a_worker_thread_stays_there(run):
    async def main():
        def worker():
            scope("theirs").__enter__()
            return here()

        with scope("mine"):
            assert await anyio.to_thread.run_sync(worker) == "theirs"
            assert await anyio.to_thread.run_sync(here) == "mine"
            assert here() == "mine"

    run(main)


def test_asyncio_to_thread_and_callbacks_of_the_loop_take_it_along():
    async def main():
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        with scope("mine"):
            loop.call_soon(lambda: called.set_result(here()))
            inside = await asyncio.to_thread(here)
        assert (inside, await called) == ("mine", "mine")

    asyncio.run(main())


def test_done_callbacks_have_the_context_of_who_added_them():
    async def main():
        seen = asyncio.get_running_loop().create_future()
        with scope("worker"):
            task = asyncio.create_task(here_async())
        with scope("waiter"):
            task.add_done_callback(lambda _: seen.set_result(here()))
        assert (await task, await seen) == ("worker", "waiter")

    asyncio.run(main())


def test_executor_threads_have_nothing_unless_it_is_carried():
    async def main():
        loop = asyncio.get_running_loop()
        with scope("mine"):
            assert await loop.run_in_executor(None, here) == NOTHING
            assert await loop.run_in_executor(None, carry(here)) == "mine"
            with CarryingThreadPool(max_workers=1) as pool:
                assert await loop.run_in_executor(pool, here) == "mine"

    asyncio.run(main())


def test_a_loop_whose_default_executor_carries_takes_it_along():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(CarryingThreadPool())
        with scope("mine"):
            assert await loop.run_in_executor(None, here) == "mine"
        assert await loop.run_in_executor(None, here) == NOTHING

    asyncio.run(main())


def test_a_pool_thread_keeps_nothing_of_who_used_it_before():
    with CarryingThreadPool(max_workers=1) as pool:
        with scope("a"):
            first = pool.submit(lambda: (scope("left open").__enter__(), here())[1])
        with scope("b"):
            second = pool.submit(here)
        third = pool.submit(here)
        assert [one.result() for one in (first, second, third)] == ["left open", "b", NOTHING]
        with scope("c"):
            assert list(pool.map(lambda _: here(), range(3))) == ["c"] * 3


def test_bare_threads_have_nothing_and_carried_ones_what_was_current():
    seen = {}

    def look(name):
        seen[name] = here()

    with scope("mine"):
        threads = [
            threading.Thread(target=look, args=["bare"]),
            threading.Thread(target=carry(look), args=["carried"]),
            threading.Timer(0, carry(look), args=["timer"]),
        ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"bare": NOTHING, "carried": "mine", "timer": "mine"}


def test_what_is_carried_runs_in_many_threads_at_once():
    barrier = threading.Barrier(8)

    def meet(number):
        barrier.wait(60)
        return here(), number

    with scope("mine"):
        carried = carry(meet)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(carried, range(8))) == [("mine", number) for number in range(8)]


def test_what_a_carried_function_enters_ends_with_its_call():
    def enter():
        scope("inner").__enter__()
        return here()

    with scope("mine"):
        carried = carry(enter)
    assert carried() == "inner"
    assert carry(here)() == here() == NOTHING
    assert carried() == "inner"


def test_a_carried_coroutine_function_has_it_whoever_awaits(run):
    async def main():
        with scope("mine"):
            carried = carry(here_async)
        with scope("caller"):
            assert await carried() == "mine"
            assert here() == "caller"

    run(main)


def test_carried_work_meets_revocation_like_everybody():
    root = CapabilityContext("root")
    token = root.grant("mail", uses=2)
    with root.scope():
        send = carry(lambda: Capabilities().use("mail"))
    send()
    root.revoke(token)
    with pytest.raises(CapabilityDenied, match="revoked"):
        send()


def test_an_async_generator_has_the_context_of_who_drives_it(run):
    async def main():
        async def names():
            while True:
                yield here()

        generator = names()
        with scope("a"):
            assert await anext(generator) == "a"
        with scope("b"):
            assert await anext(generator) == "b"
        await generator.aclose()

    run(main)


def test_a_scope_left_in_another_task_than_entered_leaves_nothing_behind():
    async def main():
        entered = scope("mine")
        await asyncio.create_task(asyncio.to_thread(lambda: None))

        async def enter():
            entered.__enter__()

        async def leave():
            with scope("theirs"):
                entered.__exit__(None, None, None)
                return here()

        await asyncio.create_task(enter())
        assert await asyncio.create_task(leave()) == NOTHING
        assert here() == NOTHING

    asyncio.run(main())


def test_a_refusal_in_a_thread_names_the_code_that_asked():
    root = CapabilityContext("root")
    read = HostFunction("read", lambda path: path, needs="fs.read", resource="path")

    async def main():
        with root.scope():
            await asyncio.to_thread(read, "/etc/passwd")

    with pytest.raises(CapabilityDenied):
        asyncio.run(main())
    [violation] = root.violations
    # The thread runs nothing but asyncio's and ours: what is named is where the scope was entered.
    first = main.__code__.co_firstlineno
    assert violation.location.endswith(f"test_cap_propagation.py:{first + 1}")


def test_contexts_of_many_tasks_and_threads_do_not_mix():
    """Each worker may use its own type, and is refused every other's."""
    root = CapabilityContext("root")
    for number in range(12):
        root.grant(f"type-{number}")

    def check(number):
        return [other for other in range(12) if current_context().allowed(f"type-{other}")]

    async def work(number):
        child = root.child(f"guest-{number}", root.tokens(f"type-{number}"), inherit=False)
        with child.scope():
            seen = []
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(check(number))
                seen.append(await asyncio.to_thread(check, number))
            async with asyncio.TaskGroup() as group:
                nested = group.create_task(asyncio.to_thread(check, number))
            return [*seen, nested.result()]

    async def main():
        return await asyncio.gather(*(work(number) for number in range(12)))

    for number, seen in enumerate(asyncio.run(main())):
        assert seen == [[number]] * 7
