"""What can be made to go wrong on a running server, for tests of whoever is in front of it.

Set by `POST /igw/faults`; a body replaces all faults, so `{}` ends them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The faults of one server.

    `unready`: `/health` and the API answer 503. `abort_after_tokens`: an answer's connection closes after that many
    tokens, in its midst; every answer, or with `once` only the next. `delay_seconds`: extra wait before an answer
    starts, not shortened by the server's speed.
    """

    unready: bool = False
    abort_after_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    once: bool = False
    delay_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
