"""An ONNX graph with int8 weights, in which a text's answer does not depend on the texts beside it.

Dynamic quantisation as ONNX Runtime's `quantize_dynamic` does it has one scale for all activations of a batch, so that
neighbours and padding change a text's answer. Here each token has a scale of its own, and integer sums are exact. What
is left is rounding in fp32: where it differs between two batches, an activation can be rounded to another integer, and
every layer makes more of that. So all that comes before an integer product must be the same to the last bit:

- The softmax adds up in an order that depends on the padded length: it is computed in double precision.
- In the last layer only the first token is computed (see `first_token`), by products of one row, whose order depends on
  the length as well. Its products, as those of the head, are computed in fp32, with the same int8 weights.

All operations are ONNX's own, for runtimes that know no others.
"""

import numpy as np
from onnxscript import ir

MIN_TABLE = 10_000  # numbers in an embedding; of smaller ones, int8 saves nothing
# Share of a matrix (Frobenius norm) that int8 may lose; a normally distributed one loses 0.8 to 1 %. The loss is larger
# where a few weights are far above all others, and such a matrix gets a second one in int8 for what the first has lost.
MAX_LOSS = 0.02
# CPUs without VNNI add two neighbouring products in 16 bits: 255 · (127 + 1) fits, the 1 being for rounding.
MAX_SUM_OF_PAIR = 127


def quantise(model: ir.Model) -> None:
    """Put int8 weights into the matrix products and embeddings, in place; the output layer, a Gemm, stays as it is."""
    graph = model.graph
    tokens: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}  # several products read the same activations
    for node in list(graph):
        weights = _weights(node)
        build = _Build(graph, node)
        if node.op_type == "Softmax":
            build.softmax()
        elif weights is None:
            continue
        elif node.op_type == "Gather":
            if weights.size >= MIN_TABLE and node.attributes.get_int("axis", 0) == 0:
                build.embedding(weights)
        elif _is_one_row_per_token(node.inputs[0]):
            build.integer_product(weights, tokens)
        else:
            build.product(weights)
    ir.passes.common.RemoveUnusedNodesPass()(model)


def _weights(node: ir.Node) -> np.ndarray | None:
    """The matrix in fp32 that an embedding or a matrix product brings along; None for other nodes."""
    place = {"Gather": 0, "MatMul": 1}.get(node.op_type)
    value = None if place is None else node.inputs[place]
    constant = None if value is None else value.const_value
    if constant is None or constant.dtype != ir.DataType.FLOAT or len(constant.shape) != 2:
        return None
    return constant.numpy()


def _is_one_row_per_token(value: ir.Value | None) -> bool:
    """Whether these are activations of all tokens: shape (texts, tokens, units), neither number known."""
    return (
        value is not None and value.shape is not None and len(value.shape) == 3 and not isinstance(value.shape[1], int)
    )


def int8_columns(weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Matrices in int8 and the scales of their columns, of shape (inputs, outputs) and (outputs,): one, or two whose
    sum is nearer to `weights`."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    left = weights.astype(np.float64)
    while not found or (len(found) == 1 and np.linalg.norm(left) > MAX_LOSS * np.linalg.norm(weights)):
        padded = np.pad(left, ((0, len(left) % 2), (0, 0)))
        largest = np.maximum(np.abs(left).max(axis=0), np.abs(padded[::2] + padded[1::2]).max(axis=0))
        scales = (np.where(largest, largest, 1) / MAX_SUM_OF_PAIR).astype(np.float32)
        integers = np.rint(left / scales).astype(np.int8)
        found.append((integers, scales))
        left = left - integers * scales.astype(np.float64)
    return found


class _Build:
    """What takes the place of a node: each method writes it before the node and hands over the node's output."""

    def __init__(self, graph: ir.Graph, node: ir.Node):
        self.graph, self.node = graph, node
        self.given = [value for value in node.inputs if value is not None]

    def softmax(self) -> None:
        double = self._op("Cast", [self.given[0]], to=ir.DataType.DOUBLE)
        shares = self._op("Softmax", [double], axis=self.node.attributes.get_int("axis", -1))
        self._replace(self._op("Cast", [shares], to=ir.DataType.FLOAT))

    def embedding(self, table: np.ndarray) -> None:
        largest = np.abs(table).max(axis=1, keepdims=True)
        scales = (np.where(largest, largest, 1) / 127).astype(np.float32)
        integers, ids = np.rint(table / scales).astype(np.int8), self.given[1]
        rows = self._op("Cast", [self._op("Gather", [self._constant(integers), ids])], to=ir.DataType.FLOAT)
        self._replace(self._op("Mul", [rows, self._op("Gather", [self._constant(scales), ids])]))

    def product(self, weights: np.ndarray) -> None:
        """In fp32: runtimes multiply integers and scales once, when they load the model."""
        parts = [
            self._op(
                "Mul", [self._op("Cast", [self._constant(integers)], to=ir.DataType.FLOAT), self._constant(scales)]
            )
            for integers, scales in int8_columns(weights)
        ]
        self._replace(self._op("MatMul", [self.given[0], self._sum(parts)]))

    def integer_product(self, weights: np.ndarray, tokens: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]]) -> None:
        """x = least + scale · q for each token, so that x · W = scale · q · W + least · (sums of W's columns)."""
        given = self.given[0]
        if given not in tokens:
            tokens[given] = self._quantised(given, len(weights))
        integers, scale, least = tokens[given]
        parts = []
        for matrix, scales in int8_columns(weights):
            product = self._op(
                "Cast", [self._op("MatMulInteger", [integers, self._constant(matrix)])], to=ir.DataType.FLOAT
            )
            product = self._op("Mul", [self._op("Mul", [product, self._constant(scales)]), scale])
            sums = (matrix.sum(axis=0, dtype=np.int64) * scales.astype(np.float64)).astype(np.float32)
            parts.append(self._op("Add", [product, self._op("Mul", [least, self._constant(sums)])]))
        self._replace(self._sum(parts))

    def _quantised(self, value: ir.Value, units: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """A token's units as uint8, and its scale and least unit, of shape (texts, tokens, 1)."""
        last = self._constant(np.array([-1]), "last_axis")
        least = self._op("ReduceMin", [value, last])
        span = self._op("Sub", [self._op("ReduceMax", [value, last]), least])
        scale = self._op("Mul", [span, self._constant(np.array(1 / 255, np.float32), "per_step")])
        scale = self._op("Max", [scale, self._constant(np.array(1e-12, np.float32), "least_scale")])
        # QuantizeLinear takes a scale for each row of a matrix.
        rows = self._op(
            "Reshape", [self._op("Sub", [value, least]), self._constant(np.array([-1, units]), f"rows_of_{units}")]
        )
        integers = self._op("QuantizeLinear", [rows, self._op("Reshape", [scale, last])], axis=0)
        return self._op("Reshape", [integers, self._op("Shape", [value])]), scale, least

    def _sum(self, parts: list[ir.Value]) -> ir.Value:
        return parts[0] if len(parts) == 1 else self._op("Add", parts)

    def _op(self, kind: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        made = ir.node(kind, inputs, attributes)
        self.graph.insert_before(self.node, made)
        return made.outputs[0]

    def _constant(self, numbers: np.ndarray, name: str | None = None) -> ir.Value:
        name = name or f"int8_{len(self.graph.initializers)}"
        if name not in self.graph.initializers:
            tensor = ir.tensor(numbers, name=name)
            value = ir.Value(
                name=name, shape=ir.Shape(numbers.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def _replace(self, output: ir.Value) -> None:
        before = self.node.outputs[0]
        output.shape, output.type = before.shape, before.type
        ir.convenience.replace_all_uses_with(before, output, replace_graph_outputs=True)
        output.name, before.name = before.name, None
        self.graph.remove(self.node, safe=True)
