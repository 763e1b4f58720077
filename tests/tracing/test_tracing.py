"""Traces of requests that end otherwise than well, in a picker of this process; and what tracing costs where nobody wants it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.outcomes.outcome import End, Outcome
from igw.request import Head, Request
from igw.tracing import export
from igw.tracing.context import Sampler
from igw.tracing.settings import Settings
from igw.tracing.spans import _of_request
from igw.tracing.tracing import Tracing
from tests.test_house import HOUSE, Stream, chat

ALL = Settings(Sampler(1.0))
POOL = (
    "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: llama}\nspec:\n"
    "  selector: {matchLabels: {app: llama}}\n  targetPorts: [{number: 8000}]\n"
    "  endpointPickerRef: {name: epp, port: {number: 9002}}\n---\nendpoints:"
)
ENDPOINT = "\n- {name: a, address: 10.0.0.1, port: 8000, labels: {app: llama}}\n"


class Traced:
    """A picker whose spans stay here."""

    def __init__(self, folder: Path, kept: InMemorySpanExporter, text: str = POOL + ENDPOINT) -> None:
        self.kept = kept
        file = folder / "pool.yaml"
        file.write_text(text)
        self.picker = Picker(PickerSettings(paths=(file,), traces=ALL))
        self.picker.use(load([file]))
        assert isinstance(self.picker._tracing, Tracing)
        self.traces = self.picker._tracing._traces

    async def ask(self, *headers: tuple[str, str]) -> Any:
        """Send a chat and return the reply that ends its exchange."""
        messages = chat()
        for key, value in headers:
            messages[0].request_headers.headers.headers.add(key=key, raw_value=value.encode())
        stream = Stream(messages)
        await self.picker.extproc.process(None, stream)
        return stream.replies[-1]

    async def spans(self) -> dict[str, ReadableSpan]:
        """Return the spans so far, after which there are no more."""
        await self.picker._tracing.close()
        found = self.kept.get_finished_spans()
        names = [span.name for span in found]
        assert len(set(names)) == len(names)
        return dict(zip(names, found, strict=True))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Give where the spans of this test go."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(export, "_exporter", lambda _settings: exporter)
    return exporter


def said(span: ReadableSpan) -> dict[str, Any]:
    """Return attributes."""
    return dict(span.attributes or {})


def decision_of(reply: Any) -> int:
    """Return the decision's id."""
    return int(reply.dynamic_metadata.fields["envoy.lb"].struct_value.fields["igw-decision"].string_value)


def sent(reply: Any) -> dict[str, str]:
    """Return the headers that the model server is to get."""
    mutation = reply.request_body.response.header_mutation
    return {each.header.key: each.header.raw_value.decode() for each in mutation.set_headers}


async def test_a_request_that_goes_nowhere_has_a_trace_that_says_why(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    """No endpoint is left: 503."""
    traced = Traced(tmp_path, kept, POOL + " []\n")
    reply = await traced.ask()
    assert reply.immediate_response.status.code == 503
    spans = await traced.spans()
    root = spans["gateway.request"]
    assert said(root)["http.response.status_code"] == 503
    assert said(root)["igw.reason"] == "rejected-no-endpoints"
    assert not root.status.is_ok
    assert set(spans) >= {"parse", "gateway.request_orchestration"}
    assert not traced.traces.open


@pytest.mark.parametrize(
    ("outcome", "fails"),
    [
        (Outcome(End.ABORTED, 200, ttft_seconds=0.1), False),
        (Outcome(End.FAILED, 503, unreachable=True), True),
        (Outcome(End.UNKNOWN), False),
        (Outcome(End.COMPLETE, 429, ttft_seconds=0.1, duration_seconds=0.2), False),
    ],
)
async def test_a_trace_says_how_the_request_ended(
    tmp_path: Path, kept: InMemorySpanExporter, outcome: Outcome, fails: bool
) -> None:
    """A client that left is no error; a server that did not answer is."""
    traced = Traced(tmp_path, kept)
    decision = decision_of(await traced.ask())
    assert traced.picker.extproc.ledger.close(decision, outcome)
    spans = await traced.spans()
    for name in ("gateway.request", "chat llama"):
        assert said(spans[name])["igw.end"] == outcome.end.value
        assert (spans[name].status.status_code.name == "ERROR") is fails
    assert ("model_server.first_byte" in spans) is (outcome.ttft_seconds is not None)
    assert not traced.traces.running


async def test_an_end_that_is_told_before_its_decision_is_known_ends_the_trace(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    """The proxy's log was faster: its client had left."""
    traced = Traced(tmp_path, kept)
    traced.picker.extproc.ledger.over("lunch", Outcome(End.ABORTED))
    reply = await traced.ask(("x-request-id", "lunch"))
    spans = await traced.spans()
    assert said(spans["gateway.request"])["igw.end"] == "aborted"
    assert sent(reply)["traceparent"].split("-")[3] == "01"
    assert not traced.traces.running
    assert not traced.traces.open


async def test_a_client_that_leaves_while_its_request_waits_ends_the_trace(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    """Without an error: nobody is to blame."""
    traced = Traced(tmp_path, kept)
    waiting = asyncio.Event()

    class Never:
        async def place(self, _item: Any, _claim: Any) -> Any:
            waiting.set()
            await asyncio.Event().wait()

    traced.picker._router.flows = {"default/llama": Never()}
    asked = asyncio.create_task(traced.ask())
    await waiting.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    spans = await traced.spans()
    assert said(spans["gateway.request"])["error.type"] == "CancelledError"
    assert spans["gateway.request"].status.status_code.name == "UNSET"
    assert "admission" in spans


async def test_what_has_not_ended_at_the_end_is_told_as_far_as_it_came(
    tmp_path: Path, kept: InMemorySpanExporter
) -> None:
    """The picker stops, the answer goes on."""
    traced = Traced(tmp_path, kept)
    await traced.ask()
    assert set(await traced.spans()) == {"gateway.request"}


async def test_beyond_so_many_no_trace_is_begun(
    tmp_path: Path, kept: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded where answers do not end."""
    monkeypatch.setattr("igw.tracing.tracing._MOST", 3)
    traced = Traced(tmp_path, kept)
    headers = [sent(await traced.ask())["traceparent"] for _ in range(5)]
    assert [each[-2:] for each in headers] == ["01", "01", "01", "00", "00"]
    await traced.picker._tracing.close()
    assert len(kept.get_finished_spans()) == 3


async def test_without_tracing_nothing_of_it_is_entered(tmp_path: Path) -> None:
    """Not even to find that there is none."""
    file = tmp_path / "pool.yaml"
    file.write_text(POOL + ENDPOINT)
    picker = Picker(PickerSettings(paths=(file,)))
    picker.use(load([file]))
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            entered.add(frame.f_code)

    stream = Stream(chat())
    sys.setprofile(note)
    try:
        await picker.extproc.process(None, stream)
        picker.extproc.ledger.close(decision_of(stream.replies[-1]), Outcome(End.COMPLETE, 200))
    finally:
        sys.setprofile(None)
    assert any(code.co_filename.startswith(str(HOUSE / "routing")) for code in entered)
    assert not [code for code in entered if code.co_filename.startswith(str(HOUSE / "tracing"))]
    assert "traceparent" not in sent(stream.replies[-1])


def test_names_that_clients_choose_are_cut() -> None:
    """A model's is one."""
    request = Request(Head("/", "POST", {}), model="x" * 10_000, api="chat/completions")
    assert len(_of_request(request)["gen_ai.request.model"]) == 256
