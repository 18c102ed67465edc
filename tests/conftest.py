"""What all tests share: toy models, a byte tokenizer, a fake engine and a draft of any quality.

The toy models have random weights, drawn wide enough that greedy answers wander instead of
repeating one token. No network.
"""

from __future__ import annotations

import codecs
import runpy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from chromium import browser, open_page, page
from tascel.draft.base import Proposal
from tascel.types import SOURCES, Request, Trace

__all__ = ["browser", "open_page", "page"]

settings.register_profile("tascel", deadline=None, derandomize=True)
settings.load_profile("tascel")

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("Ġ", "t"), ("l", "i"), ("o", "n"))
TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCAB = 272


def byte_tokenizer() -> Any:
    """A byte-level BPE with a few merges and ChatML: any text goes there and back."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(m) for m in MERGES)]
    vocab = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(MERGES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = TEMPLATE
    return fast


def make_toy(family: str = "Llama", seed: int = 0, **config: Any) -> Any:
    """A toy causal LM of a transformers family, `make_toy("Qwen3", max_position_embeddings=64)`."""
    import torch
    import transformers

    settings = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.5,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": VOCAB - 1,
        "pad_token_id": 0,
    } | config
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = [f"{family}TextConfig", f"{family}Config"]
        config_type = next(c for n in names if (c := getattr(transformers, n, None)))
        toy_config = config_type(**settings)
        names = [f"{family}ForCausalLM", f"{family}LMHeadModel"]
        model = next(m for n in names if (m := getattr(transformers, n, None)))(toy_config)
    torch.random.set_rng_state(state)
    return model.eval()


@pytest.fixture(scope="session")
def toy() -> Callable[..., Any]:
    """`toy("Llama", seed=0, **config)` makes a toy model."""
    return make_toy


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The byte tokenizer, as transformers loads it."""
    return byte_tokenizer()


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy Llama and the byte tokenizer, as `from_pretrained` wants it."""
    folder = tmp_path_factory.mktemp("toy-model")
    fast = byte_tokenizer()
    model = make_toy("Llama", eos_token_id=fast.convert_tokens_to_ids("<|im_end|>"))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_gguf(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path) -> Path:
    """The toy Llama and its tokenizer as a GGUF, in float32."""
    file = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    script = Path(__file__).parents[1] / "benchmarks" / "to_gguf.py"
    runpy.run_path(str(script))["convert"](toy_folder, file)
    return file


@pytest.fixture
def lamps() -> list[Trace]:
    """Thirty exchanges, whose answers repeat."""
    return [
        Trace(
            [{"role": "user", "content": f"light {i}"}],
            {"role": "assistant", "content": f"the lamp {i % 7}"},
        )
        for i in range(30)
    ]


class ByteStream:
    """A detokenizer for ids that are bytes; other ids have no text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        return self._decoder.decode(bytes([token]) if token < 256 else b"")

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


@pytest.fixture(scope="session")
def byte_stream() -> type[ByteStream]:
    return ByteStream


class FakeVerdict:
    def __init__(self, rows: list[np.ndarray]) -> None:
        self._rows = rows

    def argmax(self, node: int) -> int:
        return int(self._rows[node + 1].argmax())

    def logits(self, node: int) -> np.ndarray:
        return self._rows[node + 1].copy()


class FakeEngine:
    """Logits are a pure function of the last tokens; strict about how the loop uses it."""

    def __init__(self, vocab_size: int = 40, context_limit: int = 200, **facts: Any) -> None:
        self.vocab_size, self.context_limit = vocab_size, context_limit
        self.draft_limit = facts.get("draft_limit", context_limit)
        self.eos_ids = frozenset(facts.get("eos_ids", ()))
        self.packed = facts.get("packed", True)
        self.trees, self.drafts = facts.get("trees", True), facts.get("drafts", True)
        self.order, self.spread = facts.get("order", 3), facts.get("spread", 2.0)
        self.cache_tokens = facts.get("cache_tokens", 1 << 30)
        self.prefixes = True
        self.rough = None
        self.open_rows: dict[int, list[int]] = {}
        self.sizes: dict[int, int] = {}
        self.opened = 0
        self.passes: list[Proposal] = []
        self.batches: list[int] = []
        self._offered: dict[int, Proposal] = {}
        self._table: dict[tuple[int, ...], np.ndarray] = {}

    def logits_after(self, tokens: Sequence[int]) -> np.ndarray:
        state = tuple(tokens[-self.order :])
        if state not in self._table:
            noise = np.random.default_rng([7, *state]).normal(size=self.vocab_size)
            self._table[state] = (noise * self.spread).astype(np.float32)
        return self._table[state]

    def fits(self, size):
        return self.used + size <= self.cache_tokens

    def open(self, prompt, size, tenant=None):
        assert self.fits(size)
        self.opened += 1
        self.open_rows[self.opened], self.sizes[self.opened] = [], size
        return self.opened, 0

    @property
    def used(self):
        return sum(self.sizes.values())

    def check(self, rows, leads, proposals):
        assert len(set(rows)) == len(rows) > 0
        self.batches.append(len(rows))
        for row, lead in zip(rows, leads, strict=True):
            assert row not in self._offered, "the last proposal was not settled"
            assert len(lead)
            self.open_rows[row] += lead.tolist()
        return [self._pass(row, p) for row, p in zip(rows, proposals, strict=True)]

    def keep(self, rows, paths):
        for row, path in zip(rows, paths, strict=True):
            offered = self._offered.pop(row)
            for above, node in zip([-1, *path], path, strict=False):
                assert offered.parents[node] == above
            self.open_rows[row] += [int(offered.tokens[node]) for node in path]

    def close(self, row):
        del self.open_rows[row], self.sizes[row]
        self._offered.pop(row, None)

    def forget(self):
        pass

    def _pass(self, row, offered):
        before, paths = self.open_rows[row], [[]]
        assert self.drafts or not len(offered)
        assert self.trees or offered.is_chain
        for node, token in enumerate(offered.tokens.tolist()):
            assert -1 <= offered.parents[node] < node
            assert 0 <= token < self.vocab_size
            paths.append([*paths[offered.parents[node] + 1], token])
            assert len(before) + len(paths[-1]) <= self.draft_limit
        assert len(before) + max(map(len, paths)) <= self.context_limit
        self.passes.append(offered)
        self._offered[row] = offered
        return FakeVerdict([self.logits_after(before + path) for path in paths])


@pytest.fixture(scope="session")
def fake_engine() -> type[FakeEngine]:
    return FakeEngine


class OracleDraft:
    """Knows the answer and proposes it with errors: chains and trees with both hits and misses.

    `skill` is the probability that a node continues the true answer; `garbage` mixes in ids,
    parents, trusts and sources that no honest draft would send.
    """

    def __init__(
        self,
        truth: Sequence[int],
        seed: int = 0,
        skill: float = 0.8,
        width: int = 8,
        tree: bool = True,
        vocab_size: int = 40,
        garbage: bool = False,
    ) -> None:
        self.truth, self.skill, self.width, self.tree = list(truth), skill, width, tree
        self.vocab_size, self.garbage = vocab_size, garbage
        self.rng = np.random.default_rng(seed)
        self.at, self.opened, self.closed = 0, 0, 0

    def open(self, request: Request) -> OracleDraft:
        self.at, self.opened = 0, self.opened + 1
        return self

    def propose(self, room: int, price: Any, pending: int = 1) -> Proposal:
        assert room > 0
        rng, width = self.rng, int(self.rng.integers(0, self.width + 1))
        tokens, parents, depth = [], [], []
        for node in range(width):
            parent = int(rng.integers(-1, node)) if self.tree and rng.random() < 0.5 else node - 1
            deep = 0 if parent == -1 else depth[parent] + 1
            at = self.at + deep
            right = at < len(self.truth) and rng.random() < self.skill
            tokens.append(self.truth[at] if right else int(rng.integers(self.vocab_size)))
            parents.append(parent)
            depth.append(deep)
        proposal = Proposal(
            np.array(tokens, np.int32),
            np.array(parents, np.int16),
            rng.random(width).astype(np.float32),
            rng.integers(1, SOURCES.index("draft") + 1, width).astype(np.uint8),
        )
        return self._spoil(proposal) if self.garbage else proposal

    def _spoil(self, proposal: Proposal) -> Proposal:
        width, rng = len(proposal), self.rng
        spoil = rng.random((4, width)) < 0.2
        wild = rng.integers(-(2**15), 2**15, width)
        return Proposal(
            np.where(spoil[0], wild * 1000, proposal.tokens).astype(np.int32),
            np.where(spoil[1], wild, proposal.parents).astype(np.int16),
            np.where(spoil[2], np.nan, proposal.trust).astype(np.float32),
            np.where(spoil[3], 200, proposal.source).astype(np.uint8),
        )

    def accept(self, tokens: Sequence[int], offered: Proposal, taken: int) -> None:
        assert self.truth[self.at : self.at + len(tokens)] == list(tokens)
        assert taken in (len(tokens), len(tokens) - 1)
        assert set(tokens[:taken]) <= set(offered.tokens.tolist())
        self.at += len(tokens)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="session")
def oracle_draft() -> type[OracleDraft]:
    return OracleDraft


ROOMS = ("den", "hall", "attic", "kitchen", "porch", "cellar", "studio", "loft")
BANDS = ("Muse", "Blur", "Queen", "Wilco", "Pixies", "Oasis", "Cream", "Devo")


def make_two_tasks(count: int, labelled: bool = False) -> list[Trace]:
    """So many traces of "lights", then as many of "songs"; the two have little in common."""
    pairs: dict[str, list[tuple[str, str]]] = {"lights": [], "songs": []}
    for i in range(count):
        room, band, at = ROOMS[i % 8], BANDS[(i // 3) % 8], (i * 7) % 100
        pairs["lights"].append((f"turn the lamp in the {room} to {at}", f'{{"{room}": {at}}}'))
        pairs["songs"].append((f"PLAY ME {band} ({i % 50})", f"CALL queue '{band}' #{i % 50};"))
    return [
        Trace(
            ({"role": "user", "content": prompt},),
            {"role": "assistant", "content": output},
            task=task if labelled else None,
        )
        for task, of_task in pairs.items()
        for prompt, output in of_task
    ]


@pytest.fixture(scope="session")
def two_tasks() -> Callable[..., list[Trace]]:
    """`two_tasks(120, labelled=True)` are traces of "lights" and of "songs"."""
    return make_two_tasks
