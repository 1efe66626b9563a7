"""The one assembly for training: data as the backbone expects them, and a method and its data on a device."""

from pathlib import Path

import torch

from cotune_bench.backbones.base import Backbone
from cotune_bench.config.protocol import Protocol
from cotune_bench.data.dataset import Dataset, ImageList
from cotune_bench.data.target import TargetData, target_data
from cotune_bench.inference.execution import choose_execution, set_threads
from cotune_bench.methods.base import Method


def assemble_data(
    dataset: ImageList | Dataset,
    backbone: Backbone,
    protocol: Protocol,
    *,
    rate: float = 1.0,
    seed: int = 0,
    split_seed: int = 0,
    folder: Path | None = None,
) -> TargetData:
    """A data set split and sampled by the protocol, normalised as the backbone was trained with, on the CPU.

    Args:
        folder: of decoded images; None reads files at every access.
    """
    return target_data(
        dataset,
        protocol,
        rate=rate,
        seed=seed,
        split_seed=split_seed,
        mean=backbone.info.mean,
        std=backbone.info.std,
        device=torch.device("cpu"),
        folder=folder,
    )


def assemble(
    method: Method,
    data: TargetData,
    protocol: Protocol,
    device: torch.device,
    *,
    recompute: str = "never",
    compile_mode: str = "none",
) -> None:
    """Make a method ready to train on this data: head, threads, precision, memory layout; it stays where it is.

    Raises:
        UserError: the method does not fit the data, or the settings do not fit the method or the device.
    """
    set_threads(protocol.threads)
    method.check(data)
    method.start_head(protocol.head_init)
    choose_execution(method, protocol, device, recompute=recompute, compile_mode=compile_mode)
