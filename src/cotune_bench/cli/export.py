"""Write the network that a run has kept for other programs, without anything of this package in it.

results=FOLDER names the results folder (results by default). Prints what the network costs, how the file was checked
and three lines of Python that load it.
"""

import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.config.overrides import Arguments, take_settings
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.find_run import find_run

#: Usual ending of a file of each form.
FORMATS = {"state_dict": ".pt", "torch_export": ".pt2", "onnx": ".onnx", "timm": ".safetensors"}


def main(arguments: list[str]) -> int:
    """Export one run."""
    given, rest = take_settings(arguments, "results")
    parser = Arguments(prog="export.py", description=__doc__)
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("--to", choices=FORMATS, required=True, help="form of the file")
    parser.add_argument("--out", type=Path, help="file to write: exported.pt and the like in the run's folder")
    chosen = parser.parse_intermixed_args(rest)
    run = find_run(Path(given.get("results", "results")), chosen.run)
    kept = Kept.of(run)

    from cotune_bench.inference.export import export  # torch takes seconds to import

    for line in export(kept, chosen.to, chosen.out or run.folder / f"exported{FORMATS[chosen.to]}"):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
