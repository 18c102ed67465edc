"""Which runs of tokens a task's outputs repeat so often that each deserves a token of its own.

Algorithm 1 of TASC (Tsur, Adar, Levy: Task-Centric Acceleration of Small-Language Models, arXiv
2602.24174, section 3): merge the n-gram that saves most tokens, count again, and so on. Knows ids
and what they write; knows no tokenizer and no model. `reference.py` says the same plainly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tascel.adapt.tokens import spans
from tascel.adapt.tokens.enriched import Enriched, Spell
from tascel.adapt.tokens.ngrams import Ngrams
from tascel.adapt.tokens.spans import Ints
from tascel.errors import RequestError
from tascel.types import Ids

#: Why a run of base ids may be no token, None if it may.
Refuse = Callable[[tuple[int, ...]], str | None]

TOO_LONG, CROSSES, SAME_TEXT, COLLIDES = (
    "too long", "crosses a word boundary", "another new token has its text", "prefix collision",
)  # fmt: skip
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class MiningConfig:
    """How new tokens are chosen.

    `size`: how many. `n_max`: tokens merged at once, new ones among them. `longest`: base tokens of
    a new token at most. `cross_words`: whether one may hold more than a word, or parts of two.
    `least_uses`: an n-gram that occurs less often becomes no token.

    An n-gram whose prefix collision score is not below `alpha` is refused for good; 1 refuses none.
    The paper's formula and its prose disagree on the score, and it names no threshold. The reading
    "conditional": after the n-gram's other tokens, the share of tokens that merely begin with the
    text of its last one (after ` in`, how often ` therapy` for ` in the`). "formula": the share of
    all tokens that begin with the n-gram's whole text.
    """

    size: int = 500
    n_max: int = 4
    longest: int = 32
    cross_words: bool = True
    collision: str = "conditional"
    alpha: float = 0.5
    least_uses: int = 2

    def __post_init__(self) -> None:
        checks = {
            "the number of new tokens must be 0 or more": self.size >= 0,
            "n_max must be 2 or more": self.n_max >= 2,
            "longest must be 2 or more": self.longest >= 2,
            "collision must be `conditional` or `formula`": self.collision
            in ("conditional", "formula"),
            "least_uses must be 2 or more": self.least_uses >= 2,
            "alpha must be above 0 and at most 1": 0 < self.alpha <= 1,
        }
        for rule, holds in checks.items():
            if not holds:
                raise RequestError(f"bad settings for new tokens {self}", rule)


class Refused(NamedTuple):
    """A frequent run of base ids that became no token: its uses when it was refused, and why."""

    run: tuple[int, ...]
    uses: int
    why: str


@dataclass(frozen=True)
class Mined:
    """New tokens as runs of base ids, most saving first, and what was refused on the way."""

    runs: list[tuple[int, ...]]
    refused: list[Refused]

    @property
    def reasons(self) -> Counter[str]:
        """How many n-grams were refused for each reason."""
        return Counter(refused.why for refused in self.refused)


def mine(
    outputs: Sequence[Ids],
    config: MiningConfig,
    spell: Spell,
    refuse: Refuse = lambda run: None,
    never: Collection[int] = (),
    told: Callable[[int], None] = lambda rows: None,
) -> Mined:
    """The runs that deserve a token, most saving first; fewer than asked for where no more n-grams
    occur often enough.

    Args:
        outputs: base ids i32[n] of each expected output.
        spell: what a base id writes.
        refuse: what else is wrong with a run of base ids, asked for each that may become a token.
        never: ids that are part of no run, special tokens above all.
        told: hears how many there are after each.
    """
    corpus = spans.spans(outputs, never)
    vocabulary = Enriched(corpus, spell)
    ngrams = Ngrams(corpus, config.n_max, config.least_uses)
    mined = Mined([], [])
    if not config.size:
        return mined
    for ngram, uses, places in ngrams:
        run, text = vocabulary.joined(ngram)
        why = unfit(run, text, config, vocabulary.added(text)) or refuse(run)
        if why is None and _collision(ngram, text, config, vocabulary) >= config.alpha:
            why = COLLIDES
        if why is not None:
            mined.refused.append(Refused(run, uses, why))
            continue
        mined.runs.append(run)
        told(len(mined.runs))
        if len(mined.runs) == config.size:
            break
        ngrams.enter(vocabulary.merge(ngram, places))
    return mined


def unfit(run: tuple[int, ...], text: bytes, config: MiningConfig, added: bool) -> str | None:
    """Why a run of base ids with this text can be no token, whatever the tokenizer; `added`: there
    is one with this text already, spelled with other ids."""
    if len(run) > config.longest:
        return TOO_LONG
    if not config.cross_words and len(_WORD.findall(text.decode(errors="ignore"))) > 1:
        return CROSSES
    return SAME_TEXT if added else None


def _collision(ngram: Ints, text: bytes, config: MiningConfig, vocabulary: Enriched) -> float:
    if config.collision == "conditional":
        return vocabulary.continued(ngram)
    return vocabulary.begun(text)
