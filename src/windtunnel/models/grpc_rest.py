"""A gRPC call to Gemini as the REST request that Google's own front makes of it, and back.

Google's APIs are one set of protobuf messages with two ways to them. The rules between both are
protobuf's JSON mapping and the paths below; so a call can go to a server that speaks REST alone.

Source: https://protobuf.dev/programming-guides/json/, and the ``google.api.http`` annotations of
https://github.com/googleapis/googleapis/tree/master/google/ai/generativelanguage
"""

from __future__ import annotations

import http.client
import importlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class CallFailed(Exception):
    """What the call ends with instead of an answer.

    :param status: the name of a gRPC status code.
    """

    def __init__(self, status: str, details: str) -> None:
        super().__init__(details)
        self.status = status
        self.details = details


class _Rest(NamedTuple):
    """How a method goes: the path's end, and the names of its messages."""

    verb: str
    path: str
    asked: str
    answered: str


_METHODS = {
    "GenerateContent": _Rest(
        "POST", "{model}:generateContent", "GenerateContentRequest", "GenerateContentResponse"
    ),
    "StreamGenerateContent": _Rest(
        "POST",
        "{model}:streamGenerateContent?alt=sse",
        "GenerateContentRequest",
        "GenerateContentResponse",
    ),
    "CountTokens": _Rest(
        "POST", "{model}:countTokens", "CountTokensRequest", "CountTokensResponse"
    ),
    "EmbedContent": _Rest(
        "POST", "{model}:embedContent", "EmbedContentRequest", "EmbedContentResponse"
    ),
    "BatchEmbedContents": _Rest(
        "POST",
        "{model}:batchEmbedContents",
        "BatchEmbedContentsRequest",
        "BatchEmbedContentsResponse",
    ),
    "ListModels": _Rest("GET", "models", "ListModelsRequest", "ListModelsResponse"),
    "GetModel": _Rest("GET", "{name}", "GetModelRequest", "Model"),
}
# Where a status has no name of its own in the error's body.
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED"}


class Exchange:
    """One call on its way.

    :param address: host and port of the server.
    :param method: as gRPC names it, ``/package.Service/Method``.
    :param data: the request, serialized.
    :param metadata: what goes along; a key among it is sent.
    :param key: the key to send where there is none, as in gRPC's credentials none can be seen.
    :raises CallFailed: like its methods, where there is no answer.
    """

    def __init__(
        self,
        address: tuple[str, int],
        method: str,
        data: bytes,
        metadata: Any,
        timeout_s: float | None,
        key: str | None = None,
    ) -> None:
        service, _, called = method[1:].partition("/")
        package = service.rpartition(".")[0]
        rest = _METHODS.get(called)
        if rest is None or ".generativelanguage." not in f".{package}.":
            raise CallFailed("UNIMPLEMENTED", f"the model server has no method {method}")
        self._answered = _message(f"{package}.{rest.answered}")
        asked = _to_json(_message(f"{package}.{rest.asked}").FromString(data))
        path = rest.path
        for field in ("model", "name"):
            if f"{{{field}}}" in path:
                path = path.replace(f"{{{field}}}", str(asked.pop(field, "")))
        headers = {"content-type": "application/json", "x-goog-api-client": "grpc"}
        if key is not None:
            headers["x-goog-api-key"] = key
        for name, value in metadata or ():
            if name in ("x-goog-api-key", "x-windtunnel-namespace"):
                headers[name] = value
        body = json.dumps(asked) if rest.verb == "POST" else None
        self._connection = http.client.HTTPConnection(*address, timeout=timeout_s)
        try:
            target = f"/gemini/{package.rpartition('.')[2]}/{path}"
            self._connection.request(rest.verb, target, body, headers)
            self._answer = self._connection.getresponse()
            if self._answer.status != 200:
                raise _refusal(self._answer.status, self._answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _lost(error) from error
        except CallFailed:
            self.close()
            raise

    def whole(self) -> bytes:
        """The answer, serialized."""
        try:
            return self._message_of(self._answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise _lost(error) from error
        finally:
            self.close()

    def parts(self) -> Iterator[bytes]:
        """The answers of a stream, serialized."""
        try:
            for line in self._answer:
                if line.startswith(b"data:"):
                    yield self._message_of(line[5:])
        except (OSError, http.client.HTTPException) as error:
            raise _lost(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Want no more of it."""
        self._connection.close()

    def _message_of(self, data: bytes) -> bytes:
        json_format = importlib.import_module("google.protobuf.json_format")
        try:
            plain = json.loads(data)
            if "error" in plain:
                raise _refusal(int(plain["error"].get("code") or 500), data)
            made = json_format.ParseDict(plain, self._answered(), ignore_unknown_fields=True)
        except (ValueError, json_format.ParseError) as error:
            raise CallFailed("INTERNAL", f"the answer is no message: {error}") from error
        serialized: bytes = made.SerializeToString()
        return serialized


def _message(name: str) -> Any:
    pool = importlib.import_module("google.protobuf.descriptor_pool").Default()
    factory = importlib.import_module("google.protobuf.message_factory")
    return factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _to_json(message: Any) -> dict[str, Any]:
    json_format = importlib.import_module("google.protobuf.json_format")
    plain: dict[str, Any] = json_format.MessageToDict(message)
    return plain


def _refusal(status: int, data: bytes) -> CallFailed:
    """What REST says in an error's body."""
    try:
        error = json.loads(data)["error"]
        return CallFailed(str(error["status"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return CallFailed(_STATUS.get(status, "UNAVAILABLE"), data.decode("utf-8", "replace"))


def _lost(error: Exception) -> CallFailed:
    if isinstance(error, TimeoutError):
        return CallFailed("DEADLINE_EXCEEDED", "Deadline Exceeded")
    return CallFailed("UNAVAILABLE", f"{type(error).__name__}: {error}")


__all__ = ["CallFailed", "Exchange"]
