"""Models from folders or Hugging Face ids, and the fingerprint of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tascel.engines.hf.adapter import merge_adapter
from tascel.engines.hf.quiet import missing_extra, quietly, short
from tascel.engines.weights import sampled
from tascel.errors import ModelError
from tascel.pretrained import NEW_TOKENS
from tascel.types import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.vocabulary import Vocabulary

DTYPES = ("auto", "float32", "bfloat16", "float16")
#: What a bridged folder holds beside an ordinary model: its facts and its projector's weights.
BRIDGE = ("bridge.json", "bridge.weights")
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_MODEL_FILES = ("model*.safetensors", "*.safetensors", "pytorch_model*.bin")


def load_model(
    model: str | Path,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    quantization: Any = None,
    bridged: bool = False,
) -> PreTrainedModel:
    """A causal language model with its adapter merged into the weights, ready to answer.

    Args:
        model: Hugging Face id or folder.
        adapter: Hugging Face id or folder of a PEFT adapter trained on it.
        dtype: one of `DTYPES`; "auto" is the checkpoint's own.
        device: as torch names it; None takes a GPU if there is one.
        quantization: transformers' config of one; the checkpoint's own if None.
        bridged: whether the caller feeds prompts through the bridge that the model may have.

    Raises:
        ModelError: nothing there, an unknown architecture, missing or damaged weights, an adapter
            of another base, an extra that is not installed, or a bridge that the caller knows
            nothing of.
    """
    refuse_bridge(model, adapter, bridged)
    return moved(_read(model, adapter, dtype, quantization), named(model), device)


def load_tailored(
    model: str | Path,
    static: Ids,
    lossless: bool,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    bridged: bool = False,
) -> tuple[PreTrainedModel, Vocabulary]:
    """As `load_model`, with a head of the rows `static` i32[n] and those of end ids.

    The whole matrices stay on the host: mapped from their file where nothing but a dtype would
    change them. With an adapter, or where a model keeps some weights in another dtype, they are
    read as ever first.

    Raises:
        ModelError: as `load_model`; the vocabulary cannot be tailored.
    """
    refuse_bridge(model, adapter, bridged)
    own = adapter is None and dtype in DTYPES
    lm = _read(model, adapter, "auto" if own else dtype)
    if own and not _casts(lm, dtype):
        lm = _read(model, adapter, dtype)

    import numpy as np
    import torch

    from tascel.engines.hf.traits import read_traits
    from tascel.engines.hf.vocabulary import Vocabulary

    vocabulary = Vocabulary(lm)
    if dtype != "auto":
        for weight in lm.parameters():
            weight.data = weight.data.to(getattr(torch, dtype))
    lm = moved(lm, named(model), device)
    ends = np.array([*read_traits(lm).eos_ids], np.int32)
    vocabulary.settle(np.union1d(static, ends).astype(np.int32), lossless)
    return lm, vocabulary


def refuse_bridge(
    model: str | Path, adapter: str | Path | None = None, bridged: bool = False
) -> None:
    """See that nobody takes a bridged folder's writer for a model that answers alone.

    Raises:
        ModelError: it is one, and the caller knows nothing of bridges, or has an adapter for it.
    """
    if (Path(model).expanduser() / BRIDGE[0]).is_file() and not (bridged and adapter is None):
        raise ModelError(
            f"{model} only answers behind its large model"
            + (", and takes no adapter" if bridged else ", which is not possible here"),
            "Leave the adapter out" if bridged else "Give a model that has no bridge.json",
        )


def _casts(lm: Any, dtype: str) -> bool:
    """Whether casting the weights of a loaded model is loading it in `dtype`."""
    import torch

    if dtype == "auto":
        return True
    kept = {*(lm._keep_in_fp32_modules or ()), *(lm._keep_in_fp32_modules_strict or ())}
    others = (b for b in lm.buffers() if b.is_floating_point() and b.dtype != torch.float32)
    plain = getattr(lm.config, "quantization_config", None) is None
    return plain and (dtype == "float32" or not kept) and next(others, None) is None


def _read(
    model: str | Path, adapter: str | Path | None, dtype: str, quantization: Any = None
) -> Any:
    """The model on the CPU, or where its quantization wants it, with the adapter merged."""
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype}", f"Choose one of {', '.join(DTYPES)}")
    name = named(model)
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise missing_extra("running a model needs torch and transformers") from error
    with quietly():
        try:
            auto = cast(Any, AutoModelForCausalLM)
            lm, report = auto.from_pretrained(
                name,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **({"quantization_config": quantization} if quantization else {}),
            )
        except Exception as error:  # transformers raises a dozen kinds for what may be wrong here
            raise ModelError(
                f"the model {name} cannot be loaded ({short(error)})",
                "Give a folder with config.json and weights of a causal language model, or a "
                "Hugging Face id that can be reached",
            ) from error
        amiss = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
        if amiss:
            raise ModelError(
                f"{len(amiss)} weights of the model {name} are missing or have another shape than "
                f"its config.json says, {amiss[0]} among them",
                "Fetch or save it again",
            )
        if adapter is not None:
            lm = merge_adapter(lm, name, named(adapter))
    return lm


def moved(lm: Any, name: str, device: str | None) -> PreTrainedModel:
    """A model on `device`, a GPU if there is one and none is named, ready to answer.

    Raises:
        ModelError: it cannot go there.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        lm = lm.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"the model {name} cannot be moved to {device} ({short(error)})",
            "Name another device, for example cpu",
        ) from error
    return lm.eval()


def fingerprint(model: str | Path, adapter: str | Path | None = None, bridge: bool = True) -> str:
    """A hex digest of the weight files, the adapter's included: names, sizes, samples of content;
    with `bridge`, of what bridges the model to a larger one, too, and so of that one's fingerprint.

    Reads 64 evenly spaced blocks of 4 KiB of each file, so training or another quantisation
    changes it and moving the folder does not. Downloads nothing.

    Raises:
        ModelError: there are no weight files on this machine.
    """
    files = _weight_files(named(model), _MODEL_FILES)
    if adapter is not None:
        files += _weight_files(named(adapter), _ADAPTER_FILES)
    if bridge:
        files += [file for name in BRIDGE if (file := Path(named(model)) / name).is_file()]
    return sampled(files)


def tokenizer_of(model: str | Path, adapter: str | Path | None) -> str | Path:
    """Where the tokenizer lies that belongs to a model with an adapter: beside an adapter that
    brings new tokens, else with the model."""
    if adapter is not None:
        config = Path(adapter).expanduser() / "tokenizer_config.json"
        if config.is_file() and NEW_TOKENS in config.read_text(encoding="utf-8"):
            return config.parent
    return model


def named(name: str | Path) -> str:
    """A folder's path or a Hugging Face id; refuses a path where there is nothing."""
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if isinstance(name, Path) or path.is_absolute() or str(name).startswith((".", "~")):
        raise ModelError(f"there is no folder {path}", "Check the path")
    return str(name)


def _weight_files(name: str, patterns: tuple[str, ...]) -> list[Path]:
    folder = Path(name)
    if not folder.is_dir():
        folder = _hub_folder(name, patterns)
    for pattern in patterns:
        adapters = pattern in _ADAPTER_FILES
        found = [f for f in folder.glob(pattern) if f.name.startswith("adapter_") == adapters]
        if found:
            return sorted(found)
    raise ModelError(f"there are no weight files in {folder}", "Check the path")


def _hub_folder(name: str, patterns: tuple[str, ...]) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise missing_extra("a Hugging Face id needs huggingface_hub") from error
    try:
        hub = cast(Any, huggingface_hub)
        return Path(hub.snapshot_download(name, allow_patterns=[*patterns], local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"{name} is no folder and not in the Hugging Face cache", "Load the model first"
        ) from error
