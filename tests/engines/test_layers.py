"""A model of some of another's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from tascel.engines.hf.layers import keep_layers, own_bytes, spaced, stack_of, with_changes
from tascel.engines.hf.quiet import quietly
from tascel.errors import ModelError

FAMILIES = [
    ("Llama", {}),
    ("Llama", {"tie_word_embeddings": True}),
    ("Qwen2", {}),
    ("GPT2", {}),
    ("Gemma3", {"head_dim": 8, "sliding_window": 8,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
]  # fmt: skip
IDS = torch.arange(10, 30)[None]


@pytest.fixture(params=FAMILIES, ids=lambda pair: f"{pair[0]}{len(pair[1])}")
def model(request, toy):
    family, config = request.param
    return toy(family, num_hidden_layers=3, **config)


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def adapter(cut, folder, seed=0, **config):
    """A LoRA on a private copy of `cut`, saved; and what the copy answers with it."""
    torch.manual_seed(seed)
    lora = LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear", **config)
    with quietly():
        tuned = get_peft_model(cut, lora)
        tuned.save_pretrained(folder)
    found = logits(tuned.eval())
    tuned.unload()
    return found


def test_layers_are_shared_and_all_of_them_are_the_model(model):
    whole = keep_layers(model, range(3))
    assert torch.equal(logits(whole), logits(model))
    assert own_bytes(whole, model) == 0
    assert not torch.equal(logits(keep_layers(model, [0, 2])), logits(model))


def test_a_cut_is_the_model_without_the_other_layers(model):
    cut = keep_layers(model, [0, 2])
    left_out = model.get_submodule(f"{stack_of(model)}.1")
    given = []
    left_out.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    left_out.register_forward_hook(
        lambda _, __, out: (given[-1], *out[1:]) if isinstance(out, tuple) else given[-1]
    )
    assert torch.allclose(logits(cut), logits(model), atol=1e-4)


def test_layers_that_are_not_there_are_refused(model):
    for layers in ([], [3], [-1]):
        with pytest.raises(ModelError, match="no layers"):
            keep_layers(model, layers)


def test_spaced_keeps_both_ends():
    assert spaced(30, 6) == [0, 6, 12, 17, 23, 29]
    assert spaced(4, 4) == [0, 1, 2, 3]
    assert spaced(9, 1) == [0]
    for kept in (0, 5):
        with pytest.raises(ModelError):
            spaced(4, kept)


def test_changes_are_the_cut_s_alone(model, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    answers, plain = logits(model), logits(keep_layers(model, [0, 1]))
    tuned = adapter(keep_layers(model, [0, 1]), tmp_path)
    changed = with_changes(keep_layers(model, [0, 1]), tmp_path)
    assert torch.allclose(logits(changed), tuned, atol=1e-3)
    assert not torch.allclose(logits(changed), plain, atol=1e-2)
    assert torch.equal(logits(model), answers)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_changed_cut_owns_its_layers_and_nothing_else(model, tmp_path):
    adapter(keep_layers(model, [0, 1]), tmp_path)
    changed = with_changes(keep_layers(model, [0, 1]), tmp_path)
    layers = sum(w.nbytes for w in changed.get_submodule(stack_of(changed)).parameters())
    assert own_bytes(changed, model) == layers > 0


def test_an_adapter_that_changes_what_is_shared_is_refused(toy, tmp_path):
    model = toy("Llama")
    head = model.lm_head.weight.clone()
    adapter(keep_layers(toy("Llama"), [0]), tmp_path, modules_to_save=["lm_head"])
    with pytest.raises(ModelError, match="other models share"):
        with_changes(keep_layers(model, [0]), tmp_path)
    assert torch.equal(model.lm_head.weight, head)


def test_an_adapter_of_other_layers_is_refused(toy, tmp_path):
    model = toy("Llama")
    adapter(toy("Llama"), tmp_path / "two")
    with pytest.raises(ModelError, match="belongs to another model"):
        with_changes(keep_layers(model, [0]), tmp_path / "two")
    adapter(toy("Llama", hidden_size=16), tmp_path / "narrow")
    with pytest.raises(ModelError, match="adapter"):
        with_changes(keep_layers(model, [0, 1]), tmp_path / "narrow")
    with pytest.raises(ModelError, match="no folder"):
        with_changes(keep_layers(model, [0]), tmp_path / "none")


def test_an_empty_folder_is_no_adapter(toy, tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        with_changes(keep_layers(toy("Llama"), [0]), tmp_path)


def test_lists_by_layer_are_cut_with_the_layers(toy):
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    model = toy("Gemma3", num_hidden_layers=3, head_dim=8, sliding_window=8, layer_types=kinds)
    cut = keep_layers(model, [1, 2])
    assert cut.config.get_text_config().layer_types == kinds[1:]
    assert np.array_equal(model.config.get_text_config().layer_types, kinds)
