"""What a process says of a call: warm-up, sizes of samples, and which waits are taken off."""

from __future__ import annotations

import os
import time

import pytest

from windtunnel.bench import undisturbed


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class CountedDelay:
    """A kernel that made the thread wait for a processor as long as the test says."""

    def __init__(self) -> None:
        self.waited = 0.0

    def read(self) -> float:
        return self.waited

    def close(self) -> None:
        pass


def test_waits_for_a_processor_are_taken_off_and_others_stay(monkeypatch: pytest.MonkeyPatch):
    clock, kernel = HandClock(), CountedDelay()
    monkeypatch.setattr(undisturbed, "REAL_CLOCK", clock)
    monkeypatch.setattr(undisturbed, "delay", lambda: kernel)

    def call() -> None:
        clock.now += 0.010 + 0.005  # computes, sleeps
        clock.now += 0.040  # set aside while others run
        kernel.waited += 0.040

    found = undisturbed.samples(call, warmup=1, count=3, clock=clock)
    assert found["times_s"] == pytest.approx([0.015] * 3)
    assert found["wall_s"] == pytest.approx([0.055] * 3)


def test_sleeping_is_part_of_a_call_on_the_real_machine():
    found = undisturbed.samples(lambda: time.sleep(0.02), warmup=0, count=2)
    assert min(found["times_s"]) >= 0.0199
    assert all(a <= b for a, b in zip(found["times_s"], found["wall_s"], strict=True))


def test_warm_up_calls_are_made_and_not_among_the_samples():
    clock = HandClock()
    took = iter([9.0, 8.0, 7.0, 1.0, 1.0])

    def call() -> None:
        clock.now += next(took)

    found = undisturbed.samples(call, warmup=3, count=2, clock=clock)
    assert found["times_s"] == [1.0, 1.0]


def test_short_calls_are_taken_together_until_a_sample_is_long_enough():
    clock = HandClock()

    def call() -> None:
        clock.now += 1e-5

    found = undisturbed.samples(call, warmup=0, count=4, least_s=1e-3, clock=clock)
    assert found["inner"] == 128
    assert found["times_s"] == pytest.approx([1e-5] * 4)


def test_a_long_call_has_fewer_samples_but_one():
    clock = HandClock()

    def call() -> None:
        clock.now += 5.0

    found = undisturbed.samples(call, warmup=2, count=6, most_s=1.0, clock=clock)
    assert len(found["times_s"]) == 1


def test_a_lambda_that_returns_a_coroutine_is_awaited():
    clock = HandClock()

    async def job() -> None:
        clock.now += 1.0

    found = undisturbed.samples(lambda: job(), warmup=1, count=2, clock=clock)
    assert found["times_s"] == [1.0, 1.0]


def test_failures_are_counted_with_the_first_error():
    def call() -> None:
        raise ValueError("no")

    found = undisturbed.samples(call, warmup=2, count=3, clock=HandClock())
    assert (found["failures"], found["error"], found["times_s"]) == (3, "ValueError: no", [])


def test_a_kernel_that_does_not_count_leaves_the_wall_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(undisturbed, "_SCHEDSTAT", os.devnull)
    kernel = undisturbed.delay()
    assert isinstance(kernel, undisturbed.NoDelay)
    assert kernel.read() == 0.0
