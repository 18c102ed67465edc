"""Several bundles become one: that of all their traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tascel.building.config import Source
from tascel.building.relearn import whole
from tascel.building.teach import in_time, teach
from tascel.building.thin import Thinned, thinned_by
from tascel.bundle import Bundle, Progress, silent
from tascel.errors import BundleError, RequestError
from tascel.store.manifest import Manifest, Settings
from tascel.store.replace import refuse_foreign, write_folder


def merge(
    bundles: Sequence[str | Path],
    out: str | Path,
    *,
    command: Sequence[str] = (),
    warn: Callable[[str], None] = lambda message: None,
    progress: Progress = silent,
) -> Bundle:
    """Write a bundle to `out` that answers as one that was built on the traces of all `bundles`.

    Trust, features and tasks are learned anew, from what servers have learned, too. Selections and
    neural drafts, which were judged on other traces, do not go over.

    Args:
        bundles: two or more folders.
        out: another folder; a bundle that is there is replaced at the very end.
        command: the command line to note in the manifest.
        warn: told what makes the bundles unlike.

    Raises:
        RequestError: fewer than two, or `out` is one of them.
        BundleError: one is damaged, or they do not go together.
    """
    out, paths = Path(out).resolve(), [Path(path).resolve() for path in bundles]
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise RequestError("merging takes two bundles that differ, or more", "Name them all")
    if out in paths:
        raise RequestError(f"{out}: is one of those to be merged", "Write to another folder")
    refuse_foreign(out)
    first = Bundle.open(paths[0])
    manifests = [first.manifest, *(Bundle.open(path).manifest for path in paths[1:])]
    for path, manifest in zip(paths, manifests, strict=True):
        _refuse_unlike(paths[0], first.manifest, path, manifest)
    _warn(manifests, warn)
    settings = _settings([manifest.settings for manifest in manifests])
    thinned = Thinned(settings.corpus_tokens, settings.thinned)
    traces = refused = 0
    for path, manifest in zip(paths, manifests, strict=True):
        bundle, some = whole(path, progress)
        if bundle.manifest.base != manifest.base:  # all of it may be another's by now
            raise BundleError(f"{path}: was replaced meanwhile", "Try again")
        known = bundle.manifest.counts
        traces += known["traces"] + len(some) - known["outputs"]  # what it learned since, too
        refused += known["refused"]
        thinned.add(thinned_by(some, settings.thinned, bundle.manifest.settings.thinned))
    weights = {manifest.weights for manifest in manifests}
    source = Source(
        in_time(thinned.records()),
        first.codec,
        first.manifest.model,
        first.manifest.weights if len(weights) == 1 else None,
        replace(settings, thinned=thinned.level),
        {"traces": traces, "refused": refused},
        command,
    )
    write_folder(out, teach(source, progress))
    return Bundle.open(out)


def _refuse_unlike(path: Path, manifest: Manifest, other: Path, of_other: Manifest) -> None:
    """See that ids mean the same in both."""
    for what, a, b in (
        ("another tokenizer", manifest.tokenizer, of_other.tokenizer),
        ("another vocabulary", manifest.vocab_size, of_other.vocab_size),
        ("other ids that end an answer", manifest.eos_ids, of_other.eos_ids),
    ):
        if a != b:
            raise BundleError(
                f"{other}: cannot be merged with {path}: {of_other.model} has {what} than "
                f"{manifest.model}",
                "Build both for one model",
            )


def _warn(manifests: Sequence[Manifest], warn: Callable[[str], None]) -> None:
    if len({manifest.weights for manifest in manifests}) > 1:
        models = ", ".join(dict.fromkeys(manifest.model for manifest in manifests))
        warn(
            f"the bundles were built for models of other weights ({models}): drafts are best for "
            "the model whose answers they have seen"
        )


def _settings(all_of: Sequence[Settings]) -> Settings:
    """Nothing is quoted if one says so; the widest bounds; tasks as all say, else as labels say."""
    kinds = {settings.tasks for settings in all_of}
    return Settings(
        text=all(settings.text for settings in all_of),
        tasks=all_of[0].tasks if len(kinds) == 1 else "auto",
        corpus_tokens=max(settings.corpus_tokens for settings in all_of),
        trust_traces=max(settings.trust_traces for settings in all_of),
        seed=all_of[0].seed,
        thinned=max(settings.thinned for settings in all_of),
    )
