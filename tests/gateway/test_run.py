"""Whole paths through a real Envoy: manifests in, requests through."""

from __future__ import annotations

from typing import Any


async def test_a_request_goes_where_the_picker_says(serve: Any, picker: Any, manifests: Any, gateway: Any,
                                                   wire: Any) -> None:
    """The pick's endpoint answers and gets the picker's headers."""
    one, two = await serve(), await serve()
    client = await gateway(manifests({"chat": [one.address, two.address]}))
    for server in (one, two, one):
        picker.decide = lambda _asked, to=server.address: wire.Pick(to, {"x-prefiller-host-port": "10.0.0.1:8000"})
        status, _, answer = await client.ask()
        assert status == 200
        assert answer["server"] == server.address
        assert answer["headers"]["x-prefiller-host-port"] == "10.0.0.1:8000"
        assert answer["headers"]["content-length"] == "14"
    assert picker.asked[0].body == b'{"model": "m"}'
    assert picker.asked[0].metadata["x-igw-pool"] == "default/chat"
    assert picker.asked[0].metadata["x-igw-mode"] == "lean"
    log = await picker.logs.get()
    print(log)
