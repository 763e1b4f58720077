"""The format of many clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab.traces.catalogue import detect, workload

HEADER = "t_s,client,prompt_tokens,output_tokens"


@pytest.mark.parametrize(
    ("client", "tenant", "adapter"), [("tenant", "13", ""), ("adapter", "", "13"), ("both", "13", "13")]
)
def test_a_client_is_tenant_or_adapter(
    write: Callable[..., Path], client: str, tenant: str, adapter: str
) -> None:
    """As the option says."""
    (session,) = workload(write(HEADER, "0.5,13,20,199"), options={"client": client}).sessions
    assert (session.tenant, session.adapter, session.start_seconds) == (tenant, adapter, 0.5)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("0.1,1,1,1", "t_s 0.1 is before the one above"),
        ("soon,1,1,1", "t_s is 'soon'"),
        ("2,1,1,many", "output_tokens is 'many'"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(write: Callable[..., Path], bad: str, problem: str) -> None:
    """The header is line 1."""
    with pytest.raises(ConfigError, match=f"line 3: {problem}"):
        workload(write(HEADER, "0.5,1,1,1", bad))


def test_the_published_part_has_the_published_figures(traces: Path) -> None:
    """A few clients send most."""
    path = traces / "arena_clients_a.csv"
    assert detect(path) == "arena"
    clients = Counter(session.tenant for session in workload(path).sessions)
    assert (clients.total(), len(clients)) == (713, 22)
    assert round(sum(count for _, count in clients.most_common(5)) / 713, 2) == 0.71
