"""The engine for models exported to OpenVINO: no torch, chains of drafts, a row at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tascel.decode.engine import Rough, Row, Verdict
from tascel.draft.base import Proposal
from tascel.engines.openvino.folder import is_ours, read_facts, windowed
from tascel.engines.openvino.graph import length_axes, read_graph
from tascel.engines.openvino.package import openvino
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
    # A cache of eight bits, the runtime's own choice, makes wide passes a tenth slower.
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
}
#: What copying a live entry of the cache costs, as `rows` counts: the runtime hands it out in
#: float32, and is slow at turning other numbers into these.
_COPYING = {"float32": 10, "bfloat16": 80, "int8": 10}


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
            weights are, else bfloat16 where the processor has AMX, else float32.
        cache_tokens: what all rows together may hold; default: 32,768, or as many as the longest
            text the model knows if that is less than four times as much.
        threads: default: OMP_NUM_THREADS, as torch has it, else all cores.
        allow_no_drafts: whether to take a model that cannot take tokens back.

    Raises:
        ModelError: the folder is no sound export, OpenVINO is not installed or cannot run it, the
            processor lacks `dtype`, or tokens cannot be taken back.
    """

    trees = packed = False
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
        ov = openvino()
        core = ov.Core()
        graph = read_graph(core, folder)
        self.dtype = _dtype(dtype, facts.form, _bfloat16(core))
        self.threads: int = threads or _asked_threads() or 0  # 0: as the runtime thinks best
        if self.threads == 1 and self.dtype == "bfloat16":
            self.threads = 2
        settings = {"PERFORMANCE_HINT": "LATENCY"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = str(self.threads)
        axes = length_axes(graph)

        def rows(how: str) -> OvRows:
            compiled = _compiled(core, graph, settings | _HOW[how], folder)
            self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
            names = {given.get_any_name() for given in compiled.inputs}
            return OvRows(
                compiled.create_infer_request, names, axes, self.cache_tokens, _COPYING[how]
            )

        self.drafts = masks = True
        if not is_ours(folder):  # ours were checked when they were made
            self._rows = rows("float32")  # what rounds more drowns what is looked for
            self.drafts, masks = self._takes_back(windowed(folder))
        if not self.drafts and not allow_no_drafts:
            raise ModelError(
                f"{folder} cannot check drafts: its logits change when tokens are taken back",
                "Ask to run it without drafts, or use a model with plain attention layers",
            )
        self._rows = rows(self.dtype)
        self._rows.masks = masks
        self.runtime = f"openvino {ov.__version__.split('-')[0]}, {facts.form} weights"
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

    def _takes_back(self, windowed: bool) -> tuple[bool, bool]:
        """Whether tokens can be taken back, and whether by masking: where a window counts masked
        tokens they have to be cut out."""
        for masks in (False,) if windowed else (True, False):
            self._rows.masks = masks
            with suppress(Exception):  # whatever a state raises that is no cache
                if self_check(self, trees=False)[0]:
                    return True, masks
        return False, False


def _compiled(core: Any, graph: Any, settings: dict[str, str], folder: Path) -> Any:
    try:
        return core.compile_model(graph, "CPU", settings)
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot run {folder} ({str(error).strip().splitlines()[-1]})",
            "Export the model again, or run it with --engine hf",
        ) from error


def _bfloat16(core: Any) -> bool:
    """Whether bfloat16 can be trusted: OpenVINO has wrong products without AMX (its issue 38256),
    and with AMX a single thread ends the process (33300): it takes one for each core."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    return able and "amx_bf16" in told and _cores(told, allowed) > 1


def _cores(told: str, allowed: set[int]) -> int:
    """How many cores the `allowed` processors are threads of, as /proc/cpuinfo tells."""
    cores: set[tuple[str | None, str]] = set()
    for part in told.split("\n\n"):
        pairs = (line.partition(":") for line in part.splitlines())
        facts = {name.strip(): value.strip() for name, _, value in pairs}
        at = facts.get("processor", "")
        if at.isdecimal() and int(at) in allowed:
            cores.add((facts.get("physical id"), facts.get("core id", at)))
    return len(cores)


def _dtype(asked: str, form: str, bfloat16: bool) -> str:
    """How to compute."""
    if asked not in DTYPES:
        raise ModelError(
            f"OpenVINO does not run in {asked} here", f"Choose one of {', '.join(DTYPES)}"
        )
    if asked == "bfloat16" and not bfloat16:
        raise ModelError(
            "OpenVINO's bfloat16 needs a processor with AMX, and two cores of it",
            "Choose auto or float32",
        )
    if asked != "auto":
        return asked
    return "int8" if form == "int8" else "bfloat16" if bfloat16 else "float32"


def _asked_threads() -> int | None:
    """What OMP_NUM_THREADS says, if it is a number."""
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(text) if text.isdecimal() and int(text) > 0 else None
