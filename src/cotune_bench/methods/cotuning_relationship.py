"""Co-Tuning's category relationship of a data set, learnt on the untrained network once for all that share it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from cotune_bench import metrics
from cotune_bench import relationship as formulas
from cotune_bench.backbones.base import evaluating
from cotune_bench.data.target import TargetData, Views
from cotune_bench.methods.source_features import identity, source_features
from cotune_bench.storage import calibration_file, relationship_file
from cotune_bench.storage.cache import Arrays, Cache


def relationship_of(
    trunk: nn.Module,
    source_head: nn.Linear,
    data: TargetData,
    cache: Cache,
    *,
    weights_id: str,
    temperature: float,
    approach: str,
    calibrate_target: bool,
    select: str,
    split: str,
) -> Arrays:
    """``relationship`` (K, S), p(source | target).

    The reverse approach also returns ``logits`` and ``labels`` of held-out images, and their calibration's ``scale``.
    Source probabilities are those of plain training (and validation) images in one centre view.

    Args:
        temperature: divides the source logits.
        approach, calibrate_target, select, split: as :class:`CoTuning` takes them.
    """
    inputs = {
        "data": data.fingerprint,
        "network": identity(trunk, data, weights_id=weights_id),
        "temperature": temperature,
        "approach": approach,
        **({"split": split} if approach == "direct" else {"select": select, "calibrate_target": calibrate_target}),
        "version": 6,
    }

    def probabilities(part: Views) -> np.ndarray:
        """(n, S) in float64."""
        features = source_features(trunk, part, data, cache, weights_id=weights_id)
        with evaluating(source_head):
            logits = source_head(features).double().cpu()
        return torch.softmax(logits / temperature, dim=1).numpy()

    def learn() -> Arrays:
        train, val = probabilities(data.plain), probabilities(data.val)
        train_labels, val_labels, classes = data.plain.labels, data.val.labels, len(data.classes)
        if approach == "direct":
            if split == "train+val":
                train, train_labels = np.concatenate([train, val]), np.concatenate([train_labels, val_labels])
            return {"relationship": formulas.direct_relationship(train, train_labels, classes)}
        relationship, fit = formulas.reverse_relationship(
            train,
            train_labels,
            val,
            val_labels,
            classes,
            calibrate=calibrate_target,
            select=select,
            return_fit=True,
        )
        held_out = {"logits": fit.held_out_logits, "labels": fit.held_out_labels}
        return {"relationship": relationship, **held_out, "scale": np.array(fit.scale)}

    return cache.get("relationship", inputs, learn)


def files_of(
    learnt: Arrays, classes: Sequence[str], source_classes: Sequence[str], *, calibrated: bool
) -> dict[str, str]:
    """Name and text of the files on a run's relationship: the largest shares, and the calibration of its fit."""
    files = {relationship_file.FILE: relationship_file.to_csv(learnt["relationship"], classes, source_classes)}
    if calibrated and "logits" in learnt:
        temperatures = {"before": 1.0, "after": 1 / float(learnt["scale"])}
        states = {
            state: metrics.reliability(formulas.softmax(learnt["logits"], t), learnt["labels"], t)
            for state, t in temperatures.items()
        }
        files[calibration_file.FILE] = calibration_file.to_csv(states)
    return files
