"""What was learned on disk: written, taken over from others, merged, dropped, and forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tascel.builder import build
from tascel.bundle import Bundle
from tascel.errors import BundleError
from tascel.learning import config as configs
from tascel.learning import journal as journals
from tascel.learning.config import LearnConfig
from tascel.learning.exchange import Exchange, exchanges, kept, recorded, united
from tascel.learning.journal import Journal
from tascel.records import Records
from tascel.store import amend as amends
from tascel.store.amend import Change, amend
from tascel.store.folder import check_folder
from tascel.store.manifest import Manifest
from tascel.types import Trace

DAY = configs.DAY


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def exchange(n: int, time: float = 1.8e9, uses: float = 1.0, size: int = 4) -> Exchange:
    made = Exchange.of(ids(1, n % 200), ids(*[n % 200] * (size - 1), 9), time, None)
    made.uses = uses
    return made


@pytest.fixture
def journal(path, clock):
    def make(where: Path = path, **how) -> Journal:
        config = LearnConfig(**how)
        return Journal(where, Manifest.read(where), config, clock)

    return make


def there(path: Path) -> list[tuple[int, ...]]:
    """All outputs in the files of what was learned."""
    manifest = check_folder(path)
    read = [Records.read(path / name, manifest.vocab_size) for name in manifest.learned]
    return sorted(tuple(output.tolist()) for part in read for output in part.outputs)


def test_an_exchange_goes_to_disk_and_back():
    some = [exchange(1, uses=2.5), exchange(2)]
    some[0].task = "lights"
    for before, after in zip(some, exchanges(recorded(some)), strict=True):
        assert (before.key, before.uses, before.task) == (after.key, after.uses, after.task)
        assert before.prompt.tolist() == after.prompt.tolist()
        assert after.own == 1


def test_equals_are_one_with_all_their_uses():
    config = LearnConfig(half_life=1.0)
    first, again = exchange(1), exchange(1, time=1.8e9 + DAY)
    (one,) = united([first, again], config)
    assert one is first
    assert one.uses == pytest.approx(3.0)  # as of the first one's time, a day earlier
    assert one.worth(1.8e9 + DAY, config) == pytest.approx(1.5)


def test_the_least_useful_go_first_then_the_oldest():
    config = LearnConfig(tokens=12, half_life=7.0)
    now = 1.8e9
    some = [exchange(1, now - DAY, 5.0), exchange(2, now - 14 * DAY), exchange(3, now)]
    some += [exchange(4, now - 2), exchange(5, now - 1), exchange(6, now, 9.0, size=13)]
    left = kept(some, config, now)
    assert [int(one.output[0]) for one in left] == [1, 5, 3]  # by their times; 6 is too large
    assert len(kept(some, LearnConfig(days=7.0), now)) == 5
    assert not kept(some, LearnConfig(tokens=1), now)
    few = kept([exchange(i) for i in range(9)], LearnConfig(tokens=4), now)
    assert len(few) == 1
    assert Exchange.of(ids(1), ids(2), 0.0, None).worth(1e12, config) >= 0.0


def test_uses_never_overflow():
    one, config = exchange(1, time=0.0), LearnConfig(half_life=0.01)
    one.use(1.0, 1.8e9, config)
    assert np.isfinite(recorded([one]).uses).all()


def test_what_is_flushed_is_there_and_what_is_not_is_known(journal, path):
    mine = journal()
    mine.flush()
    assert mine.waits is None
    mine.add(exchange(1))
    mine.add(exchange(2, time=1.8e9 + 1))
    assert (mine.unflushed, mine.waits) == (2, 1.8e9)
    assert there(path) == []
    mine.flush()
    assert mine.unflushed == 0
    assert there(path) == [(1, 1, 1, 9), (2, 2, 2, 9)]
    assert mine.look().added == []  # its own
    assert mine.look() is None  # nothing has changed


def test_what_was_written_after_all_is_not_written_again(journal, path, monkeypatch):
    """The disk did not confirm it, but it is there; and gone once it is forgotten."""
    mine, real = journal(), amends.put_manifest

    def put(folder, manifest):
        real(folder, manifest)
        raise OSError(5, "input/output error")

    mine.add(exchange(1))
    with monkeypatch.context() as patch:
        patch.setattr(amends, "put_manifest", put)
        with pytest.raises(BundleError, match="cannot be written"):
            mine.flush()
    assert mine.unflushed == 1
    assert mine.look() is not None
    assert mine.unflushed == 0
    amend(path, lambda manifest: Change({}, list(manifest.learned)))
    mine.flush()
    assert there(path) == []
    assert mine.look().gone == {exchange(1).key}


def test_others_answers_are_taken_over_once(journal, path):
    mine, other = journal(), journal()
    other.add(exchange(1))
    other.flush()
    news = mine.look()
    assert [one.key for one in news.added] == [exchange(1).key]
    assert not news.gone
    assert not news.rebuilt
    other.add(exchange(2))
    other.flush()
    assert [one.key for one in mine.look().added] == [exchange(2).key]


def test_what_no_file_holds_any_more_is_gone(journal, path):
    mine, other = journal(), journal()
    mine.add(exchange(1))
    mine.flush()
    other.add(exchange(1))  # both have it
    other.flush()
    mine.add(exchange(2))
    mine.flush()
    mine.look()
    first, second, _ = sorted(
        Manifest.read(path).learned,
        key=lambda n: Records.read(path / n, 1000).outputs[0].tolist(),
    )
    amend(path, lambda _: Change({}, [first]))
    assert mine.look().gone == frozenset()
    amend(path, lambda _: Change({}, [second]))
    assert mine.look().gone == {exchange(1).key}


def test_a_failed_flush_is_tried_again_and_writes_nothing_twice(journal, path, monkeypatch):
    mine = journal()
    mine.add(exchange(1))
    real, calls = journals.amend, []

    def late(*args):
        real(*args)
        calls.append(args)
        raise BundleError("the disk did not say so")

    monkeypatch.setattr(journals, "amend", late)
    with pytest.raises(BundleError):
        mine.flush()
    assert mine.unflushed == 1
    monkeypatch.setattr(journals, "amend", real)
    mine.add(exchange(2))
    mine.flush()
    assert there(path) == [(1, 1, 1, 9), (2, 2, 2, 9)]


def test_what_waits_too_long_is_bounded(journal):
    mine = journal(tokens=8)
    for i in range(100):
        mine.add(exchange(i))
    assert mine.unflushed + mine.lost == 100
    assert 5 < mine.unflushed < 15
    assert [int(one.output[0]) for one in mine.forget()][-1] == 99
    assert mine.unflushed == 0


def test_many_files_become_few(journal, path):
    mine, other = journal(), journal()
    for i in range(40):
        mine.add(exchange(i))
        mine.flush()
        mine.merge(lambda key: None)
    assert len(Manifest.read(path).learned) <= journals.FILES
    assert len(there(path)) == 40
    assert not mine.merge(lambda key: None)
    news = other.look()
    assert len(news.added) == 40
    mine.look()
    for i in range(40, 60):
        mine.add(exchange(i))
        mine.flush()
        mine.merge(lambda key: (7.0, 1.8e9) if key == exchange(3).key else None)
    news = other.look()
    assert not news.gone  # merged, not gone
    assert len(there(path)) == 60


def test_merging_remembers_what_was_of_use(journal, path, clock):
    mine = journal()
    for i in range(journals.FILES + 1):
        mine.add(exchange(i))
        mine.flush()
    assert mine.merge(lambda key: (7.0, 1.8e9) if key == exchange(3).key else None)
    read = [Records.read(path / name, 1000) for name in Manifest.read(path).learned]
    assert max(float(part.uses.max()) for part in read) == 7.0


def test_too_much_is_dropped_and_so_is_what_is_too_old(journal, path, clock):
    mine = journal(tokens=40, days=30.0)
    for i in range(60):
        mine.add(exchange(i, time=clock.now + i))
    mine.flush()
    assert mine.merge(lambda key: None)
    assert [output[0] for output in there(path)] == [*range(50, 60)]
    clock.now += 31 * DAY
    assert mine.merge(lambda key: None)
    assert there(path) == []
    assert Manifest.read(path).learned == {}
    assert not mine.merge(lambda key: None)


def test_what_gets_too_old_does_not_have_all_written_anew_each_time(journal, clock):
    mine = journal(days=30.0)
    for i in range(60):
        mine.add(exchange(i, time=clock.now + 60 * i))  # one a minute
    mine.flush()
    clock.now += 30 * DAY
    merged = 0
    for _ in range(60):
        clock.now += 60
        merged += mine.merge(lambda key: None)
    assert merged == 0
    clock.now += 120
    assert mine.merge(lambda key: None)


def test_who_merges_second_changes_nothing(journal, path):
    mine, other = journal(), journal()
    for i in range(journals.FILES + 1):
        mine.add(exchange(i))
        mine.flush()
    other.look()
    assert other.merge(lambda key: None)
    before = Manifest.read(path)
    assert not mine.merge(lambda key: None)
    assert Manifest.read(path) == before
    assert len(there(path)) == journals.FILES + 1
    assert not mine.look().gone


def test_another_tokenizers_bundle_is_left_alone(journal, path, tmp_path):
    mine = journal()
    mine.add(exchange(1))
    text = (path / "manifest.json").read_text()
    tokenizer = Manifest.read(path).tokenizer
    (path / "manifest.json").write_text(text.replace(tokenizer, "0" * len(tokenizer)))
    for work in (mine.flush, mine.look):
        with pytest.raises(BundleError, match="another tokenizer"):
            work()
    assert mine.unflushed == 1
    assert Manifest.read(path).learned == {}


def test_another_build_is_seen(journal, path, toy_folder):
    mine = journal()
    mine.look()
    build([lamp(i) for i in range(9)], toy_folder, path)
    assert mine.look().rebuilt
    mine.opened(Bundle.open(path).manifest)
    mine.again()
    assert not mine.look().rebuilt
    shutil.rmtree(path)
    with pytest.raises(OSError, match="No such file"):
        mine.look()


def lamp(i: int) -> Trace:
    return Trace(
        ({"role": "user", "content": f"light {i}"},),
        {"role": "assistant", "content": f"the lamp {i % 7}"},
    )


@pytest.mark.parametrize(
    "wrong", [{"tokens": 0}, {"days": -1.0}, {"half_life": 0.0}, {"flush": -1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        LearnConfig(**wrong)
