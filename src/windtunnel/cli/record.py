"""``windtunnel record``: merge, export, import, check, trim and repair the record."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from windtunnel.core import ExitCode, Settings, UsageError
from windtunnel.core.settings import read_pyproject
from windtunnel.record import Record, RunRow, open_record
from windtunnel.record.merge import Merged


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(argv)
    settings = Settings.resolve({}, {}, read_pyproject(Path.cwd()))
    path = Path(options.record or settings.record).absolute()
    if options.action == "path":
        print(path)
        return int(ExitCode.OK)
    reads = options.action in ("export", "check", "trim")
    with open_record(path, create=not reads) as record:
        for notice in record.notices:
            print(f"windtunnel: {notice}", file=sys.stderr)
        code = _ACTIONS[options.action](record, options, settings)
        damaged = options.action == "check" and bool(record.notices)
        return int(ExitCode.RECORD_UNUSABLE if damaged else code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel record",
        description="Merge, export, import, check, trim and repair the record.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--record", metavar="FILE", help="the record, if not the project's")
        return sub

    action("path", "print where the record is")
    sub = action("merge", "add the runs of other records; runs known already are not doubled")
    sub.add_argument("files", nargs="+", type=Path, metavar="OTHER.db")
    sub = action("import", "add the runs in JSON lines, JUnit XML or other records")
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE")
    sub = action("export", "write runs as JSON lines, or one run as JUnit XML")
    sub.add_argument("--format", choices=("jsonl", "junit"), default="jsonl")
    sub.add_argument("--run", metavar="RUN", help="only this run: its id, its number, or 'last'")
    sub.add_argument("--last", type=_natural, metavar="N", help="only the last N runs")
    sub.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of standard output")
    action("check", "read the whole file and say what is in it")
    sub = action("trim", "remove old runs; limits not given are those of the settings")
    sub.add_argument("--keep-runs", type=_natural, metavar="N", help="keep only the last N runs")
    sub.add_argument("--keep-days", type=_natural, metavar="N", help="keep only the last N days")
    sub = action("repair", "add what can be read of records that were damaged and set aside")
    sub.add_argument("files", nargs="*", type=Path, metavar="FILE", help="default: all set aside")
    return parser


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("it is negative")
    return value


def _merge(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    for path in options.files:
        if not path.is_file():
            raise UsageError(f"there is no file {path}", fix="give the file of another record")
        if path.samefile(record.path):
            raise UsageError(f"{path} is the record itself", fix="give the file of another record")
        _say(path, record.merge(path.absolute()))
    return ExitCode.OK


def _import(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    from windtunnel.record.transfer import import_file

    for path in options.files:
        _say(path, import_file(record, path))
    return ExitCode.OK


def _say(path: Path, merged: Merged) -> None:
    known = f", {_count(merged.known, 'run')} known already" if merged.known else ""
    added = f"{_count(merged.runs, 'run')} and {_count(merged.outcomes, 'outcome')}"
    print(f"{path}: {added} added{known}")


def _export(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    runs = _chosen(record, options)
    if options.format == "junit":
        from windtunnel.record.junit_write import junit_xml

        if not runs:
            raise UsageError("there is no run to export", fix="run some tests first")
        run = runs[-1]
        _write(options.output, [junit_xml(run, record.outcomes(run.number))])
        return ExitCode.OK
    from windtunnel.record.exchange import export_lines

    _write(options.output, (f"{line}\n" for line in export_lines(record, runs)))
    return ExitCode.OK


def _write(output: Path | None, lines: Iterable[str]) -> None:
    if output is None:
        sys.stdout.writelines(lines)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise UsageError(f"cannot write {output}", found=str(error.strerror)) from None


def _chosen(record: Record, options: argparse.Namespace) -> list[RunRow]:
    """The runs asked for, oldest first."""
    runs = record.runs()[::-1]
    if options.run == "last":
        return runs[-1:]
    if options.run is not None:
        runs = [run for run in runs if options.run in (run.run_id, str(run.number))]
        if not runs:
            raise UsageError(
                f"there is no run {options.run!r} in {record.path}",
                fix="give a run's id or number, or 'last'",
            )
    return runs if options.last is None else runs[len(runs) - min(options.last, len(runs)) :]


def _check(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    found = record.check()
    print(f"{record.path}: sound, format {found.format}, {found.size:,} bytes")
    for name in ("runs", "tests", "outcomes", "samples", "violations", "resources"):
        print(f"  {name:<10} {getattr(found, name):>12,}")
    return ExitCode.OK


def _trim(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    keep_runs = settings.keep_runs if options.keep_runs is None else options.keep_runs
    keep_days = settings.keep_days if options.keep_days is None else options.keep_days
    removed = record.trim(keep_runs=keep_runs, keep_days=keep_days)
    print(f"{_count(removed, 'run')} removed, {_count(len(record.runs()), 'run')} kept")
    return ExitCode.OK


def _repair(record: Record, options: argparse.Namespace, settings: Settings) -> int:
    from windtunnel.record.transfer import repair_file

    pattern = f"{record.path.name}.corrupt-*[0-9]"
    files = options.files or sorted(record.path.parent.glob(pattern))
    if not files:
        print(f"nothing was set aside beside {record.path}")
    for path in files:
        found, merged = repair_file(record, path)
        print(
            f"{path}: {_count(found.runs, 'run')} and {_count(found.outcomes, 'outcome')} could be"
            f" read; {_count(merged.runs, 'run')} and {_count(merged.outcomes, 'outcome')} added"
        )
    return ExitCode.OK


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_ACTIONS = {
    "merge": _merge,
    "import": _import,
    "export": _export,
    "check": _check,
    "trim": _trim,
    "repair": _repair,
}
