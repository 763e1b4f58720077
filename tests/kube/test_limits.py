"""Our CRDs on a real API server: every limit, from both sides."""

from __future__ import annotations

import pytest

from tests.kube.api import Api, Denied
from tests.kube.cluster import Cluster
from tests.kubernetes.crds.limits import SPEC_ROWS, Row, made, status_rows

STRICT = "?dryRun=All&fieldValidation=Strict"
"""As kubectl asks for it, but nothing is kept."""


@pytest.fixture(scope="session")
def there(cluster: Cluster) -> str:
    """Give a namespace with an object of every kind, called llama, to write a status to."""
    cluster.kubectl("create", "namespace", "limits")
    kinds = {(row.kind, row.api_version) for row in status_rows()}
    for kind, version in kinds:
        cluster.kubectl("apply", "-n", "limits", "-f", "-", stdin=str(made(kind, version)).replace("'", '"'))
    return "limits"


@pytest.mark.parametrize("row", SPEC_ROWS, ids=lambda row: row.title)
async def test_an_object_is_accepted_or_refused_with_the_reason(row: Row, there: str, api: Api) -> None:
    """Made anew, with fields checked as strictly as kubectl checks them."""
    body = {**row.body, "metadata": {"name": "new"}}
    if not row.refused:
        await api.ask("POST", row.path % there + STRICT, body)
        return
    with pytest.raises(Denied, match=row.refused):
        await api.ask("POST", row.path % there + STRICT, body)


@pytest.mark.parametrize("row", list(status_rows()), ids=lambda row: row.title)
async def test_a_status_is_accepted_or_refused_with_the_reason(row: Row, there: str, api: Api) -> None:
    """Written to the status subresource of an object that is there."""
    path = f"{row.path % there}/llama/status"
    old = await api.ask("GET", f"{row.path % there}/llama")
    body = {**row.body, "metadata": old["metadata"]}
    if not row.refused:
        await api.ask("PUT", path + STRICT, body)
        return
    with pytest.raises(Denied, match=row.refused):
        await api.ask("PUT", path + STRICT, body)
