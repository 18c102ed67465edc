"""What the published VocabTailor does, as its source says (v0.2.0, Apache-2.0), played through on a
real vocabulary. It is in no package registry; nothing of it is copied or run here: each function
does in a few lines of its own what one place of that source describes.

    python benchmarks/published_vocabtailor.py TRACES --model M [--adapter A] [--json F]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from padded_model import hidden
from rich.progress import track
from transformers import RepetitionPenaltyLogitsProcessor

from tascel.codec import Codec
from tascel.engines.hf.load import load_model, tokenizer_of
from tascel.traces.read import read_traces
from tascel.types import Trace

#: Spare rows of its default head, and the largest id that its script filter looks at.
BUFFER, LAST_ID = 128, 128_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--texts", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    codec = Codec.from_pretrained(tokenizer_of(args.model, args.adapter))
    model: Any = load_model(args.model, args.adapter, device="cpu")
    traces = [t for t in read_traces(args.traces) if t.split == "train"]
    states = torch.cat([deciding(model, codec, t) for t in track(traces[: args.texts], "states")])
    found = {
        "spare rows": spare_rows(model, states),
        "rows beyond the buffer": rows_beyond(model, states),
        "crashes": crashes(),
        "penalty": penalty(model, codec, traces[: args.texts // 4]),
        "half precision": half_precision(model),
        "tolerance": tolerance(),
        "prompt without its template": templates(codec, traces[:2000]),
        "scripts": scripts(codec),
    }
    print(json.dumps(found, indent=2))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def deciding(model: Any, codec: Codec, trace: Trace) -> torch.Tensor:
    """f32[n, width]: the states that pick an answer's n tokens."""
    prompt, answer = codec.prompt(trace.messages), codec.answer(trace)
    states, _ = hidden(model, [[*prompt.tolist(), *answer.tolist()]])
    return states[len(prompt) - 1 : -1]


def selected(model: Any, states: torch.Tensor) -> torch.Tensor:
    """f32[n, s]: logits of the ids that win anywhere, a selection without misses."""
    logits = states @ model.get_output_embeddings().weight.float().T
    return logits[:, logits.argmax(-1).unique()]


def spare_rows(model: Any, states: torch.Tensor) -> dict[str, float]:
    """vocab_tailor.py, _create_new_head_buffer: unused rows are zeros, so their logit is 0 and not
    minus infinity."""
    logits = selected(model, states)
    spare = BUFFER / (BUFFER + logits.exp().sum(-1))
    negative = torch.tensor([-3.0, -1.0, -2.0])
    picked = torch.cat([negative, torch.zeros(BUFFER)]).argmax()
    return {
        "probability_lost_at_most": spare.max().item(),
        "probability_lost_on_average": spare.mean().item(),
        "the_same_at_temperature_2": (BUFFER / (BUFFER + (logits / 2).exp().sum(-1))).mean().item(),
        "picked_where_all_logits_are_negative": int(picked),
        "of_rows": len(negative),
    }


def rows_beyond(model: Any, states: torch.Tensor) -> dict[str, float]:
    """vocab_tailor.py, _extend_head_buffer: a prompt with more than 128 new ids gets a new linear
    layer whose unused rows stay as torch initialised them, at random."""
    logits = selected(model, states)
    rest = 2 * BUFFER - (BUFFER + 1)
    layer = torch.nn.Linear(states.shape[1], rest, bias=False)
    with torch.inference_mode():
        noise = layer(states)
    lost = noise.exp().sum(-1) / (noise.exp().sum(-1) + logits.exp().sum(-1))
    return {
        "random_rows": rest,
        "steps_they_win": (noise.max(-1).values > logits.max(-1).values).float().mean().item(),
        "probability_lost_at_most": lost.max().item(),
        "probability_lost_on_average": lost.mean().item(),
    }


def crashes() -> dict[str, str]:
    """What each of these lines does when it is reached."""

    def fill_bias() -> None:  # vocab_tailor.py, _extend_head_buffer and _reset_head
        torch.zeros(8)[2:4, :] = torch.ones(2)

    def clear_layer() -> (
        None
    ):  # vocab_tailor.py, _reset_head_buffer, the branch that keeps the head
        layer: Any = torch.nn.Linear(2, 4)
        layer[2:] = 0

    def no_end_id() -> None:  # vocab_tailor.py, generate: the end id's default is None
        found: Any = torch.arange(4) == None  # noqa: E711
        found.nonzero()

    def two_rows() -> None:  # vocab_tailor.py, generate: only the first answer is mapped back
        torch.cat((torch.zeros(2, 5), torch.zeros(3).view(1, -1)), dim=1)

    def spare_picked() -> None:  # vocab_tailor.py, generate: an index beyond the selection
        torch.arange(3)[torch.tensor([5])]

    def store_bfloat16() -> None:  # lmdb_layers.py, _tensor_to_bytes
        torch.ones(2, dtype=torch.bfloat16).numpy()

    def unigram() -> None:  # profiling/filter.py: a Unigram vocabulary is a list of pairs
        vocabulary: Any = [["a", -1.0]]
        vocabulary.items()

    tried: tuple[Callable[[], None], ...] = (
        fill_bias, clear_layer, no_end_id, two_rows, spare_picked, store_bfloat16, unigram,
    )  # fmt: skip
    found: dict[str, str] = {}
    for line in tried:
        try:
            line()
            found[line.__name__] = "nothing"
        except Exception as error:  # which one is what is shown
            found[line.__name__] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return found


def penalty(model: Any, codec: Codec, traces: list[Trace]) -> dict[str, int]:
    """vocab_tailor.py, generate: answers are always written under a repetition penalty of 1.1."""
    changed = 0
    for trace in traces:
        prompt = torch.as_tensor(codec.prompt(trace.messages)[None].astype("int64"))
        plain, penalised = (
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=64,
                eos_token_id=sorted(codec.eos_ids),
                pad_token_id=codec.end_id,
                logits_processor=which,
            )[0].tolist()
            for which in (
                [],
                [RepetitionPenaltyLogitsProcessor(1.1, prompt_ignore_length=prompt.shape[1])],
            )
        )
        changed += plain != penalised
    return {"answers": len(traces), "changed": changed}


def half_precision(model: Any) -> dict[str, Any]:
    """lmdb_layers.py, build_lmdb_weights: rows are stored in float16, whatever the model has."""
    weight = model.get_output_embeddings().weight.detach()
    changed = weight.to(torch.float16).to(weight.dtype) != weight
    return {
        "dtype": str(weight.dtype),
        "entries_changed": changed.float().mean().item(),
        "rows_changed": changed.any(-1).float().mean().item(),
    }


def tolerance() -> dict[str, Any]:
    """profiling/filter.py, _tolerance_filtering: the rarest ids are dropped one by one, each time
    summing all dropped so far; where the sum never passes the limit, none is dropped at all."""

    def kept(counts: list[int], documents: int, tolerance: float) -> int:
        rarest = sorted(counts)
        for dropped in range(1, len(rarest) + 1):
            if sum(rarest[:dropped]) > documents * tolerance:
                return len(rarest) - dropped + 1
        return len(rarest)

    started = process_time()
    kept([1] * 20_000, 10**9, 1.0)
    return {
        "kept_of_two_rare_ids_that_both_may_go": kept([1, 1], 100, 0.1),
        "seconds_for_20000_ids": process_time() - started,
    }


def templates(codec: Codec, traces: list[Trace]) -> dict[str, int]:
    """profiling/filter.py, _input_aware_filtering: an id is left out if the bare input text has it;
    the head gets the ids of the whole prompt, which may cut that text otherwise."""
    lost = 0
    for trace in traces:
        bare = set(codec.output(trace.prompt_text).tolist())
        needed = set(codec.answer(trace).tolist())
        lost += bool(needed & bare - set(codec.prompt(trace.messages).tolist()))
    line, word = codec.output("Text: lamp on"), codec.output("lamp on")
    return {
        "answers": len(traces),
        "with_an_id_that_only_the_bare_text_has": lost,
        "ids_of_a_word_that_a_template_line_changes": len({*word.tolist()} - {*line.tolist()}),
    }


def scripts(codec: Codec) -> dict[str, int]:
    """profiling/unicode_utils.py, prune_vocab: the ids that allowed characters are encoded to, and
    whatever merges make of these. Pieces of a character that are merged with something else first
    are not among them, nor are bytes."""
    tokenizer = json.loads(codec.tokenizer.to_str())["model"]
    vocabulary, merges = tokenizer["vocab"], tokenizer["merges"]
    letters = [chr(c) for c in (*range(32, 127), *range(0xC0, 0x100)) if chr(c) not in "×÷"]
    names = {at: name for name, at in vocabulary.items()}
    kept = {
        names[at]
        for letter in letters
        for at in codec.tokenizer.encode(letter, add_special_tokens=False).ids
        if at < LAST_ID
    }
    base = {name for name in vocabulary if len(name) == 1}
    bytes_kept = len(kept & base)
    for left, right in merges:
        if left in kept and right in kept and left + right in vocabulary:
            kept.add(left + right)
    spelled = [
        name
        for name, at in vocabulary.items()
        if (written_as := codec.tokenizer.decode([at])) and set(written_as) <= set(letters)
    ]
    return {
        "tokens_of_allowed_characters": len(spelled),
        "of_them_left_out": sum(name not in kept for name in spelled),
        "bytes_of_256_that_can_be_written": bytes_kept,
    }


if __name__ == "__main__":
    main()
