"""What clients get when a part fails: a model server, the picker, a file. Through the real Envoy, by killing real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import aiohttp

from igw.config.manifests import load
from tests.e2e.harness import Stack, stack


async def statuses(running: Stack, count: int) -> list[int]:
    """Return the statuses of *count* chats, one after another."""
    seen = []
    for number in range(count):
        async with running.chat(f"{number}") as response:
            await response.read()
            seen.append(response.status)
    return seen


async def test_a_server_that_dies_mid_answer_breaks_that_answer_only(tmp_path: Path) -> None:
    """The client sees the stream break, the reservation ends, and the next requests go elsewhere."""
    async with stack(tmp_path, servers=2, server_flags=("--speed", "1")) as running:
        async with running.chat(stream=True, max_tokens=4000) as response:
            await response.content.readany()
            loads = [await busy(running, index) for index in (0, 1)]
            running.servers[loads.index(max(loads))].kill()
            rest = b""
            with contextlib.suppress(
                aiohttp.ClientError
            ):  # how a cut stream ends depends on where it was cut
                rest = await response.read()
            assert b"[DONE]" not in rest
        await running.becomes("igw_reservations_open", 0)
        assert [200] * 6 == await statuses(running, 6)


async def busy(running: Stack, index: int) -> float:
    """Return how many requests run at a server."""
    async with running.http.get(f"http://127.0.0.1:{running.ports[index]}/metrics") as page:
        text = await page.text()
    return float(text.split("vllm:num_requests_running{", 1)[1].split("} ", 1)[1].split("\n", 1)[0])


async def test_a_server_that_refuses_connections_costs_no_client_anything(tmp_path: Path) -> None:
    """Envoy retries on the second of the pick's list, the outcome teaches the picker, and it picks others."""
    async with stack(tmp_path, servers=3) as running:
        running.servers[0].kill()
        await running.servers[0].ended()
        assert [200] * 12 == await statuses(running, 12)
        await running.becomes("llm_d_epp_ready_endpoints", 2)
        await running.becomes("igw_reservations_open", 0)


async def test_with_fail_open_requests_go_on_at_once_when_the_picker_is_killed_and_back_when_it_returns(
    tmp_path: Path,
) -> None:
    """POSTs with a body too; nobody waits for a timeout."""
    async with stack(tmp_path, servers=2) as running:
        assert [200] == await statuses(running, 1)
        running.picker.kill()
        await running.picker.ended()
        async with asyncio.timeout(5):
            assert [200] * 8 == await statuses(running, 8)
        await running.start_picker()

        async def picks_again() -> bool:
            await statuses(running, 1)
            return await running.metric("llm_d_epp_request_total") > 0

        await running.until(picks_again)


async def test_with_fail_open_a_hung_picker_holds_requests_only_until_its_health_check_fails(
    tmp_path: Path,
) -> None:
    """A stopped process accepts connections and says nothing: the peer's clients wait 12 s or for ever."""
    async with stack(tmp_path, servers=2) as running:
        assert [200] == await statuses(running, 1)
        os.kill(running.picker.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(8):
                assert [200] * 4 == await statuses(running, 4)
        finally:
            os.kill(running.picker.pid, signal.SIGCONT)

        async def picks_again() -> bool:
            before = await running.metric("llm_d_epp_request_total")
            await statuses(running, 1)
            return await running.metric("llm_d_epp_request_total") > before

        await running.until(picks_again)


async def test_with_fail_close_requests_get_503_as_json_while_the_picker_is_away(tmp_path: Path) -> None:
    """Killed or hung; with reason and retry-after, and served again when it is back."""
    async with stack(tmp_path, servers=1, failure_mode="FailClose") as running:
        assert [200] == await statuses(running, 1)
        os.kill(running.picker.pid, signal.SIGSTOP)
        async with asyncio.timeout(8), running.chat() as response:
            assert 503 == response.status
        running.picker.kill()
        await running.picker.ended()
        async with asyncio.timeout(5), running.chat() as response:
            assert (503, "1", "rejected-picker-unavailable") == (
                response.status, response.headers["retry-after"], response.headers["x-llm-d-request-dropped-reason"],
            )  # fmt: skip
            assert (await response.json())["error"]["message"]
        await running.start_picker()

        async def serves_again() -> bool:
            return await statuses(running, 1) == [200]

        await running.until(serves_again)


async def test_an_edit_of_endpoints_takes_effect_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    """In the picker without a restart; the refusal says file, place and reason."""
    async with stack(tmp_path, servers=2) as running:
        running.write(running.ports[:1])
        await running.becomes("llm_d_epp_ready_endpoints", 1)
        await running.gateway.update(load([running.file]))
        assert [200] * 4 == await statuses(running, 4)
        good = running.file.read_text()
        running.file.write_text(good.replace("selector:", "selektor:"))

        async def refused() -> bool:
            # The counter may be read before the line has come through the pipe.
            logged = any("edit_refused" in line for line in running.picker_log)
            return logged and await running.metric("igw_config_reloads_total") == 2

        await running.until(refused)
        (line,) = [line for line in running.picker_log if "edit_refused" in line]
        assert "stack.yaml" in line
        assert "selektor" in line
        assert [200] == await statuses(running, 1)
        running.write(running.ports)
        await running.becomes("llm_d_epp_ready_endpoints", 2)


async def test_a_server_that_answers_with_errors_is_ejected(tmp_path: Path) -> None:
    """Its metrics page is fine, and as it does no work it looks idle: only the ends of requests tell."""
    async with stack(tmp_path, servers=2) as running:
        await running.faults(0, rules=[{"fault": "error", "status": 500}])

        async def ejected() -> bool:
            await statuses(running, 1)
            logged = any("endpoint_ejected" in line and "5xx" in line for line in running.picker_log)
            return logged and await running.metric("igw_endpoints_ejected") == 1

        await running.until(ejected, within_seconds=30)
        assert [200] * 20 == await statuses(running, 20)
        assert await running.metric("igw_endpoint_ejections_total") == 1


async def test_a_picker_that_is_asked_to_stop_lets_answers_end(tmp_path: Path) -> None:
    """SIGTERM to the picker does not touch answers that flow through Envoy."""
    async with stack(tmp_path, servers=1, server_flags=("--speed", "2")) as running:
        async with running.chat(stream=True, max_tokens=300) as response:
            await response.content.readany()
            await running.picker.stop()
            assert b"[DONE]" in await response.read()
