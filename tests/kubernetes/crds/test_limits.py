"""Files are told what a cluster is told: the same objects are refused, or docs/files.md says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from igw.config.manifests import API_VERSIONS, load
from igw.errors import ConfigError
from tests.kubernetes.crds.limits import SPEC_ROWS, V1, Row, made

DOCS = Path(__file__).parents[3] / "docs"
ROWS = [row for row in SPEC_ROWS if row.api_version in API_VERSIONS[row.kind]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_a_file_is_refused_where_the_api_server_refuses(row: Row, tmp_path: Path) -> None:
    """Objects are read beside the pool that they are about."""
    objects = [row.body] if row.kind == "InferencePool" else [made("InferencePool", V1), row.body]
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    if bool(row.refused) == bool(row.in_files):
        load([path])
        return
    with pytest.raises(ConfigError):
        load([path])


@pytest.mark.parametrize("why", sorted({row.in_files for row in ROWS if row.in_files}))
def test_every_difference_is_documented(why: str) -> None:
    """Word for word."""
    assert why in (DOCS / "files.md").read_text()
