"""Trace files as tests write them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import igw

TRACES = Path(igw.__file__).parents[2] / "examples/traces"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes lines (texts, or objects as JSON) to a file and returns its path."""

    def written(*lines: Any, name: str = "trace.jsonl", packed: bool = False) -> Path:
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        return path

    return written


@pytest.fixture
def traces() -> Path:
    """The folder of traces that ships with the project."""
    return TRACES
