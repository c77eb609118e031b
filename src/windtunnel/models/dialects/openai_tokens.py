"""What OpenAI reports of tokens: usage objects, log probabilities, and the padding of chunks.

Log probabilities are made up: each depends on its token alone, lies between -2 and 0, and the
alternatives come after it in order, so that sums, sorts and comparisons of them hold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from windtunnel.models.protocol import JsonObject, ModelCall, Reply, Usage
from windtunnel.models.tokens import pieces, usage_of

_PAD = "aZ3kQ9xWm7TbR2vLc5NyHd8SfG4jPu6E"
_OTHERS = (" the", " a", " and", ",", ".", " of", " to", " in", " is", " it")


def chat_usage(usage: Usage) -> JsonObject:
    """Usage as chat completions, completions and their streams have it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def response_usage(usage: Usage) -> JsonObject:
    """Usage as responses have it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def stopped(call: ModelCall, reply: Reply, usage: Usage) -> tuple[Reply, Usage]:
    """The reply as far as the first of the request's stop sequences, and its usage."""
    stops = call.raw.get("stop")
    if not stops or not reply.text:
        return reply, usage
    found = [reply.text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops)]
    ends = [end for end in found if end >= 0]
    if not ends:
        return reply, usage
    shorter = dataclasses.replace(reply, text=reply.text[: min(ends)], pieces=())
    return shorter, usage if reply.usage is not None else usage_of(call, shorter)


def cut(reply: Reply) -> Sequence[str]:
    """The text as it is streamed."""
    return reply.pieces or pieces(reply.text)


def logprob(token: str, top: int) -> JsonObject:
    """The log probability of one token, with so many alternatives, itself the first."""
    own = -(crc32(token.encode("utf-8", "replace")) % 2000) / 1000
    found: JsonObject = {"token": token, "logprob": own, "bytes": _bytes(token)}
    others = [other for other in _OTHERS if other != token]
    wide: list[JsonObject] = [dict(found)] if top else []
    wide += [
        {"token": other, "logprob": own - 1.0 - place / 4, "bytes": _bytes(other)}
        for place, other in zip(range(top - 1), others * 3, strict=False)
    ]
    return found | {"top_logprobs": wide}


def logprobs(tokens: Sequence[str], top: int) -> list[JsonObject]:
    """The log probabilities of several tokens."""
    return [logprob(token, top) for token in tokens]


def completion_logprobs(tokens: Sequence[str], top: int, offset: int = 0) -> JsonObject:
    """Log probabilities as the completions of old have them."""
    found: dict[str, list[Any]] = {
        "tokens": list(tokens),
        "token_logprobs": [],
        "top_logprobs": [],
        "text_offset": [],
    }
    for token in tokens:
        one = logprob(token, top)
        found["token_logprobs"].append(one["logprob"])
        found["top_logprobs"].append(
            {other["token"]: other["logprob"] for other in one["top_logprobs"]}
        )
        found["text_offset"].append(offset)
        offset += len(token)
    return found


def padding(text: str) -> str:
    """What makes chunks of a stream about as long as one another (``obfuscation``)."""
    return _PAD[: 16 - len(text) % 16]


def _bytes(token: str) -> list[int]:
    return list(token.encode("utf-8", "replace"))
