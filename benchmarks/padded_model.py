"""Makes a model whose vocabulary is far larger than what it writes: new rows that never win.

    python benchmarks/padded_model.py MODEL TRACES… [--adapter A] [--rows 262144] -o DIR

All new rows are one direction that every final hidden state points away from, so long that their
logits lie far below all others: answers, sampled ones too, are the model's own. The direction is
found on half of the first texts of each file's split `train` and of random ids, and checked on the
other half.
The result is an ordinary model folder: tied if MODEL is, the adapter merged.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from tascel.codec import Codec
from tascel.engines.hf.load import load_model, tokenizer_of
from tascel.traces.read import read_traces

#: How far below zero the new rows' logits shall lie on the texts that the direction is found on.
DEPTH = 2000.0
#: How far below all other logits they must lie on the other texts: e to the minus this is 0 in
#: float32, so that sampling never draws them.
MARGIN = 110.0
#: Steps towards a direction with all states on one side of it, and their size.
STEPS, STEP = 2000, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--adapter")
    parser.add_argument("--rows", type=int, default=262_144)
    parser.add_argument("--texts", type=int, default=40, help="of each file, and of random ids")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists")
    codec = Codec.from_pretrained(tokenizer_of(args.model, args.adapter))
    model = load_model(args.model, args.adapter, device="cpu")
    texts = [*written(codec, args.traces, args.texts), *noise(codec, args.texts)]
    print(f"reading {len(texts)} texts")
    row = losing(hidden(model, texts[::2])[0]).to(model.dtype)
    states, lowest = hidden(model, texts[1::2])
    logits = states @ row.float()
    margin = (lowest - logits).min().item()
    before = append(model, row, args.rows)
    print(
        f"{args.rows - before:,} rows of {args.rows:,}: on {len(logits):,} states of other texts "
        f"their logits lie between {logits.min():.0f} and {logits.max():.0f}, at least "
        f"{margin:.0f} below all others"
    )
    if margin < MARGIN:
        raise SystemExit("these rows might win: give more --texts")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(dir=args.out.parent, prefix=f".{args.out.name}"))
    try:
        model.save_pretrained(fresh)
        codec.save(fresh)
        fresh.chmod(0o755)
        os.rename(fresh, args.out)
    except BaseException:
        shutil.rmtree(fresh)
        raise


def written(codec: Codec, files: list[Path], count: int) -> Iterator[list[int]]:
    """Prompts with their answers, as ids."""
    for file in files:
        for trace in islice((t for t in read_traces(file) if t.split == "train"), count):
            yield [*codec.prompt(trace.messages).tolist(), *codec.answer(trace).tolist()]


def noise(codec: Codec, count: int) -> Iterator[list[int]]:
    """Ids drawn at random, what no task looks like."""
    drawn = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randint(codec.vocab_size, (64,), generator=drawn).tolist()


@torch.inference_mode()
def hidden(model: Any, texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """f32[n, width]: what the head is given at every position; f32[n]: the lowest logit there."""
    seen: list[torch.Tensor] = []
    lowest: list[torch.Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, given: seen.append(given[0][0].float())
    )
    for ids in texts:
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        lowest.append(logits.float().min(-1).values)
    hook.remove()
    return torch.cat(seen), torch.cat(lowest)


def losing(states: torch.Tensor) -> torch.Tensor:
    """f32[width]: a row whose product with every state is at most -DEPTH.

    Begins with the mean direction and turns towards whichever state is on the wrong side or closest
    to it (the perceptron with a margin).
    """
    normalize = torch.nn.functional.normalize
    directions = normalize(states, dim=-1)
    towards = normalize(directions.mean(0), dim=0)
    for _ in range(STEPS):
        worst = directions[(directions @ towards).argmin()]
        towards = normalize(towards + STEP * worst, dim=0)
    closest = (states @ towards).min()
    if closest <= 0:
        raise SystemExit("no direction has all states on one side: this head cannot be padded")
    return -towards * DEPTH / closest


def append(model: Any, row: torch.Tensor, rows: int) -> int:
    """Make the vocabulary `rows` long with copies of `row`; returns how long it was."""
    before = model.get_output_embeddings().weight.shape[0]
    if rows <= before:
        raise SystemExit(f"the model has {before} rows already")
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[before:] = 0
        model.get_output_embeddings().weight[before:] = row  # the same matrix if they are tied
    return before


if __name__ == "__main__":
    main()
