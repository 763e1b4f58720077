"""`decode-filter`, `prefill-filter`, `encode-filter`: endpoints by what they do in disaggregated serving (label `llm-d.ai/role`)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.by_endpoint import ByEndpoint

LABEL = "llm-d.ai/role"


class _ByRole(msgspec.Struct, dict=True, forbid_unknown_fields=True):
    roles: ClassVar[frozenset[str]]
    unlabelled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self._fitting = ByEndpoint(self._fits, bool)

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who has such a role."""
        return self._fitting(facts.endpoints)

    def _fits(self, endpoint: Endpoint) -> bool:
        role = endpoint.labels.get(LABEL)
        return self.unlabelled if role is None else role in self.roles


class DecodeFilter(_ByRole):
    """Keeps endpoints that can decode, those without a role among them."""

    type: ClassVar[str] = "decode-filter"
    roles: ClassVar[frozenset[str]] = frozenset({"decode", "prefill-decode", "both", "encode-prefill-decode"})
    unlabelled: ClassVar[bool] = True


class PrefillFilter(_ByRole):
    """Keeps endpoints that can prefill; without a role they are taken for whole servers."""

    type: ClassVar[str] = "prefill-filter"
    roles: ClassVar[frozenset[str]] = frozenset(
        {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"}
    )


class EncodeFilter(_ByRole):
    """Keeps endpoints that can encode media; the role has to say so."""

    type: ClassVar[str] = "encode-filter"
    roles: ClassVar[frozenset[str]] = frozenset({"encode", "encode-prefill", "encode-prefill-decode"})


_: tuple[type[Filter], ...] = (DecodeFilter, PrefillFilter, EncodeFilter)
