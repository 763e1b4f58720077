"""The HTTP filters every request passes, in order, and how a route sets them. What routes exist is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from igw.config.gateway_api import Filter, HeaderModifier
from igw.gateway.grpc_usage import usage_filter
from igw.gateway.settings import GatewaySettings
from igw.gateway.xds import duration, typed

CONTROL_HEADERS = (
    "x-gateway-destination-endpoint",
    "x-gateway-destination-endpoint-subset",
    "x-gateway-destination-endpoint-served",
    "x-gateway-destination-endpoint-scores",
    "x-prefiller-host-port",
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-kv-cache-source-host-port",
    "test-epp-endpoint-selection",
    "x-llm-d-request-dropped-reason",
    "x-igw-waiting-room",
)
"""What only the picker may say; whatever a client sends under these names is dropped before anyone reads it."""

PICKER_HEADERS = (
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
    "x-llm-d-inference-objective",
    "x-gateway-inference-objective",
    "x-llm-d-model-name-rewrite",
    "x-gateway-model-name-rewrite",
    "x-llm-d-slo-ttft-ms",
    "x-llm-d-slo-tpot-ms",
    "x-slo-ttft-ms",
    "x-slo-tpot-ms",
    "x-igw-queue-ttl-ms",
    "x-igw-slo-e2e-ms",
    "x-igw-explain",
)
"""What clients say to the picker; no business of the model server's."""

QUEUE_UPDATES = "x-igw-queue-updates"
"""By which a client asks to be told how long it waits. Dropped where Envoy cannot reach the waiting room: the picker must not send it there."""

TOLD_HEADERS = ("x-igw-decision-id", "x-igw-decision")
"""By which a client that asks with `x-igw-explain: true` is told why, where the picker lets it: the picker leaves them in the pick's metadata."""

_MOST_PATIENCE_SECONDS = 3600.0

# A picker that closes refuses what has come since it said so, and that is nobody's fault: another one decides.
_ANOTHER_PICKER = {"retry_on": "refused-stream,cancelled,unavailable", "num_retries": 2}

HEADERS = "igw.headers"
PICKER = "igw.picker"
USAGE = "igw.usage"

_USAGE_LUA = """
-- Reads the usage that a model server reports, from the head and the tail of the answer: 8 KiB and at most eight pieces
-- of 8 KiB are remembered, nothing is held up or changed. The head counts because Anthropic's stream names the prompt's
-- tokens in its first event, and vLLM's generate names all of them before the output. What the names mean: igw.parsing.usage.
local KEPT, PIECE = 8, 8192
local OBJECTS = { "usage", "meta_info", "details" }

local function count(object, ...)
  for _, field in ipairs({ ... }) do
    local value = object:match('"' .. field .. '"%s*:%s*(%d+)%s*[,}]')
    if value then return tonumber(value) end
  end
end

local function counts(object)
  local read, written = count(object, "cache_read_input_tokens"), count(object, "cache_creation_input_tokens")
  local input = count(object, "input_tokens")
  local prompt = count(object, "prompt_tokens") or input and input + (read or 0) + (written or 0)
    or count(object, "input_length")
  local completion = count(object, "completion_tokens", "output_tokens", "generated_tokens")
  if not prompt and not completion then prompt = count(object, "total_tokens") end
  return { prompt_tokens = prompt, completion_tokens = completion, cached_tokens = count(object, "cached_tokens") or read }
end

local FIRST, LAST = "^.-", "^.*"

local function note(handle, text, which)
  for _, name in ipairs(OBJECTS) do
    local at = text:match(which .. '"' .. name .. '"%s*:%s*(){')
    local found = at and counts(text:match('^%b{}', at) or text:sub(at)) or {}
    for field, value in pairs(found) do
      handle:streamInfo():dynamicMetadata():set("igw.usage", field, string.format("%.0f", value))
    end
    if next(found) then return true end
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local kind = headers:get("content-type") or "json"
  if headers:get("content-encoding") or not (kind:find("json") or kind:find("event%-stream")) then return end
  local head, missing, pieces, count = {}, PIECE, {}, 0
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    if size > 0 then
      local from = size > PIECE and size - PIECE or 0
      if missing > 0 then
        head[#head + 1] = chunk:getBytes(0, math.min(size, missing))
        missing = missing - size
      end
      pieces[count % KEPT] = chunk:getBytes(from, size - from)
      count = count + 1
    end
  end
  if count == 0 then return end
  local tail = {}
  for index = math.max(count - KEPT, 0), count - 1 do tail[#tail + 1] = pieces[index % KEPT] end
  head, tail = table.concat(head), table.concat(tail)
  local opens = head:match("^%s*(.)")
  if opens == "{" then
    if not note(handle, tail, LAST) then note(handle, head, FIRST) end
  elseif opens ~= "[" then  -- a stream; a list would be answers to several prompts
    note(handle, head, FIRST)
    note(handle, tail, LAST)
  end
end
"""


def http_filters(settings: GatewaySettings) -> list[dict[str, Any]]:
    """Return the filters of a listener: strip what clients may not say, ask the picker, read the usage, route.

    The picker and the usage reader are off until a route turns them on, so that a request without a route costs
    the picker nothing.
    """
    strip: list[dict[str, Any]] = [{"remove": name} for name in CONTROL_HEADERS]
    if not settings.waiting_room:
        strip.append({"remove": QUEUE_UPDATES})
    # x-envoy-upstream-rq-timeout-ms, x-envoy-retry-on, x-envoy-max-retries and their kin steer Envoy's router.
    strip.append({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-", "ignore_case": True}}})
    return [
        {
            "name": HEADERS,
            "typed_config": typed(
                "filters.http.header_mutation.v3.HeaderMutation",
                mutations={"request_mutations": strip, "response_mutations": _TOLD},
            ),
        },
        {"name": PICKER, "disabled": True, "typed_config": _picker(settings)},
        {
            "name": USAGE,
            "disabled": True,
            "typed_config": typed(
                "filters.http.lua.v3.Lua", default_source_code={"inline_string": _USAGE_LUA}
            ),
        },
        usage_filter(),
        # x-envoy-upstream-service-time and its kin tell clients nothing they should know.
        {
            "name": "envoy.filters.http.router",
            "typed_config": typed("filters.http.router.v3.Router", suppress_envoy_headers=True),
        },
    ]


_TOLD: list[dict[str, Any]] = [
    {
        "append": {
            "header": {"key": name, "value": f"%DYNAMIC_METADATA(envoy.lb:{name})%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }
    }
    for name in TOLD_HEADERS
]
"""Nothing is added where there is no such metadata."""


def _picker(settings: GatewaySettings) -> dict[str, Any]:
    return typed(
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service=_grpc(picker_cluster(settings.picker)),
        message_timeout=duration(settings.picker_timeout_seconds),
        # a picker says within a second that it lets a request wait in its queue: one that says nothing hangs
        max_message_timeout=duration(_MOST_PATIENCE_SECONDS),
        status_on_error={"code": "ServiceUnavailable"},
        # without it the pick's metadata is dropped
        metadata_options={"receiving_namespaces": {"untyped": ["envoy.lb"]}},
        # the pool was chosen before the picker was asked: what it changes must not lead to another pool
        route_cache_action="RETAIN",
        processing_mode=_mode(streamed=False),
    )


def _mode(*, streamed: bool, answers: bool = False) -> dict[str, str]:
    """The request is shown to the picker; the answer never leaves Envoy, unless *answers* are to be changed."""
    return {
        "request_header_mode": "SEND",
        # BUFFERED keeps content-length, does not send the body back and fails open at once; streaming needs the
        # trailers, and is for bodies of any size
        "request_body_mode": "FULL_DUPLEX_STREAMED" if streamed else "BUFFERED",
        "request_trailer_mode": "SEND" if streamed else "SKIP",
        "response_header_mode": "SEND" if answers else "SKIP",
        "response_body_mode": "FULL_DUPLEX_STREAMED" if answers else "NONE",
        "response_trailer_mode": "SEND" if answers else "SKIP",
    }


def picker_cluster(hostport: str) -> str:
    """Return the name of the cluster for the picker at *hostport*."""
    return f"picker/{hostport}"


def picker_log_cluster(hostport: str) -> str:
    """Return the name of the cluster by which the picker at *hostport* is told of requests' ends."""
    return f"picker-log/{hostport}"


def _grpc(cluster: str) -> dict[str, Any]:
    # no timeout: it would end the stream, and a message has its own
    return {"envoy_grpc": {"cluster_name": cluster}, "retry_policy": _ANOTHER_PICKER}


def for_pool(
    pool: str, picker: str, *, fail_open: bool, streamed: bool, answers: bool = False
) -> dict[str, Any]:
    """Return the filter settings of a route to *pool*: ask *picker*, and tell it which pool is meant.

    *answers*: show them to the picker, which writes the model's name back that the client asked for.
    """
    overrides = {
        "grpc_service": _grpc(picker_cluster(picker)),
        "grpc_initial_metadata": [
            {"key": "x-igw-pool", "value": pool},
            {"key": "x-igw-mode", "value": "lean"},
        ],
        "failure_mode_allow": fail_open,
        "processing_mode": _mode(streamed=streamed, answers=answers),
    }
    return {
        PICKER: typed("filters.http.ext_proc.v3.ExtProcPerRoute", overrides=overrides),
        USAGE: typed("filters.http.lua.v3.LuaPerRoute", filter_context={}),
    }


def header_changes(filters: Iterable[Filter], *, dropped: Iterable[str] = ()) -> dict[str, Any]:
    """Return the filter settings for header modifiers of a rule or a backend; the picker sees their outcome, and nothing of what is *dropped*."""
    request: list[dict[str, Any]] = []
    response: list[dict[str, Any]] = []
    for item in filters:
        request += _mutations(item.request_header_modifier)
        response += _mutations(item.response_header_modifier)
    request += [{"remove": name} for name in dropped]
    if not request and not response:
        return {}
    mutations = {"request_mutations": request, "response_mutations": response}
    return {HEADERS: typed("filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations=mutations)}


def _mutations(modifier: HeaderModifier | None) -> list[dict[str, Any]]:
    if modifier is None:
        return []
    written = [(header, "OVERWRITE_IF_EXISTS_OR_ADD") for header in modifier.set]
    written += [(header, "APPEND_IF_EXISTS_OR_ADD") for header in modifier.add]
    # a lone % would start one of Envoy's own format commands
    changes: list[dict[str, Any]] = [
        {
            "append": {
                "header": {"key": header.name, "value": header.value.replace("%", "%%")},
                "append_action": action,
            }
        }
        for header, action in written
    ]
    return changes + [{"remove": name} for name in modifier.remove]
