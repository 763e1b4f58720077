"""The lines of a trace file, plain or gzip, with what is needed to say which one is wrong.

What is in a line is each format's own file.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from igw.errors import ConfigError

_GZIP = b"\x1f\x8b"

T = TypeVar("T")


class Lines:
    """Iterates over the lines of a file that are not empty, one at a time; `number` is that of the last one read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self._rows = self._read()
        self.first = next(self._rows, "")
        """The first line that is not empty; it is yielded again."""
        if not self.first:
            raise ConfigError(str(path), "the file is empty")
        self._rows = chain((self.first,), self._rows)

    def __iter__(self) -> Iterator[str]:
        return self._rows

    def wrong(self, problem: str, hint: str = "") -> ConfigError:
        """Return the error that says what is wrong with the last line that was read."""
        return ConfigError(f"{self.path}, line {self.number}", problem, hint)

    def object(self, kind: type[T]) -> T:
        """Return the next line, read as JSON; ConfigError if it is no *kind* or there is none."""
        for value in self.objects(kind):
            return value
        raise self.wrong("nothing comes after this line")

    def objects(self, kind: type[T]) -> Iterator[T]:
        """Yield each line that is left, read as JSON; ConfigError for one that is no *kind*."""
        decoder = msgspec.json.Decoder(kind)
        for line in self:
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise self.wrong(str(error)) from error

    def cells(self, header: list[str]) -> Iterator[list[str]]:
        """Yield the cells of each line of a CSV file after its header; ConfigError for too many or too few."""
        for line in self:
            if self.number == 1:
                if line.split(",") != header:
                    raise self.wrong(f"the header is {line!r}", f"this format has {','.join(header)!r}")
                continue
            (row,) = csv.reader([line])
            if len(row) != len(header):
                raise self.wrong(
                    f"{len(row)} cells instead of {len(header)}", f"columns are {', '.join(header)}"
                )
            yield row

    def whole(self, text: str, what: str) -> int:
        """Return a whole number of at least 0; ConfigError otherwise."""
        if not (text.isascii() and text.isdigit()):
            raise self.wrong(f"{what} is {text!r}", "a whole number of at least 0 is needed")
        return int(text)

    def seconds(self, text: str, what: str) -> float:
        """Return a finite number of at least 0; ConfigError otherwise."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise self.wrong(f"{what} is {text!r}", "a number of at least 0 is needed")
        return value

    def _read(self) -> Iterator[str]:
        try:
            with self.path.open("rb") as file:
                packed = file.read(2) == _GZIP
            opener = gzip.open if packed else open
            with opener(self.path, "rt", encoding="utf-8", newline=None) as rows:
                for number, row in enumerate(rows, 1):
                    if line := row.rstrip("\n"):
                        self.number = number
                        yield line
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            after = f" after line {self.number}" if self.number else ""
            raise ConfigError(str(self.path), f"cannot be read{after}: {error}") from error
