"""A real etcd and kube-apiserver on loopback, as one object: start, stop, kubectl, accounts. Pods are `tests.kube.kubelet`'s business."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from igw.gateway.launch import dying_with_us

ROOT = Path(__file__).parents[2]
BINARIES = Path(os.environ.get("IGW_KUBE_BIN") or ROOT / "build" / "kube")
COMMANDS = ("kube-apiserver", "etcd", "kubectl")
PATIENCE_SECONDS = 60.0


def missing() -> str:
    """Return why there can be no cluster here, in a sentence; empty if there can."""
    absent = [command for command in COMMANDS if not os.access(BINARIES / command, os.X_OK)]
    if not absent:
        return ""
    return f"there is no {' and no '.join(absent)} in {BINARIES}: `make kube` builds them (needs Go)"


class Cluster:
    """An API server with TLS, RBAC and service accounts, and its etcd. No controller and no kubelet runs.

    So nobody makes default service accounts, finalizes namespaces, turns Deployments into Pods, or writes Endpoints. A namespace
    that is deleted stays; take a new one. Files are under *folder*.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe(16)
        """Of a user who may do everything."""
        self._ports = free_ports(3)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")

    @property
    def url(self) -> str:
        """Where the API server listens; it keeps its port when it is started again."""
        return f"https://127.0.0.1:{self._ports[2]}"

    @property
    def etcd(self) -> str:
        """Where etcd listens, for who passes the API server by."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def authority(self) -> Path:
        """The certificate to trust; the API server makes it when it starts for the first time."""
        return self.folder / "tls" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """Says how to reach the cluster as its administrator."""
        return self.folder / "admin.yaml"

    def start(self) -> None:
        """Start both and return when the API server says that it is ready."""
        client, peer = self.etcd, f"http://127.0.0.1:{self._ports[1]}"
        self._launch(
            "etcd", "--name=test", f"--data-dir={self.folder / 'etcd'}", "--log-level=warn", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}",
        )  # fmt: skip
        self.start_api()
        self._write_kubeconfig(self.kubeconfig, self.token, "default")

    def stop(self) -> None:
        """End both, the API server first: without its etcd it would hang."""
        self.stop_api()
        self._end("etcd", signal.SIGKILL)

    def start_api(self, *flags: str) -> None:
        """Start the API server with *flags* besides its own and wait until it is ready."""
        key = self.folder / "tls" / "apiserver.key"
        self._launch(
            "kube-apiserver", f"--etcd-servers={self.etcd}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self._ports[2]}",
            "--endpoint-reconciler-type=none",  # loopback is no address that Endpoints may have
            f"--cert-dir={key.parent}", f"--token-auth-file={self.folder / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--disable-admission-plugins=ServiceAccount",  # nobody makes a namespace's default account
            "--shutdown-delay-duration=0s", "--v=0", *flags,
        )  # fmt: skip
        self._wait("the API server is ready", self._ready)

    def stop_api(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the API server: at once, or in order with SIGTERM, which lets watches end first."""
        self._end("kube-apiserver", how)

    @contextmanager
    def frozen(self, command: str = "etcd") -> Iterator[None]:
        """Let *command* do nothing within the block, as a disk that hangs does."""
        process = self._processes[command]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl as the administrator, or as *kubeconfig* says, and return what it printed.

        Raises:
            Refused: it failed; with what it said.
        """
        done = subprocess.run(
            [BINARIES / "kubectl", f"--cache-dir={self.folder / 'cache'}", *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            env={"KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self.folder)},
        )
        if done.returncode:
            raise Refused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: Mapping[str, Any] | str) -> str:
        """Apply objects, or YAML that may hold several."""
        texts = [each if isinstance(each, str) else yaml.safe_dump(dict(each)) for each in objects]
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(texts))

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ARGUMENTS` finds."""
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def service_account(self, namespace: str, name: str, roles: str) -> Path:
        """Make a service account that has *roles* (YAML of any Roles and ClusterRoles) and return a kubeconfig with a token of it."""
        bound: list[Mapping[str, Any]] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        ]
        account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        for role in filter(None, yaml.safe_load_all(roles)):
            inside = {} if role["kind"] == "ClusterRole" else {"namespace": namespace}
            metadata = {**role["metadata"], **inside}
            reference = {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": role["kind"],
                "name": metadata["name"],
            }
            bound += [
                {**role, "metadata": metadata},
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": f"{role['kind']}Binding",
                    "metadata": {"name": f"{namespace}-{name}-{metadata['name']}", **inside},
                    "roleRef": reference,
                    "subjects": [account],
                },
            ]
        self.apply(*bound)
        path = self.folder / f"{namespace}-{name}.yaml"
        token = self.kubectl("create", "token", name, "-n", namespace).strip()
        self._write_kubeconfig(path, token, namespace)
        return path

    def log(self, command: str) -> str:
        """Return what a server has logged."""
        return (self.folder / f"{command}.log").read_text()

    def _write_kubeconfig(self, path: Path, token: str, namespace: str) -> None:
        reached = {"server": self.url, "certificate-authority": str(self.authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": reached}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}
            ],
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False))

    def _launch(self, command: str, *arguments: str) -> None:
        with (self.folder / f"{command}.log").open("ab") as log:
            self._processes[command] = subprocess.Popen(
                dying_with_us([str(BINARIES / command), *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def _end(self, command: str, how: signal.Signals) -> None:
        process = self._processes.pop(command, None)
        if process is not None:
            process.send_signal(how)
            process.wait(PATIENCE_SECONDS)

    def _ready(self) -> bool:
        if not self.authority.exists():
            return False
        try:
            context = ssl.create_default_context(cafile=self.authority)
            request = urllib.request.Request(
                f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"}
            )
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return bool(answer.read() == b"ok")
        except (OSError, urllib.error.URLError, ssl.SSLError):
            return False

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            for command, process in self._processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{command} ended:\n{self.log(command)[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {PATIENCE_SECONDS} s: {what}")
            time.sleep(0.1)


class Refused(AssertionError):
    """kubectl failed. A test that expects it looks at the message; in others it fails the test."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has at the moment: the servers cannot say which ones they took."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
