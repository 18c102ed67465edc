"""A model's two matrices with a row for every id: made longer, and parted if they are one."""

from __future__ import annotations

from typing import Any

from tascel.errors import ModelError


def matrices(model: Any) -> tuple[Any, Any]:
    """The input embedding and the head, as modules; they may share one weight.

    Raises:
        ModelError: the model has no such two, or a further table by id.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    name = type(model).__name__
    if embedding is None or head is None:
        raise ModelError(f"{name} has no embedding or no head of its own", "Use another model")
    if getattr(model.config.get_text_config(), "vocab_size_per_layer_input", None):
        raise ModelError(f"{name} looks ids up in every layer", "Use it without new tokens")
    return embedding, head


def widen(model: Any, rows: int) -> int:
    """Give both matrices at least so many rows, exactly so many if they had fewer; returns how many
    were added. Rows that are there stay; what the new ones hold means nothing yet.

    Raises:
        ModelError: as `matrices`.
    """
    embedding, head = matrices(model)
    before = min(len(embedding.weight), len(head.weight))
    if before >= rows:
        return 0
    # No padding: a row that nobody trains has some logit, too.
    model.resize_token_embeddings(rows, mean_resizing=False)
    return rows - before


def tied(model: Any) -> bool:
    """Whether the head is the embedding."""
    embedding, head = matrices(model)
    return head.weight is embedding.weight


def untie(model: Any) -> int:
    """Give the head a weight of its own, equal to the embedding's; returns the parameters added."""
    import torch

    embedding, head = matrices(model)
    if head.weight is not embedding.weight:
        return 0
    head.weight = torch.nn.Parameter(
        embedding.weight.detach().clone(), requires_grad=embedding.weight.requires_grad
    )
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
    return head.weight.numel()
