"""The end that all policies here share: the best total wins, ties break by the run's own dice. How totals come about is each policy's."""

from __future__ import annotations

import random
from collections.abc import Mapping

from igw.facts import Column
from igw.scheduling.scheduler import Choice

NAMED = 2
"""Endpoints in a choice: the one that serves and the one for a retry, as the product's default names them."""


def choose(scores: Mapping[str, Column], rng: random.Random) -> Choice:
    """Return the candidates of the largest sum of *scores*; at least one column, all of one length.

    A cost enters with a minus sign, so that the columns explain the choice whatever a policy counts in.
    """
    totals = [0.0] * len(next(iter(scores.values())))
    for column in scores.values():
        totals = [total + score for total, score in zip(totals, column.tolist(), strict=True)]
    order = list(range(len(totals)))
    rng.shuffle(order)  # the sort is stable, so equals stay shuffled
    order.sort(key=totals.__getitem__, reverse=True)
    return Choice(order[:NAMED], scores)
