"""Rank pre-trained backbones for a data set before any training, by scores of their features and source classes.

One pass of each training image through each backbone, kept in the cache. Higher is better in every column; each is a
guess about fine-tuned accuracy. LEEP and NCE use source classes and compare backbones of the same ones.
Where records of fine-tuning exist, their mean accuracy stands beside, with each score's rank correlation to it.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy.stats import kendalltau

from cotune_bench.cli.parser import Parser
from cotune_bench.config import compose_config
from cotune_bench.config.overrides import path_override
from cotune_bench.reports.tables import spaced
from cotune_bench.storage.records import Record, RecordStore

SCORES = ("LogME", "LEEP", "NCE", "H-score")
LEAST = 3  # backbones with records; the order of two says little


def main(arguments: list[str]) -> int:
    """Print a row for each backbone, the best LogME first."""
    parser = Parser("rank-backbones", __doc__)
    parser.add_argument("--data", metavar="FOLDER", help="your images, in class folders")
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50"], metavar="NAME")
    parser.add_argument("overrides", nargs="*", help="settings of a run, such as data=digits")
    given = parser.read(arguments)
    own = ["data=folder", path_override("data.root", Path(given.data).expanduser())] if given.data else []
    configs = [
        compose_config(["method=finetune", f"backbone={name}", *own, *given.overrides]) for name in given.backbones
    ]
    from cotune_bench.methods.source_features import source_features
    from cotune_bench.training.experiment import Experiment
    from cotune_bench.transferability import h_score, leep, logme, nce

    records, _ = RecordStore(Path(configs[0].results)).read()
    rows: list[tuple[str, Sequence[float], float | None]] = []
    for name, config in zip(given.backbones, configs, strict=True):
        run = Experiment.build(config).placed()
        method, plain = run.method, run.data.plain
        features = source_features(method.trunk, plain, run.data, run.cache, weights_id=method.weights_id).cpu()
        with torch.no_grad():
            head = run.backbone.required_source_head("rank-backbones").cpu()
            probabilities = head(features).double().softmax(dim=1).numpy()
        values, labels = features.double().numpy(), plain.labels
        source = probabilities.argmax(axis=1)
        scores = logme(values, labels), leep(probabilities, labels), nce(source, labels), h_score(values, labels)
        rows.append((name, scores, fine_tuned(records, run.data.name, config.rate, run.backbone.info.sha256)))
    known = any(accuracy is not None for _, _, accuracy in rows)
    lines = [["backbone", *SCORES, *["fine-tuned (%)"] * known]]
    for name, scores, accuracy in sorted(rows, key=lambda row: -row[1][0]):
        shown = "" if accuracy is None else f"{accuracy:.2f}"
        lines.append([name, *(f"{score:.4f}" for score in scores), *[shown] * known])
    print("\n".join([f"{configs[0].data.name}, no training", *spaced(lines), *[correlation_line(rows)] * known]))
    return 0


def fine_tuned(records: Sequence[Record], data: str, rate: float, weights: str) -> float | None:
    """Mean test accuracy in percent of the records of fine-tuning these weights; None without any."""
    place = ("finetune", data, rate, weights)
    found = [one.accuracy for one in records if (one.method, one.data, one.rate, one.weights_sha256) == place]
    return statistics.fmean(found) if found else None


def correlation_line(rows: Sequence[tuple[str, Sequence[float], float | None]]) -> str:
    """Kendall's tau-b of each score and the fine-tuned accuracy, over the backbones that have records."""
    both = [(scores, accuracy) for _, scores, accuracy in rows if accuracy is not None]
    if len(both) < LEAST:
        return f"Rank correlation to fine-tuned accuracy needs records of {LEAST} backbones: {len(both)} found."
    accuracies = [accuracy for _, accuracy in both]
    taus = [kendalltau([scores[place] for scores, _ in both], accuracies)[0] for place in range(len(SCORES))]
    parts = ", ".join(f"{name} {tau:+.2f}" for name, tau in zip(SCORES, taus, strict=True))
    return f"Rank correlation to fine-tuned accuracy (Kendall's tau-b, {len(both)} backbones): {parts}"
