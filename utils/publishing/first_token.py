"""In an ONNX graph, compute of the last layer only what the classifier reads: its first token.

A classifier on the first token reads one row of the last layer's output, and the exported graph computes a row for
every token. Queries, feed-forward and normalisations treat the tokens apart from one another, so that the choice of the
first can be moved up through them, as far as the keys and values, which need all tokens. The result is the same in
fp32; the int8 file computes what is left of the last layer in fp32 (see `quantisation`). docs/speed.md has what it
gains.
"""

import numpy as np
from onnxscript import ir

PER_ELEMENT = {
    "Add", "Sub", "Mul", "Div", "Neg", "Pow", "Sqrt", "Erf", "Gelu", "Relu", "Tanh", "Sigmoid", "Cast", "Where",
}  # fmt: skip
ALONG_A_LATER_AXIS = {"Softmax", "LayerNormalization", "Split", "Concat"}  # their own one, that is


def compute_first_token_only(model: ir.Model) -> int:
    """Move the choice of the first token up, in place; returns how many operations compute one token from now on.

    A model that reads all tokens at the end (by averaging over them, say) stays as it is.
    """
    # (node, index of an input): the axis along which the node reads that input's first entry alone
    read: dict[tuple[ir.Node, int], int] = {}
    moved: list[ir.Node] = []  # in a fixed order: the same model gives the same file
    for node in reversed(list(model.graph)):
        if node.op_type == "Gather" and (rank := _rank(node.inputs[0])) is not None and _is_zero(node.inputs[1]):
            read[node, 0] = node.attributes.get_int("axis", 0) % rank
        elif not any(output.is_graph_output() for output in node.outputs):
            wanted = {read.get(use) for output in node.outputs for use in output.uses()}
            axis = wanted.pop() if len(wanted) == 1 else None
            inputs = None if axis is None else _inputs(node, axis)
            if inputs is not None:
                moved.append(node)
                read.update({(node, index): along for index, along in inputs.items()})
    firsts: dict[tuple[ir.Value, int], ir.Value] = {}
    for (node, index), axis in read.items():
        value = node.inputs[index]
        if value is not None and node in moved and value.producer() not in moved:
            if (value, axis) not in firsts:
                firsts[value, axis] = _first(model.graph, value, axis)
            node.replace_input_with(index, firsts[value, axis])
    for node in moved:
        for output in node.outputs:
            for use in output.uses():
                output.shape = _shape_of_first(output, read[use])
        if node.op_type == "Reshape":
            node.attributes["allowzero"] = ir.AttrInt64("allowzero", 0)  # a 0 in the shape: as in the input
            sizes = [
                0,
                *(size for size in _shape(node.outputs[0])[1:] if isinstance(size, int)),
            ]  # all are: see _inputs
            node.replace_input_with(1, _constant(model.graph, f"{node.outputs[0].name}_shape", sizes))
    return len(moved)


def _inputs(node: ir.Node, axis: int) -> dict[int, int] | None:
    """Which inputs, by index, the first entry of a node's output along an axis needs the first entry of, and along
    which axis of theirs; None where it needs more."""
    output, given = node.outputs[0], [value for value in node.inputs if value is not None]
    rank = _rank(output)
    if rank is None or any(value.shape is None for value in given):
        return None
    if node.op_type == "Slice":
        others = node.inputs[3].const_value if len(node.inputs) > 3 and node.inputs[3] is not None else None
        return None if others is None or axis in others.numpy() % rank else {0: axis}
    if node.op_type in PER_ELEMENT or (node.op_type in ALONG_A_LATER_AXIS and axis < _axis(node) % rank):
        shapes = {i: _shape(value) for i, value in enumerate(node.inputs) if value is not None}
        own = {i: axis - rank + len(shape) for i, shape in shapes.items()}
        return {i: along for i, along in own.items() if along >= 0 and shapes[i][along] != 1}
    if node.op_type == "MatMul" and axis == rank - 2 and _rank(given[0]) == rank:
        return {0: axis}
    if node.op_type == "Transpose":
        return {0: node.attributes.get_ints("perm", range(rank)[::-1])[axis]}
    if node.op_type == "Reshape" and axis == 1 and all(isinstance(size, int) for size in _shape(output)[2:]):
        before, after = _shape(given[0])[:2], _shape(output)[:2]
        if all(b == a and getattr(a, "value", a) is not None for b, a in zip(before, after, strict=True)):
            return {0: 1}
    return None


def _axis(node: ir.Node) -> int:
    """The axis along which an operation works; its default differs from one to the next."""
    return node.attributes.get_int("axis", 0 if node.op_type == "Split" else -1)


def _shape(value: ir.Value | None) -> list[int | ir.SymbolicDim]:
    """The sizes along a value's axes; for values that have a shape."""
    return [] if value is None or value.shape is None else list(value.shape)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _is_zero(value: ir.Value | None) -> bool:
    constant = None if value is None else value.const_value
    return constant is not None and constant.size == 1 and not constant.numpy().any()


def _first(graph: ir.Graph, value: ir.Value, axis: int) -> ir.Value:
    """The first entry of a value along an axis, which stays."""
    bounds = [_constant(graph, f"{value.name}_{name}_{axis}", [at]) for name, at in (("from", 0), ("to", 1))]
    node = ir.node("Slice", [value, *bounds, _constant(graph, f"{value.name}_axis_{axis}", [axis])])
    output = node.outputs[0]
    output.name = f"{value.name}_first_{axis}"
    if value.dtype is not None:
        output.dtype = value.dtype
    output.shape = _shape_of_first(value, axis)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    return output


def _shape_of_first(value: ir.Value, axis: int) -> ir.Shape:
    return ir.Shape([1 if i == axis else size for i, size in enumerate(_shape(value))])


def _constant(graph: ir.Graph, name: str, numbers: list[int]) -> ir.Value:
    tensor = ir.tensor(np.array(numbers, dtype=np.int64), name=name)
    value = ir.Value(name=name, shape=ir.Shape([len(numbers)]), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value
