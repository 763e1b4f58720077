"""What an accelerator can do at best, from datasheets or from a user's file.

What a model needs of it is in `models`; what becomes of both is in `roofline`.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import yaml

SUFFIXES = (".yaml", ".yml", ".json")
"""A name with one of these is the path of a file."""

_Quantity = Annotated[float, msgspec.Meta(gt=0)]
_T = TypeVar("_T")


class Accelerator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One device's datasheet: memory in bytes, bytes/s to that memory, dense bf16 FLOP/s, bytes/s to its neighbours.

    `link_bytes_per_second` counts both directions, as vendors do. `source` says where the figures are from.
    """

    memory_bytes: _Quantity
    memory_bytes_per_second: _Quantity
    bf16_flops_per_second: _Quantity
    link_bytes_per_second: _Quantity
    source: str = ""

    @property
    def balance_tokens(self) -> float:
        """Tokens in a step beyond which its bf16 matrix work is bound by compute and no longer by reading weights."""
        return self.bf16_flops_per_second / self.memory_bytes_per_second

    @classmethod
    def load(cls, name: str) -> Accelerator:
        """Return a known accelerator, or the one described by the file *name*; ValueError naming the known ones."""
        if name.endswith(SUFFIXES):
            return from_file(Path(name), cls)
        known = accelerators()
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f" did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"no accelerator {name!r};{hint} known: {', '.join(known)}, or a file that ends in .yaml"
            )
        return known[name]


@cache
def accelerators() -> dict[str, Accelerator]:
    """Return those that come with the package, by name."""
    path = files("igw.simulator.hardware") / "data" / "accelerators.yaml"
    return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), dict[str, Accelerator])


def from_file(path: Path, kind: type[_T]) -> _T:
    """Read one value from YAML or JSON; ValueError saying what is wrong with the file."""
    try:
        # Not strict, because YAML takes 3.35e12 for a string.
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), kind, strict=False)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error
