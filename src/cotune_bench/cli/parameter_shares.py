"""Count the parameters of networks that are specific to the source task, beside the figures of the Co-Tuning slides.

Only architectures are needed: nothing is downloaded.
"""

import pandas as pd
import torch
from torch import nn
from torchvision import models

from cotune_bench.cli.parser import Parser
from cotune_bench.config import PACKAGE

NETWORKS = ("resnet50", "densenet121", "inception_v3")
# BERT-base, cased, as published (Devlin et al., 2019)
VOCABULARY, POSITIONS, SEGMENTS, WIDTH, FEED_FORWARD, LAYERS = 28_996, 512, 2, 768, 3_072, 12

NOTES = """
What counts
  vision       task-specific = the ImageNet classifier: width x 1000 weights and 1000 biases. Total = the network.
  bert_base    BERT-base cased. Task-specific = the masked-word head: a 768 x 768 layer, its normalisation and a
               scorer of the 28,996 words. Total = embeddings, 12 layers, pooler and that head; the scorer shares its
               weights with the word embedding, which are counted once.
               The word embedding alone has 22.3 M; with the uncased vocabulary of 30,522 words the head would have
               24.1 M, which is not the slides' figure.
Differences
  shares       the slides divide figures already rounded to 0.1 M (2.0/25.6 = 7.8 %): the exact shares of the vision
               networks are up to 0.3 points higher. All counts in millions agree with the slides to 0.1 M.
  inception_v3 its total includes the auxiliary classifier (3.3 M), which the backbone here leaves out: 23.8 M are
               left, of which the classifier is 8.6 %."""


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def vision_counts(name: str) -> tuple[int, int]:
    """Parameters of the classifier and of all of a network of torchvision, without memory for its weights."""
    with torch.device("meta"):
        network = models.get_model(name, weights=None, **({"init_weights": False} if name == "inception_v3" else {}))
    return count(list(network.children())[-1]), count(network)


def bert_counts() -> tuple[int, int]:
    """Parameters of BERT's masked-word head (linear layer, normalisation, scorer of all words), and of all of it."""

    def linear(inputs: int, outputs: int) -> int:
        return (inputs + 1) * outputs

    head = linear(WIDTH, WIDTH) + 2 * WIDTH + linear(WIDTH, VOCABULARY)
    embeddings = (VOCABULARY + POSITIONS + SEGMENTS) * WIDTH + 2 * WIDTH
    attention = 4 * linear(WIDTH, WIDTH) + 2 * WIDTH
    feed_forward = linear(WIDTH, FEED_FORWARD) + linear(FEED_FORWARD, WIDTH) + 2 * WIDTH
    pooler = linear(WIDTH, WIDTH)
    shared = VOCABULARY * WIDTH  # of the word embedding and the head's scorer
    return head, embeddings + LAYERS * (attention + feed_forward) + pooler + head - shared


def main(arguments: list[str]) -> int:
    """Print counts, published figures and what explains the differences."""
    Parser("parameter-shares", __doc__).read(arguments)
    counts = {**{name: vision_counts(name) for name in NETWORKS}, "bert_base": bert_counts()}
    published = pd.read_csv(PACKAGE / "paper" / "parameter_shares.csv").set_index("model")
    print(f"{'':13}{'counted':^45}{'Co-Tuning slides':^26}")
    print(f"{'model':13}{'task-specific':>15}{'total':>15}{'share':>10}     {'specific':>8}{'total':>9}{'share':>8}")
    for name, (specific, total) in counts.items():
        millions, of, percent = published.loc[name]
        slides = f"{millions:6} M{of:7} M{percent:6} %"
        print(f"{name:13}{specific:15,}{total:15,}{specific / total:10.1%}     {slides}")
    print(NOTES)
    return 0
