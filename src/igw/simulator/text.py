"""Text in, tokens out, and the words an answer is made of: a stand-in for tokenizer, chat template and model.

A token is four bytes of UTF-8, so an English text has about as many tokens as with a real vocabulary. The last token
is filled up with zero bytes. Hence the tokens of a prefix are, up to the last one, a prefix of the tokens.

What a client may rely on: an answer is a function of the prompt's tokens alone; every piece of it is one token; and in
a chat, sending the answer back as the assistant's message yields the very tokens that were generated, so the next turn
finds the whole of the previous one in the cache. For plain completions that holds if the prompt's UTF-8 length is a
multiple of four. HTTP does not belong here.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest, xxh3_128_digest

TOKEN_BYTES = 4

MEDIA_TOKENS = {"image_url": 256, "input_image": 256, "image": 256, "input_audio": 128, "video_url": 1024}
"""Placeholder tokens of a part by its type; a picture of 448 x 448 pixels has 256 in Qwen2.5-VL and InternVL."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_STARTS = [" " + "".join(word) for word in product(_CONSONANTS, _VOWELS, _CONSONANTS)][::7][:128]
_JOINTS = ["".join(word) for word in product(_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS)][::38][:128]
PIECES = tuple(_STARTS + _JOINTS)
"""All tokens an answer can hold: 128 that start a word and 128 that continue one, four ASCII characters each."""


def tokenize(text: str) -> array[int]:
    """Return the ids (unsigned 32-bit) of *text*: an array rather than a list, for it may hold millions."""
    raw = text.encode("utf-8", "surrogatepass")
    tokens = array("I")
    tokens.frombytes(raw + bytes(-len(raw) % TOKEN_BYTES))
    return tokens


def detokenize(tokens: Iterable[int]) -> str:
    """Return the text of tokens; bytes that are no UTF-8 become U+FFFD, the zeros that fill a token up vanish."""
    return _packed(tokens).replace(b"\0", b"").decode("utf-8", "replace")


def render_chat(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] | None = None,
    *,
    add_generation_prompt: bool = True,
) -> str:
    """Return the prompt of a conversation: tools first, ChatML markers, open for the assistant's turn.

    Every message starts on a token of its own, and a conversation that goes on with the assistant's answer extends
    this text. ValueError names the first message that cannot be rendered.
    """
    parts = []
    if tools:
        parts.append(_block("system", f"# Tools\n{msgspec.json.encode(tools).decode()}"))
    for index, message in enumerate(messages):
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise ValueError(f"messages[{index}].role must be a non-empty string")
        body = _content(message.get("content"), f"messages[{index}].content")
        if calls := message.get("tool_calls"):
            body += f"<tool_call>{msgspec.json.encode(calls).decode()}</tool_call>"
        parts.append(_block(role, body))
    if add_generation_prompt:
        parts.append(_padded("<|im_start|>assistant\n"))
    return "".join(parts)


def media_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return how many tokens of a conversation's prompt are placeholders of pictures, sounds and films."""
    contents = [content for message in messages if isinstance(content := message.get("content"), list)]
    return sum(_media_tokens(part) for content in contents for part in content)


def answer(prompt_tokens: Iterable[int], count: int, choice: int = 0) -> list[str]:
    """Return the first `count` pieces of an answer to a prompt; more of them never change the earlier ones.

    A prompt has a different answer for each `choice`.
    """
    seed = xxh3_128_digest(_packed(prompt_tokens), choice)
    drawn = bytearray(hashlib.shake_128(seed).digest(count))
    if drawn:
        drawn[0] |= 128  # no leading blank, which clients like to strip
    return [PIECES[index] for index in drawn]


def natural_length(prompt_tokens: Iterable[int], choice: int = 0) -> int:
    """Return after how many tokens, 16 to 256, the model itself ends its answer to a prompt."""
    return 16 + xxh3_64_intdigest(_packed(prompt_tokens), choice) % 241


def cut_at_stop(
    pieces: list[str], stop: Sequence[str], *, min_tokens: int = 0, include: bool = False
) -> tuple[list[str], str | None]:
    """Return the pieces up to the token that completes a stop string, and that string.

    The string itself is shown only with `include`; one that ends within the first `min_tokens` tokens does not count.
    As in vLLM the string completed by the earliest token wins, then the one named first.
    """
    text = "".join(pieces)
    best: tuple[int, int, int] | None = None
    for order, string in enumerate(stop):
        start = text.find(string, max(0, min_tokens * TOKEN_BYTES - len(string) + 1))
        if start >= 0:
            token = (start + len(string) - 1) // TOKEN_BYTES
            best = min(best or (token, order, start), (token, order, start))
    if best is None:
        return pieces, None
    token, order, start = best
    shown = text[: start + len(stop[order]) if include else start]
    cut = [shown[i * TOKEN_BYTES : (i + 1) * TOKEN_BYTES] for i in range(token + 1)]
    return cut, stop[order]


def _packed(tokens: Iterable[int]) -> bytes:
    return (tokens if isinstance(tokens, array) else array("I", tokens)).tobytes()


def _block(role: str, body: str) -> str:
    return _padded(f"<|im_start|>{role}\n") + _padded(f"{body}<|im_end|>\n")


def _padded(text: str) -> str:
    return text + "\n" * (-len(text.encode("utf-8", "surrogatepass")) % TOKEN_BYTES)


def _content(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(part, f"{where}[{index}]") for index, part in enumerate(content))
    raise ValueError(f"{where} must be a string, null or a list of parts")


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or "type" not in part:
        raise ValueError(f"{where} must be an object with a type")
    if isinstance(text := part.get("text"), str):
        return text
    # As engines hash media: the same picture has the same placeholder, another one differs in its first tokens.
    mark = f"<|media:{xxh3_64_intdigest(msgspec.json.encode(part)):016x}|>"
    return mark + "." * (_media_tokens(part) * TOKEN_BYTES - len(mark))


def _media_tokens(part: Any) -> int:
    if not isinstance(part, dict) or isinstance(part.get("text"), str):
        return 0
    return MEDIA_TOKENS.get(str(part.get("type")), MEDIA_TOKENS["image_url"])
