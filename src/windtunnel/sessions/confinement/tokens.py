"""Tokens: forged, tampered with, and presented again.

These attack the machinery itself, from the host's side: whoever has a sealed text has only that
text, and must get out of it what it stands for and nothing else. That the vault opens proves an
escape.
"""

from __future__ import annotations

import base64
import binascii
import copy
import pickle
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.clock import SetClock
from windtunnel.sessions.confinement.functions import TALK, VAULT
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage

KEY = b"the host's key, thirty-two bytes"
LOBBY = "lobby.open"


async def _control(stage: Stage) -> None:
    """A sealed token that is whole is worth what it was."""
    make = stage.machinery
    text = make.seal(make.token(LOBBY, uses=1), KEY)
    make.use(make.context("guest", [make.unseal(text, KEY)]), LOBBY)
    stage.tried()


FAMILY = Family("tokens", "a token is forged, tampered with or presented again", _control)


def _presents(stage: Stage, texts: Iterator[str], *, key: bytes = KEY) -> None:
    """Present texts as tokens of the vault, until one opens it."""
    for text in texts:
        stage.tried()
        with stage.refuses():
            token = stage.machinery.unseal(text, key)
            stage.vault(stage.machinery.context("thief", [token]))


def _rewritten(text: str, change: Callable[[bytes], bytes]) -> Iterator[str]:
    """The text with one of its parts changed, whatever part that is and however it is encoded."""
    parts = text.split(".")
    for at, part in enumerate(parts):
        for encode, decode in _CODECS:
            try:
                plain = decode(part)
            except (ValueError, binascii.Error):
                continue
            changed = change(plain)
            if changed != plain:
                yield ".".join([*parts[:at], encode(changed), *parts[at + 1 :]])


def _padded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


_CODECS: tuple[tuple[Callable[[bytes], str], Callable[[str], bytes]], ...] = (
    (lambda plain: base64.urlsafe_b64encode(plain).decode().rstrip("="), _padded),
    (lambda plain: base64.b64encode(plain).decode(), base64.b64decode),
    (lambda plain: plain.hex(), bytes.fromhex),
    (lambda plain: plain.decode("utf-8", "replace"), str.encode),
)


def _to_vault(plain: bytes) -> bytes:
    return plain.replace(LOBBY.encode(), VAULT.encode())


def _sealed(stage: Stage, type: str = LOBBY, **bounds: Any) -> str:
    return stage.machinery.seal(stage.machinery.token(type, **bounds), KEY)


@FAMILY.play("token-edited", sources.MACAROONS, aims=Canary.FORBIDDEN)
async def _edited(stage: Stage) -> None:
    """What a token is for stands in its text, and the text is changed."""
    _presents(stage, _rewritten(_sealed(stage), _to_vault))


@FAMILY.play("token-expiry-edited", sources.MACAROONS, aims=Canary.FORBIDDEN)
async def _expiry_edited(stage: Stage) -> None:
    """So does when it expires."""
    text = _sealed(stage, VAULT, expires_at=1111111111.0)
    _presents(stage, _rewritten(text, lambda plain: plain.replace(b"1111111111", b"9999999999")))


@FAMILY.play("token-bounds-dropped", sources.MACAROONS, aims=Canary.FORBIDDEN)
async def _bounds_dropped(stage: Stage) -> None:
    """A bound whose name nobody knows is no bound."""
    text = _sealed(stage, VAULT, expires_at=1.0)
    _presents(stage, _rewritten(text, lambda plain: plain.replace(b"expires_at", b"expires_xt")))


@FAMILY.play("token-seal-dropped", sources.JWT_NONE, aims=Canary.FORBIDDEN)
async def _seal_dropped(stage: Stage) -> None:
    """The seal is left out, or empty, and what is not there is not compared."""

    def texts() -> Iterator[str]:
        for text in _rewritten(_sealed(stage), _to_vault):
            parts = text.split(".")
            for at in range(len(parts)):
                yield ".".join([*parts[:at], *parts[at + 1 :]])
                yield ".".join([*parts[:at], "", *parts[at + 1 :]])

    _presents(stage, texts())


@FAMILY.play("token-seal-none", sources.JWT_NONE, aims=Canary.FORBIDDEN)
async def _seal_none(stage: Stage) -> None:
    """The text says itself how it is sealed: not at all."""

    def texts() -> Iterator[str]:
        for text in _rewritten(_sealed(stage), _to_vault):
            parts = text.split(".")
            for at in range(len(parts)):
                yield ".".join([*parts[:at], "none", *parts[at + 1 :]])
            yield f"none.{parts[-2] if len(parts) > 1 else text}."

    _presents(stage, texts())


@FAMILY.play("token-seal-short", "CVE-2016-1000341 and kin: a comparison as short as its input",
             aims=Canary.FORBIDDEN)  # fmt: skip
async def _seal_short(stage: Stage) -> None:
    """A seal of one character is guessed, where only what is there is compared."""

    def texts() -> Iterator[str]:
        for text in _rewritten(_sealed(stage), _to_vault):
            head = text.rpartition(".")[0]
            yield from (f"{head}.{one}" for one in "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
                        "KLMNOPQRSTUVWXYZ-_")  # fmt: skip

    _presents(stage, texts())


@FAMILY.play("token-seal-of-another", sources.MACAROONS, aims=Canary.FORBIDDEN)
async def _spliced(stage: Stage) -> None:
    """The seal of one token is put on another."""

    def texts() -> Iterator[str]:
        seal = _sealed(stage).rpartition(".")[2]
        own = stage.machinery.seal(
            stage.machinery.token(VAULT), b"a key of the thief's own, 32 b.."
        )
        yield f"{own.rpartition('.')[0]}.{seal}"

    _presents(stage, texts())


@FAMILY.play("token-key-guessed", "CWE-321, use of hard-coded cryptographic key",
             aims=Canary.FORBIDDEN)  # fmt: skip
async def _key_guessed(stage: Stage) -> None:
    """A token is sealed with a key of the thief's own, or one that everybody uses."""

    def texts() -> Iterator[str]:
        for key in (b"a key of the thief's own, 32 b..", b"", b"secret", b"key", b"changeme"):
            with stage.refuses():
                yield stage.machinery.seal(stage.machinery.token(VAULT), key)

    _presents(stage, texts())


@FAMILY.play("token-key-unset", "CWE-1394, use of default cryptographic key",
             aims=Canary.FORBIDDEN)  # fmt: skip
async def _key_unset(stage: Stage) -> None:
    """The host's key was never set, and everybody has the empty key."""
    stage.tried()
    with stage.refuses():
        text = stage.machinery.seal(stage.machinery.token(VAULT), b"")
        _presents(stage, iter([text]), key=b"")


class _Bomb:
    """Plants a file when unpickled."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _plant, (self.file,)


def _plant(file: str) -> None:
    Path(file).write_text("planted")


@FAMILY.play("token-pickled", sources.CWE_502, aims=Canary.PLANTED)
async def _pickled(stage: Stage) -> None:
    """A token is unpickled before its seal is looked at, and a pickle is a program."""
    bomb = pickle.dumps(_Bomb(str(stage.ground.planted)))
    text = _sealed(stage)

    def texts() -> Iterator[str]:
        for encode, _ in _CODECS[:3]:
            yield encode(bomb)
            yield from (".".join([encode(bomb), *text.split(".")[at:]]) for at in (1, 2))

    _presents(stage, texts())


@FAMILY.play("token-again", sources.REPLAY, aims=Canary.USES)
async def _again(stage: Stage) -> None:
    """A text that is good for one use is presented twice."""
    text = _sealed(stage, uses=1)
    for _ in range(3):
        stage.tried()
        with stage.refuses():
            context = stage.machinery.context("guest", [stage.machinery.unseal(text, KEY)])
            stage.machinery.use(context, LOBBY)
            stage.ground.used(1)


@FAMILY.play("token-again-otherwise", sources.REPLAY, aims=Canary.USES)
async def _again_otherwise(stage: Stage) -> None:
    """Texts that differ in what decoding ignores are told apart by who remembers texts."""
    text = _sealed(stage, uses=1)
    forms = (text, f"{text}\n", f" {text}", f"{text}=", f"{text}==", f"{text}A")
    for form in forms:
        stage.tried()
        with stage.refuses():
            context = stage.machinery.context("guest", [stage.machinery.unseal(form, KEY)])
            stage.machinery.use(context, LOBBY)
            stage.ground.used(1)


@FAMILY.play("token-revoked-again", sources.REPLAY, aims=Canary.FORBIDDEN)
async def _revoked_again(stage: Stage) -> None:
    """A token was sealed before it was revoked."""
    token = stage.machinery.token(VAULT)
    text = stage.machinery.seal(token, KEY)
    stage.machinery.revoke(stage.machinery.context("host", [token]), token)
    _presents(stage, iter([text]))


@FAMILY.play("token-expired-again", sources.REPLAY, aims=Canary.FORBIDDEN)
async def _expired_again(stage: Stage) -> None:
    """A token was sealed before it expired."""
    clock = SetClock(100.0)
    text = _sealed(stage, VAULT, expires_at=200.0)
    clock.now = 201.0
    stage.tried()
    with stage.refuses():
        token = stage.machinery.unseal(text, KEY)
        stage.vault(stage.machinery.context("thief", [token], clock=clock))


@FAMILY.play("token-widened", sources.OCAP, aims=Canary.OUTSIDE)
async def _widened(stage: Stage) -> None:
    """Narrowing a token with wider bounds widens it."""
    token = stage.machinery.token("fs.read", resources=(f"{stage.ground.root}/**",))
    for bounds in ({"resources": ("/**",)}, {"resources": ()}, {"operations": ("read", "write")}):
        stage.tried()
        with stage.refuses():
            wider = stage.machinery.narrow(token, **bounds)
            stage.read(stage.machinery.context("guest", [wider]), str(stage.ground.secret_file))


@FAMILY.play("token-added-below", sources.OCAP, aims=Canary.FORBIDDEN)
async def _added_below(stage: Stage) -> None:
    """A context below is given what the one above does not have."""
    make = stage.machinery
    below = make.child(make.context("above", [make.token(LOBBY)]), "below", [])
    stage.tried()
    with stage.refuses():
        make.add(below, make.token(VAULT))
    with stage.refuses():
        stage.vault(below)


@FAMILY.play("token-mutated", sources.OCAP, aims=Canary.FORBIDDEN)
async def _mutated(stage: Stage) -> None:
    """A token is an object, and its attributes are assigned to."""
    token = stage.machinery.token(LOBBY)
    stage.tried()
    with stage.refuses():
        token.type = VAULT
    with stage.refuses():
        stage.vault(stage.machinery.context("thief", [token]))


@FAMILY.play("token-look-alike", sources.OCAP, aims=Canary.FORBIDDEN, python="""
    f = forbidden
    tried()
    f()
""")  # fmt: skip
async def _look_alike(stage: Stage) -> None:
    """An object that looks like a token is taken for one."""
    fake = types.SimpleNamespace(
        type=VAULT, constraints=(), id="1", uses=None, parent=None, chain=(), revoked=False,
        all_constraints=(), expires_at=None, capability=VAULT, name=VAULT,
    )  # fmt: skip
    stage.tried()
    await stage.execute(grants=[*stage.tokens(TALK), fake])


def _through_pickle(token: Any) -> Any:
    return pickle.loads(pickle.dumps(token))


@FAMILY.play("token-copied", sources.REPLAY, aims=Canary.USES)
async def _copied(stage: Stage) -> None:
    """A copy of a token has not been used yet."""
    token = stage.machinery.token(LOBBY, uses=1)
    copies: list[Any] = [token]
    ways: tuple[Callable[[Any], Any], ...] = (copy.copy, copy.deepcopy, _through_pickle)
    for duplicate in ways:
        with stage.refuses():
            copies.append(duplicate(token))
    for one in copies:
        stage.tried()
        with stage.refuses():
            stage.machinery.use(stage.machinery.context("guest", [one]), LOBBY)
            stage.ground.used(1)


__all__ = ["FAMILY"]
