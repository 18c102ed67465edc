"""What else a vocabulary needs so that an encoder still writes what is kept.

An encoder that merges reaches an entry through smaller ones. With all of these it takes the same
steps as before wherever its result is kept: what it merged then is still there, and nothing new
can come first. One that looks pieces up (Unigram) finds the same best way, as that is still there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise

import numpy as np
from tokenizers import Tokenizer

from tascel.new_tokens import NewTokens
from tascel.token_bytes import TokenBytes
from tascel.types import Ids

_BYTES = 256


def closed(kept: Iterable[int], tokenizer: Tokenizer, new_tokens: NewTokens) -> Ids:
    """The ids `kept`, and those that they and any text need: i32[n], ascending.

    - What new tokens stand for.
    - BPE: whatever each entry is merged from.
    - Unigram: the entry with the lowest score, on which that of unknown characters hangs.
    - Where no bytes spell what is no entry, all single characters.
    """
    model = json.loads(tokenizer.to_str())["model"]
    ids = tokenizer.get_vocab(with_added_tokens=True)
    pieces = {id_: piece for piece, id_ in ids.items()}
    found = {*kept, *chain.from_iterable(new_tokens.runs.values())}
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        found.add(int(np.argmin(scores)))
    spell = TokenBytes(tokenizer)
    if len(spell.singles()) < _BYTES and not spell.byte_level:
        found |= {id_ for piece, id_ in ids.items() if len(piece) == 1}
    if model["type"] == "BPE":
        ranks = {(a, b): rank for rank, (a, b) in enumerate(model["merges"])}
        added = tokenizer.get_added_tokens_decoder().keys()
        for id_ in [*found - added]:
            found |= {ids[part] for part in _parts(pieces[id_], ranks) if part in ids}
    return np.array(sorted(found), np.int32)


def _parts(piece: str, ranks: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """What an encoder goes through to write an entry; nothing if it does not get there."""
    symbols, passed = [*piece], set(piece)
    while len(symbols) > 1:
        rank, at = min(
            (ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(symbols))
        )
        if rank == len(ranks):
            return iter(())
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        passed.add(symbols[at])
    return iter(passed)
