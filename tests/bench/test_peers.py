"""The peers say through our protocol what their packages say without it."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from tascel.bench.peers import (
    DEFAULTS,
    GRIDS,
    VARIANTS,
    Peers,
    PromptLookup,
    SuffixDecoding,
    check,
    suffix_cache,
    warmed,
)
from tascel.decode.forced import Entrant, Example, Rules, follow
from tascel.draft.base import Proposal
from tascel.draft.corpus import Corpus
from tascel.draft.ngram import RULES, DraftConfig
from tascel.draft.price import Price, typical
from tascel.errors import RequestError
from tascel.types import SOURCES, Request

PRICE = Price.free()
EOS = 99
SETTINGS = {"max_spec_factor": 1.0, "min_token_prob": 0.1, "use_tree_spec": False}


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


@pytest.fixture(scope="module")
def bundle(toy_folder, tmp_path_factory):
    from tascel import Trace, build

    traces = [
        Trace(({"role": "user", "content": f"light {i}"},), {"role": "assistant", "content": text})
        for i, text in enumerate(f'{{"on": {i % 3}}}' for i in range(30))
    ]
    return build(iter(traces), toy_folder, tmp_path_factory.mktemp("bundles") / "bundle")


def test_every_peer_has_as_many_settings_to_try_as_the_others():
    assert {name: len(GRIDS.get(name, [])) for name in DEFAULTS} == {
        "prompt-lookup": 18, "suffix-cold": 18, "suffix-warm": 18, "tasc-paper": 0,
        "tasc-tuned": 18,
    }  # fmt: skip
    for name, grid in GRIDS.items():
        assert len({tuple(settings.items()) for settings in grid}) == 18
        assert all(settings.keys() == DEFAULTS[name].keys() for settings in grid)
    for name in ("suffix-warm", "tasc-tuned"):
        assert DEFAULTS[name] in GRIDS[name]


def test_an_unknown_peer_is_refused(bundle):
    check(DEFAULTS)
    with pytest.raises(RequestError, match="magic"):
        check(["tasc-paper", "magic"])
    with pytest.raises(RequestError, match="magic"):
        Peers(bundle).make("magic", {})


def test_the_two_tasc_peers_are_our_draft_with_their_settings(bundle):
    peers = Peers(bundle)
    assert peers.make("tasc-paper", {}).config == DraftConfig.published()
    tuned = peers.make("tasc-tuned", DEFAULTS["tasc-tuned"]).config
    assert (tuned.rule, tuned.trees) == ("interpolate", False)
    assert {name: getattr(tuned, name) for name in DEFAULTS["tasc-tuned"]} == DEFAULTS["tasc-tuned"]


def test_the_variants_of_our_draft_differ_from_it_in_one_thing(bundle):
    check(VARIANTS)
    for chain in (False, True):
        peers = Peers(bundle, chain)
        ours = DraftConfig(trees=not chain)
        made = {name: peers.make(name, settings).config for name, settings in VARIANTS.items()}
        assert made["chain"] == DraftConfig(trees=False)
        bare = DraftConfig(trees=not chain, neighbours=False, slots=False)
        assert made["corpus-context"] == bare
        assert {config.rule for config in made.values()} == set(RULES)
        for name, config in made.items():
            changed = {
                f.name for f in fields(config) if getattr(config, f.name) != getattr(ours, f.name)
            }
            assert changed <= VARIANTS[name].keys()


def test_learning_along_the_way_writes_nothing_into_the_bundle(bundle):
    draft = Peers(bundle).make("learning", {})
    before = sorted(bundle.path.rglob("*"))
    example = Example(ids(11, 12, 13), ids(31, 44, 27, 52, 38, *bundle.manifest.eos_ids[:1]))
    rules = Rules(typical(), bundle.codec.vocab_size)
    first, again = follow({"it": Entrant(draft, guarded=True)}, [example] * 2, rules)["it"]
    assert again.steps == 1 < first.steps
    draft.close()
    assert draft.stats().unflushed == 0
    assert sorted(bundle.path.rglob("*")) == before


def test_a_corpus_gives_its_outputs_back():
    given = [ids(1, 2, EOS), ids(EOS), ids(2, 2, 2, EOS)]
    assert [o.tolist() for o in Corpus.of(given).outputs()] == [o.tolist() for o in given]
    assert Corpus.of([]).outputs() == []


def test_prompt_lookup_drafts_what_transformers_drafts():
    import torch
    from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

    rng = np.random.default_rng(0)
    draft = PromptLookup({EOS}, 4, 2)
    for _ in range(50):
        known = rng.integers(0, 5, int(rng.integers(2, 20))).astype(np.int32)
        known[known == 4] = EOS
        cut = int(rng.integers(1, len(known)))
        session = draft.open(Request("r", known[:cut], max_tokens=64))
        session.accept(known[cut:].tolist(), Proposal.nothing(), 0)
        stock = PromptLookupCandidateGenerator(torch.tensor([EOS]), 4, 2, max_length=cut + 64)
        expected, _ = stock.get_candidates(torch.tensor(known[None], dtype=torch.long))
        found = session.propose(60, PRICE)
        assert found.tokens.tolist() == expected[0, len(known) :].tolist()
        assert found.is_chain
        assert set(found.source.tolist()) <= {SOURCES.index("context")}
        assert len(session.propose(2, PRICE)) <= 2


# With the real package: `make test-peers`


def known_session(answers, settings, learns=False, lead=(), depth=24):
    cache = warmed([ids(*answer) for answer in answers], ids(*lead), depth)
    return SuffixDecoding(cache, learns, **settings)


@pytest.mark.peers
def test_a_warm_tree_drafts_a_past_answer():
    draft = known_session([[1, 2, 3, 4, 5, 6, EOS]], SETTINGS)
    session = draft.open(Request("r", ids(7, 8)))
    session.accept([1, 2, 3], Proposal.nothing(), 0)
    found = session.propose(500, PRICE)
    assert found.tokens.tolist() == [4, 5, 6]  # as many as match
    assert found.is_chain
    assert np.all(found.trust > 0)
    assert len(session.propose(2, PRICE)) == 2


@pytest.mark.peers
def test_a_lead_matches_where_an_answer_starts():
    past = [[1, 2, 3, 4, 5, EOS]]
    for lead, width in (((), 1), ((7, 8), 3)):
        session = known_session(past, SETTINGS, lead=lead).open(Request("r", ids(9, 7, 8)))
        session.accept([1], Proposal.nothing(), 0)
        assert len(session.propose(500, PRICE)) == width


@pytest.mark.peers
def test_trees_come_in_topological_order_and_no_wider_than_allowed():
    rng = np.random.default_rng(0)
    past = [[*rng.integers(0, 4, 30).tolist(), EOS] for _ in range(60)]
    draft = known_session(past, SETTINGS | {"use_tree_spec": True, "max_spec_factor": 4.0})
    widths, chains = [], []
    for at in range(60):
        session = draft.open(Request(str(at), rng.integers(0, 4, 9).astype(np.int32)))
        session.accept(rng.integers(0, 4, 5).tolist(), Proposal.nothing(), 0)
        found = session.propose(20, PRICE)
        assert np.all(found.parents < np.arange(len(found)))
        assert np.all(found.parents >= -1)
        widths.append(len(found))
        chains.append(found.is_chain)
        session.close()
    assert 10 < max(widths) <= 20
    assert not all(chains)


@pytest.mark.peers
def test_an_empty_tree_learns_finished_answers_and_a_warm_one_forgets_them():
    rules = Rules(typical(), 100)
    same = [Example(ids(7, 8), ids(1, 2, 3, 4, 5, 6, EOS))] * 2
    cold = SuffixDecoding(suffix_cache(24, 100), learns=True, **SETTINGS)
    first, second = follow({"cold": Entrant(cold)}, same, rules)["cold"]
    assert first.offered == 0  # what the warm-up taught is gone
    assert sum(second.accepted.values()) > 0
    assert set(cold.cache.cached_requests) == {"0", "1"}
    assert not cold.cache.active_requests
    warm = known_session([], SETTINGS)
    costs = follow({"warm": Entrant(warm)}, same, rules)["warm"]
    assert [cost.offered for cost in costs] == [0, 0]
    assert not warm.cache.cached_requests


@pytest.mark.peers
def test_the_request_itself_is_matched_too():
    draft = known_session([], SETTINGS)
    session = draft.open(Request("r", ids(1, 2, 3, 4)))
    session.accept([1, 2], Proposal.nothing(), 0)
    assert session.propose(9, PRICE).tokens.tolist() == [3, 4]


@pytest.mark.peers
def test_all_peers_of_a_bundle_are_replayed_and_tuned(bundle, tmp_path):
    import json

    from tascel import replay

    file = tmp_path / "traces.jsonl"
    lines = [
        {"prompt": f"light {i}", "output": f'{{"on": {i % 3}}}', "split": split, "group": i % 9}
        for i in range(30)
        for split in ("train", "test")
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    for chain in (False, True):
        content = replay(bundle, file, [*DEFAULTS], limit=8, chain=chain)
        rows = {row["name"]: row for row in content["drafts"]}
        assert [*rows] == [*DEFAULTS, "tascel"]
        assert rows["suffix-warm"]["speedup_estimate"] > 1
        assert rows["suffix-warm"]["accepted_by_source"].keys() == {"draft"}
        assert all(row["settings"] == DEFAULTS.get(row["name"], {}) for row in content["drafts"])
    tuned = replay(bundle, file, ["suffix-warm"], limit=4, tune=True)
    assert tuned["drafts"][0]["settings"] in GRIDS["suffix-warm"]
