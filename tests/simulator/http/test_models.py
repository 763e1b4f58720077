"""The list of models, and adapters that come and go while the server runs."""

from __future__ import annotations

from typing import Any

from igw.simulator.http.names import LoraModule
from igw.simulator.manifest import SimulatorSpec
from tests.simulator.http.recorded import ANSWERS, form
from tests.simulator.site import HELLO, Site, start


async def text(site: Site, path: str, body: Any) -> tuple[int, str]:
    """Status and body of an answer that is not JSON."""
    async with site.http.post(path, json=body) as response:
        return response.status, await response.text()


async def test_the_list_has_the_form_of_vllm(site: Site) -> None:
    """The model, then its adapters with it as their parent."""
    _, body = await site.get("/v1/models")
    recorded = ANSWERS["models with adapters"]
    assert [form(card) for card in body["data"]] == [form(card) for card in recorded["data"]]
    assert [(card["id"], card["parent"], card["root"]) for card in body["data"]] == [
        ("demo", None, "demo"),
        ("tuned", "demo", "adapters/tuned"),
    ]


async def test_every_served_name_has_a_card_and_answers_carry_the_first() -> None:
    """The model's own name is then not served, as in vLLM."""
    spec = SimulatorSpec(model="org/model", served_model_name=["big", "small"], speed=100)
    async with start(spec) as site:
        _, body = await site.get("/v1/models")
        assert [(card["id"], card["root"]) for card in body["data"]] == [
            ("big", "org/model"),
            ("small", "org/model"),
        ]
        ask = {"messages": HELLO, "max_tokens": 1}
        for name in ("big", "small"):
            _, reply = await site.post("/v1/chat/completions", ask | {"model": name})
            assert reply["model"] == "big"
        status, _ = await site.post("/v1/chat/completions", ask | {"model": "org/model"})
        assert status == 404


async def test_an_adapter_is_served_from_its_loading_to_its_unloading(site: Site) -> None:
    """In vLLM's words."""
    ask = {"model": "lora-a", "messages": HELLO, "max_tokens": 1}
    assert (await site.post("/v1/chat/completions", ask))[0] == 404
    load = {"lora_name": "lora-a", "lora_path": "somewhere"}
    assert await text(site, "/v1/load_lora_adapter", load) == (200, ANSWERS["adapter loaded"])
    assert await site.post("/v1/load_lora_adapter", load) == (400, ANSWERS["adapter loaded again"])
    assert (await site.post("/v1/chat/completions", ask))[1]["model"] == "lora-a"
    assert [model.id for model in (await site.openai.models.list()).data] == ["demo", "tuned", "lora-a"]
    name = {"lora_name": "lora-a"}
    unloaded = ANSWERS["adapter unloaded"].replace("lora-b", "lora-a")
    assert await text(site, "/v1/unload_lora_adapter", name) == (200, unloaded)
    assert (await site.post("/v1/unload_lora_adapter", name))[0] == 404
    assert (await site.post("/v1/chat/completions", ask))[0] == 404


async def test_adapters_of_a_server_that_does_not_allow_it_stay_as_they_are() -> None:
    """The routes are not there, as in vLLM without VLLM_ALLOW_RUNTIME_LORA_UPDATING."""
    spec = SimulatorSpec(
        model="demo", lora_modules=[LoraModule("tuned", "x")], allow_runtime_lora_updating=False
    )
    async with start(spec) as site:
        assert await site.post("/v1/load_lora_adapter", {}) == (404, {"detail": "Not Found"})
        assert [model.id for model in (await site.openai.models.list()).data] == ["demo", "tuned"]
