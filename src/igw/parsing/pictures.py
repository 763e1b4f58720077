"""What a picture takes to make: size, number and denoising steps -> `Generation`. Which fields say so is in each API's own file."""

from __future__ import annotations

import re

from igw.request import Generation

DEFAULT_STEPS = 28
"""Of a request that names none: what FLUX.1 [dev] recommends. Others take 4 (distilled) to 50; the learned rate makes up for it."""
DEFAULT_SIZE = (1024, 1024)
"""Pixels, of a request that leaves the size to the model."""
_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX*]\s*(\d{1,5})\s*")
_MEGAPIXEL = 1e6
_MOST = 10_000
"""Of steps and of pictures: more is no work but an error that the model server will name, and must not outweigh all else until then."""


def work(
    size: str | None, steps: int | None, number: int | None, otherwise: tuple[int, int] = DEFAULT_SIZE
) -> Generation:
    """Return the work of *number* pictures of *size* (`1024x1536`) in so many *steps*; what is not said, or below 1, has its default.

    *otherwise*: width and height where *size* is no two numbers (`auto`, `2K`): the model server has the last word on what it takes.
    """
    found = _SIZE.fullmatch(size or "")
    width, height = (int(found[1]), int(found[2])) if found else otherwise
    steps, pictures = min(max(1, steps or DEFAULT_STEPS), _MOST), min(max(1, number or 1), _MOST)
    return Generation("image", width * height / _MEGAPIXEL * steps * pictures)
