"""A function that another process can find: by its file and name, or by being a copy of this one.

A fresh interpreter has another hash seed and memory layout than the last, and both move timings
by percents; so what can be imported is run in fresh interpreters. What cannot (a lambda, a
closure) runs in a fork of this process, as long as no other thread is there to hold a lock for
ever; daemons, which wait for somebody's work nearly all the time, are let be.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from windtunnel.core import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """Where a function is found.

    :param file: the file to load it from, absolute; empty when ``module`` is imported by name.
    :param module: the module's name.
    :param qualname: the function's name in it, dotted where it belongs to a class; empty for
        the whole file, run as a script.
    :param paths: folders that go before ``sys.path``.
    """

    file: str
    module: str
    qualname: str
    paths: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """Import it.

        :raises UsageError: where the file, module or name is not there, or is not callable.
        """
        for path in reversed(self.paths):
            if path not in sys.path:
                sys.path.insert(0, path)
        where = self.file or self.module
        if not self.qualname:
            return _script(self.file)
        try:
            module = _from_file(self.file) if self.file else importlib.import_module(self.module)
            found: Any = module
            for part in self.qualname.split("."):
                found = getattr(found, part)
        except Exception as error:  # whatever the module does when it is imported
            raise UsageError(
                f"there is no {self.qualname} to measure in {where}",
                found=f"{type(error).__name__}: {error}",
                fix="give FILE:NAME of a function that takes no arguments",
            ) from error
        if not callable(found):
            raise UsageError(
                f"{self.qualname} in {where} is not a function", found=repr(found)[:80]
            )
        target: Callable[..., Any] = found
        return target


Target: TypeAlias = "Reference | Callable[[], Any]"


def locate(fn: Callable[..., Any]) -> Reference | None:
    """Where a fresh interpreter finds this very function; None where it does not.

    >>> locate(os.path.join).qualname, locate(lambda: None)
    ('join', None)
    """
    name = getattr(fn, "__qualname__", "")
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    if not name or module is None or "<" in name:
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not fn:
        return None
    paths = tuple(path or os.getcwd() for path in sys.path)
    file = getattr(module, "__file__", None)
    if module.__name__ == "__main__" or _unimportable(module):
        return Reference(os.path.abspath(file), "", name, paths) if file else None
    return Reference("", module.__name__, name, paths)


def parse_target(text: str) -> Reference:
    """Read ``FILE:NAME`` or ``module:NAME``, or ``FILE`` alone, which is run as a script.

    :raises UsageError: where it is neither.

    >>> reference = parse_target("json:dumps")
    >>> reference.module, reference.qualname
    ('json', 'dumps')
    """
    place, colon, name = text.rpartition(":")
    if not colon and text.endswith(".py"):
        place = text
        name = ""
    elif not place or not name:
        raise UsageError(
            "what to measure is named by its file and function",
            found=repr(text),
            fix="write FILE:NAME, as bench_parse.py:parse",
        )
    if not place.endswith(".py"):
        return Reference("", place, name, (os.getcwd(),))
    file = Path(place).absolute()
    if not file.is_file():
        raise UsageError(f"there is no file {place}", found=text, fix="write FILE:NAME")
    return Reference(str(file), "", name, (str(file.parent),))


def functions_of(file: Reference) -> list[Reference]:
    """What is measured of a file of which no function was named: those that begin with
    ``bench_`` at its top level, in their order; where there are none, the file as a script.

    :raises UsageError: where the file cannot be read as Python.
    """
    try:
        tree = ast.parse(Path(file.file).read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"cannot read {file.file}", found=f"{type(error).__name__}: {error}"
        ) from error
    names = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("bench_")
    ]
    return [dataclasses.replace(file, qualname=name) for name in names] or [file]


def target_of(fn: Callable[..., Any] | str | Reference, args: tuple[Any, ...] = ()) -> Target:
    """What another process is to run.

    :raises UsageError: where it can only be forked and other threads run here.
    """
    if isinstance(fn, Reference):
        return fn
    if isinstance(fn, str):
        return parse_target(fn)
    reference = None if args else locate(fn)
    if reference is not None:
        return reference
    here = threading.current_thread()
    others = [t.name for t in threading.enumerate() if t is not here and not t.daemon]
    if others:
        raise UsageError(
            "this function cannot be measured in a process of its own",
            found=f"{fn!r}, which cannot be imported, and other threads here: {', '.join(others)}",
            fix="define it at the top level of a module",
        )
    return functools.partial(fn, *args) if args else fn


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether what ``fn`` returns is to be awaited, as far as can be told without a call.

    >>> async def job(): ...
    >>> is_async(job), is_async(functools.partial(job)), is_async(len)
    (True, True, False)
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004 - of an object, not whether it has one
    )


def _script(file: str) -> Callable[[], None]:
    """The file as a function that runs it from its first line, each time in names of its own."""
    try:
        source = Path(file).read_bytes()
        code = compile(source, file, "exec")
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"cannot run {file}", found=f"{type(error).__name__}: {error}") from error

    def script() -> None:
        try:
            exec(code, {"__name__": "__main__", "__file__": file, "__builtins__": builtins})
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"exit code {stop.code}") from stop

    return script


def _unimportable(module: ModuleType) -> bool:
    """Whether its name means nothing to a fresh interpreter, as that of a test file may."""
    spec = getattr(module, "__spec__", None)
    if spec is None or spec.origin is None:
        return True
    if spec.origin in ("built-in", "frozen"):
        return False
    try:
        found = importlib.util.find_spec(module.__name__)
    except (ImportError, ValueError):
        return True
    return found is None or found.origin != spec.origin


def _from_file(file: str) -> ModuleType:
    name = Path(file).stem
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module
