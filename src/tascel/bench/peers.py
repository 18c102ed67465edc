"""The peers as drafts: the real packages behind our protocol, so that replay treats all alike.

Knows what each is called, its settings as it ships, and which others are worth trying; and the
variants of our own draft that are compared with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np

from tascel.bundle import Bundle
from tascel.draft.base import Draft, Proposal
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.errors import RequestError, TascelError
from tascel.learning import LearnConfig, Learner, LearningDraft
from tascel.types import SOURCES, Ids, Request

Settings = Mapping[str, Any]
_CONTEXT, _DRAFT = SOURCES.index("context"), SOURCES.index("draft")


def _grid(**values: Sequence[Any]) -> list[Settings]:
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


#: vLLM's defaults for suffix decoding; it keeps 10,000 answers.
_SHIPPED: Settings = {
    "max_tree_depth": 24,
    "max_spec_factor": 1.0,
    "min_token_prob": 0.1,
    "use_tree_spec": False,
}
_SHIPPED_ANSWERS = 10_000
#: What each peer is run with unless it is tuned. `prompt-lookup` and `suffix-cold` are as
#: transformers and vLLM ship them, `tasc-paper` is as published; the two others got the best of
#: their grid, by the geometric mean over held-out tenths of seven tasks' training data.
DEFAULTS: Mapping[str, Settings] = {
    "prompt-lookup": {"num_output_tokens": 10, "max_matching_ngram_size": 2},
    "suffix-cold": _SHIPPED,
    "suffix-warm": _SHIPPED | {"max_tree_depth": 64, "max_spec_factor": 2.0, "use_tree_spec": True},
    "tasc-paper": {},
    "tasc-tuned": {"least": 1, "order": 24, "most": 8, "weight": 0.5},
}
#: Settings to try, the same number for every peer that has any.
GRIDS: Mapping[str, Sequence[Settings]] = {
    "prompt-lookup": _grid(
        num_output_tokens=(1, 2, 3, 5, 10, 20), max_matching_ngram_size=(2, 3, 5)
    ),
    "suffix-cold": _grid(
        max_tree_depth=(24,),
        max_spec_factor=(1.0, 2.0, 4.0),
        min_token_prob=(0.1, 0.3, 0.5),
        use_tree_spec=(False, True),
    ),
    "suffix-warm": _grid(
        max_tree_depth=(24, 64),
        max_spec_factor=(1.0, 2.0, 4.0),
        min_token_prob=(0.1, 0.3, 0.5),
        use_tree_spec=(True,),
    ),
    "tasc-tuned": _grid(least=(1,), order=(6, 12, 24), most=(6, 8, 16), weight=(0.5, 0.75)),
}
#: Our own draft with one thing changed: another mixing rule, chains only, sources left out, or
#: answers learned online.
VARIANTS: Mapping[str, Settings] = {
    "rule:interpolate": {"rule": "interpolate"},
    "rule:interpolate-24": {"rule": "interpolate", "order": 24, "least": 1},
    **{f"rule:{rule}": {"rule": rule} for rule in ("backoff", "best", "longest")},
    "chain": {"trees": False},
    "no-neighbours": {"neighbours": False},
    "no-slots": {"slots": False},
    "corpus-context": {"neighbours": False, "slots": False},
    "pooled": {"routed": False},
    "learning": {},
}


class Peers:
    """Makes the peers for a bundle's task. Trees warmed with its corpus are built once."""

    def __init__(self, bundle: Bundle, chain: bool = False) -> None:
        self._bundle, self._chain = bundle, chain
        self._warm: dict[int, Any] = {}

    def make(self, name: str, settings: Settings) -> Draft:
        """The peer or variant called `name`; settings as in `DEFAULTS`, `GRIDS` and `VARIANTS`.

        What follows an @ in a name only tells two settings of one peer apart.

        Raises:
            RequestError: nobody has that name.
            TascelError: its package is not installed.
        """
        name = name.partition("@")[0]
        if name == "prompt-lookup":
            return PromptLookup(self._bundle.codec.eos_ids, **settings)
        if name == "tasc-paper":
            return self._bundle.draft(DraftConfig.published())
        if name == "tasc-tuned":
            return self._bundle.draft(DraftConfig(rule="interpolate", trees=False, **settings))
        if name in VARIANTS:
            config = DraftConfig(**settings)
            config = replace(config, trees=config.trees and not self._chain)
            return self._learning(config) if name == "learning" else self._bundle.draft(config)
        check([name])
        options = dict(settings)
        depth: int = options.pop("max_tree_depth")
        if self._chain:
            options["use_tree_spec"] = False
        if name == "suffix-cold":
            return SuffixDecoding(suffix_cache(depth, _SHIPPED_ANSWERS), learns=True, **options)
        if depth not in self._warm:
            past = self._bundle.corpus.outputs()
            self._warm[depth] = warmed(past, self._bundle.codec.generation_prompt(), depth)
        return SuffixDecoding(self._warm[depth], learns=False, **options)

    def _learning(self, config: DraftConfig) -> Draft:
        """Ours, which learns every answer once it is whole, and writes none of it down."""
        learn = LearnConfig(background=False, written=False)
        learner = Learner(self._bundle, lambda bundle: bundle.draft(config), config, learn)
        draft = LearningDraft(learner, config)
        draft.start()
        return draft


def check(names: Iterable[str]) -> None:
    """See that every name is a peer's or a variant's.

    Raises:
        RequestError: one is not.
    """
    known = [*DEFAULTS, *VARIANTS]
    for name in names:
        if name not in known:
            raise RequestError(f"there is no peer {name!r}", f"Choose of {', '.join(known)}")


# Prompt lookup


class PromptLookup:
    """transformers' own prompt lookup, as `generate(prompt_lookup_num_tokens=…)` uses it."""

    def __init__(
        self, eos_ids: Iterable[int], num_output_tokens: int, max_matching_ngram_size: int
    ) -> None:
        import torch

        self._eos = torch.tensor(sorted(eos_ids))
        self._settings: dict[str, Any] = {
            "num_output_tokens": num_output_tokens,
            "max_matching_ngram_size": max_matching_ngram_size,
        }

    def open(self, request: Request) -> _LookupSession:
        """Start a request."""
        from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

        generator = PromptLookupCandidateGenerator(
            eos_token_id=self._eos,
            max_length=len(request.prompt) + request.max_tokens,
            **self._settings,
        )
        return _LookupSession(generator, request)


class _LookupSession:
    def __init__(self, generator: Any, request: Request) -> None:
        import torch

        self._generator = generator
        self._length = len(request.prompt)
        self._ids: Any = torch.empty(1, self._length + request.max_tokens, dtype=torch.long)
        self._ids[0, : self._length] = torch.from_numpy(request.prompt)  # pyright: ignore[reportUnknownMemberType]

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        known = self._ids[:, : self._length]
        found, _ = self._generator.get_candidates(known)
        return Proposal.chain(found[0, self._length :][:room].tolist(), _CONTEXT)

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        for token in tokens:
            self._ids[0, self._length] = token
            self._length += 1

    def close(self) -> None:
        """Nothing outlives the request."""


# Suffix decoding


class SuffixDecoding:
    """arctic-inference's suffix trees, one over past answers and one over the request, called the
    way vLLM's proposer does. With `learns` it keeps every finished answer."""

    def __init__(
        self,
        cache: Any,
        learns: bool,
        max_spec_factor: float,
        min_token_prob: float,
        use_tree_spec: bool,
    ) -> None:
        self.cache, self.learns = cache, learns
        self.settings: dict[str, Any] = {
            "max_spec_factor": max_spec_factor,
            "max_spec_offset": 0.0,
            "min_token_prob": min_token_prob,
            "use_tree_spec": use_tree_spec,
        }

    def open(self, request: Request) -> _SuffixSession:
        """Start a request; what an earlier one of the same id has taught is forgotten."""
        self.cache.start_request(request.id, np.ascontiguousarray(request.prompt))
        return _SuffixSession(self, request)


class _SuffixSession:
    def __init__(self, draft: SuffixDecoding, request: Request) -> None:
        self._draft, self._id = draft, request.id
        self._depth: int = draft.cache.max_tree_depth
        tail = request.prompt[-self._depth :]
        self._length = len(tail)
        self._ids = np.concatenate([tail, np.empty(request.max_tokens, np.int32)])

    def propose(self, room: int, price: Price, pending: int = 1) -> Proposal:
        found = self._draft.cache.speculate(
            self._id,
            self._ids[max(0, self._length - self._depth) : self._length],
            max_spec_tokens=min(room, self._depth),
            **self._draft.settings,
        )
        width = len(found.token_ids)
        return Proposal(
            tokens=np.array(found.token_ids, np.int32),
            parents=np.array(found.parents, np.int16),
            trust=np.array(found.probs, np.float32),
            source=np.full(width, _DRAFT, np.uint8),  # it does not say which tree has won
        )

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        new = np.array(tokens, np.int32)
        self._ids[self._length : self._length + len(new)] = new
        self._length += len(new)
        self._draft.cache.add_active_response(self._id, new)

    def close(self) -> None:
        self._draft.cache.stop_request(self._id)
        if not self._draft.learns:
            self._draft.cache.evict_cached_response(self._id)


def suffix_cache(depth: int, answers: int) -> Any:
    """An empty `SuffixDecodingCache` that holds so many past answers, -1 for all.

    Raises:
        TascelError: arctic-inference is not installed.
    """
    try:
        package: Any = import_module("arctic_inference.suffix_decoding")
    except ImportError as error:
        raise TascelError(
            "suffix-cold and suffix-warm need arctic-inference",
            "pip install --no-deps arctic-inference==0.3.0 (it is compiled, for about two minutes)",
        ) from error
    return package.SuffixDecodingCache(depth, answers)


def warmed(answers: Iterable[Ids], lead: Ids, depth: int) -> Any:
    """A cache that has seen `answers` (ids with their closing id), all of them kept.

    There is no option for that: they are fed as finished requests. Each is led by `lead`, what all
    prompts end with, so that the trees match where an answer starts.
    """
    cache = suffix_cache(depth, -1)
    for number, answer in enumerate(answers):
        cache.start_request(("past", number), lead)
        cache.add_active_response(("past", number), np.concatenate([lead, answer]))
        cache.stop_request(("past", number))
    return cache
