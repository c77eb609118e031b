"""The tests that OpenAI's client ships of itself, pointed at our server.

They are generated from the API's description and meant for a mock server made from it. They run
in the box, whose loopback is their own; on it our server listens.
"""

import re
import shutil
import subprocess
import sys

import pytest

from foreign import box, release

pytestmark = pytest.mark.once  # a foreign suite

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


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openai") / "source"
    return shutil.copytree(release("openai", VERSION, source=True), folder)


def _run(sources, suites):
    """How many of the tests that touch a server passed, and how many requests they made."""
    tests = [f"tests/api_resources/{name}" for name in suites]
    # Tests of path parameters end in the client, before anything is sent.
    options = ["-q", "--tb=short", "--color=no", "-k", "not path_params", "-o", "addopts="]
    options += ["-p", "no:cacheprovider", "-p", "no:windtunnel"]
    command = [
        *box(sources),
        "--chdir",
        str(sources),
        "--",
        sys.executable,
        "-c",
        INSIDE,
        *options,
        *tests,
    ]
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
