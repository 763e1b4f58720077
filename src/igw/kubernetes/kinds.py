"""The kinds of the Kubernetes API that are followed, and where the API server has them. What is read of an object is `objects`."""

from __future__ import annotations

import msgspec

POOL_GROUP = "inference.networking.k8s.io"
OLD_GROUP = "inference.networking.x-k8s.io"


class Kind(msgspec.Struct, frozen=True):
    """One kind of a namespace's objects, in one version."""

    group: str
    """Empty for Kubernetes' own first ones, such as Pods."""
    version: str
    plural: str
    name: str

    @property
    def resource(self) -> str:
        """`plural.group`, as RBAC and `kubectl get` name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """`group/version`, as objects write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str) -> str:
        """Return where a namespace's objects of this kind are."""
        root = "/apis" if self.group else "/api"
        return f"{root}/{self.api_version}/namespaces/{namespace}/{self.plural}"


PODS = Kind("", "v1", "pods", "Pod")
SERVICES = Kind("", "v1", "services", "Service")
EVENTS = Kind("events.k8s.io", "v1", "events", "Event")
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
POOLS = {
    POOL_GROUP: Kind(POOL_GROUP, "v1", "inferencepools", "InferencePool"),
    OLD_GROUP: Kind(OLD_GROUP, "v1alpha2", "inferencepools", "InferencePool"),
}
"""InferencePools by their group: the two are different resources."""
OBJECTIVES = tuple(
    Kind(group, "v1alpha2", "inferenceobjectives", "InferenceObjective") for group in ("llm-d.ai", OLD_GROUP)
)
"""InferenceObjectives of both groups, the one that counts first."""
REWRITES = tuple(
    Kind(group, "v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite")
    for group in ("llm-d.ai", OLD_GROUP)
)
"""InferenceModelRewrites of both groups, the one that counts first."""
