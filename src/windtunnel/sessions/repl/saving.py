"""``.save`` and ``.load``: a session's code and grants in a file, and into a session again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import CapabilityConstraint, CapabilityToken
from windtunnel.sessions.repl.granting import opens
from windtunnel.sessions.repl.screen import printable

if TYPE_CHECKING:
    from windtunnel.sessions.repl.shell import Shell

_FORMAT = 1


def save(shell: Shell, name: str) -> int:
    """Write what ran without failing, and what is granted; returns how many pieces of code.

    The uses that are left of a token are saved, not those it began with.

    :raises UsageError: where the file cannot be written.
    """
    ran = [one.code for one in shell.session.history if one.kind == "run" and one.result.ok]
    tokens = [token for token in shell.session.capabilities.tokens() if not token.revoked]
    said: dict[str, Any] = {
        "windtunnel-session": _FORMAT,
        "engine": shell.engine,
        "code": ran,
        "grants": [
            {"type": token.type, "constraints": [_left(token, one) for one in token.constraints]}
            for token in tokens
        ],
    }
    path = _path(name)
    try:
        path.write_text(json.dumps(said, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot save {path}", found=str(error)) from None
    return len(ran)


def _left(token: CapabilityToken, constraint: CapabilityConstraint) -> dict[str, Any]:
    given = constraint.given()
    if "uses" in given:
        given["uses"] = max(0, given["uses"] - token.uses)
    return given


async def load(shell: Shell, name: str) -> None:
    """Ask for each grant of the file and run its code, up to what fails.

    :raises UsageError: where it is no such file.
    """
    path = _path(name)
    said = _read(path)
    for token in _tokens(path, said):
        what = ", ".join(opens(token, shell.functions)) or "no host function needs it"
        if await shell.screen.confirm(f"grant {token} to this session (opens {what})?"):
            shell.session.capabilities.add_capability(token)
    for number, code in enumerate(said["code"], 1):
        shell.screen.say(f"> {printable(code.partition(chr(10))[0])}", "dim")
        result = await shell.execute(code)
        if result is None or not result.ok:
            shell.fail(f"stopped at {number} of {len(said['code'])}")
            return
    shell.screen.say(f"loaded {len(said['code'])} entries from {name}")


def _path(name: str) -> Path:
    if not name:
        raise UsageError("a file is needed", fix=".save FILE, .load FILE")
    return Path(name).expanduser()


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot load {path}", found=str(error)) from None
    wanted = isinstance(said, dict) and said.get("windtunnel-session") == _FORMAT
    code = said.get("code") if wanted else None
    if not isinstance(code, list) or not all(isinstance(one, str) for one in code):
        raise UsageError(
            f"{path} is no saved session of format {_FORMAT}", fix="save one with .save FILE"
        )
    return dict(said)


def _tokens(path: Path, said: dict[str, Any]) -> list[CapabilityToken]:
    try:
        return [
            CapabilityToken(
                grant["type"], [CapabilityConstraint(**bounds) for bounds in grant["constraints"]]
            )
            for grant in said.get("grants", [])
        ]
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path} has a grant that cannot be read", found=str(error)) from None
