"""Long base64 strings: found whatever the cuts, hashed as they stand, and everything else left as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from igw.parsing.long_strings import LONG_BYTES, Arriving, LongStrings, Run, shortened

LONG = "QUJD" * (LONG_BYTES // 4)

strings = st.one_of(
    st.sampled_from([
        LONG, LONG + "D", LONG[:-1], "data:image/png;base64," + LONG, "data:,", "x y " * LONG_BYTES, LONG + '"' + LONG,
        "\\" + LONG, LONG + "\\", "/" * LONG_BYTES, "é" + LONG, "",
    ]),
    st.text(max_size=20),
)  # fmt: skip
bodies = st.lists(strings, max_size=6).map(lambda found: json.dumps({"a": found}).encode())


def runs_of(body: bytes) -> list[Run]:
    """Return what is found in *body* at once."""
    found = LongStrings()
    found.feed(body)
    return found.runs


@given(bodies)
@settings(deadline=None)
def test_a_long_string_is_found_with_its_hash(body: bytes) -> None:
    """Law: each stands between quotes, is long, and has the hash of what is there."""
    for run in runs_of(body):
        content = body[run.start : run.end]
        assert body[run.end] == ord('"')
        assert len(content) > LONG_BYTES - 200
        assert run.digest == xxh3_128_hexdigest(content)
        assert b'"' not in content


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (LONG, LONG),
        ("data:image/png;base64," + LONG, LONG),
        (LONG[:-4], None),
        ("word " * LONG_BYTES, None),
        ("é" * LONG_BYTES, None),
        (LONG + '" said he', None),
        ('"' + LONG, None),
    ],
)
def test_only_base64_between_its_own_quotes_counts(value: str, content: str | None) -> None:
    """Texts are prompts, and what stands between escaped quotes is part of one."""
    body = json.dumps({"a": value}).encode()
    assert [body[run.start : run.end].decode() for run in runs_of(body)] == ([content] if content else [])


def test_php_escapes_slashes() -> None:
    """A JPEG begins with one."""
    body = b'{"a":"' + b"\\/9j\\/" + LONG.encode() + b'"}'
    assert len(runs_of(body)) == 1


@given(bodies, st.data())
@settings(deadline=None, max_examples=50)
def test_cuts_do_not_matter(body: bytes, data: st.DataObject) -> None:
    """Law: a body in pieces has the strings of the whole one, and its bytes."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), min_size=1, max_size=6)))
    arriving = Arriving(body[: cuts[0]])
    for start, end in zip(cuts, [*cuts[1:], len(body)], strict=True):
        arriving.add(body[start:end])
    assert bytes(arriving) == body
    assert arriving.runs == runs_of(body)


@given(bodies)
@settings(deadline=None)
def test_what_is_put_aside_can_be_put_back(body: bytes) -> None:
    """Law: the text with its strings back is the body, and slices of it are slices of the body."""
    short = shortened(body)
    if short is None:
        assert runs_of(body) == []
        return
    json.loads(short.text)
    back, at = b"", 0
    for place, run in short.places:
        assert short.text[place : place + 32].decode() == run.digest
        assert short.original(at, place - at) == short.text[at:place]
        assert short.original(place, 32) is None
        back += short.text[at:place] + body[run.start : run.end]
        at = place + 32
    assert back + short.text[at:] == body
    assert short.original(at, len(short.text) - at) == short.text[at:]


def test_a_large_string_is_held_once() -> None:
    """The text that is decoded is short, and its body is not copied."""
    body = json.dumps({"a": LONG * 100}).encode()
    short = shortened(body)
    assert short is not None
    assert len(short.text) < 100
    assert short.body is body
