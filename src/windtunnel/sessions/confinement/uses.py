"""Uses: what may be done three times is done a fourth time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.functions import COUNT, TALK, USES
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage

FAMILY = Family(
    "uses",
    "a capability is used more often than granted",
    {"python": "x = [count(), count(), count()]\ntell(len(x) == 3 and 'done')"},
)
_RACE = "CWE-362, race condition"
_COUNTING = """
    def go():
        try:
            count()
        except BaseException:
            pass
    tried()
    for i in range(10):
        go()
"""


def _use(stage: Stage, context: Any) -> None:
    """Use it once if that is allowed."""
    stage.tried()
    with stage.refuses():
        stage.machinery.use(context, COUNT)
        stage.ground.used(USES)


@FAMILY.play("uses-threads", _RACE, aims=Canary.USES)
async def _threads(stage: Stage) -> None:
    """Threads look at the count at the same time, and each finds one use left."""
    context = stage.context(COUNT)
    ready = threading.Barrier(8)

    def work() -> None:
        ready.wait()
        for _ in range(10):
            _use(stage, context)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()


@FAMILY.play("uses-tasks", _RACE, aims=Canary.USES)
async def _tasks(stage: Stage) -> None:
    """Tasks take turns in worker threads, each between the other's look and its use."""
    context = stage.context(COUNT)
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(anyio.to_thread.run_sync, _use, stage, context)


@FAMILY.play("uses-children", sources.MACAROONS, aims=Canary.USES)
async def _children(stage: Stage) -> None:
    """Each context below counts for itself."""
    above = stage.context(COUNT)
    for number in range(4):
        below = stage.machinery.child(above, f"child {number}", [])
        for _ in range(USES):
            _use(stage, below)


@FAMILY.play("uses-narrowed", sources.MACAROONS, aims=Canary.USES)
async def _narrowed(stage: Stage) -> None:
    """Each token that is narrowed from another counts for itself."""
    (token,) = stage.tokens(COUNT)
    for number in range(4):
        with stage.refuses():
            less = stage.machinery.narrow(token, uses=USES)
            context = stage.machinery.context(f"guest {number}", [less])
            for _ in range(USES):
                _use(stage, context)


@FAMILY.play("uses-two-contexts", sources.MACAROONS, aims=Canary.USES)
async def _two_contexts(stage: Stage) -> None:
    """One token in two contexts is counted in each."""
    (token,) = stage.tokens(COUNT)
    for number in range(3):
        context = stage.machinery.context(f"guest {number}", [token])
        for _ in range(USES):
            _use(stage, context)


@FAMILY.play("uses-added-twice", sources.MACAROONS, aims=Canary.USES)
async def _added_twice(stage: Stage) -> None:
    """One token that is added again is counted from the start."""
    (token,) = stage.tokens(COUNT)
    context = stage.machinery.context("guest", [token, token])
    for _ in range(2 * USES):
        _use(stage, context)
    with stage.refuses():
        stage.machinery.add(context, token)
    for _ in range(USES):
        _use(stage, context)


@FAMILY.play("uses-falls-back", sources.OCAP, aims=Canary.USES)
async def _falls_back(stage: Stage) -> None:
    """A context that has used its token up goes on with that of the context above."""
    (token,) = stage.tokens(COUNT)
    above = stage.machinery.context("above", [token])
    below = stage.machinery.child(above, "below", [stage.machinery.narrow(token, uses=1)])
    for _ in range(3):
        stage.tried()
        with stage.refuses():
            stage.machinery.use(below, COUNT)
            stage.ground.used(1)


@FAMILY.play("uses-bytes-negative", "CWE-839, comparison without minimum check",
             aims=Canary.USES)  # fmt: skip
async def _bytes_negative(stage: Stage) -> None:
    """A use of fewer than no bytes gives bytes back."""
    context = stage.machinery.context("guest", [stage.machinery.token("fs.write", total_bytes=100)])
    written = 0
    for size in (100, -100, 100):
        stage.tried()
        with stage.refuses():
            stage.machinery.use(context, "fs.write", size=size)
            written += max(size, 0)
    if written > 100:
        stage.ground.saw(Canary.USES, f"{written} bytes of 100")


@FAMILY.play("uses-bytes-nan", "CWE-1077, comparison with NaN", aims=Canary.USES)
async def _bytes_nan(stage: Stage) -> None:
    """What is not a number is not more than the limit, and makes every sum not a number."""
    context = stage.machinery.context("guest", [stage.machinery.token("fs.write", total_bytes=100)])
    written = 0
    for size in (math.nan, 100, 100):
        stage.tried()
        with stage.refuses():
            stage.machinery.use(context, "fs.write", size=size)
            written += 0 if math.isnan(size) else int(size)
    if written > 100:
        stage.ground.saw(Canary.USES, f"{written} bytes of 100")


FAMILY.code("uses-insisted", "a refusal is caught, and the call made again", sources.CWE_400,
            _COUNTING, aims=Canary.USES, subset=_COUNTING.replace("BaseException", "Exception"),
            starlark="tried()\n[count() for i in range(10)]\n")  # fmt: skip


@FAMILY.play("uses-failed", "CWE-841, improper enforcement of behavioral workflow",
             aims=Canary.USES, python="""
    def go():
        try:
            count_and_fail()
        except Exception:
            pass
    tried()
    for i in range(10):
        go()
""", starlark="tried()\ncount_and_fail()\n")  # fmt: skip
async def _failed(stage: Stage) -> None:
    """A use that failed is given back, although it did what it does."""

    def count_and_fail() -> None:
        stage.ground.used(USES)
        raise ValueError("done, and failed")

    declared = stage.machinery.host_function("count_and_fail", count_and_fail, needs=COUNT)
    context = stage.context(TALK, COUNT)
    async with stage.another([declared]) as executor:
        for _ in range(1 if stage.language == "python" else 10):
            await stage.execute(executor=executor, grants=context)


@FAMILY.play("uses-at-once", _RACE, aims=Canary.USES, python="""
    def go():
        try:
            count()
        except Exception:
            pass
    tried()
    for i in range(5):
        go()
""", starlark="tried()\n[count() for i in range(5)]\n")  # fmt: skip
async def _at_once(stage: Stage) -> None:
    """Executions at the same time under one context count each for itself."""
    context = stage.context(TALK, COUNT)

    async def one() -> None:
        async with stage.another() as executor:
            await stage.execute(executor=executor, grants=context)

    await _together([one] * 3)


async def _together(works: list[Callable[[], Any]]) -> None:
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(work)


__all__ = ["FAMILY"]
