"""cotune_bench: which way of fine-tuning a pre-trained network is best, measured.

For notebooks: ``load_backbone``, ``load_data``, ``load_protocol``, ``fit``, ``load``, the methods, ``relationship``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cotune_bench import relationship as relationship
    from cotune_bench.api import Data, Fitted, fit, load_backbone, load_data, load_protocol
    from cotune_bench.errors import UserError
    from cotune_bench.inference.network import Network, load
    from cotune_bench.methods.bss import BSS
    from cotune_bench.methods.cotuning import CoTuning
    from cotune_bench.methods.delta import Delta
    from cotune_bench.methods.finetune import FineTune
    from cotune_bench.methods.l2sp import L2SP

__version__ = "0.1.0"

#: The modules of the public names, which are imported at first use, because torch takes seconds to import.
_PUBLIC = {
    **dict.fromkeys(
        ("Data", "Fitted", "Network", "fit", "load", "load_backbone", "load_data", "load_protocol"), "api"
    ),
    "BSS": "methods.bss",
    "CoTuning": "methods.cotuning",
    "Delta": "methods.delta",
    "FineTune": "methods.finetune",
    "L2SP": "methods.l2sp",
    "UserError": "errors",
}

__all__ = [
    "BSS",
    "L2SP",
    "CoTuning",
    "Data",
    "Delta",
    "FineTune",
    "Fitted",
    "Network",
    "UserError",
    "fit",
    "load",
    "load_backbone",
    "load_data",
    "load_protocol",
    "relationship",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "relationship":
        return import_module("cotune_bench.relationship")
    if name in _PUBLIC:
        return getattr(import_module(f"cotune_bench.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'cotune_bench' has no attribute {name!r}")
