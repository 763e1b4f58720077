"""How the API server is reached: kubeconfig or service account -> HTTP with TLS and credentials; one request, and what can go wrong.

What is asked is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError as LightkubeError

from igw.errors import ConfigError
from igw.kubernetes.objects import Failure, failure

TIMEOUT_SECONDS = 10.0
"""How long an ordinary request may take, and a list per page."""

BROKEN = (httpx2.HTTPError, OSError, LightkubeError)
"""What a request raises that got no answer."""
FIELD_MANAGER = "igw"
"""Who the API server notes as the writer of fields."""

_CURE = "name one with --kubeconfig or $KUBECONFIG, or give manifests with -f"


def configuration(kubeconfig: Path | None = None) -> SingleConfig:
    """Return whom to ask, and as whom: *kubeconfig*, else the Pod's service account, else `$KUBECONFIG`, else `~/.kube/config`.

    Raises:
        ConfigError: there is none of them, or it cannot be used.
    """
    if (
        kubeconfig is None
        and Path(SERVICE_ACCOUNT, "token").exists()
        and "KUBERNETES_SERVICE_HOST" in os.environ
    ):
        return _single(KubeConfig.from_service_account(SERVICE_ACCOUNT), SERVICE_ACCOUNT)
    named = kubeconfig or Path(os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG).expanduser()
    if not named.is_file():
        problem = (
            "no such file"
            if kubeconfig
            else "this is no Pod with a service account, and there is no kubeconfig"
        )
        raise ConfigError(str(named), problem, _CURE)
    try:
        return _single(KubeConfig.from_file(named), str(named))
    except (OSError, yaml.YAMLError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        what = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(str(named), f"is not a kubeconfig: {what}", _CURE) from error


def _single(config: KubeConfig, where: str) -> SingleConfig:
    try:
        single = config.get()
    except LightkubeError as error:
        raise ConfigError(where, str(error), "`kubectl config use-context NAME` chooses one") from error
    if single is None:
        raise ConfigError(where, "chooses no context", "`kubectl config use-context NAME` chooses one")
    # Without credentials a server may still answer; lightkube wants somebody to be named.
    return single if single.user is not None else single._replace(user=User())


def connection(config: SingleConfig) -> httpx2.AsyncClient:
    """Return an HTTP client for the API server: its TLS, our certificate or token (read again when it is refused), its address.

    Raises:
        ConfigError: credentials that cannot be used.
    """
    try:
        params = ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_SECONDS)).httpx_params(config)
    except (LightkubeError, OSError, ValueError) as error:
        where = str(config.fname or f"context {config.context_name}")
        raise ConfigError(where, f"its credentials cannot be used: {error}") from error
    return httpx2.AsyncClient(**params)


class Refused(Exception):
    """A request that was not done."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.status}: {failure.message}")
        self.failure = failure


async def ask(
    http: httpx2.AsyncClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    media: str = "application/json",
) -> dict[str, Any]:
    """Return what the API server answers to one request; *media* is what *body* is sent as.

    Raises:
        Refused: it was not done, or nobody can say.
    """
    content = None if body is None else msgspec.json.encode(body)
    params = {"fieldManager": FIELD_MANAGER} if body is not None else None
    headers = {"content-type": media}
    try:
        answer = await http.request(method, path, content=content, params=params, headers=headers)
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
    except (*BROKEN, msgspec.DecodeError) as error:
        raise Refused(broken(error)) from error
    raise Refused(refusal(answer))


async def patch(http: httpx2.AsyncClient, path: str, change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge *change* into an object (RFC 7396) and return what became of it.

    Raises:
        Refused: it was not done, or nobody can say.
    """
    return await ask(http, "PATCH", path, change, "application/merge-patch+json")


def refusal(answer: httpx2.Response) -> Failure:
    """Return what the API server says that refuses."""
    found = failure(answer.content, answer.status_code)
    written = answer.headers.get("retry-after", "")
    if written.isdecimal() and not found.retry_after_seconds:
        return msgspec.structs.replace(found, retry_after_seconds=float(written))
    return found


def broken(error: Exception) -> Failure:
    """Return what is known of a request that got no answer."""
    return Failure(0, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def permission(verbs: str, resource: str, group: str) -> str:
    """Return the cure for a 403."""
    return f'give the picker\'s Role the {verbs} on {resource} in apiGroups ["{group}"]'
