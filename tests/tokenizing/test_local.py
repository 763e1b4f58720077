"""Tokens by a model's own files: as a real engine makes them, which model a request means, threads, and what cannot be used."""

from __future__ import annotations

import asyncio
import json
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.parsing.reading import read
from igw.prefix.chain import Prompt, packed
from igw.request import Head, Request
from igw.scheduling.producers.token import LocalTokenizers
from igw.tokenizing.local import LocalModels, Model
from tests.tokenizing import models

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "hello world"}]}


def request(path: str = CHAT, model: str = "tiny-llama", **body: Any) -> Request:
    """Return a request as the picker reads it."""
    return read(Head(path, "POST", {}), json.dumps({"model": model, **body}).encode())


def made(settings: LocalTokenizers, default: str = "") -> LocalModels:
    return LocalModels(settings, default)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded model."""
    return models.folder(tmp_path_factory.mktemp("models") / "tiny-llama")


async def tokens(of: LocalModels, asked: Request) -> list[int] | None:
    prompt = await of.tokens(asked)
    return array("I", prompt.tokens).tolist() if prompt is not None else None


async def test_prompts_have_the_tokens_that_vllm_made_of_them(folder: Path) -> None:
    """Recorded of vLLM 0.32 with this tokenizer and template: /tokenize and the render endpoints."""
    local = made(LocalTokenizers({"tiny-llama": str(folder)}))
    try:
        assert await tokens(local, request(**HELLO)) == [1, 4, 78, 363, 491, 266, 877, 6, 5]
        assert await tokens(local, request(COMPLETION, prompt="hello world")) == [78, 363, 491, 266, 877]
        assert await tokens(local, request(COMPLETION, prompt=["hello world", "zzz"])) == [
            78,
            363,
            491,
            266,
            877,
        ]
        assert await tokens(local, request(COMPLETION, prompt="foo")) == [76, 85, 85]
    finally:
        local.close()


async def test_salt_and_adapter_come_along(folder: Path) -> None:
    """One model's tokenizer serves all names, which are its adapters'."""
    local = made(LocalTokenizers({"tiny-llama": str(folder / "tokenizer.json")}))
    try:
        prompt = await local.tokens(request(model="lora-a", cache_salt="pepper", **HELLO))
        assert prompt == Prompt(packed([1, 4, 78, 363, 491, 266, 877, 6, 5]), salt="pepper")
    finally:
        local.close()


async def test_of_several_models_the_request_says_which(folder: Path, tmp_path: Path) -> None:
    """Others have the one that is named, if one is."""
    other = models.folder(tmp_path / "other", "{{ bos_token }}")
    both = {"tiny-llama": str(folder), "other": str(other)}
    for default, wanted in (("", None), ("other", [1])):
        local = made(LocalTokenizers(both), default)
        try:
            assert await tokens(local, request(model="other", **HELLO)) == [1]
            assert await tokens(local, request(model="lora-a", **HELLO)) == wanted
        finally:
            local.close()


async def test_models_are_found_in_a_folder(folder: Path, tmp_path: Path) -> None:
    """By their paths there, or by their names in Hugging Face's cache."""
    models.folder(tmp_path / "meta" / "llama", "{{ eos_token }}")
    models.folder(tmp_path / "models--qwen--Qwen3-8B" / "snapshots" / "abc", "{{ bos_token }}")
    local = made(LocalTokenizers({"mine": str(folder)}, auto_discovery_dir=str(tmp_path)))
    try:
        assert await tokens(local, request(model="meta/llama", **HELLO)) == [2]
        assert await tokens(local, request(model="qwen/Qwen3-8B", **HELLO)) == [1]
        assert len(await tokens(local, request(model="mine", **HELLO)) or ()) == 9
        assert await tokens(local, request(model="nobody", **HELLO)) is None
    finally:
        local.close()


async def test_templates_come_from_files_or_the_configuration(tmp_path: Path) -> None:
    """A file's before the configuration's; one for tools where there are tools."""
    path = models.folder(tmp_path / "m", None)
    tools = [{"type": "function", "function": {"name": "f"}}]
    named = [
        {"name": "default", "template": "{{ bos_token }}"},
        {"name": "tool_use", "template": "{{ eos_token }}"},
    ]

    def check(plain: list[int] | None, with_tools: list[int] | None) -> None:
        model = Model(path / "tokenizer.json", 0)
        for asked, wanted in ((request(**HELLO), plain), (request(tools=tools, **HELLO), with_tools)):
            found = model.tokens(asked)
            assert (array("I", found).tolist() if found is not None else None) == wanted

    check(None, None)
    models.folder(path, named)  # type: ignore[arg-type]
    check([1], [2])
    (path / "chat_template.jinja").write_text("<|user|>")
    check([4], [4])
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "tool_use.jinja").write_text("<|system|>")
    check([4], [3])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]}),
        (CHAT, {"messages": [{"role": "assistant", "content": "so"}], "continue_final_message": True}),
        (CHAT, {"messages": [{"role": "user", "content": "x"}], "chat_template": "{{ bos_token }}"}),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [7]}]}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}]}),
    ],
)  # fmt: skip
async def test_what_only_the_engine_can_render_has_no_tokens(
    folder: Path, path: str, body: dict[str, Any]
) -> None:
    """Such requests are placed by the approximate index."""
    local = made(LocalTokenizers({"tiny-llama": str(folder)}))
    try:
        assert await local.tokens(request(path, **body)) is None
        assert await tokens(local, request(**HELLO)) is not None
    finally:
        local.close()


async def test_who_gives_up_waiting_keeps_its_thread_until_it_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So work cannot pile up: those beyond a bound go without tokens at once."""
    going_on, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    inner = Model.tokens

    def slow(model: Model, asked: Request) -> bytes | None:
        loop.call_soon_threadsafe(begun.set)
        assert going_on.wait(30)
        return inner(model, asked)

    monkeypatch.setattr(Model, "tokens", slow)
    monkeypatch.setattr("igw.tokenizing.local._MOST_WAITING", 1)
    local = made(LocalTokenizers({"tiny-llama": str(folder)}, workers_count=1))
    try:
        waiting = asyncio.create_task(local.tokens(request(**HELLO)))
        await begun.wait()
        waiting.cancel()
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError)
        assert await local.tokens(request(**HELLO)) is None
        done = asyncio.Event()
        local._threads.submit(lambda: loop.call_soon_threadsafe(done.set))
        going_on.set()
        await done.wait()
        assert await local.tokens(request(**HELLO)) is not None
    finally:
        going_on.set()
        local.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "names no model"),
        ({"model_tokenizer_map": {"m": "nowhere"}}, "there is no nowhere"),
        ({"auto_discovery_dir": "nowhere"}, "there is no folder nowhere"),
        ({"model_tokenizer_map": {"m": "broken"}}, "is no tokenizer"),
        ({"model_tokenizer_map": {"m": "bad-config"}}, "tokenizer_config.json: cannot be read"),
        ({"model_tokenizer_map": {"m": "bad-template"}}, "bad-template: its chat template cannot be used"),
        ({"model_tokenizer_map": {"m": "good"}}, "modelName 'x' has no tokenizer (there are m)"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], said: str
) -> None:
    """With the place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    models.folder(tmp_path / "good")
    (models.folder(tmp_path / "bad-config") / "tokenizer_config.json").write_text("{")
    models.folder(tmp_path / "bad-template", "{% for %}")
    with pytest.raises(ConfigError) as error:
        made(LocalTokenizers(**settings), "x" if "good" in str(settings) else "")
    assert said in str(error.value)
