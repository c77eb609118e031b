"""Leases in real runs: plain pytest, our workers, their forked children, and xdist's workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.own import ProcessIdentity
from windtunnel.own.waiting import wait_until

pytestmark = pytest.mark.once  # servers and processes, which no interpreter changes

WAYS = {
    "plain": [],
    "pool": ["--wt-workers=2"],
    "forked": ["--wt-workers=2", "--wt-isolation=env,fork"],
    "xdist": ["-n2"],
}
each_way = pytest.mark.parametrize("way", WAYS)
here_and_forked = pytest.mark.parametrize("way", ["plain", "forked"])


@pytest.fixture(autouse=True)
def _as_at_home(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "windtunnel.plugin,xdist.plugin")
    monkeypatch.delenv("REDIS_URL", raising=False)
    pytester.makeconftest(
        """
        import json, os, pytest
        from pathlib import Path

        @pytest.fixture(scope="session")
        def broker(leases):
            return leases.once("broker", lambda scope: tell(did="make"),
                               lambda value: tell(did="destroy"))

        def tell(**facts):
            line = json.dumps(facts | {"pid": os.getpid(), "worker": os.environ.get(
                "PYTEST_XDIST_WORKER", "main")})
            fd = os.open(Path(__file__).parent / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(fd, line.encode() + b"\\n")
            os.close(fd)

        def meet():
            "Wait until two workers, where there are several, have told something."
            from windtunnel.own.waiting import wait_until
            def met():
                lines = (Path(__file__).parent / "told").read_text().splitlines()
                return len({json.loads(line)["worker"] for line in lines}) == 2
            assert "PYTEST_XDIST_WORKER" not in os.environ or wait_until(met, 60)
        """
    )


def run(pytester: pytest.Pytester, way: str, *more: str) -> pytest.RunResult:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *WAYS[way], *more]
    return pytester.run(*command, timeout=300)


def told(pytester: pytest.Pytester) -> list[dict]:
    lines = (pytester.path / "told").read_text().splitlines()
    return [json.loads(line) for line in lines]


REDIS_SUITE = """
    import os, redis, pytest
    from conftest import meet, tell

    def client():
        found = redis.Redis.from_url(os.environ["REDIS_URL"])
        kwargs = found.connection_pool.connection_kwargs
        assert kwargs["host"] == os.environ["REDIS_HOST"]
        assert kwargs["port"] == int(os.environ["REDIS_PORT"])
        assert kwargs["db"] == int(os.environ["REDIS_DB"])
        return found

    @pytest.mark.parametrize("number", range(4))
    def test_asks(redis_lease, number):
        assert redis_lease.url == os.environ["REDIS_URL"]
        assert client().dbsize() == 0
        client().set("key", number)
        tell(port=redis_lease.port)
        meet()

    @pytest.mark.parametrize("number", range(4))
    def test_does_not_ask(number):
        assert client().dbsize() == 0
        client().set("key", number)
        tell(port=int(os.environ["REDIS_PORT"]))
        meet()
"""


@each_way
def test_where_the_suite_uses_redis_every_test_has_an_empty_one_and_is_told_where(
    pytester: pytest.Pytester, require_tool, way: str
) -> None:
    require_tool("redis-server")
    pytester.makepyfile(REDIS_SUITE)
    run(pytester, way).assert_outcomes(passed=8)
    facts = told(pytester)
    # One server a worker, and no two have the same. (A worker of the pool may be renewed between
    # two stretches of the suite, as often as the other one is held up: another process then, with
    # a server of its own.)
    ports: dict[object, set[int]] = {}
    for fact in facts:
        worker = (fact["worker"], fact["pid"]) if way == "pool" else fact["worker"]
        ports.setdefault(worker, set()).add(fact["port"])
    assert all(len(of_worker) == 1 for of_worker in ports.values())
    assert len(set.union(*ports.values())) == len(ports)
    assert len({fact["worker"] for fact in facts}) == (1 if way == "plain" else 2)
    assert list((pytester.path / ".windtunnel" / "own").glob("*.jsonl")) == []


def test_a_setting_gives_redis_to_a_suite_that_does_not_know_of_us(
    pytester: pytest.Pytester, require_tool
) -> None:
    require_tool("redis-server")
    pytester.makepyfile(
        """
        import os, redis
        def test_it():
            assert redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
        """
    )
    run(pytester, "plain").assert_outcomes(failed=1)
    pytester.makepyprojecttoml('[tool.windtunnel]\nlease = ["redis"]\n')
    run(pytester, "plain").assert_outcomes(passed=1)


def test_what_was_exported_is_put_back_after_the_test(
    pytester: pytest.Pytester, require_tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool("redis-server")
    monkeypatch.setenv("REDIS_URL", "redis://mine")
    pytester.makepyfile("def test_it(redis_lease): pass")
    pytester.makeconftest(
        """
        import os
        def pytest_unconfigure():
            print(os.environ["REDIS_URL"], "REDIS_PORT" in os.environ)
        """
    )
    run(pytester, "plain").stdout.fnmatch_lines(["*redis://mine False*"])


def test_redis_can_be_asked_for_in_the_midst_of_a_test_and_is_for_all_from_then_on(
    pytester: pytest.Pytester, require_tool
) -> None:
    require_tool("redis-server")
    pytester.makepyfile(
        """
        import os, redis
        def test_it(request):
            lease = request.getfixturevalue("redis_lease")
            assert redis.Redis.from_url(lease.url).dbsize() == 0
            redis.Redis.from_url(lease.url).set("key", "value")

        def test_next():
            assert redis.Redis.from_url(os.environ["REDIS_URL"]).dbsize() == 0
        """
    )
    run(pytester, "plain").assert_outcomes(passed=2)


def test_workers_share_a_given_server_by_database(pytester: pytest.Pytester, require_tool) -> None:
    require_tool("redis-server")
    from windtunnel.own import RedisServer, Scope

    pytester.makepyfile(REDIS_SUITE.replace("tell(", "tell(db=int(os.environ['REDIS_DB']), "))
    with Scope("given", house=True) as scope:
        server = RedisServer(scope)
        url = f"--wt-redis-url=redis://127.0.0.1:{server.lease.port}"
        # Test by test, so that no worker is renewed: its successor might get what the other had.
        run(pytester, "pool", url, "--wt-dist=load").assert_outcomes(passed=8)
    databases = {(fact["worker"], fact["db"]) for fact in told(pytester)}
    assert len({db for _, db in databases}) == len(databases) == 2


def test_a_missing_redis_server_skips_those_that_ask_and_fails_them_under_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        def test_asks(redis_lease): pass
        def test_does_not_ask(): pass
        """
    )
    monkeypatch.setenv("PATH", "/nonexistent")
    result = run(pytester, "plain", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*redis-server is needed*apt-get install redis-server*"])
    monkeypatch.setenv("CI", "true")
    result = run(pytester, "plain")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*to fix: apt-get install redis-server"])


def test_a_fixture_of_the_user_with_our_name_wins(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.fixture
        def redis_lease(): return "mine"
        def test_it(redis_lease):
            assert redis_lease == "mine"
            assert "REDIS_URL" not in os.environ
        """
    )
    run(pytester, "plain").assert_outcomes(passed=1)


@here_and_forked
def test_each_test_has_a_postgres_database_cloned_from_the_template(
    pytester: pytest.Pytester, require_tool, way: str
) -> None:
    require_tool("initdb")
    (pytester.path / "schema.sql").write_text("CREATE TABLE fruit (name text);\n")
    pytester.makepyprojecttoml('[tool.windtunnel]\npostgres_template = "schema.sql"\n')
    pytester.makepyfile(
        """
        import os, psycopg, pytest
        from conftest import tell

        @pytest.mark.parametrize("number", range(4))
        def test_it(postgres_lease, number):
            assert os.environ["DATABASE_URL"] == postgres_lease.url
            with psycopg.connect("") as connection:
                assert connection.execute("SELECT count(*) FROM fruit").fetchone() == (0,)
                connection.execute("INSERT INTO fruit VALUES ('plum')")
            tell(port=postgres_lease.port)

        @pytest.mark.flaky(reruns=2)
        def test_again(postgres_lease):
            with psycopg.connect(postgres_lease.url) as connection:
                assert connection.execute("SELECT count(*) FROM fruit").fetchone() == (0,)
                connection.execute("INSERT INTO fruit VALUES ('plum')")
            attempt = os.path.exists("attempted")
            open("attempted", "w").close()
            assert attempt, "only the first time"

        def test_does_not_ask():
            assert "DATABASE_URL" not in os.environ
        """
    )
    result = run(pytester, way)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes.get("failed", 0)) == (6, 0), result.stdout.str()
    servers = {(fact["worker"], fact["port"]) for fact in told(pytester)}
    assert len({port for _, port in servers}) == len(servers)


GPU_SUITE = """
    import os, pytest
    from pathlib import Path
    from conftest import tell
    from windtunnel.own.waiting import wait_until
    inside = Path(os.environ["WT_INSIDE"])

    @pytest.mark.lease("{name}", 1)
    @pytest.mark.parametrize("number", range(6))
    def test_it(leases, number):
        [slot] = leases.slots("{name}")
        fd = os.open(inside / str(slot), os.O_CREAT | os.O_EXCL)  # fails when anyone is in it
        (inside / f"seen-{{slot}}").touch()
        assert wait_until(lambda: len(list(inside.glob("seen-*"))) == 2, 60)  # both at once
        os.close(fd)
        os.unlink(inside / str(slot))
        tell(slot=slot)
"""


@pytest.mark.parametrize("way", ["pool", "xdist"])
def test_a_named_resource_holds_across_workers_and_across_sessions(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("WT_INSIDE", str(pytester.mkdir("inside")))
    name = f"gpu-{os.getpid()}-{way}"
    pytester.makepyprojecttoml(f'[tool.windtunnel]\ncapacities = ["{name}=2"]\n')
    pytester.makepyfile(GPU_SUITE.format(name=name))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *WAYS[way]]
    sessions = [
        subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for session in sessions:
        said, _ = session.communicate()
        assert session.returncode == 0, said
    assert {fact["slot"] for fact in told(pytester)} == {0, 1}
    assert len(told(pytester)) == 12


def test_a_test_that_waits_in_vain_for_a_resource_fails_and_says_who_holds_it(
    pytester: pytest.Pytester,
) -> None:
    from windtunnel.own import NamedLease

    name = f"gpu-{os.getpid()}-held"
    pytester.makepyfile(f"import pytest\n@pytest.mark.lease('{name}')\ndef test_it(): pass")
    with NamedLease({name: 1}):
        result = run(pytester, "plain", "--wt-lease-timeout=0.1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"no 1 of 1 {name} came free*", f"*pid {os.getpid()}*"])


def test_a_lease_marker_that_cannot_be_meant_is_one_clear_error(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.lease(3)
        def test_number(): pass
        @pytest.mark.lease("gpu", 7)
        def test_too_many(): pass
        @pytest.mark.lease("gpu", 7)
        @pytest.mark.skip
        def test_skipped(): pass
        """
    )
    result = run(pytester, "plain")
    result.assert_outcomes(errors=2, skipped=1)
    result.stdout.fnmatch_lines(["*lease(name, amount=1)*", "*the capacity of gpu is 1*"])


@pytest.mark.parametrize("way", ["plain", "pool", "xdist"])
def test_a_value_made_once_is_made_once_for_all_workers_and_taken_down_by_the_last(
    pytester: pytest.Pytester, way: str
) -> None:
    pytester.makepyfile(
        """
        import os, pytest
        from conftest import tell

        def make(scope):
            child = scope.child(["sleep", "1000"])
            tell(did="make")
            return {"child": child.pid, "folder": str(scope.temp_dir())}

        @pytest.fixture(scope="session")
        def broker(leases):
            return leases.once("broker", make, lambda value: tell(did="destroy"))

        @pytest.mark.parametrize("number", range(6))
        def test_it(broker, number):
            import time; time.sleep(0.05)
            assert os.path.isdir(broker["folder"])
            os.kill(broker["child"], 0)
            tell(did="use", child=broker["child"], folder=broker["folder"])
        """
    )
    run(pytester, way).assert_outcomes(passed=6)
    facts = told(pytester)
    did = [fact["did"] for fact in facts]
    assert did == ["make", *["use"] * 6, "destroy"]
    assert list((pytester.path / ".windtunnel" / "own" / "once").iterdir()) == []
    for fact in facts:
        if fact["did"] == "use":
            assert not os.path.exists(fact["folder"])
            assert not (found := ProcessIdentity.of(fact["child"])) or not found.alive


@pytest.mark.parametrize("way", ["pool", "xdist"])
def test_a_value_is_kept_for_a_worker_that_comes_to_want_it_late(
    pytester: pytest.Pytester, way: str
) -> None:
    pytester.makepyfile(
        """
        import os
        from conftest import tell
        from windtunnel.own.waiting import wait_until

        def test_early(broker):
            tell(did="use")

        def test_busy():
            # Only when the other worker has used it does this one get on to its next test.
            assert wait_until(lambda: os.path.exists("told") and "use" in open("told").read(), 30)

        def test_late(broker):
            tell(did="use")
        """
    )
    run(pytester, way).assert_outcomes(passed=3)
    assert [fact["did"] for fact in told(pytester)] == ["make", "use", "use", "destroy"]


def test_who_uses_a_value_made_once_goes_on_with_what_it_takes_from_another(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import os
        from conftest import tell
        from windtunnel.own.waiting import wait_until

        def test_early(broker):
            tell(did="use")

        def test_busy():
            # This worker has the next test queued, and only the other one can get it done.
            def used(): return os.path.exists("told") and open("told").read().count("use")
            assert wait_until(lambda: used() == 2, 30)

        def test_late(broker):
            tell(did="use")
        """
    )
    run(pytester, "pool").assert_outcomes(passed=3)
    assert [fact["did"] for fact in told(pytester)] == ["make", "use", "use", "destroy"]


@pytest.mark.parametrize(
    ("stops", "code"),
    [("pytest.exit('enough', returncode=9)", 9), ("raise KeyboardInterrupt", 1)],
)
def test_who_uses_a_value_made_once_and_is_stopped_in_a_test_waits_for_nobody(
    pytester: pytest.Pytester, stops: str, code: int
) -> None:
    pytester.makepyfile(
        f"""
        import os, pytest
        from conftest import tell
        from windtunnel.own.waiting import wait_until

        def test_stops(broker):
            assert wait_until(lambda: open("told").read().count("idle") == 1, 30)
            {stops}

        def test_other(broker):
            tell(did="idle")
        """
    )
    done = run(pytester, "pool", "--dist=load")
    assert done.ret == code
    did = [fact["did"] for fact in told(pytester)]
    assert sorted(did) == ["destroy", "idle", "make"]
    assert did[-1] == "destroy"


@here_and_forked
def test_a_leak_fails_the_test_by_the_name_of_what_leaked(
    pytester: pytest.Pytester, way: str
) -> None:
    pytester.makepyfile(
        """
        import socket, threading, pytest
        from windtunnel.own import Scope

        def test_forgets_a_scope():
            Scope("mine").child(["sleep", "1000"], name="sleeper")

        def test_leaves_a_thread():
            with Scope("threads", within=0.05) as scope:
                scope.thread(threading.Event().wait, name="deaf")

        def test_leaves_a_listener(port_lease):
            global left
            left = port_lease.listener()

        def test_is_clean(leases):
            child = leases.scope().child(["sleep", "1000"])
            assert child.running
        """
    )
    result = run(pytester, way)
    result.assert_outcomes(passed=4, errors=3)
    for line in (
        "leaked: scope 'mine' was never closed; it owned process sleeper (pid *)",
        "leaked: thread 'deaf' was still running, and threads cannot be killed",
        "leaked: port * is still listened on by this process",
    ):
        result.stdout.fnmatch_lines([line])


def test_what_a_wider_fixture_owns_is_no_leak_until_the_fixture_is_done(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from windtunnel.own import Scope

        @pytest.fixture(scope="module")
        def tidy(leases):
            with Scope("tidy") as scope:
                yield scope.child(["sleep", "1000"]), leases.scope().child(["sleep", "1000"])

        @pytest.fixture(scope="module")
        def untidy():
            return Scope("untidy").child(["sleep", "1000"])

        def test_one(tidy, untidy): assert tidy[0].running and tidy[1].running
        def test_two(tidy, untidy): assert tidy[0].running and tidy[1].running
        """
    )
    result = run(pytester, "plain")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_two*", "leaked: scope 'untidy' was never closed*"]
    )


def test_a_leak_is_on_record_as_a_violation(pytester: pytest.Pytester) -> None:
    from windtunnel.record import open_record

    pytester.makepyfile(
        """
        from windtunnel.own import Scope
        def test_it(): Scope("mine").child(["sleep", "1000"], name="sleeper")
        """
    )
    run(pytester, "plain").assert_outcomes(passed=1, errors=1)
    with open_record(pytester.path / ".windtunnel" / "record.db") as record:
        [run_row] = record.runs()
        [violation] = [v for v in record.violations(run_row.number) if v.rule == "leak"]
    assert violation.subject == "scope 'mine'"
    assert violation.nodeid.endswith("::test_it")
    assert violation.fails


def test_after_kill_9_of_a_whole_session_nothing_runs_and_the_next_one_clears_the_rest(
    pytester: pytest.Pytester, require_tool
) -> None:
    require_tool("redis-server")
    require_tool("initdb")
    pytester.makepyfile(
        """
        import time, pytest
        from pathlib import Path
        from conftest import tell

        @pytest.mark.parametrize("number", range(2))
        def test_it(redis_lease, postgres_lease, leases, number):
            scope = leases.scope()
            child = scope.child(["sleep", "1000"])
            tell(child=child.pid, folder=str(scope.temp_dir()),
                 redis=str(Path(redis_lease.unix_socket).parent),
                 postgres=postgres_lease.unix_socket)
            time.sleep(1000)
        """
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *WAYS["pool"]]
    session = subprocess.Popen(
        command, cwd=pytester.path, stdout=subprocess.DEVNULL, start_new_session=True
    )
    there = pytester.path / "told"
    assert wait_until(lambda: there.exists() and len(told(pytester)) == 2, within=120)
    facts = told(pytester)
    ours = [ProcessIdentity.of(fact[key]) for fact in facts for key in ("child", "pid")]
    for fact in facts:
        ours += [_owner_of(Path(fact["redis"]) / "s"), _postmaster(Path(fact["postgres"]))]
    assert all(identity is not None and identity.alive for identity in ours)
    folders = [Path(fact[key]) for fact in facts for key in ("folder", "redis", "postgres")]
    assert all(folder.is_dir() for folder in folders)

    os.killpg(session.pid, signal.SIGKILL)  # controller and workers at one instant
    session.wait()

    assert wait_until(lambda: not any(one.alive for one in ours if one), within=60)
    assert any(folder.exists() for folder in folders)
    pytester.makepyfile(test_next="def test_next(): pass")
    run(pytester, "plain", "test_next.py").assert_outcomes(passed=1)
    # The folders of servers are the user's: another session's reaper may be at one just now.
    assert wait_until(lambda: not any(folder.exists() for folder in folders), within=60)


def test_a_run_without_leases_imports_none_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_it():
            loaded = {name for name in sys.modules if name.startswith("windtunnel.own.")}
            assert not loaded & {
                f"windtunnel.own.{name}" for name in ("scope", "fixtures", "redis", "children")
            }
        """
    )
    run(pytester, "plain").assert_outcomes(passed=1)


def _owner_of(unix_socket: Path) -> ProcessIdentity | None:
    import socket
    import struct

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(unix_socket))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return ProcessIdentity.of(struct.unpack("iII", credentials)[0])


def _postmaster(folder: Path) -> ProcessIdentity | None:
    lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    return ProcessIdentity.of(int(lines[0]))
