"""Tokens outside the process: sealed with a key, and opened once.

The text is readable by whoever has it and can be made only by who has the key: HMAC-SHA256 (RFC
2104) over everything in it. It opens once a ledger; what it opens to shares its count of uses, and
its revocation, with the token that was sealed, where the ledger knows that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import ledger as accounts
from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.current import current_context
from windtunnel.sessions.capabilities.token import CapabilityToken, restored
from windtunnel.sessions.errors import CapabilityDenied

Keys: TypeAlias = bytes | Iterable[bytes]
"""A key, or several: the first seals, all of them open. To change keys, put the new one first, and
drop the old one when what it sealed has ended."""

SHORTEST_KEY = 16
LONGEST_TEXT = 65_536
_VERSION = "wt1"
_PURPOSE = b"windtunnel capability token, version 1\n"
_TEXT = re.compile(r"wt1\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")


class SealLedger:
    """Remembers which seals were opened, and which tokens are behind them.

    :param folder: where opened seals are noted, for several processes that share it and for one
        that starts again; without it they are remembered in this process alone.

    A seal with an ``audience`` can be opened by that audience only, which keeps processes without a
    common folder from opening it once each.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = Path(folder) if folder is not None else None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._opened: set[str] = set()
        self._tokens: dict[str, CapabilityToken] = {}

    def token(self, id: str) -> CapabilityToken | None:
        """The token with that id that was sealed or unsealed here."""
        return self._tokens.get(id)

    def keep(self, token: CapabilityToken) -> None:
        """Remember a token and those it was narrowed from, as long as the ledger is there."""
        with self._lock:
            for one in token.chain:
                known = self._tokens.setdefault(one.id, one)
                if known.account is not one.account:
                    raise UsageError(
                        "two tokens have the same id",
                        found=f"{one!r} and {known!r}",
                        fix="leave the ids of tokens that are sealed to chance",
                    )

    def open(self, nonce: str) -> bool:
        """Note that a seal is opened; False where it was opened before."""
        with self._lock:
            if nonce in self._opened:
                return False
            self._opened.add(nonce)
        if self._folder is None:
            return True
        try:
            # Who makes the file has opened it, whichever process on this machine comes second.
            os.close(os.open(self._folder / nonce, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True


_PROCESS_LEDGER = SealLedger()
_WORLD_LEDGERS: weakref.WeakKeyDictionary[Any, SealLedger] = weakref.WeakKeyDictionary()


def ledger_here() -> SealLedger:
    """The ledger of this process, or of the simulated world that runs now: a world's second run
    draws the same ids again, and must find nothing that the first left."""
    inside = sys.modules.get("windtunnel.sim.inside")
    world = (inside.world or inside.armed) if inside is not None else None
    if world is None:
        return _PROCESS_LEDGER
    return _WORLD_LEDGERS.setdefault(world, SealLedger())


def seal(
    token: CapabilityToken,
    key: Keys,
    *,
    audience: str = "",
    valid_s: float | None = None,
    ledger: SealLedger | None = None,
) -> str:
    """A text that carries the token out of the process.

    :param key: at least 16 random bytes, or several keys of which the first seals.
    :param audience: who may open it; empty for whoever has the key.
    :param valid_s: seconds within which it must be opened; None for any time.
    :param ledger: where the token is remembered; by default the process's own.
    :raises UsageError: for a key that is too short.

    >>> key = bytes(range(32))
    >>> token = CapabilityToken("fs.read", CapabilityConstraint(resources="/data/**", uses=2))
    >>> text = seal(token, key)
    >>> unseal(text, key) is token
    True
    >>> unseal(text, key)
    Traceback (most recent call last):
        ...
    windtunnel.sessions.errors.CapabilityDenied: not allowed: sealed token unseal
      found: the seal was opened before ...
    """
    ledger = ledger or ledger_here()
    ledger.keep(token)
    now = current_context().clock.time()
    with accounts.exclusive():
        chain = [_plain(one) for one in token.chain]
    content = {
        "nonce": secrets.token_hex(16),
        "audience": audience,
        "until": None if valid_s is None else now + valid_s,
        "chain": chain,
    }
    first = _keys(key)[0]
    payload = _encoded(json.dumps(content, separators=(",", ":")).encode())
    signed = f"{_VERSION}.{_key_name(first)}.{payload}"
    return f"{signed}.{_signature(first, signed)}"


def unseal(
    text: str, key: Keys, *, audience: str = "", ledger: SealLedger | None = None
) -> CapabilityToken:
    """The token that was sealed. Opens a text once.

    :param key: the key, or every key that may have sealed it.
    :param audience: who opens it.
    :param ledger: where opened seals are noted; by default the process's own.
    :raises CapabilityDenied: where it was forged, changed, sealed with another key or for another
        audience, opened before or too late; the refusal is on record in the current context.
    """
    ledger = ledger or ledger_here()
    content = _verified(text, _keys(key))
    if content is None:
        raise _refused("the seal is broken: forged, changed, or made with another key")
    if not hmac.compare_digest(content["audience"].encode(), audience.encode()):
        raise _refused("the seal is for another audience")
    until = content["until"]
    if until is not None and current_context().clock.time() >= until:
        raise _refused("the seal has expired")
    if not ledger.open(content["nonce"]):
        raise _refused("the seal was opened before")
    try:
        return _restored(content["chain"], ledger)
    except (UsageError, TypeError, KeyError):
        raise _refused("the seal holds what this version does not read") from None


def _verified(text: object, keys: tuple[bytes, ...]) -> dict[str, Any] | None:
    match = _TEXT.fullmatch(text) if isinstance(text, str) and len(text) <= LONGEST_TEXT else None
    if match is None:
        return None
    signed = f"{_VERSION}.{match[1]}.{match[2]}"
    for key in keys:
        # Compared as text, so that the same bytes spelt differently are no second seal.
        if _key_name(key) == match[1] and hmac.compare_digest(_signature(key, signed), match[3]):
            content: dict[str, Any] = json.loads(_decoded(match[2]))
            return content
    return None


def _refused(reason: str) -> CapabilityDenied:
    return current_context().refuse("sealed token", operation="unseal", reason=reason).error()


def _plain(token: CapabilityToken) -> dict[str, Any]:
    account = token.account
    return {
        "id": token.id,
        "type": token.type,
        "constraints": [one.given() for one in token.constraints],
        "used": [account.uses, account.bytes_used, account.cpu_used],
        "ended": [account.revoked, account.expired],
    }


def _restored(chain: list[dict[str, Any]], ledger: SealLedger) -> CapabilityToken:
    token: CapabilityToken | None = None
    for plain in reversed(chain):
        known = ledger.token(plain["id"])
        account = known.account if known is not None else accounts.Account()
        accounts.catch_up(account, *plain["used"], *plain["ended"])
        token = known or restored(
            plain["type"],
            [CapabilityConstraint(**bounds) for bounds in plain["constraints"]],
            id=plain["id"],
            parent=token,
            account=account,
        )
    if token is None:
        raise UsageError("a seal holds no token")
    ledger.keep(token)
    return token


def _keys(key: Keys) -> tuple[bytes, ...]:
    keys = (key,) if isinstance(key, bytes) else tuple(key)
    if not keys:
        raise UsageError("no key is given to seal with", fix="secrets.token_bytes(32)")
    for one in keys:
        if not isinstance(one, bytes) or len(one) < SHORTEST_KEY:
            raise UsageError(
                f"a key is at least {SHORTEST_KEY} random bytes",
                found=f"{len(one)} bytes" if isinstance(one, bytes) else type(one).__name__,
                fix="secrets.token_bytes(32)",
            )
    return keys


def _key_name(key: bytes) -> str:
    """Which key it is, without telling anything of it."""
    return hmac.digest(key, _PURPOSE + b"name", hashlib.sha256).hex()[:8]


def _signature(key: bytes, signed: str) -> str:
    return _encoded(hmac.digest(key, _PURPOSE + signed.encode(), hashlib.sha256))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


__all__ = ["Keys", "SealLedger", "ledger_here", "seal", "unseal"]
