"""The spool: what its file holds, and what it survives in the process that writes it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from windtunnel.core import EVENT_TYPES, Sample, TestFinished
from windtunnel.record import Redaction, Spool, open_record
from windtunnel.record.batch import DEFAULTS
from windtunnel.record.places import spool_dir


def _names(record_path: Path) -> list[str]:
    with open_record(record_path) as record:
        return [row.name for row in record.samples()]


def test_an_event_is_in_the_file_when_the_sink_returns(state_dir: Path) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(Sample(time=1.5, name="latency", value=0.25))
    header, line = spool.path.read_text().splitlines()
    assert json.loads(header)["run_id"] == "run-1"
    assert json.loads(line) == ["sample", 1.5, "latency", 0.25]
    spool.close()


def test_readers_and_writers_agree_on_the_order_of_every_events_fields() -> None:
    for kind, cls in EVENT_TYPES.items():
        fields = dataclasses.fields(cls)
        read = DEFAULTS[kind]
        assert read[0] == kind
        assert len(read) == len(fields) + 1, kind
        for default, field in zip(read[1:], fields, strict=True):
            if field.default is not dataclasses.MISSING:
                assert (default, type(default)) == (field.default, type(field.default)), field.name


def test_a_forked_child_writes_to_a_spool_of_its_own(state_dir: Path, record_path: Path) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(Sample(name="before", value=1))
    pid = os.fork()
    if pid == 0:
        spool.sink(Sample(name="child", value=2))
        os._exit(0)
    os.waitpid(pid, 0)
    spool.sink(Sample(name="after", value=3))
    assert len(list(spool_dir(record_path).glob("*.jsonl"))) == 2
    assert spool.path.read_text().count('"child"') == 0
    assert sorted(_names(record_path)) == ["after", "before", "child"]
    spool.close()


def test_a_child_that_says_nothing_leaves_no_file(state_dir: Path, record_path: Path) -> None:
    spool = Spool.open(state_dir, "run-1")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert list(spool_dir(record_path).glob("*.jsonl")) == [spool.path]
    spool.close()


def test_a_spool_of_a_living_owner_stays_and_that_of_a_dead_one_goes(
    state_dir: Path, record_path: Path
) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(Sample(name="a", value=1))
    assert _names(record_path) == ["a"]
    assert spool.path.exists()
    spool.close()
    assert _names(record_path) == ["a"]
    assert not spool.path.exists()


def test_a_test_that_closes_every_descriptor_and_opens_files_spoils_nothing(
    tmp_path: Path, state_dir: Path
) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from windtunnel.core import Sample\n"
        "from windtunnel.record import Spool\n"
        "spool = Spool.open(Path(sys.argv[1]), 'run-1')\n"
        "spool.sink(Sample(name='before', value=1))\n"
        "os.closerange(3, 100)\n"
        "files = [open(sys.argv[2] + str(n), 'wb') for n in range(8)]\n"
        "spool.sink(Sample(name='after', value=2))\n"
        "spool.close()\n"
        "files[0].write(b'mine')\n"
        "[file.close() for file in files]\n"
    )
    mine = tmp_path / "mine"
    subprocess.run([sys.executable, "-c", code, str(state_dir), str(mine)], check=True)
    assert _names(state_dir / "record.db") == ["before", "after"]
    contents = [Path(f"{mine}{n}").read_bytes() for n in range(8)]
    assert contents == [b"mine"] + [b""] * 7


def test_a_deleted_state_folder_is_made_again_by_the_next_event(
    state_dir: Path, record_path: Path
) -> None:
    spool = Spool.open(state_dir, "run-1")
    shutil.rmtree(state_dir)
    spool.sink(Sample(name="late", value=1))
    assert _names(record_path) == ["late"]
    spool.close()


def test_a_full_disk_is_told_once_and_what_came_meanwhile_is_written_when_there_is_space(
    state_dir: Path,
) -> None:
    # The limit on a file's size makes the kernel write a part of a line, as a full disk does.
    code = (
        "import resource, sys, warnings\n"
        "from pathlib import Path\n"
        "from windtunnel.core import Sample\n"
        "from windtunnel.record import RecordWarning, Spool\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "spool = Spool.open(Path(sys.argv[1]), 'run-1')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    for n in range(100):\n"
        "        spool.sink(Sample(name=f'name-{n:03}', value=n))\n"
        "assert [w.category for w in seen] == [RecordWarning], seen\n"
        "assert 'cannot write to the record' in str(seen[0].message)\n"
        "assert spool.problem is not None\n"
        "whole = spool.path.read_bytes()\n"
        "assert whole.endswith(b'\\n') and len(whole) <= 1000, whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "spool.sink(Sample(name='name-100', value=100))\n"
        "spool.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(state_dir)], check=True)
    assert _names(state_dir / "record.db") == [f"name-{n:03}" for n in range(101)]


def test_a_torn_last_line_hides_nothing_before_it(state_dir: Path, record_path: Path) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(Sample(name="whole", value=1))
    spool.close()
    with open(spool.path, "ab") as file:
        file.write(b'["sample",1.0,"to')
    assert _names(record_path) == ["whole"]
    assert not spool.path.exists()


def test_zeros_in_a_spool_after_a_power_loss_cost_only_their_own_line(
    state_dir: Path, record_path: Path
) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(Sample(name="before", value=1))
    with open(spool.path, "ab") as file:
        file.write(b"\0" * 100 + b"\n[]\n7\n")
    spool.sink(Sample(name="after", value=2))
    with open_record(record_path) as record:
        assert [row.name for row in record.samples()] == ["before", "after"]
        assert "3 events" in record.notices[0]
    spool.close()


def test_a_newer_writers_event_loses_only_the_fields_that_are_not_known(
    state_dir: Path, record_path: Path
) -> None:
    spool = Spool.open(state_dir, "run-1")
    with open(spool.path, "ab") as file:
        file.write(b'["sample",1.0,"x",2.0,"s","",false,"a field of tomorrow"]\n')
        file.write(b'["event_of_tomorrow",1.0,"x"]\n')
    assert _names(record_path) == ["x"]
    spool.close()


def test_a_newer_spool_is_left_alone(state_dir: Path, record_path: Path) -> None:
    folder = spool_dir(record_path)
    folder.mkdir(parents=True)
    newer = folder / "0000000000000-1-abcdef01.jsonl"
    newer.write_text('{"windtunnel_spool":99,"run_id":"run-9"}\n["sample",1.0,"x",1.0]\n')
    with open_record(record_path) as record:
        assert record.samples() == []
        assert "newer" in record.notices[0]
    assert newer.exists()


def test_a_spool_without_a_readable_header_is_set_aside(record_path: Path) -> None:
    folder = spool_dir(record_path)
    folder.mkdir(parents=True)
    (folder / "0000000000000-1-abcdef01.jsonl").write_text("what is this\n")
    with open_record(record_path) as record:
        assert "without a header" in record.notices[0]
    assert [path.suffix for path in folder.iterdir() if "abcdef01" in path.name] == [".unreadable"]


def test_secrets_are_blanked_before_they_reach_the_disk(state_dir: Path) -> None:
    spool = Spool.open(state_dir, "run-1", redact=Redaction([r"sk-\w+"]))
    spool.sink(
        TestFinished(
            nodeid="t.py::t", outcome="failed", worker="main", message="key sk-123", output="sk-9!"
        )
    )
    text = spool.path.read_text()
    assert "sk-" not in text
    assert "key [redacted]" in text
    spool.close()


def test_records_with_different_names_in_one_folder_keep_apart(state_dir: Path) -> None:
    spools = [Spool.open(state_dir, "run-1", record=name) for name in ("a.db", "b.db")]
    for spool, name in zip(spools, "ab", strict=True):
        spool.sink(Sample(name=name, value=1))
        spool.close()
    assert _names(state_dir / "a.db") == ["a"]
    assert _names(state_dir / "b.db") == ["b"]


def test_the_state_folder_keeps_itself_out_of_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    Spool.open(tmp_path / ".windtunnel", "run-1").close()
    found = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, check=True
    )
    assert found.stdout == b""
