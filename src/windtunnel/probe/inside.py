"""Conditions that concern the inside of the interpreter: randomness, clock, threads, listings.

Called by :mod:`windtunnel.probe.observer` in the process that runs the tests, never elsewhere:
what is patched here stays patched until that process ends.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import pytest

from windtunnel.probe import chamber

_LOOPBACK = frozenset({"", "localhost", "0.0.0.0", "::", "::1", "ip6-localhost", "<broadcast>"})

# Taken now, before anything moves or freezes them.
_getpid = os.getpid
_urandom = os.urandom
_sleep = time.sleep


def apply(wishes: Mapping[str, Any], config: pytest.Config) -> None:
    """Apply the conditions that hold for the whole process."""
    switch_s = wishes.get("switch_s")
    if switch_s is not None:
        sys.setswitchinterval(switch_s)
    if zone := wishes.get("zone"):
        os.environ["TZ"] = str(zone)
        time.tzset()
    if listing := wishes.get("listing"):
        _order_listings(str(listing))
    _seed(wishes.get("seed"), config)
    if (date := wishes.get("date")) is not None:
        set_date(float(date), frozen=bool(wishes.get("frozen")))


def before_test(wishes: Mapping[str, Any], config: pytest.Config) -> None:
    """Apply what each test is to begin with: the same state of randomness, the disturbances."""
    if wishes.get("seed") is not None:
        _seed(wishes["seed"], config)
    if wishes.get("noise"):
        _make_noise(str(config.rootpath))
    if wishes.get("paused") and not _pausing:
        _pausing.append(_pause_repeatedly())


def fresh_randomness(config: pytest.Config) -> None:
    """Give a forked process randomness of its own, as a process of its own would have."""
    _seed_generators(int.from_bytes(_urandom(4), "little"), config)


_pausing: list[int] = []
_PAUSED_S, _RUNNING_S = 0.15, 0.003


def _pause_repeatedly() -> int:
    """Start a process that stops this one over and over, and ends with it."""
    victim = _getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        chamber.die_with_parent()
        os.setsid()
        with contextlib.suppress(OSError):
            os.nice(-10)  # the shorter it lets the process run, the better
        stream = random.Random()
        while True:
            os.kill(victim, signal.SIGSTOP)
            _sleep(_PAUSED_S)
            os.kill(victim, signal.SIGCONT)
            _sleep(_RUNNING_S * (0.3 + stream.random()))
    finally:
        os._exit(0)


def _make_noise(root: str) -> None:
    """Let other threads and tasks in between the lines of the project's own code.

    Source: O. Edelstein et al., "Multithreaded Java program test generation", IBM Systems
    Journal 41(1), 2002: noise at random places makes rare interleavings frequent.
    """
    stream = random.Random()

    def between_lines(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and stream.random() < 0.05:
            _sleep(stream.random() * 0.001)
        return between_lines

    def enters(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        return between_lines if name.startswith(root) and "site-packages" not in name else None

    threading.settrace(enters)
    sys.settrace(enters)


def _seed(seed: int | None, config: pytest.Config) -> None:
    if seed is None:
        return
    _seed_generators(seed, config)
    stream = random.Random(seed)

    def urandom(size: int, /) -> bytes:
        return stream.randbytes(size)

    # uuid4, secrets and SystemRandom all come down to this one function.
    os.urandom = urandom
    random._urandom = urandom  # type: ignore[attr-defined]  # SystemRandom's own reference


def _seed_generators(seed: int, config: pytest.Config) -> None:
    random.seed(seed)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(seed % 2**32)
    if hasattr(config.option, "randomly_seed"):
        # pytest-randomly seeds before each test, with this.
        config.option.randomly_seed = seed % 2**32


def _order_listings(order: str) -> None:
    listdir: Callable[..., list[Any]] = os.listdir
    scandir: Callable[..., Any] = os.scandir

    def arranged(entries: list[Any], name: Callable[[Any], Any]) -> list[Any]:
        entries.sort(key=name, reverse=order == "reversed")
        if order == "shuffled":
            random.Random(len(entries)).shuffle(entries)
        return entries

    def our_listdir(path: Any = None) -> list[Any]:
        return arranged(listdir(path), lambda entry: entry)

    class Scan:
        """os.scandir's iterator, arranged."""

        def __init__(self, path: Any = None) -> None:
            with scandir(path) as entries:
                self._entries = iter(arranged(list(entries), lambda entry: entry.name))

        def __iter__(self) -> Iterator[Any]:
            return self._entries

        def __next__(self) -> Any:
            return next(self._entries)

        def __enter__(self) -> Scan:
            return self

        def __exit__(self, *exc: object) -> None:
            self.close()

        def close(self) -> None:
            self._entries = iter(())

    os.listdir = our_listdir
    os.scandir = Scan  # type: ignore[assignment]  # called like the function it replaces


_traveller: Any = None


def set_date(epoch: float, *, frozen: bool) -> None:
    """Move the wall clock: by libfaketime where it is preloaded, else by time-machine."""
    global _traveller
    offset = os.environ.get("FAKETIME")
    if offset is not None and "FAKETIME_NO_CACHE" in os.environ and not frozen:
        # The library looks at this variable at every call (FAKETIME_NO_CACHE).
        real = time.time() - float(offset)
        os.environ["FAKETIME"] = f"{epoch - real:+f}"
        return
    import time_machine

    if _traveller is not None:
        _traveller.stop()
    _traveller = time_machine.travel(epoch, tick=not frozen)
    _traveller.start()


def outside_host(event: str, arguments: tuple[Any, ...]) -> str:
    """The host outside this machine that an audit event is about; empty for any other event.

    >>> outside_host("socket.getaddrinfo", ("example.org", 80, 0, 0, 0))
    'example.org'
    >>> outside_host("socket.connect", (None, ("127.0.0.1", 80)))
    ''
    """
    if event == "socket.connect" and len(arguments) > 1 and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and arguments:
        host = arguments[0]
    else:
        return ""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(host, str) or host in _LOOPBACK or host.startswith("127."):
        return ""
    return host
