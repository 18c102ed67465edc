"""A grammar's place in one answer: `types.Constraint` on llguidance's matchers.

The matcher that decides leaves the spelling in ids to the model. Stricter ones, followed beside it,
guess what comes next: they leave no choice of spelling, nor of white space in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tascel.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher


class CompiledGrammar:
    """A `types.Grammar`: the start of any number of answers.

    `compile` makes matchers that nothing was written to: the one that decides, then those that
    guess. `vocab_size` is the tokenizer's; models may have more ids.
    """

    def __init__(
        self, compile: Callable[[], list[LLMatcher]], eos_ids: Collection[int], vocab_size: int
    ) -> None:
        self.eos_ids = eos_ids
        self.vocab_size = vocab_size
        self._compile = compile
        self._matchers: list[LLMatcher] | None = compile()

    def start(self) -> Guide:
        """The start of one answer."""
        if self._matchers is None:
            self._matchers = self._compile()
        return Guide(self, [matcher.deep_copy() for matcher in self._matchers])

    def renew(self) -> None:
        """Compile anew for the next answer: copies share the states that llguidance ran out of."""
        self._matchers = None


class Guide:
    """A `types.Constraint`.

    `allows`, `mask` and `accept` ask the matcher that decides; `forced` is a guess, and right where
    the model spells and spaces what has to come as most do.
    """

    def __init__(self, grammar: CompiledGrammar, matchers: Sequence[LLMatcher]) -> None:
        self._grammar = grammar
        self._matcher, *self._guesses = matchers

    def allows(self, token: int) -> bool:
        """Whether `token` may come next; an end-of-sequence id where the answer may end."""
        return self._fits(self._matcher, token)

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits f32[V] of ids that may not come next to -inf, in place.

        Raises:
            RequestError: llguidance ran into one of its limits.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise self._broken()
        refused = np.unpackbits(bits, bitorder="little")[: len(logits)] == 0
        np.copyto(logits[: len(refused)], -np.inf, where=refused)
        logits[len(refused) :] = -np.inf

    def accept(self, token: int) -> None:
        """Move on by a token that was written.

        Raises:
            RequestError: the grammar does not allow it, or llguidance ran into one of its limits.
        """
        if not self._matcher.consume_token(token):
            raise self._broken()
        self._guesses = [g for g in self._guesses if g.try_consume_tokens([token]) == 1]

    def forced(self) -> Sequence[int]:
        """The ids that come next, as far as the grammar leaves no choice of what they say."""
        return self._guesses[0].compute_ff_tokens() if self._guesses else []

    def admits(self, tokens: Sequence[int], parents: Sequence[int]) -> list[bool]:
        """Which nodes of a drafted tree may be written; changes nothing."""
        below: list[list[int]] = [[] for _ in range(len(tokens) + 1)]  # the last is the root's
        for node, parent in enumerate(parents):
            below[parent].append(node)
        admitted = [False] * len(tokens)
        depth = [0] * (len(tokens) + 1)
        scout, at = self._matcher.deep_copy(), 0
        ahead = list(below[-1])
        while ahead:  # depth first: the scout only ever goes back along its own way
            node = ahead.pop()
            above = depth[parents[node]]
            scout.rollback(at - above)
            at = above
            admitted[node] = self._fits(scout, tokens[node])
            inner = admitted[node] and below[node] and tokens[node] not in self._grammar.eos_ids
            if inner and scout.consume_token(tokens[node]):
                at = depth[node] = above + 1
                ahead += below[node]
        return admitted

    def _fits(self, matcher: LLMatcher, token: int) -> bool:
        if token in self._grammar.eos_ids:
            return matcher.is_accepting()
        # an id that the tokenizer does not have would break the matcher
        return token < self._grammar.vocab_size and matcher.validate_tokens([token]) == 1

    def _broken(self) -> RequestError:
        self._grammar.renew()
        return RequestError(
            f"the answer cannot go on under its grammar ({reason(self._matcher.get_error())})",
            "Make the grammar simpler",
        )


def reason(message: str) -> str:
    """The line of llguidance's message that says why."""
    lines = message.strip().splitlines() or ["it does not say why"]
    why = next((line for line in lines if line.startswith("error: ")), lines[0])
    return why.removeprefix("error: ").rpartition("failed to compile JSON schema: ")[2]
