"""``measure`` with ``isolation="process"``: the samples of several processes, as one result."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

from windtunnel.bench import processes
from windtunnel.bench.memory import Memory
from windtunnel.bench.plan import Plan
from windtunnel.bench.result import Result
from windtunnel.bench.target import Reference, target_of
from windtunnel.bench.worker import Answer
from windtunnel.core import REAL_CLOCK, UsageError


def measure_isolated(
    fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], plan: Plan
) -> Result:
    """Measure in ``plan.processes`` processes, one after the other; calls are divided evenly.

    :raises UsageError: where an option cannot cross to another process.
    """
    target = target_of(fn, args)
    if plan.clock is not REAL_CLOCK:
        raise UsageError("a clock of one's own does not cross to another process")
    if plan.failed is not None and isinstance(target, Reference):
        raise UsageError(
            "`failed` does not cross to a fresh process",
            fix="raise in the function itself, or measure without isolation",
        )
    given = {key: value for key, value in options.items() if key not in _OURS}
    given["name"] = plan.name
    answers = []
    for number in range(plan.processes):
        share = dict(given)
        if plan.iterations is not None:
            # The first ones make one more where it does not come out even.
            share["iterations"] = (plan.iterations + plan.processes - 1 - number) // plan.processes
            if not share["iterations"]:
                continue
        else:
            share["budget_s"] = plan.budget_s / plan.processes
        if plan.failed is not None:
            share.pop("failed")
        answers.append(processes.run(target, {"task": "measure", "options": share}, plan.name))
    return _joined(answers, plan)


_OURS = ("isolation", "processes", "clock")


def _joined(answers: list[Answer], plan: Plan) -> Result:
    errors: Counter[str] = Counter()
    for answer in answers:
        errors.update(dict(answer["errors"]))
    late = [answer["late_s"] for answer in answers if answer["late_s"] is not None]
    memories = [Memory(
        peak_bytes=row[0], retained_bytes=row[1], retained_blocks=row[2], calls=row[3]
    ) for answer in answers if (row := answer["memory"])]  # fmt: skip
    known = [answer["steady"] for answer in answers]
    return Result(
        name=plan.name,
        times_s=tuple(x for answer in answers for x in answer["times_s"]),
        failed_s=tuple(x for answer in answers for x in answer["failed_s"]),
        errors=tuple(errors.most_common()),
        n=sum(answer["n"] for answer in answers),
        inner=max(answer["inner"] for answer in answers),
        elapsed_s=sum(answer["elapsed_s"] for answer in answers),
        cpu_s=sum(answer["cpu_s"] for answer in answers),
        warmup_calls=sum(answer["warmup_calls"] for answer in answers),
        steady=None if None in known else all(known),
        concurrency=plan.concurrency,
        rate=plan.rate,
        late_s=max(late) if late else None,
        processes=len(answers),
        memory=_largest(memories),
    )


def _largest(memories: list[Memory]) -> Memory | None:
    if not memories:
        return None
    return dataclasses.replace(
        max(memories, key=lambda memory: memory.peak_bytes),
        retained_bytes=max(memory.retained_bytes for memory in memories),
        retained_blocks=max(memory.retained_blocks for memory in memories),
    )
