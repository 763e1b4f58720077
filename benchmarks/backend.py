"""A model server that costs next to nothing: fixed answers, a metrics page, no scheduling. One process, many ports.

Run as `python -m benchmarks.backend COUNT`; prints the ports as one JSON line. `GET /metrics` answers a 5-line page.
A request whose path ends in `/stream` ... is told by its body: `"stream":true` gets 200 chunks, one each 5 ms.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

CHUNKS = 200
INTERVAL_SECONDS = 0.005

_PAGE = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.1
vllm:cache_config_info{block_size="16",num_gpu_blocks="27000"} 1.0
"""
_ANSWER = json.dumps(
    {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}],
     "usage": {"prompt_tokens": 1000, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}}
).encode()  # fmt: skip
_CHUNK = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
_LAST = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":200}}\n\ndata: [DONE]\n\n'


def _whole(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


_METRICS, _WHOLE = _whole(_PAGE, b"text/plain"), _whole(_ANSWER, b"application/json")
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Backend(asyncio.Protocol):
    """One connection: HTTP/1.1 with content-length or chunked requests, as Envoy sends them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take bytes from the other side."""
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:head_end]).lower()
            if b"transfer-encoding: chunked" in head:
                # Only in what is new: a body of 20 MB comes in hundreds of pieces.
                end = self._buffer.find(b"0\r\n\r\n", max(head_end, len(self._buffer) - len(data) - 5))
                if end < 0:
                    return
                size = end + 5 - head_end - 4
            else:
                at = head.find(b"content-length:")
                size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                if len(self._buffer) < head_end + 4 + size:
                    return
            stream = b'"stream":true' in self._buffer[head_end : head_end + 4 + size]
            del self._buffer[: head_end + 4 + size]
            self._answer(head, stream=stream)

    def _answer(self, head: bytes, *, stream: bool) -> None:
        if head.startswith(b"get /metrics"):
            self._transport.write(_METRICS)
        elif stream:
            self._transport.write(_STREAM_HEAD)
            self._send(CHUNKS)
        else:
            self._transport.write(_WHOLE)

    def _send(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if left:
            self._transport.write(_framed(_CHUNK))
            asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._send, left - 1)
        else:
            self._transport.write(_framed(_LAST) + b"0\r\n\r\n")


async def main(count: int) -> None:
    """Listen on *count* free ports until the process is ended."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Backend, "127.0.0.1", 0) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
