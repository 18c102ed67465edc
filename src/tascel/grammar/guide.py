"""A grammar's place in one answer: `types.Constraint` on llguidance's matchers.

Where the grammar leaves no choice of text, the tokenizer's own spelling is the only one allowed: a
model that had not meant to write this would else spell it in letters. A new token is that spelling,
too, if it stands for ids of it, even if it goes on behind them. Everywhere else any spelling will
do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tascel.errors import RequestError
from tascel.new_tokens import NewTokens

if TYPE_CHECKING:
    from llguidance import LLMatcher


class CompiledGrammar:
    """A `types.Grammar`: the start of any number of answers.

    `compile` makes matchers that nothing was written to: one that knows any spelling, one that
    knows which text is forced, and stricter ones that guess what more may come. `vocab_size` is the
    tokenizer's; models may have more ids.
    """

    def __init__(
        self,
        compile: Callable[[], list[LLMatcher]],
        eos_ids: Collection[int],
        vocab_size: int,
        new_tokens: NewTokens,
    ) -> None:
        self.eos_ids = eos_ids
        self.vocab_size = vocab_size
        self.new_tokens = new_tokens
        self._by_first: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for id_, run in new_tokens.runs.items():
            self._by_first.setdefault(run[0], []).append((id_, run))
        self._compile = compile
        self._matchers: list[LLMatcher] | None = compile()

    def start(self) -> Guide:
        """The start of one answer."""
        if self._matchers is None:
            self._matchers = self._compile()
        any_spelling, forcing, *guesses = [matcher.deep_copy() for matcher in self._matchers]
        return Guide(self, _Place(self, any_spelling, forcing), guesses)

    def beginning(self, forced: Sequence[int]) -> list[int]:
        """The new tokens that stand for the first of these base ids, or for all and more."""
        return [
            id_
            for id_, run in self._by_first.get(forced[0], ())
            if all(one == other for one, other in zip(run, forced, strict=False))
        ]

    def renew(self) -> None:
        """Compile anew for the next answer: copies share the states that llguidance ran out of."""
        self._matchers = None


class Guide:
    """A `types.Constraint`. `forced` goes further than what `allows` insists on: it guesses."""

    def __init__(
        self, grammar: CompiledGrammar, place: _Place, guesses: Sequence[LLMatcher]
    ) -> None:
        self._grammar = grammar
        self._place = place
        self._guesses = guesses

    def allows(self, token: int) -> bool:
        """Whether `token` may come next; an end-of-sequence id where the answer may end."""
        return self._place.allows(token)

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits f32[V] of ids that may not come next to -inf, in place.

        Raises:
            RequestError: llguidance ran into one of its limits.
        """
        if spellings := self._place.spellings():
            here = [id_ for id_ in spellings if id_ < len(logits)]
            kept = logits[here]
            logits[:] = -np.inf
            logits[here] = kept
            return
        bits = np.frombuffer(self._place.matcher.compute_bitmask(), np.uint8)
        if self._place.matcher.is_error():
            raise self._broken()
        refused = np.unpackbits(bits, bitorder="little")[: len(logits)] == 0
        np.copyto(logits[: len(refused)], -np.inf, where=refused)
        logits[len(refused) :] = -np.inf

    def accept(self, token: int) -> None:
        """Move on by a token that was written.

        Raises:
            RequestError: the grammar does not allow it, or llguidance ran into one of its limits.
        """
        if not self._place.accept(token):
            raise self._broken()
        self._guesses = [g for g in self._guesses if g.try_consume_tokens([token]) == 1]

    def forced(self) -> Sequence[int]:
        """The ids that come next, if the answer goes on in its style."""
        ids = self._guesses[0].compute_ff_tokens() if self._guesses else self._place.forced()
        new = self._grammar.new_tokens
        return new.shorten(np.array(ids, np.int32)).tolist() if new else ids

    def admits(self, tokens: Sequence[int], parents: Sequence[int]) -> list[bool]:
        """Which nodes of a drafted tree may be written; changes nothing."""
        below: list[list[int]] = [[] for _ in range(len(tokens) + 1)]  # the last is the root's
        for node, parent in enumerate(parents):
            below[parent].append(node)
        admitted = [False] * len(tokens)
        depth = [0] * (len(tokens) + 1)
        forced = [self._place.forced()] * (len(tokens) + 1)
        scout, at = self._place.copy(), 0
        ahead = list(below[-1])
        while ahead:  # depth first: the scout only ever goes back along its own way
            node = ahead.pop()
            token, above = tokens[node], parents[node]
            scout.back(at - depth[above], forced[above])
            at = depth[above]
            admitted[node] = scout.allows(token)
            inner = admitted[node] and below[node] and token not in self._grammar.eos_ids
            if inner and scout.accept(token):
                at = depth[node] = at + 1
                forced[node] = scout.forced()
                ahead += below[node]
        return admitted

    def _broken(self) -> RequestError:
        self._grammar.renew()
        why = reason(self._place.matcher.get_error())
        return RequestError(
            f"the answer cannot go on under its grammar ({why})", "Make the grammar simpler"
        )


class _Place:
    """What two matchers of a grammar know of the same text: a function of its ids alone."""

    def __init__(
        self, grammar: CompiledGrammar, matcher: LLMatcher, forcing: LLMatcher | None
    ) -> None:
        self.matcher = matcher
        self._grammar = grammar
        self._forcing = forcing
        self._forced: list[int] | None = None  # not known yet

    def forced(self) -> list[int]:
        """The ids that have to come; none where the grammar leaves a choice of text."""
        if self._forced is None:
            ids = self._forcing.compute_ff_tokens() if self._forcing else []
            # text that looks like a special token is not spelled as that
            self._forced = ids[: self.matcher.validate_tokens(ids)]
        return self._forced

    def spellings(self) -> list[int]:
        """The ids that may begin what has to come; none where the grammar leaves a choice."""
        forced = self.forced()
        if not forced:
            return []
        new = self._grammar.beginning(forced)
        return [forced[0], *(id_ for id_ in new if self.matcher.validate_tokens([id_]) == 1)]

    def allows(self, token: int) -> bool:
        if self.forced():
            return token in self.spellings()
        if token in self._grammar.eos_ids:
            return self.matcher.is_accepting()
        # an id that the tokenizer does not have would break the matcher
        return token < self._grammar.vocab_size and self.matcher.validate_tokens([token]) == 1

    def accept(self, token: int) -> bool:
        """Move on by `token`; False if the grammar does not know it."""
        forced, run = self.forced(), self._grammar.new_tokens.runs.get(token, (token,))
        whole = tuple(forced[: len(run)]) == run
        self._forced = forced[len(run) :] or None if whole else None
        if self._forcing and self._forcing.try_consume_tokens([token]) != 1:
            self._forcing = None
        return self.matcher.consume_token(token)

    def copy(self) -> _Place:
        forcing = self._forcing.deep_copy() if self._forcing else None
        return _Place(self._grammar, self.matcher.deep_copy(), forcing)

    def back(self, count: int, forced: list[int]) -> None:
        """Take the last `count` ids back, to where `forced` was known."""
        self._forced = forced
        self.matcher.rollback(count)
        if self._forcing:
            self._forcing.rollback(count)


def reason(message: str) -> str:
    """The line of llguidance's message that says why."""
    lines = message.strip().splitlines() or ["it does not say why"]
    why = next((line for line in lines if line.startswith("error: ")), lines[0])
    return why.removeprefix("error: ").rpartition("failed to compile JSON schema: ")[2]
