"""What vLLM answered, and how a form is compared with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ANSWERS: dict[str, Any] = json.loads((Path(__file__).parent / "data/vllm-0.32.0.json").read_text())
"""Bodies by the name of the request."""


def form(value: Any) -> Any:
    """The keys in order and the types of a JSON value; of a list, those of its first item."""
    if isinstance(value, dict):
        return [(key, form(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [form(each) for each in value[:1]]
    return type(value).__name__
