"""What the pages on installing say, taken apart: blocks of commands, and YAML, with that of `examples/kubernetes`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "docs/install.md", *sorted((ROOT / "docs/gateways").glob("*.md")))
EXAMPLES = sorted((ROOT / "examples/kubernetes").rglob("*.yaml"))
VALUES = ROOT / "examples/kubernetes/llama.yaml"
IN_CLUSTER = "# in your cluster\n"
"""How a block begins that cannot run here."""


def blocks(page: Path, *languages: str) -> list[str]:
    """Return the blocks of *page* in one of *languages*."""
    return re.findall(
        rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )


def commands(page: Path) -> Iterator[list[str]]:
    """Yield every command of the blocks that need a cluster, as words; those of a pipe one by one."""
    for block in blocks(page, "sh", "bash", "shell"):
        if block.startswith(IN_CLUSTER):
            for line in block.removeprefix(IN_CLUSTER).replace("\\\n", " ").splitlines():
                words = shlex.split(line.removesuffix(" &"))
                while words:
                    end = words.index("|") if "|" in words else len(words)
                    yield words[:end]
                    words = words[end + 1 :]


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the pages and the examples, with where it is written."""
    written = [(path, path.read_text()) for path in EXAMPLES if path != VALUES]
    written += [(page, block) for page in PAGES for block in blocks(page, "yaml")]
    for path, text in written:
        for document in yaml.safe_load_all(text):
            yield str(path.relative_to(ROOT)), document
