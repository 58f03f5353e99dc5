"""The exported graph's last layer: computed for the token that is read, and for all where all are."""

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import encoder_configs
from onnxscript import ir
from transformers import AutoModelForSequenceClassification

from utils.publishing.first_token import compute_first_token_only

LAYERS = 2
BATCH, LENGTH = 3, 11


def export(config):
    """A model with large random weights, and its exported graph."""
    torch.manual_seed(0)
    config.num_labels = 28
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    ids = torch.randint(5, 800, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    shapes = {name: {0: "batch", 1: "sequence"} for name in inputs}
    program = torch.onnx.export(model, kwargs=inputs, input_names=list(inputs), dynamic_shapes=shapes, verbose=False)
    return model, program


def sizes(program, tmp_path, batch):
    """The logits for a batch, and how many numbers each operation with weights gets."""
    graph = program.model.graph
    seen = [n.inputs[0] for n in graph if n.op_type in ("MatMul", "LayerNormalization") and n.inputs[0].producer()]
    graph.outputs.extend(value for value in dict.fromkeys(seen) if not value.is_graph_output())
    program.save(tmp_path / "model.onnx")
    names = [output.name for output in graph.outputs]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    logits, *others = session.run(names, {item.name: batch[item.name] for item in session.get_inputs()})
    return logits, [array.size for array in others]


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    mask = np.arange(LENGTH) < np.array([[LENGTH], [4], [1]])
    return {
        "input_ids": random.integers(5, 800, (BATCH, LENGTH)),
        "attention_mask": mask.astype(np.int64),
    }


@pytest.mark.parametrize("kind", ["bert", "mpnet", "deberta-v2", "modernbert"])  # each has attention of its own
def test_the_last_layer_is_computed_for_the_token_that_is_read(kind, batch, tmp_path):
    config, _ = encoder_configs()[kind]
    config.num_hidden_layers = LAYERS
    if kind == "modernbert":
        config.layer_types = ["full_attention", "sliding_attention"]
    model, program = export(config)
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
    moved = compute_first_token_only(program.model)
    logits, numbers = sizes(program, tmp_path, batch)
    assert moved > 10
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)
    feed_forward = 28 * BATCH  # numbers a token between the two halves of a layer's feed-forward network
    assert numbers.count(feed_forward * LENGTH) >= 1  # the first layer, for all tokens
    assert feed_forward in numbers  # the last, for one


def test_a_model_that_averages_over_tokens_stays_as_it_is(batch, tmp_path):
    config, _ = encoder_configs()["modernbert"]
    config.classifier_pooling = "mean"
    _, program = export(config)
    before = [node.op_type for node in program.model.graph]
    assert compute_first_token_only(program.model) == 0
    assert [node.op_type for node in program.model.graph] == before


def test_what_is_an_output_too_is_left_whole():
    """A hidden state that the graph hands out is needed for every token."""
    hidden = ir.Value(name="hidden", shape=ir.Shape(["batch", "sequence", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    tanh = ir.node("Tanh", [hidden])
    tanh.outputs[0].shape = hidden.shape
    zero = ir.Value(name="zero", shape=ir.Shape([]), const_value=ir.tensor(0, name="zero"))
    first = ir.node("Gather", [tanh.outputs[0], zero], attributes={"axis": 1})
    outputs = [first.outputs[0], tanh.outputs[0]]
    graph = ir.Graph([hidden], outputs, nodes=[tanh, first], initializers=[zero], opset_imports={"": 18})
    assert compute_first_token_only(ir.Model(graph, ir_version=10)) == 0
    assert first.inputs[0] is tanh.outputs[0]
