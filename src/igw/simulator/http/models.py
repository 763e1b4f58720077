"""`/v1/models` and the loading and unloading of adapters at run time, as vLLM 0.32 answers.

Which names are known is kept in `names`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from igw.simulator.http.answering import json_response
from igw.simulator.http.errors import decode
from igw.simulator.http.names import Names
from igw.simulator.serving import Serving


class LoadRequest(msgspec.Struct, frozen=True):
    """A body of `/v1/load_lora_adapter`; paths are not looked at, there are no weights to find."""

    lora_name: str = ""
    lora_path: str = ""
    load_inplace: bool = False


class UnloadRequest(msgspec.Struct, frozen=True):
    """A body of `/v1/unload_lora_adapter`."""

    lora_name: str = ""


_load_decoder = msgspec.json.Decoder(LoadRequest)
_unload_decoder = msgspec.json.Decoder(UnloadRequest)


def routes(serving: Serving) -> list[web.RouteDef]:
    """Return the routes of this API; those of adapters only where the server allows them."""

    async def models(_request: web.Request) -> web.Response:
        serving.check_ready()
        config = serving.config
        return json_response(
            cards(serving.names, config.model, serving.now(), config.engine.max_sequence_tokens)
        )

    async def load(request: web.Request) -> web.Response:
        asked = decode(_load_decoder, await request.read())
        serving.names.load(asked.lora_name, asked.lora_path, in_place=asked.load_inplace)
        return web.Response(text=f"Success: LoRA adapter '{asked.lora_name}' added successfully.")

    async def unload(request: web.Request) -> web.Response:
        asked = decode(_unload_decoder, await request.read())
        serving.names.unload(asked.lora_name)
        return web.Response(text=f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")

    found = [web.get("/v1/models", models)]
    if serving.config.allow_runtime_lora_updating:
        found += [web.post("/v1/load_lora_adapter", load), web.post("/v1/unload_lora_adapter", unload)]
    return found


def cards(names: Names, root: str, created: int, max_model_len: int) -> bytes:
    """Return the body of `/v1/models`: a card per name of the model, then one per adapter with its parent."""
    data = [_card(name, created, root, None, max_model_len) for name in names.served]
    for adapter in names.adapters.values():
        parent = adapter.base_model_name or names.served[0]
        data.append(_card(adapter.name, created, adapter.path, parent, None))
    return msgspec.json.encode({"object": "list", "data": data})


def _card(
    name: str, created: int, root: str, parent: str | None, max_model_len: int | None
) -> dict[str, Any]:
    permission = {
        "id": f"modelperm-{created:016x}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
