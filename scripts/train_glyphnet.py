"""Train the source networks of the package: python scripts/train_glyphnet.py FOLDER [SEED or TASK ...] [--depth 2]

Writes FOLDER/SEED.safetensors for each seed, 0 to 19 by default, about a minute each. The shipped files are those of
src/cotune_bench/backbones/glyphnet_weights; trained again on another processor, the last bits differ, and with them
all that follows from a thousand updates. Files that exist are left alone. ``--depth 2`` trains the deeper networks of
backbone=glyphnet_deep, of which seeds 0 to 3 come with the package. TASK is one of marks, fonts, rotation and
contrastive, the networks of other tasks in src/cotune_bench/backbones/glyphnet_weights_zoo.
Afterwards: cd FOLDER; sha256sum *.safetensors > SHA256SUMS
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save

from cotune_bench.backbones.base import state_sha256
from cotune_bench.backbones.glyphnet_training import pretrain
from cotune_bench.backbones.glyphnet_zoo import TASKS, pretrain_on
from cotune_bench.cli import guarded
from cotune_bench.errors import UserError
from cotune_bench.storage.files import write_atomically

COUNT = 20


def main(arguments: list[str]) -> int:
    """Train every seed whose file is missing."""
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 0
    depth = 1
    if "--depth" in arguments:
        place = arguments.index("--depth")
        depth, arguments = int(arguments[place + 1]), arguments[:place] + arguments[place + 2 :]
    folder, *networks = arguments
    if unknown := [one for one in networks if not one.isdigit() and one not in TASKS]:
        raise UserError(f"{unknown[0]} cannot be trained: give whole numbers, or {', '.join(TASKS)}")
    for one in networks or map(str, range(COUNT)):
        path = Path(folder) / f"{one.rjust(2, '0')}.safetensors"
        if not path.exists():
            arrays = pretrain_on(one) if one in TASKS else pretrain(int(one), depth=depth)
            accuracy = arrays.pop("accuracy").item()
            facts = {"temperature": repr(arrays.pop("temperature").item())} if one.isdigit() else {}
            facts["held_out_accuracy"] = f"{accuracy:.4f}"
            state = {name: torch.from_numpy(value).contiguous() for name, value in arrays.items()}
            write_atomically(path, save(state, {**facts, "sha256": state_sha256(state)}))
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
