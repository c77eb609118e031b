"""How far the record is behind the run: from `emit` to the row in the file.

    python benchmarks/record_lag.py [--quick]

A process emits an outcome at moments spread over a second's fraction, and looks into the file by a
connection of its own until the row is there. The ingester is the real one.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from windtunnel.core import Seed, TestFinished
from windtunnel.record import Spool, ensure_ingester


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="fewer outcomes")
    count = 40 if parser.parse_args().quick else 300
    chance = Seed(1).stream("lag")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.db"
        spool = Spool.open(Path(folder), "run-1")
        began = time.perf_counter()
        ensure_ingester(path)
        while not _there(path, "SELECT 1 FROM runs LIMIT 0"):
            time.sleep(0.001)
        print(f"ingester ready after {(time.perf_counter() - began) * 1e3:.0f} ms")
        connection = sqlite3.connect(path, isolation_level=None)
        lags = []
        for number in range(1, count + 1):
            time.sleep(chance.random() * 0.06)
            spool.sink(TestFinished(nodeid=f"t.py::t{number}", outcome="passed", worker="main"))
            emitted = time.perf_counter()
            while connection.execute("SELECT count(*) FROM outcomes").fetchone()[0] < number:
                time.sleep(0.0005)
            lags.append((time.perf_counter() - emitted) * 1e3)
        connection.close()
        spool.close()
    lags.sort()
    print(
        f"{count} outcomes: median {statistics.median(lags):.1f} ms,"
        f" 95 % within {lags[int(count * 0.95)]:.1f} ms, most {lags[-1]:.1f} ms"
    )


def _there(path: Path, query: str) -> bool:
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            connection.execute(query)
            return True
        finally:
            connection.close()
    except sqlite3.Error:
        return False


if __name__ == "__main__":
    main()
