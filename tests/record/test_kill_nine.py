"""Nothing that was emitted is lost or doubled, whoever is killed and whenever."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from windtunnel.core import Seed
from windtunnel.record import open_record
from windtunnel.record.places import election_path, is_locked


def test_three_sessions_of_600_tests_under_two_workers_writing_at_once_lose_nothing(
    writer, record_path: Path
) -> None:
    controllers = [writer(f"run-{s}", "controller", 600) for s in range(3)]
    workers = [writer(f"run-{s}", f"gw{w}", 300, 300 * w) for s in range(3) for w in range(2)]
    for worker in workers:
        worker.end()
    for controller in controllers:
        controller.process.stdin.close()
        controller.end()
    with open_record(record_path) as record:
        runs = record.runs()
        counts = {run.run_id: len(record.outcomes(run.number)) for run in runs}
        assert counts == {"run-0": 600, "run-1": 600, "run-2": 600}
        assert all(run.exit_code == 0 and run.workers == 2 for run in runs)
        assert {row.strip for row in record.recent()} == {"..."}
        assert sum(len(record.unfinished(run.number)) for run in runs) == 0


@pytest.mark.parametrize("seed", range(6))
def test_after_kill_nine_of_anyone_at_any_instant_the_next_open_has_all_that_was_emitted(
    writer, record_path: Path, ingesters_of, seed: int
) -> None:
    chance = Seed(seed).stream("kill")
    controllers = [writer(f"run-{s}", "controller", 400) for s in range(3)]
    workers = [writer(f"run-{s}", f"gw{w}", 200, 200 * w) for s in range(3) for w in range(2)]
    for controller in controllers:
        controller.listen(1)
    _kill_some(chance, [*workers, *controllers], workers, ingesters_of, record_path)
    with open_record(record_path) as record:
        for session in range(3):
            run = record.run(f"run-{session}")
            assert run is not None
            rows = record.outcomes(run.number)
            assert max(Counter(row.nodeid for row in rows).values(), default=1) == 1
            for number in range(2):
                worker = workers[2 * session + number]
                found = [row.nodeid for row in rows if row.worker == f"gw{number}"]
                # It may have been killed between emitting an event and saying so.
                assert found[: len(worker.said)] == worker.said
                assert len(found) <= len(worker.said) + 1


def _kill_some(
    chance: random.Random, processes: list, workers: list, ingesters_of, record_path: Path
) -> None:
    victims = chance.sample(processes, chance.randint(1, len(processes)))
    kill_ingester = chance.random() < 0.7
    for worker in workers:
        if worker in victims:
            worker.listen(chance.randrange(200))
            worker.kill()
        if kill_ingester and chance.random() < 0.5:
            for pid in ingesters_of(record_path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    for process in processes:
        if process in victims:
            process.kill()
        elif process in workers:
            process.end()
        else:
            process.process.stdin.close()
            process.end()


def test_opening_again_after_a_kill_doubles_nothing(writer, record_path: Path) -> None:
    worker = writer("run-1", "gw0", 500)
    worker.listen(250)
    worker.kill()
    for _ in range(3):
        with open_record(record_path) as record:
            assert len(record.outcomes(1)) - len(worker.said) in (0, 1)


def test_a_test_under_way_when_all_of_its_run_was_killed_is_told_and_not_counted(
    record_path: Path, state_dir: Path
) -> None:
    pid = os.fork()
    if pid == 0:
        from windtunnel.core import RunStarted, TestStarted
        from windtunnel.record import Spool

        spool = Spool.open(state_dir, "run-1")
        spool.sink(RunStarted(run_id="run-1", argv="pytest", root="/p"))
        spool.sink(TestStarted(nodeid="test_a.py::test_hangs", worker="main"))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with open_record(record_path) as record:
        assert [row.nodeid for row in record.unfinished(1)] == ["test_a.py::test_hangs"]
        assert record.outcomes(1) == []
        assert record.recent() == []


def test_no_ingester_is_left_when_all_writers_were_killed(
    writer, record_path: Path, ingesters_of, wait_until
) -> None:
    controller = writer("run-1", "controller", 10)
    worker = writer("run-1", "gw0", 10)
    controller.listen(1)
    worker.end()
    wait_until(lambda: is_locked(election_path(record_path)), "the ingester to serve")
    controller.kill()
    wait_until(lambda: not ingesters_of(record_path), "the ingester to end")
    assert list(election_path(record_path).parent.glob("*.jsonl")) == []
    with open_record(record_path) as record:
        assert len(record.outcomes(1)) == 10
