"""What seeing costs: CPU of one request in the picker, from its messages to the reply and on to its outcome, without gRPC and Envoy.

One chat of 4 KB, 8 endpoints, the default policy. Traces are made, batched and encoded as for a collector, and thrown away in its place.
Cases take turns in one process, and the best round of each counts.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
import unittest.mock
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks.picks import chat
from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.config.slo import Slo
from igw.explaining.settings import Settings as Explain
from igw.extproc.mapping import DECISION
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.tracing import export
from igw.tracing.context import Sampler
from igw.tracing.settings import Settings as Traces

_ENDPOINTS = 8
_OBJECTIVES = "metrics and objectives"
_ALL = "all of it: objectives, explain, traces of 1 %"
_ROUNDS, _REQUESTS = 9, 400
_OUTCOME = Outcome(End.COMPLETE, 200, ttft_seconds=0.05, duration_seconds=0.5, response_bytes=2_000,
                   usage=Usage(1_000, 50, 750))  # fmt: skip


class _Thrown(SpanExporter):
    """Encodes spans and throws them away."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class _Stream:
    """The gateway's side of one exchange."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages = messages
        self.reply: Any = None

    async def read(self) -> Any:
        return next(self._messages, grpc.aio.EOF)

    async def write(self, message: Any) -> None:
        self.reply = message

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-igw-pool", "default/p"), ("x-igw-mode", "lean"))


def rows() -> list[dict[str, Any]]:
    """Return one row per case."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    cases: dict[str, dict[str, Any]] = {
        "metrics only": {"explain": Explain(seconds=0)},
        _OBJECTIVES: {"explain": Explain(seconds=0)},
        "explain": {},
        "explain, traces of none": {"traces": Traces(Sampler(0.0))},
        "explain, traces of 1 %": {"traces": Traces(Sampler(0.01))},
        "explain, traces of 10 %": {"traces": Traces(Sampler(0.1))},
        _ALL: {"traces": Traces(Sampler(0.01))},
        "explain, traces of all": {"traces": Traces(Sampler(1.0))},
        "explain, traces of all, plugins": {"traces": Traces(Sampler(1.0), plugins=True)},
    }
    with unittest.mock.patch.object(export, "_exporter", return_value=_Thrown()):
        return asyncio.run(_measured(cases))


async def _measured(cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pool.yaml"
        file.write_text(_manifests())
        pickers = {
            name: Picker(PickerSettings(paths=(file,), **settings)) for name, settings in cases.items()
        }
        for name, picker in pickers.items():
            picker.use(load([file]))
            if name in (_OBJECTIVES, _ALL):
                picker._metering.attainment.use({"default/p": {"": Slo(0.1, 0.01, 1.0)}}, ["default/p"])
        best = dict.fromkeys(pickers, float("inf"))
        bodies = itertools.cycle([chat(4096, number=number) for number in range(64)])
        for _ in range(_ROUNDS):
            for name, picker in pickers.items():
                ledger = picker.extproc.ledger
                messages = [_messages(next(bodies)) for _ in range(_REQUESTS)]
                start = time.process_time()
                for each in messages:
                    stream = _Stream(iter(each))
                    await picker.extproc.process(None, stream)
                    fields = stream.reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields
                    ledger.close(int(fields[DECISION].string_value), _OUTCOME)
                best[name] = min(best[name], (time.process_time() - start) / _REQUESTS * 1e6)
    base = best["metrics only"]
    return [
        {"case": name, "us": round(each, 1), "more": f"{100 * (each / base - 1):+.1f} %"}
        for name, each in best.items()
    ]


def _messages(body: bytes) -> list[Any]:
    headers = pb.ProcessingRequest()
    for key, value in (
        (":path", "/v1/chat/completions"), (":method", "POST"), ("content-type", "application/json"),
        ("x-request-id", f"{random.getrandbits(128):032x}"),
    ):  # fmt: skip
        headers.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    headers.protocol_config.request_body_mode = 2  # BUFFERED
    return [headers, pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))]


def _manifests() -> str:
    endpoints = "\n".join(
        f"- {{name: e{n}, address: 10.0.0.{n}, port: 8000, labels: {{app: p}}}}"
        for n in range(1, _ENDPOINTS + 1)
    )
    return (
        "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: p}\nspec:\n"
        "  selector: {matchLabels: {app: p}}\n  targetPorts: [{number: 8000}]\n"
        f"  endpointPickerRef: {{name: epp, port: {{number: 9002}}}}\n---\nendpoints:\n{endpoints}\n"
    )
