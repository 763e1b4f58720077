"""Files become documents, or a sentence about the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.config.documents import read
from igw.errors import ConfigError


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    """YAML and JSON, sorted, not those of its folders, each once, empty documents passed over."""
    (tmp_path / "b.yaml").write_text("kind: B1\n---\n---\nkind: B2\nmetadata: {name: x, namespace: n}\n")
    (tmp_path / "a.json").write_text('{"kind": "A"}')
    (tmp_path / "c.yml").write_text("kind: C\n")
    (tmp_path / "notes.txt").write_text("kind: {")
    (tmp_path / "deeper.yaml").mkdir()
    (tmp_path / "deeper.yaml" / "d.yaml").write_text("kind: D")
    found = list(read([tmp_path, tmp_path / "a.json"]))
    assert [document.kind for document in found] == ["A", "B1", "B2", "C"]
    assert found[2].source == f"{tmp_path}/b.yaml document 3 (B2 n/x)"
    assert found[2].key == "B2 n/x"
    assert found[0].source == f"{tmp_path}/a.json (A)"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "kind: A\n bad: [", r"a.yaml line 2, column 5: is not YAML"),
        (
            "a.yaml",
            "kind: A\nkind: B\n",
            r"a.yaml line 2, column 1: is not YAML: the key `kind` is written twice",
        ),
        ("a.yaml", "kind: [unclosed", r"a.yaml line 2, column 1: is not YAML: did not find expected"),
        ("a.yaml", "a: \x07", r"a.yaml: is not YAML"),
        ("a.json", '{"kind": }', r"a.json: is not JSON: .*byte 9"),
        (
            "a.yaml",
            "- kind: A",
            r"a.yaml: a mapping is expected, found list \(every document starts with apiVersion",
        ),
        ("a.yaml", "apiVersion: v1", r"a.yaml \$.kind: a kind is expected"),
        ("a.yaml", "kind: 5", r"a.yaml \$.kind: a kind is expected"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    """File, place in it, what is wrong."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        list(read([tmp_path]))


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    """The nearest name in the folder is the hint; a missing folder is said to be missing."""
    (tmp_path / "gateway.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"gatway.yaml: no such file \(did you mean .*gateway.yaml\?"):
        list(read([tmp_path / "gatway.yaml"]))
    with pytest.raises(ConfigError, match="does not exist either"):
        list(read([tmp_path / "nowhere" / "gateway.yaml"]))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A binary file under a name of ours."""
    (tmp_path / "a.yaml").write_bytes(b"kind: \xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        list(read([tmp_path]))


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    """What YAML offers for repetition may be used."""
    (tmp_path / "a.yaml").write_text("kind: A\nbase: &b {x: 1}\nother: {<<: *b, y: 2}\n")
    assert next(read([tmp_path])).body["other"] == {"x": 1, "y": 2}
