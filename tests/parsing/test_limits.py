"""Depth and keys of JSON: exact, whatever strings hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.parsing.limits import Limits, check
from igw.parsing.reading import read
from igw.parsing.registry import PARSERS, Apis
from tests.parsing.samples import CHAT, asked, head

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}:"\\ax', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='":[a\\', max_size=3), inner)
    ),
    max_leaves=20,
)


def depth(value: Any) -> int:
    """Return how many arrays and objects are in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def keys(value: Any) -> int:
    """Return the keys of all objects."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return (len(value) if isinstance(value, dict) else 0) + sum(map(keys, inner))


@given(values)
def test_a_body_may_be_exactly_as_deep_and_as_wide_as_the_limit(value: Any) -> None:
    """Law: brackets and colons in strings do not count."""
    text = json.dumps(value).encode()
    check(text, Limits(depth=max(1, depth(value)), keys=max(1, keys(value))))
    if depth(value) > 1:
        with pytest.raises(BadRequest, match=f"deeper than {depth(value) - 1} levels"):
            check(text, Limits(depth=depth(value) - 1))
    if keys(value) > 1:
        with pytest.raises(BadRequest, match=f"more than {keys(value) - 1} keys"):
            check(text, Limits(keys=keys(value) - 1))


@given(st.binary(max_size=300) | st.text(alphabet='[]{}:"\\', max_size=300).map(str.encode))
def test_no_bytes_make_it_fall_over(text: bytes) -> None:
    """What is no JSON is refused by the decoder, or here."""
    try:
        check(text, Limits(depth=2, keys=2))
    except BadRequest as refused:
        assert refused.status == 400


def test_a_long_body_is_looked_at_in_parts() -> None:
    """What is open at the end of one goes on in the next."""
    wide = b"[" + b'["' * 1 + b"[" * (1 << 20) + b'"]' + b",[[]]]"
    check(wide, Limits(depth=3))
    with pytest.raises(BadRequest, match="deeper than 2 levels"):
        check(wide, Limits(depth=2))


def test_limits_hold_for_requests() -> None:
    """Of the APIs that a picker is set up with."""
    apis = Apis(PARSERS.values(), Limits(depth=4, keys=5, media=2))
    message = {"role": "user", "content": "hi"}
    assert asked(CHAT, apis, model="m", messages=[message]).model == "m"
    with pytest.raises(BadRequest, match="deeper than 4 levels"):
        asked(CHAT, apis, model="m", messages=[message], x=[[[[1]]]])
    with pytest.raises(BadRequest, match="more than 5 keys"):
        asked(CHAT, apis, model="m", messages=[message, message])
    images = [{"content": [{"image_url": f"http://x/{n}"} for n in range(3)]}]
    with pytest.raises(BadRequest, match="more than 2 images"):
        asked(CHAT, Apis(limits=Limits(media=2)), model="m", messages=images)
    assert len(asked(CHAT, Apis(limits=Limits(media=3)), model="m", messages=images).media) == 3


def test_by_default_the_decoder_ends_it() -> None:
    """Nearly a thousand levels, and never a crash."""
    body = b'{"model":"m","messages":[1],"x":%s}'
    assert read(head(), body % (b"[" * 500 + b"]" * 500)).model == "m"
    with pytest.raises(BadRequest, match="nested too deeply"):
        read(head(), body % (b"[" * 5000 + b"]" * 5000))
