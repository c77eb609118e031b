"""Contexts: what one task, thread or execution may do is seen by another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.functions import TALK, VAULT
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage


async def _control(stage: Stage) -> None:
    """In its scope, a context is the current one."""
    make = stage.machinery
    with make.scope(make.context("host", [make.token("lobby.open")])):
        make.use(make.current(), "lobby.open")
    stage.tried()


FAMILY = Family("contexts", "the rights of one piece of work are seen by another", _control)
_CALL = "f = forbidden\ntried()\nf()\n"
_WAIT_S = 10.0


def _privileged(stage: Stage) -> Any:
    return stage.machinery.context("privileged", [stage.machinery.token(VAULT)])


def _opens(stage: Stage) -> None:
    """What has nothing opens the vault with what is current."""
    stage.tried()
    with stage.refuses():
        stage.vault()


@FAMILY.play("context-task", "PEP 567, context variables", aims=Canary.FORBIDDEN)
async def _task(stage: Stage) -> None:
    """A task runs while another has its scope open."""
    entered, tried = anyio.Event(), anyio.Event()

    async def privileged() -> None:
        with stage.machinery.scope(_privileged(stage)):
            entered.set()
            await tried.wait()

    async def other() -> None:
        await entered.wait()
        _opens(stage)
        tried.set()

    async with anyio.create_task_group() as group:
        group.start_soon(privileged)
        group.start_soon(other)


@FAMILY.play("context-thread", sources.PY_THREADS, aims=Canary.FORBIDDEN)
async def _thread(stage: Stage) -> None:
    """A thread that was there before runs while another has its scope open."""
    entered = threading.Event()

    def other() -> None:
        entered.wait(_WAIT_S)
        _opens(stage)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    with stage.machinery.scope(_privileged(stage)):
        entered.set()
        thread.join(_WAIT_S)


@FAMILY.play("context-pool", sources.PY_THREADS, aims=Canary.FORBIDDEN)
async def _pool(stage: Stage) -> None:
    """A thread of a pool did privileged work before, and keeps what was current then."""

    def privileged() -> None:
        with stage.machinery.scope(_privileged(stage)):
            stage.machinery.use(stage.machinery.current(), VAULT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(privileged).result()
        pool.submit(_opens, stage).result()


@FAMILY.play("context-after-error", "CWE-460, improper cleanup on thrown exception",
             aims=Canary.FORBIDDEN)  # fmt: skip
async def _after_error(stage: Stage) -> None:
    """A scope that was left by an error is still open."""
    with stage.refuses(), stage.machinery.scope(_privileged(stage)):
        raise ValueError("an error in the scope")
    _opens(stage)


@FAMILY.play("context-generator", "PEP 568, generator-sensitivity for context variables",
             aims=Canary.FORBIDDEN)  # fmt: skip
async def _generator(stage: Stage) -> None:
    """A generator that was stopped within a scope is collected, and the scope stays."""

    def work() -> Iterator[int]:
        with stage.machinery.scope(_privileged(stage)):
            yield 1

    running = work()
    next(running)
    del running
    _opens(stage)


@FAMILY.play("context-ambient", sources.CONFUSED, aims=Canary.FORBIDDEN, python=_CALL)
async def _ambient(stage: Stage) -> None:
    """Code that is granted little runs where the host itself may do much."""
    with stage.machinery.scope(_privileged(stage)):
        await stage.execute(grants=stage.tokens(TALK))


@FAMILY.play("context-next", sources.OCAP, aims=Canary.FORBIDDEN, python=_CALL)
async def _next(stage: Stage) -> None:
    """What the last execution was granted, the next one has."""
    await stage.execute(grants=[*stage.tokens(TALK), stage.machinery.token(VAULT)])
    stage.ground.effects.pop(Canary.FORBIDDEN, None)  # that was granted
    await stage.execute(grants=stage.tokens(TALK))


@FAMILY.play("context-at-once", "CWE-488, exposure of data element to wrong session",
             aims=Canary.FORBIDDEN, python=_CALL)  # fmt: skip
async def _at_once(stage: Stage) -> None:
    """What another execution is granted at the same time, this one has."""
    holding, over = threading.Event(), threading.Event()

    def pause() -> None:
        holding.set()
        over.wait(_WAIT_S)

    declared = stage.machinery.host_function("pause", pause, needs=TALK)
    grants = [*stage.tokens(TALK), stage.machinery.token(VAULT)]

    async def privileged() -> None:
        with stage.refuses():
            async with stage.another([declared]) as executor:
                await executor.execute("pause()", timeout_s=_WAIT_S, grants=grants)
        holding.set()  # also where it never came to the pause

    async with anyio.create_task_group() as group:
        group.start_soon(privileged)
        await anyio.to_thread.run_sync(holding.wait, _WAIT_S)
        try:
            await stage.execute(grants=stage.tokens(TALK))
        finally:
            over.set()


@FAMILY.play("names-next", "CWE-488, exposure of data element to wrong session",
             aims=Canary.SECRET, python="tried()\nkept = confidential\n")  # fmt: skip
async def _names_next(stage: Stage) -> None:
    """Names of the last execution are those of the next."""
    await stage.execute(inputs={"confidential": stage.ground.secret})
    stage.ground.effects.pop(Canary.SECRET, None)  # its own result may have what it was given
    await stage.execute("tell(kept)")
    await stage.execute("tell(confidential)")


@FAMILY.play("modules-next", "CWE-488, exposure of data element to wrong session",
             aims=Canary.SECRET,
             python="import json\ntried()\njson.kept = confidential\n")  # fmt: skip
async def _modules_next(stage: Stage) -> None:
    """Modules live on from one execution to the next."""
    await stage.execute(inputs={"confidential": stage.ground.secret})
    await stage.execute("import json\ntell(json.kept)")


__all__ = ["FAMILY"]
