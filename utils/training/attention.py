"""Which implementation of attention trains fastest."""

from transformers import TrainerCallback

EAGER_UP_TO = 128  # tokens; benchmarks/attention.py


class EagerWhileTraining(TrainerCallback):
    """On a CPU, attention is computed step by step instead of by PyTorch's SDPA, as long as texts are short.

    With dropout, SDPA has no kernel of its own on CPUs and does the same steps less directly. Only SDPA, which is what
    a model has if nobody has chosen, is replaced, and it returns when the training is over.
    """

    def __init__(self):
        self.replaced = False

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        wanted = args.device.type == "cpu" and args.max_seq_length <= EAGER_UP_TO
        self.replaced = wanted and model.config._attn_implementation == "sdpa"
        if self.replaced:
            model.set_attn_implementation("eager")

    def on_train_end(self, args, state, control, model=None, **kwargs):
        if self.replaced:
            model.set_attn_implementation("sdpa")
