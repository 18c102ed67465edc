"""From a transformers model to a folder that OpenVINO runs, checked against the model itself."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from tascel.codec import Codec
from tascel.engines.openvino.folder import FACTS, FORMS, GRAPH, WEIGHTS, Facts, write_facts
from tascel.engines.openvino.package import openvino
from tascel.errors import ModelError
from tascel.store.disk import flush
from tascel.store.file import is_full

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: float32 throughout, so that differences are the graph's own.
EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
#: Of the logits' own spread: rounding is far below, one token seen too many far above.
_TOLERANCE = 1e-3
_SENTENCE = "Write the numbers from one to twenty in words, and say which of them are prime."
_INSTEAD = "Run it with --engine hf"

Logits = NDArray[np.float32]
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written.

    Attributes:
        size: of the weights, in bytes.
        mean, most: how far the logits of a sentence are from the model's own, in float32.
        spread: standard deviation of its own, to judge these by.
    """

    size: int
    mean: float
    most: float
    spread: float


def refuse(folder: Path, form: str) -> None:
    """Refuse early what `convert` would refuse late.

    Raises:
        ModelError: `folder` holds something, there is no such form, or an extra is missing.
    """
    if form not in FORMS:
        raise ModelError(f"unknown weights {form}", f"Choose one of {', '.join(FORMS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(
            f"{folder} is not an empty folder", "Choose another, or remove it yourself"
        )
    for needed in ("torch", "openvino", *(["nncf"] if form == "int8" else [])):
        if find_spec(needed) is None:
            raise ModelError(
                f"converting a model needs {needed}", "pip install 'tascel[openvino-export]'"
            )


def convert(
    model: PreTrainedModel,
    codec: Codec,
    folder: Path,
    *,
    form: str,
    weights: str,
    progress: Progress = lambda stage, done, total: None,
) -> Converted:
    """Write `model`, turned into float32, to the new folder `folder`: whole or not at all.

    Args:
        model: the model on the CPU, adapters merged.
        codec: its tokenizer.
        folder: where to; it may be there if it is empty.
        form: one of `FORMS`: int8 has a scale and a zero for each row of a matrix.
        weights: the model's fingerprint.
        progress: hears of each stage.

    Raises:
        ModelError: as `refuse`; OpenVINO cannot follow the model's code, or would answer otherwise;
            the disk is full.
    """
    refuse(folder, form)
    from tascel.engines.hf.quiet import quietly
    from tascel.engines.hf.traits import read_traits

    traits = read_traits(model)
    if traits.obstacle:
        raise ModelError(f"{traits.name} cannot check drafts: {traits.obstacle}", _INSTEAD)
    if getattr(model, "is_quantized", False):
        raise ModelError(
            f"{traits.name} is quantised already", "Export the model that it was made from"
        )
    model = cast(Any, model).float().eval()
    # Beyond the switch a rope would turn otherwise than it was traced.
    limit = min(traits.context_limit, traits.rope_switch)
    ids = codec.output(_SENTENCE)[:limit].astype(np.int64) % traits.vocab_size
    truth = _own_logits(model, ids)
    graph = _checked(model, traits.name, ids, truth, progress)
    eos_ids = tuple(sorted(traits.eos_ids))
    facts = Facts(weights, form, limit, limit, traits.vocab_size, eos_ids)

    def fill(fresh: Path) -> Logits:
        progress("writing it", 0, 1)
        with quietly():
            _save(graph, fresh / GRAPH, form)
        _configure(model, codec, fresh)
        write_facts(fresh, facts)
        progress("writing it", 1, 1)
        return np.abs(_logits(fresh / GRAPH, ids) - truth)

    rounded = _put(folder, fill)
    size = (folder / WEIGHTS).stat().st_size
    return Converted(size, float(rounded.mean()), float(rounded.max()), float(truth.std()))


def _checked(
    model: Any, name: str, ids: NDArray[np.int64], truth: Logits, progress: Progress
) -> Any:
    """The model as OpenVINO's, with the same logits of `ids` as its own, `truth`."""
    from tascel.engines.hf.quiet import quietly, short

    with quietly():
        try:
            from tascel.engines.openvino.traced import traced

            progress("tracing the model", 0, 1)
            graph = traced(model)
            progress("tracing the model", 1, 1)
            apart = float(np.abs(_logits(graph, ids) - truth).max())
        except ModelError:
            raise
        except Exception as error:  # of torch's tracer, OpenVINO's converter and its compiler
            raise ModelError(f"OpenVINO cannot run {name} ({short(error)})", _INSTEAD) from error
    if not apart <= _TOLERANCE * float(truth.std()):  # nor where it is no number
        raise ModelError(
            f"{name} would answer otherwise under OpenVINO: logits differ by {apart:.2g}, and "
            f"their own spread is {truth.std():.2g}",
            _INSTEAD,
        )
    return graph


def _save(graph: Any, file: Path, form: str) -> None:
    if form == "int8":
        nncf: Any = importlib.import_module("nncf")  # it has no types
        nncf.set_log_level(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):  # where its bar goes
            graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
    # As optimum-intel: eight bits, a runtime's own choice, are too few for some models' keys.
    graph.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
    openvino().save_model(graph, file, compress_to_fp16=True)


def _configure(model: Any, codec: Codec, folder: Path) -> None:
    """The files that say what the model and its tokenizer are, without a local path."""
    model.config._name_or_path = ""
    model.config.to_json_file(folder / "config.json")
    if model.generation_config is not None:
        model.generation_config.to_json_file(folder / "generation_config.json")
    codec.save(folder)


def _put(folder: Path, fill: Callable[[Path], Logits]) -> Logits:
    """Fill a folder beside `folder`, and move it there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".tascel-") as work:
            fresh = Path(work) / "model"
            fresh.mkdir()
            result = fill(fresh)
            for file in fresh.iterdir():  # some writers leave theirs to the owner alone
                shutil.copymode(fresh / FACTS, file)
                flush(file)
            fresh.rename(folder)
            flush(folder.parent)
    except (OSError, RuntimeError) as error:  # OpenVINO's writer raises the second, and no reason
        full = isinstance(error, OSError) and is_full(error)
        what = "the disk is full" if full else f"the model cannot be written whole ({error})"
        raise ModelError(
            f"{folder}: {what}", "Free some space, or choose a folder you may write to"
        ) from error
    return result


def _own_logits(model: Any, ids: NDArray[np.int64]) -> Logits:
    """The model's own logits of a text, in one pass without a cache: f32[n, V]."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None], use_cache=False).logits[0].numpy()


def _logits(graph: Any, ids: NDArray[np.int64]) -> Logits:
    """Logits of the same text, read piece by piece; some tokens between are wrong ones, and masked
    afterwards."""
    request = openvino().Core().compile_model(graph, "CPU", EXACT).create_infer_request()
    half = len(ids) // 2
    places = (0, half, half + 2, half + 3, len(ids))
    seen: list[int] = []
    found: list[Logits] = []
    for start, end in pairwise(places):
        wrong = ids[:2] if end == half + 2 else ids[:0]
        piece = np.concatenate([ids[start:end], wrong])
        given = {
            "input_ids": piece[None],
            "attention_mask": np.array([[*seen, *(1 for _ in piece)]]),
            "position_ids": np.arange(start, start + len(piece))[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        request.infer(given)
        found.append(request.get_tensor("logits").data[0, : end - start].copy())
        seen += [1] * (end - start) + [0] * len(wrong)
    return np.concatenate(found)
