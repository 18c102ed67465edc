"""Bridged folders: they answer as a model that is fed by hand does, or say what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tascel
import tascel.loading
from tascel.bench.contenders import contenders
from tascel.bench.verify import verify
from tascel.builder import BuildConfig
from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.draft.price import Price
from tascel.engines.hf.bridge.folder import open_bridge, read_bridge, save_bridge
from tascel.engines.hf.bridge.projector import Projector
from tascel.engines.hf.bridge.reader import Reader
from tascel.engines.hf.load import BRIDGE, fingerprint, load_model
from tascel.errors import ModelError, RequestError
from tascel.filling import put_selection
from tascel.selection import Selection
from tascel.types import Message, Trace

PROMPTS = [f"light {i} in the den 🙂" for i in range(5)]
WRITERS = {"llama": "GPT2", "t5": "Llama", "bert": "Qwen2"}


@pytest.fixture(autouse=True)
def price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy's passes are too short to measure: drafts must not depend on that noise."""
    known = Price.from_points({1: 1.0, 33: 1.6})
    monkeypatch.setattr(tascel.loading, "price_of", lambda *_, **__: known)


def other_tokenizer(tokenizer: Any) -> Any:
    """The same bytes under other ids."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    size = len(vocabulary)
    spec["model"]["vocab"] = {piece: size - 1 - id_ for piece, id_ in vocabulary.items()}
    spec["model"]["merges"] = []
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    fast.chat_template = tokenizer.chat_template
    return fast


@pytest.fixture(scope="module")
def make(toy: Any, tokenizer: Any, larges: dict[str, Path]) -> Callable[..., Path]:
    """`make(folder, "llama", how)`: a large model and, beside it, a small one bridged to it."""

    def made(folder: Path, kind: str, how: str = "add", same: bool = False) -> Path:
        shutil.copytree(larges[kind], folder / "large")
        fast = tokenizer if same or kind != "llama" else other_tokenizer(tokenizer)
        end = fast.convert_tokens_to_ids("<|im_end|>")
        toy(WRITERS[kind], eos_token_id=end).save_pretrained(folder / "small")
        fast.save_pretrained(folder / "small")
        reader = Reader.load(folder / "large", dtype="float32")
        torch.manual_seed(1)
        projector = Projector(reader.width, 24, 32, how)
        torch.nn.init.normal_(projector.last.weight)
        save_bridge(folder / "small", projector, reader)
        return folder / "small"

    return made


def load_bridged(folder: Path) -> Any:
    """The small model and what conditions it."""
    facts = read_bridge(folder)
    assert facts
    model = load_model(folder, bridged=True)
    return model, open_bridge(folder, facts, model, Codec.from_pretrained(folder))


def by_hand(loaded: Any, prompt: Any, most: int) -> tuple[int, ...]:
    """Greedy, by transformers alone, each step read anew."""
    whole, bridge = loaded
    embed = whole.get_input_embeddings()
    written: list[int] = []
    with torch.inference_mode():
        embedded = embed(torch.tensor(prompt.astype(np.int64)))
        fed = bridge(prompt, embedded)
        assert not torch.allclose(fed, embedded)
        while len(written) < most:
            text = torch.cat([fed, embed(torch.tensor(written, dtype=torch.long))])[None]
            logits = whole(inputs_embeds=text, use_cache=False).logits[0, -1]
            written.append(int(logits.argmax()))
            if written[-1] == whole.config.eos_token_id:
                break
    return tuple(written)


def traces_of(answers: list[str]) -> list[Trace]:
    return [
        Trace(({"role": "user", "content": prompt},), {"role": "assistant", "content": text})
        for prompt, text in zip(PROMPTS, answers, strict=True)
        for _ in range(3)
    ]


@pytest.mark.parametrize(
    ("kind", "how", "same"),
    [("llama", "add", False), ("llama", "replace", True), ("t5", "add", True),
     ("bert", "add", True)],
)  # fmt: skip
def test_a_folder_answers_as_a_model_fed_by_hand(
    make: Any, tmp_path: Path, kind: str, how: str, same: bool
) -> None:
    folder = make(tmp_path, kind, how, same)
    plain = tascel.load(None, model=folder)
    requests = [plain.request(prompt, max_tokens=16) for prompt in PROMPTS]
    loaded = load_bridged(folder)
    wanted = [by_hand(loaded, request.prompt, 16) for request in requests]
    assert [complete(plain.run(r)).tokens for r in requests] == wanted
    texts = [plain.codec.decode(tokens) for tokens in wanted]
    tascel.build(traces_of(texts), folder, tmp_path / "bundle")
    drafted = tascel.load(tmp_path / "bundle", model=folder)
    done = [complete(drafted.run(request)) for request in requests]
    assert [answer.tokens for answer in done] == wanted
    assert sum(sum(answer.stats.accepted.values()) for answer in done) > 20
    events = [*drafted.run_many(requests, rows=5)]
    batch = {event.request.id: event.completion for event in events if event.completion}
    assert [batch[request.id].tokens for request in requests] == wanted
    put_selection(tmp_path / "bundle", some(plain.codec), plain.codec)
    tailored = tascel.load(tmp_path / "bundle", model=folder)
    assert tailored.head == "lossless"
    assert [complete(tailored.run(r)).tokens for r in requests] == wanted


def some(codec: Codec) -> Selection:
    ids = sorted({*range(0, codec.vocab_size, 2), *codec.eos_ids})
    return Selection(np.array(ids, np.int32), codec.vocab_size, 0.0, 0.5, 0.5, 1)


def test_verify_and_stock_generate_are_conditioned_too(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path, "t5")
    runner = tascel.load(None, model=folder)
    report = verify(runner, [runner.request(prompt, max_tokens=12) for prompt in PROMPTS])
    assert report.equal, report
    assert report.tokens > 30
    with pytest.raises(RequestError, match="prompt-lookup"):
        contenders(runner, ["prompt-lookup"])


def test_a_bundle_learns_the_bridged_models_own_answers(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path, "bert")
    runner = tascel.load(None, model=folder)
    wanted = by_hand(load_bridged(folder), runner.codec.prompt(PROMPTS[0]), 12)
    said = traces_of(["never written"] * 5)
    config = BuildConfig(own_outputs=15, max_tokens=12, trust_traces=0)
    bundle = tascel.build(said, folder, tmp_path / "bundle", config=config)
    assert bundle.corpus.holds(np.array(wanted, np.int32))


def test_the_state_of_the_prompt_decides(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path, "llama")
    runner = tascel.load(None, model=folder)
    before = [runner.generate(prompt, max_tokens=12).tokens for prompt in PROMPTS]
    first: Any = runner.conditioner
    first.projector.last.weight.data.neg_()
    after = [runner.generate(prompt, max_tokens=12).tokens for prompt in PROMPTS]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_both_folders_move_together(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "one", "llama")
    facts = read_bridge(tmp_path / "one" / "small")
    assert facts is not None
    assert facts.large == "../large"
    assert str(tmp_path) not in (tmp_path / "one" / "small" / "bridge.json").read_text()
    shutil.move(tmp_path / "one", tmp_path / "two")
    load_bridged(tmp_path / "two" / "small")


def test_a_folder_is_named_by_where_it_will_be(make: Any, tmp_path: Path) -> None:
    small = make(tmp_path, "t5")
    reader = Reader.load(tmp_path / "large")
    projector = Projector(reader.width, 4, 32)
    fresh = small / ".writing"
    shutil.copytree(small, fresh)
    save_bridge(fresh, projector, reader, home=small)
    assert json.loads((fresh / "bridge.json").read_text())["large"] == "../large"


def test_any_change_is_in_the_fingerprint(make: Any, tmp_path: Path) -> None:
    small = make(tmp_path, "llama")
    alone, whole = fingerprint(small, bridge=False), fingerprint(small)
    assert alone != whole
    edit(small, large_weights="f" * 64)
    assert fingerprint(small, bridge=False) == alone
    assert fingerprint(small) != whole


def test_who_knows_nothing_of_bridges_gets_no_model(make: Any, tmp_path: Path) -> None:
    from tascel.plugins.vllm.launch import serving

    small = make(tmp_path, "llama")
    with pytest.raises(ModelError, match="only answers behind its large model"):
        load_model(small)
    with pytest.raises(ModelError, match="only answers behind its large model"):
        serving(tmp_path, str(small), [])
    with pytest.raises(ModelError, match="takes no adapter"):
        tascel.load(None, model=small, adapter=tmp_path)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(small)  # an ordinary folder all the same


def edit(folder: Path, **values: Any) -> None:
    file = folder / "bridge.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def nudge(folder: Path) -> None:
    """Change a weight."""
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda small: shutil.rmtree(small.parent / "large"), "large model .* is not there"),
    (lambda small: nudge(small.parent / "large"), "has changed"),
    (nudge, "small model .* has changed"),
    (lambda small: edit(small, version=2), "newer tascel"),
    (lambda small: edit(small, format="other"), "of another kind"),
    (lambda small: edit(small, how="stir"), "impossible"),
    (lambda small: edit(small, dtype="int3"), "impossible"),
    (lambda small: edit(small, hidden=-1), "impossible"),
    (lambda small: edit(small, layer="two"), "impossible"),
    (lambda small: edit(small, layer=4), "no layer 4"),
    (lambda small: (small / "bridge.json").write_text("{"), "damaged"),
    (lambda small: (small / "bridge.json").write_text("[]"), "damaged"),
    (lambda small: (small / "bridge.json").write_text("{}"), "damaged"),
    (lambda small: (small / "bridge.json").write_bytes(b"\xff"), "damaged"),
    (lambda small: edit(small, hidden=25), "bridge.weights cannot be used"),
    (lambda small: (small / "bridge.weights").unlink(), "bridge.weights cannot be used"),
    (lambda small: (small / "bridge.weights").write_bytes(b"no"), "bridge.weights cannot be used"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_what_is_missing_changed_or_damaged_is_named(
    make: Any, tmp_path: Path, damage: Any, said: str
) -> None:
    small = make(tmp_path, "llama")
    damage(small)
    with pytest.raises(ModelError, match=said) as caught:
        tascel.load(None, model=small)
    assert caught.value.remedy


@pytest.mark.parametrize(("read", "write", "said"), [(47, 32, "the large"), (48, 31, "the small")])
def test_sizes_that_do_not_fit(make: Any, tmp_path: Path, read: int, write: int, said: str) -> None:
    small = make(tmp_path, "llama")
    reader = Reader.load(tmp_path / "large")
    save_bridge(small, Projector(read, 4, write), reader)
    with pytest.raises(ModelError, match=f"does not fit {said} model"):
        load_bridged(small)


def test_the_large_model_may_lie_elsewhere_but_must_be_the_same(
    make: Any, tmp_path: Path, larges: dict[str, Path], toy_folder: Path
) -> None:
    small = make(tmp_path, "llama")
    asked: list[Message] = [{"role": "user", "content": PROMPTS[0]}]
    wanted = tascel.load(None, model=small).generate(asked, max_tokens=9).tokens
    shutil.rmtree(tmp_path / "large")
    found = tascel.load(None, model=small, large=larges["llama"])
    assert found.generate(asked, max_tokens=9).tokens == wanted
    with pytest.raises(ModelError, match="is not the large model"):
        tascel.load(None, model=small, large=larges["bert"])
    with pytest.raises(RequestError, match="bridged to no large model"):
        tascel.load(None, model=toy_folder, large=larges["llama"])


def test_a_folder_without_a_bridge(toy_folder: Path) -> None:
    assert read_bridge(toy_folder) is None
    assert not any((toy_folder / name).exists() for name in BRIDGE)
    assert read_bridge(toy_folder) is None
