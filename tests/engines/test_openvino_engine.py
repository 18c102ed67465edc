"""The OpenVINO engine: passes, what is taken back, beginnings shared, and no torch to run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tascel.builder import build
from tascel.codec import Codec
from tascel.decode.loop import complete, decode
from tascel.draft.base import Proposal
from tascel.draft.price import Price
from tascel.errors import ModelError, RequestError
from tascel.grammar import Grammars
from tascel.loading import load
from tascel.types import Request, Sampling

pytestmark = pytest.mark.openvino

PROMPT = np.array([72, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100, 33], np.int32)
SAMPLINGS = {
    "greedy": Sampling(),
    "sampled": Sampling(temperature=0.9, top_k=40, top_p=0.95, seed=7),
    "penalised": Sampling(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2),
}
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = [("Llama", {}), ("GPT2", {}), ("Gemma3", WINDOW | {"head_dim": 8})]


@pytest.fixture(scope="session")
def exported(toy, tokenizer, tmp_path_factory):
    """`exported("Llama", form="fp16", **config)`: a toy of a family and the folder it is in."""
    from tascel.engines.openvino.convert import convert

    made: dict[str, tuple[Any, Path]] = {}

    def export(family="Llama", form="fp16", **config):
        key = f"{family} {form} {config}"
        if key not in made:
            model = toy(family, **config).half().float()  # as it will be written
            folder = tmp_path_factory.mktemp("openvino") / "model"
            codec = Codec.from_tokenizer(tokenizer, model.generation_config)
            convert(model, codec, folder, form=form, weights="0" * 64)
            made[key] = model, folder
        return made[key]

    return export


@pytest.fixture(scope="session")
def opened(exported):
    """`opened("Llama", …)`: the toy and its engine, exact."""
    from tascel.engines.openvino.engine import OpenVinoEngine

    made: dict[str, Any] = {}

    def engine(family="Llama", form="fp16", dtype="float32", **config):
        model, folder = exported(family, form, **config)
        key = f"{folder} {dtype}"
        if key not in made:
            made[key] = OpenVinoEngine(folder, dtype=dtype, threads=1)
        made[key].prefixes = True
        made[key].forget()
        return model, made[key]

    return engine


def own(model, tokens):
    """The model's own logits after each of `tokens`, in transformers."""
    import torch

    with torch.no_grad():
        ids = torch.tensor([[int(token) for token in tokens]])
        return model(input_ids=ids, use_cache=False).logits[0].float().numpy()


def near(found, truth):
    """Equal but for the order of sums; one token seen too many is a thousand times as much."""
    return np.abs(found - truth).max() <= 1e-3 * truth.std()


def answer(engine, stream, request, draft=None):
    return complete(decode(engine, draft, request, Price.free(), stream()))


@pytest.mark.parametrize(("family", "config"), FAMILIES)
@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 271), min_size=1, max_size=5),
            st.lists(st.integers(0, 271), max_size=6),
            st.integers(0, 6),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["mask", "cut", "as it pays"]),
)
def test_any_passes_give_the_models_own_logits(opened, family, config, steps, how):
    model, engine = opened(family, **config)
    rows = engine._rows
    rows.masks, rows._copying = how != "cut", 10**9 if how == "mask" else 10
    row, shared = engine.open(PROMPT, 200)
    engine.check([row], [PROMPT[shared:]], [Proposal.nothing()])
    engine.keep([row], [[]])
    text = PROMPT.tolist()
    for lead, drafted, kept in steps:
        (verdict,) = engine.check([row], [np.array(lead, np.int32)], [Proposal.chain(drafted)])
        truth = own(model, [*text, *lead, *drafted])[len(text) + len(lead) - 1 :]
        for node in range(-1, len(drafted)):
            assert near(verdict.logits(node), truth[node + 1])
            assert verdict.argmax(node) == verdict.logits(node).argmax()
        kept = min(kept, len(drafted))
        engine.keep([row], [[*range(kept)]])
        text += lead + drafted[:kept]
    engine.close(row)
    rows.masks = True


@pytest.mark.parametrize("form", ["fp16", "int8"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("garbage", [False, True])
def test_drafts_change_no_token(opened, byte_stream, oracle_draft, form, sampling, garbage):
    _, engine = opened(form=form)
    ask = partial(Request, "r", PROMPT, SAMPLINGS[sampling], max_tokens=48)
    plain = answer(engine, byte_stream, ask())
    draft = oracle_draft(plain.tokens, seed=3, garbage=garbage, vocab_size=engine.vocab_size)
    for _ in range(2):  # the second time behind what the first left in the cache
        drafted = answer(engine, byte_stream, ask(), draft)
        assert drafted.tokens == plain.tokens
    assert drafted.stats.shared == len(PROMPT) - 1
    assert sum(drafted.stats.accepted.values()) > 0
    assert drafted.stats.rejects > 0


def test_a_grammar_holds_and_drafts_change_nothing(opened, tokenizer, oracle_draft):
    model, engine = opened(eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"))
    codec = Codec.from_tokenizer(tokenizer, model.generation_config)
    grammar = Grammars(codec, engine.eos_ids).regex(r"(on|off)( (den|hall|attic)){3}")
    ask = partial(Request, "r", PROMPT, max_tokens=40, grammar=grammar)
    plain = answer(engine, codec.stream, ask())
    drafted = answer(engine, codec.stream, ask(), oracle_draft(plain.tokens, seed=1))
    assert drafted.tokens == plain.tokens
    assert plain.text.startswith(("on", "off"))


def test_rows_know_nothing_of_each_other(opened):
    model, engine = opened()
    texts = [PROMPT, PROMPT[::-1].copy(), PROMPT[:3]]
    rows = [engine.open(text, 40)[0] for text in texts]
    proposals = [Proposal.chain(chain) for chain in ([5, 9], [], [7])]
    verdicts = engine.check(rows, texts, proposals)
    engine.keep(rows, [[0], [], []])
    for text, proposal, verdict in zip(texts, proposals, verdicts, strict=True):
        truth = own(model, [*text, *proposal.tokens])[len(text) - 1 :]
        assert all(near(verdict.logits(node - 1), row) for node, row in enumerate(truth))
    later = engine.check(rows, [PROMPT[:1]] * 3, [Proposal.nothing()] * 3)
    for text, kept, verdict in zip(texts, ([5], [], []), later, strict=True):
        assert near(verdict.logits(-1), own(model, [*text, *kept, PROMPT[0]])[-1])
    engine.keep(rows, [[]] * 3)
    for row in rows:
        engine.close(row)


def test_beginnings_are_shared_inside_a_tenant_alone(opened):
    model, engine = opened()
    row, shared = engine.open(PROMPT, 40, "ada")
    assert shared == 0
    engine.check([row], [PROMPT], [Proposal.chain([5])])
    engine.close(row)  # nobody settled that pass
    longer = np.concatenate([PROMPT, PROMPT[::-1]])
    other, shared = engine.open(longer, 60, "bob")
    assert shared == 0
    engine.close(other)
    row, shared = engine.open(PROMPT, 40, "ada")
    engine.check([row], [PROMPT[shared:]], [Proposal.nothing()])
    engine.keep([row], [[]])
    engine.close(row)
    again, shared = engine.open(longer, 60, "ada")
    assert shared == len(PROMPT)
    (verdict,) = engine.check([again], [longer[shared:]], [Proposal.nothing()])
    assert near(verdict.logits(-1), own(model, longer)[-1])
    engine.keep([again], [[]])
    engine.close(again)
    engine.prefixes = False
    again, shared = engine.open(longer, 60, "ada")
    assert shared == 0
    engine.close(again)


def test_the_budget_is_kept(opened):
    _, engine = opened()
    free = engine.cache_tokens
    row, _ = engine.open(PROMPT, free - 10)
    assert engine.fits(10)
    assert not engine.fits(11)
    engine.close(row)
    assert engine.fits(free)


def test_closed_rows_take_no_more_than_the_budget_leaves(exported):
    from tascel.engines.openvino.engine import OpenVinoEngine

    engine = OpenVinoEngine(exported()[1], dtype="float32", threads=1, cache_tokens=64)
    texts = [PROMPT, PROMPT[::-1].copy()]
    rows = [engine.open(text, 30)[0] for text in texts]
    engine.check(rows, texts, [Proposal.nothing()] * 2)
    engine.keep(rows, [[], []])
    for row in rows:
        engine.close(row)
    assert sum(len(row.tokens) for row in engine._rows._closed) == 24
    engine.open(PROMPT + 9, 60)
    assert sum(len(row.alive) for row in engine._rows._closed) <= 4


def test_dead_entries_are_cut_out_where_nothing_is_refused_any_more(opened, monkeypatch):
    model, engine = opened()
    monkeypatch.setattr(engine._rows, "_copying", 1)
    row, _ = engine.open(PROMPT, 60)
    engine.check([row], [PROMPT], [Proposal.chain([7] * 8)])
    engine.keep([row], [[]])
    assert not row.alive.all()
    for _ in range(4):
        (verdict,) = engine.check([row], [PROMPT[:1]], [Proposal.nothing()])
        engine.keep([row], [[]])
    assert row.alive.all()
    assert near(verdict.logits(-1), own(model, [*PROMPT, *[PROMPT[0]] * 4])[-1])
    engine.close(row)


def test_what_a_failed_cut_left_is_not_shared(opened, monkeypatch):
    _, engine = opened()
    monkeypatch.setattr(engine._rows, "masks", False)
    row, _ = engine.open(PROMPT, 40)
    engine.check([row], [PROMPT], [Proposal.chain([7])])
    with monkeypatch.context() as patch:
        patch.setattr("tascel.engines.openvino.rows.openvino", None)
        with pytest.raises(TypeError):
            engine.keep([row], [[]])
    engine.close(row)
    fresh, shared = engine.open(PROMPT, 40)
    assert shared == 0
    engine.close(fresh)


class FailsOnce:
    """A request whose next pass fails when it is through, so that its cache has grown."""

    def __init__(self, request):
        self._request, self._fails = request, True

    def infer(self, *inputs, **options):
        self._request.infer(*inputs, **options)
        failed, self._fails = self._fails, False
        if failed:
            raise RuntimeError("no memory")

    def __getattr__(self, name):
        return getattr(self._request, name)


def test_a_failed_pass_leaves_a_row_that_can_be_closed(opened):
    model, engine = opened()
    row, _ = engine.open(PROMPT, 40)
    engine.check([row], [PROMPT], [Proposal.nothing()])
    engine.keep([row], [[]])
    row.request = FailsOnce(row.request)
    with pytest.raises(RuntimeError, match="no memory"):
        engine.check([row], [np.array([9], np.int32)], [Proposal.chain([7])])
    engine.close(row)
    fresh, shared = engine.open(PROMPT, 40)
    (verdict,) = engine.check([fresh], [PROMPT[shared:]], [Proposal.nothing()])
    assert near(verdict.logits(-1), own(model, PROMPT)[-1])
    engine.keep([fresh], [[]])
    engine.close(fresh)


def test_logits_that_are_no_numbers_are_refused():
    from tascel.engines.openvino.rows import OvVerdict

    logits = np.zeros((2, 5), np.float32)
    logits[1, 3] = np.nan
    verdict = OvVerdict(logits)
    assert verdict.argmax(-1) == 0
    with pytest.raises(ModelError, match="not numbers"):
        verdict.argmax(0)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("Llama", {}),
        ("Phi", {}),  # its head has a bias
        ("Gemma2", WINDOW | {"head_dim": 8, "final_logit_softcapping": 30.0}),
    ],
)
def test_a_prefill_computes_only_wanted_logits(opened, family, config):
    _, engine = opened(family, **config)
    row, _ = engine.open(PROMPT, 40)
    engine.check([row], [PROMPT], [Proposal.chain([3])])
    assert row.request.get_tensor("logits").shape == [1, 2, engine.vocab_size]
    engine.close(row)


def foreign(folder, target, **config):
    """The same export as another exporter would leave it."""
    shutil.copytree(folder, target)
    (target / "tascel.json").unlink()
    facts = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(facts))
    return target


@pytest.mark.parametrize(("window", "masks"), [(None, True), (8, False)])
def test_anothers_export_is_checked_first(
    exported, byte_stream, oracle_draft, tmp_path, window, masks
):
    from tascel.engines.openvino.engine import OpenVinoEngine

    folder = foreign(exported()[1], tmp_path / "other", sliding_window=window)
    engine = OpenVinoEngine(folder, dtype="float32", threads=1)
    assert (engine.drafts, engine._rows.masks) == (True, masks)
    ask = partial(Request, "r", PROMPT, max_tokens=24)
    plain = answer(engine, byte_stream, ask())
    drafted = answer(engine, byte_stream, ask(), oracle_draft(plain.tokens))
    assert drafted.tokens == plain.tokens


def test_what_cannot_be_taken_back_runs_plainly_or_not_at_all(exported, tmp_path, monkeypatch):
    from tascel.engines.openvino import engine as module

    monkeypatch.setattr(module, "self_check", lambda rows, trees: (False, False))
    folder = foreign(exported()[1], tmp_path / "other")
    with pytest.raises(ModelError, match="cannot check drafts"):
        module.OpenVinoEngine(folder)
    engine = module.OpenVinoEngine(folder, allow_no_drafts=True)
    assert (engine.drafts, engine.prefixes) == (False, False)


def test_a_foreign_cache_that_cannot_be_cut_is_refused(exported, tmp_path, monkeypatch):
    from tascel.engines.openvino import engine as module

    names = module.length_axes
    monkeypatch.setattr(module, "length_axes", lambda graph: dict.fromkeys(names(graph), 0))
    folder = foreign(exported()[1], tmp_path / "other", sliding_window=8)
    with pytest.raises(ModelError, match="cannot check drafts"):
        module.OpenVinoEngine(folder, dtype="float32", threads=1)


def test_threads_of_one_core_are_one_core():
    from tascel.engines.openvino.engine import _cores

    told = "\n\n".join(
        f"processor\t: {at}\nphysical id\t: 0\ncore id\t\t: {at // 2}\nflags\t: amx_bf16"
        for at in range(4)
    )
    assert [_cores(told, allowed) for allowed in ({0, 1}, {1, 2}, {0, 1, 2, 3})] == [1, 2, 2]
    assert _cores("processor : 0\n\nprocessor : 1", {0, 1}) == 2


def test_dtypes(exported, monkeypatch):
    from tascel.engines.openvino import engine as module

    folder, small = exported()[1], exported(form="int8")[1]
    assert module.OpenVinoEngine(small, threads=1).dtype == "int8"
    with pytest.raises(ModelError, match="float16"):
        module.OpenVinoEngine(folder, dtype="float16")
    monkeypatch.setattr(module, "_bfloat16", lambda core: False)
    assert module.OpenVinoEngine(folder, threads=1).dtype == "float32"
    with pytest.raises(ModelError, match="AMX"):
        module.OpenVinoEngine(folder, dtype="bfloat16")


def test_a_damaged_graph_is_refused(exported, tmp_path):
    folder = foreign(exported()[1], tmp_path / "other")
    graph = folder / "openvino_model.xml"
    graph.write_text(graph.read_text()[:2000])
    with pytest.raises(ModelError, match="openvino_model"):
        load(None, model=folder, engine="openvino")


@pytest.fixture(scope="session")
def small(exported, tmp_path_factory, two_tasks):
    """An export of a toy and a bundle for it."""
    _, folder = exported()
    bundle = tmp_path_factory.mktemp("bundle") / "bundle"
    build(iter(two_tasks(40)), folder, bundle)
    return bundle, folder


def test_each_engine_refuses_the_others_folders(small, toy_folder):
    bundle, folder = small
    with pytest.raises(ModelError, match="--engine openvino"):
        load(bundle, model=folder)
    with pytest.raises(ModelError, match="tascel export BUNDLE") as error:
        load(bundle, model=toy_folder, engine="openvino")
    assert str(toy_folder) in str(error.value)
    for asked in ({"adapter": folder}, {"device": "cpu"}, {"head": "fast"}, {"large": folder}):
        with pytest.raises(RequestError, match="not for OpenVINO"):
            load(bundle, model=folder, engine="openvino", **asked)
    with pytest.raises(RequestError, match="unknown engine"):
        load(bundle, model=folder, engine="onnx")


def test_batches_and_lone_answers_are_equal(small, monkeypatch, tmp_path):
    monkeypatch.setenv("TASCEL_CACHE", str(tmp_path))
    runner = load(small[0], model=small[1], engine="openvino", dtype="float32", config=None)
    requests = [runner.request(f"turn the lamp to {i}", max_tokens=20) for i in range(5)]
    alone = {r.id: complete(runner.run(r, plain=True)).tokens for r in requests}
    many = {e.request.id: e.completion.tokens for e in runner.run_many(requests, 3) if e.completion}
    assert many == alone
    assert (runner.model, runner.setting.dtype) == (None, "float32")
    assert runner.setting.runtime.endswith("fp16 weights")


def test_no_torch_is_needed(small, tmp_path):
    bundle, folder = small
    code = f"""
import sys
sys.modules.update(torch=None, peft=None, accelerate=None)
import tascel
runner = tascel.load({str(bundle)!r}, model={str(folder)!r}, engine="openvino", dtype="float32")
print(len(runner.generate("turn the lamp in the den to 7", max_tokens=8).tokens))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240,
        env={"TASCEL_CACHE": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "8"
