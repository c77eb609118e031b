"""What can still be read out of a damaged file.

SQLite gives up a query at the first broken page, not the file. So every run is read by itself,
and each of its tables from the front and then from the back, up to the break.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

from windtunnel.record.merge import BY_ATTEMPT, BY_TIME
from windtunnel.record.schema import PAGE, connect, transaction

_Row: TypeAlias = "tuple[Any, ...]"  # Any: what SQLite hands out

# How the rows of a table are ordered, so that it can be read backwards.
_ORDER = {
    "runs": "number",
    "tests": "id",
    "names": "id",
    **dict.fromkeys(BY_ATTEMPT, "run {0}, test {0}, attempt"),
    **dict.fromkeys(BY_TIME, "rowid"),
}


@dataclasses.dataclass(slots=True)
class Salvaged:
    """What was found: ``runs`` and ``outcomes`` read, and ``breaks`` in the file met."""

    runs: int = 0
    outcomes: int = 0
    breaks: int = 0


def salvage(damaged: Path, into: Path) -> Salvaged:
    """Read what is readable of the record ``damaged`` into a new record ``into``.

    ``damaged`` is not changed. Where so much is broken that nothing can be read, the new record
    is empty.

    :raises sqlite3.Error: when ``into`` cannot be written.
    """
    target = connect(into)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.db"
            shutil.copyfile(damaged, copy)
            for suffix in ("-wal", "-journal"):
                if os.path.exists(f"{damaged}{suffix}"):
                    shutil.copyfile(f"{damaged}{suffix}", f"{copy}{suffix}")
            found = _try(copy, target)
            if not found.runs:
                _replace_first_page(copy, into)
                found = _try(copy, target)
    finally:
        target.close()
    return found


def _try(damaged: Path, target: sqlite3.Connection) -> Salvaged:
    found = Salvaged()
    source = sqlite3.connect(damaged)
    try:
        with transaction(target):
            _copy(source, target, found)
    finally:
        source.close()
    return found


def _replace_first_page(damaged: Path, sound: Path) -> None:
    """Give the file the first page of a sound one. It says what the file is and where its tables
    begin, which is the same in all files of this format, and is what breaks when a program
    writes to the wrong file."""
    for suffix in ("-wal", "-journal"):
        Path(f"{damaged}{suffix}").unlink(missing_ok=True)
    with open(sound, "rb") as file:
        page = bytearray(file.read(PAGE))
    page[28:32] = (damaged.stat().st_size // PAGE).to_bytes(4, "big")  # the file's pages
    page[92:96] = page[24:28]  # which is only believed if this is the count of changes
    page[32:40] = bytes(8)  # no list of free pages
    with open(damaged, "r+b") as file:
        file.write(page)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, found: Salvaged) -> None:
    for table in ("runs", "tests", "names"):
        _insert(target, table, _read(source, table, "", (), found))
    numbers = [row[0] for row in target.execute("SELECT number FROM runs")]
    found.runs = len(numbers)
    for number in numbers:
        for table in BY_ATTEMPT + BY_TIME:
            rows = _read(source, table, "WHERE run = ?", (number,), found)
            added = _insert(target, table, rows)
            if table == "outcomes":
                found.outcomes += added
    # An outcome whose test or worker cannot be named any more says nothing.
    for table in BY_ATTEMPT:
        lost = target.execute(f"DELETE FROM {table} WHERE test NOT IN (SELECT id FROM tests)")
        found.outcomes -= lost.rowcount if table == "outcomes" else 0
    for column in ("worker", "isolation"):
        target.execute(
            f"INSERT OR IGNORE INTO names SELECT DISTINCT {column}, 'lost ' || {column}"
            f" FROM outcomes WHERE {column} NOT IN (SELECT id FROM names)"
        )


def _read(
    source: sqlite3.Connection, table: str, where: str, values: tuple[int, ...], found: Salvaged
) -> list[tuple[list[str], _Row]]:
    rows: dict[_Row, tuple[list[str], _Row]] = {}
    for direction in ("", " DESC"):
        order = _ORDER[table].format(direction) + direction
        try:
            cursor = source.execute(f"SELECT * FROM {table} {where} ORDER BY {order}", values)
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                rows[row] = (columns, row)
            return list(rows.values())
        except sqlite3.DatabaseError:
            found.breaks += 1
    return list(rows.values())


def _insert(target: sqlite3.Connection, table: str, rows: list[tuple[list[str], _Row]]) -> int:
    if not rows:
        return 0
    columns = ", ".join(f'"{name}"' for name in rows[0][0])
    marks = ", ".join("?" * len(rows[0][0]))
    return target.executemany(
        f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", [row for _, row in rows]
    ).rowcount
