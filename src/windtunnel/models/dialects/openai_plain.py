"""The small endpoints with an input and no conversation: completions of old, embeddings,
moderations.

Source: https://platform.openai.com/docs/api-reference/completions, ``.../embeddings`` and
``.../moderations``
"""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Iterator
from typing import Any

from windtunnel.models.dialects.openai_chat_reply import DONE, FINGERPRINT, STREAM
from windtunnel.models.dialects.openai_chat_request import check_model
from windtunnel.models.dialects.openai_examples import EXAMPLE_EMBEDDING
from windtunnel.models.dialects.openai_fields import (
    anything,
    body_check,
    body_of,
    boolean,
    either,
    fields,
    integer,
    mapping,
    missing,
    nullable,
    number,
    one_of,
    refuse,
    string,
    wrong_type,
)
from windtunnel.models.dialects.openai_fields import array as array_of
from windtunnel.models.dialects.openai_tokens import chat_usage, completion_logprobs, cut, stopped
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    JsonObject,
    ModelCall,
    Reply,
    Response,
    Usage,
)
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import pieces
from windtunnel.models.vectors import vector

_STOP = either("a string or an array of strings", (str, anything), (list, array_of(string, 0, 4)))


def _inputs(value: Any, path: str) -> tuple[str, ...]:
    """What to work on, one text each; tokens given as numbers become words that name them."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        wrong_type(value, path, "one of a string, array of strings, array of integers")
    if not value:
        refuse(
            f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            path,
            "empty_array",
        )
    if all(type(part) is int for part in value):
        return (_spelled(value),)
    if all(isinstance(part, str) for part in value):
        return tuple(value)
    for place, part in enumerate(value):
        if not (isinstance(part, list) and part and all(type(one) is int for one in part)):
            wrong_type(part, f"{path}[{place}]", "one of a string or array of integers")
    return tuple(_spelled(part) for part in value)


def _spelled(numbers: list[int]) -> str:
    return " ".join(f"t{number}" for number in numbers)


# -- completions ----------------------------------------------------------------------------------

_check_completion = body_check(
    {
        "model": string,
        "prompt": anything,  # read by _inputs
        "best_of": nullable(integer(0, 20)),
        "echo": nullable(boolean),
        "frequency_penalty": nullable(number(-2, 2)),
        "logit_bias": nullable(mapping),
        "logprobs": nullable(integer(0, 5)),
        "max_tokens": nullable(integer(0)),
        "n": nullable(integer(1, 128)),
        "presence_penalty": nullable(number(-2, 2)),
        "seed": nullable(integer(-(2**63), 2**63 - 1)),
        "stop": nullable(_STOP),
        "stream": nullable(boolean),
        "stream_options": nullable(
            fields({"include_usage": boolean, "include_obfuscation": boolean})
        ),
        "suffix": nullable(string),
        "temperature": nullable(number(0, 2)),
        "top_p": nullable(number(0, 1)),
        "user": nullable(string),
    },
    unknown="Unrecognized request argument supplied",
)


def parse_completion(request: HttpRequest, state: ServerState, *, model: str = "") -> ModelCall:
    """The call that a completion request makes."""
    body = body_of(request)
    body = _named(body, model)
    _check_completion(body, "")
    check_model(body["model"], state)
    prompt = body.get("prompt")
    inputs = _inputs(prompt, "prompt") if prompt is not None else ("<|endoftext|>",)
    return ModelCall(
        "openai",
        "completions",
        body["model"],
        kind="completion",
        stream=body.get("stream") is True,
        n=body.get("n") or 1,
        max_tokens=body.get("max_tokens") or None,
        inputs=inputs,
        raw=body,
        request=request,
    )


def _named(body: JsonObject, model: str) -> JsonObject:
    if "model" in body:
        return body
    if not model:
        refuse("you must provide a model parameter")
    return body | {"model": model}


def render_completion(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to a completion request: ``n`` choices for each prompt."""
    reply, usage = stopped(call, reply, usage)
    made: JsonObject = {
        "id": state.ids.alnum("cmpl-", 29),
        "object": "text_completion",
        "created": state.ids.now(),
        "model": call.model,
        "system_fingerprint": FINGERPRINT,
    }
    answers = (reply, *reply.choices)[: call.n]
    each = answers + (reply,) * (call.n - len(answers))
    choices = [(prompt, answer) for prompt in call.inputs for answer in each]
    if call.stream:
        return Response(200, _completion_frames(call, made, choices, usage), STREAM)
    told = chat_usage(usage)
    made["choices"] = [
        _text_choice(call, place, prompt, answer) for place, (prompt, answer) in enumerate(choices)
    ]
    made["usage"] = told
    return Response(200, dumps(made | dict(reply.extra)))


def _text_choice(call: ModelCall, place: int, prompt: str, reply: Reply) -> JsonObject:
    text = prompt + reply.text if call.raw.get("echo") else reply.text
    top = call.raw.get("logprobs")
    return {
        "text": text,
        "index": place,
        "logprobs": None if top is None else completion_logprobs(pieces(text), top),
        "finish_reason": _finish(reply),
    }


def _finish(reply: Reply) -> str:
    return reply.finished if reply.finished in ("length", "content_filter") else "stop"


def _completion_frames(
    call: ModelCall, made: JsonObject, choices: list[tuple[str, Reply]], usage: Usage
) -> Iterator[Chunk]:
    counted = (call.raw.get("stream_options") or {}).get("include_usage") is True
    common = made | {"usage": None} if counted else made
    top = call.raw.get("logprobs")
    for place, (prompt, reply) in enumerate(choices):
        told = [prompt] if call.raw.get("echo") else []
        offset = 0
        for piece in (*told, *cut(reply)):
            scored = None if top is None else completion_logprobs([piece], top, offset)
            offset += len(piece)
            choice = {"text": piece, "index": place, "logprobs": scored, "finish_reason": None}
            yield _frame(common | {"choices": [choice]}, 1)
        last = {"text": "", "index": place, "logprobs": None, "finish_reason": _finish(reply)}
        yield _frame(common | {"choices": [last]})
    if counted:
        yield _frame(made | {"choices": [], "usage": chat_usage(usage)})
    yield DONE


def _frame(made: JsonObject, tokens: int = 0) -> Chunk:
    return Chunk(b"data: " + dumps(made) + b"\n\n", tokens, "text_completion")


# -- embeddings -----------------------------------------------------------------------------------

_SIZES = {"text-embedding-3-large": 3072}
_check_embedding = body_check(
    {
        "model": string,
        "input": anything,  # read by _inputs
        "dimensions": nullable(integer(1, 3072)),
        "encoding_format": nullable(one_of("float", "base64")),
        "user": nullable(string),
    },
    unknown="Unrecognized request argument supplied",
)


def parse_embedding(request: HttpRequest, state: ServerState, *, model: str = "") -> ModelCall:
    """The call that an embeddings request makes."""
    body = _named(body_of(request), model)
    if "input" not in body:
        missing("input")
    _check_embedding(body, "")
    check_model(body["model"], state)
    inputs = _inputs(body["input"], "input")
    if "" in inputs:
        refuse("Invalid 'input': input cannot be an empty string.", "input", "invalid_value")
    if len(inputs) > 2048:
        refuse(
            "Invalid 'input': array too long. Expected an array with maximum length 2048, but got "
            f"an array with length {len(inputs)} instead.",
            "input",
            "array_above_max_length",
        )
    if body.get("dimensions") is not None and body["model"] == "text-embedding-ada-002":
        refuse("This model does not support specifying dimensions.", "dimensions")
    return ModelCall(
        "openai",
        "embeddings",
        body["model"],
        kind="embedding",
        inputs=inputs,
        raw=body,
        request=request,
    )


def render_embedding(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to an embeddings request."""
    size = call.raw.get("dimensions") or _SIZES.get(call.model, 1536)
    given = reply.embeddings or ()
    packed = call.raw.get("encoding_format") == "base64" and call.raw != EXAMPLE_EMBEDDING
    data: list[JsonObject] = []
    for place, text in enumerate(call.inputs):
        found = list(given[place]) if place < len(given) else vector(text, size, state.seed.value)
        shown: Any = _packed(found) if packed else found
        data.append({"object": "embedding", "index": place, "embedding": shown})
    made = {
        "object": "list",
        "data": data,
        "model": call.model,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
    }
    return Response(200, dumps(made | dict(reply.extra)))


def _packed(values: list[float]) -> str:
    """32-bit floats, little-endian, in base64."""
    packed = array.array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


# -- moderations ----------------------------------------------------------------------------------

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""What moderation looks for."""

_SEEN = frozenset(
    {
        "self-harm",
        "self-harm/intent",
        "self-harm/instructions",
        "sexual",
        "violence",
        "violence/graphic",
    }
)
_check_moderation = body_check({"model": nullable(string), "input": anything})


def parse_moderation(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that a moderations request makes."""
    body = body_of(request)
    if "input" not in body:
        missing("input")
    _check_moderation(body, "")
    model = body.get("model") or "omni-moderation-latest"
    check_model(model, state)
    texts, kinds = _moderated(body["input"])
    return ModelCall(
        "openai",
        "moderations",
        model,
        kind="moderation",
        inputs=texts,
        options={"kinds": kinds},
        raw=body,
        request=request,
    )


def _moderated(value: Any) -> tuple[tuple[str, ...], list[str]]:
    """The inputs, and of what kind each is. Parts (text and images) are one input together."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        texts: list[str] = []
        kinds: list[str] = []
        for place, part in enumerate(value):
            path = f"input[{place}]"
            _check_part(part, path)
            kinds.append("image" if part["type"] == "image_url" else "text")
            texts.append(part["image_url"]["url"] if kinds[-1] == "image" else part["text"])
        return ("\n".join(texts),), sorted(set(kinds), reverse=True)
    texts_ = _inputs(value, "input")
    return texts_, ["text"]


_url = fields({"url": string}, ("url",))


def _check_part(part: Any, path: str) -> None:
    mapping(part, path)
    if "type" not in part:
        missing(f"{path}.type")
    one_of("text", "image_url")(part["type"], f"{path}.type")
    if part["type"] == "text":
        fields({"text": string}, ("text",))(part, path)
    else:
        fields({"image_url": _url}, ("image_url",))(part, path)


def render_moderation(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to a moderations request: what the reply flags, and nothing else."""
    kinds = call.options["kinds"]
    flagged = set(reply.flagged)
    if unknown := flagged.difference(CATEGORIES):
        raise ValueError(f"there is no moderation category {sorted(unknown)[0]!r}")
    results = []
    for text in call.inputs:
        chance = state.random(f"moderation/{text}")
        results.append(
            {
                "flagged": bool(flagged),
                "categories": {name: name in flagged for name in CATEGORIES},
                "category_scores": {
                    name: round(chance.uniform(0.8, 1.0), 6)
                    if name in flagged
                    else round(chance.uniform(0.0, 0.01), 9)
                    for name in CATEGORIES
                },
                "category_applied_input_types": {
                    name: [kind for kind in kinds if kind == "text" or name in _SEEN]
                    for name in CATEGORIES
                },
            }
        )
    made = {"id": state.ids.hex("modr-", 32), "model": call.model, "results": results}
    return Response(200, dumps(made | dict(reply.extra)))
