"""`header-profile-handler` by table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from igw.errors import NobodyLeft
from igw.scheduling.handlers.header_profile import HeaderProfileHandler
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.profile import Profile
from igw.scheduling.scheduler import Scheduler
from tests.scheduling.candidates import facts, plugin, request


def run(profiles: Sequence[str], headers: dict[str, str], **parameters: Any) -> list[str]:
    """Return the profiles that were run."""
    handler = plugin(HeaderProfileHandler, **parameters)
    scheduler = Scheduler({name: Profile((), MaxScorePicker()) for name in profiles}, handler)
    return list(scheduler.pick(request(headers), facts(1)).profiles)


@pytest.mark.parametrize(
    ("headers", "parameters", "name"),
    [
        ({}, {}, "decode"),
        ({"epp-profile": "prefill"}, {}, "prefill"),
        ({"epp-profile": " prefill "}, {}, "prefill"),
        ({"epp-profile": ""}, {}, "decode"),
        ({}, {"defaultProfile": "prefill"}, "prefill"),
        ({"x-way": "prefill", "epp-profile": "decode"}, {"headerName": "X-Way"}, "prefill"),
    ],
)
def test_the_header_names_the_profile(headers: dict[str, str], parameters: dict[str, Any], name: str) -> None:
    """Trimmed; without it the default."""
    assert run(("decode", "prefill"), headers, **parameters) == [name]


def test_the_only_profile_is_always_run() -> None:
    """Whatever the header says."""
    assert run(("only",), {"epp-profile": "other"}) == ["only"]


def test_a_name_that_no_profile_has_is_a_429() -> None:
    """And the answer says which."""
    with pytest.raises(NobodyLeft, match="no scheduling profile `other`"):
        run(("decode", "prefill"), {"epp-profile": "other"})
