"""What calls take of memory: a pass of its own, untimed, since tracing slows every allocation."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
import tracemalloc
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of Python's allocators, as ``tracemalloc`` counts it; C libraries with allocators of
    their own are not seen.

    :param peak_bytes: most that was held at once above what was held before, in all the calls.
    :param retained_bytes: still held after the calls and a collection, a call.
    :param retained_blocks: pieces of memory still held (``sys.getallocatedblocks``), a call.
    :param calls: how many calls the pass made.
    """

    peak_bytes: int
    retained_bytes: float
    retained_blocks: float
    calls: int


class MemoryPass:
    """Watches calls made inside :meth:`watching`."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.seen = Memory(peak_bytes=0, retained_bytes=0, retained_blocks=0, calls=calls)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Trace what happens inside. A tracing that goes on already is left going."""
        traced = tracemalloc.is_tracing()
        if not traced:
            tracemalloc.start()
        try:
            gc.collect()
            blocks = sys.getallocatedblocks()
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            yield
            _, peak = tracemalloc.get_traced_memory()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
            self.seen = Memory(
                peak_bytes=peak - before,
                retained_bytes=(after - before) / self.calls,
                retained_blocks=(sys.getallocatedblocks() - blocks) / self.calls,
                calls=self.calls,
            )
        finally:
            if not traced:
                tracemalloc.stop()

    def beyond(self, idle: MemoryPass) -> Memory:
        """What was seen here beyond what the calling itself takes, as ``idle`` saw it."""
        mine, base = self.seen, idle.seen
        return Memory(
            peak_bytes=max(0, mine.peak_bytes - base.peak_bytes),
            retained_bytes=max(0.0, mine.retained_bytes - base.retained_bytes),
            retained_blocks=max(0.0, mine.retained_blocks - base.retained_blocks),
            calls=self.calls,
        )
