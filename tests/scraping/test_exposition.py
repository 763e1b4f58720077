"""Series of a text page: by table, and by law against the parser of the Prometheus client."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from igw.scraping.exposition import group, label, series

PAGE = b"""\
# HELP queue Requests waiting in the queue.
# TYPE queue gauge
queue{engine="0"} 3
queue{engine="1"} 4.5
# TYPE queue_by_reason gauge
queue_by_reason{reason="capacity"} 9
queue_total 17
other 1
queue{engine="2"} 1e3 1795313346352
bare 7.0
bare\t8
"""


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"queue", [(b'engine="0"', 3), (b'engine="1"', 4.5), (b'engine="2"', 1000)]),
        (b"queue_by_reason", [(b'reason="capacity"', 9)]),
        (b"queue_total", [(b"", 17)]),
        (b"bare", [(b"", 7), (b"", 8)]),
        (b"missing", []),
        (b"ueue", []),
        (b"HELP", []),
    ],
)
def test_all_series_of_one_name_and_no_other_are_found(name: bytes, found: list[tuple[bytes, float]]) -> None:
    """Together or scattered, with and without labels or a time; a longer name is another name."""
    assert list(series(PAGE, name)) == found


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (b"", []),
        (b"q", []),
        (b"q 1", [1]),
        (b"\nq 1", [1]),
        (b"q 1\nq 2", [1, 2]),
        (b"qq 1\nq 2\n", [2]),
        (b"q\n", []),
        (b"q{", []),
        (b'q{a="b"}', []),
        (b"q one\nq 2\n", [2]),
        (b"q NaN\nq 2\n", [2]),
        (b"q +Inf\nq -Inf\nq 2\n", [2]),
        (b"q 1\r\nq 2\r\n", [1, 2]),
        (b'q{a="}"} 1\n', [1]),
        (b'q{a="\\"} 5"} 1\n', [1]),
        (b"q{} 1\n", [1]),
        (b"\xff\xfe\nq 1\n\xff", [1]),
    ],
)
def test_the_borders_of_a_page_and_broken_lines_do_no_harm(page: bytes, found: list[float]) -> None:
    """What is not a finite number is left out, so that a column never gets one."""
    assert [value for _, value in series(page, b"q")] == found


@pytest.mark.parametrize(
    ("labels", "name", "value"),
    [
        (b'a="1",b="2"', b"b", "2"),
        (b'a="1",b="2"', b"c", None),
        (b"", b"a", None),
        (b'_a="1",a="2"', b"a", "2"),
        (b'a=""', b"a", ""),
        (b'b="a=\\"1\\"",a="2"', b"a", "2"),
        (b'a="x\\\\y\\nz\\"w"', b"a", 'x\\y\nz"w'),
        ('a="ä"'.encode(), b"a", "ä"),
    ],
)
def test_a_label_is_found_by_its_whole_name(labels: bytes, name: bytes, value: str | None) -> None:
    """Escapes of the format are undone; what looks like a label inside a value is none."""
    assert label(labels, name) == value


names = st.sampled_from(["q", "q_total", "q_sum", "qq", "r", "vllm:q"])
label_names = st.sampled_from(["a", "b", "le", "_c"])
label_values = st.text(st.sampled_from(string.ascii_letters + '0 {}=",\\\n#é'), max_size=8)
numbers = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**12), 10**12).map(str),
    st.sampled_from(["NaN", "+Inf", "-Inf", "1e5", "0.0"]),
)
samples = st.tuples(names, st.dictionaries(label_names, label_values, max_size=3), numbers)


def line(name: str, labels: dict[str, str], number: str) -> str:
    """Write one sample as the format asks."""
    escaped = {
        key: value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        for key, value in labels.items()
    }
    written = ",".join(f'{key}="{value}"' for key, value in escaped.items())
    return f"{name}{{{written}}} {number}" if labels else f"{name} {number}"


@given(
    st.lists(st.one_of(samples, st.sampled_from(["# HELP q A queue.", "# TYPE q gauge", ""])), max_size=20),
    names,
)
def test_series_are_those_that_the_prometheus_client_reads(lines: list[object], name: str) -> None:
    """Law: the same samples with the same labels, but for values that are not finite."""
    page = "".join((line(*item) if isinstance(item, tuple) else str(item)) + "\n" for item in lines)
    expected = [
        (sorted(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and math.isfinite(sample.value)
    ]
    got = []
    for labels, value in series(page.encode(), name.encode()):
        read = {key: label(labels, key.encode()) for key in ("a", "b", "le", "_c")}
        got.append((sorted((key, text) for key, text in read.items() if text is not None), value))
    assert sorted(got, key=repr) == sorted(expected, key=repr)


@given(st.lists(samples, max_size=20), names)
def test_a_group_has_all_series_where_families_stand_together(
    lines: list[tuple[str, dict[str, str], str]], name: str
) -> None:
    """Law: on a page as the format asks for it, it is the same as looking at the whole page."""
    together = sorted(lines, key=lambda sample: sample[0])
    page = "# TYPE q gauge\n" + "".join(line(*sample) + "\n" for sample in together)
    assert group(page.encode(), name.encode()) == list(series(page.encode(), name.encode()))


@given(st.binary(max_size=200), st.sampled_from([b"q", b"q_total", b"vllm:q"]))
def test_a_group_is_the_beginning_of_what_the_page_has(page: bytes, name: bytes) -> None:
    """Law: whatever the page is, there is nothing in a group that is not on it, and no error."""
    page = page.replace(b"z", b"\n" + name)
    found, whole = group(page, name), list(series(page, name))
    assert found == whole[: len(found)]


def test_a_group_ends_where_its_lines_end() -> None:
    """A second part of a family is not looked for; a longer name that comes first is passed over."""
    page = b'queue_by_reason{r="x"} 9\n# TYPE queue gauge\nqueue{a="1"} 1\nqueue{a="2"} 2\nother 1\nqueue{a="3"} 3'
    assert group(page, b"queue") == [(b'a="1"', 1), (b'a="2"', 2)]
    assert group(page, b"other") == [(b"", 1)]
    assert group(page, b"reason") == []
