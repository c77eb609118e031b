"""``windtunnel flaky``: which tests are flaky, why, and which to quarantine or let out."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from windtunnel.core import ExitCode, Settings
from windtunnel.core.settings import FIELDS, read_pyproject
from windtunnel.record import Record, open_record


def main(argv: list[str]) -> int:
    """Dispatch; without a verb it lists."""
    verbs: dict[str, Callable[[list[str]], int]] = {
        "list": _list,
        "quarantine": _quarantine,
        "release": _release,
        "hunt": _hunt,
    }
    if argv and argv[0] in verbs:
        return verbs[argv[0]](argv[1:])
    return _list(argv)


def _list(argv: list[str]) -> int:
    parser = _parser(
        "windtunnel flaky",
        "[list | quarantine | release | hunt] [TEST ...] [OPTIONS]",
        "List flaky tests, most damaging first. `quarantine` proposes entries for the quarantine "
        "file, `release` those that may be removed, `hunt` finds out why a test is flaky.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--all", action="store_true", help="list every test that was judged")
    given = parser.parse_args(argv)
    project = Project.of(given)

    from windtunnel.cli.flaky_list import document, print_list
    from windtunnel.judge.flaky import judge_record

    with project.open() as record:
        judged = [it for it in judge_record(record, project.settings) if project.means(it.nodeid)]
    shown = judged if given.all else [it for it in judged if it.suspect]
    if given.json:
        print(document(shown, len(judged), project.record))
    else:
        print_list(shown, len(judged), project.shown(project.record))
    return int(ExitCode.OK)


def _quarantine(argv: list[str]) -> int:
    parser = _parser(
        "windtunnel flaky quarantine",
        "[TEST ...] [--write] [OPTIONS]",
        "Propose entries for the quarantine file.",
    )
    parser.add_argument("--write", action="store_true", help="append them to the file")
    given = parser.parse_args(argv)
    project = Project.of(given)

    from windtunnel.cli.owners import owner_of
    from windtunnel.judge.flaky import judge
    from windtunnel.judge.quarantine import propose, to_toml
    from windtunnel.run.quarantine_file import Entries, read_quarantine, today

    path = project.quarantine_file
    entries = Entries(read_quarantine(path))
    with project.open() as record:
        history = record.history()
    proposed = propose(
        [it for it in judge(history, project.settings) if project.means(it.nodeid)],
        entries,
        today(),
        lambda nodeid: owner_of(nodeid, project.root),
        # Run in quarantine without an entry that names it: it has a marker.
        held=lambda nodeid: history[nodeid][-1].quarantined and not entries.naming(nodeid),
    )
    if not proposed:
        print("no test is recommended for quarantine that is not quarantined already")
        return int(ExitCode.OK)
    text = to_toml(proposed)
    if given.write:
        _append(path, text)
        print(f"{_count(len(proposed), 'entry', 'entries')} appended to {project.shown(path)}:")
        print("".join(f"  {entry.test}\n" for entry in proposed), end="")
    else:
        print(f"# for {project.shown(path)}; --write appends it there\n{text}", end="")
    return int(ExitCode.OK)


def _append(path: Path, text: str) -> None:
    """Add to the file what keeps every byte that is there, and leaves it whole if we die."""
    before = path.read_text(encoding="utf-8") if path.exists() else (
        "# Tests that run but do not fail the run. Reviewed like code; see docs/quarantine.md.\n"
    )  # fmt: skip
    if before and not before.endswith("\n"):
        before += "\n"
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(before + text, encoding="utf-8")
    os.replace(fresh, path)


def _release(argv: list[str]) -> int:
    parser = _parser(
        "windtunnel flaky release",
        "[TEST ...] [OPTIONS]",
        "Propose quarantines to end: their tests have been stable for long enough.",
    )
    given = parser.parse_args(argv)
    project = Project.of(given)

    from windtunnel.judge.quarantine import release
    from windtunnel.run.quarantine_file import Entries, read_quarantine

    entries = Entries(read_quarantine(project.quarantine_file))
    with project.open() as record:
        # Further back than a judgement looks: a rare failure must not be forgotten by waiting.
        history = record.history(last=1000)
    found = [
        it
        for it in release(history, entries, project.settings)
        if any(map(project.means, it.tests))
    ]
    if not found:
        print("no quarantined test has been stable for long enough")
    for it in found:
        marker = it.entry.source == "marker"
        where = "remove its marker" if marker else f"remove the entry at {it.entry.source}"
        print(f"RELEASE {it.entry.test}: {where}")
        for nodeid, since in it.tests.items():
            print(f"    {nodeid}: {_count(since, 'result')} without failure")
        print(f"    stable with probability {it.p_stable:.3f} or more")
    return int(ExitCode.OK)


def _hunt(argv: list[str]) -> int:
    hunt: Callable[[list[str]], int] = importlib.import_module("windtunnel.probe.hunt").main
    return int(hunt(argv))


def _parser(prog: str, usage: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, usage=f"{prog} {usage}", description=description, allow_abbrev=False
    )
    parser.add_argument(
        "tests", nargs="*", metavar="TEST", help="a test, class, file or folder; all without"
    )
    parser.add_argument("--record", metavar="FILE", help="the record (default: the project's)")
    for flag, name in (
        ("--min-results", "flaky_min_results"),
        ("--failure-rate", "flaky_failure_rate"),
        ("--quarantine-results", "flaky_quarantine_results"),
    ):
        parser.add_argument(flag, dest=name, metavar="N", help=str(FIELDS[name].metadata["help"]))
    return parser


@dataclasses.dataclass(frozen=True, slots=True)
class Project:
    """What a command is about: a project, its settings and record, and the tests meant."""

    root: Path
    settings: Settings
    record: Path
    tests: tuple[str, ...]

    @classmethod
    def of(cls, given: argparse.Namespace) -> Project:
        """The project that the arguments or the working directory lie in."""
        names: Sequence[str] = given.tests
        start = Path(names[0].partition("::")[0] if names else ".").absolute()
        root = _root_above(start if start.exists() else Path.cwd())
        options = {name: getattr(given, name) for name in FIELDS if hasattr(given, name)}
        named = options.pop("record", None)
        settings = Settings.resolve(options, {}, read_pyproject(root))
        record = Path(named).absolute() if named else root / settings.record
        tests = tuple(name for each in names if (name := _relative(each, root)))
        return cls(root, settings, record, tests)

    @property
    def quarantine_file(self) -> Path:
        """Absolute path of the quarantine file."""
        return self.root / self.settings.quarantine_file

    def open(self) -> Record:
        """The record, which has to exist."""
        record = open_record(self.record, create=False)
        for notice in record.notices:
            print(notice, file=sys.stderr)
        return record

    def means(self, nodeid: str) -> bool:
        """Whether the command is about this test."""
        return not self.tests or any(
            nodeid == name or nodeid.startswith((f"{name}::", f"{name}[", f"{name}/"))
            for name in self.tests
        )

    @staticmethod
    def shown(path: Path) -> Path:
        """A path as short as it reads well."""
        short = Path(os.path.relpath(path))
        return path if short.parts[:1] == ("..",) else short


def _root_above(start: Path) -> Path:
    """The nearest folder from ``start`` up that has a record, else one that has a project."""
    folders = [folder for folder in (start, *start.parents) if folder.is_dir()]
    for sign in (".windtunnel", "pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg", ".git"):
        for folder in folders:
            if (folder / sign).exists():
                return folder
    return Path.cwd()


def _relative(name: str, root: Path) -> str:
    """A test's name as the record has it: relative to the root, empty for the root itself."""
    path, colons, rest = name.partition("::")
    if not Path(path).exists():
        return name
    relative = os.path.relpath(Path(path).absolute(), root)
    return "" if relative == "." and not rest else f"{Path(relative).as_posix()}{colons}{rest}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
