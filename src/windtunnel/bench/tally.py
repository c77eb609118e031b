"""What was taken: a job for whoever calls the function, and what came of it."""

from __future__ import annotations

import dataclasses
from collections import Counter


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Calls to make.

    :param calls: how many; None for as many as ``for_s`` allows.
    :param for_s: begin no further call after that many seconds.
    :param inner: calls timed together, as one sample. 1 times each call by itself.
    :param concurrency: calls under way at the same time. 0, in an open loop, is without limit.
    :param starts_s: an open loop: when each call is to start, seconds from the beginning.
    :param idle: call a function that does nothing instead, to see what calling itself costs.
    """

    calls: int | None = None
    for_s: float | None = None
    inner: int = 1
    concurrency: int = 1
    starts_s: tuple[float, ...] = ()
    idle: bool = False


@dataclasses.dataclass(slots=True)
class Tally:
    """What came of a job.

    :param times: seconds a call, a sample an entry, in the order they ended.
    :param calls: calls made, failures among them.
    :param failed: seconds that each failed call took.
    :param errors: how often each error was raised, by its type and first line.
    :param late: an open loop: seconds from when a call should have started until it did.
    """

    times: list[float] = dataclasses.field(default_factory=list)
    calls: int = 0
    failed: list[float] = dataclasses.field(default_factory=list)
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    late: list[float] = dataclasses.field(default_factory=list)
    elapsed_s: float = 0.0

    def add(self, seconds: float, calls: int = 1) -> None:
        """A sample of so many calls, each of which took ``seconds``."""
        self.times.append(seconds)
        self.calls += calls

    def fail(self, seconds: float, error: Exception) -> None:
        """A call that raised."""
        self.failed.append(seconds)
        self.calls += 1
        first = (str(error).splitlines() or [""])[0][:120]
        self.errors[f"{type(error).__name__}: {first}" if first else type(error).__name__] += 1

    def broken_batch(self, seconds: float, done: int, error: Exception) -> None:
        """A batch that ended with a failure after ``done`` good calls: nobody timed the failure
        by itself, so all of them get the mean of the batch."""
        each = seconds / (done + 1)
        if done:
            self.add(each, done)
        self.fail(each, error)

    def join(self, other: Tally) -> None:
        """Take in what another made, before or beside; the elapsed time adds up."""
        self.times += other.times
        self.calls += other.calls
        self.failed += other.failed
        self.errors += other.errors
        self.late += other.late
        self.elapsed_s += other.elapsed_s
