"""Text -> tokens, with those of texts that were seen before at hand. What the text is, is up to `local`."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

from tokenizers import Tokenizer
from xxhash import xxh3_128_digest

from igw.prefix.chain import packed

_PIECE_CHARS = 1024
"""Pieces are at least this long: shorter ones would be remembered at the price of longer ones."""
_ENTRY_BYTES = 200
"""Of memory, beside the tokens: what a dictionary and its objects take."""


class Encoder:
    """Makes tokens, for any thread, and remembers those of pieces of text: of a long conversation only what is new is computed.

    A text is cut before tokens that the tokenizer finds in the raw text before all else (`<|im_start|>` and the like). It treats what is
    between them each for itself, so the tokens of the pieces are those of the whole. Where tokens look at their neighbours
    (`single_word`), nothing is cut; before one that swallows blanks (`lstrip`) neither.
    """

    def __init__(self, tokenizer: Tokenizer, most_bytes: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._most_bytes = most_bytes
        self._borders, self._before = _borders(tokenizer)
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()
        # Clients choose texts: without it they could make one pass for another.
        self._seed = int.from_bytes(os.urandom(8))
        self.size_bytes = 0
        """Of what is remembered; at most what was given."""

    def tokens(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Return the tokens of *text*, four bytes each; with those that the tokenizer puts around every text, if it does."""
        if add_special_tokens or self._borders is None:
            return packed(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        return b"".join([self._piece(piece) for piece in self._pieces(text)])

    def _pieces(self, text: str) -> Iterator[str]:
        """Yield *text* in pieces: where they end depends on nothing behind, so a text that goes on has the same first ones."""
        start = 0
        if self._borders is not None:
            for found in self._borders.finditer(text):
                if found.start() - start >= _PIECE_CHARS and found.group() in self._before:
                    yield text[start : found.start()]
                    start = found.start()
        yield text[start:]

    def _piece(self, piece: str) -> bytes:
        key = xxh3_128_digest(piece.encode("utf-8", "surrogatepass"), self._seed)
        with self._lock:
            if (tokens := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return tokens
        tokens = packed(self._tokenizer.encode(piece, add_special_tokens=False).ids)
        with self._lock:
            if key not in self._known:
                self._known[key] = tokens
                self.size_bytes += len(tokens) + _ENTRY_BYTES
            while self.size_bytes > self._most_bytes:
                _, oldest = self._known.popitem(last=False)
                self.size_bytes -= len(oldest) + _ENTRY_BYTES
        return tokens


def _borders(tokenizer: Tokenizer) -> tuple[re.Pattern[str] | None, frozenset[str]]:
    """Return what finds the tokens that are found first, as the tokenizer does, and before which of them a text may be cut."""
    added = [each for each in tokenizer.get_added_tokens_decoder().values() if each.content]
    first = [each for each in added if not each.normalized]
    before = frozenset(each.content for each in first if not each.lstrip and not each.content[0].isspace())
    if not before or any(each.single_word for each in added):
        return None, before
    # The longest of those that begin at the leftmost place.
    contents = sorted((each.content for each in first), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, contents))), before
