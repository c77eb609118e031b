"""What bench_compare.py compares: some 10 ms of ordinary Python, and the same with more to do."""

from __future__ import annotations

STEPS = 170_000


def work(steps: int = STEPS) -> int:
    total = 0
    words: dict[int, str] = {}
    for i in range(steps):
        total += i * i % 7
        if not i % 64:
            words[i % 977] = str(i)
    return total + len(words)


def slower_5() -> int:
    return work(STEPS * 105 // 100)


def slower_10() -> int:
    return work(STEPS * 110 // 100)
