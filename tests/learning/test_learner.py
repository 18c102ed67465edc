"""The background: what it takes over, what it survives, and that it ends."""

from __future__ import annotations

import errno
import gc
import logging
import shutil
import threading
import weakref

import numpy as np

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.draft.price import Price
from tascel.learning import journal as journals
from tascel.learning import recent as recents
from tascel.learning.exchange import Exchange
from tascel.records import Records
from tascel.route.draft import RoutedDraft
from tascel.store import amend as amends
from tascel.store.amend import Change, amend
from tascel.store.manifest import Manifest
from tascel.types import Request, Trace

NEW = "zebra quartz 42 violet"
PRICE = Price.from_points({1: 1.0, 33: 1.6})


def test_two_learners_draft_from_each_others_answers(learning, talk, clock):
    one, two = learning(), learning()
    first = talk.answer(one, "what is there 1", NEW)
    clock.now += 6
    two.learner.work()
    assert two.stats().traces == 1
    assert talk.answer(two, "what is there 2", NEW) < first / 2
    third = learning()  # from the start
    assert third.stats().traces == 2


def test_who_writes_nothing_leaves_the_folder_alone(learning, talk, clock, path):
    one = learning()
    for i in range(3):
        talk.answer(one, f"what is there {i}", NEW)
    before = Manifest.read(path)
    two = learning(written=False, tokens=40)  # there is more than that
    kept = two.stats().traces
    assert kept < 3
    talk.answer(two, "who", "is")
    clock.now += 6
    two.learner.work()
    stats = two.stats()
    assert (stats.traces, stats.unflushed, stats.errors) == (kept + 1, 0, 0)
    two.forget()
    assert two.stats().traces == kept
    two.close()
    assert Manifest.read(path) == before


def test_few_answers_of_others_are_not_worth_an_index(learning, talk, clock):
    one, two = learning(), learning()
    for i in range(40):
        talk.answer(one, f"what is there {i}", f"lamp {i}")
    clock.now += 6
    two.learner.work()
    learns = two.stats().learns
    first = talk.answer(one, "who was it", NEW)
    clock.now += 6
    two.learner.work()
    assert (two.stats().traces, two.stats().learns) == (41, learns)
    assert talk.answer(two, "who was it", NEW) < first


def test_what_is_too_old_is_drafted_no_more(learning, talk, clock, path):
    draft = learning(days=30.0)
    first = talk.answer(draft, "what is there 1", NEW)
    clock.now += 30 * 86_400 + 7200
    draft.learner.work()  # though nobody has asked anything since
    assert draft.stats().traces == 0
    assert draft.learner.recent.draft is None
    assert not len(draft.learner.recent._knowledge.corpus)
    assert not Manifest.read(path).learned
    assert talk.answer(draft, "what is there 2", NEW) == first


def test_what_is_forgotten_on_disk_is_drafted_no_more(learning, talk, clock, path):
    draft = learning()
    first = talk.answer(draft, "what is there 1", NEW)
    talk.answer(draft, "what is there 2", "another answer")
    clock.now += 6
    draft.learner.work()
    gone = [
        name
        for name in Manifest.read(path).learned
        if len(Records.read(path / name, 1000).outputs[0]) == len(talk.output(NEW))
    ]
    amend(path, lambda _: Change({}, gone))
    clock.now += 6
    draft.learner.work()
    assert draft.stats().traces == 1
    knowledge = draft.learner.recent._knowledge
    text = knowledge.corpus.text.tolist()
    assert talk.output(NEW)[0] not in text
    assert not len(knowledge.fresh)
    assert talk.answer(draft, "what is there 3", NEW) == first


def test_a_bundle_that_was_built_anew_is_drafted_with(learning, talk, clock, path, toy_folder):
    draft = learning()
    talk.answer(draft, "what is there 1", "an answer")
    before = talk.answer(draft, "light 3", NEW, reason=None)
    open_ = draft.open(Request("r", talk.prompt("light 3")))
    traces = [
        Trace(({"role": "user", "content": f"light {i}"},), {"role": "assistant", "content": NEW})
        for i in range(30)
    ]
    build(traces, toy_folder, path)
    clock.now += 6
    draft.learner.work()
    assert talk.answer(draft, "light 3", NEW, reason=None) < before / 2
    assert draft.stats().traces == 0  # the new build holds nothing that was learned
    assert draft.stats().last_error is None
    open_.propose(4, PRICE)
    open_.accept([1], open_.propose(4, PRICE), 0)
    open_.close()
    talk.answer(draft, "what is there 1", "an answer")
    clock.now += 6
    draft.learner.work()
    assert Manifest.read(path).learned
    assert Bundle.open(path).manifest.base == draft.learner._bundle.manifest.base


def test_a_bundle_that_is_gone_is_drafted_with_still(learning, talk, clock, path, caplog):
    draft = learning()
    away = path.with_name("away")
    path.rename(away)
    with caplog.at_level(logging.WARNING):
        for i in range(4):
            talk.answer(draft, f"light {i}", "the lamp 3")
            clock.now += 6
    assert draft.stats().errors >= 4
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records) <= 2
    assert draft.stats().unflushed == 4
    away.rename(path)
    clock.now += 60
    draft.learner.work()
    clock.now += 6
    draft.learner.work()
    assert draft.stats().unflushed == 0
    assert draft.stats().last_error is None


def test_a_full_disk_is_said_once_and_written_later(learning, talk, clock, monkeypatch, caplog):
    draft = learning()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(amends, "put_manifest", full)
        for i in range(5):
            talk.answer(draft, f"what is there {i}", NEW)
            clock.now += 6
    assert [("disk is full" in r.getMessage()) for r in caplog.records] == [True]
    assert draft.stats().unflushed == 5
    clock.now += 60
    draft.learner.work()
    assert draft.stats().unflushed == 0


def test_whatever_breaks_answers_go_on(learning, talk, clock, monkeypatch):
    draft = learning()
    talk.answer(draft, "what is there", NEW)
    for name in ("add", "index", "index_fresh"):
        monkeypatch.setattr(recents.Recent, name, broken)
    monkeypatch.setattr(recents.NgramDraft, "open", broken)
    monkeypatch.setattr(journals.Journal, "look", broken)
    draft.learner.base = Silent()
    clock.now += 6
    assert talk.answer(draft, "what is there", NEW) > 3
    draft.learner.work()
    stats = draft.stats()
    assert stats.errors >= 3
    assert "broken" in (stats.last_error or "")


class Silent:
    """A draft that has nothing to say."""

    def open(self, request):
        return self

    def propose(self, room, price, pending=1):
        from tascel.draft.base import Proposal

        return Proposal.nothing()

    def accept(self, tokens, offered, taken):
        pass

    def close(self):
        pass


def test_a_damaged_file_is_said_and_left_alone(learning, talk, clock, path, caplog):
    one = learning()
    for i in range(3):
        talk.answer(one, f"what is there {i}", NEW)
    first, *_ = Manifest.read(path).learned
    size = (path / first).stat().st_size
    (path / first).write_bytes(b"x" * size)
    with caplog.at_level(logging.WARNING):
        two = learning()
    assert two.stats().traces == 2
    assert two.stats().errors == 1
    assert first in caplog.text
    for i in range(20):
        talk.answer(two, f"what is there {i}", f"zebra {i}")
        clock.now += 6
    assert two.stats().errors == 1
    assert first in Manifest.read(path).learned  # for `tascel check` to find


def test_tasks_draft_apart_and_learn_together(two_tasks, toy_folder, tmp_path, learning, talk_of):
    traces = two_tasks(120, labelled=True)
    path = build(traces, toy_folder, tmp_path / "two").path
    draft = learning(path)
    assert isinstance(draft.learner.base, RoutedDraft)
    bundle = Bundle.open(path)
    talk, asked = talk_of(bundle), [trace.prompt_text for trace in traces[:6]]
    sessions = [draft.open(Request(text, talk.prompt(text))) for text in asked]
    tasks = {session.task for session in sessions}
    assert tasks <= {*(entry.name for entry in bundle.manifest.tasks), "unknown"}
    draft.propose_many(sessions, [8] * 6, PRICE, 6)
    for session in sessions:
        session.accept([1, 2], session.propose(8, PRICE), 0)
        session.finish("stop")
        session.close()
    assert draft.stats().learned == 6
    assert draft.stats().errors == 0


def test_while_all_is_indexed_answers_are_written_down(learning, talk, clock, path, monkeypatch):
    draft, seen = learning(flush=5.0), []
    for i in range(3):
        talk.answer(draft, f"what is there {i}", NEW)
    about = recents.Recent._about

    def slow(self, prompt):
        clock.now += 3
        seen.append(draft.stats().unflushed)
        return about(self, prompt)

    monkeypatch.setattr(recents.Recent, "_about", slow)
    draft.learner.recent.index()
    assert (seen[0], seen[-1]) == (3, 0)
    assert Manifest.read(path).learned


def test_the_end_waits_for_no_index(learning, talk, path, monkeypatch):
    draft, read = learning(background=True, flush=60.0), []
    for i in range(4):
        talk.answer(draft, f"what is there {i}", NEW)
    began, about = threading.Event(), recents.Recent._about

    def slow(self, prompt):
        read.append(prompt)
        began.set()
        draft.learner._stop.wait(60)
        return about(self, prompt)

    monkeypatch.setattr(recents.Recent, "_about", slow)
    draft.learner.recent.rebase(draft.learner._bundle.learned)
    draft.learner._wake.set()
    assert began.wait(60)
    draft.close()
    assert len(read) == 1
    assert (draft.stats().unflushed, draft.stats().errors) == (0, 0)
    assert sum(len(Records.read(path / n, 1000)) for n in Manifest.read(path).learned) == 4


def test_answers_that_come_while_all_is_indexed_are_known_after(learning, talk, monkeypatch):
    draft = learning()
    talk.answer(draft, "what is there", NEW)
    recent, about = draft.learner.recent, recents.Recent._about
    late = [
        Exchange.of(talk.prompt(f"who is there {i}"), talk.output(NEW), 1.8e9, None)
        for i in range(recents.FEW + 4)
    ]

    def slow(self, prompt):
        while late:
            assert self.add(late.pop())
        return about(self, prompt)

    monkeypatch.setattr(recents.Recent, "_about", slow)
    recent.index()
    assert len(recent._knowledge.learned) == 1
    assert len(recent._knowledge.fresh) == recents.FEW + 4 == len(recent) - 1


def test_an_index_that_fails_is_due_still(learning, talk, monkeypatch):
    draft = learning()
    talk.answer(draft, "what is there", NEW)
    recent = draft.learner.recent
    recent.drop(recent.keys())
    with monkeypatch.context() as patch:
        patch.setattr(recents.Recent, "_blank", broken)
        draft.learner.work()
    assert draft.stats().last_error == "RuntimeError('broken')"
    assert len(recent._knowledge.learned) == 1
    draft.learner.work()
    assert not len(recent._knowledge.corpus)


def broken(*_, **__):
    raise RuntimeError("broken")


def test_memory_keeps_its_bound(learning, talk, clock):
    draft = learning(tokens=200)
    for i in range(120):
        talk.answer(draft, f"what is there {i}", f"zebra {i}")
        assert draft.stats().tokens <= 300
        clock.now += 1
    assert draft.stats().tokens >= 60
    assert draft.stats().lost == 0


def test_a_former_index_is_gone_at_once(learning, talk):
    draft = learning()
    talk.answer(draft, "what is there", NEW)
    former = weakref.ref(draft.learner.recent.draft)
    gc.disable()  # nothing is left for it to find
    try:
        draft.learner.recent.index()
        assert former() is None
    finally:
        gc.enable()


def test_a_thread_does_it_and_ends(learning, talk, path):
    draft = learning(background=True, flush=0.01)
    assert any(thread.name == "tascel-learner" for thread in threading.enumerate())
    for i in range(20):
        talk.answer(draft, f"what is there {i}", NEW)
    draft.close()
    assert draft.stats().unflushed == 0
    assert draft.stats().errors == 0
    thread = draft.learner._thread
    assert not thread.is_alive()
    read = [Records.read(path / name, 1000) for name in Manifest.read(path).learned]
    assert sum(map(len, read)) == 20


def test_a_draft_that_nobody_closes_closes_itself(path, clock):
    from tascel.draft.ngram import DraftConfig
    from tascel.learning import LearnConfig, Learner, LearningDraft

    config = DraftConfig()
    opened = Bundle.open(path)
    learner = Learner(opened, lambda b: b.draft(config), config, LearnConfig(flush=60.0), clock)
    draft = LearningDraft(learner, config)
    draft.start()
    learner.learn(Request("r", np.array([1, 2], np.int32)), [3, 4, 5])
    thread = learner._thread
    del draft
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()
    assert sum(len(Records.read(path / n, 1000)) for n in Manifest.read(path).learned) == 1
    shutil.rmtree(path)
