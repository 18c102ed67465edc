"""Mining as the paper writes it: count everything again at every step. What tests compare with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tascel.adapt.tokens.enriched import Spell
from tascel.adapt.tokens.mining import COLLIDES, Mined, MiningConfig, Refuse, Refused, unfit

Tokens = tuple[int, ...]


def mine(
    outputs: Sequence[Sequence[int]],
    config: MiningConfig,
    spell: Spell,
    refuse: Refuse = lambda run: None,
    never: Collection[int] = (),
) -> Mined:
    """As `mining.mine`."""
    corpus = [piece for output in outputs for piece in _pieces(output, never)]
    runs: dict[int, Tokens] = {token: (token,) for piece in corpus for token in piece}
    texts = {token: spell(token) for token in runs}
    mined = Mined([], [])
    used: set[Tokens] = set()
    added: set[bytes] = set()
    while len(mined.runs) < config.size:
        uses = {ngram: _uses(corpus, ngram) for ngram in _ngrams(corpus, config.n_max) - used}
        best = min(
            (ngram for ngram in uses if uses[ngram] >= config.least_uses),
            key=lambda ngram: (-uses[ngram] * (len(ngram) - 1), ngram),
            default=None,
        )
        if best is None:
            break
        used.add(best)
        run = tuple(base for token in best for base in runs[token])
        text = b"".join(texts[token] for token in best)
        why = unfit(run, text, config, text in added) or refuse(run)
        if why is None and _collision(corpus, best, texts, config) >= config.alpha:
            why = COLLIDES
        if why is not None:
            mined.refused.append(Refused(run, uses[best], why))
            continue
        mined.runs.append(run)
        token = 1 + max(runs)
        runs[token], texts[token] = run, text
        added.add(text)
        corpus = [_merged(piece, best, token) for piece in corpus]
    return mined


def _pieces(output: Sequence[int], never: Collection[int]) -> list[list[int]]:
    pieces: list[list[int]] = [[]]
    for token in output:
        if token in never:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _ngrams(corpus: list[list[int]], n_max: int) -> set[Tokens]:
    return {
        tuple(piece[at : at + n])
        for piece in corpus
        for n in range(2, n_max + 1)
        for at in range(len(piece) - n + 1)
    }


def _uses(corpus: list[list[int]], ngram: Tokens) -> int:
    return sum(len(piece) - len(_merged(piece, ngram, 0)) for piece in corpus) // (len(ngram) - 1)


def _merged(piece: list[int], ngram: Tokens, token: int) -> list[int]:
    out: list[int] = []
    at = 0
    while at < len(piece):
        if tuple(piece[at : at + len(ngram)]) == ngram:
            out.append(token)
            at += len(ngram)
        else:
            out.append(piece[at])
            at += 1
    return out


def _collision(
    corpus: list[list[int]], ngram: Tokens, texts: dict[int, bytes], config: MiningConfig
) -> float:
    if config.collision == "formula":
        text = b"".join(texts[token] for token in ngram)
        everything = [token for piece in corpus for token in piece]
        return sum(texts[token].startswith(text) for token in everything) / len(everything)
    n, last = len(ngram), texts[ngram[-1]]
    after = [
        b"".join(texts[token] for token in piece[at + n - 1 : at + n])
        for piece in corpus
        for at in range(len(piece) - n + 2)
        if tuple(piece[at : at + n - 1]) == ngram[:-1]
    ]
    return sum(text.startswith(last) and text != last for text in after) / len(after)
