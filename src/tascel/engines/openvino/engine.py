"""The engine for models exported to OpenVINO: no torch, chains of drafts, a row at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tascel.decode.engine import Rough, Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.openvino.folder import read_facts
from tascel.engines.openvino.graph import length_axes, read_graph
from tascel.engines.openvino.library import library
from tascel.engines.openvino.rows import OvRows
from tascel.engines.selfcheck import self_check
from tascel.errors import ModelError
from tascel.types import Ids

DTYPES = ("auto", "float32", "bfloat16")
#: Tokens all rows together may hold, unless told otherwise.
CACHE_TOKENS = 1 << 15
#: What the runtime is told by how it is to compute. int8: weights as they are kept, and what they
#: are multiplied with rounded to eight bits, too, as it comes.
_HOW = {
    "float32": {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    },
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32"},
}


class OpenVinoEngine:
    """Runs an exported model on the processor. Rows of a batch run one after the other.

    Attributes:
        dtype: "float32" is exact, and answers are those of plain decoding; "bfloat16" and "int8"
            round as they go.
        runtime: the version, and what the weights are kept as.
        threads: how many the runtime takes.

    Args:
        folder: what `tascel export --to openvino` wrote.
        dtype: one of `DTYPES`; "auto" is what was fastest where it was measured: int8 where the
            weights are, else bfloat16 where the processor has it, else float32.
        cache_tokens: what all rows together may hold; default: 32,768, or as many as the longest
            text the model knows if that is less than four times as much.
        threads: default: OMP_NUM_THREADS, as torch has it, else all cores.
        allow_no_drafts: whether to take a model that cannot take tokens back.

    Raises:
        ModelError: the folder is no sound export, OpenVINO is not installed or cannot run it, the
            processor lacks `dtype`, or tokens cannot be taken back.
    """

    trees = False
    rough: Rough | None = None

    def __init__(
        self,
        folder: str | Path,
        *,
        dtype: str = "auto",
        cache_tokens: int | None = None,
        threads: int | None = None,
        allow_no_drafts: bool = False,
    ) -> None:
        folder = Path(folder).expanduser()
        facts = read_facts(folder)
        self.context_limit, self.draft_limit = facts.context_limit, facts.draft_limit
        self.eos_ids, self.vocab_size = frozenset(facts.eos_ids), facts.vocab_size
        longest = min(facts.context_limit, 4 * CACHE_TOKENS)
        self.cache_tokens = cache_tokens or max(CACHE_TOKENS, longest)
        ov = library()
        core = ov.Core()
        graph = read_graph(core, folder)
        self.dtype = _dtype(
            dtype, facts.form, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        )
        threads = threads or _asked_threads()
        settings = {"PERFORMANCE_HINT": "LATENCY", **_HOW[self.dtype]}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            compiled = core.compile_model(graph, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot run {folder} ({str(error).strip().splitlines()[-1]})",
                "Export the model again, or run it with --engine hf",
            ) from error
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self.runtime = f"openvino {ov.__version__.split('-')[0]}, {facts.form} weights"
        names = {given.get_any_name() for given in compiled.inputs}
        self._rows = OvRows(
            compiled.create_infer_request, names, length_axes(graph), self.cache_tokens
        )
        self.drafts = self._takes_back()
        if not self.drafts and not allow_no_drafts:
            raise ModelError(
                f"{folder} cannot check drafts: its logits change when tokens are taken back",
                "Ask to run it without drafts, or use a model with plain attention layers",
            )
        self.prefixes = True

    @property
    def prefixes(self) -> bool:
        """Whether closed rows are kept for prompts that begin alike."""
        return self._rows.prefixes

    @prefixes.setter
    def prefixes(self, kept: bool) -> None:
        self._rows.prefixes = kept and self.drafts

    def fits(self, size: int) -> bool:
        """Whether the budget has room for a row of `size` tokens."""
        return self._rows.fits(size)

    def open(self, prompt: Ids, size: int, tenant: str | None = None) -> tuple[Row, int]:
        """A row of `size` tokens, and how many of `prompt` it holds already: what it shares with a
        closed row of this tenant."""
        return self._rows.open(prompt, size, tenant)

    def check(
        self, rows: Sequence[Row], leads: Sequence[Ids], proposals: Sequence[Proposal]
    ) -> list[Verdict]:
        """Feed each row its lead and proposal, a chain. A row's verdict holds until its next
        pass."""
        return self._rows.check(rows, leads, proposals)

    def keep(self, rows: Sequence[Row], paths: Sequence[Sequence[int]]) -> None:
        """Keep the leads and the proposals' nodes on `paths`; take the rest back."""
        self._rows.keep(rows, paths)

    def close(self, row: Row) -> None:
        """Free the row."""
        self._rows.close(row)

    def forget(self) -> None:
        """Drop what is kept of closed rows for prompts that begin alike."""
        self._rows.forget()

    def _takes_back(self) -> bool:
        """Whether tokens can be taken back: by masking them, or else by cutting them out."""
        for masks in (True, False):
            self._rows.masks = masks
            if self_check(self, trees=False)[0]:
                return True
        return False


def _dtype(asked: str, form: str, able: Sequence[str]) -> str:
    """How to compute."""
    if asked not in DTYPES:
        raise ModelError(
            f"OpenVINO does not run in {asked} here", f"Choose one of {', '.join(DTYPES)}"
        )
    if asked == "bfloat16" and "BF16" not in able:
        raise ModelError("this processor has no bfloat16", "Choose auto or float32")
    if asked != "auto":
        return asked
    return "int8" if form == "int8" else "bfloat16" if "BF16" in able else "float32"


def _asked_threads() -> int | None:
    """What OMP_NUM_THREADS says, if it is a number."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(text) if text.isdecimal() and int(text) > 0 else None
