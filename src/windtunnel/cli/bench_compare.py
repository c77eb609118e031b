"""``windtunnel bench compare``: a candidate beside a baseline, or a file beside its own past."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from windtunnel.bench import Change, Comparison, compare, parse_target
from windtunnel.bench.target import Reference, functions_of
from windtunnel.core import ExitCode, UsageError


def main(argv: list[str]) -> int:
    """The exit code is 1 where code fails, 16 where it is slower or that cannot be told."""
    options = _parser().parse_args(argv)
    if (options.baseline is None) == (options.against is None):
        raise UsageError(
            "a candidate is compared with one baseline",
            found="both a baseline and --against" if options.baseline else "neither",
            fix="windtunnel bench compare NEW.py:f OLD.py:f, or NEW.py:f --against REVISION",
        )
    found: list[Comparison] = []
    with _pairs(options) as pairs:
        for candidate, baseline in pairs:
            comparison = compare(
                candidate, baseline, budget_s=options.budget, floor=options.floor,
                seed=options.seed,
            )  # fmt: skip
            found.append(comparison)
            if not options.json:
                print(f"{comparison}\n")
    if options.json:
        print(json.dumps({"format": 1, "comparisons": [it.to_json() for it in found]}, indent=2))
    return int(_exit_code(found, allow_unknown=options.allow_unknown))


def _exit_code(found: list[Comparison], *, allow_unknown: bool) -> ExitCode:
    if any(comparison.failures for comparison in found):
        return ExitCode.TESTS_FAILED
    bad = {Change.SLOWER} if allow_unknown else {Change.SLOWER, Change.UNKNOWN}
    return ExitCode.GATE_FAILED if any(it.verdict in bad for it in found) else ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="windtunnel bench compare",
        description="Is the candidate slower than the baseline? Processes of the two are "
        "interleaved until that can be told.",
        epilog="Exit code 0: same or faster; 16: slower, or unknown; 1: code fails.",
        allow_abbrev=False,
    )
    parser.add_argument("candidate", metavar="FILE[:NAME]")
    parser.add_argument("baseline", nargs="?", metavar="BASELINE[:NAME]")
    parser.add_argument("--against", metavar="REVISION", help="the same file of that git revision")
    parser.add_argument("--budget", type=float, default=60.0, metavar="S", help="seconds each (60)")
    parser.add_argument(
        "--floor", type=float, default=0.02, metavar="SHARE", help="a smaller change is none (0.02)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the order of processes")
    parser.add_argument("--allow-unknown", action="store_true", help="unknown does not fail")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@contextmanager
def _pairs(options: argparse.Namespace) -> Iterator[list[tuple[Reference, Reference]]]:
    candidate = parse_target(options.candidate)
    if options.baseline is not None:
        yield _matched(candidate, parse_target(options.baseline))
        return
    file = Path(candidate.file)
    if not candidate.file:
        raise UsageError(
            "--against needs a file", found=options.candidate, fix="write FILE or FILE:NAME"
        )
    top = Path(_git(file.parent, "rev-parse", "--show-toplevel").decode().strip())
    with tempfile.TemporaryDirectory(prefix="windtunnel-baseline-") as folder:
        archive = _git(top, "archive", options.against)
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        past = Path(folder) / file.resolve().relative_to(top.resolve())
        if not past.exists():
            raise UsageError(f"there is no {file.name} at {options.against}", found=str(file))
        yield _matched(_within(candidate, file, top), _within(candidate, past, Path(folder)))


def _within(reference: Reference, file: Path, top: Path) -> Reference:
    """The function in that tree, which imports the tree's own packages."""
    paths = [file.parent, *(path for path in (top / "src", top) if path.is_dir())]
    return dataclasses.replace(reference, file=str(file), paths=tuple(map(str, paths)))


def _matched(candidate: Reference, baseline: Reference) -> list[tuple[Reference, Reference]]:
    """One pair, or where files are given, a pair for each function that both have."""
    if candidate.qualname and baseline.qualname:
        return [(candidate, baseline)]
    if candidate.qualname:
        return [(candidate, dataclasses.replace(baseline, qualname=candidate.qualname))]
    if baseline.qualname:
        return [(dataclasses.replace(candidate, qualname=baseline.qualname), baseline)]
    theirs = {reference.qualname: reference for reference in functions_of(baseline)}
    pairs = [(it, theirs[it.qualname]) for it in functions_of(candidate) if it.qualname in theirs]
    if not pairs:
        raise UsageError(
            "the two files have no function to compare",
            found=f"{', '.join(filter(None, theirs)) or 'a script'} in the baseline",
            fix="name the functions: NEW.py:f OLD.py:g",
        )
    return pairs


def _git(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True)
    if done.returncode:
        raise UsageError(
            f"git {arguments[0]} failed", found=done.stderr.decode(errors="replace").strip()
        )
    return done.stdout
