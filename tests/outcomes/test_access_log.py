"""Access-log records -> outcomes: flags, numbers as Envoy and Lua write them, and the service over real gRPC."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.outcomes.access_log import SERVICE, AccessLog, outcome
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Head, Request

RECORD = {
    "decision": "17",
    "status": "200",
    "flags": "-",
    "endpoint": "10.0.0.7:8000",
    "ttft_us": "12500",
    "duration_us": "2500000",
    "bytes_out": "4096",
    "prompt_tokens": "204.0",
    "completion_tokens": "12.0",
    "cached_tokens": "192",
}


def test_a_whole_record_is_a_whole_outcome() -> None:
    """Microseconds become seconds; Lua writes numbers as 12.0."""
    assert outcome(RECORD) == Outcome(
        end=End.COMPLETE,
        status=200,
        served_by="10.0.0.7:8000",
        ttft_seconds=0.0125,
        duration_seconds=2.5,
        response_bytes=4096,
        usage=Usage(204, 12, 192),
    )


@pytest.mark.parametrize("missing", ["", "-", None, "nil", "inf", "nan"])
def test_what_is_missing_is_not_known(missing: str | None) -> None:
    """Envoy writes a dash where it has nothing; nothing of it becomes zero."""
    names = (
        "endpoint",
        "ttft_us",
        "duration_us",
        "bytes_out",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
    )
    record = {name: value for name, value in RECORD.items() if name not in names}
    if missing is not None:
        record |= dict.fromkeys(names[1:], missing)
    record |= {} if missing is None else {"endpoint": "-"}
    assert outcome(record) == Outcome(End.COMPLETE, 200)


@pytest.mark.parametrize("decision", ["", "-", None, "abc", "-1", "1.5", "²"])
async def test_records_of_requests_that_we_did_not_decide_are_passed_over(decision: str | None) -> None:
    """Without an id of the request there is nothing to find it by."""
    record = {name: value for name, value in RECORD.items() if name != "decision"} | {"request_id": "-"}
    if decision is not None:
        record["decision"] = decision
    ledger, _, ended = open_ledger(1)
    await AccessLog(ledger).export(export(record), None)
    assert ended == []


@pytest.mark.parametrize(
    ("flags", "status", "end"),
    [
        ("-", "200", End.COMPLETE),
        ("", "200", End.COMPLETE),
        ("-", "404", End.COMPLETE),
        ("-", "500", End.COMPLETE),
        ("DC", "200", End.ABORTED),
        ("DC", "0", End.ABORTED),
        ("DC", "-", End.ABORTED),
        ("UC,DC", "200", End.ABORTED),
        ("UF", "503", End.FAILED),
        ("UF,URX", "503", End.FAILED),
        ("UC", "200", End.FAILED),
        ("UR", "503", End.FAILED),
        ("UT", "504", End.FAILED),
        ("UH", "503", End.FAILED),
        ("LR", "200", End.FAILED),
        ("UPE", "502", End.FAILED),
        ("UMSDR", "504", End.FAILED),
        ("SI", "408", End.FAILED),
        ("URX", "503", End.FAILED),
        ("-", "0", End.FAILED),
        ("-", "-", End.FAILED),
        ("NFCF", "200", End.COMPLETE),
    ],
)
def test_flags_tell_who_ended_it(flags: str, status: str, end: End) -> None:
    """Client, endpoint, or nobody: an error status that was delivered whole is a whole answer."""
    got = outcome(RECORD | {"flags": flags, "status": status})
    assert got.end is end


@pytest.mark.parametrize(
    ("flags", "unreachable"), [("UF", True), ("URX,UF", True), ("UC", False), ("-", False)]
)
def test_a_refused_connection_is_told(flags: str, unreachable: bool) -> None:
    """Only that, not a connection that broke later."""
    got = outcome(RECORD | {"flags": flags})
    assert got.unreachable is unreachable


@pytest.mark.parametrize(
    ("grpc_status", "status"), [("0", 200), ("14", 503), ("3", 400), ("99", 500), ("-", 200), ("", 200)]
)
def test_what_a_grpc_call_says_of_itself_counts(grpc_status: str, status: int) -> None:
    """Its HTTP status is 200 whatever became of it; other answers have no such thing."""
    assert status == outcome(RECORD | {"grpc_status": grpc_status}).status


def test_an_ipv6_endpoint_keeps_its_brackets() -> None:
    """The dash of a missing value is cut off, nothing else."""
    got = outcome(RECORD | {"endpoint": "[::1]:8000"})
    assert got.served_by == "[::1]:8000"


def export(*records: dict[str, str]) -> Any:
    """Return an export message, built by wire format: field names differ between the packages that carry it."""

    def field(number: int, payload: bytes) -> bytes:
        size, length = len(payload), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2]) + bytes([*length, size]) + payload

    def attribute(name: str, value: str) -> bytes:
        return field(6, field(1, name.encode()) + field(2, field(1, value.encode())))

    logs = [field(2, b"".join(attribute(*item) for item in record.items())) for record in records]
    scopes = field(2, logs[0]) + field(2, b"".join(logs[1:]))
    return logs_service_pb2.ExportLogsServiceRequest.FromString(field(1, scopes))


def open_ledger(count: int, request_id: str = "") -> tuple[Ledger, Columns, list[tuple[int, Outcome]]]:
    """Return a ledger with reservations 1 to *count*, its columns, and where ends are noted."""
    ended: list[tuple[int, Outcome]] = []
    ledger = Ledger(60, [lambda decision, end: ended.append((decision.id, end))])
    endpoint = Endpoint.at("10.0.0.7", 8000)
    columns = Columns(Pool("p", "default", (endpoint,)), lambda _: 0)
    for number in range(1, count + 1):
        headers = {"x-request-id": request_id} if request_id else {}
        ledger.open(Decision(number, Request(Head("/", "POST", headers)), (endpoint,)), columns)
    return ledger, columns, ended


async def test_every_record_of_an_export_closes_its_reservation() -> None:
    """Several to a message and to a scope; unknown decisions, strangers and repetitions do no harm."""
    ledger, columns, ended = open_ledger(3)
    message = export(
        RECORD | {"decision": "1"},
        RECORD | {"decision": "-"},
        RECORD | {"decision": "99"},
        RECORD | {"decision": "3", "flags": "DC"},
        RECORD | {"decision": "1", "flags": "UF"},
    )
    answer = await AccessLog(ledger).export(message, None)
    assert isinstance(answer, logs_service_pb2.ExportLogsServiceResponse)
    assert [(number, end.end) for number, end in ended] == [(1, End.COMPLETE), (3, End.ABORTED)]
    assert columns.inflight.tolist() == [1]


LEFT = {"decision": "-", "request_id": "r1", "flags": "DC", "status": "0"}


async def test_a_client_that_left_while_we_decided_leaves_nothing_behind() -> None:
    """The proxy has heard of no decision: the request's own id finds it."""
    ledger, columns, ended = open_ledger(1, "r1")
    await AccessLog(ledger).export(export(LEFT | {"request_id": "other"}, LEFT), None)
    assert [(number, end.end) for number, end in ended] == [(1, End.ABORTED)]
    assert columns.inflight.tolist() == [0]


async def test_a_client_that_left_before_we_decided_leaves_nothing_behind() -> None:
    """The record may come first; then the reservation ends as soon as it begins, and only that one."""
    ledger, columns, ended = open_ledger(0)
    await AccessLog(ledger).export(export(LEFT), None)
    request = Request(Head("/", "POST", {"x-request-id": "r1"}))
    for number in (1, 2):
        ledger.open(Decision(number, request, columns.pool.endpoints), columns)
    assert [(number, end.end) for number, end in ended] == [(1, End.ABORTED)]
    assert columns.inflight.tolist() == [1]


async def test_ends_without_a_beginning_are_not_kept_for_ever() -> None:
    """The oldest are forgotten; a repeated id belongs to the newest request."""
    ledger, columns, ended = open_ledger(0)
    await AccessLog(ledger).export(export(*(LEFT | {"request_id": f"r{n}"} for n in range(5000))), None)
    for number in (1, 4999):
        ledger.open(
            Decision(
                number, Request(Head("/", "POST", {"x-request-id": f"r{number}"})), columns.pool.endpoints
            ),
            columns,
        )
    assert [number for number, _ in ended] == [4999]
    for number in (7, 8):
        ledger.open(
            Decision(number, Request(Head("/", "POST", {"x-request-id": "same"})), columns.pool.endpoints),
            columns,
        )
    ledger.close(7, Outcome(End.COMPLETE))
    await AccessLog(ledger).export(export(LEFT | {"request_id": "same"}), None)
    assert [number for number, _ in ended] == [4999, 7, 8]


async def test_the_proxy_reports_over_grpc() -> None:
    """The service has the name and the method that OTLP exporters call."""
    ledger, _, ended = open_ledger(1)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((AccessLog(ledger).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.unary_unary(
            f"/{SERVICE}/Export",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=logs_service_pb2.ExportLogsServiceResponse.FromString,
        )
        await call(export(RECORD | {"decision": "1"}), timeout=20)
    await server.stop(0)
    assert [number for number, _ in ended] == [1]
