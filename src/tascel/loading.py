"""From folders to a runner: the Python API's `load`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tascel.bundle import Bundle
from tascel.codec import Codec
from tascel.decode.engine import Engine
from tascel.decode.loop import complete
from tascel.draft.base import Draft, Lasting
from tascel.draft.breaker import Breaker
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.engines.profile import Setting, machine, price_of
from tascel.errors import RequestError
from tascel.learning import LearnConfig, Learner, LearningDraft
from tascel.route.tenants import TenantDraft
from tascel.runner import Runner
from tascel.store.manifest import public_command
from tascel.types import Request

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tascel.engines.hf.condition import Conditioner
    from tascel.engines.hf.shelf import ShelvedDraft
    from tascel.engines.hf.vocabulary import Vocabulary
    from tascel.selection import Selection

#: How the vocabulary's matrices may be used.
HEADS = ("auto", "full", "lossless", "fast")


def load(
    bundle: str | Path | None,
    *,
    model: str | Path,
    tenants: Mapping[str, str | Path] | None = None,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    config: DraftConfig | None = None,
    drafts: bool = True,
    head: str = "auto",
    cache_tokens: int | None = None,
    large: str | Path | None = None,
    learn: bool | LearnConfig = False,
    profile: Callable[[int, int], None] = lambda done, total: None,
) -> Runner:
    """Open a bundle and the model it was built for, warmed up.

    Args:
        bundle: the bundle's folder; None decodes plainly.
        model: Hugging Face id or folder.
        tenants: a bundle's folder for each of several that share the model, by name, instead of
            `bundle`. A request names its tenant, and nothing of another's is drafted for it.
        adapter: a PEFT folder on top of it.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: as torch names it; default: a GPU if there is one.
        config: how to draft.
        drafts: False runs without drafts, and so runs models that cannot take drafts back.
        head: "full" is the model's own; with "lossless" the ids that the bundle selects and the
            prompt's guess and the whole head, off the device, has the last word; with "fast" no
            other id is ever written. "auto": lossless if the bundle has a selection, else full.
            With tenants it is full.
        cache_tokens: what all requests together may hold of the KV cache, prompts and answers.
        large: where the large model of a bridged one is, if not where its folder says.
        learn: go on learning from what is answered, into the bundle: True, or how and how much.
            Use the runner as a context manager, or `close` it: then nothing of it is lost.
        profile: hears how far measuring the verify cost is, if that has to be done now.

    Raises:
        ModelError: the model or adapter cannot be loaded, or cannot check drafts; its vocabulary
            cannot be tailored; the large model that it is bridged to is missing, or one of the
            two has changed.
        BundleError: the bundle is damaged or belongs to another tokenizer.
        RequestError: there is no such head, or the bundle has no selection for it; two tenants
            have one bundle; nothing is drafted that could learn.
    """
    from tascel.engines.hf.bridge.folder import open_bridge, read_bridge
    from tascel.engines.hf.load import fingerprint, load_model, load_tailored, tokenizer_of

    codec = Codec.from_pretrained(tokenizer_of(model, adapter))
    opened = Bundle.open(bundle, codec) if bundle is not None else None
    theirs = _bundles(tenants, codec, bundle, head) if tenants else {}
    head, selection = _head(head, opened)
    vocabulary = None
    facts = read_bridge(model)
    if facts is None and large is not None:
        raise RequestError(f"{model} is bridged to no large model", "Leave --large out")
    if selection is None:
        lm = load_model(model, adapter, dtype, device, bridged=facts is not None)
    else:
        lm, vocabulary = load_tailored(
            model, selection.ids, head == "lossless", adapter, dtype, device,
            bridged=facts is not None,
        )  # fmt: skip
    bridge = open_bridge(model, facts, lm, codec, large) if facts is not None else None
    weights = fingerprint(model, adapter)
    for one in [*([opened] if opened else []), *theirs.values()]:
        if one.manifest.weights not in (None, weights):
            warnings.warn(
                f"{one.path} was built from other weights than these: answers stay exact, drafts "
                "may fit less well; build it again if this model answers differently",
                stacklevel=2,
            )
    name = " + ".join(public_command([str(part) for part in (model, adapter) if part]))
    return attach(
        lm, codec, opened, tenants=theirs, name=name, weights=weights, config=config, drafts=drafts,
        cache_tokens=cache_tokens, profile=profile, vocabulary=vocabulary, head=head,
        conditioner=bridge, learn=learn,
    )  # fmt: skip


def _bundles(
    tenants: Mapping[str, str | Path], codec: Codec, bundle: str | Path | None, head: str
) -> dict[str, Bundle]:
    """The tenants' bundles, opened: one for each."""
    if bundle is not None:
        raise RequestError("a bundle of all and bundles of tenants", "Give one or the other")
    if head not in ("auto", "full"):
        raise RequestError(
            f"a {head} head knows the ids of one bundle, and every tenant has its own",
            "Leave the head as it is",
        )
    owners: dict[Path, str] = {}
    for name, folder in tenants.items():
        if (owner := owners.setdefault(Path(folder).resolve(), name)) != name:
            raise RequestError(
                f"tenants {owner} and {name} have one bundle, {folder}",
                "Give each its own: what it holds is drafted for whoever has it",
            )
    return {name: Bundle.open(folder, codec) for name, folder in tenants.items()}


def _head(asked: str, bundle: Bundle | None) -> tuple[str, Selection | None]:
    """Which head to run with, and the ids it needs."""
    if asked not in HEADS:
        raise RequestError(f"unknown head {asked}", f"Choose one of {', '.join(HEADS)}")
    selection = bundle.selection if bundle is not None else None
    if asked == "auto":
        asked = "full" if selection is None else "lossless"
    if asked == "full":
        return asked, None
    if selection is None:
        raise RequestError(
            f"a {asked} head needs a bundle with a selection", "`tascel tailor --bundle` stores one"
        )
    return asked, selection


def attach(
    model: PreTrainedModel,
    codec: Codec,
    bundle: Bundle | None,
    *,
    tenants: Mapping[str, Bundle] | None = None,
    name: str,
    weights: str,
    config: DraftConfig | None = None,
    drafts: bool = True,
    cache_tokens: int | None = None,
    profile: Callable[[int, int], None] = lambda done, total: None,
    vocabulary: Vocabulary | None = None,
    head: str = "full",
    conditioner: Conditioner | None = None,
    learn: bool | LearnConfig = False,
) -> Runner:
    """A runner of a model and a bundle that are loaded already, warmed up; as `load` else.

    `name` and `weights`, a digest, say what the price of a pass is kept for. `vocabulary` is the
    model's if `head` is not "full". `conditioner` says what prompts are fed as.
    """
    from tascel.engines.hf.engine import HfEngine

    if learn and not (drafts and (bundle or tenants)):
        raise RequestError(
            "nothing is drafted, so there is nothing to learn for",
            "Leave `learn` out, or give a bundle and drafts",
        )
    engine = HfEngine(
        model, allow_no_drafts=not drafts, cache_tokens=cache_tokens,
        vocabulary=vocabulary, lossless=head == "lossless",
        conditioner=conditioner,
    )  # fmt: skip
    how = "packed" if engine.packed else "row by row"
    if vocabulary is not None:
        how += f", {head} head of {len(vocabulary.head.static)}"
    setting = _setting(model, how, name, weights)
    draft: Draft | None = None
    price = Price.free()
    if (bundle or tenants) and drafts:
        price = price_of(engine, setting, progress=profile)
        full = model if vocabulary is None else None

        how_to = config or DraftConfig()
        how_to = replace(how_to, trees=how_to.trees and engine.trees)

        def plain(bundle: Bundle) -> Draft:
            return bundle.draft(how_to, _neural(bundle, full, weights, engine, price, how_to))

        def made(bundle: Bundle) -> Draft:
            if not learn:
                return plain(bundle)
            how_much = LearnConfig() if learn is True else learn
            return LearningDraft(Learner(bundle, plain, how_to, how_much), how_to)

        if bundle:
            draft = made(bundle)
        else:
            draft = TenantDraft({name: made(one) for name, one in (tenants or {}).items()})
    runner = Runner(model, engine, codec, draft, price, setting, Breaker(price), bundle, head,
                    conditioner=conditioner, tenants=tenants or {})  # fmt: skip
    warm = Request("warm-up", np.array([codec.end_id] * 4, np.int32), max_tokens=2)
    complete(runner.run(warm, draft=draft, plain=draft is None))
    runner.forget()
    if isinstance(draft, Lasting):
        draft.start()
    return runner


def _neural(
    bundle: Bundle,
    model: PreTrainedModel | None,
    weights: str,
    engine: Engine,
    price: Price,
    config: DraftConfig,
) -> Callable[[int], ShelvedDraft] | None:
    """What makes the bundle's neural drafts; None if it has none, or none for this `model`, which
    is None where its head is tailored."""
    neural = bundle.neural
    if neural is None or not neural.drafts or not config.neural_bytes:
        return None
    if neural.target != weights or model is None:
        whose = "other weights than these" if model is not None else "a head that is not tailored"
        warnings.warn(
            f"{bundle.path} has neural drafts for {whose}: n-grams draft alone", stacklevel=5
        )
        return None
    from tascel.engines.hf.shelf import Shelf

    shelf = Shelf(
        model, neural, bundle.path, price, engine.vocab_size, config.neural_bytes,
        engine.cache_tokens,
    )  # fmt: skip
    return shelf.draft


def _setting(model: PreTrainedModel, how: str, name: str, weights: str) -> Setting:
    import torch

    device = model.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    return Setting(
        model=name,
        weights=weights,
        device=device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        runtime=f"torch {torch.__version__}, {how}",
        machine=gpu,
    )
