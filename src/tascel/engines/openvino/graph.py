"""An exported graph, read and made ready: the head sees only the tokens whose logits are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tascel.engines.openvino.folder import GRAPH
from tascel.engines.openvino.package import openvino
from tascel.errors import ModelError

#: What a graph may ask for; `WANTED` is ours.
IDS, MASK, PLACES, BEAM, WANTED = (
    "input_ids", "attention_mask", "position_ids", "beam_idx", "wanted",
)  # fmt: skip
#: What may stand between the head and its logits: all of it works on each number alone.
_AFTER_HEAD = {"Add", "Convert", "Divide", "Multiply", "Subtract", "Tanh"}


def read_graph(core: Any, folder: Path) -> Any:
    """The graph in `folder`, with an input `WANTED` where a head was found.

    Raises:
        ModelError: it cannot be read, or keeps no cache of its own.
    """
    try:
        graph = core.read_model(folder / GRAPH)
        graph.output("logits")
    except RuntimeError as error:
        raise ModelError(
            f"{folder / GRAPH} cannot be read ({str(error).strip().splitlines()[-1]})",
            "Export the model again: tascel export BUNDLE --model M --to openvino -o FOLDER",
        ) from error
    strange = {given.get_any_name() for given in graph.inputs} - {IDS, MASK, PLACES, BEAM}
    if strange or not graph.get_sinks():
        what = f"asks for {min(strange)}" if strange else "keeps no cache"
        raise ModelError(
            f"{folder / GRAPH} {what}", "Export the model as one of text that keeps its own cache"
        )
    _narrow(graph)
    return graph


def length_axes(graph: Any) -> dict[str, int]:
    """By the name of each part of the cache, which of its axes is the text's length: the last one
    that is not fixed (the other is the number of texts)."""
    axes: dict[str, int] = {}
    for variable in graph.get_variables():
        info = variable.info
        shape = info.data_shape
        free = [at for at in range(len(shape)) if shape[at].is_dynamic]
        axes[info.variable_id] = max(free, default=0)
    return axes


def _constant(node: Any) -> bool:
    """Whether a node is numbers of the graph's own, which files may keep in half precision."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant"


def _narrow(graph: Any) -> None:
    """Pick, before the head, the tokens that the new input `WANTED`, i64[n], lists; leave the graph
    as it is where no head is found."""
    ov, ops = openvino(), openvino("openvino.opset13")
    node = graph.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() in _AFTER_HEAD:
        before = [node.input_value(at).get_node() for at in range(len(node.inputs()))]
        ahead = [one for one in before if not _constant(one)]
        if len(ahead) != 1:
            return
        node = ahead[0]
    if node.get_type_name() != "MatMul" or len(node.input_value(0).get_partial_shape()) != 3:
        return
    wanted = ops.parameter(ov.PartialShape([-1]), ov.Type.i64, name=WANTED)
    wanted.output(0).get_tensor().set_names({WANTED})
    picked = ops.gather(node.input_value(0), wanted, ops.constant(1, ov.Type.i64))
    node.input(0).replace_source_output(picked.output(0))
    graph.add_parameters([wanted])
    graph.validate_nodes_and_infer_types()
