"""Objects in files become checked values; what is wrong is said with file, path and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from igw.config.manifests import API_VERSIONS, IGNORED, Manifests, load
from igw.errors import ConfigError


def test_every_kind_is_read(written: Any) -> None:
    """Values are as written, with the defaults of the APIs."""
    manifests = written()
    [gateway], [route], [pool] = manifests.gateways, manifests.routes, manifests.pools
    assert (gateway.key, gateway.bind_address) == ("default/web", "127.0.0.2")
    assert gateway.spec.listeners[0].port == 8080
    assert route.spec.rules[0].matches[0].path.value == "/v1"
    assert route.spec.rules[0].backend_refs[0].weight == 1
    assert route.request_body == "Auto"
    assert (pool.fail_open, pool.spec.app_protocol) == (False, "http")
    one, two = manifests.endpoints
    assert (one.name, one.address, one.port, one.namespace) == ("one", "10.0.0.1", 8000, "default")
    assert two.port is None
    assert manifests == written()


def test_other_rooms_get_their_documents_undecoded(written: Any) -> None:
    """Simulators and the picker's configuration are theirs to decode."""
    extra = (
        "apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {name: sim}\nspec: {replicas: 2}\n---\n"
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nplugins: []\n"
    )
    manifests = written(extra=extra)
    assert manifests.simulators[0].body["spec"] == {"replicas": 2}
    assert manifests.picker_config is not None
    assert manifests.picker_config.body["plugins"] == []


def test_kinds_for_a_cluster_are_passed_over_with_a_reason(written: Any) -> None:
    """The same directory may serve kubectl and igw."""
    extra = "\n---\n".join(f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}" for kind in IGNORED)
    manifests = written(extra=extra)
    assert len(manifests.ignored) == len(IGNORED)
    assert manifests.ignored[0].reason == "means something only in a cluster"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kind: HTTPRoute",
            "kind: HttpRoute",
            r"document 2 \(HttpRoute default/chat\) \$.kind: there is no kind `HttpRoute` \(did you mean HTTPRoute\?\)",
        ),
        (
            "networking.k8s.io/v1\nkind: HTTPRoute",
            "networking.k8s.io/v1beta1\nkind: HTTPRoute",
            r"\$.apiVersion: `gateway.networking.k8s.io/v1beta1` is not .* \(write gateway.networking.k8s.io/v1\)",
        ),
        (
            "type: PathPrefix",
            "type: Prefix",
            r"\(HTTPRoute default/chat\) \$.spec.rules\[0\].matches\[0\].path.type: `Prefix` is not allowed here "
            r"\(did you mean PathPrefix\?\)",
        ),
        (
            "value: /v1",
            "valeu: /v1",
            r"matches\[0\].path: there is no field `valeu` \(did you mean value\?\)",
        ),
        ("value: /v1", "value: v1", r"path.value: `v1` is not a path"),
        (
            "type: PathPrefix, value: /v1",
            "type: RegularExpression, value: '('",
            r"`\(` is not a regular expression",
        ),
        (
            "protocol: HTTP",
            "protocol: HTTPS",
            r"listeners\[0\].protocol: `HTTPS` is not supported in file mode yet",
        ),
        (
            "protocol: HTTP",
            "protocol: HTTP, tls: {}",
            r"listeners\[0\].tls: `tls` is not supported in file mode yet",
        ),
        (
            "backendRefs:",
            "filters: [{type: URLRewrite}]\n    backendRefs:",
            r"rules\[0\].filters\[0\].type: `URLRewrite` is not supported",
        ),
        (
            "backendRefs:",
            "filters: [{type: RequestHeaderModifier}]\n    backendRefs:",
            r"filters\[0\]: a filter of type RequestHeaderModifier has exactly the field `requestHeaderModifier`",
        ),
        (
            "backendRefs:",
            "timeouts: {request: 10}\n    backendRefs:",
            r"timeouts.request: expected `str \| null`, got `int`",
        ),
        (
            "backendRefs:",
            "timeouts: {request: soon}\n    backendRefs:",
            r"timeouts.request: a duration such as 10s or 1m30s is expected, found 'soon'",
        ),
        ("port: 8080", "port: 80800", r"listeners\[0\].port: expected `int` <= 65535, found 80800"),
        ("gatewayClassName: igw", "", r"\$.spec: the required field `gatewayClassName` is missing"),
        ("127.0.0.2", "localhost", r"`localhost` is not an IP address \(such as 127.0.0.1"),
        (
            "igw.dev/bind-address",
            "igw.dev/bind-adress",
            r"no annotation `igw.dev/bind-adress` .*did you mean igw.dev/bind-address",
        ),
        (
            "{name: chat}",
            "{name: chat, annotations: {igw.dev/request-body: streamed}}",
            r"did you mean Streamed\?",
        ),
        ("{name: chat}", "{nmae: chat}", r"\$.metadata: there is no field `nmae` \(did you mean name\?\)"),
        ("{name: chat}", "{namespace: x}", r"\$.metadata: the required field `name` is missing"),
        (
            "[{number: 8000}]",
            "[{number: 8000}, {number: 8000}]",
            r"targetPorts\[1\].number: port number must be unique",
        ),
        ("[{number: 8000}]", "[]", r"targetPorts: expected `array` of length >= 1"),
        (
            "picker, port: {number: 9002}",
            "picker",
            r"endpointPickerRef.port: port is required when kind is 'Service'",
        ),
        (
            "picker, port",
            "picker, failureMode: FailClosed, port",
            r"`FailClosed` is not allowed here \(did you mean FailClose\?\)",
        ),
        (
            "matchLabels: {app: llama}",
            "matchLabels: {app: 'a b'}",
            r"matchLabels\[...\]: a label value is expected",
        ),
        ("matchLabels: {app: llama}", "matchLabels: {}", r"matchLabels: expected `object` of length >= 1"),
        (
            "10.0.0.1",
            "server-1",
            r"endpoints\[0\].address: `server-1` is not an IP address \(host names are not",
        ),
        ('"fd00::2"', '"[fd00::2]"', r"endpoints\[1\].address: .*write it without brackets"),
        ('"8000"', "99999", r"endpoints\[0\].port: `99999` is not a port \(1 to 65535\)"),
        ('"8000"', "eighty", r"endpoints\[0\].port: `eighty` is not a port"),
        ("name: two", "name: one", None),
        (
            'two, address: "fd00::2"',
            'one, address: "fd00::2", port: 8000',
            r"endpoint default/one is written twice \(the first",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_cure(
    written: Any, old: str, new: str, message: str | None
) -> None:
    """One sentence each."""
    if message is None:
        written(old, new)
        return
    with pytest.raises(ConfigError, match=message):
        written(old, new)


def test_an_object_written_twice_names_both_files(tmp_path: Path) -> None:
    """The second file is at fault, the first is in the hint."""
    text = "apiVersion: igw.dev/v1alpha1\nkind: Simulator\nmetadata: {name: sim}\n"
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(
        ConfigError, match=r"b.yaml .*Simulator default/sim is written twice \(the first one is .*a.yaml"
    ):
        load([tmp_path])


def test_there_is_one_picker_configuration(tmp_path: Path) -> None:
    """Two would leave open which counts."""
    text = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"
    (tmp_path / "a.yaml").write_text(f"{text}---\n{text}")
    with pytest.raises(ConfigError, match="only one EndpointPickerConfig"):
        load([tmp_path])


def test_what_a_server_writes_into_an_object_is_passed_over(tmp_path: Path) -> None:
    """The output of kubectl get -o yaml is a manifest as well."""
    pool = {
        "apiVersion": API_VERSIONS["InferencePool"][0],
        "kind": "InferencePool",
        "metadata": {
            "name": "p",
            "uid": "1",
            "resourceVersion": "5",
            "managedFields": [{}],
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "targetPorts": [{"number": 1}]},
        "status": {"parents": []},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(pool))
    assert load([tmp_path]).pools[0].key == "default/p"


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """An empty folder is no error; whoever needs an object says so."""
    assert load([tmp_path]) == Manifests()
