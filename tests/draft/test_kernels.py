"""The compiled kernels against the plain reference and brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.draft import reference
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.context import Context
from tascel.draft.corpus import Corpus
from tascel.draft.kernels import matching
from tascel.draft.kernels.copying import POINTS
from tascel.draft.kernels.evidence import CELLS, CONTEXT, CORPUS, NEIGHBOURS, SLOTS
from tascel.draft.knowledge import Knowledge, nothing_recalled
from tascel.draft.ngram import RULES, DraftConfig, NgramDraft
from tascel.draft.price import Price, flattest
from tascel.draft.slots import no_words
from tascel.draft.suffix_array import suffix_array
from tascel.types import Request

VOCABULARY, EOS = 8, 7
token = st.integers(0, VOCABULARY - 2)
output = st.lists(token, max_size=12).map(lambda ids: np.array([*ids, EOS], np.int32))
outputs = st.lists(output, max_size=20)
prompts = st.lists(token, min_size=1, max_size=30)


traces = st.lists(
    st.tuples(prompts, st.lists(token, max_size=8).map(lambda ids: [*ids, EOS])), max_size=8
)


def random_trust(seed: int) -> trusts.Trust:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 1.0, (2, CELLS)).astype(np.float32)


def of_outputs(
    parts: list[np.ndarray], trust: trusts.Trust, config: DraftConfig | None = None
) -> NgramDraft:
    """A draft that reads no prompt."""
    knowledge = Knowledge.only(Corpus.of(parts), VOCABULARY)
    return NgramDraft(knowledge, trust, None, {EOS}, config)


@given(st.lists(st.integers(-1, 5), max_size=60))
def test_suffix_array_is_the_sorted_order(ids: list[int]) -> None:
    assert suffix_array(np.array(ids, np.int32)).tolist() == reference.suffix_array(ids)


def test_suffix_array_agrees_with_another_library() -> None:
    from pydivsufsort import divsufsort

    rng = np.random.default_rng(3)
    text = rng.integers(0, 300, 20_000).astype(np.int32)
    text[5_000:15_000] = text[:10_000]  # long repeats need several levels
    assert np.array_equal(suffix_array(text), divsufsort(text))


@given(outputs, st.lists(token, max_size=15))
def test_matches_are_all_endings_that_occur(parts: list[np.ndarray], answer: list[int]) -> None:
    corpus = Corpus.of(parts)
    state, spare = np.empty((2, matching.MATCHES, 3), np.int64)
    count = 0
    for id_ in [matching.SEPARATOR, *answer]:
        count = matching.advance(corpus.index, state, count, np.int32(id_), spare)
        state, spare = spare, state
    got = [(int(d), corpus.array[lo:hi].tolist()) for d, lo, hi in state[:count]]
    text = corpus.text.tolist()
    # the longest ending is what the rolling state can reach: any occurrence of it counts
    assert got == reference.matches(text, [matching.SEPARATOR, *answer])


@given(prompts, st.lists(token, max_size=30))
def test_context_lengths_grow_as_if_computed_afresh(prompt: list[int], answer: list[int]) -> None:
    context = Context(np.array(prompt, np.int32), room=4)
    for id_ in answer:
        context.reserve(1)
        context.length = matching.extend_context(
            context.tokens, context.length, context.lengths, np.int32(id_)
        )
    whole = prompt + answer
    assert context.tokens[: context.length].tolist() == whole
    assert context.lengths[: context.length].tolist() == reference.lengths(whole)
    occ = np.empty((matching.OCCURRENCES, 2), np.int64)
    count = matching.occurrences(context.length, context.lengths, occ)
    assert [tuple(o) for o in occ[:count].tolist()] == reference.occurrences(whole)


def plain(draft: NgramDraft, prompt: list[int], answer: list[int], cost: np.ndarray, room: int):
    """What the reference drafts where `draft` stands after `answer`."""
    config = draft.config
    bounds = reference.Bounds(
        cost, room, config.priced, not config.trees, frozenset({EOS}), VOCABULARY
    )
    start = reference.start(known(draft, prompt, answer), answer)
    if config.rule == "best":
        return reference.grow_best(start, bounds)
    if config.rule == "calibrated":
        rule = reference.calibrated(draft.mixer.trust, draft.mixer.drift)
        return reference.grow(rule, reference.narrow(start), reference.follow, bounds)
    rule = {
        "longest": reference.longest,
        "backoff": reference.backoff,
        "interpolate": reference.interpolate(config.order, config.least, config.weight),
    }[config.rule]
    return reference.grow(rule, start, reference.only_matches(reference.all_sizes), bounds)


def known(draft: NgramDraft, prompt: list[int], answer: list[int]) -> reference.Known:
    """What `draft` knows, said plainly."""
    of_traces, reader = draft.knowledge, draft.reader
    asked = np.array(prompt, np.int32)
    return reference.Known(
        of_traces.corpus.text.tolist(),
        of_traces.templates.text.tolist(),
        len(of_traces.frozen),
        of_traces.frozen,
        of_traces.pointer,
        prompt + answer,
        reader.words(asked) if reader else no_words(),
        of_traces.recall(reader.about(asked)) if reader else nothing_recalled(),
    )


def knowledge_of(traces: list[tuple[list[int], list[int]]], reader: Any, seed: int) -> Knowledge:
    """Of traces as (prompt, answer), the pointer drawn at random."""
    prompts = [np.array(prompt, np.int32) for prompt, _ in traces]
    learned = Knowledge.of(
        [np.array(answer, np.int32) for _, answer in traces],
        [reader.words(prompt) for prompt in prompts],
        [reader.about(prompt) for prompt in prompts],
        VOCABULARY,
    )
    pointer = np.random.default_rng(seed).normal(0.0, 0.5, POINTS).astype(np.float32)
    return replace(learned, pointer=pointer)


def proposed_as_the_reference_does(
    draft: NgramDraft, prompt: list[int], answer: list[int], price: Price
) -> Proposal:
    """Write `answer` a token at a time, then compare the draft."""
    session = draft.open(Request("r", np.array(prompt, np.int32)))
    for id_ in answer:
        session.accept([id_], session.propose(1, price), 0)
    proposal = session.propose(8, price)
    expected = plain(draft, prompt, answer, price.curve(1, draft.config.most), 8)
    columns = proposal.tokens.tolist(), proposal.parents.tolist(), proposal.source.tolist()
    assert [*zip(*columns, strict=True)] == [(t, p, s) for t, p, _, s in expected]
    assert np.allclose(proposal.trust, [p for _, _, p, _ in expected], atol=1e-5)
    return proposal


PRICES = st.sampled_from([Price.free(), Price.from_points({1: 1.0, 4: 1.1, 16: 1.6})])
seeds = st.integers(0, 99)


@given(
    outputs, prompts, st.lists(token, max_size=6), seeds, st.sampled_from(RULES), st.booleans(),
    st.booleans(), PRICES,
)  # fmt: skip
@settings(max_examples=200)
def test_grown_drafts_are_those_of_the_reference(
    parts: list[np.ndarray],
    prompt: list[int],
    answer: list[int],
    seed: int,
    rule: str,
    trees: bool,
    priced: bool,
    price: Price,
) -> None:
    config = DraftConfig(rule, most=12, trees=trees, priced=priced, least=2)
    draft = of_outputs(parts, random_trust(seed), config)
    proposed_as_the_reference_does(draft, prompt, answer, price)


@given(
    traces, prompts, st.lists(token, max_size=8), seeds, st.booleans(), st.booleans(), PRICES
)  # fmt: skip
@settings(max_examples=300)
def test_so_are_those_that_read_the_prompt(
    toy_reader: Any,
    learned: list[tuple[list[int], list[int]]],
    prompt: list[int],
    answer: list[int],
    seed: int,
    trees: bool,
    priced: bool,
    price: Price,
) -> None:
    reader = toy_reader(seed)
    config = DraftConfig(most=12, trees=trees, priced=priced)
    knowledge = knowledge_of(learned, reader, seed)
    draft = NgramDraft(knowledge, random_trust(seed), reader, {EOS}, config)
    proposed_as_the_reference_does(draft, prompt, answer, price)


def test_every_source_is_credited_as_the_reference_does(toy_reader: Any) -> None:
    rng, named = np.random.default_rng(5), set[int]()
    for seed in range(40):
        reader = toy_reader(seed)
        learned = [
            (rng.integers(0, EOS, 12).tolist(), [*rng.integers(0, EOS, 5).tolist(), EOS])
            for _ in range(8)
        ]
        knowledge = knowledge_of(learned, reader, seed)
        draft = NgramDraft(knowledge, random_trust(seed), reader, {EOS}, DraftConfig(most=16))
        prompt, answer = learned[seed % 8]
        proposal = proposed_as_the_reference_does(draft, prompt, answer[:2], Price.free())
        named |= set(proposal.source.tolist())
    assert named == {CORPUS, CONTEXT, NEIGHBOURS, SLOTS}


@given(traces, st.lists(st.tuples(prompts, st.lists(token, max_size=9)), min_size=1, max_size=5))
def test_a_batch_is_drafted_as_its_rows_are(
    toy_reader: Any,
    learned: list[tuple[list[int], list[int]]],
    rows: list[tuple[list[int], list[int]]],
) -> None:
    reader = toy_reader(0)
    knowledge = knowledge_of(learned, reader, 0)
    draft = NgramDraft(knowledge, random_trust(1), reader, {EOS}, DraftConfig(most=9))
    price = Price([1, 3, 5], np.stack([1 + np.arange(20) * 0.02 * (b + 1) for b in range(3)]))
    sessions = []
    for prompt, answer in rows:
        sessions.append(draft.open(Request("r", np.array(prompt, np.int32))))
        sessions[-1].accept(answer, Proposal.nothing(), 0)
    rooms = list(range(1, len(rows) + 1))
    together = draft.propose_many(sessions, rooms, price, len(rows))
    limits = draft.limits(price, len(rows), len(rows))
    for session, room, proposal in zip(sessions, rooms, together, strict=True):
        (single,) = draft.propose_rows(session.rows(room), limits)
        assert single.tokens.tolist() == proposal.tokens.tolist()
        assert single.parents.tolist() == proposal.parents.tolist()
        assert single.trust.tolist() == proposal.trust.tolist()
    assert draft.propose_many([], [], price, 1) == []


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=20))
def test_the_flattest_slope_ahead(steps: list[float]) -> None:
    cost = np.cumsum([1.0, *steps])
    for n, slope in enumerate(flattest(cost)[:-1]):
        ahead = [(cost[m] - cost[n]) / (m - n) for m in range(n + 1, len(cost))]
        assert slope == pytest.approx(min(ahead))


@given(st.integers(1, 400), st.integers(1, 9), st.integers(0, 99))
def test_probing_finds_every_frequent_token(size: int, distinct: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    following = np.sort(rng.zipf(1.5, size).clip(0, distinct)).astype(np.int32)
    text = np.full(2 * size, 9, np.int32)  # 9 x 9 y ...: what follows each 9
    text[1::2] = following
    array = np.arange(0, 2 * size, 2, dtype=np.int32)
    tokens, counts = np.empty((2, matching.TOP), np.int32)
    index = Corpus(text, array).index
    for _ in range(2):  # looked up, then remembered
        found = matching.top_of_match(index, 1, 0, size, tokens, counts)
    got = list(zip(tokens[:found].tolist(), counts[:found].tolist(), strict=True))
    assert got == reference.top(following.tolist())
    ids, exact = np.unique(following, return_counts=True)
    frequent = ids[exact > size / matching.PROBES]
    met = reference.top(following.tolist())
    assert set(frequent[: matching.TOP]) <= {t for t, _ in met} or len(met) == matching.TOP


def test_the_published_rule_interpolates_longest_matches() -> None:
    parts = [np.array([1, 2, 3, 4, EOS], np.int32)] * 6 + [np.array([1, 2, 3, 5, EOS], np.int32)]
    draft = of_outputs(parts, trusts.unknown(), DraftConfig.published())
    session = draft.open(Request("r", np.array([6, 3, 5, 0], np.int32)))
    session.accept([1, 2, 3], session.propose(1, Price.free()), 0)
    # corpus: 4 after (1 2 3) six times of seven, pruned 5; context: 5 after 3: 0.75 * 6/7 > 0.25
    proposal = session.propose(10, Price.free())
    assert proposal.tokens.tolist() == [4, EOS]
    assert proposal.trust[0] == pytest.approx(0.75 * 6 / 7)
    assert proposal.is_chain


def test_nothing_is_drafted_where_nothing_pays() -> None:
    draft = of_outputs([np.array([1, 2, EOS], np.int32)], random_trust(0))
    session = draft.open(Request("r", np.array([0], np.int32)))
    assert len(session.propose(8, Price.from_points({1: 1.0, 2: 9.0, 3: 99.0}))) == 0
    assert len(session.propose(0, Price.free())) == 0
