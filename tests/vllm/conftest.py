"""Two real vLLM servers on the CPU, with a tiny model each, for the tests of this folder. `make test-vllm` installs what they need."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stack.conftest import ROOT, foreign, free_port
from tests.vllm.model import ADAPTERS, NAME, make

ENVIRONMENT = ROOT / "build" / "vllm"
BLOCK_TOKENS, BLOCKS = 32, 512
START_SECONDS = 240.0
"""30 s on an idle machine, of which most is imports."""
_SETTINGS = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_HOST_IP": "127.0.0.1", "VLLM_PLUGINS": "",
    "VLLM_SERVER_DEV_MODE": "1",  # `/reset_prefix_cache`
    "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
}  # fmt: skip


class Server:
    """Where one of them is."""

    def __init__(self) -> None:
        self.port, self.events_port, self.replay_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.hostport = f"127.0.0.1:{self.port}"

    def command(self, models: Path) -> list[str]:
        """Return what starts it."""
        events = {
            "enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{self.events_port}",
            "replay_endpoint": f"tcp://127.0.0.1:{self.replay_port}",
        }  # fmt: skip
        return [
            # Not `vllm serve`: the command asks for the version of a package `vllm`, and this one is `vllm-cpu`.
            str(ENVIRONMENT / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server",
            "--model", str(models / NAME), "--served-model-name", NAME, "--load-format", "dummy", "--dtype", "bfloat16",
            "--host", "127.0.0.1", "--port", str(self.port), "--max-model-len", "8192", "--max-num-seqs", "16", "--enforce-eager",
            "--block-size", str(BLOCK_TOKENS), "--num-gpu-blocks-override", str(BLOCKS), "--enable-prompt-tokens-details",
            "--enable-lora", "--max-lora-rank", "8", "--max-loras", "2",
            "--lora-modules", *[f"{name}={models / name}" for name in ADAPTERS],
            "--kv-events-config", json.dumps(events),
        ]  # fmt: skip


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Give two servers of one model. They start at the same time: each needs 2 GB, and half a minute of one core."""
    folder = tmp_path_factory.mktemp("vllm")
    make(folder)
    pair = Server(), Server()
    with contextlib.ExitStack() as running:
        starting = [
            foreign(each.command(folder), folder, "Application startup complete", START_SECONDS, **_SETTINGS)
            for each in pair
        ]
        with ThreadPoolExecutor() as both:
            list(both.map(running.enter_context, starting))
        yield pair
