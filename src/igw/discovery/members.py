"""The endpoints of one pool of a cluster, kept up to date Pod by Pod. Pure; which Pods there are is told by `cluster`."""

from __future__ import annotations

from collections.abc import Iterable

from igw.config.inference import InferencePool, ListedEndpoint
from igw.discovery.snapshot import ranks
from igw.endpoint import Endpoint, Pool
from igw.errors import ConfigError
from igw.kubernetes.objects import Pod


class Members:
    """Who serves *spec*: the ready Pods that it selects. A Pod's change costs the same in a small pool and in a large one."""

    def __init__(self, spec: InferencePool, pods: Iterable[Pod]) -> None:
        self.spec = spec
        self.refused: dict[str, ConfigError] = {}
        """Selected Pods that cannot be used, by `namespace/name`."""
        self.selected: dict[str, bool] = {}
        """Whether each selected Pod is ready, by `namespace/name`."""
        self._wanted = spec.spec.selector.match_labels.items()
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._pool: Pool | None = None
        for pod in pods:
            self.put(f"{pod.namespace}/{pod.name}", pod)

    def put(self, key: str, pod: Pod | None) -> None:
        """Take the Pod *key* as it is now; None: it is gone."""
        self.refused.pop(key, None)
        self.selected.pop(key, None)
        found = self._of(key, pod) if pod is not None and self._wanted <= pod.labels.items() else ()
        if found != self._endpoints.get(key, ()):
            self._pool = None
            if found:
                self._endpoints[key] = found
            else:
                del self._endpoints[key]

    @property
    def pool(self) -> Pool:
        """The endpoints now; the same object as long as nothing changed."""
        if self._pool is None:
            # Of two Pods with one address the younger has it: the other is gone, and nobody has said so yet.
            at = {each.hostport: each for endpoints in self._endpoints.values() for each in endpoints}
            self._pool = Pool(self.spec.name, self.spec.namespace, tuple(at.values()))
        return self._pool

    def _of(self, key: str, pod: Pod) -> tuple[Endpoint, ...]:
        self.selected[key] = ready = pod.ready and bool(pod.address)
        if not ready:
            return ()
        listed = ListedEndpoint(pod.name, pod.namespace, pod.address, None, pod.labels, f"Pod {key}")
        try:
            found = ranks(self.spec, listed)
        except ConfigError as error:
            self.refused[key] = error
            return ()
        if pod.active_ports is None:
            return tuple(found)
        active = {port.strip() for port in pod.active_ports.split(",")}
        return tuple(each for each in found if str(each.http_port or each.port) in active)
