"""Trust, price, breaker: what a draft is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft import breaker as breakers
from tascel.draft import kernels
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.breaker import Breaker
from tascel.draft.corpus import Corpus
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.draft.trust import Trust
from tascel.types import Request

EOS = 7


def ids(*tokens):
    return np.array(tokens, np.int32)


def ask(draft, prompt=(0,)):
    return draft.open(Request("r", ids(*prompt)))


def counted(outputs, folds):
    return trusts.count(outputs, [ids(0)] * len(outputs), np.array(folds, np.int32))


def test_trust_is_counted_on_what_the_index_has_not_seen():
    alike = [ids(1, 2, 3, EOS)] * 20
    learnt = counted(alike, [i % 2 for i in range(20)])
    assert learnt.totals.sum() > 0
    assert (learnt.hits == learnt.totals).sum() == len(learnt.hits)  # never wrong
    unlike = [ids(i % 6, (i + 1) % 6, EOS) for i in range(6)] * 5
    alone = counted(unlike, list(range(6)) * 5)  # every kind of output held out with its likes
    said = alone.totals.sum()
    assert said > 0
    assert alone.hits.sum() < 0.7 * said


def test_held_out_groups_make_trust_more_careful():
    outputs = [ids(g, (g + k) % 6, (g * k) % 6, EOS) for g in range(6) for k in (1, 2, 1, 2)]
    seen = counted(outputs, [i % 4 for i in range(24)])
    unseen = counted(outputs, [i // 4 for i in range(24)])
    assert unseen.hits.sum() / unseen.totals.sum() < seen.hits.sum() / seen.totals.sum()


@given(st.integers(0, 999))
def test_tables_are_probabilities_and_reliability_rises(seed):
    rng = np.random.default_rng(seed)
    totals = rng.integers(0, 9, kernels.CELLS)
    bins = rng.integers(0, 9, kernels.RELIABILITY_BINS)
    trust = Trust(rng.integers(0, totals + 1), totals, rng.integers(0, bins + 1), bins)
    assert trust.table().min() >= 0
    assert trust.table().max() <= 1
    reliability = trust.reliability()
    assert (np.diff(reliability) >= 0).all()
    assert reliability[0] >= 0
    assert reliability[-1] <= 1


def test_uncounted_trust_leans_on_the_share():
    table = Trust.unknown().table()
    sure = kernels.cell.py_func(0, 0, 4, 50, 50)
    rare = kernels.cell.py_func(0, 0, 4, 50, 5)
    assert table[sure] == pytest.approx(0.5)
    assert table[rare] < 0.1


def test_drafts_shrink_as_width_gets_dearer():
    outputs = [ids(1, 2, 3, 4, 5, EOS)] * 30
    draft = NgramDraft(Corpus.of(outputs), counted(outputs, [i % 5 for i in range(30)]), {EOS}, 8)
    widths = []
    for slope in (0.0, 0.05, 0.3, 5.0):
        price = Price.from_points({1: 1.0, 33: 1.0 + 32 * slope})
        widths.append(len(ask(draft).propose(32, price)))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 6
    assert widths[-1] == 0


def test_the_context_drafts_what_it_has_said_before():
    corpus = Corpus.of([ids(6, 6, EOS)])
    outputs = [ids(1, 2, 3, EOS)] * 20
    prompts = [ids(1, 2, 3, 5)] * 20
    trust = trusts.count(outputs, prompts, np.arange(20, dtype=np.int32) % 2)
    session = ask(NgramDraft(corpus, trust, {EOS}, 8), prompt=(1, 2, 3, 4, 0))
    session.accept([1], Proposal.nothing(), 0)
    proposal = session.propose(8, Price.free())
    assert proposal.tokens[:2].tolist() == [2, 3]
    assert set(proposal.source[:2].tolist()) == {2}


def test_eos_is_only_ever_a_leaf():
    outputs = [ids(1, EOS), ids(1, EOS), ids(1, 2, EOS)] * 9
    draft = NgramDraft(Corpus.of(outputs), counted(outputs, [i % 3 for i in range(27)]), {EOS}, 8)
    proposal = ask(draft).propose(8, Price.free())
    ends = np.flatnonzero(proposal.tokens == EOS)
    assert len(ends)
    assert not np.isin(proposal.parents, ends).any()


def test_chains_where_trees_are_not_wanted():
    outputs = [ids(1, 2, EOS), ids(1, 3, EOS)] * 9
    trust = counted(outputs, [i % 3 for i in range(18)])
    tree = ask(NgramDraft(Corpus.of(outputs), trust, {EOS}, 8)).propose(8, Price.free())
    config = DraftConfig(trees=False)
    chain = ask(NgramDraft(Corpus.of(outputs), trust, {EOS}, 8, config)).propose(8, Price.free())
    assert not tree.is_chain
    assert chain.is_chain
    assert len(chain) >= 2


def test_the_corpus_knows_which_outputs_it_holds():
    corpus = Corpus.of([ids(1, 2, 3, EOS), ids(4, EOS)])
    assert corpus.holds(ids(1, 2, 3, EOS))
    assert corpus.holds(ids(4, EOS))
    assert not corpus.holds(ids(2, 3, EOS))
    assert not corpus.holds(ids(1, 2, EOS))


def test_an_empty_corpus_drafts_from_the_context_alone():
    session = ask(NgramDraft(Corpus.of([]), Trust.unknown(), {EOS}, 8), prompt=(1, 2, 3, 1))
    assert session.propose(4, Price.free()).tokens[0] == 2


@given(st.dictionaries(st.integers(1, 64), st.floats(0.1, 99), min_size=1))
def test_a_wider_pass_never_costs_less(points):
    price = Price.from_points(points)
    curve = price.curve(pending=3, extra=200)
    assert (np.diff(curve) >= -1e-9).all()


def test_the_breaker_stops_what_does_not_pay_and_lets_it_try_again():
    breaker = Breaker(Price.from_points({1: 1.0, 33: 9.0}))
    for _ in range(breakers.WINDOW):
        assert breaker.allows()
        breaker.record(offered=8, accepted=0)
    rests = 0
    while not breaker.allows():
        rests += 1
    assert rests == breakers.FIRST_REST
    for _ in range(breakers.PROBE):
        breaker.record(offered=8, accepted=0)
    rests = 0
    while not breaker.allows():
        rests += 1
    assert rests == 2 * breakers.FIRST_REST


def test_the_breaker_lets_a_good_draft_be():
    breaker = Breaker(Price.from_points({1: 1.0, 33: 9.0}))
    for _ in range(200):
        assert breaker.allows()
        breaker.record(offered=4, accepted=3)


def test_unknown_settings_are_errors():
    with pytest.raises(ValueError, match="unknown mixing rule"):
        DraftConfig(rule="best")
    with pytest.raises(TypeError):
        DraftConfig(lambda_=0.5)
