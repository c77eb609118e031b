"""``windtunnel bench --engine``: a file's code, run by an executor of room ``sessions``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windtunnel.core import UsageError


def on_engine(
    file: Path, engine: str, stack: contextlib.ExitStack
) -> tuple[str, Callable[..., Any], dict[str, Any]]:
    """Name, function and options by which the file's code is measured on that engine.

    :param stack: closes the executor.
    :raises UsageError: where the file cannot be read, or there is no such engine.
    """
    from windtunnel.sessions import executor

    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}", found=str(error)) from error
    runner = stack.enter_context(executor(engine))

    def run() -> Any:
        return runner.execute_sync(code)

    def failed(result: Any) -> bool:
        return not result.ok

    return f"{file.name} on {engine}", run, {"failed": failed}
