"""Refusals of a model server: a status and vLLM's error object.

Who refuses what is in the modules of the APIs; Anthropic's shape of an error is in `messages`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

_Decoded = TypeVar("_Decoded")


class ApiError(Exception):
    """A request that is answered with vLLM's error object; `kind` is its type, `param` the field at fault."""

    def __init__(
        self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    @property
    def body(self) -> bytes:
        """The answer as OpenAI's clients expect it."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": error})


def decode(decoder: msgspec.json.Decoder[_Decoded], body: bytes) -> _Decoded:
    """Return the decoded body; ApiError 400 in the words of vLLM's validation, with the field named."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise malformed(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed("json_invalid", "body", f"JSON decode error: {error}") from error


def malformed(error: msgspec.ValidationError) -> ApiError:
    """Return the refusal of a body with a field of the wrong type, in the words of vLLM's validation."""
    text, _, path = str(error).partition(" - at `$")
    return _malformed("value_error", path.rstrip("`").lstrip(".") or "body", text)


def _malformed(kind: str, where: str, text: str) -> ApiError:
    message = f"1 validation error:\n  {{'type': '{kind}', 'loc': '{where}', 'msg': '{text}'}}"
    return ApiError(400, message, kind="Bad Request", param=where)
