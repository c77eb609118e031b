"""Expiry and revocation: what was granted once is used when it no longer is."""

from __future__ import annotations

import math
import threading
from typing import Any

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.clock import SetClock
from windtunnel.sessions.confinement.functions import TALK, VAULT
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage


async def _control(stage: Stage) -> None:
    """What has not expired can be used."""
    make = stage.machinery
    make.use(make.context("guest", [make.token("lobby.open", expires_at=200.0)],
                          clock=SetClock(100.0)), "lobby.open")  # fmt: skip
    stage.tried()


FAMILY = Family("expiry", "a token is used after it has expired or was revoked", _control)
_CALL = "f = forbidden\ntried()\nchange()\nf()\n"


def _opens(stage: Stage, context: Any) -> None:
    stage.tried()
    with stage.refuses():
        stage.vault(context)


@FAMILY.play("expiry-boundary", "CWE-193, off-by-one error", aims=Canary.FORBIDDEN)
async def _boundary(stage: Stage) -> None:
    """At the very second it expires, it has expired."""
    token = stage.machinery.token(VAULT, expires_at=200.0)
    _opens(stage, stage.machinery.context("guest", [token], clock=SetClock(200.0)))


@FAMILY.play("expiry-nan", "CWE-1077, comparison with NaN", aims=Canary.FORBIDDEN)
async def _nan(stage: Stage) -> None:
    """A time that is not a number is never reached, so who can choose it never expires."""
    stage.tried()
    with stage.refuses():
        token = stage.machinery.token(VAULT, expires_at=math.nan)
        _opens(stage, stage.machinery.context("guest", [token], clock=SetClock(1e12)))


@FAMILY.play("expiry-extended", sources.MACAROONS, aims=Canary.FORBIDDEN)
async def _extended(stage: Stage) -> None:
    """Narrowing a token with a later time extends it."""
    token = stage.machinery.token(VAULT, expires_at=200.0)
    for later in (300.0, None, math.inf):
        stage.tried()
        with stage.refuses():
            longer = stage.machinery.narrow(token, expires_at=later)
            _opens(stage, stage.machinery.context("guest", [longer], clock=SetClock(250.0)))


@FAMILY.play("expiry-falls-back", sources.OCAP, aims=Canary.FORBIDDEN)
async def _falls_back(stage: Stage) -> None:
    """A context whose token has expired goes on with that of the context above."""
    clock = SetClock(100.0)
    token = stage.machinery.token(VAULT)
    above = stage.machinery.context("above", [token], clock=clock)
    brief = stage.machinery.narrow(token, expires_at=200.0)
    below = stage.machinery.child(above, "below", [brief])
    clock.now = 201.0
    _opens(stage, below)


@FAMILY.play("expiry-while-running", sources.CWE_367, aims=Canary.FORBIDDEN, python=_CALL)
async def _while_running(stage: Stage) -> None:
    """What is looked at when code begins has expired when it is used."""
    clock = SetClock(100.0)
    tokens = [*stage.tokens(TALK), stage.machinery.token(VAULT, expires_at=200.0)]
    context = stage.machinery.context("guest", tokens, clock=clock)

    def change() -> None:
        clock.now = 201.0

    declared = stage.machinery.host_function("change", change, needs=TALK)
    async with stage.another([declared]) as executor:
        await stage.execute(executor=executor, grants=context)


@FAMILY.play("revoked-while-running", sources.CWE_367, aims=Canary.FORBIDDEN, python=_CALL)
async def _revoked_while_running(stage: Stage) -> None:
    """What is looked at when code begins is revoked when it is used."""
    token = stage.machinery.token(VAULT)
    context = stage.machinery.context("guest", [*stage.tokens(TALK), token])

    def change() -> None:
        stage.machinery.revoke(context, token)

    declared = stage.machinery.host_function("change", change, needs=TALK)
    async with stage.another([declared]) as executor:
        await stage.execute(executor=executor, grants=context)


@FAMILY.play("revoked-between", sources.CWE_367, aims=Canary.FORBIDDEN,
             python="f = forbidden\ntried()\nf()\n")  # fmt: skip
async def _between(stage: Stage) -> None:
    """What was found granted in one execution is remembered in the next."""
    token = stage.machinery.token(VAULT)
    context = stage.machinery.context("guest", [*stage.tokens(TALK), token])
    await stage.execute(grants=context)
    stage.ground.effects.pop(Canary.FORBIDDEN, None)  # that was granted
    stage.machinery.revoke(context, token)
    await stage.execute(grants=context)


@FAMILY.play("revoked-above", sources.OCAP, aims=Canary.FORBIDDEN)
async def _above(stage: Stage) -> None:
    """What was handed on is not revoked with what it came from."""
    token = stage.machinery.token(VAULT)
    above = stage.machinery.context("above", [token])
    below = stage.machinery.child(above, "below", [token])
    stage.machinery.revoke(above, token)
    _opens(stage, below)


@FAMILY.play("revoked-narrowed", sources.OCAP, aims=Canary.FORBIDDEN)
async def _narrowed(stage: Stage) -> None:
    """Nor is what was narrowed from it, in a context that has nothing else to do with it."""
    token = stage.machinery.token(VAULT)
    elsewhere = stage.machinery.context("elsewhere", [stage.machinery.narrow(token, uses=5)])
    stage.machinery.revoke(stage.machinery.context("host", [token]), token)
    _opens(stage, elsewhere)


@FAMILY.play("revoked-added", sources.REPLAY, aims=Canary.FORBIDDEN)
async def _added(stage: Stage) -> None:
    """A revoked token is added again."""
    token = stage.machinery.token(VAULT)
    context = stage.machinery.context("guest", [token])
    stage.machinery.revoke(context, token)
    with stage.refuses():
        stage.machinery.add(context, token)
    _opens(stage, context)


@FAMILY.play("revoked-type", sources.OCAP, aims=Canary.FORBIDDEN)
async def _type(stage: Stage) -> None:
    """A type is revoked, and the second token of that type is overlooked."""
    tokens = [stage.machinery.token(VAULT), stage.machinery.token(VAULT, uses=5)]
    context = stage.machinery.context("guest", tokens)
    below = stage.machinery.child(context, "below", [tokens[1]])
    stage.machinery.revoke(context, VAULT)
    _opens(stage, context)
    _opens(stage, below)


@FAMILY.play("revoked-racing", "CWE-362, race condition", aims=Canary.FORBIDDEN)
async def _racing(stage: Stage) -> None:
    """A use that begins when the revocation has returned finds what was there before."""
    token = stage.machinery.token(VAULT)
    context = stage.machinery.context("guest", [token])
    begun, revoked = threading.Event(), threading.Event()

    def work() -> None:
        while True:
            late = revoked.is_set()
            begun.set()
            try:
                stage.machinery.use(context, VAULT)
            except Exception:  # of whatever kind the machinery's refusal is
                return
            if late:
                stage.ground.saw(Canary.FORBIDDEN, "a use that began after the revocation went on")
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(5.0)
    stage.tried()
    stage.machinery.revoke(context, token)
    revoked.set()
    for thread in threads:
        thread.join(5.0)


__all__ = ["FAMILY"]
