"""Another library runs the exported folder: OpenVINO GenAI writes what our plain decoding does."""

from __future__ import annotations

import numpy as np
import pytest

from tascel.codec import Codec
from tascel.decode.loop import complete
from tascel.engines.hf.load import load_model
from tascel.engines.openvino.convert import EXACT, convert
from tascel.loading import load
from tascel.types import Request

pytestmark = pytest.mark.openvino
genai = pytest.importorskip("openvino_genai", reason="make test-openvino installs it")


@pytest.mark.parametrize("more", [{"ATTENTION_BACKEND": "SDPA"}, {"ATTENTION_BACKEND": "PA"}])
def test_genai_writes_the_same(toy_folder, tmp_path, more):
    import openvino

    codec = Codec.from_pretrained(toy_folder)
    convert(load_model(toy_folder), codec, tmp_path / "o", form="fp16", weights="w")
    prompts = [codec.prompt(text) for text in ("light 3", "turn on the lamp", "a")]
    runner = load(None, model=tmp_path / "o", engine="openvino", dtype="float32")
    pipeline = genai.LLMPipeline(tmp_path / "o", "CPU", **EXACT, **more)
    asked = genai.GenerationConfig()
    asked.max_new_tokens, asked.do_sample, asked.apply_chat_template = 24, False, False
    asked.set_eos_token_id(codec.end_id)
    for prompt in prompts:
        ours = complete(runner.run(Request("a", prompt, max_tokens=24), plain=True))
        theirs = pipeline.generate(openvino.Tensor(prompt.astype(np.int64)[None]), asked)
        assert theirs.tokens[0] == list(ours.tokens)
