import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tascel.adapt.tailor.export import FACTS, export
from tascel.adapt.tailor.select import always
from tascel.codec import Codec
from tascel.errors import ModelError
from tascel.types import Trace


def traces(count=20):
    return [
        Trace(
            ({"role": "user", "content": f"turn lamp {i} on"},),
            {"role": "assistant", "content": f'{{"lamp": {i}}}'},
        )
        for i in range(count)
    ]


def kept_by(codec, some):
    read = [codec.prompt(t.messages) for t in some] + [codec.answer(t) for t in some]
    return {*always(codec).tolist(), *np.concatenate(read).tolist()}


@pytest.fixture
def save(toy, make, tmp_path):
    """`save("Llama", **config)` is the folder of a toy model with a tokenizer of 464 ids."""

    def write(family="Llama", tokenizer="SmolLM", **config):
        base, folder = make(tokenizer), tmp_path / "base"
        codec = Codec.from_tokenizer(base)
        facts = {"vocab_size": codec.vocab_size, "eos_token_id": base.eos_token_id}
        model = toy(family, **(facts | config))
        if (bias := getattr(model.lm_head, "bias", None)) is not None:
            torch.nn.init.normal_(bias)
        model.save_pretrained(folder)
        base.save_pretrained(folder)
        return folder

    return write


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("Llama", {}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Llama", {"vocab_size": 640}),  # padded
        ("Phi", {}),  # a head with a bias
        ("Gemma2", {"head_dim": 8, "tie_word_embeddings": True}),  # scaled and soft-capped
    ],
)
def test_kept_ids_have_the_logits_they_had(save, tmp_path, family, config):
    base, out = save(family, **config), tmp_path / "small"
    codec = Codec.from_pretrained(base)
    done = export(base, None, kept_by(codec, traces()), traces(), 0.0, out)
    facts = json.loads((out / FACTS).read_text())
    order = facts["ids"]
    assert facts["rows"] == done.rows == len(order) < codec.vocab_size
    assert done.rows_before == config.get("vocab_size", codec.vocab_size)
    assert done.texts == 20
    assert done.base_model == "base"
    before, after = (AutoModelForCausalLM.from_pretrained(at).eval() for at in (base, out))
    assert after.config.vocab_size == len(order) == len(after.get_input_embeddings().weight)
    small = Codec.from_pretrained(out)
    for trace in traces(5):
        old, new = (
            torch.tensor(np.concatenate([c.prompt(trace.messages), c.answer(trace)]))[None].long()
            for c in (codec, small)
        )
        assert torch.tensor(order)[new[0]].tolist() == old[0].tolist()
        with torch.no_grad():
            torch.testing.assert_close(after(new).logits, before(old).logits[..., order])
    tied = before.get_input_embeddings().weight is before.get_output_embeddings().weight
    assert (after.get_input_embeddings().weight is after.get_output_embeddings().weight) == tied


@pytest.mark.parametrize("tokenizer", ["Llama 3", "Mistral", "XLM-R"])
def test_other_tokenizers(save, tmp_path, tokenizer):
    base, out = save(tokenizer=tokenizer), tmp_path / "small"
    codec = Codec.from_pretrained(base)
    done = export(base, None, kept_by(codec, traces()), traces(), 0.0, out)
    assert done.texts == 20
    assert done.rows < codec.vocab_size
    small = AutoTokenizer.from_pretrained(out)
    text = "turn lamp 7 on"
    assert small.decode(small.encode(text, add_special_tokens=False)) == codec.decode(
        codec.output(text).tolist()
    )


def test_settings_by_id_are_renumbered(save, tmp_path):
    base, out = save(), tmp_path / "small"
    codec = Codec.from_pretrained(base)
    kept = kept_by(codec, traces())
    gone = next(id_ for id_ in range(codec.vocab_size) if id_ not in kept)
    there = codec.tokenizer.token_to_id("m")
    end = codec.end_id
    GenerationConfig(
        eos_token_id=[end, gone], pad_token_id=0, suppress_tokens=[there, gone + 1],
        bad_words_ids=[[there, there], [gone + 1]],
    ).save_pretrained(base)  # fmt: skip
    export(base, None, kept - {gone + 1}, traces(), 0.0, out)
    order = json.loads((out / FACTS).read_text())["ids"]
    config = GenerationConfig.from_pretrained(out)
    assert [order[id_] for id_ in config.eos_token_id] == [end, gone]  # named, so kept
    assert order[config.pad_token_id] == 0
    lost = gone + 1 not in order
    assert [order[id_] for id_ in config.suppress_tokens] == [there] + [gone + 1] * (not lost)
    assert len(config.bad_words_ids) == 2 - lost
    model = AutoModelForCausalLM.from_pretrained(out)
    assert order[model.config.eos_token_id] == end
    assert Codec.from_pretrained(out).eos_ids == {order.index(end), order.index(gone)}


def test_stock_generation_writes_the_same(save, tmp_path):
    """Where the whole model never wants what is gone, nothing changes."""
    base, out = save(), tmp_path / "small"
    codec = Codec.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    prompt = torch.tensor(codec.prompt("turn lamp 3 on"))[None].long()
    config = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(prompt, **config)[0].tolist()
    export(base, None, {*kept_by(codec, traces()), *wanted}, traces(), 0.0, out)
    order = json.loads((out / FACTS).read_text())["ids"]
    small = AutoModelForCausalLM.from_pretrained(out).eval()
    prompt = torch.tensor(Codec.from_pretrained(out).prompt("turn lamp 3 on"))[None].long()
    assert [order[id_] for id_ in small.generate(prompt, **config)[0].tolist()] == wanted


def test_traces_that_lack_ids_are_not_counted(save, tmp_path):
    base = save()
    codec = Codec.from_pretrained(base)
    other = Trace(
        ({"role": "user", "content": "set the temperature"},),
        {"role": "assistant", "content": "playlist"},
    )
    kept = kept_by(codec, traces())
    done = export(base, None, kept, [other, *traces()], 0.0, tmp_path / "small")
    assert done.texts == 20


def test_nothing_is_left_of_what_fails(save, tmp_path, monkeypatch):
    base, out = save(), tmp_path / "deep" / "small"
    codec = Codec.from_pretrained(base)

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr("tascel.adapt.tailor.export._same", full)
    with pytest.raises(OSError, match="no space"):
        export(base, None, kept_by(codec, traces()), traces(), 0.0, out)
    assert not [*out.parent.iterdir()]


def test_what_cannot_be_cut_is_refused(save, tmp_path):
    base = save(vocab_size=400)
    codec = Codec.from_pretrained(base)
    with pytest.raises(ModelError, match="beyond the model's 400 rows"):
        export(base, None, kept_by(codec, traces()), traces(), 0.0, tmp_path / "small")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match="not an empty folder"):
        export(base, None, [1], traces(), 0.0, tmp_path / "full")


@pytest.mark.parametrize("name", ["sequence_bias", "force_words_ids"])
def test_settings_that_cannot_be_renumbered_are_refused(save, tmp_path, name):
    base = save()
    file = base / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: [[[5], 1.0]]}))
    codec = Codec.from_pretrained(base)
    with pytest.raises(ModelError, match=f"{name} is by id"):
        export(base, None, kept_by(codec, traces()), traces(), 0.0, tmp_path / "small")
