"""`tascel serve`: answer over HTTP, as OpenAI's API does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tascel.cli import options
from tascel.cli.console import err, progress, tell_head


def serve(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="The bundle's folder; left out with --tenant."),
    ] = None,
    flags: options.Flags = None,
    *,
    model: options.Model,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=BUNDLE",
            help="Instead of BUNDLE, for each of several who share the model: a name and a bundle. "
            "The key TASCEL_API_KEY_NAME tells who asks.",
        ),
    ] = None,
    tenant_keys: Annotated[
        Path | None, typer.Option(help="File of further keys of tenants: lines NAME KEY.")
    ] = None,
    engine: options.AnyEngine = "hf",
    adapter: options.Adapter = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    name: Annotated[
        str | None, typer.Option(help="What clients call the model; default: its id or folder.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="TASCEL_API_KEY",
            show_envvar=True,
            help="Ask clients for this key; with --tenant it opens /metrics alone.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="Of requests that name none; 0 is greedy.")
    ] = 0.0,
    rows: Annotated[int, typer.Option(min=1, help="Answers that share a pass.")] = 16,
    cache_tokens: options.CacheTokens = None,
    max_queue: Annotated[int, typer.Option(min=0, help="Answers that may wait.")] = 256,
    max_choices: Annotated[int, typer.Option(min=1, help="Answers to one call.")] = 32,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 4 << 20,
    max_prompt: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a prompt; default: the model's context.")
    ] = None,
    max_tokens: options.MaxTokens = 1024,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for one call.")] = 600.0,
    stall: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait for a client to send or to read.")
    ] = 30.0,
    drain: Annotated[
        float, typer.Option(min=0.0, help="Seconds for what is under way when told to end.")
    ] = 30.0,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="No page at / and no sample prompts, the API alone.")
    ] = False,
    no_drafts: Annotated[
        bool, typer.Option("--no-drafts", help="Decode plainly; runs models that cannot roll back.")
    ] = False,
    dtype: options.Dtype = "auto",
    device: options.Device = None,
    learn: options.Learn = False,
    learn_tokens: options.LearnTokens = None,
    learn_days: options.LearnDays = None,
    head: options.Head = "auto",
    fast: options.Fast = False,
    large: options.Large = None,
) -> None:
    """Serve a model with an OpenAI-compatible API until SIGTERM or Ctrl-C."""
    from tascel.errors import ModelError, RequestError
    from tascel.loading import load

    name = name or _public(model)
    if bundle is None and not tenant:
        raise RequestError("nothing to draft with", "Give a BUNDLE, or --tenant NAME=BUNDLE")
    if engine == "vllm":
        if bundle is None:
            raise RequestError("vLLM serves one bundle", "Give a BUNDLE, and leave --tenant out")
        options.only(context, "vLLM", "bundle", "flags", "model", "engine", "host", "port", "name",
                     "api_key", "temperature", "rows", "dtype")  # fmt: skip
        told = {"host": host, "port": port, "served-model-name": name, "dtype": dtype}
        told["override-generation-config"] = json.dumps({"temperature": temperature})
        if options.given(context, "rows"):
            told["max-num-seqs"] = rows
        _in_vllm(bundle, model, told, api_key, flags or [])
    options.no_flags(flags)
    try:
        from tascel.serve.access import Access, read_keys, read_tenants
        from tascel.serve.app import App
        from tascel.serve.ask import Served
        from tascel.serve.limits import Limits
        from tascel.serve.samples import may_show
        from tascel.serve.server import Server, bind
    except ImportError as error:
        raise ModelError(
            f"serving needs more packages ({error.name})", "pip install 'tascel[serve]'"
        ) from error
    tenants = read_tenants(tenant or ())
    if tenants and bundle is not None:
        raise RequestError(
            f"{bundle} and bundles of tenants", "Give the bundle once: as BUNDLE, or as a tenant's"
        )
    if tenant_keys is not None and not tenants:
        raise RequestError("--tenant-keys without --tenant", "Leave it out, or name the tenants")
    learns = options.learning(learn, learn_tokens, learn_days)
    access = Access.of(api_key, read_keys(list(tenants), tenant_keys, os.environ))
    limits = Limits(
        rows=rows, queue=max_queue, choices=max_choices, body=max_body, prompt=max_prompt,
        tokens=max_tokens, seconds=timeout, stall=stall, drain=drain,
    )  # fmt: skip
    bound = bind(host, port, limits)  # an address that is taken is known before a model loads
    with bound:
        with progress() as show:
            runner = load(
                bundle, model=model, engine=engine, tenants=tenants, adapter=adapter, dtype=dtype,
                device=device, head="fast" if fast else head, large=large,
                drafts=not no_drafts, cache_tokens=cache_tokens, learn=learns,
                profile=lambda done, total: show("measuring the verify cost", done, total),
            )  # fmt: skip
        with runner:  # whatever ends it, what was learned is written down
            tell_head(runner)
            address, taken = bound.getsockname()[:2]
            samples = not no_page and may_show(access, address)
            served = Served(runner, name, limits, temperature, not no_page, samples)
            server = Server(App(served, access), limits)
            shown = f"[{address}]" if ":" in address else address
            err.print(f"{served.name} at http://{shown}:{taken}/v1", markup=False, soft_wrap=True)
            if served.page:
                err.print(f"try it at http://{shown}:{taken}/", markup=False, soft_wrap=True)
            server.run(sockets=[bound])


def _in_vllm(
    bundle: Path, model: str, told: Mapping[str, Any], api_key: str | None, flags: list[str]
) -> NoReturn:
    """Become `vllm serve`. That a bundle does not fit its model is known before vLLM starts."""
    from tascel.bundle import Bundle
    from tascel.codec import Codec
    from tascel.plugins.vllm.launch import check_flags, serving

    check_flags(flags)
    Bundle.open(bundle, Codec.from_pretrained(model))
    own = [f"--{flag}={value}" for flag, value in told.items()]
    command = serving(bundle, model, [*own, *flags])
    key = {"VLLM_API_KEY": api_key} if api_key else {}  # not where other users see it
    os.execve(command[0], command, os.environ | key)


def _public(model: str) -> str:
    """The model's id, or its folder's name: clients need not know where it lies."""
    return Path(model).resolve().name if Path(model).exists() else model
