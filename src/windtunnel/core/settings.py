"""Every setting of a run: one table, read from the command line, the ini file and pyproject.

A setting ``name`` is the option ``--wt-name`` of pytest, the key ``wt_name`` of pytest's ini
file and the key ``name`` under ``[tool.windtunnel]`` in pyproject.toml; the first of them that is
given wins, in that order. ``windtunnel run`` takes the plain option names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from windtunnel.core.errors import UsageError

T = TypeVar("T")

ISOLATIONS = ("env", "namespace", "net", "fork")
GUARDS = ("modules", "environ", "cwd", "locale", "logging", "warnings", "random", "registries")
DISTS = ("duration", "load", "loadscope", "loadfile", "loadgroup", "worksteal")


def _workers(text: str) -> int:
    if text in ("auto", "logical"):
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else (os.cpu_count() or 1)
        )
    return _natural(text)


def _whole(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError("it is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it is not a number") from None


def _natural(text: str) -> int:
    value = _whole(text)
    if value < 0:
        raise ValueError("it is negative")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise ValueError("it is not a finite number of seconds from 0 up")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise ValueError("it is not a share from 0 to 1")
    return value


def _flag(text: str) -> bool:
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
            text.lower()
        ]
    except KeyError:
        raise ValueError("it is neither true nor false") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace("\n", ",").replace(" ", ",").split(",") if word)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it is none of {', '.join(choices)}")
        return text

    return parse


def _set_of(*choices: str) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        words = frozenset(_words(text)) - {"none"}
        if words == {"all"}:
            return frozenset(choices)
        for word in sorted(words - set(choices)):
            raise ValueError(f"{word!r} is none of {', '.join(choices)}, all, none")
        return words

    return parse


def _setting(default: T, parse: Callable[[str], object], help: str) -> T:
    # The cast in the return type is what lets a field be declared with its true type.
    field: Any = dataclasses.field(default=default, metadata={"parse": parse, "help": help})
    result: T = field
    return result


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run was asked to do.

    >>> Settings.resolve({"isolation": "env,fork"}, {}, {"reruns": 2}).reruns
    2
    >>> Settings.resolve({"isolaton": "env"}, {}, {})
    Traceback (most recent call last):
    windtunnel.core.errors.UsageError: there is no setting 'isolaton'
      to fix: did you mean isolation?
    """

    workers: int = _setting(0, _workers, "worker processes; 'auto' is one a core, 0 is none")
    dist: str = _setting(
        "duration", _one_of(*DISTS), "how tests are handed out; 'duration' is longest first"
    )
    world: str = _setting("real", _one_of("real", "simulated"), "where subjects run")
    seed: int = _setting(0, _whole, "the run's seed; 0 draws a new one")
    seeds: int = _setting(
        0, _natural, "seeds of each simulated test; 0 is what its marker says, else 10"
    )
    policy: str = _setting(
        "random",
        _one_of("random", "fifo", "pct"),
        "how a simulated test chooses among tasks that could run, where its marker does not say",
    )
    all_seeds: bool = _setting(
        False, _flag, "run a simulated test's other seeds too after one has failed"
    )
    check_determinism: bool = _setting(
        False, _flag, "run each seed again in another process and compare step by step"
    )
    tape: str = _setting(
        "", str, "folder for the tapes of failed seeds; empty is beside the record"
    )
    traces: str = _setting(
        "", str, "folder for the trace of each seed, step by step, one JSON object a line"
    )
    replay: str = _setting("", str, "the token or tape file of the one seed to repeat")
    until: int = _setting(0, _natural, "the step before which a replay stops; 0 is the end")
    isolation: frozenset[str] = _setting(
        frozenset[str](), _set_of(*ISOLATIONS), "what keeps tests apart: " + ", ".join(ISOLATIONS)
    )
    cwd: str = _setting(
        "start",
        _one_of("start", "copy"),
        "under env isolation: each test begins in the start directory, or in a copy of it",
    )
    write_through: tuple[str, ...] = _setting(
        (
            ".windtunnel",
            ".hypothesis",
            ".pytest_cache",
            "**/__snapshots__",
            "**/.coverage*",
            "**/.inline-snapshot",
        ),
        _words,
        "glob patterns under the project's root whose writes leave the namespace",
    )
    guards: frozenset[str] = _setting(
        frozenset(GUARDS), _set_of(*GUARDS), "what is compared before and after each test"
    )
    restore: bool = _setting(False, _flag, "put back what a guard found changed")
    registries: tuple[str, ...] = _setting(
        (), _words, "module:attribute paths of registries and singletons to guard"
    )
    reruns: int = _setting(0, _natural, "how often a failed test is run again")
    reruns_delay: float = _setting(0.0, _seconds, "seconds to wait before a rerun")
    only_rerun: tuple[str, ...] = _setting(
        (), _lines, "rerun only failures whose message matches one of these expressions"
    )
    engine: str = _setting(
        "monty", str, "what runs code for the fixtures session and executor, where no marker says"
    )
    timeout: float = _setting(
        0.0, _seconds, "seconds a test may take where nothing else says so; 0 is no limit"
    )
    hang_grace: float = _setting(
        5.0, _seconds, "seconds after its timeout at which a test's worker is killed"
    )
    record: str = _setting(".windtunnel/record.db", str, "the record's file")
    keep_runs: int = _setting(0, _natural, "how many runs the record keeps; 0 keeps all")
    keep_days: int = _setting(0, _natural, "how many days the record keeps; 0 keeps all")
    keep_output: str = _setting(
        "failed", _one_of("all", "failed", "none"), "whose captured output is recorded"
    )
    redact: tuple[str, ...] = _setting(
        (), _lines, "regular expressions blanked out of recorded messages and output"
    )
    flaky_min_results: int = _setting(
        3, _natural, "results below which no test is called flaky without near-proof"
    )
    flaky_failure_rate: float = _setting(0.30, _share, "failure rate of the simple rule")
    flaky_quarantine_results: int = _setting(
        5, _natural, "results from which a flaky test is recommended for quarantine"
    )
    flaky_report: bool = _setting(False, _flag, "name the flaky tests at the end of the run")
    quarantine_file: str = _setting(
        "windtunnel.quarantine.toml", str, "the reviewed list of quarantined tests"
    )
    skip_quarantine: bool = _setting(False, _flag, "leave quarantined tests out")
    html: str = _setting(".windtunnel/report.html", str, "the page; empty writes none")
    lease: tuple[str, ...] = _setting(
        (), _words, "what every test holds a lease of: redis, postgres, or a named resource"
    )
    capacities: tuple[str, ...] = _setting(
        (), _words, "name=number: how many of a named resource there are; 1 where not given"
    )
    lease_timeout: float = _setting(
        120.0, _seconds, "seconds a test waits for a named resource before it fails"
    )
    redis_url: str = _setting("", str, "a Redis server to share; empty starts one for each worker")
    redis_by: str = _setting(
        "database", _one_of("database", "prefix"), "what a worker gets of a shared Redis server"
    )
    postgres_template: str = _setting(
        "", str, "what each test's database is cloned from: a .sql file or module:function"
    )

    @classmethod
    def resolve(
        cls,
        options: Mapping[str, object],
        ini: Mapping[str, object],
        pyproject: Mapping[str, object],
    ) -> Settings:
        """Settings from the three sources; a value of None counts as not given.

        :raises UsageError: for an unknown name or a value that cannot be meant, saying which
            source it stands in.
        """
        values: dict[str, object] = {}
        for prefix, source in (
            ("[tool.windtunnel] ", pyproject),
            ("wt_", ini),
            ("--wt-", options),
        ):
            for key, given in source.items():
                if given is None:
                    continue
                name = key.replace("-", "_")
                shown = name.replace("_", "-") if prefix == "--wt-" else name
                values[name] = _parse(f"{prefix}{shown}", name, given)
        return cls(**values)  # type: ignore[arg-type]  # _parse gives each field its type


FIELDS: dict[str, dataclasses.Field[object]] = {
    field.name: field for field in dataclasses.fields(Settings)
}
"""Every setting by name, with its default and, in ``metadata``, ``help`` and ``parse``."""


def _parse(where: str, name: str, given: object) -> object:
    if name not in FIELDS:
        import difflib

        close = difflib.get_close_matches(name, FIELDS, n=1)
        raise UsageError(
            f"there is no setting {name!r}",
            fix=f"did you mean {close[0]}?" if close else "see `pytest --help` under windtunnel",
        )
    parse: Callable[[str], object] = FIELDS[name].metadata["parse"]
    if isinstance(given, (list, tuple, set, frozenset)):
        text = "\n".join(str(word) for word in given)
    else:
        text = str(given)
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"cannot use {where}: {error}", found=repr(given)) from None


def read_pyproject(root: Path) -> dict[str, object]:
    """The table ``[tool.windtunnel]`` of the project at ``root``; empty where there is none.

    :raises UsageError: when pyproject.toml is not TOML or the table is not a table.
    """
    path = root / "pyproject.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if "windtunnel" not in text:
        return {}  # tomllib costs milliseconds to import
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML", found=str(error)) from None
    table = document.get("tool", {}).get("windtunnel", {})
    if not isinstance(table, dict):
        raise UsageError(f"[tool.windtunnel] in {path} is not a table", found=repr(table)[:80])
    return table
