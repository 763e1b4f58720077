"""`header-label-affinity-scorer` by table."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.header_label_affinity import HeaderLabelAffinityScorer


@pytest.mark.parametrize(
    ("headers", "scores"),
    [
        ({"x-tier": "batch"}, [1, 0, 0]),
        ({"x-tier": "live"}, [0, 1, 0]),
        ({"x-tier": "Batch"}, [0, 0, 0]),
        ({"x-tier": ""}, [0, 0, 0]),
        ({}, [0, 0, 0]),
    ],
)
def test_an_endpoint_scores_if_its_label_says_what_the_header_says(
    headers: dict[str, str], scores: list[float]
) -> None:
    """Letter by letter; the header's name in any case; without a value nobody is preferred."""
    scorer = HeaderLabelAffinityScorer(header_name="X-Tier", label_key="tier")
    none = np.zeros(3)
    endpoints = (
        Endpoint.at("10.0.0.1", 8000, labels={"tier": "batch"}),
        Endpoint.at("10.0.0.2", 8000, labels={"tier": "live", "x-tier": "batch"}),
        Endpoint.at("10.0.0.3", 8000),
    )
    facts = Facts(none, none, none, none, none, endpoints=endpoints)
    assert scorer.score(Request(Head("/", "GET", headers)), facts).tolist() == scores


@pytest.mark.parametrize(
    "parameters", [{}, {"headerName": "x"}, {"labelKey": "x"}, {"headerName": "", "labelKey": "x"}]
)
def test_both_names_are_required(parameters: dict[str, str]) -> None:
    """An empty one is as good as none."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parameters, HeaderLabelAffinityScorer)
