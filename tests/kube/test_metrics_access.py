"""Who may read a picker's metrics port, as a real API server says it."""

from __future__ import annotations

import time
from pathlib import Path

from igw.debugging.access import Verdict
from igw.debugging.reviews import Reviews
from igw.kubernetes.client import configuration, connection
from tests.kube.cluster import Cluster

REVIEWER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: igw-reviews}
rules:
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
"""
READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics-reader}
rules:
- {nonResourceURLs: [/metrics], verbs: [get]}
- {nonResourceURLs: ["/debug/*"], verbs: [get]}
"""


def token(cluster: Cluster, namespace: str, name: str) -> str:
    """Return a token of a service account."""
    return cluster.kubectl("create", "token", name, "-n", namespace).strip()


async def answer(kubeconfig: Path, shown: str, verb: str, path: str) -> tuple[Verdict, str]:
    """Return what the picker with *kubeconfig* answers."""
    async with connection(configuration(kubeconfig)) as http:
        found = await Reviews(http, time.monotonic).answer(shown, verb, path)
        return found.verdict, found.why


async def test_who_may_read_is_said_by_roles(bare_cluster: Cluster, namespace: str) -> None:
    """A reader may get metrics and what is under `/debug/`; another may not; a token of nobody is unknown."""
    picker = bare_cluster.service_account(namespace, "picker", REVIEWER)
    bare_cluster.service_account(namespace, "reader", READER)
    bare_cluster.service_account(namespace, "stranger", "")
    reader = token(bare_cluster, namespace, "reader")
    assert (await answer(picker, reader, "get", "/metrics"))[0] is Verdict.ALLOWED
    assert (await answer(picker, reader, "get", "/debug/decisions/lunch"))[0] is Verdict.ALLOWED
    verdict, why = await answer(picker, reader, "put", "/debug/log-level")
    assert verdict is Verdict.FORBIDDEN
    assert f"system:serviceaccount:{namespace}:reader may not put /debug/log-level" in why
    stranger = token(bare_cluster, namespace, "stranger")
    assert (await answer(picker, stranger, "get", "/metrics"))[0] is Verdict.FORBIDDEN
    assert (await answer(picker, "made-up", "get", "/metrics"))[0] is Verdict.UNKNOWN


async def test_a_picker_that_may_not_ask_says_what_it_needs(bare_cluster: Cluster, namespace: str) -> None:
    """And lets nobody in."""
    picker = bare_cluster.service_account(namespace, "picker", "")
    verdict, why = await answer(picker, "made-up", "get", "/metrics")
    assert verdict is Verdict.UNDECIDED
    assert "system:auth-delegator" in why
