"""A large model that only reads: the states it has of a prompt, one for each of another model's
tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from tascel import pretrained
from tascel.codec import Codec
from tascel.engines.hf.bridge.align import Aligner
from tascel.engines.hf.layers import keep_layers, stack_of
from tascel.engines.hf.load import fingerprint, load_model, moved, named
from tascel.engines.hf.quiet import quietly, short
from tascel.engines.hf.traits import positions
from tascel.errors import ModelError
from tascel.types import Ids

#: Tokenizers that know no limit say this or more.
_UNLIMITED = 1 << 30


class States(NamedTuple):
    """Of a prompt of n tokens: what was read at each, `[n, d]`, 0 where nothing was; and where
    something was, bool[n]."""

    states: torch.Tensor
    covered: torch.Tensor


class Reader:
    """A frozen model as far as it is needed to read. Make one with `load`.

    Attributes:
        large, adapter, dtype: what it was loaded from, as given.
        layer: after how many of a decoder's layers its states are taken; None is an encoder's end.
        limit: tokens it can read; what lies behind is covered by nothing.
        width: numbers in a state.
        weights: the fingerprint of the model and its adapter, hex.
    """

    def __init__(self, body: Any, stack: Any, tokenizer: Any, limit: int, **facts: Any) -> None:
        self.large: str | Path = facts["large"]
        self.adapter: str | Path | None = facts["adapter"]
        self.layer: int | None = facts["layer"]
        self.dtype: str = facts["dtype"]
        self.weights: str = facts["weights"]
        self.width: int = body.config.get_text_config().hidden_size
        self.limit = limit
        self._body = body
        self._tokenizer = tokenizer
        self._aligner: tuple[Codec, Aligner] | None = None
        self._seen: list[torch.Tensor] = []
        if stack is not None:
            # What the last layer kept says, before the norm that belongs behind the whole stack.
            stack[-1].register_forward_hook(_noting(self._seen))

    @staticmethod
    def load(
        large: str | Path,
        layer: int | None = None,
        adapter: str | Path | None = None,
        dtype: str = "auto",
        device: str | None = None,
    ) -> Reader:
        """The reader out of a decoder-only model, an encoder-decoder or an encoder.

        Args:
            large: Hugging Face id or folder.
            layer: after which of a decoder's layers to take its states, 1 to all of them; by
                default two thirds. Layers behind are not kept.
            adapter: a PEFT folder on top of a decoder.
            dtype: "auto", "float32", "bfloat16" or "float16".
            device: as torch names it; None takes a GPU if there is one.

        Raises:
            ModelError: the model cannot be loaded, has no such layer, or is an encoder and a layer
                or adapter was named.
        """
        from transformers import AutoTokenizer

        name = named(large)
        encodes = _encodes(name)
        if encodes and not (layer is None and adapter is None):
            raise ModelError(
                f"{name} is read by its encoder's last layer and without adapter",
                "Leave --layer and --large-adapter out",
            )
        if encodes:
            body, stack = _encoder(name, dtype), None
        else:
            body, stack, layer = _decoder(name, layer, adapter, dtype)
        try:
            tokenizer: Any = cast(Any, AutoTokenizer).from_pretrained(name)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(
                f"no tokenizer can be loaded from {name} ({short(error)})", "Save it there, too"
            ) from error
        body = moved(body, name, device).requires_grad_(False)
        return Reader(
            body,
            stack,
            pretrained.parts(tokenizer, None).tokenizer,
            min(_places(body.config), int(min(tokenizer.model_max_length, _UNLIMITED))),
            large=large,
            adapter=adapter,
            layer=layer,
            dtype=dtype,
            weights=fingerprint(name, adapter),
        )

    def read(self, prompts: Sequence[Ids], writer: Codec) -> list[States]:
        """What it reads in prompts i32[n] of a model whose codec is `writer`, all in one pass, in
        the reader's dtype and on its device."""
        aligner = self._aligned_with(writer)
        readings = [aligner(prompt) for prompt in prompts]
        lengths = [len(reading.ids) for reading in readings]
        ids = torch.zeros(len(prompts), max([1, *lengths]), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, reading in enumerate(readings):
            ids[row, : lengths[row]] = torch.tensor(reading.ids, dtype=torch.long)
            mask[row, : max(1, lengths[row])] = 1  # who sees nothing at all is no number
        states = self._pass(ids, mask)
        return [States(*reading.cover.mean(states[row])) for row, reading in enumerate(readings)]

    def _pass(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`[B, L, d]` of ids i64[B, L], padded behind as `mask` says."""
        device = self._body.device
        cache = {} if self.layer is None else {"use_cache": False}
        with torch.no_grad():
            out = self._body(input_ids=ids.to(device), attention_mask=mask.to(device), **cache)
        return self._seen.pop() if self._seen else out.last_hidden_state

    def _aligned_with(self, writer: Codec) -> Aligner:
        if self._aligner is None or self._aligner[0] is not writer:
            self._aligner = writer, Aligner(writer, self._tokenizer, self.limit)
        return self._aligner[1]


def _noting(seen: list[torch.Tensor]) -> Callable[[Any, Any, Any], None]:
    """A hook that leaves in `seen` what its module says. It knows no reader: in a circle with the
    hook a model would stay in memory when its reader is gone."""

    def note(module: Any, given: Any, output: Any) -> None:
        seen[:] = [output[0] if isinstance(output, tuple) else output]

    return note


def _encodes(name: str) -> bool:
    """Whether a model's encoder is read, or it is one."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    try:
        config: Any = cast(Any, AutoConfig).from_pretrained(name)
    except Exception as error:  # as many kinds as things that may be wrong
        raise ModelError(
            f"the large model {name} cannot be loaded ({short(error)})",
            "Give a folder with config.json and weights, or a Hugging Face id that can be reached",
        ) from error
    return bool(config.is_encoder_decoder) or type(config) in cast(Any, MODEL_FOR_MASKED_LM_MAPPING)


def _encoder(name: str, dtype: str) -> Any:
    from transformers import AutoModel

    with quietly():
        try:
            model, report = cast(Any, AutoModel).from_pretrained(
                name, dtype=dtype, output_loading_info=True
            )
        except Exception as error:
            raise ModelError(
                f"the large model {name} cannot be loaded ({short(error)})",
                "Fetch or save it again",
            ) from error
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):
        raise ModelError(
            f"{len(missing)} weights of {name} are missing, {missing[0]} among them",
            "Fetch or save it again",
        )
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _decoder(
    name: str, layer: int | None, adapter: str | Path | None, dtype: str
) -> tuple[Any, Any, int]:
    """A decoder's first layers without a head, the list of them, and how many they are."""
    whole: Any = load_model(name, adapter, dtype, "cpu")
    count = whole.config.get_text_config().num_hidden_layers
    layer = max(1, round(2 * count / 3)) if layer is None else layer
    if not 1 <= layer <= count:
        raise ModelError(f"{name} has no layer {layer}", f"Name one of 1 to {count}")
    cut: Any = keep_layers(whole, range(layer))
    return cut.base_model, cut.get_submodule(stack_of(cut)), layer


def _places(config: Any) -> int:
    """How many tokens an encoder or decoder has positions for."""
    text = config.get_text_config()
    # Positions of RoBERTa's kin begin behind the padding's id, which needs none.
    shifted = text.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet")
    return positions(text) - (1 + text.pad_token_id if shifted else 0)
