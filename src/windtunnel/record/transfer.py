"""Files into the record: exports, JUnit XML, other records, and damaged ones."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from windtunnel.core import UsageError
from windtunnel.record.exchange import import_lines
from windtunnel.record.junit_read import junit_run
from windtunnel.record.junit_write import junit_names
from windtunnel.record.merge import Merged
from windtunnel.record.salvage import Salvaged, salvage
from windtunnel.record.store import Record, open_record


def import_file(record: Record, path: Path) -> Merged:
    """Add the runs in a file, whichever kind it is of: JSON lines, JUnit XML or a record.

    Nothing of the file is entered when this raises; nothing is doubled when it is done again.

    :raises UsageError: when the file cannot be read or is of none of these kinds.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UsageError(f"cannot import {path}", found=str(error.strerror)) from None
    if head.startswith(b"SQLite format 3"):
        return record.merge(path)
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "import.db"
        with open_record(temporary) as into:
            if head.startswith(b"<") or not head.isascii():
                _import_junit(into, path, record)
            elif head.startswith(b"{"):
                _import_lines(into, path)
            else:
                raise UsageError(
                    f"cannot import {path}",
                    found=repr(head[:40].decode("utf-8", "replace")),
                    fix="give JSON lines of `windtunnel record export`, JUnit XML, or a record",
                )
        return record.merge(temporary)


def repair_file(record: Record, damaged: Path) -> tuple[Salvaged, Merged]:
    """Add what can be read of a damaged record.

    :raises UsageError: when there is no such file.
    """
    if not damaged.is_file():
        raise UsageError(f"there is no file {damaged}")
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "salvaged.db"
        found = salvage(damaged, temporary)
        return found, record.merge(temporary)


def _import_lines(into: Record, path: Path) -> None:
    with open(path, encoding="utf-8") as file:
        events = import_lines(file, str(path))
        try:
            for run_id, group in itertools.groupby(events, key=lambda pair: pair[0]):
                into.append(run_id, [event for _, event in group])
        except UnicodeDecodeError as error:
            raise UsageError(f"cannot import {path}: it is no UTF-8", found=str(error)) from None


def _import_junit(into: Record, path: Path, record: Record) -> None:
    known = {junit_names(row.nodeid): row.nodeid for row in record.recent()}
    run, events = junit_run(
        path.read_bytes(), str(path), modified=path.stat().st_mtime, known=known
    )
    into.ingest(run, events)
