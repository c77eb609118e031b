"""Whether what a session needs can be imported, and the modules that are looked at."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from windtunnel.core.errors import UsageError
from windtunnel.core.verdict import Verdict
from windtunnel.sessions.validation.finding import Finding

LIBRARIES = {
    "anyio": "the asynchronous side of sessions, on asyncio and trio",
    "pydantic_monty": "the engine monty",
    "starlark": "the engine starlark",
    "prompt_toolkit": "windtunnel session",
    "pygments": "windtunnel session",
    "hypothesis": "laws that draw their examples",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The modules that were named, with all that is below packages.

    :param modules: those that could be imported.
    :param findings: a finding a module.
    """

    modules: tuple[ModuleType, ...]
    findings: tuple[Finding, ...]


def libraries() -> Iterator[Finding]:
    """Each library that some part of the room needs."""
    for name, serves in LIBRARIES.items():
        error = _import_error(name)
        if error is None:
            yield Finding("imports", name, Verdict.PASS, f"for {serves}")
        elif isinstance(error, ModuleNotFoundError) and error.name == name:
            fix = "pip install hypothesis" if name == "hypothesis" else ""
            yield Finding(
                "imports",
                name,
                Verdict.UNKNOWN,
                f"not installed; for {serves}",
                fix=fix or "pip install 'windtunnel[sessions]'",
            )
        else:
            yield Finding("imports", name, Verdict.FAIL, f"{type(error).__name__}: {error}")


def load(targets: Iterable[str]) -> Loaded:
    """Import modules, packages with all below them, and files.

    :param targets: names (``shop.rules``) or paths (``shop/rules.py``).
    :raises UsageError: for a target that is not there.

    >>> [module.__name__ for module in load(["json"]).modules][:3]
    ['json', 'json.decoder', 'json.encoder']
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    modules: dict[str, ModuleType] = {}
    findings = []
    for target in targets:
        for name in _names(target):
            error = _import_error(name)
            if error is None:
                modules[name] = sys.modules[name]
                findings.append(Finding("imports", name, Verdict.PASS))
            else:
                detail = f"{type(error).__name__}: {error}"
                findings.append(Finding("imports", name, Verdict.FAIL, detail))
    return Loaded(tuple(modules.values()), tuple(findings))


def _names(target: str) -> Iterator[str]:
    """The module, and where it is a package all below it, each name before it is imported."""
    if target.endswith(".py"):
        yield _file_module(Path(target))
        return
    try:
        spec = importlib.util.find_spec(target)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UsageError(
            "there is no such module",
            found=repr(target),
            fix="name a module that can be imported from here, or a .py file",
        )
    yield target
    if target in sys.modules:
        for module in pkgutil.walk_packages(spec.submodule_search_locations or [], f"{target}."):
            if not module.name.endswith(".__main__"):
                yield module.name


def _file_module(path: Path) -> str:
    """Make a file importable under its name, beside the files that it imports."""
    if not path.is_file():
        raise UsageError("there is no such file", found=str(path))
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return path.stem


def _import_error(name: str) -> BaseException | None:
    """What importing it raises; modules may raise anything, SystemExit not least."""
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


__all__ = ["LIBRARIES", "Loaded", "libraries", "load"]
