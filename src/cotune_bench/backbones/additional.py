"""Backbones beside the first, such as teachers, which the yaml of a method names."""

from collections.abc import Callable, Mapping
from itertools import zip_longest

from omegaconf import DictConfig

from cotune_bench.backbones.base import Backbone
from cotune_bench.errors import UserError

Further = Backbone | dict[str, "Further"]


def further_backbones(
    method: DictConfig, first: Backbone, load: Callable[[DictConfig], Backbone]
) -> dict[str, Further]:
    """Those in the section of a method: a backbone for each value with a ``_target_``, a dict for a group of such.

    Args:
        first: the backbone of the run, for which images are normalised.
        load: gives the backbone of a section like those of ``conf/backbone``.

    Raises:
        UserError: one of them takes images of other mean and standard deviation than ``first``.
    """

    def loaded(section: DictConfig, name: str) -> Further:
        if "_target_" not in section:
            return {str(part): loaded(section[part], f"{name}.{part}") for part in section}
        backbone = load(section)
        if (backbone.info.mean, backbone.info.std) != (first.info.mean, first.info.std):
            raise UserError(
                f"{name} takes images of mean {backbone.info.mean} and deviation {backbone.info.std}, backbone "
                f"{first.name} of {first.info.mean} and {first.info.std}: choose backbones that agree"
            )
        return backbone

    return {str(name): loaded(method[name], f"method.{name}") for name in method if _names_backbones(method[name])}


def require_one_architecture(first: Backbone, others: Mapping[str, Backbone]) -> None:
    """UserError unless the trunks have equal layers; it names the first layer that differs."""
    expected = _layers(first)
    for name, other in others.items():
        for (place, layer), (found_place, found) in zip_longest(expected, _layers(other), fillvalue=("", "nothing")):
            if (place, layer) != (found_place, found):
                raise UserError(
                    f"source {name} has another architecture than backbone {first.name}: its layer "
                    f"{found_place or place} is {found}, not {layer} {place}: choose sources of one architecture"
                )


def _layers(backbone: Backbone) -> list[tuple[str, str]]:
    """Names of a trunk's layers, and what each of them is."""
    modules = backbone.trunk.named_modules()
    return [(name, f"{type(layer).__name__}({layer.extra_repr()})") for name, layer in modules if name]


def weights_of(further: Mapping[str, Further]) -> list[dict[str, str]]:
    """The entries of a record on their weights, in their order."""
    entries = []
    for found in further.values():
        if isinstance(found, Backbone):
            entries.append({"backbone": found.name, "weights": found.info.weights, "sha256": found.info.sha256})
        else:
            entries += weights_of(found)
    return entries


def _names_backbones(value: object) -> bool:
    if not isinstance(value, DictConfig) or not len(value):
        return False
    return "_target_" in value or all(_names_backbones(value[part]) for part in value)
