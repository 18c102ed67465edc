"""Would drafts pay in this engine? By the bundle's own answers, at the measured price.

What is held out is drafted with what the rest teaches, so it is new to the draft as a request is.
llama.cpp's passes grow dear with their tokens, more so the further the weights are quantised: what
saves nine passes of ten elsewhere may lose here.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np

from tascel.bundle import Bundle
from tascel.cache import cache_folder
from tascel.decode.forced import Entrant, Example, Rules, follow, speedup
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.errors import TascelError
from tascel.route.seen import Seen
from tascel.store.file import whole_file
from tascel.traces.folds import folds, ways_of

#: Answers that are looked at, and those of them that are drafted.
LEARNED, TRIED = 2000, 100
FOLDS = 5
#: Drafts are attached where answers come so many times sooner: less is within what estimates miss.
LEAST = 1.05
#: So much of a prompt's end tells which others it is like, in tokens.
_READ = 1000


@dataclass(frozen=True, slots=True)
class Worth:
    """How many times sooner answers come with drafts, prompts apart: an estimate from so many held
    out `answers`; `pays` says what to do about it."""

    gain: float
    answers: int

    @property
    def pays(self) -> bool:
        """Whether to draft. Nobody knows it of a bundle of a few answers: then it is tried, and the
        breaker stops what loses."""
        return self.gain >= LEAST or not self.answers


def kept_worth(bundle: Bundle, price: Price, config: DraftConfig) -> Worth:
    """`worth` of this bundle at this price, from the user's cache if it was asked before."""
    asked = f"{bundle.manifest.to_json()} {price.rows} {price.ms.tolist()} {config}"
    key = hashlib.sha256(asked.encode()).hexdigest()
    file = cache_folder("worth") / f"{key[:16]}.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Worth(float(kept["gain"]), int(kept["answers"]))
    except (OSError, ValueError, LookupError, TypeError):
        found = worth(bundle, price, config)
    with suppress(OSError, TascelError), whole_file(file) as out:  # then it is asked again
        json.dump(asdict(found), out)
    return found


def worth(bundle: Bundle, price: Price, config: DraftConfig) -> Worth:
    """What drafts of `config`, chains, would save of the bundle's own answers at `price`.

    Raises:
        BundleError: its records or its tokenizer are damaged.
    """
    every = bundle.records()
    drawn = np.random.default_rng(0).permutation(len(every))[: LEARNED + TRIED]
    records, reader = every.some(drawn.tolist()), bundle.reader
    said = [reader.tokenizer.decode(prompt[-_READ:].tolist()) for prompt in records.prompts]
    way = ways_of([*zip(said, records.groups, strict=True)])[0]
    held = folds(way, FOLDS) == 0
    tried: list[int] = np.flatnonzero(held)[:TRIED].tolist()
    if not tried or held.all():
        return Worth(1.0, 0)
    rest = Seen.of(records.prompts, records.outputs, reader)
    rest = rest.some(np.flatnonzero(~held).tolist())
    size = bundle.manifest.vocab_size
    known = Knowledge.of(rest.outputs, [*rest.words], [*rest.about], size)
    draft = NgramDraft(known, bundle.learned.trust, reader, bundle.manifest.eos_ids, config)
    draft.warm()
    examples = [Example(records.prompts[i], records.outputs[i]) for i in tried]
    examples = [example for example in examples if len(example.output) > 1]
    if not examples:
        return Worth(1.0, 0)
    rules = Rules(price, size, trees=False, saved=config.saved)
    costs = follow({"draft": Entrant(draft, guarded=True)}, examples, rules)["draft"]
    return Worth(speedup(costs, rules), len(examples))
