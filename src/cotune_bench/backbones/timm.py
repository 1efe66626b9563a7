"""Any timm model with a linear classifier as a backbone; timm is an extra dependency."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, evaluating, state_sha256
from cotune_bench.backbones.plain_network import Plain
from cotune_bench.backbones.plain_network import timm as library
from cotune_bench.backbones.trunk import Trunk
from cotune_bench.backbones.weights import file_sha256, fill, read_state, source_info
from cotune_bench.errors import UserError, nearest

SEED = 0  # of random weights


def load(
    name: str,
    cache: Path,
    *,
    model: str,
    weights: str,
    temperature: float | None,
    temperature_logits: str | None,
    blocks: Sequence[str],
    taps: Sequence[str],
) -> Backbone:
    """A timm model; its layers keep timm's names behind ``model.``, its classifier becomes the source head.

    Args:
        model: timm's name, with or without a tag that names the weights: ``resnet50.a1_in1k``.
        weights: ``pretrained`` (fetched by timm into the cache), ``random``, or the path of a state dict.
        temperature, temperature_logits: of the source softmax, as for torchvision's networks.
        blocks, taps: names of residual blocks and of convolutions for the methods that need them.

    Raises:
        UserError: timm or the model is missing, weights that cannot be had, or no linear classifier at the end.
    """
    timm = library()
    if not timm.is_model(model):
        near = nearest(model, timm.list_models())
        raise UserError(f"backbone.model={model} is unknown to timm {timm.__version__}: {near}see timm.list_models()")
    network, label, sha256 = _network(timm, model, weights, Path(cache).expanduser() / "weights")
    trunk, head = take_apart(network, model)
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    info = source_info(label, sha256, head.out_features, mean, std, temperature, temperature_logits)
    return Backbone(name, trunk, head, info, blocks=blocks, taps=taps, plain=plain(network, model))


def plain(network: Any, model: str) -> Plain:
    """How timm builds the network that is left when training is done."""
    return Plain("timm", model, head=network.pretrained_cfg["classifier"], prefix="model.")


def take_apart(network: Any, model: str) -> tuple[Trunk, nn.Linear]:
    """(trunk, head), compared with the whole on a random image; UserError if the whole is not head after trunk.

    Where the network's children, one after another, compute its features bit for bit, they are the trunk, so that a
    method can run a part of it.
    """
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"backbone.model={model} has no linear classifier but {type(head).__name__}: "
            "Co-Tuning trains a linear source head, choose another model"
        )
    images = torch.rand(1, *network.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(SEED))
    with evaluating(network):
        whole = network(images)
        network.reset_classifier(0)
        features = network(images)
        fits = features.ndim == 2 and features.shape[1] == head.in_features
        fits = fits and torch.allclose(head(features), whole, rtol=1e-4, atol=1e-5)
    if not fits:
        raise UserError(
            f"backbone.model={model} does more after its features than one linear classifier: choose another model"
        )
    unfolded = Trunk(OrderedDict(network.named_children()))
    return Trunk(OrderedDict(model=unfolded if _alike(network, unfolded, images) else network)), head


def _alike(network: nn.Module, unfolded: nn.Module, images: Tensor) -> bool:
    """Whether both compute the same bits, in training as in evaluation."""
    pair = images.repeat(2, 1, 1, 1)  # batch normalisation of a 1 x 1 map needs two
    found = []
    for each in (copy.deepcopy(network), copy.deepcopy(unfolded)):  # copies, whose batch statistics may move
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(SEED)
            try:
                found += [each.train()(pair), each.eval()(pair)]
            except (RuntimeError, TypeError, NotImplementedError):  # its children are not called one after another
                return False
    return all(map(torch.equal, found[:2], found[2:]))


def _network(timm: ModuleType, model: str, weights: str, folder: Path) -> tuple[Any, str, str]:
    """(network, name of its weights for the record, their SHA-256)."""
    if weights == "pretrained":
        try:
            network = create(timm, model, pretrained=True, cache_dir=folder)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"timm cannot get the weights of {model} ({reason}): give backbone.weights=/path/of/a/state_dict.pth"
            ) from error
        return network, f"timm {network.pretrained_cfg['tag'] or weights}", state_sha256(network.state_dict())
    if weights == "random":
        network = create(timm, model)
        return network, weights, state_sha256(network.state_dict())
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(
            f"backbone.weights={weights} is no file: choose pretrained, random or the path of a state dict of {model}"
        )
    state = read_state(path)
    classifier = state.get(f"{timm.get_pretrained_cfg_value(model, 'classifier')}.weight")
    network = create(timm, model, **({} if classifier is None else {"num_classes": len(classifier)}))
    fill(network, state, path, model)
    return network, path.name, file_sha256(path)


def create(timm: ModuleType, model: str, **options: object) -> Any:
    """A network of timm's; what is random in it is always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return timm.create_model(model, **options)
