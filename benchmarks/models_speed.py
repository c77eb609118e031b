"""Model servers beside aimock (npm) and stubllm (PyPI): requests, latency, streams, start, memory.

    python benchmarks/models_speed.py               # 5 rounds of 3 s
    python benchmarks/models_speed.py --quick       # 2 rounds of 1 s
    python benchmarks/models_speed.py --million     # memory over a million requests, ours alone

Peers are installed once into .cache; where npm, node or a C compiler is missing, the part that
needs it is left out and said so. All servers run at once and are asked in turn, 32 kept
connections, one request at a time on each, by models_load.c. `same` is one request again and again,
`other` the same request with another number in it each time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache" / "models-peers"
AIMOCK, STUBLLM = "1.43.0", "0.1.5"
CONNECTIONS = 32
ANSWER = "Hi there! How can I help you today?"

OURS = f"""
import signal, sys
from windtunnel.models import serve
with serve() as server:
    server.on("hello").reply({ANSWER!r})
    print(server.port, flush=True)
    signal.pause()
"""
AIMOCK_PROGRAM = f"""
import {{ LLMock }} from "@copilotkit/aimock";
const mock = new LLMock({{ port: 0, logLevel: "silent" }});
mock.onMessage("hello", {{ content: {json.dumps(ANSWER)} }});
await mock.start();
console.log(new URL(mock.url).port);
"""
STUBLLM_FIXTURE = f"""fixtures:
  - name: hello
    match:
      provider: openai
      messages: [{{role: user, content: {{contains: hello}}}}]
    response: {{content: {json.dumps(ANSWER)}}}
"""


def main() -> int:
    """Measure what can be measured here, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--million", action="store_true")
    given = parser.parse_args()
    if given.million:
        return million()
    rounds, seconds = (2, 1.0) if given.quick else (5, 3.0)
    in_process(300 if given.quick else 2000)
    start_and_stop()
    fixture(100 if given.quick else 500)
    return over_sockets(rounds, seconds)


# -- over sockets ----------------------------------------------------------------------------------


def over_sockets(rounds: int, seconds: float) -> int:
    """Requests and events a second and latencies, ours and the peers', in turn."""
    load = generator()
    if load is None:
        print("sockets: left out, there is no C compiler for the load generator")
        return 0
    with contextlib.ExitStack() as stack:
        servers = {"windtunnel": stack.enter_context(serving([sys.executable, "-c", OURS]))}
        for name, peer in (("aimock", aimock()), ("stubllm", stubllm())):
            if peer is None:
                print(f"{name}: left out, it could not be installed")
            else:
                servers[name] = stack.enter_context(peer)
        results: dict[tuple[str, str], list[Result]] = {}
        for number in range(-1, rounds):  # the first is for warming up
            for kind in ("same", "other", "stream"):
                for name, (port, pid) in servers.items():
                    found = Result.of(load, port, pid, kind, seconds if number >= 0 else 1.0)
                    if number >= 0:
                        results.setdefault((kind, name), []).append(found)
    show(results)
    return 0


class Result:
    """What one run of the load generator found."""

    def __init__(self, text: str, cpu_s: float) -> None:
        requests, events, bad, took, p50, p99, most = map(float, text.split())
        self.rps, self.eps, self.bad = requests / took, events / took, int(bad)
        self.p50, self.p99, self.most = p50 / 1000, p99 / 1000, most / 1000
        self.cpu_us = cpu_s / requests * 1e6

    @classmethod
    def of(cls, load: Path, port: int, pid: int, kind: str, seconds: float) -> Result:
        """Run the generator against a server."""
        before = cpu(pid)
        done = subprocess.run(
            [load, str(port), str(CONNECTIONS), str(seconds)],
            input=request(kind),
            capture_output=True,
            check=True,
        )
        return cls(done.stdout.decode(), cpu(pid) - before)


def show(results: dict[tuple[str, str], list[Result]]) -> None:
    """Medians and ranges, and the ratios."""
    columns = f"{'':8}{'server':12}{'a second':>10} {'(range)':>17}{'p50 ms':>8}{'p99 ms':>8}"
    print(f"{columns}{'CPU us':>8}")
    for (kind, name), runs in results.items():
        rates = [run.eps if kind == "stream" else run.rps for run in runs]
        spread = f"({min(rates):.0f}-{max(rates):.0f})"
        print(
            f"{kind:8}{name:12}{statistics.median(rates):>10.0f} {spread:>17}"
            f"{statistics.median(run.p50 for run in runs):>8.2f}"
            f"{statistics.median(run.p99 for run in runs):>8.2f}"
            f"{statistics.median(run.cpu_us for run in runs):>8.0f}"
            + (f"  {sum(run.bad for run in runs)} not 200" if any(r.bad for r in runs) else "")
        )
    for kind in ("same", "other", "stream"):
        ours, theirs = results.get((kind, "windtunnel")), results.get((kind, "aimock"))
        if not ours or not theirs:
            continue
        pairs = list(zip(ours, theirs, strict=True))
        if kind == "stream":
            ratio = statistics.median(one.eps / other.eps for one, other in pairs)
        else:
            ratio = statistics.median(one.rps / other.rps for one, other in pairs)
        tail = statistics.median(one.p99 / other.p99 for one, other in pairs)
        work = statistics.median(other.cpu_us / one.cpu_us for one, other in pairs)
        print(f"{kind}: {ratio:.1f} times aimock's rate, {tail:.2f} of its p99, {work:.1f} "
              "times as much done with the same CPU")  # fmt: skip
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def request(kind: str) -> bytes:
    """A request as the load generator takes it."""
    body: dict[str, object] = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "hello"}],
    }
    if kind == "other":
        body["user"] = "@@@@@@"
    if kind == "stream":
        body["stream"] = True
    data = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
        b"Content-Type: application/json\r\nAuthorization: Bearer x\r\nUser-Agent: load\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    )


def cpu(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def generator() -> Path | None:
    """The load generator, compiled when it is not yet; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    source, built = HERE / "models_load.c", CACHE / "load"
    if compiler is None:
        return None
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", built, source], check=True)
    return built


@contextlib.contextmanager
def serving(argv: list[str], port: int | None = None) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its port, as it prints it, and its pid."""
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=CACHE)
    assert child.stdout is not None
    try:
        yield port or int(child.stdout.readline()), child.pid
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def aimock() -> contextlib.AbstractContextManager[tuple[int, int]] | None:
    """aimock, installed when it is not yet; None where that cannot be done."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / "node_modules" / "@copilotkit" / "aimock").is_dir():
        install = [npm, "install", "--prefix", str(CACHE), f"@copilotkit/aimock@{AIMOCK}"]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            return None
    program = CACHE / "aimock.mjs"
    program.write_text(AIMOCK_PROGRAM)
    return serving([node, str(program)])


def stubllm() -> contextlib.AbstractContextManager[tuple[int, int]] | None:
    """stubllm in an environment of its own; None where that cannot be made."""
    from windtunnel.own import Scope

    home = CACHE / "stubvenv"
    if not (home / "bin" / "stubllm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = [str(home / "bin" / "pip"), "install", "-q", f"stubllm=={STUBLLM}"]
        if subprocess.run(install, capture_output=True, check=False).returncode:
            return None
    fixture_file = CACHE / "stubllm.yaml"
    fixture_file.write_text(STUBLLM_FIXTURE)
    with Scope("stubllm") as scope:
        port = scope.port().number
    command = [str(home / "bin" / "stubllm"), "serve", "--port", str(port), "--log-level", "error"]
    return _listening(serving([*command, "--fixture-file", str(fixture_file)], port), port)


@contextlib.contextmanager
def _listening(
    server: contextlib.AbstractContextManager[tuple[int, int]], port: int
) -> Iterator[tuple[int, int]]:
    import socket

    with server as found:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield found


# -- in process, start, fixture --------------------------------------------------------------------


def in_process(times: int) -> None:
    """The official openai client in process, and over a transport that returns a constant."""
    import httpx
    import openai

    from windtunnel.models import ModelServer

    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
    server = ModelServer()
    server.on("hello").reply(ANSWER)
    ours = openai.OpenAI(api_key="x", max_retries=0)
    with contextlib.ExitStack() as stack:
        server.open_in_process()
        stack.callback(server.stop)
        answer = ours.chat.completions.with_raw_response.create(**asked)
        body, kind = answer.content, answer.headers["content-type"]
        transport = httpx.MockTransport(
            lambda request: httpx.Response(200, content=body, headers={"content-type": kind})
        )
        constant = openai.OpenAI(api_key="x", http_client=httpx.Client(transport=transport))
        found: dict[str, list[float]] = {"in process": [], "constant": []}
        for number in range(times + 50):
            for name, client in (("in process", ours), ("constant", constant)):
                begun = time.perf_counter()
                client.chat.completions.create(**asked)
                if number >= 50:
                    found[name].append((time.perf_counter() - begun) * 1000)
    p50 = {name: statistics.median(taken) for name, taken in found.items()}
    print(
        f"openai client: in process p50 {p50['in process']:.3f} ms, constant transport "
        f"{p50['constant']:.3f} ms, difference {p50['in process'] - p50['constant']:.3f} ms "
        f"(promised 0.15), n={times}"
    )


def start_and_stop() -> None:
    """Start and stop of a server in a running loop."""
    from windtunnel.models import ModelServer

    async def main() -> list[float]:
        server, taken = ModelServer(), []
        for _ in range(500):
            begun = time.perf_counter()
            server.start()
            server.stop()
            taken.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(0)
        return taken

    taken = sorted(asyncio.run(main()))
    print(
        f"start and stop in the loop: median {statistics.median(taken):.3f} ms, "
        f"p95 {taken[int(len(taken) * 0.95)]:.3f} ms (promised 0.1)"
    )


def fixture(tests: int) -> None:
    """The fixture, a test: set-up and teardown as pytest times them."""
    import tempfile

    body = (
        f"def pytest_generate_tests(metafunc): metafunc.parametrize('n', range({tests}))\n"
        "def test_one(model_server, n): pass\n"
    )
    conftest = """
import statistics, time, pytest
spent = []
@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    begun = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.argname == "model_server":
            spent.append(time.perf_counter() - begun)
            finish = fixturedef.finish
            def timed(request):
                begun = time.perf_counter()
                done = len(fixturedef._finalizers)
                try:
                    return finish(request)
                finally:
                    if done:
                        spent[-1] += time.perf_counter() - begun
            fixturedef.finish = timed if finish.__name__ != "timed" else finish
def pytest_unconfigure():
    print("FIXTURE", statistics.median(spent[1:]) * 1000, spent[0] * 1000)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text(body)
        Path(folder, "conftest.py").write_text(conftest)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"],
            cwd=folder,
            env=os.environ | {"WT_RECORD": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("FIXTURE"))
    _, median, first = line.split()
    print(
        f"fixture, a test: median {float(median):.2f} ms (promised 1), the first "
        f"{float(first):.0f} ms with its imports, n={tests}"
    )


def million() -> int:
    """Memory of our server while it answers a million requests, each another."""
    load = generator()
    if load is None:
        print("left out, there is no C compiler for the load generator")
        return 0
    with serving([sys.executable, "-c", OURS]) as (port, pid):
        done, sizes = 0, []
        while done < 1_000_000:
            text = subprocess.run(
                [load, str(port), str(CONNECTIONS), "5"],
                input=request("other"),
                capture_output=True,
                check=True,
            ).stdout
            done += int(text.split()[0])
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            print(f"{done:>9} requests, {sizes[-1]:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
