"""What is read from answers and written into them, on both ways that an answer can take: within Envoy, and through the picker."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from igw.config.manifests import load
from tests.e2e.harness import Stack, stack
from tests.e2e.test_full_duplex import foreign
from tests.e2e.test_rewrites import rewrite

SERVER = ("--speed", "20", "--served-model-name", "llama")
PROMPT = "hello " * 200
MESSAGES = [{"role": "user", "content": PROMPT}]
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
ASKED: dict[str, tuple[str, dict[str, Any], int]] = {
    "chat": ("chat/completions", {"messages": MESSAGES, "max_tokens": 8}, 8),
    "chat stream": ("chat/completions", {"messages": MESSAGES, "max_tokens": 8, **STREAM}, 8),
    "completion stream": ("completions", {"prompt": PROMPT, "max_tokens": 8, **STREAM}, 8),
    "responses": ("responses", {"input": PROMPT, "max_output_tokens": 8}, 8),
    "responses stream": ("responses", {"input": PROMPT, "max_output_tokens": 8, "stream": True}, 8),
    "messages": ("messages", {"messages": MESSAGES, "max_tokens": 8}, 8),
    "messages stream": ("messages", {"messages": MESSAGES, "max_tokens": 8, "stream": True}, 8),
    "embeddings": ("embeddings", {"input": PROMPT}, 0),
}


def running_stack(way: str, folder: Path) -> AbstractAsyncContextManager[Stack]:
    """Return a stack whose answers stay in Envoy, or pass through the picker."""
    return foreign(folder, 1, *SERVER) if way == "full" else stack(folder, 1, server_flags=SERVER)


async def ask(running: Stack, path: str, fields: dict[str, Any], model: str = "llama") -> bytes:
    """Return the body of the answer to one request."""
    async with running.http.post(f"{running.url}/v1/{path}", json={"model": model, **fields}) as response:
        assert 200 == response.status, await response.text()
        return await response.read()


@pytest.mark.parametrize("way", ["lean", "full"])
async def test_tokens_are_counted_for_every_api(tmp_path: Path, way: str) -> None:
    """Whole or streamed; each answer counts once, with the prompt's tokens and those of the output."""
    async with running_stack(way, tmp_path) as running:
        for number, (path, fields, output) in enumerate(ASKED.values(), 1):
            before = await running.metric("llm_d_epp_request_output_tokens_sum")
            prompts = await running.metric("llm_d_epp_request_input_tokens_sum")
            await ask(running, path, fields)
            await running.becomes("llm_d_epp_request_input_tokens_count", number)
            assert output == await running.metric("llm_d_epp_request_output_tokens_sum") - before
            assert 200 < await running.metric("llm_d_epp_request_input_tokens_sum") - prompts < 400
        await running.becomes("igw_reservations_open", 0)


def models(answer: bytes) -> set[str]:
    """Return every model that an answer names, whole or event by event."""
    if answer.startswith(b"{"):
        return {json.loads(answer)["model"]}
    events = [json.loads(line[5:]) for line in answer.splitlines() if line.startswith(b"data: {")]
    said = [event.get("response") or event.get("message") or event for event in events]
    return {each["model"] for each in said if "model" in each}


@pytest.mark.parametrize("way", ["lean", "full"])
async def test_every_api_answers_in_the_name_that_was_asked_for(tmp_path: Path, way: str) -> None:
    """Through our own Envoy and another's; the model server's name appears nowhere."""
    async with running_stack(way, tmp_path) as running:
        documents = [*running.documents(running.ports), rewrite({"llama": 1})]
        running.file.write_text(yaml.safe_dump_all(documents))
        if way == "lean":
            await running.gateway.update(load([running.file]))
        await running.becomes("igw_config_reloads_total", 1)
        for path, fields, _ in ASKED.values():
            answer = await ask(running, path, fields, model="front")
            assert models(answer) == {"front"}
            assert b'"llama"' not in answer
        await running.becomes("llm_d_epp_request_input_tokens_count", len(ASKED))
        await running.becomes("igw_reservations_open", 0)
