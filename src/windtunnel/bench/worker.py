"""The program of a process that measures: it reads one order, answers once, and ends.

Called as ``python -m windtunnel.bench.worker FD`` with the order as JSON on standard input. The
answer goes to the descriptor FD as JSON, so that what the function prints is not in its way.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from windtunnel.bench.target import Reference
from windtunnel.core import UsageError, WindtunnelError

Order: TypeAlias = dict[str, Any]  # JSON between two versions of the same program
Answer: TypeAlias = dict[str, Any]


def main() -> None:
    """Answer the order on standard input."""
    order = json.load(sys.stdin)
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answer:
        json.dump(answer_to(order), answer)


def answer_to(order: Order, fn: Callable[..., Any] | None = None) -> Answer:
    """Do what is ordered; an error is an answer too.

    :param fn: the function, where the order does not say where to find it.
    """
    try:
        if fn is None:
            where = order["target"]
            fn = Reference(**{**where, "paths": tuple(where["paths"])}).load()
        return _TASKS[order["task"]](fn, order)
    except WindtunnelError as error:
        return {"refused": error.what, "found": error.found, "fix": error.fix}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}


def _measure(fn: Callable[..., Any], order: Order) -> Answer:
    from windtunnel.bench.measuring import measure

    result = measure(fn, **order["options"])
    fields = ("times_s", "failed_s", "errors", "n", "inner", "elapsed_s", "cpu_s")
    answer = {name: getattr(result, name) for name in (*fields, "warmup_calls", "steady", "late_s")}
    memory = result.memory
    answer["memory"] = None if memory is None else [
        memory.peak_bytes, memory.retained_bytes, memory.retained_blocks, memory.calls
    ]  # fmt: skip
    return answer


def _sample(fn: Callable[..., Any], order: Order) -> Answer:
    from windtunnel.bench.undisturbed import samples

    gc.collect()
    options = ("warmup", "count", "least_s", "most_s")
    return samples(fn, **{name: order[name] for name in options})


_TASKS: dict[str, Callable[[Callable[..., Any], Order], Answer]] = {
    "measure": _measure,
    "sample": _sample,
}


def checked(answer: Answer, name: str) -> Answer:
    """The answer, unless it is an error.

    :raises UsageError: where the function could not be run at all.
    """
    if "refused" in answer:
        raise UsageError(answer["refused"], found=answer["found"], fix=answer["fix"])
    if "raised" in answer:
        raise UsageError(
            f"{name} could not be measured in a process of its own", found=answer["raised"]
        )
    return answer


if __name__ == "__main__":
    main()
