"""Rank pre-trained backbones for a data set before any training, by scores of their features and source classes.

One pass of each training image through each backbone, kept in the cache. Higher is better in every column; each is a
guess about fine-tuned accuracy. LEEP and NCE use source classes and compare backbones of the same ones.
"""

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cotune_bench.cli.parser import Parser
from cotune_bench.config import compose_config
from cotune_bench.config.overrides import path_override


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

    rows = []
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
        rows.append((name, *scores))
    table = Table("backbone", "LogME", "LEEP", "NCE", "H-score", title=f"{configs[0].data.name}, no training")
    for name, *scores in sorted(rows, key=lambda row: -row[1]):
        table.add_row(name, *(f"{score:.4f}" for score in scores))
    Console().print(table)
    return 0
