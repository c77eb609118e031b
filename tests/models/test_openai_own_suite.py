"""The tests that OpenAI's client ships of itself, pointed at our server.

They are generated from the API's description and meant for a mock server made from it. They are
foreign code: they run inside bubblewrap, with a read-only root, a throw-away home and no network
but a loopback of their own, on which our server listens. The source distribution is downloaded
once, into ``.cache/sdists``.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.once  # a foreign suite

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "sdists"
VERSION = "3.52.0"
SUITES = (
    "chat",
    "responses",
    "test_responses.py",
    "test_embeddings.py",
    "test_models.py",
    "test_moderations.py",
)
OTHERS = (
    "beta/test_responses.py",
    "beta/responses",
    "test_completions.py",
    "test_conversations.py",
    "conversations",
    "test_files.py",
    "test_uploads.py",
    "uploads",
    "test_batches.py",
    "test_images.py",
    "audio/test_speech.py",
    "audio/test_transcriptions.py",
    "audio/test_translations.py",
)
# Serves, runs pytest against the server, and says how many requests came.
INSIDE = """
import os, subprocess, sys
from windtunnel import models
with models.serve() as server:
    os.environ["TEST_API_BASE_URL"] = server.url + "/v1"
    done = subprocess.run([sys.executable, "-m", "pytest", *sys.argv[1:]])
    print("requests:", server.request_count)
sys.exit(done.returncode)
"""


def _skip(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _box(*writable):
    if shutil.which("bwrap") is None:
        _skip("bubblewrap is not installed")
    home = os.path.expanduser("~")
    box = ["bwrap", "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev"]
    box += ["--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", home, "--setenv", "HOME", "/tmp"]
    for path in sorted({sys.base_prefix, sys.prefix, str(ROOT)}):
        if path.startswith(home):  # where it is hidden with the rest
            box += ["--ro-bind", path, path]
    for path in writable:
        box += ["--bind", str(path), str(path)]
    return box


def _sdist():
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"openai-{VERSION}.tar.gz"
    if not archive.exists():
        # To tell an sdist's version pip runs its code, so that too happens in the box.
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        command = [*_box(CACHE), "--", *pip, "-d", str(CACHE), f"openai=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if not archive.exists():
            _skip(f"openai {VERSION} cannot be downloaded: {done.stderr[-200:]}")
    return archive


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openai")
    with tarfile.open(_sdist()) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"openai-{VERSION}"


def _run(sources, suites):
    """How many of the tests that touch a server passed, and how many requests they made."""
    tests = [f"tests/api_resources/{name}" for name in suites]
    # Tests of path parameters end in the client, before anything is sent.
    options = ["-q", "--tb=short", "--color=no", "-k", "not path_params", "-o", "addopts="]
    options += ["-p", "no:cacheprovider", "-p", "no:windtunnel"]
    box = [*_box(sources), "--unshare-net", "--chdir", str(sources)]
    command = [*box, "--", sys.executable, "-c", INSIDE, *options, *tests]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"\b(\d+) passed", done.stdout)
    requests = re.search(r"requests: (\d+)", done.stdout)
    return int(passed[1]), int(requests[1])


def test_all_tests_of_chat_responses_embeddings_models_and_moderations_pass(sources):
    passed, requests = _run(sources, SUITES)
    assert passed == 380
    assert requests >= passed


def test_all_tests_of_the_other_endpoints_pass(sources):
    passed, requests = _run(sources, OTHERS)
    assert passed == 773
    assert requests > 700  # some have their answers from a mock of their own
