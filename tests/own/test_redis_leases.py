"""Redis leases, looked at through redis-py: an own server, or a part of a given one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from windtunnel.core import ResourceError, UsageError
from windtunnel.own import RedisServer, Scope, reap
from windtunnel.own.children import MissingBinaryError
from windtunnel.own.inventory import Inventory, writing_to
from windtunnel.own.redis import RedisShare


@pytest.fixture(scope="module")
def server(require_tool) -> Iterator[RedisServer]:
    require_tool("redis-server")
    with Scope("redis", house=True) as scope:
        yield RedisServer(scope)


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    server.clean()
    with redis.Redis.from_url(server.lease.url, decode_responses=True) as client:
        yield client


def test_each_cleaning_empties_databases_scripts_and_functions(
    server: RedisServer, client: redis.Redis
) -> None:
    client.set("key", "value")
    with redis.Redis.from_url(f"{server.lease.url[:-1]}3") as another:
        another.set("key", "value")
        digest = client.script_load("return 1")
        if hasattr(client, "function_load") and int(client.info()["redis_version"][0]) >= 7:
            client.function_load("#!lua name=lib\nredis.register_function('f', function() end)")
        server.clean()
        assert client.dbsize() == another.dbsize() == 0
    assert client.script_exists(digest) == [False]
    assert client.function_list() == []


def test_the_asyncio_client_works_too(server: RedisServer) -> None:
    async def main() -> bytes:
        async with redis.asyncio.Redis.from_url(server.lease.url) as client:
            await client.set("key", "value")
            return await client.get("key")

    assert asyncio.run(main()) == b"value"


def test_it_is_reached_by_the_parts_and_by_the_unix_socket(server: RedisServer) -> None:
    lease = server.lease
    for client in (
        redis.Redis(lease.host, lease.port, lease.db),
        redis.Redis(unix_socket_path=lease.unix_socket),
    ):
        with client:
            assert client.ping()
    assert lease.environment == {
        "REDIS_URL": f"redis://127.0.0.1:{lease.port}/0",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(lease.port),
        "REDIS_DB": "0",
    }


def test_two_servers_share_nothing(server: RedisServer, client: redis.Redis) -> None:
    with Scope("second", house=True) as scope:
        second = RedisServer(scope)
        client.set("key", "value")
        with redis.Redis.from_url(second.lease.url) as other:
            assert other.get("key") is None


@pytest.mark.parametrize("how", ["shutdown", "killed", "stuck"])
def test_a_server_that_a_test_broke_is_replaced_on_the_same_port(require_tool, how: str) -> None:
    require_tool("redis-server")
    with Scope("broken", house=True) as scope:
        server = RedisServer(scope)
        before = server.lease, server.pid
        with redis.Redis.from_url(server.lease.url) as client:
            if how == "shutdown":
                client.shutdown(nosave=True)
            elif how == "killed":
                os.kill(server.pid, signal.SIGKILL)
            else:
                server._connect()._socket.settimeout(0.2)
                os.kill(server.pid, signal.SIGSTOP)
        server.clean()
        assert server.lease == before[0]
        assert server.pid != before[1]
        with redis.Redis.from_url(server.lease.url) as client:
            assert client.ping()


def test_nothing_of_it_is_left_when_its_scope_ends(require_tool) -> None:
    require_tool("redis-server")
    with Scope("redis", house=True) as scope:
        server = RedisServer(scope)
        folder = Path(server.lease.unix_socket).parent
        assert folder.is_dir()
    assert not folder.exists()
    assert scope.leaks == []
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_missing_binary_names_the_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with Scope("none") as scope, pytest.raises(MissingBinaryError, match="redis-server") as caught:
        RedisServer(scope)
    assert caught.value.fix == "apt-get install redis-server"


# -- a part of a given server --------------------------------------------------------------------


@pytest.fixture
def url(server: RedisServer, client: redis.Redis) -> str:
    return f"redis://127.0.0.1:{server.lease.port}"


def test_workers_of_one_server_get_different_empty_databases(url: str, server: RedisServer) -> None:
    with redis.Redis.from_url(f"{url}/1") as person:
        person.set("mine", "for ever")
        with Scope("a", house=True) as a, Scope("b", house=True) as b:
            first, second = RedisShare(a, url, "database"), RedisShare(b, url, "database")
            databases = {first.lease.db, second.lease.db}
            assert len(databases) == 2
            assert 1 not in databases  # it has somebody's keys
            with redis.Redis.from_url(first.lease.url) as client:
                client.set("key", "value")
                second.clean()
                assert client.get("key") == b"value"
                first.clean()
                assert client.get("key") is None
        assert person.get("mine") == b"for ever"


def test_databases_run_out_with_a_clear_error(url: str) -> None:
    with Scope("all", house=True) as scope:
        taken = {RedisShare(scope, url, "database").lease.db for _ in range(15)}
        assert taken == set(range(1, 16))
        with pytest.raises(ResourceError, match="no database"):
            RedisShare(scope, url, "database")


def test_a_share_by_prefix_is_emptied_and_others_are_not(url: str, client: redis.Redis) -> None:
    client.set("other", "stays")
    with Scope("prefix", house=True) as scope:
        share = RedisShare(scope, url, "prefix")
        for number in range(2500):
            client.set(f"{share.lease.prefix}{number}", number)
        assert share.lease.environment["REDIS_PREFIX"] == share.lease.prefix
        share.clean()
        assert client.keys() == ["other"]
        client.set(f"{share.lease.prefix}again", 1)
    assert client.keys() == ["other"]


@pytest.mark.parametrize("by", ["database", "prefix"])
def test_what_a_dead_worker_left_on_a_given_server_is_reaped(
    url: str, by: str, tmp_path: Path, client: redis.Redis
) -> None:
    client.set("other", "stays")
    pid = os.fork()
    if pid == 0:
        with writing_to(Inventory(tmp_path / "own")):
            lease = RedisShare(Scope("dies"), url, by).lease
        redis.Redis.from_url(lease.url).set(f"{lease.prefix}left", "behind")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    databases = client.info("keyspace")
    assert sum(one["keys"] for one in databases.values()) == 2
    assert [(reaped.kind, reaped.problem) for reaped in reap(tmp_path)] == [("redis", "")]
    assert {name: one["keys"] for name, one in client.info("keyspace").items()} == {"db0": 1}


def test_a_reaper_does_not_empty_a_database_that_has_a_new_holder(url: str, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with writing_to(Inventory(tmp_path / "own")):
            RedisShare(Scope("dies"), url, "database")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with Scope("lives", house=True) as scope:
        share = RedisShare(scope, url, "database")
        with redis.Redis.from_url(share.lease.url) as client:
            client.set("key", "value")
            reap(tmp_path)
            assert client.get("key") == b"value"


def test_a_url_that_cannot_be_meant_and_a_server_that_is_away_are_told_apart() -> None:
    with Scope("none") as scope:
        with pytest.raises(UsageError, match="redis://"):
            RedisShare(scope, "redis://127.0.0.1/3", "database")
        port = scope.port()
        with pytest.raises(ResourceError, match="no Redis server answers"):
            RedisShare(scope, f"redis://127.0.0.1:{port.number}", "database")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reaper clears what it finds in the user's own folder, where other tests leave things."""
    monkeypatch.setenv("WINDTUNNEL_HOME", str(tmp_path_factory.mktemp("h")))
