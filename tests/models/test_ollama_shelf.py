"""Models of an Ollama server: listed, pulled, made, copied, deleted, by the official client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from windtunnel.models import MockOllamaServer

HTTP = httpx.Client(verify=False)
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def server() -> Iterator[MockOllamaServer]:
    with MockOllamaServer(models=["llama3.2", "nomic-embed-text"]) as started:
        yield started


@pytest.fixture
def client(server: MockOllamaServer) -> ollama.Client:
    return ollama.Client(server.url, verify=False)


def names(client: ollama.Client) -> set[str | None]:
    return {model.model for model in client.list().models}


def test_models_are_listed_with_tags_digests_sizes_and_details(client: ollama.Client) -> None:
    assert names(client) == {"llama3.2:latest", "nomic-embed-text:latest"}
    model = next(one for one in client.list().models if one.model == "llama3.2:latest")
    assert model.digest
    assert len(model.digest) == 64
    assert model.size is not None
    assert model.size > 1_000_000_000
    assert model.details is not None
    assert (model.details.family, model.details.parameter_size) == ("llama", "3.2B")


def test_a_name_needs_neither_its_tag_nor_its_capitals(client: ollama.Client) -> None:
    for name in ("llama3.2", "llama3.2:latest", "LLAMA3.2"):
        assert client.chat(name, HI).model == name


def test_what_a_model_can_do_is_shown(client: ollama.Client) -> None:
    shown = client.show("nomic-embed-text")
    assert shown.capabilities == ["embedding"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["nomic-bert.embedding_length"] == 768
    assert "FROM nomic-embed-text:latest" in (shown.modelfile or "")


def test_an_embedding_model_does_not_chat(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match='"nomic-embed-text" does not support chat'):
        client.chat("nomic-embed-text", HI)


def test_capabilities_that_the_user_lists_are_held_to(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.add_model("mine", capabilities=["completion"])
    with pytest.raises(ollama.ResponseError, match='"mine" does not support thinking'):
        client.chat("mine", HI, think=True)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(ollama.ResponseError, match="library/mine:latest does not support tools"):
        client.chat("mine", HI, tools=[tool])


def test_a_model_that_does_not_think_is_not_asked_to(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=r'"llama3\.2" does not support thinking'):
        client.chat("llama3.2", HI, think=True)


def test_models_come_and_go_by_the_plain_verbs(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.add_model("tiny:1b")
    assert client.chat("tiny:1b", HI).done
    server.remove_model("llama3.2")
    assert names(client) == {"tiny:1b", "nomic-embed-text:latest"}
    with pytest.raises(ollama.ResponseError, match=r"model 'llama3\.2' not found"):
        client.chat("llama3.2", HI)


def test_a_model_that_only_a_script_names_is_there(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    server.on(model="secret").reply("here")
    assert client.chat("secret", HI).message.content == "here"


def test_a_pull_tells_its_progress_and_the_model_is_there_after_it() -> None:
    with MockOllamaServer() as server:
        client = ollama.Client(server.url, verify=False)
        lines = list(client.pull("smollm:135m", stream=True))
        assert [line.status for line in lines][:1] == ["pulling manifest"]
        assert [line.status for line in lines][-3:] == [
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        layers: dict[str, list[tuple[int, int]]] = {}
        for line in lines:
            if line.digest:
                layers.setdefault(line.digest, []).append((line.completed or 0, line.total or 0))
        assert len(layers) == 3
        for steps in layers.values():
            assert steps == sorted(steps)
            assert steps[-1][0] == steps[-1][1]
        assert client.chat("smollm:135m", HI).done
        assert client.pull("smollm:135m").status == "success"


def test_a_server_whose_models_were_listed_pulls_no_other(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        list(client.pull("other", stream=True))
    with pytest.raises(ollama.ResponseError) as raised:
        client.pull("other")
    assert raised.value.status_code == 500


def test_a_model_made_from_another_has_its_system_prompt(
    server: MockOllamaServer, client: ollama.Client
) -> None:
    lines = list(client.create("mario", from_="llama3.2", system="You are Mario.", stream=True))
    assert lines[-1].status == "success"
    shown = client.show("mario")
    assert 'SYSTEM """You are Mario."""' in (shown.modelfile or "")
    client.chat("mario", HI)
    call = server.last_request.call
    assert call is not None
    assert call.system == "You are Mario."


def test_a_model_made_of_files_needs_their_blobs(client: ollama.Client, tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"GGUF and so on")
    digest = "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.create("own", files={"weights.gguf": digest})
    assert client.create_blob(weights) == digest
    assert client.create("own", files={"weights.gguf": digest}).status == "success"
    assert client.chat("own", HI).done


def test_blobs_are_looked_for_and_checked(server: MockOllamaServer) -> None:
    blob = server.url + "/api/blobs/sha256:"
    digest = hashlib.sha256(b"data").hexdigest()
    assert HTTP.head(blob + digest).status_code == 404
    wrong = HTTP.post(blob + digest, content=b"other")
    assert (wrong.status_code, "digest mismatch" in wrong.json()["error"]) == (400, True)
    assert HTTP.post(blob + digest, content=b"data").status_code == 201
    assert HTTP.head(blob + digest).status_code == 200
    assert HTTP.head(server.url + "/api/blobs/md5:1").status_code == 400


def test_a_copy_has_the_digest_of_what_it_copies_and_outlives_it(client: ollama.Client) -> None:
    (before,) = [one.digest for one in client.list().models if one.model == "llama3.2:latest"]
    assert client.copy("llama3.2", "backup").status == "success"
    assert client.delete("llama3.2").status == "success"
    digests = {one.model: one.digest for one in client.list().models}
    assert digests.pop("backup:latest") == before
    assert "llama3.2:latest" not in digests


def test_a_server_says_its_version_and_that_it_runs(server: MockOllamaServer) -> None:
    assert HTTP.head(server.url).status_code == 200
    assert HTTP.get(server.url).text == "Ollama is running"
    assert HTTP.get(server.url + "/api/version").json()["version"].count(".") == 2
    assert HTTP.head(server.url + "/api/tags").status_code == 200
