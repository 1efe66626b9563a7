"""Count the parameters of networks that are specific to the source task, beside the figures of the Co-Tuning slides.

Only architectures are needed: nothing is downloaded.
"""

import csv

import torch
from torch import nn
from torchvision import models

from cotune_bench.cli.parser import Parser
from cotune_bench.config import PACKAGE

PUBLISHED = PACKAGE / "paper" / "parameter_shares.csv"
NETWORKS = ("resnet50", "densenet121", "inception_v3")

# BERT-base, cased, as published (Devlin et al., 2019)
VOCABULARY, POSITIONS, SEGMENTS, WIDTH, FEED_FORWARD, LAYERS = 28_996, 512, 2, 768, 3_072, 12

NOTES = """\
What counts
  vision       task-specific = the ImageNet classifier: width x 1000 weights and 1000 biases. Total = the network.
  bert_base    BERT-base cased. Task-specific = the masked-word head: a {width} x {width} layer, its normalisation and
               a scorer of the {vocabulary:,} words. Total = embeddings, {layers} layers, pooler and that head; the
               scorer shares its weights with the word embedding, which are counted once.
               The word embedding alone has {embedding:.1f} M; with the uncased vocabulary of 30,522 words the head
               would have {uncased:.1f} M, which is not the slides' figure.
Differences
  shares       the slides divide figures already rounded to 0.1 M (2.0/25.6 = 7.8 %): the exact shares of the vision
               networks are up to {gap:.1f} points higher. All counts in millions agree with the slides to 0.1 M.
  inception_v3 its total includes the auxiliary classifier ({auxiliary:.1f} M), which the backbone here leaves out:
               {trunk:.1f} M are left, of which the classifier is {trunk_share:.1f} %."""


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def network(name: str) -> nn.Module:
    """A network of torchvision without memory for its weights."""
    with torch.device("meta"):
        return models.get_model(name, weights=None, **({"init_weights": False} if name == "inception_v3" else {}))


def linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer with bias."""
    return (inputs + 1) * outputs


def bert_head(vocabulary: int) -> int:
    """Parameters of BERT's masked-word head: linear layer, normalisation, scorer of all words."""
    return linear(WIDTH, WIDTH) + 2 * WIDTH + linear(WIDTH, vocabulary)


def bert_total() -> int:
    """Parameters of BERT with its masked-word head."""
    embeddings = (VOCABULARY + POSITIONS + SEGMENTS) * WIDTH + 2 * WIDTH
    attention = 4 * linear(WIDTH, WIDTH) + 2 * WIDTH
    feed_forward = linear(WIDTH, FEED_FORWARD) + linear(FEED_FORWARD, WIDTH) + 2 * WIDTH
    pooler = linear(WIDTH, WIDTH)
    shared = VOCABULARY * WIDTH  # of the word embedding and the head's scorer
    return embeddings + LAYERS * (attention + feed_forward) + pooler + bert_head(VOCABULARY) - shared


def main(arguments: list[str]) -> int:
    """Print counts, published figures and what explains the differences."""
    Parser("parameter-shares", __doc__).read(arguments)
    networks = {name: network(name) for name in NETWORKS}
    counts = {name: (count(list(net.children())[-1]), count(net)) for name, net in networks.items()}
    counts["bert_base"] = (bert_head(VOCABULARY), bert_total())
    with PUBLISHED.open(newline="") as file:
        published = {row["model"]: row for row in csv.DictReader(file)}

    print(f"{'':13}{'counted':^45}{'Co-Tuning slides':^26}")
    print(f"{'model':13}{'task-specific':>15}{'total':>15}{'share':>10}     {'specific':>8}{'total':>9}{'share':>8}")
    for name, (specific, total) in counts.items():
        row = published[name]
        print(
            f"{name:13}{specific:15,}{total:15,}{specific / total:10.1%}     {row['task_specific_params_m']:>6} M"
            f"{row['total_params_m']:>7} M{row['percent']:>6} %"
        )

    specific, total = counts["inception_v3"]
    auxiliary = count(networks["inception_v3"].get_submodule("AuxLogits"))
    gap = max(100 * counts[name][0] / counts[name][1] - float(published[name]["percent"]) for name in NETWORKS)
    print()
    print(
        NOTES.format(
            width=WIDTH,
            vocabulary=VOCABULARY,
            layers=LAYERS,
            embedding=VOCABULARY * WIDTH / 1e6,
            uncased=bert_head(30_522) / 1e6,
            gap=gap,
            auxiliary=auxiliary / 1e6,
            trunk=(total - auxiliary) / 1e6,
            trunk_share=100 * specific / (total - auxiliary),
        )
    )
    return 0
