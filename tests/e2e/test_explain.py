"""What a picker says of requests that went another way than it chose, through the real Envoy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.e2e.harness import stack


async def test_a_retry_is_told_with_who_served_in_the_end(tmp_path: Path) -> None:
    """A server dies; requests that were sent there before anybody knew are served by the other, and the explanation says so."""
    async with stack(tmp_path) as running:
        running.servers[0].kill()
        await running.servers[0].ended()

        async def sent(number: int) -> str:
            async with running.chat(f"{number} " * 200) as answer:
                await answer.read()
                assert answer.status == 200
                return str(answer.headers["x-request-id"])

        ids = await asyncio.gather(*(sent(number) for number in range(8)))

        async def told(name: str) -> Any:
            url = f"http://{running.picker_addresses['metrics']}/debug/decisions/{name}"
            async with running.http.get(url) as answer:
                return await answer.json()

        async def all_ended() -> bool:
            return all([(await told(name))["actual"] is not None for name in ids])

        await running.until(all_ended)
        found = [await told(name) for name in ids]
        retried = [each for each in found if each["endpoint"] == f"127.0.0.1:{running.ports[0]}"]
        assert retried
        for each in retried:
            assert each["actual"]["served_by"] == f"127.0.0.1:{running.ports[1]}"
            assert "s1 served it in the end, because s0 did not take it" in each["sentence"]


async def test_a_refusal_is_told_with_the_filter_that_left_nobody(tmp_path: Path) -> None:
    """By the id that the client has got with its 429."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- {type: decode-filter}\n"
        "- {type: label-selector-filter, name: gold-only, parameters: {matchLabels: {tier: gold}}}\n- {type: max-score-picker}\n"
        "schedulingProfiles:\n- name: default\n  plugins: [{pluginRef: gold-only}, {pluginRef: max-score-picker}]\n"
    )
    async with stack(tmp_path, picker_flags=("--config-file", str(config))) as running:
        async with running.chat() as answer:
            assert answer.status == 429
            name = answer.headers["x-request-id"]
        url = f"http://{running.picker_addresses['metrics']}/debug/decisions/{name}"
        async with running.http.get(url) as said:
            found = await said.json()
        assert found["sentence"].startswith("Nowhere, 429 ResourceExhausted")
        assert [(each["by"], each["count"]) for each in found["left_out"]] == [("gold-only", 2)]
        assert "gold" in found["left_out"][0]["why"]
