"""Trust, price, breaker: what a draft is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tascel.draft import breaker as breakers
from tascel.draft import trust as trusts
from tascel.draft.base import Proposal
from tascel.draft.breaker import Breaker
from tascel.draft.corpus import Corpus
from tascel.draft.knowledge import Knowledge
from tascel.draft.ngram import DraftConfig, NgramDraft
from tascel.draft.price import Price
from tascel.draft.slots import no_words
from tascel.types import Request

EOS, VOCAB = 7, 20
FREE = Price.free()


def ids(*tokens):
    return np.array(tokens, np.int32)


def ask(draft, prompt=(0,)):
    return draft.open(Request("r", ids(*prompt)))


def of_outputs(outputs, trust, config=None):
    """A draft that never looks at prompts."""
    return NgramDraft(Knowledge.of(outputs, *unread(outputs), VOCAB), trust, None, {EOS}, config)


def unread(outputs):
    """The words and features of prompts that nobody reads."""
    return [no_words()] * len(outputs), [np.zeros(0, np.uint32)] * len(outputs)


def learned(outputs, *folds, prompts=None, progress=lambda done: None):
    prompts = prompts or [ids(0)] * len(outputs)
    ways = [np.array(fold, np.int32) for fold in folds]
    return trusts.learn(outputs, prompts, *unread(outputs), ways, VOCAB, progress)


def first_trust(outputs, trust):
    """How far the best first token is trusted; 0 if too little to be offered."""
    offered = ask(of_outputs(outputs, trust)).propose(1, FREE).trust
    return float(offered[0]) if len(offered) else 0.0


def test_trust_is_learned_on_what_the_index_has_not_seen():
    alike = [ids(1, 2, 3, EOS)] * 20
    assert first_trust(alike, learned(alike, np.arange(20) % 2)) > 0.9
    # each kind of answer is held out whole: what the index names is never right
    kinds = [ids(i % 12, EOS) for i in range(600)]
    assert first_trust(kinds, learned(kinds, np.arange(600) % 12)) == 0.0
    assert first_trust(kinds, learned(kinds, np.arange(600) // 120)) > 0.06


def test_two_ways_of_holding_out_stand_between_each():
    outputs = [ids(i % 12, EOS) for i in range(600)]
    kind, chance = np.arange(600) % 12, np.arange(600) // 120
    strict, both, loose = (
        first_trust(outputs, learned(outputs, *ways))
        for ways in ((kind,), (kind, chance), (chance,))
    )
    assert strict < both < 0.8 * loose
    assert loose > 0.06


def test_learning_is_repeatable_and_hears_progress():
    outputs, heard = [ids(i % 3, EOS) for i in range(9)], []
    first = learned(outputs, np.arange(9) % 3, progress=heard.append)
    assert np.array_equal(first, learned(outputs, np.arange(9) % 3))
    assert heard == list(range(1, 10))
    assert np.isfinite(first).all()
    assert np.array_equal(learned([], []), trusts.unknown())


def test_unlearned_trust_leans_on_the_share():
    outputs = [ids(1, EOS)] * 9 + [ids(2, EOS)]
    proposal = ask(of_outputs(outputs, trusts.unknown())).propose(1, FREE)
    assert proposal.tokens[:2].tolist() == [1, 2]
    assert proposal.trust[0] == pytest.approx(0.4, abs=0.1)
    assert proposal.trust[1] < 0.25


def test_learned_trust_is_how_often_it_is_right():
    rng = np.random.default_rng(0)
    outputs = [ids(1 if rng.random() < 0.7 else 2, EOS) for _ in range(400)]
    trust = learned(outputs, np.arange(400) % 5)
    assert first_trust(outputs, trust) == pytest.approx(0.7, abs=0.08)


def test_trust_follows_what_is_written_and_forgets():
    outputs = [ids(1, 2, 3, EOS)] * 30
    draft = of_outputs(outputs, learned(outputs, np.arange(30) % 3))
    at_first = ask(draft).propose(8, FREE).trust[0]
    for _ in range(60):
        session = ask(draft)
        session.accept([4, EOS], session.propose(8, FREE), 0)  # never what past answers were
    assert ask(draft).propose(8, FREE).trust[0] < at_first - 0.2
    for _ in range(40):
        session = ask(draft)
        session.accept([1, 2, 3, EOS], session.propose(8, FREE), 4)
    assert ask(draft).propose(8, FREE).trust[0] > at_first - 0.1
    draft.forget()
    assert ask(draft).propose(8, FREE).trust[0] == at_first


def test_other_rules_do_not_follow():
    draft = of_outputs([ids(1, EOS)], trusts.unknown(), DraftConfig("longest"))
    ask(draft).accept([3, 4, EOS], Proposal.nothing(), 0)
    assert not draft.mixer.drift.any()


def test_drafts_shrink_as_width_gets_dearer():
    outputs = [ids(1, 2, 3, 4, 5, EOS)] * 30
    draft = of_outputs(outputs, learned(outputs, np.arange(30) % 5))
    widths = []
    for slope in (0.0, 0.05, 0.3, 5.0):
        price = Price.from_points({1: 1.0, 33: 1.0 + 32 * slope})
        widths.append(len(ask(draft).propose(32, price)))
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 6
    assert widths[-1] == 0


def test_the_context_drafts_what_it_has_said_before():
    outputs = [ids(1, 2, 3, EOS)] * 20
    prompts = [ids(1, 2, 3, 5)] * 20
    trust = learned(outputs, np.arange(20) % 2, prompts=prompts)
    session = ask(of_outputs([ids(6, 6, EOS)], trust), prompt=(1, 2, 3, 4, 0))
    session.accept([1], Proposal.nothing(), 0)
    proposal = session.propose(8, Price.free())
    assert proposal.tokens[:2].tolist() == [2, 3]
    assert set(proposal.source[:2].tolist()) == {2}


def test_eos_is_only_ever_a_leaf():
    outputs = [ids(1, EOS), ids(1, EOS), ids(1, 2, EOS)] * 9
    draft = of_outputs(outputs, learned(outputs, np.arange(27) % 3))
    proposal = ask(draft).propose(8, Price.free())
    ends = np.flatnonzero(proposal.tokens == EOS)
    assert len(ends)
    assert not np.isin(proposal.parents, ends).any()


def test_chains_where_trees_are_not_wanted():
    outputs = [ids(1, 2, EOS), ids(1, 3, EOS)] * 9
    trust = learned(outputs, np.arange(18) % 3)
    tree = ask(of_outputs(outputs, trust)).propose(8, Price.free())
    config = DraftConfig(trees=False)
    chain = ask(of_outputs(outputs, trust, config)).propose(8, Price.free())
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
    session = ask(of_outputs([], trusts.unknown()), prompt=(1, 2, 3, 1))
    assert session.propose(4, Price.free()).tokens[0] == 2


@given(st.dictionaries(st.integers(1, 64), st.floats(0.1, 99), min_size=1))
def test_a_wider_pass_never_costs_less(points):
    price = Price.from_points(points)
    curve = price.curve(pending=3, extra=200)
    assert (np.diff(curve) >= -1e-9).all()


def test_the_breaker_stops_what_does_not_pay_and_lets_it_try_again():
    breaker = Breaker(Price.from_points({1: 1.0, 33: 9.0}))  # 8 tokens cost 2 passes

    def failures():
        steps = 0
        while breaker.allows():
            breaker.record(offered=4, accepted=0)
            steps += 1
        return steps

    def rests():
        steps = 1  # failures() has met the first one
        while not breaker.allows():
            steps += 1
        return steps

    assert failures() == breakers.LOSS + 1  # a pass is lost at every step
    assert rests() == breakers.FIRST_REST
    assert failures() == 1
    assert rests() == 2 * breakers.FIRST_REST
    for _ in range(30):  # it proves itself, and no more of that is saved up than may be
        breaker.record(offered=4, accepted=3)
    assert failures() == breakers.SAVED + breakers.LOSS + 1
    assert rests() == breakers.FIRST_REST


def test_the_breaker_lets_a_good_draft_be():
    breaker = Breaker(Price.from_points({1: 1.0, 33: 9.0}))
    for _ in range(200):
        assert breaker.allows()
        breaker.record(offered=4, accepted=3)


def test_the_breaker_lets_a_lean_stretch_be():
    breaker = Breaker(Price.from_points({1: 1.0, 33: 3.0}))
    for step in range(200):  # two tokens at the price of a quarter, right once in four steps
        assert breaker.allows()
        breaker.record(offered=4, accepted=2 if step % 8 == 7 else 0)


def test_unknown_settings_are_errors():
    with pytest.raises(ValueError, match="unknown mixing rule"):
        DraftConfig(rule="worst")
    with pytest.raises(TypeError):
        DraftConfig(lambda_=0.5)
