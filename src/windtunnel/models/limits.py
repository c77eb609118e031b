"""What a client may use in a minute, and what it is told about it."""

from __future__ import annotations

import math
from collections.abc import Callable

from windtunnel.models.protocol import RateState, RefusedError, ReplyError

_MINUTE = 60.0
_PLENTY = 1_000_000_000


class _Bucket:
    """Fills at a steady rate up to a minute's worth (a token bucket)."""

    __slots__ = ("_at", "_left", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._left = float(limit)
        self._at = now

    def left(self, now: float) -> float:
        rate = self.limit / _MINUTE
        self._left = min(float(self.limit), self._left + (now - self._at) * rate)
        self._at = now
        return self._left

    def take(self, amount: float) -> None:
        self._left -= amount

    def wait(self, amount: float) -> float:
        """Seconds until so much is there."""
        return max(0.0, amount - self._left) * _MINUTE / self.limit


class Limiter:
    """Limits requests and tokens a minute for each API key.

    :param requests_per_minute: None for no limit; likewise ``tokens_per_minute``.
    :param now: the clock, in seconds.

    >>> time = [0.0]
    >>> limiter = Limiter(lambda: time[0], requests_per_minute=1)
    >>> limiter.take("key", 5).remaining_requests
    0
    >>> limiter.take("key", 5)
    Traceback (most recent call last):
    windtunnel.models.protocol.RefusedError: ...
    >>> time[0] = 61.0
    >>> limiter.take("key", 5).limit_requests
    1
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self._now = now
        self._requests = requests_per_minute or _PLENTY
        self._tokens = tokens_per_minute or _PLENTY
        self._buckets: dict[str, tuple[_Bucket, _Bucket]] = {}

    def take(self, key: str, tokens: int) -> RateState:
        """Use one request and so many tokens.

        :raises RefusedError: with status 429 and when to come again, where that is too much.
        """
        now = self._now()
        pair = self._buckets.get(key)
        if pair is None:
            pair = _Bucket(self._requests, now), _Bucket(self._tokens, now)
            self._buckets[key] = pair
        requests, written = pair
        requests.left(now)
        written.left(now)
        wait = max(requests.wait(1), written.wait(min(tokens, written.limit)))
        if wait > 0:
            what = "requests" if requests.wait(1) > 0 else "tokens"
            limit = self._requests if what == "requests" else self._tokens
            message = (
                f"Rate limit reached on {what} per min: Limit {limit}. "
                f"Please try again in {wait:.3g}s."
            )
            raise RefusedError(ReplyError(429, "rate_limit", message, math.ceil(wait)))
        requests.take(1)
        written.take(tokens)
        return RateState(
            self._requests,
            max(0, int(requests.left(now))),
            round(requests.wait(self._requests), 3),
            self._tokens,
            max(0, int(written.left(now))),
            round(written.wait(self._tokens), 3),
        )
