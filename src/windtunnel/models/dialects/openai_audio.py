"""Speech and transcripts: requests read, and small valid files for answers.

Source: https://platform.openai.com/docs/api-reference/audio
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from windtunnel.models.dialects.openai_chat_reply import STREAM
from windtunnel.models.dialects.openai_chat_request import check_model
from windtunnel.models.dialects.openai_fields import (
    anything,
    body_check,
    body_of,
    either,
    fields,
    missing,
    nullable,
    number,
    one_of,
    string,
    text,
    wrong_value,
)
from windtunnel.models.dialects.openai_forms import (
    Upload,
    flag_in,
    form_of,
    text_in,
)
from windtunnel.models.dialects.openai_images import event
from windtunnel.models.dialects.openai_sounds import FORMATS as SOUNDS
from windtunnel.models.dialects.openai_sounds import sound
from windtunnel.models.dialects.openai_tokens import cut, logprob, logprobs
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
from windtunnel.models.tokens import count, pieces

# -- speech ---------------------------------------------------------------------------------------

_check_speech = body_check(
    {
        "input": text(4096),
        "model": string,
        "voice": either("one of a string or object", (str, anything), (dict, fields({}, ("id",)))),
        "instructions": nullable(string),
        "response_format": nullable(one_of("mp3", "opus", "aac", "flac", "wav", "pcm")),
        "speed": nullable(number(0.25, 4)),
        "stream_format": nullable(one_of("sse", "audio")),
    },
    ("input", "model", "voice"),
)


def parse_speech(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks for speech."""
    body = body_of(request)
    _check_speech(body, "")
    check_model(body["model"], state)
    return ModelCall(
        "openai",
        "audio.speech",
        body["model"],
        kind="audio",
        stream=body.get("stream_format") == "sse",
        inputs=(body["input"],),
        raw=body,
        request=request,
    )


def render_speech(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The sound, or the events that carry it."""
    form = call.raw.get("response_format") or "mp3"
    data = reply.media or sound(form)
    if not call.stream:
        return Response(200, data, SOUNDS[form])
    written = max(usage.output_tokens, 1)
    told = {
        "input_tokens": usage.input_tokens,
        "output_tokens": written,
        "total_tokens": usage.input_tokens + written,
    }
    half = len(data) // 2
    frames = [
        event(
            "speech.audio.delta",
            {"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()},
            1,
        )
        for part in (data[:half], data[half:])
    ]
    done = event("speech.audio.done", {"type": "speech.audio.done", "usage": told})
    return Response(200, [*frames, done], STREAM)


# -- transcription --------------------------------------------------------------------------------

_HEARD = "The sound that was sent is not listened to."
_FORMS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_SECONDS = 3.0


def parse_transcription(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks what is said."""
    return _heard("audio.transcription", request, state)


def parse_translation(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks what is said, in English."""
    return _heard("audio.translation", request, state)


def _heard(endpoint: str, request: HttpRequest, state: ServerState) -> ModelCall:
    form = form_of(request)
    if "file" not in form:
        missing("file")
    model = text_in(form, "model")
    if model is None:
        missing("model")
    check_model(model, state)
    wanted = text_in(form, "response_format") or "json"
    if wanted not in _FORMS:
        wrong_value(wanted, "response_format", _FORMS)
    raw = {name: value for name, value in form.items() if not isinstance(value, Upload)}
    return ModelCall(
        "openai",
        endpoint,
        model,
        kind="audio",
        stream=flag_in(form, "stream"),
        inputs=(text_in(form, "prompt") or "",),
        raw=raw,
        request=request,
    )


def render_transcription(
    call: ModelCall, reply: Reply, usage: Usage, state: ServerState
) -> Response:
    """What is said, in the form that was asked for."""
    said = reply.text or _HEARD
    form = call.raw.get("response_format") or "json"
    told = _heard_usage(said, usage)
    if call.stream and call.endpoint == "audio.transcription":
        return Response(200, _heard_frames(call, said, reply, told), STREAM)
    if form == "text":
        return Response(200, f"{said}\n".encode(), "text/plain; charset=utf-8")
    if form in ("srt", "vtt"):
        mark = "," if form == "srt" else "."
        times = f"00:00:00{mark}000 --> 00:00:03{mark}000"
        head = "1\n" if form == "srt" else "WEBVTT\n\n"
        return Response(200, f"{head}{times}\n{said}\n\n".encode(), "text/plain; charset=utf-8")
    made: JsonObject = {"text": said}
    if form == "verbose_json":
        made |= _verbose(call, said)
    elif form == "diarized_json":
        segment = {"id": "seg_001", "type": "transcript.text.segment", "speaker": "A"}
        made |= {
            "task": "transcribe",
            "duration": _SECONDS,
            "segments": [segment | {"start": 0.0, "end": _SECONDS, "text": said}],
        }
    if call.endpoint == "audio.transcription":
        if "logprobs" in _listed(call.raw.get("include")):
            made["logprobs"] = _scored(logprobs(pieces(said), 0))
        made["usage"] = (
            {"type": "duration", "seconds": _SECONDS} if form == "verbose_json" else told
        )
    return Response(200, dumps(made | dict(reply.extra)))


def _verbose(call: ModelCall, said: str) -> JsonObject:
    words = said.split()
    step = _SECONDS / max(len(words), 1)
    made: JsonObject = {
        "task": "translate" if call.endpoint == "audio.translation" else "transcribe",
        "language": "english",
        "duration": _SECONDS,
        "segments": [
            {
                "id": 0,
                "seek": 0,
                "start": 0.0,
                "end": _SECONDS,
                "text": said,
                "tokens": list(range(50364, 50364 + count(said))),
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.01,
            }
        ],
    }
    if "word" in _listed(call.raw.get("timestamp_granularities")):
        made["words"] = [
            {"word": word, "start": round(place * step, 2), "end": round((place + 1) * step, 2)}
            for place, word in enumerate(words)
        ]
    return made


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _heard_usage(said: str, usage: Usage) -> JsonObject:
    heard, written = 10 * int(_SECONDS), max(usage.output_tokens, count(said))
    return {
        "type": "tokens",
        "input_tokens": usage.input_tokens + heard,
        "input_token_details": {"text_tokens": usage.input_tokens, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": usage.input_tokens + heard + written,
    }


def _heard_frames(call: ModelCall, said: str, reply: Reply, told: JsonObject) -> Iterator[Chunk]:
    wanted = "logprobs" in _listed(call.raw.get("include"))
    for piece in cut(reply) if reply.text else pieces(said):
        body: JsonObject = {"type": "transcript.text.delta", "delta": piece}
        if wanted:
            body["logprobs"] = _scored([logprob(piece, 0)])
        yield Chunk(b"data: " + dumps(body) + b"\n\n", 1, "transcript.text.delta")
    done: JsonObject = {"type": "transcript.text.done", "text": said, "usage": told}
    yield Chunk(b"data: " + dumps(done) + b"\n\n", 0, "transcript.text.done")


def _scored(scored: list[JsonObject]) -> list[JsonObject]:
    return [{name: one[name] for name in ("token", "logprob", "bytes")} for one in scored]
