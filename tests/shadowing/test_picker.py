"""A whole picker with a shadow: what its pages say after requests over the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.shadowing.settings import Settings, Shadow
from tests.shadowing.test_shadowing import DEFAULT, ROUND, configuration, looked
from tests.test_house import Stream, chat

POOL = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec: {selector: {matchLabels: {app: llama}}, targetPorts: [{number: 8000}], endpointPickerRef: {name: epp, port: {number: 9002}}}
---
endpoints:
- {name: e1, address: 127.0.0.2, port: 8000, labels: {app: llama}}
- {name: e2, address: 127.0.0.3, port: 8000, labels: {app: llama}}
"""


async def test_the_pages_of_a_picker_tell_of_its_shadows(tmp_path: Path) -> None:
    """The table, and metrics that are there before anything was compared; an edit of the active configuration counts anew."""
    pool = tmp_path / "pool.yaml"
    pool.write_text(POOL)
    config = configuration(tmp_path / "config.yaml", DEFAULT)
    shadow = Shadow("turns", configuration(tmp_path / "turns.yaml", ROUND))
    settings = PickerSettings(
        (pool,),
        config_file=config,
        grpc_port=0,
        health_port=0,
        metrics_port=0,
        shadows=Settings((shadow,), 1.0),
    )
    picker = Picker(settings)
    async with picker.running() as addresses, aiohttp.ClientSession(f"http://{addresses.metrics}") as http:
        assert 'igw_shadow_active{policy="turns"} 1' in await _text(http, "/metrics")
        for _ in range(4):
            stream = Stream(chat())
            await picker.extproc.process(None, stream)
            await looked()
            assert len(stream.replies) == 2
        (row,) = msgspec.json.decode(await _text(http, "/debug/shadow"))["shadows"]
        assert (row["name"], row["decisions"], row["off"]) == ("turns", 4, "")
        assert str(shadow.file) in row["source"]
        page = await _text(http, "/metrics")
        counts = [line for line in page.splitlines() if line.startswith("igw_shadow_decisions_total{")]
        assert sum(float(line.rpartition(" ")[2]) for line in counts) == 4
        known = picker._source.read()
        picker.use(known.manifests, known.pools)
        assert await _decisions(http) == 4
        picker.use(msgspec.structs.replace(known.manifests, picker_config=None), known.pools)
        assert await _decisions(http) == 0


async def _decisions(http: aiohttp.ClientSession) -> int:
    (row,) = msgspec.json.decode(await _text(http, "/debug/shadow"))["shadows"]
    return int(row["decisions"])


async def _text(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        assert response.status == 200
        return await response.text()
