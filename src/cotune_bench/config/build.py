"""Call the readers, methods and backbones of this package that a configuration names."""

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cotune_bench.errors import REMEDIES, UserError, described


def build(section: DictConfig, *positional: object, drop: Iterable[str] = (), **keywords: object) -> Any:
    """Call what the section names with these arguments and the section's other values, less ``drop``.

    The section of a data set names its ``reader``, the others name a function or class as ``_target_``.

    Raises:
        UserError: what is named is outside this package, does not exist or does not take these values.
    """
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)  # noqa: S101
    if "reader" in values:
        target, function = f"reader {values.pop('reader')}", reader(section).read
    else:
        target = str(values.pop("_target_"))
        function = _found(target)
    values = {str(name): value for name, value in values.items() if str(name) not in {*drop, *keywords}}
    try:
        inspect.signature(function).bind(*positional, **values, **keywords)
    except TypeError as error:
        raise UserError(f"{target}: {error}; correct its yaml") from error
    try:
        return function(*positional, **values, **keywords)
    except OSError as error:
        if error.errno in REMEDIES:
            raise UserError(described(error)) from error
        raise


def reader(section: DictConfig) -> Any:
    """The :class:`~cotune_bench.data.dataset.Reader` that the section of a data set names."""
    return _found(f"cotune_bench.data.readers.{section.reader}.READER")


def _found(target: str) -> Any:
    """The object of this name; UserError if it is outside this package or does not exist."""
    module, _, attribute = target.rpartition(".")
    if not target.startswith("cotune_bench."):
        raise UserError(f"_target_={target} is outside cotune_bench: nothing else is ever called from a yaml")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("cotune_bench"):
            raise
        raise UserError(f"{target} does not exist ({error}): correct its yaml") from error
