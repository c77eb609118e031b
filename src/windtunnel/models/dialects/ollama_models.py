"""What Ollama knows of its models: their names, families, sizes, digests and what they can do.

Names are looked up as Ollama does it: without a tag ``latest`` is meant, and capitals are as good
as small letters. Details of a model come from its name (``qwen3:8b`` thinks and has 8.2 billion
parameters), from the user's word where he gave one (``add_model(name, capabilities=[...])``).
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import re
from typing import Any, NamedTuple

from windtunnel.models.dialects.ollama_fields import refuse, refused
from windtunnel.models.protocol import JsonObject
from windtunnel.models.state import ModelEntry, ServerState

KEEP_ALIVE_S = 300.0
_STORE = "ollama/loaded"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"(?:{_PART}(?::\d+)?/)?(?:{_PART}/)?{_PART}(?::{_PART})?")
_EVERYTHING = ("completion", "tools", "thinking", "vision", "insert")


class Family(NamedTuple):
    """What the models of one family have in common."""

    architecture: str
    parameters: str
    capabilities: tuple[str, ...]
    embedding: int
    context: int


_TALK = ("completion", "tools")
_THINK = ("completion", "tools", "thinking")
_SEE = ("completion", "vision")
_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("nomic-embed-text", Family("nomic-bert", "137M", ("embedding",), 768, 2048)),
    ("all-minilm", Family("bert", "23M", ("embedding",), 384, 512)),
    ("mxbai-embed", Family("bert", "334M", ("embedding",), 1024, 512)),
    ("bge-m3", Family("bert", "567M", ("embedding",), 1024, 8192)),
    ("snowflake-arctic-embed", Family("bert", "334M", ("embedding",), 1024, 512)),
    ("embeddinggemma", Family("gemma3", "307.58M", ("embedding",), 768, 2048)),
    ("qwen3-embedding", Family("qwen3", "7.6B", ("embedding",), 4096, 40960)),
    ("llama3.2-vision", Family("mllama", "10.7B", _SEE, 4096, 131072)),
    ("llama3.2", Family("llama", "3.2B", _TALK, 3072, 131072)),
    ("llama3.1", Family("llama", "8.0B", _TALK, 4096, 131072)),
    ("llama3.3", Family("llama", "70.6B", _TALK, 8192, 131072)),
    ("llama", Family("llama", "8.0B", ("completion",), 4096, 8192)),
    ("qwen3", Family("qwen3", "8.2B", _THINK, 4096, 40960)),
    ("qwen2.5", Family("qwen2", "7.6B", _TALK, 3584, 32768)),
    ("gpt-oss", Family("gptoss", "20.9B", _THINK, 2880, 131072)),
    ("deepseek-r1", Family("qwen3", "8.2B", _THINK, 4096, 131072)),
    ("mistral", Family("llama", "7.2B", _TALK, 4096, 32768)),
    ("gemma3", Family("gemma3", "4.3B", _SEE, 2560, 131072)),
    ("llava", Family("llama", "7.2B", _SEE, 4096, 32768)),
    ("phi", Family("phi3", "14.7B", ("completion",), 5120, 16384)),
)
_UNKNOWN = Family("llama", "8.0B", _EVERYTHING, 768, 8192)


def valid(name: str) -> bool:
    """Whether a name is one that Ollama can parse: ``[host/][namespace/]model[:tag]``."""
    return len(name) <= 350 and _NAME.fullmatch(name) is not None


def tagged(name: str) -> str:
    """The name with its tag.

    >>> tagged("llama3.2"), tagged("me/mine:v1")
    ('llama3.2:latest', 'me/mine:v1')
    """
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def full(name: str) -> str:
    """The name as Ollama's registry has it, which it shows in a few of its messages.

    >>> full("gemma")
    'registry.ollama.ai/library/gemma:latest'
    """
    name = tagged(name)
    slashes = name.count("/")
    return ("registry.ollama.ai/library/", "registry.ollama.ai/", "")[min(slashes, 2)] + name


def find(name: str, state: ServerState) -> ModelEntry | None:
    """The model of that name, None where the server has none.

    One that no list has but a script names is there too.
    """
    wanted = tagged(name)
    models = state.models
    for written in (name, wanted, wanted.removesuffix(":latest")):
        entry = models.get(written)
        if entry is not None and entry.dialect in ("", "ollama"):
            return entry
    folded = wanted.lower()
    for entry in models.of("ollama"):
        if tagged(entry.name).lower() == folded:
            return entry
    for written in (name, wanted, wanted.removesuffix(":latest")):
        if models.known(written, strict=True) and models.get(written) is None:
            return ModelEntry(written, "ollama")
    return None


def wanted(name: str, state: ServerState, *, pull: bool = False) -> ModelEntry:
    """The model of that name.

    :param pull: whether the refusal advises to pull it, as some of Ollama's endpoints do.
    :raises RefusedError: 404 where there is none, 400 where the name is none.
    """
    entry = find(name, state)
    if entry is not None:
        return entry
    if name and not valid(name):
        refuse("invalid model name")
    if pull:
        refuse(f'model "{name}" not found, try pulling it first', 404, "model_not_found")
    raise refused(f"model '{name}' not found", 404, "model_not_found")


# -- what a model is ------------------------------------------------------------------------------


def family(entry: ModelEntry) -> Family:
    """The family, by the longest part of the name that is known."""
    name = entry.name.lower().rpartition("/")[2]
    for prefix, found in _FAMILIES:
        if name.startswith(prefix):
            return found
    return _UNKNOWN


def capabilities(entry: ModelEntry) -> tuple[str, ...]:
    """What the model can do: the user's word, else the family's."""
    given = entry.details.get("capabilities")
    if given is not None:
        return tuple(given)
    if "embed" in entry.name.lower():
        return ("embedding",)
    return family(entry).capabilities


def dimensions(entry: ModelEntry) -> int:
    """How long its embeddings are."""
    return int(entry.details.get("dimensions") or family(entry).embedding)


def context_length(entry: ModelEntry) -> int:
    """How many tokens it can read."""
    return int(entry.details.get("context_length") or family(entry).context)


def digest(entry: ModelEntry) -> str:
    """SHA-256 of its manifest (here, of its name; a copy has that of what it was copied from)."""
    name = entry.details.get("copy_of") or tagged(entry.name)
    return hashlib.sha256(f"manifest {name}".encode()).hexdigest()


def layer(entry: ModelEntry, kind: str) -> str:
    """Digest of one of its layers."""
    name = entry.details.get("copy_of") or tagged(entry.name)
    return "sha256:" + hashlib.sha256(f"{kind} {name}".encode()).hexdigest()


def parameters(entry: ModelEntry) -> str:
    """How many parameters, as in ``8.0B``: from the tag where it says so, else the family's."""
    given = entry.details.get("parameter_size")
    if given:
        return str(given)
    tag = re.search(r"(?:^|[:-])(\d+(?:\.\d+)?)([bm])(?:$|-)", tagged(entry.name).lower())
    return f"{float(tag[1]):.1f}{tag[2].upper()}" if tag else family(entry).parameters


def count_of(size: str) -> int:
    """The number that ``8.0B`` stands for.

    >>> count_of("8.0B"), count_of("137M")
    (8000000000, 137000000)
    """
    unit = {"B": 1e9, "M": 1e6, "K": 1e3}.get(size[-1:].upper(), 1.0)
    number = size.rstrip("BMKbmk")
    return int(float(number or 0) * unit)


def size(entry: ModelEntry) -> int:
    """Bytes on disk, at four and a half bits for each parameter."""
    given = entry.details.get("size")
    return int(given) if given else count_of(parameters(entry)) * 9 // 16 + 12_000


def details(entry: ModelEntry) -> JsonObject:
    """The ``details`` of list, show and ps."""
    kind = family(entry)
    given = entry.details
    return {
        "parent_model": given.get("parent_model", ""),
        "format": given.get("format", "gguf"),
        "family": given.get("family", kind.architecture),
        "families": given.get("families", [given.get("family", kind.architecture)]),
        "parameter_size": parameters(entry),
        "quantization_level": given.get("quantization_level", "Q4_K_M"),
    }


def model_info(entry: ModelEntry) -> JsonObject:
    """The GGUF metadata that ``show`` gives."""
    kind = family(entry)
    prefix = kind.architecture
    return {
        "general.architecture": prefix,
        "general.file_type": 15,
        "general.parameter_count": count_of(parameters(entry)),
        "general.quantization_version": 2,
        f"{prefix}.block_count": 28,
        f"{prefix}.context_length": context_length(entry),
        f"{prefix}.embedding_length": dimensions(entry),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
    }


# -- time, and what is in memory ------------------------------------------------------------------


def stamp(seconds: float) -> str:
    """A time as Go writes it in JSON (RFC 3339, UTC).

    >>> stamp(1721766808.123648)
    '2024-07-23T20:33:28.123648Z'
    """
    whole = int(seconds)
    part = min(round((seconds - whole) * 1e6), 999_999)
    return f"{_second(whole)}.{part:06d}Z"


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def modified(entry: ModelEntry) -> str:
    """When it was last changed."""
    return stamp(entry.details.get("modified_at", entry.created))


def load(entry: ModelEntry, state: ServerState, keep_alive_s: float | None) -> bool:
    """Have it in memory for so long after this request; whether it had to be loaded."""
    now = state.ids.time()
    loaded = state.store(_STORE)
    name = tagged(entry.name)
    was_there = loaded.get(name, 0.0) > now
    keep = KEEP_ALIVE_S if keep_alive_s is None else keep_alive_s
    if keep > 0:
        loaded[name] = now + keep
        entry.loaded = True
    else:
        unload(entry, state)
    return not was_there


def unload(entry: ModelEntry, state: ServerState) -> None:
    """Have it out of memory."""
    state.store(_STORE).pop(tagged(entry.name), None)
    entry.loaded = False


def loaded(state: ServerState) -> list[tuple[ModelEntry, float]]:
    """The models in memory and until when, the longest first."""
    now = state.ids.time()
    there = state.store(_STORE)
    found: list[tuple[ModelEntry, float]] = []
    for name, until in list(there.items()):
        entry = find(name, state)
        if until <= now or entry is None:
            del there[name]
        else:
            found.append((entry, until))
    return sorted(found, key=lambda pair: -pair[1])


def copied(entry: ModelEntry, **changed: Any) -> dict[str, Any]:
    """The details of a copy of a model."""
    return {**entry.details, "copy_of": digest_name(entry), **changed}


def digest_name(entry: ModelEntry) -> str:
    """The name from which its digests follow."""
    return str(entry.details.get("copy_of") or tagged(entry.name))
