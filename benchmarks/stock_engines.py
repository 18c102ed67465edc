"""Do stock engines load a merged model with new tokens, and answer the same?

    python benchmarks/stock_engines.py write MODEL TRACES ANSWERS.json     # with transformers
    python benchmarks/stock_engines.py compare MODEL ANSWERS.json          # where vLLM is installed

Greedy answers to test prompts in float32, token for token. `write` uses transformers alone, and
`compare` vLLM alone: neither imports tascel. Prompts are ids; the text of both is compared, too.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

PROMPTS, LIMIT = 40, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("write")
    verb.set_defaults(run=lambda a: write(a.model, a.traces, a.answers))
    verb.add_argument("model")
    verb.add_argument("traces", type=Path)
    verb.add_argument("answers", type=Path)
    verb = verbs.add_parser("compare")
    verb.set_defaults(run=lambda a: compare(a.model, a.answers))
    verb.add_argument("model")
    verb.add_argument("answers", type=Path)
    args = parser.parse_args()
    args.run(args)


def write(model: str, traces: Path, answers: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines = [json.loads(line) for line in traces.read_text(encoding="utf-8").splitlines()]
    prompts = [line["prompt"] for line in lines if line["split"] == "test"]
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    lm: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found = []
    for prompt in random.Random(0).sample(prompts, PROMPTS):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        given = torch.tensor([ids])
        output = lm.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=LIMIT,
            do_sample=False,
            pad_token_id=lm.generation_config.eos_token_id,
        )
        said = output[0, len(ids) :].tolist()
        text = tokenizer.decode(said, skip_special_tokens=True)
        found.append({"prompt": ids, "answer": said, "text": text})
    answers.write_text(json.dumps(found))


def compare(model: str, answers: Path) -> None:
    from vllm import LLM, SamplingParams

    known = json.loads(answers.read_text())
    llm = LLM(model, dtype="float32", max_model_len=1024, enforce_eager=True)
    new = set(json.loads(Path(model, "tokenizer_config.json").read_text())["tascel_new_tokens"])
    asked: Any = [{"prompt_token_ids": row["prompt"]} for row in known]
    outputs = llm.generate(asked, SamplingParams(temperature=0, max_tokens=LIMIT))
    said = [[*output.outputs[0].token_ids] for output in outputs]
    print(
        json.dumps(
            {
                "answers": len(known),
                "tokens": sum(map(len, said)),
                "new": sum(str(id_) in new for ids in said for id_ in ids),
                "same_ids": sum(a == row["answer"] for a, row in zip(said, known, strict=True)),
                "same_text": sum(
                    output.outputs[0].text == row["text"]
                    for output, row in zip(outputs, known, strict=True)
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
