"""An ONNX graph with int8 weights, in which a text's answer does not depend on the texts beside it.

Dynamic quantisation as ONNX Runtime's `quantize_dynamic` does it has one scale for all activations of a batch, so that
neighbours and padding change a text's answer. Here each token has a scale of its own, and integer sums are exact. What
is left is rounding in fp32: where it differs between two batches, an activation can be rounded to another integer, and
every layer makes more of that. So all that comes before an integer product must be the same to the last bit:

- A softmax adds up in an order that depends on the padded length: here it adds whole numbers, whose sum fp32 holds.
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
# Steps of a softmax's largest exponential: 512 times as many are 2²⁴, as far as fp32 counts one by one. The int8
# products around it are coarser by far.
EXPONENTIALS = 2**15

Tokens = tuple[ir.Value, ir.Value, ir.Value]  # see `_Build._quantised`


def quantise(model: ir.Model) -> None:
    """Put int8 weights into the matrix products and embeddings, in place; the output layer, a Gemm, stays as it is."""
    graph = model.graph
    tokens: dict[ir.Value, Tokens] = {}  # several products read the same activations
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
        """Of exponentials that are rounded to multiples of 1/`EXPONENTIALS`: their sum is exact in any order."""
        scores, axis = self.given[0], self.node.attributes.get_int("axis", -1)
        along = self._constant(np.array([axis]), f"softmax_axis_{axis}")
        below = self._op("Sub", [scores, self._op("ReduceMax", [scores, along])])
        steps = self._constant(np.array(EXPONENTIALS, np.float32), "exponentials")
        shares = self._op("Round", [self._op("Mul", [self._op("Exp", [below]), steps])])
        self._replace(self._op("Div", [shares, self._op("ReduceSum", [shares, along])]))

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

    def integer_product(self, weights: np.ndarray, tokens: dict[ir.Value, Tokens]) -> None:
        """With x = scale · q + least for each token, x · W + b = scale · (q · W) + (least, 1) · (W's column sums, b).

        The passes over what comes of the integers take as long as their product: there are as few as possible.
        """
        given = self.given[0]
        if given not in tokens:
            tokens[given] = self._quantised(given, len(weights))
        integers, scale, least_and_one = tokens[given]
        parts, sums = [], np.zeros(weights.shape[1])
        for matrix, scales in int8_columns(weights):
            product = self._op("MatMulInteger", [integers, self._constant(matrix)])
            scaled = self._op("DequantizeLinear", [product, scale], axis=0)
            parts.append(self._op("Mul", [scaled, self._constant(scales)]))
            sums += matrix.sum(axis=0, dtype=np.int64) * scales.astype(np.float64)
        last, bias = self._with_bias()
        added = self._constant(np.stack([sums, np.zeros_like(sums) if bias is None else bias]).astype(np.float32))
        rows = self._op("Gemm", [least_and_one, added, self._sum(parts)])
        shape = self._op("Concat", [self._op("Shape", [given], end=-1), self._sizes(weights.shape[1])], axis=0)
        self._replace(self._op("Reshape", [rows, shape]), last)

    def _with_bias(self) -> tuple[ir.Node, np.ndarray | None]:
        """The node that adds a bias to what this one computes, and that bias; where there is none, this node."""
        uses = list(self.node.outputs[0].uses())
        if len(uses) == 1 and uses[0].node.op_type == "Add":
            other = uses[0].node.inputs[1 - uses[0].idx]
            if other is not None and other.const_value is not None and len(other.const_value.shape) == 1:
                return uses[0].node, other.const_value.numpy()
        return self.node, None

    def _quantised(self, value: ir.Value, units: int) -> Tokens:
        """Of a value of shape (texts, tokens, units), a row for each token of each text: its units as uint8, its scale,
        of shape (rows,), and its least unit beside a one, of shape (rows, 2)."""
        last = self._constant(np.array([-1]), "last_axis")
        rows = self._op("Reshape", [value, self._constant(np.array([-1, units]), f"rows_of_{units}")])
        least = self._op("ReduceMin", [rows, last])
        span = self._op("Sub", [self._op("ReduceMax", [rows, last]), least])
        scale = self._op("Mul", [span, self._constant(np.array(1 / 255, np.float32), "per_step")])
        scale = self._op("Max", [scale, self._constant(np.array(1e-12, np.float32), "least_scale")])
        scale = self._op("Reshape", [scale, last])
        integers = self._op("QuantizeLinear", [self._op("Sub", [rows, least]), scale], axis=0)
        one = [self._constant(np.array([0, 0, 0, 1]), "one_more"), self._constant(np.array(1, np.float32), "one")]
        return integers, scale, self._op("Pad", [least, *one])

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

    def _sizes(self, *sizes: int) -> ir.Value:
        return self._constant(np.array(sizes), f"sizes_{sizes}")

    def _replace(self, output: ir.Value, last: ir.Node | None = None) -> None:
        """Put `output` in the place of the node's, or of that of `last`, which alone reads the node."""
        before = (last or self.node).outputs[0]
        output.shape, output.type = before.shape, before.type
        ir.convenience.replace_all_uses_with(before, output, replace_graph_outputs=True)
        output.name, before.name = before.name, None
        if last and last is not self.node:
            self.graph.remove(last, safe=True)
        self.graph.remove(self.node, safe=True)
