"""``windtunnel models``: a model server on the command line."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from typing import TYPE_CHECKING

from windtunnel.cli.models_check import add_check
from windtunnel.core import ExitCode, Seed, UsageError

if TYPE_CHECKING:
    from windtunnel.models.files import ScriptFile
    from windtunnel.models.server import ModelServer

_DIALECTS = "ollama,openai,anthropic,gemini"


def main(argv: list[str]) -> int:
    """Run one of the group's commands."""
    parser = argparse.ArgumentParser(
        prog="windtunnel models",
        description="Model servers that answer by script, in the providers' own APIs.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    add_check(commands)
    given = parser.parse_args(argv)
    return int(given.run(given))


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve until interrupted",
        description="Serve model APIs until interrupted. What no script answers is made up.",
        allow_abbrev=False,
    )
    serve.add_argument("--dialects", default=_DIALECTS, help=f"which APIs ({_DIALECTS})")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, default=0, help="port, 0 for a free one (0)")
    serve.add_argument("--scripts", metavar="FILE", help="YAML or JSON, read again when it changes")
    serve.add_argument("--cassette", metavar="FILE", help="answer from a recording")
    serve.add_argument(
        "--mode",
        choices=("replay", "record", "record_missing"),
        default="replay",
        help="how the cassette is used (replay)",
    )
    serve.add_argument("--upstream", metavar="URL", help="the real server to record from")
    serve.add_argument("--api-key", metavar="KEY", help="the only key that is let in")
    serve.add_argument("--seed", help="what made-up answers are drawn from")
    serve.add_argument("--latency", type=float, default=0.0, help="seconds to the first token (0)")
    serve.add_argument("--tokens-per-s", type=float, help="tokens written a second (all at once)")
    serve.add_argument(
        "--strict", action="store_true", help="refuse what no script answers, where there are any"
    )
    serve.set_defaults(run=_serve)


def _serve(given: argparse.Namespace) -> int:
    from windtunnel.models.server import ModelServer
    from windtunnel.models.thread import new_loop

    dialects = tuple(name for name in given.dialects.split(",") if name)
    if not dialects:
        raise UsageError("--dialects names at least one API", found=repr(given.dialects))
    server = ModelServer(
        dialects,
        host=given.host,
        port=given.port,
        api_key=given.api_key,
        seed=Seed.parse(given.seed) if given.seed else None,
        strict=given.strict,
        journal=1000,
    )
    if given.scripts:
        server.load(given.scripts).on_reload = _reloaded
    if given.cassette:
        server.use_cassette(given.cassette, given.mode, upstream=given.upstream)
    if given.latency or given.tokens_per_s is not None:
        server.set_latency(given.latency, tokens_per_s=given.tokens_per_s)
    loop = new_loop()
    try:
        loop.run_until_complete(_until_stopped(server))
    finally:
        loop.close()
    return int(ExitCode.OK)


def _reloaded(file: ScriptFile) -> None:
    if file.problem is None:
        told = f"{file.path} read again: {file.count} scripts"
    else:
        told = f"{file.problem}\n  the scripts read before stay in use"
    print(told, file=sys.stderr, flush=True)


async def _until_stopped(server: ModelServer) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        print(f"serving {', '.join(one.name for one in server.core.dialects)} at {server.url}")
        for name, value in server.environment().items():
            print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
        await stopped.wait()
    print(f"{server.request_count} requests", file=sys.stderr)


__all__ = ["main"]
