"""The model's own answers in place of the traces': drafts must predict the model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from tascel.building.config import BuildConfig
from tascel.bundle import Progress
from tascel.codec import Codec
from tascel.errors import ModelError
from tascel.records import Ragged, Records
from tascel.types import Ids


def with_own_outputs(
    records: Records,
    codec: Codec,
    model: str | Path,
    adapter: str | Path | None,
    large: str | Path | None,
    out: Path,
    config: BuildConfig,
    progress: Progress,
) -> Records:
    """The records, some of them with the model's own answer; a journal beside `out` survives
    interruptions."""
    if not config.own_outputs:
        return records
    drawn = np.random.default_rng(config.seed).permutation(len(records))
    chosen: list[int] = drawn[: config.own_outputs].tolist()
    answers = _answers(records, chosen, codec, model, adapter, large, out, config, progress)
    outputs, own = [*records.outputs], records.own.copy()
    for at, answer in zip(chosen, answers, strict=True):
        if len(answer):  # else its prompt had no room
            outputs[at], own[at] = answer, 1
    return replace(records, outputs=Ragged.of(outputs), own=own)


def journal(out: Path) -> Path:
    """Where the answers for the bundle at `out` are kept while it is built."""
    return out.with_name(f".{out.name}.answers.jsonl")


def weights_of(model: str | Path, adapter: str | Path | None) -> str | None:
    """The weights' fingerprint, None where no weight files can be found without a download."""
    from tascel.engines.hf.load import fingerprint

    try:
        return fingerprint(model, adapter)
    except ModelError:
        return None


def _answers(
    records: Records,
    chosen: list[int],
    codec: Codec,
    model: str | Path,
    adapter: str | Path | None,
    large: str | Path | None,
    out: Path,
    config: BuildConfig,
    progress: Progress,
) -> list[Ids]:
    """What the model answers to the chosen prompts; none where a prompt leaves no room."""
    from tascel.engines.hf.batch import answers
    from tascel.engines.hf.bridge.folder import open_bridge, read_bridge
    from tascel.engines.hf.load import load_model

    prompts = [records.prompts[at] for at in chosen]
    setting = f"{weights_of(model, adapter)} {config.max_tokens}".encode()
    keys = [hashlib.sha256(setting + prompt.tobytes()).hexdigest() for prompt in prompts]
    known = _read_journal(journal(out))
    missing = [i for i, key in enumerate(keys) if key not in known]
    progress("answering", len(keys) - len(missing), len(keys))
    if missing:
        facts = read_bridge(model)
        lm = load_model(model, adapter, bridged=facts is not None)
        bridge = open_bridge(model, facts, lm, codec, large) if facts else None
        out.parent.mkdir(parents=True, exist_ok=True)
        with journal(out).open("a", encoding="utf-8") as file:
            wanted = [prompts[i] for i in missing]
            stream = answers(
                lm, wanted, codec.eos_ids, codec.end_id, config.max_tokens, config.batch, bridge
            )
            for done, (i, ids) in enumerate(stream, start=len(keys) - len(missing) + 1):
                known[keys[missing[i]]] = ids
                # a line that a killed run left torn ends here, not inside this one
                file.write("\n" + json.dumps({"key": keys[missing[i]], "ids": ids.tolist()}))
                file.flush()
                progress("answering", done, len(keys))
    return [known[key] for key in keys]


def _read_journal(path: Path) -> dict[str, Ids]:
    known: dict[str, Ids] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                known[entry["key"]] = np.asarray(entry["ids"], np.int32)
            except (ValueError, KeyError, TypeError):
                continue  # a line torn when the last run was killed
    return known
