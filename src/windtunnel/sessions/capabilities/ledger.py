"""What became of each token: uses, bytes and CPU taken, expiry seen, revocation.

There is one :class:`Account` a token, shared by every context, task and thread that the token was
handed on to. All accounts are changed under one lock, so that a use that counts against several
(the token and all that it was narrowed from) counts against all or none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager


class Account:
    """The state of one token. Changed by the functions of this module only."""

    __slots__ = ("__weakref__", "bytes_used", "cpu_used", "expired", "revoked", "uses")

    def __init__(self) -> None:
        self.uses = 0
        self.bytes_used = 0
        self.cpu_used = 0.0
        self.expired = False
        self.revoked = ""


# Of the kind that its owner may take again: a destructor that the garbage collector runs while a
# use is being counted may use a capability itself.
_LOCK = threading.RLock()


def _new_lock_after_fork() -> None:
    """Whoever held it in another thread of the parent does not exist in the child."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)


def exclusive() -> AbstractContextManager[object]:
    """No use is counted and nothing is revoked by another thread while this is entered."""
    return _LOCK


class Bound:
    """One token's account with its limits, as a use is counted against it."""

    __slots__ = ("account", "cpu_s", "expires_at", "total_bytes", "uses", "who")

    def __init__(
        self,
        who: str,
        account: Account,
        *,
        uses: int | None = None,
        total_bytes: int | None = None,
        cpu_s: float | None = None,
        expires_at: float | None = None,
    ) -> None:
        self.who = who
        self.account = account
        self.uses = uses
        self.total_bytes = total_bytes
        self.cpu_s = cpu_s
        self.expires_at = expires_at

    def refusal(self, now: float, size: int, *, reserved: int = 0) -> str:
        """Why another use is not to be had at that time; empty when it is.

        :param reserved: 1 where the use asked about is counted already.
        """
        account = self.account
        if account.revoked:
            return f"{self.who} was {account.revoked}"
        if account.expired or (self.expires_at is not None and now >= self.expires_at):
            account.expired = True  # for good, whatever a clock that is set back says later
            return f"{self.who} has expired"
        if self.uses is not None and account.uses - reserved >= self.uses:
            return f"{self.who} is used up ({self.uses} of {self.uses} uses)"
        if self.total_bytes is not None:
            left = self.total_bytes - account.bytes_used + reserved * size
            if size > left:
                return f"{size} bytes are more than the {left} left in {self.who}"
        if self.cpu_s is not None and account.cpu_used >= self.cpu_s:
            return f"the {self.cpu_s:g} s of CPU of {self.who} are used up"
        return ""


def refusal(bounds: Sequence[Bound], now: float, size: int) -> str:
    """Why one of them refuses another use; empty when none does. Counts nothing."""
    with _LOCK:
        for bound in bounds:
            reason = bound.refusal(now, size)
            if reason:
                return reason
    return ""


def count(bounds: Sequence[Bound], now: float, size: int) -> str:
    """Count one use against all of them, or say why not and count it against none."""
    with _LOCK:
        # Counted before it is judged: a destructor that runs in between and uses the same token
        # sees this use, and the limit holds.
        for bound in bounds:
            bound.account.uses += 1
            bound.account.bytes_used += size
        reason = ""
        for bound in bounds:
            reason = bound.refusal(now, size, reserved=1)
            if reason:
                break
        if reason:
            for bound in bounds:
                bound.account.uses -= 1
                bound.account.bytes_used -= size
    return reason


def catch_up(
    account: Account, uses: int, bytes_used: int, cpu_used: float, revoked: str, expired: bool
) -> None:
    """Take over what another process had counted, where that is more."""
    with _LOCK:
        account.uses = max(account.uses, uses)
        account.bytes_used = max(account.bytes_used, bytes_used)
        account.cpu_used = max(account.cpu_used, cpu_used)
        account.revoked = account.revoked or revoked
        account.expired = account.expired or expired


def revoke(account: Account, why: str) -> None:
    """Take a token back. When this returns, no use of it succeeds any more."""
    with _LOCK:
        account.revoked = account.revoked or why


def cpu_left(bounds: Sequence[Bound]) -> float | None:
    """Seconds of CPU that all of them leave; None where none bounds it."""
    with _LOCK:
        left = [one.cpu_s - one.account.cpu_used for one in bounds if one.cpu_s is not None]
    return max(0.0, min(left)) if left else None


def charge(bounds: Sequence[Bound], cpu_s: float) -> None:
    """Add CPU time that a use has taken."""
    with _LOCK:
        for bound in bounds:
            bound.account.cpu_used += cpu_s


__all__ = [
    "Account",
    "Bound",
    "catch_up",
    "charge",
    "count",
    "cpu_left",
    "exclusive",
    "refusal",
    "revoke",
]
