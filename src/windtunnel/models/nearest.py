"""Why no script fits a call: the nearest one, and where it differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from windtunnel.models.conditions import Condition
from windtunnel.models.protocol import ModelCall
from windtunnel.models.script import Script

_SHOWN = 400


def explain(call: ModelCall, scripts: Iterable[Script]) -> str:
    """What was asked, the script that nearly fits, and each of its conditions that does not."""
    known = list(scripts)
    lines = [f"no script fits this call: {describe(call)}"]
    if not known:
        lines.append("no script was written")
        return "\n".join(lines)
    nearest = max(known, key=lambda script: _nearness(script, call))
    lines.append(f"the nearest of {len(known)}: {nearest}")
    lines += [f"  {line}" for line in _differences(nearest, call)]
    return "\n".join(lines)


def describe(call: ModelCall) -> str:
    """A call in one line."""
    said = call.last_user_text
    tools = call.tool_results
    parts = [f"{call.dialect} {call.endpoint}, model {call.model!r}"]
    if said:
        parts.append(f"user: {_short(said)!r}")
    if tools:
        parts.append("tool results: " + ", ".join(f"{t.name or t.id}={t.content!r}" for t in tools))
    return ", ".join(parts)


def _nearness(script: Script, call: ModelCall) -> tuple[float, int]:
    conditions = script.conditions
    if not conditions:
        return 0.0 if script.spent else 1.0, script.order
    score = sum(_likeness(condition, call) for condition in conditions)
    return score / len(conditions), script.order


def _likeness(condition: Condition, call: ModelCall) -> float:
    if condition.holds(call):
        return 1.0
    wanted = condition.wanted if isinstance(condition.wanted, str) else str(condition.wanted)
    found = condition.found(call)
    return 0.9 * difflib.SequenceMatcher(None, wanted[:_SHOWN], found[:_SHOWN]).ratio()


def _differences(script: Script, call: ModelCall) -> Iterable[str]:
    missed = [condition for condition in script.conditions if not condition.holds(call)]
    for condition in missed:
        wanted, found = condition.wanted, condition.found(call)
        if isinstance(wanted, str) and condition.name == "text":
            yield f"{condition.name}:"
            yield from _diff(wanted, found)
        else:
            yield f"{condition}, found {_short(found)!r}{_hint(condition, found)}"
    if missed:
        return
    if script.kind is not None and script.kind != call.kind:
        yield f"kind={script.kind!r}, found {call.kind!r}"
    elif script.spent:
        yield f"all its conditions hold, but it has given its answers ({script.count}) already"
    elif script.nth is not None:
        yield f"all its conditions hold, but not for the call nth={sorted(script.nth)}"
    else:
        yield "all its conditions hold, but it was given no answer: call reply()"


def _hint(condition: Condition, found: str) -> str:
    wanted = condition.wanted
    if not isinstance(wanted, str):
        return ""
    if wanted in found and condition.name in ("contains", "system", "tool_result"):
        return " (it stands only inside a longer word there; matches= takes a pattern)"
    if wanted.lower() in found.lower():
        return " (upper and lower case differ)"
    return ""


def _diff(wanted: str, found: str) -> Iterable[str]:
    for line in difflib.ndiff(wanted.splitlines() or [""], found.splitlines() or [""]):
        yield line.rstrip("\n")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


__all__ = ["describe", "explain"]
