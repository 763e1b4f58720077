"""The filter that reads token counts in the gRPC answers of vLLM, which stay in Envoy. Those in JSON are read by `filters`."""

from __future__ import annotations

from typing import Any

from igw.gateway.xds import typed

NAME = "igw.usage.grpc"

_LUA = """
-- Reads the counts in answers of vllm.grpc.engine.VllmEngine: of GenerateResponse.complete, one for each choice, and of
-- EmbedResponse. Of a message the first 256 KiB are kept, in which they stand behind up to 80,000 tokens. Compressed
-- messages say nothing. Nothing is held up or changed.
local KEPT = 262144

local function varint(text, at)
  local value, factor = 0, 1
  for index = at, at + 9 do
    local byte = text:byte(index)
    if not byte then return nil, at end
    value = value + byte % 128 * factor
    if byte < 128 then return value, index + 1 end
    factor = factor * 128
  end
  return nil, at
end

-- Calls found(number, value) for a number, found(number, nil, first, past) for bytes.
local function walk(text, at, past, found)
  while at < past do
    local tag, value
    tag, at = varint(text, at)
    if not tag then return end
    local number, kind = math.floor(tag / 8), tag % 8
    if kind == 0 or kind == 2 then
      value, at = varint(text, at)
      if not value then return end
    end
    if kind == 0 then
      found(number, value)
    elseif kind == 2 then
      found(number, nil, at, math.min(at + value, past))
      at = at + value
    elseif kind == 1 then at = at + 8
    elseif kind == 5 then at = at + 4
    else return end
  end
end

local READ = {
  Generate = function(text, counts)
    if text:byte(1) == 10 then return end  -- a piece, not an end
    walk(text, 1, #text + 1, function(number, _, first, past)
      if number ~= 2 or not first then return end
      local one = {}
      walk(text, first, past, function(inner, value) if value then one[inner] = value end end)
      if not one[3] then return end  -- what is 0 is left out, but no prompt is empty: they lie beyond what is kept
      counts.prompt_tokens = one[3]
      counts.completion_tokens = (counts.completion_tokens or 0) + (one[4] or 0)
      counts.cached_tokens = math.max(counts.cached_tokens or 0, one[5] or 0)
    end)
  end,
  Embed = function(text, counts)
    walk(text, 1, #text + 1, function(number, value)
      if number == 2 and value then counts.prompt_tokens = value end
    end)
  end,
}

function envoy_on_request(handle)
  local method = (handle:headers():get(":path") or ""):match("^/vllm%.grpc%.engine%.VllmEngine/(%a+)$")
  if READ[method] then handle:streamInfo():dynamicMetadata():set("igw.usage", "method", method) end
end

function envoy_on_response(handle)
  local read = READ[(handle:streamInfo():dynamicMetadata():get("igw.usage") or {}).method]
  if not read then return end
  local counts, prefix, missing, kept, size = {}, "", 0, {}, 0
  for chunk in handle:bodyChunks() do
    local at, length = 0, chunk:length()
    while at < length do
      if #prefix < 5 then
        local taken = math.min(5 - #prefix, length - at)
        prefix, at = prefix .. chunk:getBytes(at, taken), at + taken
        if #prefix == 5 then
          local a, b, c, d = prefix:byte(2, 5)
          missing = ((a * 256 + b) * 256 + c) * 256 + d
        end
      else
        local taken = math.min(missing, length - at)
        local wanted = math.min(taken, KEPT - size)
        if wanted > 0 then
          kept[#kept + 1], size = chunk:getBytes(at, wanted), size + wanted
        end
        at, missing = at + taken, missing - taken
      end
      if #prefix == 5 and missing == 0 then
        if prefix:byte(1) == 0 then read(table.concat(kept), counts) end
        prefix, kept, size = "", {}, 0
      end
    end
  end
  for name, value in pairs(counts) do
    -- asked for again: what was handed out before the script waited for a chunk is not valid any more
    handle:streamInfo():dynamicMetadata():set("igw.usage", name, string.format("%d", value))
  end
end
"""


def usage_filter() -> dict[str, Any]:
    """Return the filter, which is off until a route turns it on."""
    lua = typed("filters.http.lua.v3.Lua", default_source_code={"inline_string": _LUA})
    return {"name": NAME, "disabled": True, "typed_config": lua}


def on() -> dict[str, Any]:
    """Return the settings of a route that turn the filter on."""
    return {NAME: typed("filters.http.lua.v3.LuaPerRoute", filter_context={})}
