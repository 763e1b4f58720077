"""Helm, as `make kube` builds it: the chart linted and rendered. `python -m tests.kube.helm` renders what `igw manifests` prints."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from igw.kubernetes.install import rendered
from tests.kube.cluster import BINARIES, ROOT, Refused

CHART = ROOT / "charts" / "igw"
RENDERED = Path(rendered.__file__).parent
KUBERNETES = "1.32.0"

_OPEN = (
    f"inferenceExtension.image.repository={rendered.REPOSITORY}",
    f"inferenceExtension.image.tag={rendered.TAG}",
    f"bbr.image.repository={rendered.REPOSITORY}",
    f"bbr.image.tag={rendered.TAG}",
    f"bbr.name={rendered.NAME}",
    f"inferencePool.modelServers.matchLabels.{rendered.LABEL}=open",
    f"inferencePool.targetPorts={{{rendered.PORT}}}",
)


def helm(*arguments: str) -> str:
    """Run Helm and return what it printed.

    Raises:
        Refused: it failed; with what it said.
    """
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [BINARIES / "helm", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": home, "PATH": str(BINARIES)},
        )
    if done.returncode:
        raise Refused(f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def template(release: str, namespace: str, *values: str, files: Sequence[Path] = ()) -> str:
    """Return the chart rendered with *values*, as `--set` takes them, and those of *files*."""
    said = [part for value in values for part in ("--set", value)]
    said += [part for file in files for part in ("--values", str(file))]
    return helm(
        "template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES, *said
    )


def fingerprint() -> str:
    """Return what tells this state of the chart from others; the rendered files begin with it."""
    told = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        told.update(f"{path.relative_to(CHART)}\0".encode() + path.read_bytes() + b"\0")
    return told.hexdigest()[:16]


def rendering(mode: str) -> str:
    """Return what the file of *mode* should hold."""
    text = template(rendered.NAME, rendered.NAMESPACE, f"mode={mode}", *_OPEN)
    return f"# Rendered by `make manifests` of charts/igw as of {fingerprint()}. Do not edit.\n{text}"


if __name__ == "__main__":
    for each in rendered.MODES:
        (RENDERED / f"{each}.yaml").write_text(rendering(each))
