"""Redis for tests: a server of the worker's own, or a part of a given server that is its alone.

The own server keeps nothing on disk, listens on a leased port and a unix socket, and is emptied
before each test. Of a given server a worker leases a database number (under a file lock on this
machine, and only one that is empty), or a key prefix that nobody else has.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from windtunnel.core import ResourceError, UsageError
from windtunnel.own import inventory
from windtunnel.own.children import Child, find_binary
from windtunnel.own.home import folder
from windtunnel.own.ledger import note
from windtunnel.own.locks import FileLock
from windtunnel.own.resp import RedisConnection, RedisReplyError
from windtunnel.own.scope import Scope
from windtunnel.own.server_folder import ServerFolder
from windtunnel.own.waiting import wait_until

_START_WITHIN_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class RedisLease:
    """A Redis database that is the test's alone while it runs, and empty when it begins.

    :param prefix: what all keys must begin with; empty unless the server is shared by prefix.
    :param unix_socket: path of the server's unix socket; empty where it is not ours.
    """

    url: str
    host: str
    port: int
    db: int
    prefix: str = ""
    unix_socket: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What tells a program where it is."""
        exported = {
            "REDIS_URL": self.url,
            "REDIS_HOST": self.host,
            "REDIS_PORT": str(self.port),
            "REDIS_DB": str(self.db),
        }
        return exported | ({"REDIS_PREFIX": self.prefix} if self.prefix else {})


class RedisServer:
    """A redis-server process of this process's own, ended with ``scope``.

    :raises MissingBinaryError: where redis-server is not installed.
    :raises ResourceError: when it does not answer in time; the message ends with its log.

    >>> with Scope("doc") as scope:
    ...     server = RedisServer(scope)
    ...     server.lease.environment["REDIS_DB"]
    '0'
    """

    def __init__(self, scope: Scope) -> None:
        self._program = find_binary("redis-server", package="redis-server")
        self._scope = scope
        # A unix socket's path may have 107 bytes: the folder is not under a long TMPDIR.
        self._folder = scope.add(ServerFolder.made("r-")).path
        self._port = scope.port()
        host, port = self._port.address
        self.lease = RedisLease(
            url=f"redis://{host}:{port}/0",
            host=host,
            port=port,
            db=0,
            unix_socket=str(self._folder / "s"),
        )
        self._cleaning: list[tuple[str, ...]] = [
            ("FLUSHALL",),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "FLUSH"),
        ]
        self._connection: RedisConnection | None = None
        self._connected_pid = 0
        self._child = self._start()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._child.pid

    def clean(self) -> RedisLease:
        """Empty it: all databases, scripts and functions. A server that a test has stopped or
        blocked is replaced by a new one on the same port."""
        try:
            self._flush()
        except (OSError, ResourceError):
            self._child.force()
            self._child.release()
            self._disconnect()
            self._child = self._start()
            self._flush()
        return self.lease

    def _start(self) -> Child:
        child = self._scope.child(
            [
                self._program,
                *("--port", str(self.lease.port), "--bind", self.lease.host),
                *("--unixsocket", self.lease.unix_socket, "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                *("--dir", str(self._folder), "--logfile", str(self._folder / "log")),
            ],
            name=f"redis-server on port {self.lease.port}",
            stop_signal=signal.SIGKILL,  # it has nothing to save
        )
        if not wait_until(lambda: not child.running or self._answers(), _START_WITHIN_S) or (
            not child.running
        ):
            log = self._folder / "log"
            said = log.read_text(errors="replace")[-600:] if log.exists() else "nothing"
            raise ResourceError("redis-server does not answer", found=f"its log: {said.strip()}")
        return child

    def _answers(self) -> bool:
        try:
            return self._connect().call("PING") == "PONG"
        except (OSError, RedisReplyError):
            self._disconnect()
            return False

    def _flush(self) -> None:
        try:
            self._connect().call_all(*self._cleaning)
        except RedisReplyError:
            if len(self._cleaning) == 1:
                raise
            self._cleaning.pop()  # before Redis 7 there are no functions
            self._flush()

    def _connect(self) -> RedisConnection:
        if self._connection is None or self._connected_pid != os.getpid():
            self._connection = RedisConnection(self.lease.unix_socket)
            self._connected_pid = os.getpid()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class RedisShare:
    """A part of a server that others use too, given back and emptied with ``scope``.

    :param url: ``redis://[user:password@]host[:port]``.
    :param by: ``database`` or ``prefix``.
    :raises UsageError: for another kind of URL.
    :raises ResourceError: when the server cannot be reached, or has no empty database left.
    """

    kind = "redis"

    def __init__(self, scope: Scope, url: str, by: str) -> None:
        self._url = url
        self._pid = os.getpid()
        self._connection = connect(url)
        self._lock: FileLock | None = None
        db, prefix = 0, ""
        if by == "database":
            db, self._lock = _free_database(self._connection, url)
        else:
            prefix = f"wt-{secrets.token_hex(6)}:"
        parts = urlsplit(url)
        host, port = _address(url)
        self.lease = RedisLease(
            url=f"redis://{parts.netloc}/{db}", host=host, port=port, db=db, prefix=prefix
        )
        self.name = f"{prefix or f'database {db}'} on {host}:{port}"
        self._inventory = inventory.current()
        self._entry = self._inventory.take(
            "redis", undo=f"{__name__}:undo", name=self.name, url=url, db=db, prefix=prefix
        )
        note("acquired", self.kind, self.name)
        scope.add(self)

    def clean(self) -> RedisLease:
        """Empty it."""
        if self._pid != os.getpid():
            self._pid, self._connection = os.getpid(), connect(self._url)
            self._lock = None  # the parent's, which it keeps
        _empty(self._connection, self.lease.db, self.lease.prefix)
        return self.lease

    # -- as a part of a scope ----------------------------------------------------------------

    def stop(self) -> None:
        """Empty it for whoever comes next."""
        self.clean()

    def stopped(self) -> bool:
        """At once."""
        return True

    def force(self) -> str:
        """Never needed."""
        return ""

    def release(self) -> None:
        """Give it back."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()
        self._inventory.drop(self._entry)
        note("released", self.kind, self.name)


def undo(entry: dict[str, Any]) -> bool:
    """What the reaper does with a dead owner's share; whether there was anything to do."""
    connection = connect(entry["url"])
    lock: FileLock | None = None
    try:
        if not entry["prefix"]:
            lock = _database_lock(entry["url"], entry["db"])
            if not lock.take():
                return False  # it was empty, and is another's by now
        return _empty(connection, entry["db"], entry["prefix"]) > 0
    finally:
        connection.close()
        if lock is not None:
            lock.close()


def connect(url: str) -> RedisConnection:
    """A connection to the server a URL names.

    :raises UsageError: for another kind of URL.
    :raises ResourceError: when nobody answers there.
    """
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.path.strip("/"):
        raise UsageError(
            "a Redis server to share is named redis://[user:password@]host[:port]",
            found=repr(url),
            fix="leave the database number out: each worker leases its own",
        )
    try:
        connection = RedisConnection(_address(url))
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            connection.call("AUTH", *user, unquote(parts.password))
        connection.call("PING")
    except OSError as error:
        raise ResourceError(
            f"no Redis server answers at {parts.hostname}",
            found=str(error),
            fix="start it, or leave redis_url empty for a server of each worker's own",
        ) from None
    return connection


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 6379


def _free_database(connection: RedisConnection, url: str) -> tuple[int, FileLock]:
    count = 16
    try:
        answer = connection.call("CONFIG", "GET", "databases")
        if isinstance(answer, list) and len(answer) == 2:
            count = int(str(answer[1]))
    except RedisReplyError:
        pass  # a managed server may forbid CONFIG; 16 is what servers come with
    for db in range(1, count):
        lock = _database_lock(url, db)
        if lock.take():
            connection.call("SELECT", str(db))
            # One with keys in it is somebody's: a person's, a program's that does not lock.
            if connection.call("DBSIZE") == 0:
                return db, lock
        lock.close()
    raise ResourceError(
        f"no database of the Redis server {_address(url)[0]} is free",
        found=f"databases 1 to {count - 1} are leased or have keys in them",
        fix='use fewer workers, redis_by = "prefix", or a server of each worker\'s own',
    )


def _database_lock(url: str, db: int) -> FileLock:
    host, port = _address(url)
    return FileLock(folder("redis") / f"{quote(host, safe='')}-{port}-{db}")


def _empty(connection: RedisConnection, db: int, prefix: str) -> int:
    """Delete what a share holds; how many keys that were."""
    connection.call("SELECT", str(db))
    if not prefix:
        count, _ = connection.call_all(("DBSIZE",), ("FLUSHDB",))
        return int(str(count))
    deleted, cursor = 0, "0"
    while True:
        answer = connection.call("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", "1000")
        if not isinstance(answer, list) or not isinstance(answer[1], list):
            raise ResourceError("the Redis server answers SCAN as none does", found=repr(answer))
        cursor, keys = str(answer[0]), [str(key) for key in answer[1]]
        if keys:
            deleted += int(str(connection.call("DEL", *keys)))
        if cursor == "0":
            return deleted
