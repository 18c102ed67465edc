"""What a price measured in vLLM holds for: the proposer and the probe name the same file."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tascel.engines.profile import Setting, machine
from tascel.store.manifest import public_command


def setting_of(vllm_config: Any) -> Setting:
    """The setting of the engine that runs with `vllm_config`. Call it in the worker: threads are
    bound there.

    Raises:
        ModelError: the weights lie on no disk of this machine.
    """
    import torch

    from tascel.engines.hf.load import fingerprint

    model, parallel = vllm_config.model_config, vllm_config.parallel_config
    device = str(vllm_config.device_config.device_type)
    how = [f"vllm {import_module('vllm').__version__}"]
    if parallel.tensor_parallel_size > 1:
        how.append(f"tensor parallel {parallel.tensor_parallel_size}")
    if model.quantization:
        how.append(str(model.quantization))
    if model.enforce_eager:
        how.append("eager")
    return Setting(
        model=" ".join(public_command([str(model.model)])),
        weights=fingerprint(model.model),
        device=device,
        dtype=str(model.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        runtime=", ".join(how),
        machine=torch.cuda.get_device_name() if device == "cuda" else machine(),
    )
