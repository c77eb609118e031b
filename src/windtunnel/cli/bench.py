"""``windtunnel bench``: measure files, compare them, and read the history of measurements.

``windtunnel bench FILE`` is ``windtunnel bench run FILE``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from windtunnel.bench import Result, measure, parse_target
from windtunnel.bench.history import History, read_history, read_names
from windtunnel.bench.target import Reference, functions_of
from windtunnel.core import (
    REAL_CLOCK,
    Event,
    ExitCode,
    RunFinished,
    RunStarted,
    Settings,
    UsageError,
    set_sink,
)
from windtunnel.core.settings import read_pyproject
from windtunnel.record import Record, open_record


def main(argv: list[str]) -> int:
    """Dispatch; a file in the place of the verb is measured."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "compare": _compare,
        "history": _history,
    }
    if argv and argv[0] in verbs:
        return verbs[argv[0]](argv[1:])
    return _run(argv)


# -- run -------------------------------------------------------------------------------------------


def _run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="windtunnel bench",
        usage="windtunnel bench [run | compare | history] FILE[:NAME] ... [OPTIONS]",
        description="Measure functions: FILE:NAME, or all of FILE that begin with bench_, or, "
        "where it has none, FILE as a script. Calls that fail are counted, and fail the command.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE[:NAME]")
    parser.add_argument("--iterations", type=_natural, metavar="N", help="calls to measure")
    parser.add_argument("--concurrency", type=_natural, metavar="C", help="calls at a time (1)")
    parser.add_argument(
        "--warmup", type=_warmup, default="auto", metavar="W", help="calls before (until steady)"
    )
    parser.add_argument("--rate", type=float, metavar="R", help="calls a second: an open loop")
    parser.add_argument("--isolation", choices=("none", "process"), default="none")
    parser.add_argument("--engine", metavar="NAME", help="run FILE as code in a session engine")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="draw the results there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--record", metavar="FILE", help="the record (default: the project's)")
    parser.add_argument("--no-record", action="store_true", help="put nothing on record")
    options = parser.parse_args(argv)
    given = {
        name: value
        for name in ("iterations", "concurrency", "rate", "isolation", "warmup")
        if (value := getattr(options, name)) is not None
    }
    results: list[Result] = []
    began = REAL_CLOCK.monotonic()
    with contextlib.ExitStack() as stack:
        subjects = [it for name in options.files for it in _subjects(name, options.engine, stack)]
        events = stack.enter_context(_recorded(options, argv))
        for name, fn, extra in subjects:
            with _silence():
                results.append(measure(fn, name=name, **given, **extra))
            if not options.json:
                print(f"{results[-1]}{_beside(options, results[-1])}\n")
        failed = any(result.failures for result in results)
        took_s = REAL_CLOCK.monotonic() - began
        events.append(RunFinished(exit_code=int(failed), duration_s=took_s))
    if options.json:
        print(json.dumps({"format": 1, "results": [it.to_json() for it in results]}, indent=2))
    if options.svg is not None:
        _draw(results, options.svg)
    return int(ExitCode.TESTS_FAILED if failed else ExitCode.OK)


def _subjects(
    text: str, engine: str | None, stack: contextlib.ExitStack
) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """What is to be measured: name, function, options of its own."""
    if engine is not None:
        from windtunnel.cli.bench_engine import on_engine

        yield on_engine(Path(text), engine, stack)
        return
    for reference in _references(text):
        yield _shown(reference), reference.load(), {}


def _references(text: str) -> list[Reference]:
    found = parse_target(text)
    return [found] if found.qualname else functions_of(found)


def _shown(reference: Reference) -> str:
    """A name that is the same wherever the command is given."""
    place = Path(reference.file).name if reference.file else reference.module
    return f"{place}:{reference.qualname}" if reference.qualname else place


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What is measured prints to nobody, thousands of times."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _recorded(options: argparse.Namespace, argv: Sequence[str]) -> Iterator[list[Event]]:
    """Put what is emitted inside on record, as a run of its own."""
    events: list[Event] = []
    before = set_sink(events.append)
    began = REAL_CLOCK.time()
    try:
        yield events
    finally:
        set_sink(before)
    if options.no_record:
        return
    from windtunnel.run.fingerprint import Fingerprint

    facts = Fingerprint(Path.cwd()).take()
    started = RunStarted(
        time=began,
        run_id=f"{began:017.6f}-bench-{os.urandom(4).hex()}",
        argv=shlex.join(["windtunnel", "bench", *argv]),
        root=str(Path.cwd()),
        commit=facts.commit,
        tree=facts.tree,
        environment=facts.environment,
        environment_text=facts.environment_text,
        ci=facts.ci,
    )
    path = _record_path(options)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path, create=True) as record:
        record.ingest(started, events)


def _beside(options: argparse.Namespace, result: Result) -> str:
    """One line on the result beside earlier runs, empty where there are none."""
    path = _record_path(options)
    if not path.exists() or not result.times_s:
        return ""
    with _open(path, create=False) as record:
        history = read_history(record, result.name)
    if not history.entries:
        return ""
    verdict = history.judge(result.median)
    return (
        f"\n\n  beside {len(history.level)} earlier runs on this machine: {verdict}"
        f" (windtunnel bench history {shlex.quote(result.name)})"
    )


def _draw(results: list[Result], folder: Path) -> None:
    from windtunnel.draw import STYLE, document

    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in result.name)
        for kind, drawing in (
            ("histogram", result.histogram()),
            ("percentiles", result.percentiles()),
        ):
            path = folder / f"{stem}-{kind}.svg"
            path.write_text(document(drawing, STYLE), encoding="utf-8")
            print(f"windtunnel: {path} written", file=sys.stderr)


# -- compare ---------------------------------------------------------------------------------------


def _compare(argv: list[str]) -> int:
    from windtunnel.cli.bench_compare import main as compare

    return compare(argv)


# -- history ---------------------------------------------------------------------------------------


def _history(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="windtunnel bench history",
        description="Measurements over the runs on record here, and where they changed.",
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="measurements; all without")
    parser.add_argument("--figure", default="median", help="min, mean, median (default), p95 …")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="draw the series there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--record", metavar="FILE", help="the record (default: the project's)")
    options = parser.parse_args(argv)
    with _open(_record_path(options), create=False) as record:
        known = read_names(record)
        for name in options.names:
            if name not in known:
                raise UsageError(
                    f"there is no measurement {name} on record",
                    found=", ".join(known[:20]) or "no measurement at all",
                    fix="measure it: windtunnel bench FILE",
                )
        histories = [
            read_history(record, name, figure=options.figure) for name in options.names or known
        ]
    if options.json:
        print(json.dumps({"format": 1, "histories": [it.to_json() for it in histories]}, indent=2))
    else:
        print("\n\n".join(map(str, histories)) or "no measurement is on record")
    if options.svg is not None:
        _draw_histories(histories, options.svg)
    return int(ExitCode.OK)


def _draw_histories(histories: list[History], folder: Path) -> None:
    from windtunnel.draw import STYLE, document

    folder.mkdir(parents=True, exist_ok=True)
    for history in histories:
        stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in history.name)
        path = folder / f"{stem}-history.svg"
        path.write_text(document(history.picture(), STYLE), encoding="utf-8")
        print(f"windtunnel: {path} written", file=sys.stderr)


# -- shared ----------------------------------------------------------------------------------------


def _record_path(options: argparse.Namespace) -> Path:
    settings = Settings.resolve({}, {}, read_pyproject(Path.cwd()))
    return Path(options.record or settings.record).absolute()


def _open(path: Path, *, create: bool) -> Record:
    record = open_record(path, create=create)
    for notice in record.notices:
        print(f"windtunnel: {notice}", file=sys.stderr)
    return record


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 up is wanted, not {text!r}")
    return int(text)


def _warmup(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of calls or auto is wanted, not {text!r}")
    return int(text)
