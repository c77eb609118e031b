"""How often `bench.compare` errs: the same code, 5 % and 10 % slower code, again and again.

    python benchmarks/bench_compare.py [--comparisons 300] [--samples FILE] [--quick]

Each comparison is a real one, of a function of about 10 ms, within 60 s. What was found is
appended to FILE, and a run that was stopped goes on where it was: so the 300 can be had in pieces.
Next to ours stand two rules that are in use, on the very same samples: the candidate's mean over
the baseline's by more than 10 % (of one process each, as a benchmark in a test suite takes them,
and of all), and a Mann-Whitney test of all samples pooled (p < 0.05).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from pathlib import Path

from windtunnel.bench import Comparison, compare, mann_whitney
from windtunnel.core import Seed

HERE = Path(__file__).resolve().parent
WORK = HERE / "_ten_ms.py"
CASES = {"same": "work", "+5 %": "slower_5", "+10 %": "slower_10"}
# False alarms are the rarest, and want most comparisons.
TURNS = ("same", "same", "+5 %", "same", "+10 %")
BUDGET_S = 60.0


def judged(case: str, found: Comparison) -> dict[str, object]:
    """What ours and the others say of the same samples."""
    candidate, baseline = found.candidate.wall_s, found.baseline.wall_s
    all_c = [x for process in candidate for x in process]
    all_b = [x for process in baseline for x in process]
    return {
        "case": case,
        "verdict": str(found.verdict),
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "processes": found.processes,
        "elapsed_s": found.elapsed_s,
        "load": os.getloadavg()[0],
        "mean_one": statistics.mean(candidate[0]) > 1.1 * statistics.mean(baseline[0]),
        "mean_all": statistics.mean(all_c) > 1.1 * statistics.mean(all_b),
        "pooled": mann_whitney(all_c, all_b).p < 0.05,
    }


def bound(errors: int, of: int) -> float:
    """The highest rate that so few errors leave possible with 95 % confidence (exact binomial)."""
    low, high = errors / of, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        log = [
            math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
            + k * math.log(rate) + (of - k) * math.log1p(-rate)
            for k in range(errors + 1)
        ]  # fmt: skip
        low, high = (rate, high) if sum(map(math.exp, log)) > 0.05 else (low, rate)
    return high


def report(rows: list[dict[str, object]]) -> None:
    for case in CASES:
        mine = [row for row in rows if row["case"] == case]
        if not mine:
            continue
        n = len(mine)
        verdicts = [row["verdict"] for row in mine]
        counts = ", ".join(
            f"{verdicts.count(v)} {v}"
            for v in ("slower", "faster", "same", "unknown")
            if v in verdicts
        )
        times = sorted(float(str(row["elapsed_s"])) for row in mine)
        loads = sorted(float(str(row["load"])) for row in mine)
        print(f"{case}: {n} comparisons: {counts}")
        print(
            f"  time a comparison: median {statistics.median(times):.1f} s, most {times[-1]:.1f} s;"
            f" load {loads[0]:.1f} to {loads[-1]:.1f} on {os.cpu_count()} CPUs"
        )
        if case == "same":
            wrong = verdicts.count("slower") + verdicts.count("faster")
            print(f"  false alarms: {wrong} (rate at most {bound(wrong, n):.2%}, 95 %)")
        else:
            print(f"  caught: {verdicts.count('slower') / n:.1%}")
        for name, text in (
            ("mean_one", "mean over 10 %, one process each"),
            ("mean_all", "mean over 10 %, all samples"),
            ("pooled", "pooled Mann-Whitney, p < 0.05"),
        ):
            print(f"  {text}: alarms in {sum(bool(row[name]) for row in mine) / n:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=300, help="of the same code")
    parser.add_argument(
        "--samples", type=Path, default=HERE.parent / ".cache" / "bench_compare.jsonl"
    )
    parser.add_argument("--quick", action="store_true", help="three, and five in all")
    options = parser.parse_args()
    wanted = 3 if options.quick else options.comparisons
    path: Path = options.samples
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() and not options.quick else []
    rows = [json.loads(line) for line in lines]
    while sum(row["case"] == "same" for row in rows) < wanted or len(rows) % len(TURNS):
        case = TURNS[len(rows) % len(TURNS)]
        found = compare(
            f"{WORK}:{CASES[case]}",
            f"{WORK}:work",
            budget_s=BUDGET_S,
            seed=Seed(len(rows)).child(case).value,
        )
        rows.append(judged(case, found))
        if not options.quick:
            with path.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    report(rows)


if __name__ == "__main__":
    main()
