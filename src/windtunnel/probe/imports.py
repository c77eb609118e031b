"""Dependence on what else is collected: importing a test file can pollute, or set up, too.

A test can end one way when its file alone is collected and another way when the whole suite is,
before any other test has run. :func:`investigate` finds the files whose import does it. What
differs from one process to the next looks the same at first (all forks of a session share it),
so the files are blamed only where they change the outcome beyond doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.probe.bench import Bench, OutOfBudget
from windtunnel.probe.ddmin import ddmin
from windtunnel.probe.findings import Cause, Contrast, Finding
from windtunnel.probe.statistics import Rate

_SINGLES_MOST = 60
_RUNS, _SURE = 5, 0.01


def investigate(bench: Bench, finding: Finding, alone: Rate, files: Sequence[str]) -> bool:
    """Fill in the finding if collecting other files changes the outcome; whether it does.

    :param alone: failure rate of the test when only its file is collected.
    :param files: the suite's other files, in their order, as pytest is given them.
    """
    wanted = alone.never

    def fails(some: Sequence[str]) -> bool | None:
        bench.budget.check()
        extra = [word for file in some for word in (file, "--deselect", file)]
        trial = bench.fresh.run([bench.target], extra=extra)
        result = trial.of(bench.target)
        return result.failed if result is not None and result.counts else None

    def shows(some: Sequence[str]) -> bool:
        return fails(some) is wanted

    try:
        bench.budget.tell(f"collecting its file with {len(files)} others")
        if not files or not shows(files):
            return False
        single = [file for file in files[:_SINGLES_MOST] if shows([file])]
        guilty = single or ddmin(files, shows)
        rate = bench.rate(lambda: fails(guilty if not single else single[:1]), _RUNS)
        alone += bench.alone(_RUNS, fresh=True)
    except OutOfBudget as error:
        finding.notes.append(f"stopped while looking at imports: {error.what}")
        return False
    first = guilty[0] if single or len(guilty) == 1 else f"{len(guilty)} files"
    contrast = Contrast(
        before="with its file alone collected",
        before_rate=alone,
        after=f"with {first} collected as well",
        after_rate=rate,
    )
    if contrast.p_value > _SURE:
        finding.tried.append(contrast)
        return False
    finding.shown_by = contrast
    finding.cause = Cause.VICTIM if wanted else Cause.BRITTLE
    names = [f"import of {file}" for file in guilty]
    if not single and len(guilty) > 1:
        finding.together = names
    elif wanted:
        finding.polluters = names
    else:
        finding.state_setters = names
    verb = "fails" if wanted else "passes"
    finding.reason = f"it {verb} when {first} is imported at collection, though no test of it runs"
    finding.candidates = finding.candidates_tried = len(files)
    finding.confirmed = rate
    finding.where = "in the process's memory, from the import of a test file"
    return True


def command_words(finding: Finding) -> list[str]:
    """What the reproducing command has before the test: the files, collected and deselected."""
    names = (finding.polluters or finding.state_setters)[:1] or finding.together
    files = [name.removeprefix("import of ") for name in names]
    return [word for file in files for word in (file, "--deselect", file)]
