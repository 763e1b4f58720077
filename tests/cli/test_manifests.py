"""`igw manifests`: what it prints, and what it refuses. That it is the chart's is tested with Helm."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from igw.cli.manifests import manifests


def run(*arguments: str) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    app = Typer()
    app.command()(manifests)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_everything_has_a_default_but_names_and_labels() -> None:
    """The image is the one of this version."""
    status, out, said = run("inferencepool", "--name", "llama", "--match-label", "app=llama")
    assert (status, said) == (0, "")
    objects = {each["kind"]: each for each in yaml.safe_load_all(out)}
    assert objects["InferencePool"]["metadata"]["namespace"] == "default"
    assert objects["InferencePool"]["spec"]["targetPorts"] == [{"number": 8000}]
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"igw:{version('igw')}"


def test_a_port_that_is_written_twice_is_one() -> None:
    """As the API wants it."""
    ports = ("--target-port", "8001", "--target-port", "8000", "--target-port", "8001")
    _, out, _ = run("standalone", "--name", "llama", "--match-label", "app=llama", *ports)
    (pool,) = (each for each in yaml.safe_load_all(out) if each["kind"] == "InferencePool")
    assert pool["spec"]["targetPorts"] == [{"number": 8001}, {"number": 8000}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("standalon", "--name", "x"), "MODE: there is no mode `standalon` (did you mean standalone?)"),
        (
            ("bbr", "--name", "-x"),
            "--name: `-x` is no name of a Service (small letters, digits and -, 53 at most)",
        ),
        (("bbr", "--name", "x" * 54), "--name: `xxxx"),
        (("bbr", "--name", "x", "--namespace", "a b"), "--namespace: `a b` is no name"),
        (
            ("standalone", "--name", "x"),
            "--match-label: says which Pods the pool has, and is missing (such as app=llama)",
        ),
        (("standalone", "--name", "x", "--match-label", "app"), "--match-label: `app` is no label"),
        (("standalone", "--name", "x", "--match-label", 'a="b'), '--match-label: `a="b` is no label'),
        (
            (
                "standalone",
                "--name",
                "x",
                "--match-label",
                "a=b",
                *(f"--target-port={8000 + n}" for n in range(9)),
            ),
            "--target-port: a pool has 8 ports at most",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    """With the cure, and nothing else is printed."""
    status, out, error = run(*arguments)
    assert status == 1
    assert f"{out}{error}".startswith(
        f"igw manifests: {said}"
    )  # the runner puts the last words of an exit on standard output
    assert f"{out}{error}".count("\n") == 1
