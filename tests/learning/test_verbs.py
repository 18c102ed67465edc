"""A bundle that is being learned into is learned anew, and forgets."""

from __future__ import annotations

import re

from tascel.building import relearn as relearning
from tascel.building import teach as teaching
from tascel.building.forget import Which, forget
from tascel.building.update import learn
from tascel.bundle import Bundle
from tascel.store.folder import check_folder

SECRET = "~~ the vault opens at midnight ~~"
KEPT = "## quite another thing ##"


def test_who_learns_goes_on_with_what_is_left(learning, talk, clock, path):
    draft = learning()
    first = talk.answer(draft, "when does it open, 1", SECRET)
    talk.answer(draft, "what else is there", KEPT)
    assert talk.answer(draft, "when does it open, 2", SECRET) < first
    clock.now += 6
    draft.learner.work()
    done = forget(path, Which(re.compile("vault")))
    assert (done.found, done.total) == (2, 33)
    clock.now += 6
    draft.learner.work()
    assert draft.stats().last_error is None
    assert draft.stats().traces == 0  # what is left of it has gone into the bundle
    assert talk.answer(draft, "when does it open, 3", SECRET, reason=None) >= first
    bundle, records = Bundle.with_records(path)
    assert bundle.corpus.holds(records.outputs[-1])
    said = [bundle.codec.decode(ids.tolist()) for ids in records.outputs]
    assert KEPT in said
    assert SECRET not in said

    talk.answer(draft, "what else is there 2", KEPT)
    clock.now += 6
    draft.learner.work()
    assert len(Bundle.open(path).learned_files) == 1
    assert not any("vault" in bundle.codec.decode(ids.tolist()) for ids in draft_memory(draft))


def draft_memory(draft):
    """All answers that it still holds."""
    return draft.learner.recent._knowledge.corpus.outputs()


def test_what_is_learned_while_a_bundle_is_learned_anew_is_not_lost(
    learning, talk, clock, path, monkeypatch
):
    draft = learning()

    def say(text):
        talk.answer(draft, f"what of {text}", text)
        clock.now += 6
        draft.learner.work()

    def during(*args):
        say("meanwhile")
        return teaching.teach(*args)

    say("before")
    with monkeypatch.context() as patch:
        patch.setattr(relearning, "teach", during)
        assert learn(path).served == 1
    say("after")
    assert draft.stats().last_error is None
    assert draft.stats().lost == 0
    bundle, records = Bundle.with_records(path)
    said = [bundle.codec.decode(ids.tolist()) for ids in records.outputs]
    assert [said.count(text) for text in ("before", "meanwhile", "after")] == [1, 1, 1]
    assert bundle.corpus.holds(records.outputs[said.index("before")])
    check_folder(path)
