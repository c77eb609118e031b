"""Images: requests read, and small valid files for answers.

Source: https://platform.openai.com/docs/api-reference/images
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from windtunnel.models.dialects.openai_chat_reply import STREAM
from windtunnel.models.dialects.openai_chat_request import check_model
from windtunnel.models.dialects.openai_fields import (
    body_check,
    body_of,
    boolean,
    integer,
    mapping,
    missing,
    not_found,
    nullable,
    one_of,
    string,
    text,
    wrong_value,
)
from windtunnel.models.dialects.openai_forms import (
    Form,
    Upload,
    flag_in,
    form_of,
    number_in,
    text_in,
)
from windtunnel.models.dialects.openai_pictures import FORMATS as IMAGES
from windtunnel.models.dialects.openai_pictures import picture
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    JsonObject,
    ModelCall,
    Params,
    Reply,
    Response,
    Usage,
)
from windtunnel.models.state import ServerState

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_OLD = ("dall-e-2", "dall-e-3")
_check_generation = body_check(
    {
        "prompt": text(32_000),
        "background": nullable(one_of("transparent", "opaque", "auto")),
        "complexity": nullable(one_of("low", "medium", "high")),
        "frame_count": nullable(integer(1)),
        "frame_duration_ms": nullable(integer(1)),
        "model": nullable(string),
        "moderation": nullable(one_of("low", "auto")),
        "n": nullable(integer(1, 10)),
        "output_compression": nullable(integer(0, 100)),
        "output_format": nullable(one_of("png", "webp", "jpeg", "gif", "svg")),
        "partial_images": nullable(integer(0, 3)),
        "quality": nullable(
            one_of("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd")
        ),
        "response_format": nullable(one_of("url", "b64_json")),
        "safety_identifier": nullable(string),
        "size": nullable(string),
        "stream": nullable(boolean),
        "style": nullable(one_of("vivid", "natural")),
        "svg": nullable(mapping),
        "user": nullable(string),
    },
    ("prompt",),
)


def parse_generation(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks for images."""
    body = body_of(request)
    _check_generation(body, "")
    return _image_call("images.generate", body, request, state)


def parse_edit(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks for images made of others."""
    form = form_of(request)
    if "image" not in form and "images" not in form:
        missing("image")
    if text_in(form, "prompt") is None:
        missing("prompt")
    return _image_call("images.edit", form, request, state)


def parse_variation(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that asks for variations of an image."""
    form = form_of(request)
    if "image" not in form:
        missing("image")
    return _image_call("images.variation", form, request, state)


def _image_call(endpoint: str, form: Form, request: HttpRequest, state: ServerState) -> ModelCall:
    model = text_in(form, "model") or (
        "dall-e-2" if endpoint.endswith("variation") else "gpt-image-1"
    )
    check_model(model, state)
    size = text_in(form, "size")
    if size not in (None, "auto") and not _SIZE.fullmatch(size or ""):
        wrong_value(size, "size", ("1024x1024", "1024x1536", "1536x1024", "auto"))
    how_many = number_in(form, "n")
    if how_many is not None:
        integer(1, 10)(how_many, "n")
    raw = {name: value for name, value in form.items() if not isinstance(value, Upload)}
    return ModelCall(
        "openai",
        endpoint,
        model,
        kind="image",
        stream=flag_in(form, "stream"),
        n=how_many or 1,
        inputs=(text_in(form, "prompt") or "",),
        raw=raw,
        request=request,
    )


def render_images(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to a request for images."""
    form = _image_form(call.raw)
    width, height = _size(call.raw)
    data = reply.media or picture(form, width, height)
    told = _image_usage(usage)
    if call.stream:
        return Response(200, _image_frames(call, data, form, told, state), STREAM)
    linked = call.raw.get("response_format") == "url" or (
        call.model in _OLD and call.raw.get("response_format") != "b64_json"
    )
    made: JsonObject = {"created": state.ids.now(), "data": []}
    for _ in range(call.n):
        one: JsonObject = {}
        if linked:
            one["url"] = _link(call, data, form, state)
        else:
            one["b64_json"] = base64.b64encode(data).decode()
        if call.model == "dall-e-3":
            one["revised_prompt"] = call.inputs[0]
        made["data"].append(one)
    if call.model not in _OLD:
        made |= {
            "background": "opaque",
            "output_format": form,
            "quality": _quality(call.raw),
            "size": f"{width}x{height}",
            "usage": told,
        }
    return Response(200, dumps(made | dict(reply.extra)))


def image_file(request: HttpRequest, params: Params, state: ServerState) -> Response:
    """The file that an image's ``url`` points to."""
    kept = state.store("openai.images").get(params["name"])
    if kept is None:
        raise not_found(f"No such image: {params['name']}")
    return Response(200, kept, IMAGES[params["name"].rpartition(".")[2]])


def _link(call: ModelCall, data: bytes, form: str, state: ServerState) -> str:
    """An address of our own that has the image; the last hundred images are kept."""
    name = f"{state.ids.alnum('img-', 24)}.{form}"
    kept = state.store("openai.images")
    kept[name] = data
    if len(kept) > 100:
        del kept[next(iter(kept))]
    host = call.request.header("host", "127.0.0.1")
    return f"http://{host}/v1/images/files/{name}"


def _image_form(raw: JsonObject) -> str:
    form = raw.get("output_format") or "png"
    return form if form in IMAGES else "png"


def _quality(raw: JsonObject) -> str:
    quality = raw.get("quality") or "high"
    return {"auto": "high", "standard": "medium", "hd": "high"}.get(quality, quality)


def _size(raw: JsonObject) -> tuple[int, int]:
    found = _SIZE.fullmatch(raw.get("size") or "")
    return (int(found[1]), int(found[2])) if found else (1024, 1024)


def _image_usage(usage: Usage) -> JsonObject:
    written = max(usage.output_tokens, 272)
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": usage.input_tokens},
        "output_tokens": written,
        "total_tokens": usage.input_tokens + written,
    }


def _image_frames(
    call: ModelCall, data: bytes, form: str, told: JsonObject, state: ServerState
) -> Iterator[Chunk]:
    word = "image_edit" if call.endpoint == "images.edit" else "image_generation"
    width, height = _size(call.raw)
    common = {
        "b64_json": base64.b64encode(data).decode(),
        "created_at": state.ids.now(),
        "size": f"{width}x{height}",
        "quality": _quality(call.raw),
        "background": "opaque",
        "output_format": form if form in ("png", "webp", "jpeg") else "png",
    }
    for place in range(number_in(call.raw, "partial_images") or 0):
        name = f"{word}.partial_image"
        yield event(name, {"type": name, **common, "partial_image_index": place}, 1)
    name = f"{word}.completed"
    yield event(name, {"type": name, **common, "usage": told}, 1)


def event(name: str, body: JsonObject, tokens: int = 0) -> Chunk:
    """A named event of a stream."""
    return Chunk(f"event: {name}\ndata: ".encode() + dumps(body) + b"\n\n", tokens, name)
