"""What a pass costs in llama.cpp by its tokens: measured once for a file and its options, kept as
other engines' prices are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from tascel.draft.price import Price
from tascel.engines.profile import (
    CONTEXT,
    ROUNDS,
    WIDTHS,
    Setting,
    keep_price,
    kept_price,
    machine,
    undisturbed,
)
from tascel.engines.weights import sampled
from tascel.plugins.llamacpp.header import form_of, read_header
from tascel.plugins.llamacpp.llama import llama_cpp
from tascel.store.manifest import public_command

#: On a busy machine measuring ends after so many seconds, and some rounds. llama.cpp's threads wait
#: for each other busily, so that passes take many times longer there.
SECONDS, FEWEST = 20.0, 3
#: Options that change what a pass costs; the others are read from the opened model.
_OPTIONS = (
    "n_gpu_layers", "flash_attn", "type_k", "type_v", "n_ubatch", "offload_kqv", "swa_full",
    "logits_all", "op_offload", "split_mode", "main_gpu", "tensor_split", "numa",
)  # fmt: skip


def setting_of(gguf: str | Path, llama: Any, options: Mapping[str, Any] | None = None) -> Setting:
    """What a price holds for: the file, and `llama`, opened with `options`."""
    path = Path(gguf).expanduser()
    weights = [path]
    if lora := (options or {}).get("lora_path"):
        weights.append(Path(lora))
    package = llama_cpp()
    how = [f"llama.cpp of llama-cpp-python {package.__version__}"]
    how += [f"{name} {options[name]}" for name in _OPTIONS if options and name in options]
    context = llama.context_params
    if context.n_threads_batch != context.n_threads:
        how.append(f"{context.n_threads_batch} threads for drafts")
    if not llama.model_params.use_extra_bufts:
        how.append("weights not repacked")
    if (widest := _widths(llama)[-1]) < WIDTHS[-1]:
        how.append(f"passes of at most {widest} tokens")
    on_gpu = llama.model_params.n_gpu_layers and package.llama_supports_gpu_offload()
    return Setting(
        model=" + ".join(public_command([str(part) for part in weights])),
        weights=sampled(weights),
        device="gpu" if on_gpu else "cpu",
        dtype=form_of(read_header(path)),
        threads=context.n_threads,
        runtime=", ".join(how),
        machine=machine(),
    )


def price_of(
    llama: Any,
    setting: Setting,
    *,
    anew: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Price:
    """The price for `setting`: from its file, else measured now (seconds; again where something
    else was running) and kept there."""
    if not anew and (known := kept_price(setting)) is not None:
        return known
    points = undisturbed(lambda: measure(llama, progress))
    keep_price(setting, {1: points}, _context(llama))
    return Price.from_points(points)


def measure(
    llama: Any, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[int, float]:
    """Least milliseconds of a pass by its tokens, of each of which the logits are made; interleaved
    over widths. `llama` is of `llama_class`."""
    context, vocab = _context(llama), llama.n_vocab()
    widths = _widths(llama)
    times: dict[int, list[float]] = {width: [] for width in widths}
    draft, llama.draft_model = llama.draft_model, None
    llama.reset()
    llama.eval([(7919 * i) % vocab for i in range(context)])
    began = perf_counter()
    try:
        for round_ in range(ROUNDS):
            if round_ >= FEWEST and perf_counter() - began > SECONDS:
                break
            for width in widths:
                llama.n_tokens, llama.wanted = context, width  # evaluating drops what is behind
                tokens = [(11 * i + round_) % vocab for i in range(width)]
                started = perf_counter()
                llama.eval(tokens)
                llama.wait()
                times[width].append(perf_counter() - started)
            progress(round_ + 1, ROUNDS)
    finally:
        llama.wanted, llama.draft_model = 1, draft
        llama.reset()
    return {width: 1000 * min(seconds[1:]) for width, seconds in times.items()}


def _widths(llama: Any) -> list[int]:
    """Tokens of a pass for which its context and batches have room."""
    most = min(llama.n_ctx() - _context(llama), llama.n_batch)
    return [width for width in WIDTHS if width == 1 or width <= most]


def _context(llama: Any) -> int:
    return max(1, min(CONTEXT, llama.n_ctx() // 2))
