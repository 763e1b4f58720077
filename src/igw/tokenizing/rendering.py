"""A server that renders prompts as the engine does (vLLM's render endpoints, else `/tokenize`): a request's body goes there, tokens come back."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import msgspec
import numpy as np
import structlog

from igw.bounded import whole
from igw.endpoint import Endpoint
from igw.patience import PAUSE_SECONDS, Patience
from igw.prefix.chain import Placed, Prompt, packed
from igw.prefix.tokens import prompt_of
from igw.request import Request

log = structlog.get_logger("tokenizing")

_MOST_ANSWER_BYTES = 64 << 20
_SUFFIXES = ("chat/completions", "completions")
"""APIs whose bodies a render server takes as they are, and `/tokenize` as well."""


class _Range(msgspec.Struct):
    offset: int
    length: int


class _Features(msgspec.Struct):
    mm_hashes: dict[str, list[str | None]] = {}
    mm_placeholders: dict[str, list[_Range]] = {}


class _Rendered(msgspec.Struct):
    """The answer of a render endpoint, and of `/tokenize`, which calls the tokens otherwise."""

    token_ids: list[int] = []
    tokens: list[int] = []
    features: _Features | None = None


_decode = msgspec.json.Decoder(_Rendered | list[_Rendered]).decode


class Renderer:
    """One server that makes tokens of requests. Late and failing it costs nothing but the tokens, and is left alone for a while."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, model: str, clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._model = msgspec.json.encode(model) if model else b""
        self._patience = Patience(
            clock, lambda why: log.warning("tokenizer_paused", url=url, error=why, seconds=PAUSE_SECONDS)
        )
        self._renders = True  # until it says that it does not

    @property
    def may_be_asked(self) -> bool:
        """Whether there is room for one more request, and it is not left alone."""
        return self._patience.may_ask

    async def tokens(self, request: Request, _endpoints: tuple[Endpoint, ...] = ()) -> Prompt | None:
        """Return the prompt of *request* in tokens; None where the server cannot be asked or does not know."""
        body = self._body(request)
        if body is None or not self.may_be_asked:
            return None
        try:
            with self._patience.asking():
                return await self._ask(request, body)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError, OverflowError):
            return None

    async def _ask(self, request: Request, body: bytes) -> Prompt | None:
        if self._renders:
            status, page = await self._post(f"/v1/{request.api}/render", body)
            if status == 200:
                return _prompt(request, page)
            # vLLM answers 403 unless it runs with --enable-scale-out, and older ones do not know the path.
            if status not in (403, 404, 405):
                raise ValueError(f"{self._url} answered {status}")
            self._renders = False
            log.info("renders_not", url=self._url, status=status, instead="/tokenize")
        if request.media:
            return None  # `/tokenize` does not say where media are in the prompt
        status, page = await self._post("/tokenize", body)
        if status != 200:
            raise ValueError(f"{self._url}/tokenize answered {status}")
        return _prompt(request, page)

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        async with self._session.post(self._url + path, data=body, headers=headers) as response:
            page = await whole(response.content.iter_any(), _MOST_ANSWER_BYTES, f"the answer of {self._url}")
            return response.status, page

    def _body(self, request: Request) -> bytes | None:
        """Return the client's body with the server's name of the model in it; None for one that cannot be rendered."""
        if request.api not in _SUFFIXES or not request.body:
            return None
        model = self._model or (msgspec.json.encode(request.target_model) if request.target_model else b"")
        if not model or request.model_value is None or not request.model_quoted:
            return bytes(request.body)
        value = request.model_value
        at = _address(value) - _address(request.body) if value.nbytes else -1
        body = bytes(request.body)
        if at < 0 or body[at : at + value.nbytes] != bytes(value):
            return None  # the body was too large to be read as it came, or has no model
        return body[:at] + model + body[at + value.nbytes :]


def _address(of: memoryview | bytes | bytearray) -> int:
    address: int = np.frombuffer(of, np.uint8).__array_interface__["data"][0]
    return address


def _prompt(request: Request, page: bytes) -> Prompt | None:
    """Return the tokens of an answer; of several prompts only the first is looked at, which is the one compared."""
    found = _decode(page)
    first = (found[0] if found else None) if isinstance(found, list) else found
    ids = (first.token_ids or first.tokens) if first is not None else []
    if first is None or not ids:
        return None
    media: list[Placed] = []
    if first.features is not None:
        for kind, ranges in first.features.mm_placeholders.items():
            names = first.features.mm_hashes.get(kind, [])
            media += [
                Placed(name, each.offset, each.length)
                for name, each in zip(names, ranges, strict=False)
                if name
            ]
    elif request.media:
        return None
    return prompt_of(request, packed(ids), media=tuple(sorted(media, key=lambda each: each.first_token)))
