"""Drafts inside transformers' own `generate`: one more argument, the same ids.

python examples/in_transformers.py
python examples/in_transformers.py --model org/model --traces mine.jsonl
"""

from time import perf_counter

from given import given
from transformers import AutoModelForCausalLM, AutoTokenizer

from tascel.plugins.transformers import Drafts


def main() -> None:
    mine = given(__doc__)
    model = AutoModelForCausalLM.from_pretrained(mine.model)
    if mine.adapter:
        model.load_adapter(mine.adapter)
    tokenizer = AutoTokenizer.from_pretrained(mine.model)
    drafts = Drafts(mine.built(), model, tokenizer)
    for trace in mine.held_out(5):
        inputs = tokenizer.apply_chat_template(
            trace.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        answers, seconds = [], []
        for with_drafts in ({}, {"custom_generate": drafts}):
            started = perf_counter()
            answers += model.generate(**inputs, max_new_tokens=64, do_sample=False, **with_drafts)
            seconds.append(perf_counter() - started)
        print(
            tokenizer.decode(answers[1][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        )
        same = "the same" if answers[0].tolist() == answers[1].tolist() else "NOT the same"
        print(f"   {same} ids, {1000 * seconds[0]:.0f} ms without and {1000 * seconds[1]:.0f} with")


if __name__ == "__main__":
    main()
