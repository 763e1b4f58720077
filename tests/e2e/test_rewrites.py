"""Rewrites through our own Envoy: what the model server gets, what the client gets, and what an edit does to both."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from igw.config.manifests import load
from tests.e2e.harness import Stack, stack
from tests.e2e.test_full_duplex import foreign


class Recorder:
    """A model server that keeps what it is sent and answers in its model's name."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat request, as a stream if it asks for one."""
        body = await request.read()
        self.bodies.append(body)
        self.headers.append({key.lower(): value for key, value in request.headers.items()})
        if not body.startswith((b"{", b" {")):
            return web.json_response({"text": "words"})
        asked = json.loads(body)
        said = {"model": asked["model"], "choices": [{"message": {"content": f'"model":"{asked["model"]}"'}}]}
        if not asked.get("stream"):
            return web.json_response({**said, "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"data: " + json.dumps(said).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def page(self, _request: web.Request) -> web.Response:
        """Answer what picker and Envoy ask."""
        return web.Response(text="vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Recorder]:
        """Serve on a free port."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/{api:.*}", self.answer)
        app.router.add_get("/health", self.page)
        app.router.add_get("/metrics", self.page)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


def rewrite(targets: dict[str, int], model: str = "front", **metadata: Any) -> dict[str, Any]:
    """Return a rewrite of *model*."""
    listed = [{"modelRewrite": name, "weight": weight} for name, weight in targets.items()]
    return {
        "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceModelRewrite", "metadata": {"name": "rollout", **metadata},
        "spec": {"poolRef": {"name": "p"}, "rules": [{"matches": [{"model": {"value": model}}], "targets": listed}]},
    }  # fmt: skip


async def told(running: Stack, port: int, *extra: dict[str, Any]) -> None:
    """Make the stack's files say this server and these objects, and wait until picker and Envoy have it."""
    reloads = await running.metric("igw_config_reloads_total")
    running.file.write_text(yaml.safe_dump_all([*running.documents([port]), *extra]))
    await running.gateway.update(load([running.file]))
    await running.becomes("igw_config_reloads_total", reloads + 1)
    await running.becomes("llm_d_epp_ready_endpoints", 1)


@contextlib.asynccontextmanager
async def recording(folder: Path, **route_annotations: str) -> AsyncIterator[tuple[Stack, Recorder]]:
    """Run a stack with a recorder as its only model server."""
    annotations = {f"igw.dev/{key.replace('_', '-')}": value for key, value in route_annotations.items()}
    async with Recorder().serving() as server, stack(folder, 0, route_annotations=annotations) as running:
        yield running, server


BODY = b'{ "messages":[ {"role":"user","content":"caf\xc3\xa9 \\u00e9 \\"model\\": \\"front\\""} ],\n "model" : "front", "big": 12345678901234567890 }'


@pytest.mark.parametrize("request_body", ["Buffered", "Streamed"])
async def test_the_name_is_replaced_and_every_other_byte_arrives_as_it_was(
    tmp_path: Path, request_body: str
) -> None:
    """With the right length, in both ways in which bodies travel to the picker; the answer has the client's name."""
    async with recording(tmp_path, request_body=request_body) as (running, server):
        await told(running, server.port, rewrite({"the-target": 1}))
        async with running.http.post(f"{running.url}/v1/chat/completions", data=BODY) as response:
            answer = await response.json()
        assert server.bodies == [BODY.replace(b'"model" : "front"', b'"model" : "the-target"')]
        # Envoy drops the length of a body that it streams, and sends it in chunks.
        length = server.headers[0].get("content-length", "none")
        assert length == {"Buffered": str(len(server.bodies[0])), "Streamed": "none"}[request_body]
        assert answer["model"] == "front"
        assert answer["choices"][0]["message"]["content"] == '"model":"the-target"'
        await running.becomes("igw_reservations_open", 0)
        assert 2 == await running.metric("llm_d_epp_request_output_tokens_sum")
        assert 1 == await running.metric("llm_d_epp_model_rewrite_decisions_total")


async def test_a_form_with_a_name_that_is_rewritten_arrives_whole(tmp_path: Path) -> None:
    """Multipart, with binary content that is nobody's business; a larger body than Envoy keeps for the picker."""
    async with recording(tmp_path) as (running, server):
        await told(running, server.port, rewrite({"whisper-long-name": 1}, model="w"))
        sound = b"RIFF" + bytes(range(256)) * 5000
        body = (
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nw\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
            + sound + b"\r\n--b--\r\n"
        )  # fmt: skip
        headers = {"content-type": "multipart/form-data; boundary=b"}
        url = f"{running.url}/v1/audio/transcriptions"
        async with running.http.post(url, data=io.BytesIO(body), headers=headers) as response:
            assert 200 == response.status
        assert server.bodies == [body.replace(b"\r\n\r\nw\r\n", b"\r\n\r\nwhisper-long-name\r\n")]


async def test_a_streamed_answer_has_the_clients_name_in_every_event(tmp_path: Path) -> None:
    """And the model server's words as they are."""
    async with recording(tmp_path) as (running, server):
        await told(running, server.port, rewrite({"the-target": 1}))
        async with running.chat(model="front", stream=True) as response:
            events = [line[6:] async for line in response.content if line.startswith(b"data: {")]
        assert 3 == len(events)
        for event in map(json.loads, events):
            assert event["model"] == "front"
            assert event["choices"][0]["message"]["content"] == '"model":"the-target"'
        await running.becomes("igw_reservations_open", 0)


async def test_an_edit_moves_the_share_it_must_and_a_rollback_all(tmp_path: Path) -> None:
    """Sticky by a header; the route switches when the first rewrite comes and when the last one goes."""
    async with recording(tmp_path) as (running, server):

        async def sides() -> dict[str, str]:
            found = {}
            for number in range(40):
                body = json.dumps(
                    {"model": "front", "messages": [{"role": "user", "content": "hi"}]}
                ).encode()
                headers = {"x-user": str(number)}
                async with running.http.post(
                    f"{running.url}/v1/chat/completions", data=body, headers=headers
                ) as said:
                    assert (await said.json())["model"] == "front"
                found[str(number)] = json.loads(server.bodies[-1])["model"]
            return found

        sticky = {"igw.dev/sticky-by": "header:x-user"}
        await told(running, server.port)
        assert Counter((await sides()).values()) == {"front": 40}
        await told(running, server.port, rewrite({"v1": 80, "v2": 20}, annotations=sticky))
        before = await sides()
        assert before == await sides()
        assert set(before.values()) == {"v1", "v2"}
        await told(running, server.port, rewrite({"v1": 40, "v2": 60}, annotations=sticky))
        after = await sides()
        assert {"v2"} == {after[user] for user in before if before[user] != after[user]}
        await told(running, server.port)
        assert Counter((await sides()).values()) == {"front": 40}
        await running.becomes("igw_reservations_open", 0)
        assert 0 == await running.metric("igw_reservations_expired_total")


async def test_a_client_that_leaves_a_rewritten_stream_frees_its_reservation(tmp_path: Path) -> None:
    """At once, although the access log tells how answers end."""
    async with stack(tmp_path, 1, server_flags=("--speed", "1", "--served-model-name", "v1")) as running:
        await told(running, running.ports[0], rewrite({"v1": 1}))
        response = await running.chat(model="front", stream=True, max_tokens=4000)
        await response.content.readany()
        response.close()
        await running.becomes("igw_reservations_open", 0, within_seconds=2.0)


async def test_a_rewritten_request_is_tried_on_the_next_server_like_any_other(tmp_path: Path) -> None:
    """Under its new name; the answer is the only one that the picker sees, and every reservation ends."""
    async with recording(tmp_path) as (running, server):
        gone = socket.socket()
        gone.bind(("127.0.0.1", 0))
        dead = gone.getsockname()[1]
        gone.close()
        await told(running, server.port, rewrite({"v1": 1}))
        running.file.write_text(
            yaml.safe_dump_all([*running.documents([server.port, dead]), rewrite({"v1": 1})])
        )
        await running.gateway.update(load([running.file]))
        await running.becomes("igw_config_reloads_total", 2)
        for _ in range(10):
            async with running.chat(model="front") as response:
                assert 200 == response.status
                assert (await response.json())["model"] == "front"
        await running.becomes("igw_reservations_open", 0)
        assert ["v1"] * 10 == [json.loads(body)["model"] for body in server.bodies]


async def test_objectives_and_conditions_reach_the_picker_through_envoy(tmp_path: Path) -> None:
    """The priority is in the metrics, 412 is the client's, and the model server sees no control header."""
    objective = {
        "apiVersion": "llm-d.ai/v1alpha2", "kind": "InferenceObjective", "metadata": {"name": "batch"},
        "spec": {"poolRef": {"name": "p"}, "priority": -1},
    }  # fmt: skip
    async with recording(tmp_path) as (running, server):
        await told(running, server.port, objective)
        running.http.headers["x-llm-d-inference-objective"] = "batch"
        async with running.chat() as response:
            assert 200 == response.status
        assert not {name for name in server.headers[0] if name.startswith("x-llm-d")}
        running.http.headers["prefer"] = "if-available"
        async with running.chat("never seen before " * 100) as response:
            assert 412 == response.status
            assert "rejected-not-cached" == response.headers["x-llm-d-request-dropped-reason"]
            assert "PreconditionFailed" == (await response.json())["error"]["code"]
        async with running.http.get(f"http://{running.picker_addresses['metrics']}/metrics") as page:
            text = await page.text()
        assert re.search(
            r'^llm_d_epp_request_total{.*model_name="llama".*priority="-1".*} 1$', text, re.MULTILINE
        )


async def test_a_gateway_of_others_gets_the_same(tmp_path: Path) -> None:
    """Full duplex both ways; it has no access log for us, so the end of the answer settles."""
    async with foreign(tmp_path, 1, "--speed", "20", "--served-model-name", "v1") as running:
        documents = [*running.documents(running.ports), rewrite({"v1": 1})]
        running.file.write_text(yaml.safe_dump_all(documents))
        await running.becomes("igw_config_reloads_total", 1)
        async with running.chat(model="front") as response:
            assert "front" == (await response.json())["model"]
        async with running.chat(model="front", stream=True) as response:
            events = [json.loads(line[6:]) async for line in response.content if line.startswith(b"data: {")]
        assert {"front"} == {event["model"] for event in events}
        await running.becomes("igw_reservations_open", 0)
