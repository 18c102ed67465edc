"""The compiled kernels against the plain reference and brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.draft import kernels, reference
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.context import Context
from tascel.draft.corpus import Corpus
from tascel.draft.kernels import growing, matching, mixing
from tascel.draft.ngram import RULES, DraftConfig, NgramDraft
from tascel.draft.price import Price, flattest
from tascel.draft.suffix_array import suffix_array
from tascel.types import Request

VOCABULARY, EOS = 8, 7
token = st.integers(0, VOCABULARY - 2)
output = st.lists(token, max_size=12).map(lambda ids: np.array([*ids, EOS], np.int32))
outputs = st.lists(output, max_size=20)
prompts = st.lists(token, min_size=1, max_size=30)


def random_trust(seed: int) -> trusts.Trust:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 1.0, (2, mixing.CELLS)).astype(np.float32)


@given(st.lists(st.integers(-1, 5), max_size=60))
@settings(deadline=None)
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
    config, text = draft.config, draft.index.text.tolist()
    bounds = reference.Bounds(
        cost, room, config.priced, not config.trees, frozenset({EOS}), VOCABULARY
    )
    whole = prompt + answer
    found = reference.matches(text, [matching.SEPARATOR, *answer])
    start = reference.Place(text, found, whole, reference.occurrences(whole))
    if config.rule == "best":
        return reference.grow_best(start, bounds)
    if config.rule == "calibrated":
        rule = reference.calibrated(draft.mixer.trust, draft.mixer.drift)
        start = reference.Place(
            text, reference.spread(found, 5), whole, reference.occurrences(whole)
        )
        return reference.grow(rule, start, reference.step(reference.advance_spread), bounds)
    rule = {
        "longest": reference.longest,
        "backoff": reference.backoff,
        "interpolate": reference.interpolate(config.order, config.least, config.weight),
    }[config.rule]
    return reference.grow(rule, start, reference.step(reference.all_sizes), bounds)


@given(
    outputs,
    prompts,
    st.lists(token, max_size=6),
    st.integers(0, 99),
    st.sampled_from(RULES),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_grown_drafts_are_those_of_the_reference(
    parts: list[np.ndarray],
    prompt: list[int],
    answer: list[int],
    seed: int,
    rule: str,
    trees: bool,
    priced: bool,
    free: bool,
) -> None:
    price = Price.free() if free else Price.from_points({1: 1.0, 4: 1.1, 16: 1.6})
    config = DraftConfig(rule, most=12, trees=trees, priced=priced, least=2)
    draft = NgramDraft(Corpus.of(parts), random_trust(seed), {EOS}, VOCABULARY, config)
    session = draft.open(Request("r", np.array(prompt, np.int32)))
    for id_ in answer:
        session.accept([id_], session.propose(1, price), 0)
    proposal = session.propose(8, price)
    expected = plain(draft, prompt, answer, price.curve(1, 12), 8)
    got = list(
        zip(
            proposal.tokens.tolist(),
            proposal.parents.tolist(),
            proposal.source.tolist(),
            strict=True,
        )
    )
    assert got == [(t, p, s) for t, p, _, s in expected]
    assert np.allclose(proposal.trust, [p for _, _, p, _ in expected], atol=1e-5)


@given(outputs, st.lists(st.tuples(prompts, st.lists(token, max_size=9)), min_size=1, max_size=5))
@settings(deadline=None)
def test_a_batch_is_drafted_as_its_rows_are(
    parts: list[np.ndarray], rows: list[tuple[list[int], list[int]]]
) -> None:
    draft = NgramDraft(Corpus.of(parts), random_trust(1), {EOS}, VOCABULARY, DraftConfig(most=9))
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
@settings(deadline=None)
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
    draft = NgramDraft(
        Corpus.of(parts), trusts.unknown(), {EOS}, VOCABULARY, DraftConfig.published()
    )
    session = draft.open(Request("r", np.array([6, 3, 5, 0], np.int32)))
    session.accept([1, 2, 3], session.propose(1, Price.free()), 0)
    # corpus: 4 after (1 2 3) six times of seven, pruned 5; context: 5 after 3: 0.75 * 6/7 > 0.25
    proposal = session.propose(10, Price.free())
    assert proposal.tokens.tolist() == [4, EOS]
    assert proposal.trust[0] == pytest.approx(0.75 * 6 / 7)
    assert proposal.is_chain


@given(outputs, prompts, st.sampled_from(RULES), st.data())
@settings(max_examples=100, deadline=None)
def test_fuzzed_arrays_never_crash(
    parts: list[np.ndarray], prompt: list[int], rule: str, data: st.DataObject
) -> None:
    corpus = Corpus.of(parts)
    any_id = st.integers(-(2**31), 2**31 - 1)
    size = st.lists(any_id, min_size=len(corpus), max_size=len(corpus))
    broken = Corpus(
        np.array(data.draw(size), np.int32) if data.draw(st.booleans()) else corpus.text,
        np.array(data.draw(size), np.int32),
    )
    config = DraftConfig(rule, order=2, least=0)
    draft = NgramDraft(broken, trusts.unknown(), {EOS}, VOCABULARY, config)
    session = draft.open(Request("r", np.array(prompt, np.int32)))
    for _ in range(5):
        proposal = session.propose(8, Price.free())
        assert ((proposal.tokens >= 0) & (proposal.tokens < VOCABULARY)).all()
        session.accept(proposal.tokens[:1].tolist() or [1], proposal, 1)


def test_nothing_is_drafted_where_nothing_pays() -> None:
    draft = NgramDraft(
        Corpus.of([np.array([1, 2, EOS], np.int32)]), random_trust(0), {EOS}, VOCABULARY
    )
    session = draft.open(Request("r", np.array([0], np.int32)))
    assert len(session.propose(8, Price.from_points({1: 1.0, 2: 9.0, 3: 99.0}))) == 0
    assert len(session.propose(0, Price.free())) == 0


def test_kernels_are_kept_for_the_very_sources_they_were_compiled_from(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1")
    before = kernels.digest(tmp_path)
    assert kernels.digest(tmp_path) == before
    (tmp_path / "b.py").write_text("x = 2")  # which a.py may have compiled into its own
    assert kernels.digest(tmp_path) != before
    draft = NgramDraft(Corpus.of([]), trusts.unknown(), {EOS}, VOCABULARY)
    draft.warm()
    kept = {file.name for file in Path(growing.grow.stats.cache_path).glob("growing.*.nbi")}
    assert kept
    assert any(kernels.VERSION in name for name in kept)


def test_kernels_compile_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError

    def twice(x: int) -> int:
        return 2 * x

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # how numba tries a folder
    compiled = kernels.kernel(twice)
    assert compiled.stats.cache_path is None
    assert compiled(3) == 6
