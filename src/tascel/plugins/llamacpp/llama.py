"""llama-cpp-python's `Llama`, checking drafts without its detours.

With a draft the stock class computes and copies the logits of every token of every prompt, keeps
n_ctx x n_vocab of them, and shows logits processors tokens that are only drafted. None of that is
needed: here a prompt has the logits of its last token, and a draft those of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from tascel.errors import ModelError
from tascel.plugins.llamacpp.draft import LlamaDraft
from tascel.plugins.llamacpp.worth import Worth

#: Versions whose insides we know: from the first, before the second.
VERSIONS = (0, 3, 36), (0, 4, 0)


def llama_cpp() -> Any:
    """The package.

    Raises:
        ModelError: it is not installed, or another version.
    """
    try:
        package = import_module("llama_cpp")
    except ImportError as error:
        raise ModelError(
            f"llama-cpp-python cannot be imported ({error})", "pip install 'tascel[llamacpp]'"
        ) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", package.__version__)[:3])
    if not VERSIONS[0] <= numbers < VERSIONS[1]:
        first, last = (".".join(map(str, version)) for version in VERSIONS)
        raise ModelError(
            f"this is llama-cpp-python {package.__version__}; we know {first} up to before {last}",
            f"pip install 'llama-cpp-python>={first},<{last}'",
        )
    package.llama_speculative.LlamaDraftModel.register(LlamaDraft)
    return package


@lru_cache(maxsize=2)
def llama_class(repacked: bool = True) -> Any:
    """`llama_cpp.Llama` with what stands above, and with weights `repacked` or not. Made when it is
    asked for: the package may not be there."""
    return type("Llama", (Checking, llama_cpp().Llama), {"repacked": repacked})


class Checking:
    """What is other than in `llama_cpp.Llama`, to stand before it.

    Attributes:
        wanted: of how many of the last tokens that are evaluated logits are needed, where there is
            no draft to tell.
        repacked: whether llama.cpp may lay weights out as its kernels for this processor want them.
    """

    wanted = 1
    repacked = True
    worth: Worth | None = None
    n_tokens: int
    n_batch: int
    draft_model: Any
    input_ids: Any
    _ctx: Any
    _batch: Any
    _logits_all: bool
    _requires_eval: bool
    _model_params: Any
    _known = 0

    @property
    def model_params(self) -> Any:
        """How the file is opened: what `Llama` sets, and `repacked`, which it has no option for."""
        return self._model_params

    @model_params.setter
    def model_params(self, params: Any) -> None:
        params.use_extra_bufts = self.repacked
        self._model_params = params

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate `tokens` behind those that are known."""
        if self._logits_all:  # the caller wants log-probabilities
            cast(Any, super()).eval(tokens)
            return
        draft = self.draft_model
        wanted = 1 + draft.offered if isinstance(draft, LlamaDraft) else self.wanted
        self._ctx.kv_cache_seq_rm(-1, self.n_tokens, -1)
        for start in range(0, len(tokens), self.n_batch):
            some = tokens[start : start + self.n_batch]
            end = self.n_tokens + len(some)
            self._batch.set_batch(batch=some, n_past=self.n_tokens, logits_all=False)
            for at in range(max(0, len(tokens) - wanted - start), len(some)):
                self._batch.batch.logits[at] = True
            self._ctx.decode(self._batch)
            self.input_ids[self.n_tokens : end] = some
            self.n_tokens = end
            self._requires_eval = False

    def wait(self) -> None:
        """Until what was evaluated is done."""
        self._ctx.get_logits_ith(-1)

    def generate(self, tokens: Sequence[int], *args: Any, **kwargs: Any) -> Generator[int, Any]:
        """As the stock method; the draft hears where answers begin and end."""
        answer: Any = cast(Any, super()).generate(tokens, *args, **kwargs)
        draft = self.draft_model
        return _told(answer, draft) if isinstance(draft, LlamaDraft) else answer

    def sample(self, *args: Any, idx: int | None = None, **kwargs: Any) -> int:
        """As the stock method; processors see what is known at `idx`, not what is drafted."""
        self._known = self.n_tokens if idx is None else idx + 1
        return cast(Any, super()).sample(*args, idx=idx, **kwargs)

    def _init_sampler(self, *args: Any, logits_processor: Any = None, **kwargs: Any) -> Any:
        if logits_processor is not None:
            logits_processor = [self._seeing(process) for process in logits_processor]
        make = cast(Any, super())._init_sampler
        return make(*args, logits_processor=logits_processor, **kwargs)

    def _seeing(self, process: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda ids, scores: process(ids[: self._known], scores)


def _told(answer: Any, draft: LlamaDraft) -> Generator[int, Any]:
    """The tokens of `answer`, of which the draft hears as they come."""
    draft.end()
    draft.owner = answer
    calls, written, given = draft.calls, list[int](), None
    try:
        while True:
            token: int = answer.send(given)
            if draft.calls != calls:  # since then it knows what was before
                calls, written = draft.calls, []
            written.append(token)
            given = yield token
    except StopIteration:
        return
    finally:
        answer.close()
        if draft.owner is answer:  # else another has begun, and this one is dropped late
            draft.end(written if draft.calls == calls else ())
            draft.owner = None
