"""PostgreSQL leases, looked at through psycopg: own server, a database a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from windtunnel.core import UsageError
from windtunnel.own import PostgresServer, Scope
from windtunnel.own.children import MissingBinaryError
from windtunnel.own.postgres import PostgresLease, find_binaries, template_from
from windtunnel.own.waiting import wait_until

pytestmark = pytest.mark.once  # the server takes the time, and knows nothing of Python


def fill(lease: PostgresLease) -> None:
    with psycopg.connect(lease.url) as connection:
        connection.execute("CREATE TABLE fruit (name text)")
        connection.execute("INSERT INTO fruit VALUES ('apple'), ('pear')")


@pytest.fixture(scope="module")
def server(require_tool) -> Iterator[PostgresServer]:
    require_tool("initdb")
    with Scope("postgres", house=True) as scope:
        yield PostgresServer(scope, template=fill)


def fruit(lease: PostgresLease) -> set[str]:
    with psycopg.connect(lease.url) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM fruit").fetchall()}


def test_each_database_is_a_fresh_clone_of_the_template(server: PostgresServer) -> None:
    first = server.clean()
    with psycopg.connect(first.url) as connection:
        connection.execute("INSERT INTO fruit VALUES ('plum')")
    second = server.clean()
    assert fruit(first) == {"apple", "pear", "plum"}
    assert fruit(second) == {"apple", "pear"}
    assert first.database != second.database


def test_a_finished_database_is_dropped_also_with_connections_open(
    server: PostgresServer,
) -> None:
    lease = server.clean()
    with psycopg.connect(lease.url):
        server.finish(lease)

        def gone() -> bool:
            with psycopg.connect(f"{lease.url.rpartition('/')[0]}/postgres") as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [lease.database]
                ).fetchone()
            return found is None

        assert wait_until(gone, within=30)


def test_another_attempt_gets_the_same_name_and_a_new_clone(server: PostgresServer) -> None:
    lease = server.clean()
    with psycopg.connect(lease.url) as connection:
        connection.execute("DROP TABLE fruit")
    server.again(lease)
    assert fruit(lease) == {"apple", "pear"}


def test_libpq_finds_it_by_the_exported_variables(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = server.clean()
    for name, value in lease.environment.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect("") as connection:
        row = connection.execute("SELECT current_database(), current_user").fetchone()
    assert row == (lease.database, "postgres")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM fruit").fetchone() == (2,)


def test_a_server_that_was_killed_is_started_again(require_tool) -> None:
    require_tool("initdb")
    with Scope("killed", house=True) as scope:
        server = PostgresServer(scope, template=fill)
        server.clean()
        os.kill(server.pid, signal.SIGQUIT)
        assert wait_until(lambda: not server._child.running, within=30)
        assert fruit(server.clean()) == {"apple", "pear"}


def test_it_leaves_nothing_behind_when_its_scope_ends(require_tool) -> None:
    require_tool("initdb")
    with Scope("postgres", house=True) as scope:
        server = PostgresServer(scope)
        folder = Path(server.clean().unix_socket)
        assert (folder / "data").is_dir()
    assert not folder.exists()
    assert scope.leaks == []
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_template_can_be_an_sql_file_or_a_function(
    require_tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool("initdb")
    (tmp_path / "schema.sql").write_text(
        "CREATE TABLE fruit (name text);\nCOPY fruit FROM stdin;\napple\nlime\n\\.\n"
    )
    with Scope("sql", house=True) as scope:
        lease = PostgresServer(scope, template=template_from("schema.sql", tmp_path)).clean()
        assert fruit(lease) == {"apple", "lime"}
    (tmp_path / "wt_filler.py").write_text("def fill(lease): return lease.database\n")
    monkeypatch.syspath_prepend(tmp_path)
    function = template_from("wt_filler:fill", tmp_path)
    assert function is not None
    assert function(PostgresLease("h", 1, "u", "db")) == "db"


def test_a_template_that_cannot_be_meant_is_one_clear_error(require_tool, tmp_path: Path) -> None:
    for setting in ("missing.sql", "no_such_module:f", "os:no_such_function", "os"):
        with pytest.raises(UsageError, match="postgres_template"):
            template_from(setting, tmp_path)
    require_tool("initdb")
    (tmp_path / "bad.sql").write_text("CREATE TABEL x ();\n")
    with (
        Scope("sql", house=True) as scope,
        pytest.raises(UsageError, match='syntax error at or near "TABEL"'),
    ):
        PostgresServer(scope, template=template_from("bad.sql", tmp_path))


def test_a_template_whose_connection_stays_open_is_one_clear_error(require_tool) -> None:
    require_tool("initdb")
    left: list[psycopg.Connection] = []
    with (
        Scope("open", house=True) as scope,
        pytest.raises(UsageError, match="connections left open"),
    ):
        PostgresServer(scope, template=lambda lease: left.append(psycopg.connect(lease.url)))
    left[0].close()


def test_a_missing_binary_names_the_debian_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("windtunnel.own.postgres._installed", list)
    with pytest.raises(MissingBinaryError, match="initdb is needed") as caught:
        find_binaries()
    assert caught.value.fix == "apt-get install postgresql"
