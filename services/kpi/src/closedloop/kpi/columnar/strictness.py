"""Proof for many JSON texts at once that each is plainly strict: what `common.events.strict_json` counts per record, in columns.

Only for texts that a closed decoder (see `closed`) took: they are valid JSON without control characters inside strings, all their
keys are known, and no key of the envelope is one of the data. Without a backslash each `":` then ends a key; without white space
before a colon these are all the keys. So a text has at least as many `":` as different keys, and as many where none stands twice;
and where a chunk of texts has as many `":` as its texts have different keys, none stands twice in any of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

SUSPICIOUS: Final = ("\\", " :", "\t", "\n", "\r", "\x7f", '""')
"""Escapes, space that may hide a key, DEL (which no identifier may hold) and empty strings (which none may be)."""
_JOINED: Final = 1024
"""Texts a step where they are joined: the arrays stay in the processor's cache."""
_BLOCK: Final = 128
_QUOTE, _COLON = 0x22, 0x3A
_KEY_END: Final = '":'
Mask: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """What is known of a chunk's texts: the `rows` of the batch that the closed decoder took, how many `":` are in all of them,
    how many of the keys that were read into columns. `is_whole`: nothing else was read with them."""

    rows: Rows
    key_ends: int
    keys_read: int
    is_whole: bool


class StrictnessProof:
    """For a closed decoder that knows `keys`, of which all its types require `required`; `read` become columns."""

    def __init__(self, keys: Iterable[str], required: Iterable[str], read: Iterable[str]) -> None:
        self._always = frozenset(required)
        self._optional = frozenset(keys) - self._always
        self._read = frozenset(read)
        self._met: set[str] = set()
        """Optional keys that are not read and were met so far: to look for others would cost more than to be surprised by them."""

    def prepare(self, texts: Sequence[bytes]) -> pl.LazyFrame:
        """What `look` evaluates; apart, because this part holds the interpreter's lock and that does not."""
        text = pl.col("text")
        suspicious = pl.any_horizontal(text.str.contains(mark, literal=True) for mark in SUSPICIOUS)
        return _frame(texts).select(suspicious=suspicious, keys=_different(text, self._met))

    @staticmethod
    def look(prepared: pl.LazyFrame) -> pl.DataFrame:
        """Per text: whether it holds something suspicious, and how many of the keys met."""
        return prepared.collect()

    def unproved(self, texts: Sequence[bytes], looked: pl.DataFrame, chunks: Iterable[Evidence]) -> Mask:
        """True where a text was *not* shown to be without escapes, empty strings, DEL and duplicate keys. Says nothing of texts
        that no chunk has."""
        unproved = looked["suspicious"].to_numpy().copy()
        keys = looked["keys"].to_numpy()
        open_: list[Rows] = []
        for chunk in chunks:
            different = len(self._always) * len(chunk.rows) + chunk.keys_read + int(keys[chunk.rows].sum())
            # what is suspicious may have fewer `":` than keys, and so hide another's duplicate
            if not chunk.is_whole or different != chunk.key_ends or unproved[chunk.rows].any():
                open_.append(chunk.rows[~unproved[chunk.rows]])
        if open_:
            rows = np.concatenate(open_)
            unproved[rows] = self._repeating([texts[row] for row in rows.tolist()])
        return unproved

    def _repeating(self, texts: Sequence[bytes]) -> Mask:
        """True where a text has more `":` than different keys, text by text. Learns which keys there are."""
        text = pl.col("text")
        found = {key: text.str.contains(f'"{key}":', literal=True) for key in sorted(self._optional)}
        looked = _frame(texts).select(ends=text.str.count_matches(_KEY_END, literal=True), **found).collect()
        self._met |= {key for key in self._optional - self._read if looked[key].any()}
        different = looked.select(pl.sum_horizontal(pl.lit(len(self._always)), *found)).to_series()
        repeating: Mask = (looked["ends"] != different).to_numpy()
        return repeating


def _different(text: pl.Expr, keys: Iterable[str]) -> pl.Expr:
    """How many of these keys stand in the text."""
    count = pl.repeat(0, pl.len(), dtype=pl.UInt32)
    for key in sorted(keys):
        count = count + text.str.contains(f'"{key}":', literal=True).cast(pl.UInt32)
    return count


def _frame(texts: Sequence[bytes]) -> pl.LazyFrame:
    try:
        column = pl.Series("text", texts, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:  # one of them is not UTF-8; no decoder takes it anyway
        column = pl.Series("text", [text if text.isascii() or _is_utf8(text) else b"" for text in texts]).cast(pl.String)
    return pl.LazyFrame({"text": column})


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def scanned(texts: Sequence[bytes]) -> tuple[Mask, int]:
    """(true wherever a string has 255 or more bytes, and for some texts besides: all others keep the limits on identifiers;
    how many `":` are in all texts).

    A string of 255 bytes covers, wherever it begins, a whole block of 128 bytes in which there is no quote.
    """
    long = np.zeros(len(texts), dtype=np.bool_)
    key_ends = 0
    for start in range(0, len(texts), _JOINED):
        chunk = texts[start : start + _JOINED]
        octets = np.frombuffer(b"".join(chunk), dtype=np.uint8)
        quotes = octets == _QUOTE
        key_ends += int(np.count_nonzero(quotes[:-1] & (octets[1:] == _COLON)))
        blocks = quotes[: len(octets) // _BLOCK * _BLOCK].view(np.uint64).reshape(-1, _BLOCK // 8)
        quoteless = np.flatnonzero(np.bitwise_or.reduce(blocks, axis=1) == 0)
        if quoteless.size:
            ends = np.cumsum(np.fromiter(map(len, chunk), dtype=np.int64, count=len(chunk)))
            long[start + np.searchsorted(ends, quoteless * _BLOCK, side="right")] = True
    return long, key_ends
