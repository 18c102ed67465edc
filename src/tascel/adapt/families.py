"""The kinds of tokenizers whose vocabularies we can change, told from their tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def family(spec: Mapping[str, Any]) -> str | None:
    """ "byte-level BPE", "SentencePiece BPE" or "Unigram", with ", whole pieces first" for BPE that
    looks a piece up before it merges (`ignore_merges`, as Llama 3); None for any other."""
    model, decoder = spec["model"], json.dumps(spec["decoder"], ensure_ascii=False)
    kind = model["type"]
    if kind == "Unigram" and "Metaspace" in decoder:
        return kind
    affixes = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if kind == "BPE" and not affixes:
        whole = ", whole pieces first" if model.get("ignore_merges") else ""
        if '"ByteLevel"' in decoder:
            return f"byte-level BPE{whole}"
        if "▁" in decoder:
            return f"SentencePiece BPE{whole}"
    return None
