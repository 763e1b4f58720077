"""Forms: what real clients write is read back, any cut is as the whole, garbage is refused, and little is held."""

from __future__ import annotations

import email.parser
import email.policy
import sys
from itertools import pairwise

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.parsing.multipart import FormLimits, FormReader, Part, boundary

B = b"--=_b"
"""Begins as a delimiter does, and is cut out of contents that look like it."""
FEW = FormLimits(parts=3, header_bytes=80, field_bytes=20)


def written(*parts: tuple[bytes, bytes], by: bytes = B) -> bytes:
    """Return a form of (header lines, content)."""
    said = [b"--" + by + b"\r\n" + header + b"\r\n\r\n" + content + b"\r\n" for header, content in parts]
    return b"".join(said) + b"--" + by + b"--\r\n"


def named(name: str, filename: str | None = None) -> bytes:
    """Return a header line."""
    file = "" if filename is None else f'; filename="{filename}"'
    return f'Content-Disposition: form-data; name="{name}"{file}'.encode()


def read(*pieces: bytes | bytearray, limits: FormLimits = FEW, by: bytes = B) -> list[Part]:
    """Return the parts of a body that comes in *pieces*."""
    reader = FormReader(by, limits)
    for piece in pieces:
        reader.feed(piece)
    return reader.parts()


def outcome(*pieces: bytes) -> list[Part] | str:
    """Return the parts, or why there are none."""
    try:
        return read(*pieces)
    except BadRequest as error:
        return error.message


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (b'Content-Disposition: form-data; name="a"', ("a", False, "")),
        (b"content-disposition:form-data;name=a", ("a", False, "")),
        (b'CONTENT-DISPOSITION: form-data; NAME="a"; FileName="b"', ("a", True, "")),
        (
            b'Content-Type: Image/PNG; x=y\r\nContent-Disposition: form-data; name="a"; filename=""',
            ("a", True, "image/png"),
        ),
        (b"Content-Disposition: form-data; name=\"a\"; filename*=utf-8''b", ("a", True, "")),
        (b'Content-Disposition: form-data; name="a\\"b"', ('a"b', False, "")),
        (b'Content-Disposition: form-data; name="x; filename=y"', ("x; filename=y", False, "")),
        (b'Content-Disposition: form-data;\r\n  name="a"', ("a", False, "")),
        ('Content-Disposition: form-data; name="ä"'.encode(), ("ä", False, "")),
        (b'X: y\r\nContent-Disposition: form-data; name=""', ("", False, "")),
    ],
)
def test_headers_are_read_as_clients_write_them(header: bytes, part: tuple[str, bool, str]) -> None:
    """Quoted or not, folded or not, in any case and order."""
    (found,) = read(written((header, b"content")), limits=FormLimits())
    assert (found.name, found.is_file, found.content_type) == part


@pytest.mark.parametrize(
    "body",
    [
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--',
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--\r\n',
        b'\r\n--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--',
        b'preamble\r\n--B \t\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--epilogue\r\n--B\r\n',
        b'--Bx\r\n--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--B--',
    ],
)
def test_what_stands_around_the_parts_is_left_out(body: bytes) -> None:
    """A preamble, an epilogue, and blanks at the end of a delimiter (RFC 2046, section 5.1.1)."""
    for kind in (bytes, bytearray):
        (part,) = read(kind(body), by=b"B")
        assert body[part.start : part.end] == b"x"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\n--",
        b"--B",
        b"\r\n--Bx",
        b"\r\n--B\rx",
        b"\r\n--B  .",
        b"\r\n--B-",
        b"a\r\n\r\n--b",
        b"\n--B\n",
    ],
)
def test_what_only_begins_like_a_delimiter_is_content(content: bytes) -> None:
    """Such as boundaries that are the beginning of others."""
    body = written((named("f", "f"), content), by=b"B")
    (part,) = read(body, by=b"B")
    assert body[part.start : part.end] == content
    assert part.hash == xxhash.xxh3_128(content).hexdigest()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "does not end with its boundary"),
        (b"hello", "does not end with its boundary"),
        (written((named("a"), b"x"))[:-6], "does not end with its boundary"),
        (written((named("a"), b"x"), by=b"other"), "does not end with its boundary"),
        (written((b"Content-Type: text/plain", b"x")), "has no name"),
        (b"--" + B + b"\r\n\r\nx\r\n--" + B + b"--", "has no name"),
        (written(*[(named("a"), b"x")] * 4), "more than 3 parts"),
        (written((named("a" * 80), b"x")), "headers of more than 80 bytes"),
        (b"--" + B + b"\r\n" + b"x" * 100, "headers of more than 80 bytes"),
        (written((named("a"), b"x" * 21)), "`a` of the form in the request body is longer than 20 bytes"),
        (
            written((named("a"), b"x" * 50))[:-9],
            "`a` of the form in the request body is longer than 20 bytes",
        ),
    ],
)
def test_what_is_wrong_is_said(body: bytes, said: str) -> None:
    """The same in one piece as byte by byte."""
    with pytest.raises(BadRequest, match=said):
        read(body)
    assert outcome(body) == outcome(*[body[at : at + 1] for at in range(len(body))])


def test_limits_are_the_last_that_is_allowed() -> None:
    """As many parts, a header and a field as long; files may be longer."""
    longest = named("a") + b"\r\nx:" + b"y" * (80 - len(named("a")) - 4)
    body = written((longest, b"x" * 20), (named("b"), b""), (named("f", "f"), b"x" * 1000))
    assert [part.name for part in read(body)] == ["a", "b", "f"]


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data;charset=utf-8;BOUNDARY=abc", b"abc"),
        ('multipart/form-data; boundary="a b;c=d\\"e"; x=y', b'a b;c=d"e'),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("application/json", None),
        ("multipart/mixed; boundary=abc", None),
        ("", None),
    ],
)
def test_boundaries_are_named_by_the_content_type(content_type: str, found: bytes | None) -> None:
    """Quoted or not; other types have none."""
    assert boundary(content_type) == found


@pytest.mark.parametrize(
    "named",
    ["", "; boundary=", '; boundary=""', '; boundary="x "', "; boundary=ä", f"; boundary={'x' * 201}"],
)
def test_a_form_without_a_usable_boundary_is_refused(named: str) -> None:
    """It cannot be cut."""
    with pytest.raises(BadRequest, match="`boundary`"):
        boundary("multipart/form-data" + named)


SCRAPS = st.lists(
    st.sampled_from(
        [b"\r\n--" + B, b"--" + B, b"\r\n", b"\r", b"\n", b"--", b"-", b" ", named("a"), named("f", "f"), b"x", b"\r\n\r\n", b";=\"\\"]
    )
    | st.binary(max_size=5),
    max_size=24,
).map(b"".join)  # fmt: skip


def cut(body: bytes, at: list[int]) -> list[bytes]:
    """Return *body* in pieces, cut at those places; some are empty."""
    places = sorted({min(each, len(body)) for each in at} | {0, len(body)})
    return [body[a:b] for a, b in pairwise(places)] or [b""]


CUTS = st.lists(st.integers(0, 400), max_size=8)


@given(SCRAPS, CUTS)
@example(written((named("f", "f"), b"\r\n--" + B + b" " * 70 + b"\r\n")), [40, 60, 120])
def test_any_cut_is_as_the_whole(body: bytes, at: list[int]) -> None:
    """The same parts or the same refusal, whatever the bytes."""
    assert outcome(*cut(body, at)) == outcome(body)


CONTENT = st.lists(st.sampled_from([b"\r\n--", B[:-1], b"\r\n", b"-"]) | st.binary(max_size=9), max_size=5).map(
    b"".join
).filter(lambda content: B not in content)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), CONTENT), min_size=1, max_size=3), CUTS)
def test_what_is_written_is_read(parts: list[tuple[str, bool, bytes]], at: list[int]) -> None:
    """Every byte of every part, and the hash of every file; the library's own parser of mail agrees on what there is."""
    body = written(*[(named(name, "f" if is_file else None), content) for name, is_file, content in parts])
    found = read(*cut(body, at), limits=FormLimits())
    assert [(part.name, part.is_file, body[part.start : part.end]) for part in found] == parts
    assert [part.hash for part in found] == [
        xxhash.xxh3_128(content).hexdigest() if is_file else "" for _, is_file, content in parts
    ]
    mail = b'Content-Type: multipart/form-data; boundary="' + B + b'"\r\n\r\n' + body
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(mail)
    assert [each.get_param("name", header="content-disposition") for each in parsed.iter_parts()] == [
        part.name for part in found
    ]


def test_little_is_held_of_a_large_form() -> None:
    """A file may be as large as it likes: what stays is no more than a delimiter, and no piece is kept."""
    reader = FormReader(B)
    piece = b"\r\n--" * 16_000
    references = sys.getrefcount(piece)
    reader.feed(b"--" + B + b"\r\n" + named("f", "f") + b"\r\n\r\n")
    for _ in range(100):
        reader.feed(piece)
        assert len(reader._held) < 100
    assert sys.getrefcount(piece) == references
    reader.feed(b"\r\n--" + B + b"--")
    (part,) = reader.parts()
    assert part.end - part.start == 100 * len(piece)
