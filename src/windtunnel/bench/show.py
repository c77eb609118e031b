"""A result on a terminal: the figures, then the samples as a histogram of one line a bin."""

from __future__ import annotations

import math

from windtunnel.bench.bins import bins
from windtunnel.bench.result import Result
from windtunnel.bench.units import duration, rate, size
from windtunnel.draw import clean, pad, shorten

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR = 40
_PLACES = (0, 50, 75, 90, 95, 99, 99.9, 99.99, 100)


def text(result: Result) -> str:
    """The figures and the histogram, a dozen lines or two.

    >>> result = Result(name="f", times_s=(0.001,) * 9 + (0.002,), n=10, elapsed_s=0.011)
    >>> print(text(result))
    f: 10 calls
      median       1.00 ms  (1.00 ms to 1.00 ms, 95 %)
      mean         1.10 ms  (1.00 ms to 1.30 ms, 95 %)
    ...
    """
    lines = [f"{clean(result.name)}: {_how(result)}"]
    if result.times_s:
        lines += [f"  {pad(name, 10)}  {value}" for name, value in _figures(result)]
    else:
        lines.append("  no call succeeded")
    lines += [f"  {line}" for line in _failures(result)]
    if len(result.times_s) > 1:
        lines += ["", *(f"  {line}" for line in histogram(result.times_s))]
        lines += ["", *(f"  {line}" for line in percentiles(result))]
    return "\n".join(lines)


def histogram(times_s: tuple[float, ...], *, most: int = 12) -> list[str]:
    """The bins, one a line: from where, how many, and a bar.

    >>> print("\\n".join(histogram((0.001, 0.0011, 0.0012, 0.0049), most=3)))
    1.00 ms  3  ████████████████████████████████████████
    2.30 ms  0
    3.60 ms  1  █████████████▍
    """
    made = bins(times_s, most)
    highest = max(count for _, _, count in made)
    names = [duration(low) for low, _, _ in made]
    if len(made) > 1 and made[-1][1] - made[-1][0] > 1.001 * (made[0][1] - made[0][0]):
        names[-1] = f"≥ {names[-1]}"
    counts = [f"{count:,}" for _, _, count in made]
    return [
        f"{pad(name, max(map(len, names)), right=True)}  "
        f"{pad(count, max(map(len, counts)), right=True)}  {_bar(share / highest)}".rstrip()
        for name, count, (_, _, share) in zip(names, counts, made, strict=True)
    ]


def percentiles(result: Result) -> list[str]:
    """The durations at ever higher percentiles, as far as there are samples for them.

    >>> times = tuple(x / 1000 for x in range(1, 101))
    >>> print("\\n".join(percentiles(Result(name="f", times_s=times, n=100))))
       p0  1.00 ms  ▌
      p50  50.5 ms  ████████████████████▎
      p75  75.2 ms  ██████████████████████████████▏
      p90  90.1 ms  ████████████████████████████████████▏
      p95  95.0 ms  ██████████████████████████████████████▏
      p99  99.0 ms  ███████████████████████████████████████▋
     p100   100 ms  ████████████████████████████████████████
    """
    most = 100 * (1 - 1 / len(result.times_s))
    shown = [place for place in _PLACES if place <= most or place == 100]
    values = [result.percentile(place) for place in shown]
    texts = [duration(value) for value in values]
    width = max(map(len, texts))
    return [
        f"{f'p{place:g}':>5}  {text:>{width}}  {_bar(value / (values[-1] or 1))}".rstrip()
        for place, text, value in zip(shown, texts, values, strict=True)
    ]


def _bar(share: float) -> str:
    eighths = math.ceil(share * _BAR * 8) if share else 0
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _how(result: Result) -> str:
    parts = [f"{result.n:,} calls"]
    if result.inner > 1:
        parts[0] += f" in {len(result.times_s):,} samples of {result.inner:,}"
    if result.processes:
        parts.append(f"in {result.processes} processes")
    if result.rate is not None:
        parts.append(f"open loop at {rate(result.rate)}")
    if result.concurrency > 1:
        parts.append(f"{result.concurrency} at a time")
    if result.warmup_calls:
        parts.append(f"after {result.warmup_calls:,} to warm up")
    if result.steady is False:
        parts.append("NOT STEADY")
    if result.clock == "virtual":
        parts.append("virtual time")
    return ", ".join(parts)


def _figures(result: Result) -> list[tuple[str, str]]:
    low, high = result.interval("median")
    mean_low, mean_high = result.interval("mean")
    outliers = result.outliers
    rows = [
        ("median", f"{_d(result.median)}  ({_d(low)} to {_d(high)}, 95 %)"),
        ("mean", f"{_d(result.mean)}  ({_d(mean_low)} to {_d(mean_high)}, 95 %)"),
        ("min … max", f"{_d(result.min)} … {_d(result.max)}"),
        ("p90 p95 p99", f"{_d(result.p90)}  {_d(result.p95)}  {_d(result.p99)}"),
        ("spread", f"MAD {_d(result.mad)}, std {_d(result.std)}, {outliers.count} outliers"),
    ]
    if result.elapsed_s > 0:
        rows.append(("throughput", rate(result.throughput)))
    if result.late_s is not None:
        rows.append(("started", f"at most {_d(result.late_s)} late; times count from when due"))
    if result.cpu_s is not None:
        rows.append(("CPU", f"{_d(result.cpu_per_call_s)} a call"))
    if result.memory is not None:
        memory = result.memory
        kept = f"{size(memory.retained_bytes)} and {memory.retained_blocks:.1f} blocks a call"
        rows.append(("memory", f"peak {size(memory.peak_bytes)}, kept {kept}"))
    width = max(len(name) for name, _ in rows)
    return [(pad(name, width), value) for name, value in rows]


def _failures(result: Result) -> list[str]:
    if not result.failures:
        return []
    times = sorted(result.failed_s)
    share = f"{result.failures:,} of {result.n:,} calls FAILED ({result.failure_rate:.1%})"
    lines = [f"{share}, in {_d(times[0])} … {_d(times[-1])}"]
    return lines + [f"  {count:,} x {shorten(clean(error), 90)}" for error, count in result.errors]


_d = duration
