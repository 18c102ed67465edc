"""Distilling: drafts learn, are judged beside n-grams on held-out answers, and are stored."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import tascel
from tascel.adapt.distill import training
from tascel.adapt.distill.config import DistillConfig, Target
from tascel.adapt.distill.distill import distill
from tascel.adapt.distill.judge import FIXED, Hits, counted, fixed, hits, score
from tascel.adapt.distill.lessons import Pair, lessons
from tascel.adapt.distill.pupil import Pupil
from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.draft.base import Proposal
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.engines.hf.engine import HfEngine
from tascel.engines.hf.layers import keep_layers, with_changes
from tascel.engines.hf.load import fingerprint, load_model
from tascel.errors import BundleError, ModelError, TraceError
from tascel.store.folder import check_folder, open_folder
from tascel.types import Trace

PRICE = Price.from_points({1: 1.0, 33: 1.6})
CHEAP = {1: {1: 0.05, 8: 0.06}, 4: {4: 0.06}}
CONFIG = DistillConfig(layers=(1,), steps=4, rank=4, batch=8, limit=60, tried=8, max_tokens=20)
#: For a model whose first layer says it all: what it learns could only make it worse.
PERFECT = replace(CONFIG, steps=1, learning_rate=0.0, limit=10, tried=25)
WORDS = ("in", "on", "the", "lin", "thin", "then", "lion", "tin")


@pytest.fixture(scope="module")
def folder(toy, tokenizer, tmp_path_factory):
    """A toy Llama of three layers, the last two of which do nothing: its first one says it all."""
    path = tmp_path_factory.mktemp("distil") / "model"
    model = toy(
        "Llama", num_hidden_layers=3, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>")
    )
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def codec(folder):
    return Codec.from_pretrained(folder)


@pytest.fixture(scope="module")
def target(folder):
    model = load_model(folder)
    return Target(model, HfEngine(model), PRICE, fingerprint(folder))


@pytest.fixture
def cheap(monkeypatch):
    """A toy's passes are too short to measure: every draft costs a twentieth of a pass."""
    monkeypatch.setattr(training, "_points", lambda model, target: CHEAP)


@pytest.fixture
def two(two_tasks, folder, tmp_path):
    """Two labelled tasks and their bundle."""
    traces = two_tasks(110, labelled=True)
    tascel.build(traces, folder, tmp_path / "bundle")
    return traces, tmp_path / "bundle"


@pytest.fixture
def one(folder, tmp_path):
    """One task, whose answers nobody can know from others, and its bundle."""
    rng = np.random.default_rng(0)
    traces = [
        Trace(
            ({"role": "user", "content": f"{rng.integers(10**9)}"},),
            {"role": "assistant", "content": f"{rng.integers(10**9)}"},
            split="train" if at < 110 else "valid",
        )
        for at in range(160)
    ]
    tascel.build(traces, folder, tmp_path / "bundle")
    return traces, tmp_path / "bundle"


def quiet(stage, done, total):
    pass


def test_what_is_held_out_is_learned_by_nobody(two, codec, target):
    traces, bundle = two
    config = replace(CONFIG, traces_are_outputs=True)
    found = lessons(traces, Bundle.open(bundle), codec, target, config, quiet)
    assert [lesson.task for lesson in found] == ["lights", "songs"]
    for lesson in found:
        assert len(lesson.train) == 60 < len(lesson.known)
        known = {pair.prompt.tobytes() for pair in lesson.known}
        held = [pair.prompt.tobytes() for pair in (*lesson.judged, *lesson.counted)]
        assert held
        assert not known & {*held}
        assert {pair.prompt.tobytes() for pair in lesson.train} <= known
    assert all(b"lamp" in codec.decode(p.prompt.tolist()).encode() for p in found[0].known)


def test_named_validation_traces_are_what_is_held_out(one, codec, target):
    traces, bundle = one
    named = [*traces[:30], *traces[-4:]]
    config = replace(CONFIG, traces_are_outputs=True)
    (lesson,) = lessons(named, Bundle.open(bundle), codec, target, config, quiet)
    assert lesson.task is None
    assert (len(lesson.known), len(lesson.judged), len(lesson.counted)) == (30, 2, 2)


def test_the_model_answers_itself(one, codec, target, folder):
    traces, bundle = one
    (lesson,) = lessons(traces, Bundle.open(bundle), codec, target, CONFIG, quiet)
    runner = tascel.load(None, model=folder)
    for pair in (*lesson.train[:2], *lesson.judged[:2], *lesson.counted[:1]):
        text = next(t for t in traces if np.array_equal(codec.prompt(t.messages), pair.prompt))
        own = runner.generate(text.messages, max_tokens=CONFIG.max_tokens)
        assert pair.output.tolist() == list(own.tokens)


def test_too_few_traces_are_refused(one, codec, target):
    traces, bundle = one
    with pytest.raises(TraceError, match="too few traces"):
        lessons(traces[:50], Bundle.open(bundle), codec, target, CONFIG, quiet)


def learned(folder, codec, tmp_path, steps):
    """How well a draft of one layer says a word twice, after so many steps."""
    teacher = load_model(folder)
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    pairs = [Pair(codec.prompt(f"say {word}"), codec.output(f"{word} {word}")) for word in WORDS]
    config = replace(CONFIG, rank=8, learning_rate=0.02)
    pupil = Pupil(teacher, 1, codec.end_id, config)
    loss = pupil.learn([pair.example for pair in pairs], steps, 0.02)
    pupil.save(tmp_path / str(steps))
    assert all(torch.equal(teacher.state_dict()[name], before[name]) for name in before)
    cut = with_changes(keep_layers(teacher, [0]), tmp_path / str(steps))
    assert all(torch.equal(teacher.state_dict()[name], before[name]) for name in before)
    return loss, fixed(hits(cut, pairs, codec.vocab_size))


def test_a_draft_learns_and_its_teacher_does_not_change(folder, codec, tmp_path):
    early, bad = learned(folder, codec, tmp_path, 1)
    late, good = learned(folder, codec, tmp_path, 40)
    assert late < 0.5 * early
    assert good.first > bad.first + 0.2
    assert good.accepted > bad.accepted + 0.2


def test_an_adapter_names_no_place(folder, codec, tmp_path):
    learned(folder, codec, tmp_path, 1)
    said = (tmp_path / "1" / "adapter_config.json").read_text()
    assert str(folder) not in said
    assert json.loads(said)["base_model_name_or_path"] == ""


def test_a_draft_begins_again_where_it_was(folder, codec):
    pupil = Pupil(load_model(folder), 1, codec.end_id, CONFIG)
    begun = pupil.state()
    pupil.learn([Pair(codec.prompt("a"), codec.output("b")).example], 3, 0.01)
    assert any(not torch.equal(begun[name], now) for name, now in pupil.state().items())
    pupil.restore(begun)
    assert all(torch.equal(begun[name], now) for name, now in pupil.state().items())


def test_hits_are_where_the_model_would_say_the_same(folder, codec):
    model = load_model(folder)
    prompt, output = codec.prompt("a"), codec.output("the lion")
    (found,) = hits(model, [Pair(prompt, output)], model.config.vocab_size)
    assert len(found.right) == len(found.probability) == len(output)
    for at in range(len(output)):
        ids = torch.tensor([[*prompt.tolist(), *output[:at].tolist()]])
        with torch.inference_mode():
            chances = model(ids).logits[0, -1].softmax(-1)
        assert found.right[at] == (int(chances.argmax()) == output[at])
        assert found.probability[at] == pytest.approx(float(chances.max()), rel=1e-3)


def test_chains_of_four_are_counted_by_hand():
    right = [True, True, True, False, True, True, True, True, True, False]
    found = fixed([Hits(right, [0.5] * 10)])
    # after the first token: T T F· | T T T T T-written | F·
    assert FIXED == 4
    assert found.first == pytest.approx(2 / 3)
    assert found.accepted == pytest.approx((2 + 4 + 0) / (4 + 4 + 1))
    assert fixed([]) == fixed([Hits([True], [1.0])])


def test_confidence_is_counted_along_chains_that_were_right():
    known = counted([Hits([True, False, True], [0.95, 0.55, 0.15])])
    # from each place on: right, wrong; wrong; right
    assert known.counts[1].sum() == 4
    assert known.counts[0].sum() == 2
    assert known.counts[1, 0].sum() == 3
    assert known.counts[1, 1].sum() == 1


class Known:
    """Proposes what it is told, for a milliseconds a time."""

    spent = 0.0

    def __init__(self, proposal):
        self.proposal = proposal

    def open(self, request):
        return self

    def propose(self, room, price, pending=1):
        self.spent += 0.5
        return self.proposal

    def accept(self, tokens, offered, taken):
        pass

    def close(self):
        pass


def test_a_draft_is_led_along_and_pays_for_its_passes():
    pair = Pair(np.array([1], np.int32), np.array([5, 7, 8, 7, 8, 9], np.int32))
    found = score(Known(Proposal.chain([7, 8])), [pair], PRICE, 20, True)
    # 5 is the prefill's; then 7 8 7 is one pass, and 8 another, and 9
    assert found.tally.tokens == 5
    assert found.passes == 3
    assert (found.drafted, found.first, found.offered, found.accepted) == (3, 1, 5, 2)
    assert found.tally.drafting == pytest.approx(1.5)
    told = found.judged("x", PRICE)
    charged = 1.5 + 2 * PRICE.curve(1, 2)[-1] + PRICE.curve(1, 1)[-1]
    assert told.tokens_per_ms == pytest.approx(5 / charged)
    plain = score(None, [pair], PRICE, 20, True).judged("none", PRICE)
    assert plain.speedup == pytest.approx(1.0)
    assert plain.tokens_per_pass == 1


def test_a_better_neural_draft_is_kept_and_serves(one, folder, codec, target, cheap):
    traces, bundle = one
    before = open_folder(bundle)
    done = distill(bundle, traces, codec, target, PERFECT)
    (task,) = done.tasks
    assert done.stored
    assert "generic-1" in task.chosen
    ways = {way.name: way for way in task.ways}
    assert ways["generic-1"].chain_first == 1.0  # its first layer is all of the model
    assert ways[task.chosen].speedup > 1.1 * ways["n-grams"].speedup
    assert [way.name for way in task.ways if way.kept] == [task.chosen]
    check_folder(bundle)
    now = open_folder(bundle)
    assert before.files.items() <= now.files.items()
    opened = Bundle.open(bundle)
    assert opened.neural is not None
    assert [draft.name for draft in opened.neural.drafts] == ["generic-1"]

    runner = tascel.load(bundle, model=folder)
    runner.price = PRICE
    drafted = runner.generate("12345", max_tokens=30)
    plain = tascel.load(None, model=folder).generate("12345", max_tokens=30)
    assert drafted.tokens == plain.tokens
    assert drafted.stats.accepted["neural"] > 10
    assert drafted.stats.task is None


def test_n_grams_are_kept_where_they_win(two, folder, codec, target, cheap):
    traces, bundle = two
    before = open_folder(bundle)
    config = replace(CONFIG, traces_are_outputs=True)
    done = distill(bundle, traces, codec, target, config)
    assert not done.stored
    assert {task.chosen for task in done.tasks} <= {"n-grams", "n-grams of all tasks"}
    assert [made.name for made in done.drafts] == ["generic-1", "own-1", "own-1"]
    assert open_folder(bundle) == before


def test_all_can_be_kept_and_answers_stay(two, folder, codec, target, cheap):
    traces, bundle = two
    config = replace(CONFIG, traces_are_outputs=True, keep_all=True)
    done = distill(bundle, traces, codec, target, config)
    assert done.stored
    neural = Bundle.open(bundle).neural
    assert neural is not None
    assert [draft.name for draft in neural.drafts] == ["generic-1", "lights-1", "songs-1"]
    for task, own in (("lights", 1), ("songs", 2)):
        found = neural.of(task)
        assert found is not None
        assert [(c.draft, c.extended) for c in found.choices] == [
            (0, False), (0, True), (own, False), (own, True),
        ]  # fmt: skip
        assert len(found.ngrams) == 2
    drafted, plain = tascel.load(bundle, model=folder), tascel.load(None, model=folder)
    for trace in (*traces[:3], *traces[-3:]):
        own = drafted.generate(trace.messages, max_tokens=16)
        assert own.tokens == plain.generate(trace.messages, max_tokens=16).tokens
        assert own.stats.task == trace.task
    again = distill(bundle, traces, codec, target, replace(config, keep_all=False))
    assert not again.stored
    opened = Bundle.open(bundle).neural
    assert opened is not None
    assert not opened.drafts


def test_a_bundle_that_was_built_anew_meanwhile_stays(
    two, folder, codec, target, cheap, monkeypatch
):
    traces, bundle = two

    def late(*args):
        tascel.build(traces[:110], folder, bundle)
        return training.train(*args)

    monkeypatch.setattr("tascel.adapt.distill.distill.train", late)
    config = replace(CONFIG, traces_are_outputs=True, keep_all=True)
    with pytest.raises(BundleError, match="built anew"):
        distill(bundle, traces, codec, target, config)
    assert Bundle.open(bundle).neural is None


@pytest.mark.parametrize("layers", [(), (0,), (3,), (1, 9)])
def test_impossible_depths_are_refused_at_once(one, codec, target, layers):
    traces, bundle = one
    with pytest.raises(ModelError, match="no draft can have"):
        distill(bundle, traces, codec, target, replace(CONFIG, layers=layers))


def test_the_cost_of_a_draft_is_measured_beside_the_model(target):
    model = keep_layers(target.model, [0])
    points = training._points(model, target)
    assert 1 in points
    assert all(ms > 0 for by_tokens in points.values() for ms in by_tokens.values())


def test_a_bundle_for_other_weights_drafts_with_n_grams(
    one, folder, codec, target, cheap, tmp_path
):
    traces, bundle = one
    distill(bundle, traces, codec, target, PERFECT)
    other = tmp_path / "other"
    model = load_model(folder)
    with torch.no_grad():
        model.lm_head.weight[0] += 1
    model.save_pretrained(other)
    codec.save(other)
    with pytest.warns(UserWarning, match="other weights") as heard:
        runner = tascel.load(bundle, model=other)
    assert sum("n-grams draft alone" in str(w.message) for w in heard) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = tascel.load(bundle, model=folder, config=DraftConfig(neural_bytes=0))
    for one_of in (runner, told):
        answer = one_of.generate("12345", max_tokens=20)
        assert not answer.stats.offered.get("neural")
