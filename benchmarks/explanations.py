"""Ways to say which words moved a label, side by side: how faithful they are to the model, and what they cost.

    python -m benchmarks.explanations outputs/minilm [--comments 400]

On comments of 5 to 30 words drawn from GoEmotions' validation split (GOEMOTIONS_DIR names a local copy; otherwise the
Hub's), for the label with the highest probability. Faithfulness as in ERASER (DeYoung et al., ACL 2020): the words with
the largest contributions, 10, 20 and 50 % of them (at least one), are left out of the text, and the fall of the label's
probability is the comprehensiveness (higher is better); or they alone are kept, and the fall is the sufficiency (lower
is better). Both are means over the three shares and over comments, with 95 % bootstrap intervals over comments; the
differences from leaving one word out are paired.

Cost is the time for which the core worked, one thread, over that of predicting the same comments. Integrated gradients
are captum's, over the word embeddings from padding, and a word has the sum of its pieces; for encoders alone. Shapley
values are sampled: words are put back in random orders, one at a time.
"""

import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.special import logit

from utils.arguments import HUB_DATASET, DataArguments
from utils.command_line import plain_parser
from utils.console import one_sentence_errors
from utils.data.splits import load_splits
from utils.evaluation.report import markdown_table
from utils.explaining.attributions import attributions
from utils.explaining.words import with_words, words_of
from utils.model.classifiers import Classifier, EncoderClassifier, load_classifier
from utils.run_folder import RunFolder

SHARES = (0.1, 0.2, 0.5)
SHORTEST, LONGEST = 5, 30  # words
RESAMPLES = 2000
STEPS = 20  # of integrated gradients; 50 give the same to a thousandth
ORDERS = 1, 8  # of the words, for Shapley values

# Classifier, comments and the index of each one's label → the contribution of each word of each comment.
Method = Callable[[Classifier, list[str], np.ndarray], list[np.ndarray]]


def as_published(classifier: Classifier, texts: list[str], labels: np.ndarray) -> list[np.ndarray]:
    """What run_inference.py --explain does."""
    return [
        found.contributions[:, label]
        for found, label in zip(attributions(classifier, texts), labels, strict=True)
    ]  # fmt: skip


def at_random(classifier: Classifier, texts: list[str], labels: np.ndarray) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random(len(words_of(text))) for text in texts]


def shapley(permutations: int, classifier: Classifier, texts: list[str], labels: np.ndarray) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    found = []
    for text, label in zip(texts, labels, strict=True):
        words = words_of(text)
        orders = [generator.permutation(len(words)) for _ in range(permutations)]
        variants = [
            with_words(text, words, sorted(order[:count])) for order in orders for count in range(len(words) + 1)
        ]
        answers = np.clip(classifier.predict(variants)[:, label].astype(np.float64), 1e-7, 1 - 1e-7)
        steps = np.diff(logit(answers).reshape(permutations, -1), axis=1)
        total = np.zeros(len(words))
        for order, step in zip(orders, steps, strict=True):
            total[order] += step / permutations
        found.append(total)
    return found


def integrated_gradients(steps: int, classifier: Classifier, texts: list[str], labels: np.ndarray) -> list[np.ndarray]:
    from captum.attr import LayerIntegratedGradients

    assert isinstance(classifier, EncoderClassifier)
    model, tokenizer = classifier.model, classifier.tokenizer
    method = LayerIntegratedGradients(lambda ids: model(input_ids=ids).logits, model.get_input_embeddings())
    found = []
    for text, label in zip(texts, labels, strict=True):
        encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, truncation=True)
        ids, special = torch.tensor([encoded["input_ids"]]), torch.tensor([encoded["special_tokens_mask"]]).bool()
        nothing = torch.where(special, ids, tokenizer.pad_token_id)
        values = method.attribute(ids, nothing, target=int(label), n_steps=steps).sum(dim=-1)[0].detach().numpy()
        words = words_of(text)
        contributions = np.zeros(len(words))
        for value, (start, end) in zip(values, encoded["offset_mapping"], strict=True):
            for index, word in enumerate(words):
                if start < min(end, word.end) and start >= word.start:
                    contributions[index] += value
        found.append(contributions)
    return found


def faithfulness(
    classifier: Classifier, texts: list[str], labels: np.ndarray, contributions: list[np.ndarray]
) -> np.ndarray:
    """Comprehensiveness and sufficiency of each comment, shape (comments, 2)."""
    variants = []
    for text, values in zip(texts, contributions, strict=True):
        words, order = words_of(text), np.argsort(-values, kind="stable")
        for share in SHARES:
            count = max(1, round(share * len(words)))
            variants += [with_words(text, words, sorted(order[count:])), with_words(text, words, sorted(order[:count]))]
    whole = classifier.predict(texts)[np.arange(len(texts)), labels]
    answers = classifier.predict(variants)[np.arange(len(variants)), np.repeat(labels, 2 * len(SHARES))]
    return whole[:, None] - answers.reshape(len(texts), len(SHARES), 2).mean(axis=1)


def interval(values: np.ndarray) -> str:
    """A mean with its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "−")


def main(run: RunFolder, comments: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    classifier, _ = load_classifier(run.path)
    texts = list(load_splits(DataArguments(os.environ.get("GOEMOTIONS_DIR") or HUB_DATASET))["validation"]["text"])
    texts = [text for text in texts if SHORTEST <= len(words_of(text)) <= LONGEST]
    texts = [texts[index] for index in np.random.default_rng(0).permutation(len(texts))[:comments]]
    labels = classifier.predict(texts).argmax(axis=1)
    methods: dict[str, Method] = {"at random": at_random}
    if isinstance(classifier, EncoderClassifier):
        methods |= {"**one word left out**": as_published}
        methods |= {f"integrated gradients, {STEPS} steps": partial(integrated_gradients, STEPS)}
    else:
        methods |= {"**coefficients**": as_published}
    methods |= {f"Shapley values, {number} order{'s'[: number - 1]}": partial(shapley, number) for number in ORDERS}

    started = time.process_time()
    for _ in range(3):
        classifier.predict(texts)
    predicting = (time.process_time() - started) / 3
    found, costs = {}, {}
    for name, method in methods.items():
        started = time.process_time()
        contributions = method(classifier, texts, labels)
        costs[name] = (time.process_time() - started) / predicting
        found[name] = faithfulness(classifier, texts, labels, contributions)
    ours = next(name for name in methods if name.startswith("**"))
    lines = [
        [name, interval(values[:, 0]), interval(values[:, 1]),
         *(("–", "–") if name == ours else map(interval, (values - found[ours]).T)),
         "–" if name == "at random" else f"{costs[name]:.0f}"]
        for name, values in found.items()
    ]  # fmt: skip
    header = ["method", "comprehensiveness", "sufficiency", f"against {ours.strip('*')}", "the same, sufficiency",
              "× predicting"]  # fmt: skip
    mean = np.mean([len(words_of(text)) for text in texts])
    print(f"{len(texts):,} validation comments, {mean:.1f} words on average\n\n{markdown_table(header, lines)}")


if __name__ == "__main__":
    parser = plain_parser(__doc__)
    parser.add_argument("run", type=RunFolder, metavar="OUTPUT_DIR")
    parser.add_argument("--comments", type=int, default=400)
    with one_sentence_errors():
        main(**vars(parser.parse_args()))
