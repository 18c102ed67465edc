import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tascel.adapt.tokens import rows
from tascel.engines.hf.matrices import tied
from tascel.errors import ModelError
from tascel.new_tokens import NewTokens

VOCAB = 272
NEW = NewTokens({270: (3, 4, 5), 271: (5, 6), 272: (7, 7), 273: (9, 8, 7, 6)})


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def expected(weight, shares):
    """What the rows should be: weights by id and place, written out."""
    return {
        id_: sum(s / sum(shares(len(run))) * weight[base].float()
                 for s, base in zip(shares(len(run)), run, strict=True))
        for id_, run in NEW.runs.items()
    }  # fmt: skip


def mean(n):
    return [1] * n


def first(n):
    return [1] + [0] * (n - 1)


def falling(n):
    return [2.0 ** (n - at) for at in range(n)]


def rising(n):
    return falling(n)[::-1]


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize(
    ("init", "read", "written", "shared"),
    [
        ("mean", mean, mean, mean),
        ("head-first", mean, first, first),
        ("directional", rising, falling, None),
    ],
)
def test_rows_are_made_of_their_base_ids(toy, tmp_path, init, read, written, shared, tie):
    model = toy("Llama", tie_word_embeddings=tie)
    embedding = model.get_input_embeddings().weight.detach().clone()
    head = model.get_output_embeddings().weight.detach().clone()
    before = logits(model, [1, 2, 3])
    told = rows.add(model, NEW, init)
    still_tied = tie and init != "directional"
    assert tied(model) == still_tied
    assert (told.spare, told.added) == (2, 2)
    assert told.untied == (274 * 32 if tie and not still_tied else 0)
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == 274
    for now, was, shares in (
        (model.get_input_embeddings().weight, embedding, shared if still_tied else read),
        (model.get_output_embeddings().weight, head, shared if still_tied else written),
    ):
        assert torch.equal(now[:270], was[:270])
        for id_, row in expected(was, shares).items():
            torch.testing.assert_close(now[id_], row)
    torch.testing.assert_close(logits(model, [1, 2, 3])[:, :270], before[:, :270])
    # and after a round through files
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert tied(again) == still_tied
    ids = [1, 270, 273, 2]
    torch.testing.assert_close(logits(again, ids), logits(model, ids))


def test_enough_spare_rows_leave_the_shape_alone(toy):
    model = toy("Qwen3", tie_word_embeddings=True, vocab_size=320)
    told = rows.add(model, NEW, "mean")
    assert (told.spare, told.added, told.untied) == (4, 0, 0)
    assert model.config.vocab_size == 320
    assert model.get_output_embeddings().weight.shape == (320, 32)


def test_a_head_with_a_bias_gets_it_for_new_tokens_too(toy):
    model = toy("Phi")
    head = model.get_output_embeddings()
    with torch.no_grad():
        head.bias += torch.arange(VOCAB)
    rows.add(model, NEW, "mean")
    bias = model.get_output_embeddings().bias
    np.testing.assert_allclose(bias[270:].tolist(), [4, 5.5, 7, 7.5], atol=1e-5)
    assert bias[:270].tolist() == list(range(270))
    rows.add(model, NEW, "head-first")
    assert model.get_output_embeddings().bias[270:].tolist() == [3, 5, 7, 9]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_mixed_in_full(toy, dtype):
    model = toy("Llama").to(dtype)
    was = model.get_output_embeddings().weight.detach().clone()
    rows.add(model, NEW, "mean")
    for id_, row in expected(was, mean).items():
        torch.testing.assert_close(model.get_output_embeddings().weight[id_], row.to(dtype))


def test_head_first_tied_begins_with_the_first_ids_logit(toy):
    model = toy("Llama", tie_word_embeddings=True)
    rows.add(model, NEW, "head-first")
    after = logits(model, [1, 2, 3, 4])
    for id_, run in NEW.runs.items():
        torch.testing.assert_close(after[:, id_], after[:, run[0]])
    # of equal logits the lower id is picked: untrained, the model writes what it wrote
    assert (after.argmax(-1) < 270).all()


def test_no_new_tokens_change_nothing(toy):
    model = toy("Llama", tie_word_embeddings=True)
    assert rows.add(model, NewTokens(), "directional") == rows.Rows(0, 0, 0)
    assert tied(model)
    assert model.config.vocab_size == VOCAB


def test_what_cannot_be_is_refused(toy):
    model = toy("Llama")
    with pytest.raises(ModelError, match="unknown init"):
        rows.add(model, NEW, "median")
    with pytest.raises(ModelError, match="beyond the model's 272 rows"):
        rows.add(model, NewTokens({300: (1, 280)}), "mean")
    model.config.vocab_size_per_layer_input = 272
    with pytest.raises(ModelError, match="looks ids up in every layer"):
        rows.add(model, NEW, "mean")
    del model.config.vocab_size_per_layer_input
    model.set_output_embeddings(None)
    with pytest.raises(ModelError, match="no head"):
        rows.add(model, NEW, "mean")
