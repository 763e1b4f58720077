"""`decode-filter`, `prefill-filter` and `encode-filter` by table."""

from __future__ import annotations

from typing import Any

import pytest

from igw.scheduling.filters.role import DecodeFilter, EncodeFilter, PrefillFilter
from tests.scheduling.candidates import endpoints, facts, plugin, request

ROLES = (
    "decode", "prefill", "encode", "prefill-decode", "both", "encode-prefill", "encode-prefill-decode", "butler", "",
)  # fmt: skip
ALL = facts(endpoints(*[{"llm-d.ai/role": role} for role in ROLES], {}))


@pytest.mark.parametrize(
    ("kind", "kept", "without_role"),
    [
        (DecodeFilter, {"decode", "prefill-decode", "both", "encode-prefill-decode"}, True),
        (
            PrefillFilter,
            {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"},
            False,
        ),
        (EncodeFilter, {"encode", "encode-prefill", "encode-prefill-decode"}, False),
    ],
)
def test_an_endpoint_stays_where_its_role_fits(kind: type[Any], kept: set[str], without_role: bool) -> None:
    """An endpoint without the label can decode: it is a whole server. One with a word nobody knows can do nothing."""
    mask = plugin(kind).keep(request(), ALL).tolist()
    assert {role for role, keep in zip(ROLES, mask, strict=False) if keep} == kept
    assert mask[-1] is without_role
