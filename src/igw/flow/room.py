"""Whether one more may wait: limits, and that nobody fills them so far that others find no room. What follows from a no is `engine`."""

from __future__ import annotations

_PART = 8
"""A flow may hold up to this many times what is still free (dynamic thresholds, Choudhury and Hahne 1998): one alone 8 of 9 parts, two 8 of 17 each.
Of ten requests or fewer, all."""


def within(taken: int, more: int, most: int | None) -> bool:
    """Return whether *more* beside what is *taken* stays below the limit; None is no limit."""
    return most is None or taken + more <= most


def leaves_room(own: int, taken: int, most: int | None) -> bool:
    """Return whether someone who has *own* of what is *taken* may have more, and still leaves room for those who come later."""
    return most is None or own < _PART * (most - taken) or own == 0
