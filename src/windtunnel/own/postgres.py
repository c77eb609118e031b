"""PostgreSQL for tests: a server of the worker's own, a database for each test.

The data folder of a new server is a copy of one that initdb made once on this machine for this
version. Each test's database is cloned from a template (CREATE DATABASE ... TEMPLATE), which the
user's SQL file or function filled once for the worker. The clone for the next test is ordered
as soon as this test has its own, so that as a rule it is ready when it is wanted.

Nothing here survives anyway, so nothing is flushed to disk: fsync, synchronous_commit and
full_page_writes are off (postgresql.org/docs/current/non-durability.html).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from windtunnel.core import ResourceError, UsageError
from windtunnel.own.children import Child, as_user, find_binary
from windtunnel.own.home import home
from windtunnel.own.locks import locked
from windtunnel.own.parts import remove_tree
from windtunnel.own.pgwire import PostgresConnection, PostgresQueryError
from windtunnel.own.scope import Scope
from windtunnel.own.server_folder import ServerFolder
from windtunnel.own.waiting import wait_until

_USER = "postgres"
_TEMPLATE = "wt_template"
_START_WITHIN_S = 60.0
_CONFIGURATION = """
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 4GB
checkpoint_timeout = 1d
autovacuum = off
shared_buffers = 32MB
max_connections = 200
max_prepared_transactions = 20
jit = off
logging_collector = off
"""


@dataclasses.dataclass(frozen=True, slots=True)
class PostgresLease:
    """A database that is the test's alone, as its template was when the test began."""

    host: str
    port: int
    user: str
    database: str
    unix_socket: str = ""

    @property
    def url(self) -> str:
        """``postgresql://user@host:port/database``."""
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def environment(self) -> dict[str, str]:
        """What tells a program where it is: DATABASE_URL and what libpq reads."""
        return {
            "DATABASE_URL": self.url,
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
        }


PostgresTemplate: TypeAlias = Callable[[PostgresLease], object]
"""Fills the template database it is given; its connections must be closed when it returns."""


class PostgresServer:
    """A PostgreSQL server of this process's own, ended with ``scope``.

    :param template: fills the database that tests' databases are clones of.
    :raises MissingBinaryError: where PostgreSQL is not installed.
    :raises ResourceError: when it does not start; the message ends with its log.
    """

    def __init__(self, scope: Scope, *, template: PostgresTemplate | None = None) -> None:
        self._binaries = find_binaries()
        self._scope = scope
        self._fill = template
        self._run_as = _user_to_run_as()
        self._port = scope.port()
        self._folder = scope.add(ServerFolder.made("pg-")).path
        _own_to(self._folder, self._run_as)
        self._data = self._folder / "data"
        _copy(_initialised(self._binaries, self._run_as), self._data)
        host, port = self._port.address
        self._admin = PostgresLease(host, port, _USER, "postgres", str(self._folder))
        self._connection: PostgresConnection | None = None
        self._connected_pid = 0
        self._ordered = ""
        self._order_number = 0
        self._start()
        self._make_template()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._child.pid

    def clean(self) -> PostgresLease:
        """A fresh clone of the template. A server that a test has stopped is started anew."""
        try:
            return self._clone()
        except (OSError, PostgresQueryError):
            if self._child.running:
                raise
            self._disconnect()
            self._child.release()
            self._start()
            return self._clone()

    def again(self, lease: PostgresLease) -> None:
        """Make a leased database anew under its own name, for another attempt at the test."""
        connection = self._connect()
        connection.query(f'DROP DATABASE IF EXISTS "{lease.database}" WITH (FORCE)')
        connection.query(f'CREATE DATABASE "{lease.database}" TEMPLATE {_TEMPLATE}')

    def finish(self, lease: PostgresLease) -> None:
        """Drop a database whose test has ended; the server does it meanwhile."""
        with contextlib.suppress(OSError):
            self._connect().send(f'DROP DATABASE IF EXISTS "{lease.database}" WITH (FORCE)')

    def _clone(self) -> PostgresLease:
        connection = self._connect()
        if not self._ordered:
            self._order(connection)
        database = self._ordered
        connection.wait_for(self._order_number)
        self._order(connection)
        return dataclasses.replace(self._admin, database=database)

    def _order(self, connection: PostgresConnection) -> None:
        self._ordered = f"wt_{secrets.token_hex(6)}"
        self._order_number = connection.send(
            f'CREATE DATABASE "{self._ordered}" TEMPLATE {_TEMPLATE}'
        )

    def _make_template(self) -> None:
        connection = self._connect()
        connection.query(f"CREATE DATABASE {_TEMPLATE}")
        if self._fill is not None:
            self._fill(dataclasses.replace(self._admin, database=_TEMPLATE))
            # A server process ends a moment after its client has closed the connection.
            if not wait_until(lambda: not self._users_of_template(connection), within=5.0):
                raise UsageError(
                    "the PostgreSQL template has connections left open",
                    found=f"last query: {self._users_of_template(connection)}",
                    fix="close them before the function that fills it returns",
                )
        connection.query(f"ALTER DATABASE {_TEMPLATE} WITH ALLOW_CONNECTIONS false")

    def _users_of_template(self, connection: PostgresConnection) -> str:
        rows = connection.query(
            f"SELECT pid, query FROM pg_stat_activity WHERE datname = '{_TEMPLATE}'"
        )
        return "; ".join(f"pid {pid}: {query}" for pid, query in rows)

    def _start(self) -> None:
        log = self._folder / "log"
        with log.open("ab") as output:
            self._child: Child = self._scope.child(
                [
                    str(self._binaries / "postgres"),
                    *("-D", str(self._data), "-p", str(self._admin.port)),
                    *("-h", self._admin.host, "-k", str(self._folder)),
                ],
                name=f"postgres on port {self._admin.port}",
                stdout=output,
                stderr=output,
                cwd=str(self._folder),
                user=self._run_as,
                # Immediate shutdown: it ends its own children and frees its shared memory.
                stop_signal=signal.SIGQUIT,
                death_signal=signal.SIGQUIT,
            )
        ready = wait_until(lambda: not self._child.running or self._answers(), _START_WITHIN_S)
        if not ready or not self._child.running:
            said = log.read_text(errors="replace")[-800:].strip()
            raise ResourceError("the PostgreSQL server does not answer", found=f"its log: {said}")

    def _answers(self) -> bool:
        try:
            self._connect()
        except (OSError, PostgresQueryError):
            return False
        return True

    def _connect(self) -> PostgresConnection:
        if self._connection is None or self._connected_pid != os.getpid():
            if self._connected_pid not in (0, os.getpid()):
                self._ordered = ""  # by the parent, and for it
            self._connection = PostgresConnection(
                f"{self._folder}/.s.PGSQL.{self._admin.port}", user=_USER, database="postgres"
            )
            self._connected_pid = os.getpid()
        return self._connection

    def _disconnect(self) -> None:
        self._ordered = ""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def template_from(setting: str, root: Path) -> PostgresTemplate | None:
    """The template a setting names: an SQL file under ``root``, or ``module:function``.

    :raises UsageError: where it names neither.
    """
    if not setting:
        return None
    path = root / setting
    if setting.endswith(".sql"):
        if not path.is_file():
            raise UsageError("postgres_template names a file that is not there", found=str(path))
        return lambda lease: run_sql_file(lease, path)
    module, _, name = setting.partition(":")
    try:
        function: PostgresTemplate = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            "postgres_template is neither a .sql file nor module:function",
            found=f"{setting!r} ({error})",
        ) from None
    return function


def run_sql_file(lease: PostgresLease, path: Path) -> None:
    """Run an SQL file, a dump too, through psql.

    :raises UsageError: when a statement of it fails.
    """
    psql = find_binary("psql", package="postgresql-client", also=_installed())
    command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(path)]
    command += ["-h", lease.unix_socket, "-p", str(lease.port), "-U", lease.user]
    done = subprocess.run([*command, lease.database], capture_output=True, text=True)
    if done.returncode != 0:
        raise UsageError(f"{path} cannot be loaded", found=done.stderr.strip()[-600:])


def find_binaries() -> Path:
    """The folder with PostgreSQL's programs: that of PATH's initdb, else the newest installed.

    :raises MissingBinaryError: where there is none.
    """
    initdb = find_binary("initdb", package="postgresql", also=_installed())
    return Path(initdb).resolve().parent


def _installed() -> list[Path]:
    """Where Debian puts the programs of each version, newest first."""
    return sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
        reverse=True,
    )


def _user_to_run_as() -> str | None:
    """PostgreSQL refuses to run as root: then, its own user, or nobody."""
    import pwd

    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ResourceError(
        "PostgreSQL does not run as root, and there is no other user to run it as",
        fix="add a user named postgres, or run the tests as another user",
    )


def _own_to(path: Path, user: str | None) -> None:
    if user is not None:
        shutil.chown(path, user)


def _initialised(binaries: Path, run_as: str | None) -> Path:
    """A data folder fresh from initdb, made once on this machine for this version."""
    version = subprocess.run(
        [str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    made_by = hashlib.sha256(f"{version} {_CONFIGURATION} {run_as}".encode()).hexdigest()[:12]
    done = home() / f"pg-initialised-{made_by}"
    with locked(home() / "pg-initialised.lock", within=120.0) as alone:
        if not alone:
            raise ResourceError("another process has been running initdb for two minutes")
        if not done.exists():
            _initdb(binaries, run_as, done)
    return done


def _initdb(binaries: Path, run_as: str | None, done: Path) -> None:
    draft = done.with_suffix(".draft")
    remove_tree(draft)
    draft.mkdir(mode=0o700)
    _own_to(draft, run_as)
    command = [str(binaries / "initdb"), "-D", str(draft), "-U", _USER, "--auth=trust"]
    command += ["--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    made = subprocess.run(
        as_user(command, run_as), capture_output=True, text=True, cwd=str(draft.parent)
    )
    if made.returncode != 0:
        remove_tree(draft)
        raise ResourceError("initdb failed", found=made.stderr.strip()[-600:])
    with (draft / "postgresql.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(_CONFIGURATION)
    draft.rename(done)


def _copy(source: Path, target: Path) -> None:
    """Copy a data folder: by reference where the file system can, with its owner and modes."""
    reflink = ["--reflink=auto"] if os.uname().sysname == "Linux" else []
    done = subprocess.run(
        ["cp", "-pR", *reflink, str(source), str(target)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ResourceError("cannot copy PostgreSQL's data folder", found=done.stderr.strip())


__all__ = [
    "PostgresLease",
    "PostgresServer",
    "PostgresTemplate",
    "find_binaries",
    "run_sql_file",
    "template_from",
]
