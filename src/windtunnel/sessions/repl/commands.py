"""The commands of the prompt, each a function of the shell and of what follows the word."""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.core.errors import UsageError
from windtunnel.sessions.errors import GuestError
from windtunnel.sessions.repl import saving
from windtunnel.sessions.repl.entry import split_options
from windtunnel.sessions.repl.granting import USAGE, opens, parse_grant
from windtunnel.sessions.repl.screen import printable

if TYPE_CHECKING:
    from windtunnel.sessions.repl.shell import Shell

Run: TypeAlias = "Callable[[Shell, str], Awaitable[None]]"


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command that begins with a dot."""

    usage: str
    help: str
    run: Run


async def _help(shell: Shell, rest: str) -> None:
    wide = max(len(command.usage) for command in COMMANDS.values() if len(command.usage) < 40)
    for command in COMMANDS.values():
        shell.screen.say(f"  {command.usage:<{wide}}  {command.help}")
    shell.screen.say("host functions, each behind a capability:")
    for function in shell.functions:
        about = function.doc.partition("\n")[0]
        shell.screen.say(f"  {function.name:<12}  {function.needs:<12}  {about}")


async def _async(shell: Shell, rest: str) -> None:
    if not rest:
        raise UsageError("there is no code to run", fix=".async CODE")
    result = await shell.execute(rest)
    if result is not None:
        timings = result.timings
        shell.screen.say(
            f"{'done' if result.ok else 'failed'} in {timings.total_s * 1000:.1f} ms"
            f" ({timings.run_s * 1000:.1f} ms running)",
            "dim",
        )


async def _callback(shell: Shell, rest: str) -> None:
    name, _, text = rest.partition(" ")
    if not name.isidentifier():
        raise UsageError(
            "a callback is made of a function's name", found=repr(name), fix=".callback NAME [ARGS]"
        )
    callback = shell.session.callback(name)
    if not text.strip():
        shell.screen.say(f"{name} can be called: .callback {name} ARGUMENTS")
        return
    try:
        arguments = ast.literal_eval(f"({text},)")
    except (ValueError, SyntaxError):
        raise UsageError(
            "arguments of a callback are literals, with commas between", found=text
        ) from None
    try:
        value = await shell.during(callback.call(*arguments), f"calling {name}")
    except GuestError as error:
        shell.fail(printable(f"{error.error_type}: {error.message}"))
        return
    if value is not None:
        shell.screen.say(printable(repr(value)), "value")


async def _caps(shell: Shell, rest: str) -> None:
    tokens = shell.session.capabilities.tokens()
    if not tokens:
        shell.screen.say("nothing is granted; host functions are refused (.grant CAP [PATTERN])")
    for token in tokens:
        used = "used once" if token.uses == 1 else f"used {token.uses} times"
        state = "revoked" if token.revoked else used
        shell.screen.say(f"  {token}  {state}  opens {', '.join(opens(token, shell.functions))}")


async def _grant(shell: Shell, rest: str) -> None:
    token = parse_grant(rest, REAL_CLOCK.time())
    functions = opens(token, shell.functions)
    what = f"opens {', '.join(functions)}" if functions else "no host function needs it"
    if await shell.screen.confirm(f"grant {token} to this session ({what})?"):
        shell.session.capabilities.add_capability(token)
        shell.screen.say(f"granted {token}")
    else:
        shell.screen.say("not granted")


async def _revoke(shell: Shell, rest: str) -> None:
    held = [token for token in shell.session.capabilities.tokens(rest) if not token.revoked]
    if not rest or not held:
        kinds = sorted({token.type for token in shell.session.capabilities.tokens()})
        raise UsageError(
            f"there is nothing to revoke of {rest!r}", found=", ".join(kinds), fix=".revoke CAP"
        )
    for token in held:
        shell.session.capabilities.revoke(token)
    shell.screen.say(f"revoked {', '.join(map(str, held))}")


async def _benchmark(shell: Shell, rest: str) -> None:
    from windtunnel import bench

    code, options = split_options(rest)
    if not code:
        raise UsageError("there is no code to measure", fix=COMMANDS[".benchmark"].usage)
    numbers = {"iterations": 50} | {name: _count(name, text) for name, text in options.items()}

    async def once() -> None:
        result = await shell.session.run(code)
        if not result.ok:
            raise GuestError(result.error_type, result.error)

    label = code.partition("\n")[0][:40]
    measuring = bench.measure_async(once, name=label, **numbers)
    result = await shell.during(measuring, "measuring")
    if result is not None:
        shell.screen.say(str(result))
        if result.failures:
            shell.fail(f"{result.failures} of {result.n} runs failed")


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or not (int(text) or name == "warmup"):
        raise UsageError(f"--{name} is a whole number from 1 up", found=repr(text))
    return int(text)


async def _history(shell: Shell, rest: str) -> None:
    for number, one in enumerate(shell.session.history, 1):
        state = "ok" if one.result.ok else one.result.error_type
        lines = printable(one.code).splitlines() or [""]
        more = f" … {len(lines) - 1} lines more" if len(lines) > 1 else ""
        spent = one.result.timings.total_s * 1000
        shell.screen.say(
            f"{number:>4}  {one.kind:<6}  {spent:>8.1f} ms  {state:<18}  {lines[0]}{more}"
        )


async def _violations(shell: Shell, rest: str) -> None:
    violations = shell.session.capabilities.violations
    if not violations:
        shell.screen.say("nothing was refused")
    for number, one in enumerate(violations, 1):
        wanted = f"{one.capability} {one.operation} {printable(one.resource)}".rstrip()
        shell.screen.say(f"{number:>4}  {wanted}: {printable(one.reason)}")


async def _save(shell: Shell, rest: str) -> None:
    shell.screen.say(f"saved {saving.save(shell, rest)} entries in {rest}")


async def _load(shell: Shell, rest: str) -> None:
    await saving.load(shell, rest)


async def _reset(shell: Shell, rest: str) -> None:
    await shell.session.reset()
    shell.names.clear()
    shell.screen.say("every name is forgotten; what was granted stays")


async def _exit(shell: Shell, rest: str) -> None:
    shell.leaving = True


COMMANDS: dict[str, Command] = {
    ".async": Command(".async CODE", "run code in this session and say how long it took", _async),
    ".callback": Command(
        ".callback NAME [ARGS]", "make a guest function callable from here, and call it", _callback
    ),
    ".caps": Command(".caps", "what is granted, and what was used of it", _caps),
    ".grant": Command(USAGE, "grant a capability, once you have said yes", _grant),
    ".revoke": Command(".revoke CAP", "take a capability back", _revoke),
    ".benchmark": Command(
        ".benchmark CODE [--iterations N] [--concurrency C] [--warmup W]", "measure it", _benchmark
    ),
    ".history": Command(".history", "what was executed, and how it ended", _history),
    ".violations": Command(".violations", "what was refused, and why", _violations),
    ".save": Command(".save FILE", "write what was run and granted", _save),
    ".load": Command(".load FILE", "grant and run it again, asking before each grant", _load),
    ".reset": Command(".reset", "forget every name", _reset),
    ".help": Command(".help", "this", _help),
    ".exit": Command(".exit", "leave; so does Ctrl-D", _exit),
}


def find(word: str) -> Command | str:
    """The command of that word; where there is none, the nearest word or nothing."""
    if word in COMMANDS:
        return COMMANDS[word]
    return next(iter(difflib.get_close_matches(word, COMMANDS, n=1)), "")
