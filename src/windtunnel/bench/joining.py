"""Measurements of the same function, taken in turns, as one."""

from __future__ import annotations

import dataclasses

from windtunnel.bench.result import Result


def joined(results: list[Result]) -> Result:
    """One result of several of the same function; what memory took, as most of them saw it.

    >>> one = Result(name="f", times_s=(1.0,), n=1, elapsed_s=1.0)
    >>> joined([one, one]).n
    2
    """
    first = results[0]
    errors: dict[str, int] = {}
    for result in results:
        for error, count in result.errors:
            errors[error] = errors.get(error, 0) + count
    known = [result.cpu_s for result in results if result.cpu_s is not None]
    memories = [result.memory for result in results if result.memory is not None]
    return dataclasses.replace(
        first,
        times_s=tuple(x for result in results for x in result.times_s),
        failed_s=tuple(x for result in results for x in result.failed_s),
        errors=tuple(errors.items()),
        n=sum(result.n for result in results),
        elapsed_s=sum(result.elapsed_s for result in results),
        cpu_s=sum(known) if known else None,
        memory=max(memories, key=lambda memory: memory.peak_bytes) if memories else None,
        warmup_calls=sum(result.warmup_calls for result in results),
    )
