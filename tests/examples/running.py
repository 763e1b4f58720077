"""An example as its README shows it: copied, started with `igw up`, its commands run as printed but for the ports."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stack.conftest import FREE, Up

ROOT = Path(__file__).parents[2]
PICKS = "llm_d_epp_scheduler_attempts_total"
IN_FORCE = "the edited files are in force"


class Example:
    """One example that runs, in a folder like the repository's root."""

    def __init__(self, name: str, folder: Path, up: Up, model: str = "") -> None:
        self.name = name
        self._model = model
        self.folder = folder
        self.up = up
        self._picked_before = self._wait_for_picks()

    def code(self, language: str) -> list[str]:
        """Return the code blocks of the README in *language*."""
        readme = (self.folder / "examples" / self.name / "README.md").read_text()
        return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)

    def run(self, command: list[str], code: str) -> str:
        """Return what *code* prints; AssertionError when it fails."""
        here = code.replace("127.0.0.1:8080", self.up.listener).replace("127.0.0.1:9090", self.up.metrics)
        done = subprocess.run(
            [*command, here], capture_output=True, text=True, check=False, timeout=60, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shell(self, code: str) -> str:
        """Return what a block of commands prints, with spaces made one."""
        return " ".join(self.run(["bash", "-euo", "pipefail", "-c"], code).split())

    def python(self, code: str) -> str:
        """Return what a program prints."""
        return self.run([sys.executable, "-c"], code)

    def edit(self, code: str) -> None:
        """Run commands that edit the example, and return once the edit is in force."""
        self.shell(code)
        self.up.out.until(IN_FORCE)

    def picks(self) -> Counter[str]:
        """Return how many requests each server has got since the start, by the server's name."""
        return self.counts(PICKS, "endpoint_name") - self._picked_before

    def _wait_for_picks(self) -> Counter[str]:
        """Ask until the picker is asked: on a busy machine Envoy may take it for dead at first, and pick itself."""
        deadline = time.monotonic() + 30
        while not (picked := self.counts(PICKS, "endpoint_name")):
            assert time.monotonic() < deadline, "the picker is never asked"
            if self._model:
                self.chat(self._model, [{"role": "user", "content": "Hello"}])
                continue
            with urllib.request.urlopen(f"http://{self.up.listener}/v1/models", timeout=10) as answer:
                answer.read()
        return picked

    def counts(self, family: str, label: str) -> Counter[str]:
        """Return a counter of the picker by one label, zero for what was never counted."""
        with urllib.request.urlopen(f"http://{self.up.metrics}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        found = re.findall(rf'^{family}{{[^}}]*\b{label}="([^"]*)"[^}}]*}} (\S+)$', page, re.MULTILINE)
        total: Counter[str] = Counter()
        for value, count in found:
            total[value] += int(float(count))
        return total

    def chat(self, model: str, messages: list[dict[str, str]], **fields: Any) -> tuple[int, bytes]:
        """Return status and body of the answer to a chat, to its end."""
        host, _, port = self.up.listener.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            body = json.dumps({"model": model, "messages": messages, "max_tokens": 4} | fields)
            connection.request(
                "POST", "/v1/chat/completions", body, headers={"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@contextmanager
def running(name: str, folder: Path, model: str = "") -> Iterator[Example]:
    """Run an example on free ports in *folder*, after a look at what its README says about the start.

    *model* is to be asked for where a list of models does not come from a server.
    """
    copy = folder / "examples" / name
    shutil.copytree(ROOT / "examples" / name, copy)
    if (readme := copy / "README.md").exists():
        assert f"    .venv/bin/igw up -f examples/{name}\n" in readme.read_text()
    for file in copy.glob("*.yaml"):
        file.write_text(re.sub(r"\bport: 8080\b", "port: 0", file.read_text()))
    temporary = folder / "work"
    temporary.mkdir()
    up = Up(temporary, "-f", str(copy), *FREE)
    try:
        up.wait_ready()
        yield Example(name, folder, up, model)
    finally:
        up.process.kill()
        up.process.wait()
        for lines in (up.out, up.err):
            lines.rest()


@contextmanager
def under_load(example: Example, model: str, clients: int = 2) -> Iterator[Counter[int]]:
    """Send chats all the time from several clients; gives the count of each status, 0 for no answer at all."""
    seen: Counter[int] = Counter()
    enough = threading.Event()

    def ask(client: int) -> None:
        turn = 0
        while not enough.is_set():
            turn += 1
            try:
                status, _ = example.chat(model, [{"role": "user", "content": f"{client} asks {turn}"}])
            except (OSError, http.client.HTTPException):
                status = 0
            seen[status] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        enough.set()
        for thread in threads:
            thread.join()
