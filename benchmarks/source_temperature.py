"""Accuracy on ImageNet of a backbone and the temperature of its softmax, by crop: what TEMPERATURES is taken from.

IMAGES is a folder of ImageNet images, named after their class as in n01440764_tench.JPEG or in folders n01440764.
The temperature is too low where the weights were trained on these images.

  python benchmarks/source_temperature.py ~/imagenet/val --backbone efficientnet_lite0 --sizes 256,224 144,128
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from cotune_bench.backbones.base import evaluating
from cotune_bench.config import compose_config
from cotune_bench.data.dataset import ImageList, images_of
from cotune_bench.data.decode import decode
from cotune_bench.data.target import Normalize, Views
from cotune_bench.data.views import crop_offsets
from cotune_bench.methods.assemble import make_backbone
from cotune_bench.relationship import fit_temperature, softmax


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("images", type=Path)
    made.add_argument("--backbone", default="efficientnet_lite0")
    made.add_argument("--sizes", nargs="+", default=["256,224", "144,128", "110,96"], help="RESIZE,CROP in pixels")
    made.add_argument("--mode", default="squash", choices=["squash", "short_side"])
    made.add_argument("--save", type=Path, help="folder for CROP.npz, as backbone.temperature_logits reads it")
    given = made.parse_args()
    config = compose_config([f"backbone={given.backbone}"])
    backbone = make_backbone(config.backbone, Path(config.cache).expanduser())
    images = labelled(given.images)
    print(f"{given.backbone} ({backbone.info.weights}), {len(images.labels):,} images, {given.mode}")
    print(f"{'resize':>7}{'crop':>7}{'top-1':>8}{'top-5':>8}{'nll':>8}{'temperature':>13}")
    for sizes in given.sizes:
        resize, crop = map(int, sizes.split(","))
        dataset = decode(images, resize=resize, mode=given.mode, resize_filter="bicubic", folder=None)
        normalize = Normalize(backbone.info.mean, backbone.info.std, torch.device("cpu"))
        views = Views(images_of(dataset, dataset.test), crop, crop_offsets(resize, crop, "center"), normalize)
        with evaluating(backbone):
            logits = torch.cat([backbone(batch[:, 0]) for batch in views]).double().numpy()
        rank = (logits > logits[np.arange(len(logits)), images.labels][:, None]).sum(axis=1)
        nll = -np.log(softmax(logits)[np.arange(len(logits)), images.labels]).mean()
        top1, top5 = 100 * (rank < 1).mean(), 100 * (rank < 5).mean()
        temperature = fit_temperature(logits, images.labels)
        print(f"{resize:>7}{crop:>7}{top1:>8.1f}{top5:>8.1f}{nll:>8.3f}{temperature:>13.4f}", flush=True)
        if given.save:
            given.save.mkdir(parents=True, exist_ok=True)
            np.savez(given.save / f"{crop}.npz", logits=logits, labels=images.labels)


def labelled(folder: Path) -> ImageList:
    """All images of a folder; a label is the place of its class among the WordNet numbers in order."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("n[0-9]*.JPEG"))
    numbers = [file[:9] for file in files]
    classes = sorted(set(numbers))
    labels = np.searchsorted(classes, numbers)
    every, none = np.arange(len(files)), np.arange(0)
    return ImageList(
        name="imagenet",
        root=folder,
        files=tuple(files),
        labels=labels,
        classes=tuple(classes),
        train=none,
        test=every,
    )


if __name__ == "__main__":
    main()
