"""What was learned online, in memory: a draft of its own that grows with every answer.

Two threads share it: one decodes, one indexes. What is heavy is done without the lock, on lists
that the other thread only appends to, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from math import inf
from threading import RLock
from time import sleep

import numpy as np

from tascel.draft.corpus import Corpus
from tascel.draft.features import Features
from tascel.draft.kernels.copying import Words
from tascel.draft.kernels.evidence import GROUPS, SHARES
from tascel.draft.knowledge import Knowledge
from tascel.draft.neighbours import Neighbours
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.reader import Reader
from tascel.draft.slots import no_words, templates
from tascel.learned import Learned
from tascel.learning.config import PROMPTS, LearnConfig
from tascel.learning.exchange import Exchange, kept, overdue
from tascel.learning.fresh import Growing
from tascel.route.seen import Made
from tascel.types import Ids

#: All is indexed anew once so many answers, or such a share of those indexed, are fresh, and at the
#: latest with so many: then finding them costs more than indexing them.
LEAST, SHARE, MOST = 8, 1 / 8, 2048
#: So many answers that came while all was indexed are read while others wait.
FEW = 16
#: All is indexed anew, the least useful left out, once memory holds so many times what it may;
#: where that lags behind, nothing is taken in beyond the second number.
FULL, SLACK = 1.25, 1.5
#: While all is indexed anew, so many prompts' words are kept once they are read.
READ = 8192


class Recent:
    """The answers that were learned online, and the draft made of them.

    `learned` is the bundle's: its trust is believed, and until there are answers to learn that
    from, so is what it says of copies. `clock` gives seconds since 1970. While all is indexed,
    which may take long, `breathe` is called with each prompt; what it raises ends that.
    """

    def __init__(
        self,
        learned: Learned,
        reader: Reader | None,
        eos_ids: Iterable[int],
        config: DraftConfig,
        learn: LearnConfig,
        clock: Callable[[], float],
        breathe: Callable[[], None] = lambda: sleep(0),
    ) -> None:
        self._reader, self._eos_ids, self._config = reader, [*eos_ids], config
        self._learn, self._clock, self._breathe = learn, clock, breathe
        self._lock = RLock()
        self._drift = np.zeros((2, GROUPS, SHARES), np.float32)
        self._exchanges: dict[int, Exchange] = {}
        self._tokens = self._prompts = 0
        self._oldest = inf
        self._base = learned
        self._stale = False
        self.learns = 0
        self._start(Growing.from_known(self._blank(), [], self._used))

    # what the thread that decodes calls

    @property
    def draft(self) -> NgramDraft | None:
        """What to draft with; None while there is nothing to draft from."""
        return self._draft if self._exchanges else None

    def add(self, exchange: Exchange) -> bool:
        """Learn an answer: the next request is drafted with it. False if it is known already: then
        it is counted."""
        with self._lock:
            known = self._exchanges.get(exchange.key)
            if known is not None:
                known.use(1.0, exchange.time, self._learn)
                return False
            if self._full(SLACK):  # the background lags far behind
                return True
            self._refresh(self._knowledge, exchange)
            self._keep(exchange)  # last: what cannot be read is not known
            return True

    def forget(self) -> None:
        """Trust as it was built."""
        self._drift[:] = 0.0

    # what the background calls

    @property
    def due(self) -> bool:
        """Whether indexing anew pays, or has to be."""
        indexed, fresh = len(self._knowledge.learned), len(self._knowledge.fresh)
        first = indexed == 0 and fresh > 0
        too_much = fresh > 0 and self._full(FULL)
        too_old = overdue(self._oldest, self._learn, self._clock())
        return self._stale or first or fresh >= self._enough or too_much or too_old

    @property
    def _enough(self) -> float:
        """So many fresh answers are indexed."""
        return min(max(LEAST, SHARE * len(self._knowledge.learned)), MOST)

    def index(self) -> None:
        """Index all anew, the least useful left out if they are too many."""
        every = self._beyond(())
        some = kept(every, self._learn, self._clock())
        knowledge = self._knowledge_of(some) if some else self._blank()
        growing, known = Growing.from_known(knowledge, some, self._used), {one.key for one in some}
        with self._lock:
            for one in every:
                if one.key not in known:
                    self._drop(one.key)
        while len(late := self._beyond(known)) > FEW:  # they came meanwhile
            for one in late:
                self._breathe()
                self._refresh(growing, one)
                known.add(one.key)
        with self._lock:
            for one in self._beyond(known):
                self._refresh(growing, one)
            self._start(growing)
            self._oldest = min((one.time for one in self._exchanges.values()), default=inf)
            self._stale = False  # only now: what has failed is due still
            self.learns += 1

    def index_fresh(self) -> None:
        """Index those that have come since, so that nobody who asks must."""
        self._knowledge.fresh.index()

    def adopt(self, some: Sequence[Exchange]) -> None:
        """Learn what others have learned: few as if they had just been answered here, many when all
        is indexed anew."""
        new = [one for one in some if one.key not in self._exchanges]
        few = len(new) < self._enough
        for exchange in new:
            with self._lock:
                if exchange.key in self._exchanges:  # just answered here, too
                    continue
                if few:
                    self._refresh(self._knowledge, exchange)
                self._keep(exchange)
            self._stale |= not few

    def drop(self, keys: Collection[int]) -> None:
        """Forget these; after the next `index` nothing of them is left."""
        with self._lock:
            for key in keys:
                if self._drop(key):
                    self._stale = True

    def rebase(self, learned: Learned) -> None:
        """The bundle was built anew."""
        with self._lock:
            self._base, self._stale = learned, True

    def keys(self) -> set[int]:
        """Of all answers."""
        with self._lock:
            return set(self._exchanges)

    def uses(self, key: int) -> tuple[float, float] | None:
        """The uses and the time that memory knows of an answer."""
        one = self._exchanges.get(key)
        return None if one is None else (one.uses, one.time)

    @property
    def tokens(self) -> int:
        """Of all answers."""
        return self._tokens

    def __len__(self) -> int:
        return len(self._exchanges)

    # shared

    def _full(self, times: float) -> bool:
        most = times * self._learn.tokens
        return self._tokens > most or self._prompts > PROMPTS * most

    def _keep(self, exchange: Exchange) -> None:
        self._exchanges[exchange.key] = exchange
        self._tokens += len(exchange.output)
        self._prompts += len(exchange.prompt)
        self._oldest = min(self._oldest, exchange.time)

    def _drop(self, key: int) -> bool:
        found = self._exchanges.pop(key, None)
        if found is not None:
            self._tokens -= len(found.output)
            self._prompts -= len(found.prompt)
        return found is not None

    def _beyond(self, known: Collection[int]) -> list[Exchange]:
        """The answers but those of these keys."""
        with self._lock:
            return [one for key, one in self._exchanges.items() if key not in known]

    def _start(self, knowledge: Growing) -> None:
        """Draft from it from now on; open sessions end with what they began with."""
        self._knowledge = knowledge
        self._draft = NgramDraft(
            knowledge, self._base.trust, self._reader, self._eos_ids, self._config,
            self._drift,
        )  # fmt: skip

    def _refresh(self, knowledge: Growing, exchange: Exchange) -> None:
        """Let the answer be recalled."""
        words, about = no_words(), np.zeros(0, np.uint32)
        if self._reader is not None:  # of a request that was just answered, so it is known already
            glance = self._reader.glance(exchange.prompt)
            words, about = glance.words, glance.about
        (template,) = templates([words], [exchange.output], knowledge.frozen)
        knowledge.fresh.add(exchange, about, template)

    def _used(self, exchange: Exchange, like: float) -> None:
        exchange.use(like, self._clock(), self._learn)

    def _knowledge_of(self, some: Sequence[Exchange]) -> Knowledge:
        """Of so many that it may take long."""
        every = range(len(some))

        @lru_cache(maxsize=READ)
        def words(i: int) -> Words:  # asked for several times each
            self._breathe()
            return self._words(some[i].prompt)

        def about(i: int) -> Features:
            self._breathe()
            return self._about(some[i].prompt)

        outputs: list[Ids] = [one.output for one in some]
        vocab_size = len(self._base.knowledge.frozen)
        return Knowledge.of(outputs, Made(words, every), Made(about, every), vocab_size)

    def _blank(self) -> Knowledge:
        """Of no answer: what begins a copy, and where, is as in the bundle."""
        base = self._base.knowledge
        none = Corpus.of([])
        empty = np.zeros(0, np.int32)
        return Knowledge(none, none, empty, base.frozen, base.pointer, Neighbours.of([]))

    def _words(self, prompt: Ids) -> Words:
        return no_words() if self._reader is None else self._reader.words(prompt)

    def _about(self, prompt: Ids) -> Features:
        return np.zeros(0, np.uint32) if self._reader is None else self._reader.about(prompt)
