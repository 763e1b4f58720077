"""Mooncake Conductor's index API: how far each engine gets with a prompt, tier after tier.

`POST /query` with model, tokens and block size; counts are in tokens. Three forms of the answer are read (`docs/source/design/conductor` of
kvcache-ai/Mooncake): by tenant, with `GPU`, `CPU` and `DISK` (RFC 1403, April 2026); under `instances`, with `gpu`, `cpu` and `disk`, each
counting the tiers before it too (July 2026); the same in msgpack, which the Conductor of September 2026 speaks alone. Fields that it does not know it
refuses, so none is sent. CPU and disk are Mooncake's pools, which every engine of the group reaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from igw.prefix.api import FREE, Costs, Offer, Question
from igw.remotecaches.http import AnswerError, Client
from igw.remotecaches.naming import Names


class Hits(msgspec.Struct, frozen=True):
    """What one engine gets of a prompt."""

    longest_matched: int = 0
    gpu: int = 0
    cpu: int = 0
    older_gpu: int = msgspec.field(name="GPU", default=0)
    older_cpu: int = msgspec.field(name="CPU", default=0)


class Settings(msgspec.Struct, frozen=True):
    """How one Conductor is asked."""

    url: str
    encoding: Literal["json", "msgpack"] = "json"
    tenant: str = "default"
    model: str = ""
    """Of the engines; what has another name is an adapter. Empty: nothing is."""
    block_tokens: int = 16


class Conductor:
    """One Conductor."""

    def __init__(self, client: Client, settings: Settings, costs: Costs) -> None:
        self._client = client
        self._settings = settings
        self._costs = costs
        self._packed = settings.encoding == "msgpack"
        self._names = Names()

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return per engine what it has in GPU memory, and what it could load from the pools beyond that."""
        prompt, settings = question.prompt, self._settings
        if prompt is None or prompt.media:
            return ()
        model = settings.model or question.model
        asked: dict[str, Any] = {
            "model": model,
            "lora_name": question.model if question.model != model else "",
            "token_ids": prompt.little_endian() if self._packed else prompt.numbers(),
            "tenant_id": settings.tenant,
            "block_size": settings.block_tokens,
        }
        if prompt.salt:
            asked["cache_salt"] = prompt.salt
        encode = msgspec.msgpack.encode if self._packed else msgspec.json.encode
        page = await self._client.post(
            f"{settings.url.rstrip('/')}/query", encode(asked), f"application/{settings.encoding}"
        )
        named = self._names.of(question.endpoints)
        found: list[Offer] = []
        for instance, hits in self._read(page).items():
            if (to := named.get(instance)) is not None:
                found += self._of(hits, to)
        return found

    def _read(self, page: bytes) -> Mapping[str, Hits]:
        decode = msgspec.msgpack.decode if self._packed else msgspec.json.decode
        answer: Any = decode(page)
        if not isinstance(answer, dict):
            raise AnswerError("the Conductor's answer is no object")
        found = answer.get("instances", answer.get(self._settings.tenant, {}))
        return msgspec.convert(found, dict[str, Hits])

    def _of(self, hits: Hits, to: str) -> list[Offer]:
        on_gpu = max(hits.gpu, hits.older_gpu)
        with_cpu = max(on_gpu, hits.cpu, hits.older_cpu)
        counts = (
            (on_gpu, "gpu", FREE),
            (with_cpu, "remote", self._costs["remote"]),
            (hits.longest_matched, "disk", self._costs["disk"]),
        )
        found, before = [], 0
        for tokens, tier, cost in counts:
            if tokens > before:
                found.append(Offer(tokens, tier, cost, to=to))
                before = tokens
        return found
