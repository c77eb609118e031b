"""Ollama's endpoints that run no model: list, show, pull, create, copy, delete, blobs and the rest.

Source: https://github.com/ollama/ollama/blob/main/server/routes.go and server/create.go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from windtunnel.models.dialects import ollama_fields as fields
from windtunnel.models.dialects import ollama_models as models
from windtunnel.models.dialects.ollama_fields import body_of, refuse
from windtunnel.models.dialects.ollama_requests import answer
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    JsonObject,
    Params,
    Response,
)
from windtunnel.models.state import ModelEntry, ServerState

VERSION = "0.13.5"
_BLOBS = "ollama/blobs"
_BLOBS_FOLDER = "/usr/share/ollama/.ollama/models/blobs"
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
_TEMPLATE = (
    "{{ if .System }}<|system|>{{ .System }}{{ end }}<|user|>{{ .Prompt }}<|assistant|>"
    "{{ .Response }}"
)


def running(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /``."""
    return Response(200, b"Ollama is running", "text/plain; charset=utf-8")


def version(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /api/version``."""
    return answer({"version": VERSION})


def status(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /api/status``."""
    return answer({"cloud": {"disabled": False, "source": "none"}})


def me(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/me``: nobody is signed in."""
    where = "https://ollama.com/connect?name=windtunnel&key=none"
    return answer({"error": "unauthorized", "signin_url": where}, 401)


def tags(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /api/tags``, the last changed first."""
    entries = sorted(
        state.models.of("ollama"),
        key=lambda entry: -float(entry.details.get("modified_at", entry.created)),
    )
    return answer({"models": [_listed(entry) for entry in entries]})


def ps(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``GET /api/ps``: what is in memory."""
    found = []
    for entry, until in models.loaded(state):
        body = _named(entry)
        body |= {
            "size": models.size(entry),
            "digest": models.digest(entry),
            "details": models.details(entry),
            "expires_at": models.stamp(until),
            "size_vram": models.size(entry),
            "context_length": min(models.context_length(entry), 4096),
        }
        found.append(body)
    return answer({"models": found})


def show(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/show``."""
    body = body_of(request, "ShowRequest", fields.NAMED)
    name = body.get("model") or body.get("name")
    if not name:
        refuse("model is required")
    entry = models.wanted(name, state)
    given = entry.details
    system = body.get("system") or given.get("system", "")
    template = given.get("template", _TEMPLATE)
    options: JsonObject = given.get("parameters") or {"stop": ["<|user|>"]}
    shown: JsonObject = {
        "license": given.get("license", "MIT"),
        "modelfile": _modelfile(entry, template, options, system),
        "parameters": "\n".join(_parameters(options)),
        "template": template,
        "details": models.details(entry),
        "model_info": models.model_info(entry),
        "tensors": [{"name": "token_embd.weight", "type": "Q4_K", "shape": [4096, 128256]}],
        "capabilities": list(models.capabilities(entry)),
        "modified_at": models.modified(entry),
    }
    if system:
        shown["system"] = system
    if given.get("messages"):
        shown["messages"] = given["messages"]
    return answer(shown)


def copy(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/copy``."""
    body = body_of(request, "CopyRequest", fields.COPY)
    source, destination = body.get("source", ""), body.get("destination", "")
    if not models.valid(source):
        refuse(f'source "{source}" is invalid')
    if not models.valid(destination):
        refuse(f'destination "{destination}" is invalid')
    entry = models.find(source, state)
    if entry is None:
        refuse(f'model "{source}" not found', 404, "model_not_found")
    _put(destination, state, **models.copied(entry, modified_at=state.ids.time()))
    return Response(200, b"", "")


def delete(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``DELETE /api/delete``."""
    body = body_of(request, "DeleteRequest", fields.NAMED)
    name = body.get("model") or body.get("name") or ""
    if not models.valid(name):
        refuse(f'name "{name}" is invalid')
    entry = models.wanted(name, state)
    models.unload(entry, state)
    state.models.remove(entry.name)
    return Response(200, b"", "")


# -- pull, push and create: progress, a line each -------------------------------------------------


def pull(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/pull``: every valid name can be pulled, but not in a server whose models were
    listed once for all."""
    body = body_of(request, "PullRequest", fields.NAMED)
    name = body.get("model") or body.get("name") or ""
    if not models.valid(name):
        refuse("invalid model name")
    entry = models.find(name, state)
    if entry is None and state.models.closed:
        lines: list[JsonObject] = [
            {"status": "pulling manifest"},
            {"error": "pull model manifest: file does not exist"},
        ]
        return _progress(body, iter(lines))
    if entry is None:
        entry = _put(name, state, modified_at=state.ids.time())
    return _progress(body, _pulling(entry))


def push(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/push``."""
    body = body_of(request, "PushRequest", fields.NAMED)
    name = body.get("model") or body.get("name")
    if not name:
        refuse("model is required")
    entry = models.find(name, state)
    if entry is None:
        return _progress(
            body, iter([{"status": "retrieving manifest"}, {"error": "file does not exist"}])
        )
    return _progress(body, _pushing(entry))


def create(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/create``, from a model or from files that were sent as blobs."""
    body = body_of(request, "CreateRequest", fields.CREATE)
    name = body.get("model") or body.get("name") or ""
    if not models.valid(name):
        refuse("invalid model name")
    if body.get("adapters"):
        refuse("LoRA adapters are no longer supported")
    source, files = body.get("from"), body.get("files")
    if not source and files is None:
        refuse("neither 'from' or 'files' was specified")
    layers: list[str] = []
    base: ModelEntry | None = None
    lines: list[JsonObject] = []
    if source:
        if not models.valid(source):
            refuse("invalid model name")
        base = models.find(source, state)
        if base is None:
            # Ollama pulls what it has not.
            base = _pulled(source, state)
            lines += list(_pulling(base))[:-1]
        layers = [models.layer(base, kind) for kind in ("model", "template", "license")]
    else:
        if not files:
            refuse("no files provided to convert")
        layers = [_blob(str(digest), state) for digest in files.values()]
        lines.append({"status": "parsing GGUF"})
    if body.get("quantize"):
        level = str(body["quantize"]).upper()
        lines.append({"status": f"quantizing F16 model to {level}"})
    _put(name, state, **_created(body, base, state))
    lines += [{"status": f"using existing layer {layer}"} for layer in layers]
    for kind in ("template", "system", "parameters", "license", "messages"):
        if body.get(kind):
            data = dumps([kind, body[kind]])
            lines.append(
                {"status": f"creating new layer sha256:{hashlib.sha256(data).hexdigest()}"}
            )
    lines += [{"status": "writing manifest"}, {"status": "success"}]
    return _progress(body, iter(lines))


def _created(body: JsonObject, base: ModelEntry | None, state: ServerState) -> dict[str, Any]:
    kept = dict(base.details) if base is not None else {}
    if base is not None:
        kept.setdefault("capabilities", models.capabilities(base))
        kept.setdefault("family", models.family(base).architecture)
        kept.setdefault("parameter_size", models.parameters(base))
        kept.setdefault("dimensions", models.dimensions(base))
        kept["parent_model"] = models.tagged(base.name)
    for name in ("system", "template", "license", "parameters", "messages"):
        if body.get(name):
            kept[name] = body[name]
    if isinstance(kept.get("license"), list):
        kept["license"] = "\n".join(map(str, kept["license"]))
    if body.get("quantize"):
        kept["quantization_level"] = str(body["quantize"]).upper()
    kept["modified_at"] = state.ids.time()
    return kept


def _pulled(name: str, state: ServerState) -> ModelEntry:
    if state.models.closed:
        refuse("pull model manifest: file does not exist", 500, "server")
    return _put(name, state, modified_at=state.ids.time())


def _put(name: str, state: ServerState, **details: Any) -> ModelEntry:
    old = models.find(name, state)
    if old is not None:
        state.models.remove(old.name)
    return state.models.add(name, dialect="ollama", **details)


def _pulling(entry: ModelEntry) -> Iterator[JsonObject]:
    yield {"status": "pulling manifest"}
    sizes = {"model": models.size(entry) - 12_000, "template": 1_429, "license": 10_571}
    for kind, total in sizes.items():
        digest = models.layer(entry, kind)
        line: JsonObject = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
        yield line
        for quarter in range(1, 5):
            yield line | {"completed": total * quarter // 4}
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    yield {"status": "success"}


def _pushing(entry: ModelEntry) -> Iterator[JsonObject]:
    yield {"status": "retrieving manifest"}
    digest, total = models.layer(entry, "model"), models.size(entry)
    line: JsonObject = {"status": f"pushing {digest[7:19]}", "digest": digest, "total": total}
    yield line
    yield line | {"completed": total}
    yield {"status": "pushing manifest"}
    yield {"status": "success"}


def _progress(body: JsonObject, lines: Iterator[JsonObject]) -> Response:
    """Progress as it is made, or only how it ended where the client wants no stream."""
    if body.get("stream", True):
        chunks = (Chunk(dumps(line) + b"\n", 0, str(line.get("status", "error"))) for line in lines)
        return Response(200, chunks, "application/x-ndjson")
    last: JsonObject = {}
    for last in lines:
        if "error" in last:
            refuse(str(last["error"]), 500, "server")
    return Response(200, dumps({"status": last.get("status", "")}), "application/json")


# -- blobs ----------------------------------------------------------------------------------------


def head_blob(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``HEAD /api/blobs/{digest}``."""
    digest = _valid_digest(params["digest"])
    if digest not in state.store(_BLOBS):
        refuse(f'blob "{params["digest"]}" not found', 404, "not_found")
    return Response(200, b"", "")


def create_blob(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """``POST /api/blobs/{digest}``: of the bytes only digest and number are kept."""
    digest = _valid_digest(params["digest"])
    found = f"sha256:{hashlib.sha256(request.body).hexdigest()}"
    blobs = state.store(_BLOBS)
    if digest in blobs:
        return Response(200, b"", "")
    if found != digest:
        refuse(f'digest mismatch, expected "{params["digest"]}", got "{found}"')
    blobs[digest] = len(request.body)
    return Response(201, b"", "")


def _valid_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        refuse("invalid digest format")
    return digest.replace("sha256-", "sha256:")


def _blob(digest: str, state: ServerState) -> str:
    digest = _valid_digest(digest)
    if digest not in state.store(_BLOBS):
        refuse(f'blob "{digest}" not found')
    return digest


# -- the shapes of a model ------------------------------------------------------------------------


def _named(entry: ModelEntry) -> JsonObject:
    name = models.tagged(entry.name)
    return {"name": name, "model": name}


def _listed(entry: ModelEntry) -> JsonObject:
    return _named(entry) | {
        "modified_at": models.modified(entry),
        "size": models.size(entry),
        "digest": models.digest(entry),
        "details": models.details(entry),
    }


def _modelfile(entry: ModelEntry, template: str, options: JsonObject, system: str) -> str:
    name = models.tagged(entry.name)
    lines = [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {name}",
        "",
        f"FROM {_BLOBS_FOLDER}/{models.layer(entry, 'model').replace(':', '-')}",
        f'TEMPLATE """{template}"""',
    ]
    if system:
        lines.append(f'SYSTEM """{system}"""')
    for option, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {option} {_go(one)}")
    return "\n".join(lines) + "\n"


def _parameters(options: JsonObject) -> Iterator[str]:
    for option, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            yield f"{option:<30} {_go(one)}"


def _go(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


__all__ = [
    "VERSION",
    "copy",
    "create",
    "create_blob",
    "delete",
    "head_blob",
    "me",
    "ps",
    "pull",
    "push",
    "running",
    "show",
    "status",
    "tags",
    "version",
]
