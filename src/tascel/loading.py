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
from tascel.decode.loop import complete
from tascel.draft.base import Draft, Lasting
from tascel.draft.breaker import Breaker
from tascel.draft.ngram import DraftConfig
from tascel.draft.price import Price
from tascel.engines.opened import Opened
from tascel.engines.openvino.folder import is_export
from tascel.engines.profile import price_of
from tascel.errors import ModelError, RequestError
from tascel.learning import LearnConfig, Learner, LearningDraft
from tascel.route.tenants import TenantDraft
from tascel.runner import Runner
from tascel.types import Request

if TYPE_CHECKING:
    from tascel.engines.hf.shelf import ShelvedDraft
    from tascel.selection import Selection

#: What can run a model in this process.
ENGINES = ("hf", "openvino")
#: How the vocabulary's matrices may be used.
HEADS = ("auto", "full", "lossless", "fast")


def load(
    bundle: str | Path | None,
    *,
    model: str | Path,
    engine: str = "hf",
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
        model: Hugging Face id or folder; for OpenVINO the folder that `tascel export` wrote.
        engine: "hf" for transformers, or "openvino", which needs no torch.
        tenants: a bundle's folder for each of several that share the model, by name, instead of
            `bundle`. A request names its tenant, and nothing of another's is drafted for it.
        adapter: a PEFT folder on top of it.
        dtype: "auto", "float32", "bfloat16" or "float16". With OpenVINO "float32" is the exact one.
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
        ModelError: the model or adapter cannot be loaded, or cannot check drafts; it is for another
            engine; its vocabulary cannot be tailored; the large model that it is bridged to is
            missing, or one of the two has changed.
        BundleError: the bundle is damaged or belongs to another tokenizer.
        RequestError: there is no such head, or the bundle has no selection for it; two tenants
            have one bundle; nothing is drafted that could learn.
    """
    _check(engine, model, adapter, device, head, large)
    codec = Codec.from_pretrained(_tokenizer(engine, model, adapter))
    opened = Bundle.open(bundle, codec) if bundle is not None else None
    theirs = _bundles(tenants, codec, bundle, head) if tenants else {}
    if engine == "openvino":
        from tascel.engines.openvino.open import open_export

        runtime = open_export(model, dtype, drafts=drafts, cache_tokens=cache_tokens)
    else:
        from tascel.engines.hf.open import Place, open_model

        head, selection = _head(head, opened)
        place = Place(model, adapter, dtype, device, large)
        runtime = open_model(
            place, codec, head, selection, drafts=drafts, cache_tokens=cache_tokens
        )
    for one in [*([opened] if opened else []), *theirs.values()]:
        if one.manifest.weights not in (None, runtime.setting.weights):
            warnings.warn(
                f"{one.path} was built from other weights than these: answers stay exact, drafts "
                "may fit less well; build it again if this model answers differently",
                stacklevel=2,
            )
    return attach(
        runtime, codec, opened, tenants=theirs, config=config, drafts=drafts, profile=profile,
        learn=learn,
    )  # fmt: skip


def _check(
    engine: str,
    model: str | Path,
    adapter: str | Path | None,
    device: str | None,
    head: str,
    large: str | Path | None,
) -> None:
    """See that `model` is what `engine` runs, and that nothing else is asked of it."""
    if engine not in ENGINES:
        raise RequestError(f"unknown engine {engine}", f"Choose one of {', '.join(ENGINES)}")
    if engine == "hf":
        if is_export(model) and not any(Path(model).expanduser().glob("*.safetensors")):
            raise ModelError(f"{model} is a model for OpenVINO", "Run it with --engine openvino")
        return
    if not is_export(model):
        raise ModelError(
            f"{model} is not exported for OpenVINO",
            f"tascel export BUNDLE --model {model} --to openvino -o FOLDER, and give that folder",
        )
    asked = {"an adapter": adapter, "a device": device, "a large model": large}
    for what, given in asked.items():
        if given is not None:
            raise RequestError(
                f"{what} is not for OpenVINO", "Leave it out; export merges adapters"
            )
    if head not in ("auto", "full"):
        raise RequestError(f"a {head} head is not for OpenVINO", "Leave the head as it is")


def _tokenizer(engine: str, model: str | Path, adapter: str | Path | None) -> str | Path:
    """Where the tokenizer lies."""
    if engine == "openvino":
        return Path(model).expanduser()
    from tascel.engines.hf.load import tokenizer_of

    return tokenizer_of(model, adapter)


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
    runtime: Opened,
    codec: Codec,
    bundle: Bundle | None,
    *,
    tenants: Mapping[str, Bundle] | None = None,
    config: DraftConfig | None = None,
    drafts: bool = True,
    profile: Callable[[int, int], None] = lambda done, total: None,
    learn: bool | LearnConfig = False,
) -> Runner:
    """A runner of a model and a bundle that are loaded already, warmed up; as `load` else."""
    if learn and not (drafts and (bundle or tenants)):
        raise RequestError(
            "nothing is drafted, so there is nothing to learn for",
            "Leave `learn` out, or give a bundle and drafts",
        )
    engine, draft, price = runtime.engine, None, Price.free()
    if (bundle or tenants) and drafts:
        price = price_of(engine, runtime.setting, progress=profile)
        how_to = config or DraftConfig()
        how_to = replace(how_to, trees=how_to.trees and engine.trees)

        def plain(bundle: Bundle) -> Draft:
            return bundle.draft(how_to, _neural(bundle, runtime, price, how_to))

        def made(bundle: Bundle) -> Draft:
            if not learn:
                return plain(bundle)
            how_much = LearnConfig() if learn is True else learn
            return LearningDraft(Learner(bundle, plain, how_to, how_much), how_to)

        if bundle:
            draft = made(bundle)
        else:
            draft = TenantDraft({name: made(one) for name, one in (tenants or {}).items()})
    runner = Runner(
        runtime.model, engine, codec, draft, price, runtime.setting, Breaker(price), bundle,
        runtime.head, conditioner=runtime.conditioner, tenants=tenants or {},
    )  # fmt: skip
    warm = Request("warm-up", np.array([codec.end_id] * 4, np.int32), max_tokens=2)
    complete(runner.run(warm, draft=draft, plain=draft is None))
    runner.forget()
    if isinstance(draft, Lasting):
        draft.start()
    return runner


def _neural(
    bundle: Bundle, runtime: Opened, price: Price, config: DraftConfig
) -> Callable[[int], ShelvedDraft] | None:
    """What makes the bundle's neural drafts; None if it has none, or none that can run with this
    model: they are layers of the very one, in transformers."""
    neural, model = bundle.neural, runtime.model
    if neural is None or not neural.drafts or not config.neural_bytes:
        return None
    if model is None or runtime.head != "full" or neural.target != runtime.setting.weights:
        whose = (
            "transformers" if model is None
            else "other weights than these" if runtime.head == "full"
            else "a head that is not tailored"
        )  # fmt: skip
        warnings.warn(
            f"{bundle.path} has neural drafts for {whose}: n-grams draft alone", stacklevel=5
        )
        return None
    from tascel.engines.hf.shelf import Shelf

    engine = runtime.engine
    shelf = Shelf(
        model, neural, bundle.path, price, engine.vocab_size, config.neural_bytes,
        engine.cache_tokens,
    )  # fmt: skip
    return shelf.draft
