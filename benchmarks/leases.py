"""What a lease costs each test: ours next to the peers' way, same run, interleaved.

    python benchmarks/leases.py [--quick]

Each figure is the time from asking to having, in milliseconds: median, and 5th to 95th percentile,
over that many samples. Ours and the peer's samples alternate, so that both meet the same machine.

The peers, as far as their way can be repeated without installing them:

* port: bind to port 0, read the number, close (what most helpers named `free_port` do, with
  the race that leaves);
* redis: FLUSHALL through redis-py, as pytest-redis's ``redisdb`` fixture does;
* postgres: DROP and CREATE DATABASE ... TEMPLATE when the test begins, as pytest-postgresql's
  ``postgresql`` fixture does;
* named: a lock file made with O_EXCL, as filelock's SoftFileLock does (stale after a kill).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from windtunnel.own import NamedLease, PortLease, PostgresServer, RedisServer, Scope
from windtunnel.own.once import Shared

Act = Callable[[], object]


def alternate(count: int, *acts: tuple[Act, Act]) -> list[list[float]]:
    """Milliseconds of each act, taken in turns; its second half undoes it, untimed."""
    samples: list[list[float]] = [[] for _ in acts]
    for _ in range(count):
        for (act, undo), sample in zip(acts, samples, strict=True):
            begin = time.perf_counter()
            act()
            sample.append((time.perf_counter() - begin) * 1000)
            undo()
    return samples


def show(name: str, samples: list[float]) -> None:
    ordered = sorted(samples)
    low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
    median = statistics.median(ordered)
    print(f"  {name:<44} {median:9.3f} ms   ({low:.3f} to {high:.3f}, n={len(ordered)})")


def nothing() -> None:
    pass


def ports(count: int) -> None:
    held: list[PortLease] = []

    def peer() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            probe.getsockname()

    ours, theirs = alternate(
        count, (lambda: held.append(PortLease()), lambda: held.pop().release()), (peer, nothing)
    )
    print("port")
    show("leased, bound until handed over", ours)
    show("bind(0) and close, as free_port helpers", theirs)


def redis(count: int) -> None:
    from redis import Redis

    with Scope("redis", house=True) as scope:
        begin = time.perf_counter()
        server = RedisServer(scope)
        started = time.perf_counter() - begin
        with Redis.from_url(server.lease.url) as client:

            def dirty() -> None:
                client.set("key", "value")

            dirty()
            ours, theirs = alternate(count, (server.clean, dirty), (client.flushall, dirty))
    print("redis")
    show("emptied before the test (promise: < 0.3)", ours)
    show("FLUSHALL through redis-py, as pytest-redis", theirs)
    print(f"  the worker's server, once: {started * 1000:.0f} ms")


def postgres(count: int) -> None:
    import psycopg

    with Scope("postgres", house=True) as scope:
        begin = time.perf_counter()
        server = PostgresServer(scope)
        started = time.perf_counter() - begin
        given = [server.clean()]
        admin = psycopg.connect(given[0].url.replace(given[0].database, "postgres"))
        admin.autocommit = True
        admin.execute("CREATE DATABASE peer_template")

        def test_body() -> None:
            with psycopg.connect(given[-1].url) as connection:
                connection.execute("CREATE TABLE t (x int)")
            time.sleep(0.1)  # a test that does something besides
            server.finish(given.pop())

        def peer() -> None:
            admin.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
            admin.execute("CREATE DATABASE peer TEMPLATE peer_template")

        def peer_body() -> None:
            time.sleep(0.1)

        test_body()
        ours, theirs = alternate(
            count, (lambda: given.append(server.clean()), test_body), (peer, peer_body)
        )
        admin.close()
    print("postgres (tests of 0.1 s)")
    show("database a test, cloned one ahead", ours)
    show("dropped and cloned when asked for", theirs)
    print(f"  the worker's server, once: {started * 1000:.0f} ms (initdb cached)")


def named(count: int, folder: Path) -> None:
    held: list[NamedLease] = []
    soft = folder / "soft"

    def peer() -> None:
        os.close(os.open(soft, os.O_CREAT | os.O_EXCL))

    ours, theirs = alternate(
        count,
        (
            lambda: held.append(NamedLease({"gpu": 1}, {"gpu": 2}, directory=folder)),
            lambda: held.pop().release(),
        ),
        (peer, soft.unlink),
    )
    print("named resource, free")
    show("one slot of two, released by the kernel", ours)
    show("lock file by O_EXCL, stale after a kill", theirs)


def once(count: int, folder: Path) -> None:
    joined: list[Shared[int]] = []
    with Shared("value", lambda scope: 1, directory=folder):
        [ours] = alternate(
            count,
            (
                lambda: joined.append(Shared("value", lambda scope: 2, directory=folder)),
                lambda: joined.pop().leave(),
            ),
        )
    print("value made once for all workers (once a worker, not a test)")
    show("joining one that is made", ours)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    share = 10 if parser.parse_args().quick else 1
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        ports(2000 // share)
        redis(2000 // share)
        named(2000 // share, Path(folder))
        once(500 // share, Path(folder))
        postgres(60 // share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
