"""A node's clock: true virtual time seen with an offset, a drift and jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.core.errors import UsageError

if TYPE_CHECKING:
    from windtunnel.sim.world import World

# A machine has been up for a while when a program starts on it; a program that takes a
# monotonic clock of 0 for "never" is wrong, and one that starts at 0 would hide it.
_UP_NS = 1_000 * 10**9
_MILLION = 1_000_000
_LIMIT_PPM = 500_000


class NodeClock:
    """The clock of one node.

    The monotonic clock runs at the node's own rate and never jumps; the wall clock is the
    monotonic one plus an offset, and may be moved. ``loop.time`` is the monotonic clock.

    :param world: whose true time it reads.
    :param offset_s: seconds by which the wall clock is ahead.
    :param drift_ppm: parts per million by which the clock is fast (below 0: slow).

    """

    __slots__ = ("_base_mono_ns", "_base_true_ns", "_drift_ppm", "_wall_ns", "_world")

    def __init__(self, world: World, *, offset_s: float = 0.0, drift_ppm: float = 0.0) -> None:
        self._world = world
        self._base_true_ns = world.now_ns
        self._base_mono_ns = _UP_NS + world.now_ns
        self._wall_ns = world.config.epoch_ns - _UP_NS + round(offset_s * 1e9)
        self._drift_ppm = 0
        self.drift_ppm = drift_ppm

    @property
    def drift_ppm(self) -> float:
        """Parts per million by which the clock runs fast; may be set at any time."""
        return self._drift_ppm

    @drift_ppm.setter
    def drift_ppm(self, value: float) -> None:
        if not -_LIMIT_PPM <= value <= _LIMIT_PPM:
            raise UsageError(
                f"a clock's drift is from -{_LIMIT_PPM} to {_LIMIT_PPM} ppm", found=repr(value)
            )
        self._base_mono_ns = self.monotonic_ns()
        self._base_true_ns = self._world.now_ns
        self._drift_ppm = round(value)
        self._note(drift_ppm=self._drift_ppm)

    def monotonic_ns(self) -> int:
        """Nanoseconds of the clock that never goes backwards."""
        since = self._world.now_ns - self._base_true_ns
        if self._drift_ppm:
            since += since * self._drift_ppm // _MILLION
        return self._base_mono_ns + since

    def time_ns(self) -> int:
        """Nanoseconds since 1970 as this node believes."""
        return self._wall_ns + self.monotonic_ns()

    def true_ns(self, monotonic_ns: int) -> int:
        """The true time, in ns since the world began, at which the monotonic clock shows
        ``monotonic_ns`` when its rate stays as it is."""
        since = monotonic_ns - self._base_mono_ns
        if self._drift_ppm:
            since = -(-since * _MILLION // (_MILLION + self._drift_ppm))
        return self._base_true_ns + since

    @property
    def offset_s(self) -> float:
        """Seconds by which the wall clock is ahead of the true one."""
        true = self._world.config.epoch_ns + self._world.now_ns
        return (self.time_ns() - true) / 1e9

    def jump(self, seconds: float) -> None:
        """Move the wall clock by so many seconds, forward or (below 0) back."""
        self._wall_ns += round(seconds * 1e9)
        self._note(jump_s=seconds)

    def _note(self, **facts: float) -> None:
        for node in self._world.nodes.values():
            if node.clock is self:
                self._world.note("clock", node=node.name, **facts)
