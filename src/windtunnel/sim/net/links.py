"""Links: how long a message takes from one node to another, and what may happen to it.

Configuration is plain frozen data, so that a world can be printed, compared and drawn at
random. What a link is at a moment, with the faults that verbs put on it, is a :class:`Link`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

from windtunnel.core.errors import UsageError

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

_S = 1_000_000_000
# A draw picks one of so many equally likely latencies: a table lookup instead of a logarithm a
# message, and a smaller choice on the tape is a quicker message.
_STEPS = 1024


def _at_least_zero(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            raise UsageError(
                f"{name} of {type(owner).__name__} is a number from 0 on", found=repr(value)
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same latency.

    :param seconds: one way.

    >>> Fixed(0.002).quantile(0.9)
    0.002
    """

    seconds: float

    def __post_init__(self) -> None:
        _at_least_zero(self, "seconds")

    def quantile(self, p: float) -> float:
        """The latency, in seconds, below which a share ``p`` of messages stays."""
        return self.seconds


@dataclasses.dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two bounds, equally likely.

    :param low_s: shortest, seconds.
    :param high_s: longest, seconds.
    :raises UsageError: when ``high_s`` is below ``low_s``.

    >>> Uniform(0.001, 0.003).quantile(0.5)
    0.002
    """

    low_s: float
    high_s: float

    def __post_init__(self) -> None:
        _at_least_zero(self, "low_s", "high_s")
        if self.high_s < self.low_s:
            raise UsageError("high_s of Uniform is not below low_s", found=repr(self))

    def quantile(self, p: float) -> float:
        """The latency, in seconds, below which a share ``p`` of messages stays."""
        return self.low_s + (self.high_s - self.low_s) * p


@dataclasses.dataclass(frozen=True, slots=True)
class Lognormal:
    """Mostly near the median, with a long tail: what round trips in networks look like.

    :param median_s: half of the messages are quicker, seconds.
    :param sigma: standard deviation of the logarithm; 0.5 gives a 99th percentile of about
        three times the median.

    >>> round(Lognormal(0.001, 0.5).quantile(0.5), 6)
    0.001
    """

    median_s: float
    sigma: float = 0.5

    def __post_init__(self) -> None:
        _at_least_zero(self, "median_s", "sigma")

    def quantile(self, p: float) -> float:
        """The latency, in seconds, below which a share ``p`` of messages stays."""
        return self.median_s * math.exp(self.sigma * NormalDist().inv_cdf(p))


@dataclasses.dataclass(frozen=True, slots=True)
class Exponential:
    """A least time, and a memoryless wait above it.

    :param mean_s: mean of the wait above ``least_s``, seconds.
    :param least_s: what even the quickest message takes, seconds.

    >>> round(Exponential(0.001, least_s=0.002).quantile(0.5), 6)
    0.002693
    """

    mean_s: float
    least_s: float = 0.0

    def __post_init__(self) -> None:
        _at_least_zero(self, "mean_s", "least_s")

    def quantile(self, p: float) -> float:
        """The latency, in seconds, below which a share ``p`` of messages stays."""
        return self.least_s - self.mean_s * math.log1p(-p)


Latency: TypeAlias = Fixed | Uniform | Lognormal | Exponential
"""How long a message is under way."""


@dataclasses.dataclass(frozen=True, slots=True)
class LinkConfig:
    """What the way from one node to another is like.

    :param latency: of one message, one way.
    :param bandwidth: bytes per second; messages queue for it. None for no limit.
    :param loss: share of messages that do not arrive, 0 to 1. A datagram is gone; a piece of a
        stream is sent again, so it comes later.
    :param duplicate: share of datagrams that arrive twice, 0 to 1.
    :param reorder: share of datagrams that are held up so that later ones overtake them, 0 to 1.
        (A latency that varies reorders too.)
    :param reorder_s: for how long at most, seconds.
    :param fragment: share of pieces of a stream that arrive in two, 0 to 1: finds programs that
        take one read for one message.
    :raises UsageError: for a value outside its range.

    >>> LinkConfig(latency=Fixed(0.05), loss=0.01).loss
    0.01
    """

    latency: Latency = Lognormal(0.001, 0.5)
    bandwidth: float | None = None
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_s: float = 0.01
    fragment: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.latency, Latency):
            raise UsageError(
                "the latency of a link is Fixed, Uniform, Lognormal or Exponential",
                found=repr(self.latency),
                fix="write latency=Fixed(0.005) for five milliseconds",
            )
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise UsageError(
                "the bandwidth of a link is above zero, in bytes per second",
                found=repr(self.bandwidth),
            )
        _at_least_zero(self, "reorder_s")
        for name in ("loss", "duplicate", "reorder", "fragment"):
            check_rate(name, getattr(self, name))


def check_rate(name: str, value: object) -> None:
    """:raises UsageError: when ``value`` is not a share, 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name} is a share of messages, from 0 to 1", found=repr(value))


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network of a world, and what its kernels do. Defaults are those of Linux.

    :param loopback: the way from a node to itself.
    :param between: the way from one node to another.
    :param receive_buffer: bytes that wait in a kernel for a program that does not read.
    :param send_buffer: bytes that wait in the sender's kernel besides.
    :param datagram_buffer: bytes of datagrams that wait for a program that does not read.
    :param connect_timeout_s: after which ``connect`` gives up when nobody answers
        (``tcp_syn_retries`` 6 makes 127 seconds).
    :param unreachable_s: after which it gives up when there is no machine at that address.
    :param user_timeout_s: after which a connection whose bytes are not acknowledged is given up
        (``tcp_retries2`` 15 makes 924.6 seconds).
    :param retransmit_s: first wait before bytes are sent again; it doubles each time.
    :param retransmit_most_s: longest such wait.
    :param time_wait_s: for how long a closed connection keeps its address.
    :param resolve: how long it takes to look a name up, seconds.
    :param ipv6: whether names have IPv6 addresses too.
    :raises UsageError: for a value outside its range.

    >>> NetworkConfig(between=LinkConfig(latency=Fixed(0.01))).receive_buffer
    131072
    """

    loopback: LinkConfig = LinkConfig(latency=Fixed(20e-6))
    between: LinkConfig = LinkConfig()
    receive_buffer: int = 131_072
    send_buffer: int = 131_072
    datagram_buffer: int = 212_992
    connect_timeout_s: float = 127.0
    unreachable_s: float = 3.0
    user_timeout_s: float = 924.6
    retransmit_s: float = 0.2
    retransmit_most_s: float = 120.0
    time_wait_s: float = 60.0
    resolve_s: float = 0.0005
    ipv6: bool = True

    def __post_init__(self) -> None:
        for name in ("receive_buffer", "send_buffer", "datagram_buffer"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is a number of bytes above zero", found=repr(value))
        for name in ("loopback", "between"):
            if not isinstance(getattr(self, name), LinkConfig):
                raise UsageError(f"{name} is a LinkConfig", found=repr(getattr(self, name)))
        _at_least_zero(self, "time_wait_s", "resolve_s", "unreachable_s")
        for name in ("connect_timeout_s", "user_timeout_s", "retransmit_s", "retransmit_most_s"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 < value < math.inf):
                raise UsageError(f"{name} is a number of seconds above zero", found=repr(value))


class Link:
    """The way from one node to another, as it is now: one direction.

    :ivar delay: how long the next message is under way, nanoseconds; drawn when it varies.
    :ivar usual_ns: the median of that.
    :ivar blocked: messages are lost (a partition).
    :ivar held: messages wait until released.
    :ivar plain: nothing but latency happens to a message: the quick path is enough.
    """

    __slots__ = (
        "bandwidth", "base", "blocked", "busy_until_ns", "config", "delay", "held", "kept", "net",
        "plain", "source", "target", "usual_ns",
    )  # fmt: skip

    def __init__(self, net: Network, source: Node, target: Node, config: LinkConfig) -> None:
        self.net = net
        self.source = source
        self.target = target
        self.base = config
        self.blocked = False
        self.held = False
        self.busy_until_ns = 0
        self.kept: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.set(config)

    def set(self, config: LinkConfig) -> None:
        """Be like that from now on."""
        self.config = config
        latency = config.latency
        self.bandwidth = config.bandwidth
        if latency.quantile(0.001) == latency.quantile(0.999):
            fixed = self.usual_ns = round(latency.quantile(0.5) * _S)
            self.delay: Callable[[], int] = lambda: fixed
        else:
            table = latency_table(latency)
            self.usual_ns = table[_STEPS // 2]
            self.delay = self.net.world.tape.chooser("net.latency", table)
        self.plain = not (self.bandwidth or config.loss or config.fragment)

    def arrival_ns(self, size: int) -> int:
        """When a message of so many bytes that is sent now arrives: queueing, then latency."""
        now = self.net.world.now_ns
        if self.bandwidth:
            begin = max(now, self.busy_until_ns)
            now = self.busy_until_ns = begin + round(size * _S / self.bandwidth)
        return now + self.delay()

    def chance(self, label: str, rate: float) -> bool:
        """Whether something happens that does so with that rate; drawn only when it could."""
        return rate > 0 and (rate >= 1 or self.net.world.uniform(label) < rate)

    def __repr__(self) -> str:
        return f"<Link {self.source.name}->{self.target.name}>"


_tables: dict[Latency, tuple[int, ...]] = {}


def latency_table(latency: Latency) -> tuple[int, ...]:
    """Equally likely latencies, in nanoseconds, shortest first."""
    known = _tables.get(latency)
    if known is None:
        known = tuple(round(latency.quantile((step + 0.5) / _STEPS) * _S) for step in range(_STEPS))
        _tables[latency] = known
    return known
