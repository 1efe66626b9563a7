"""Write a kept network for other programs, without anything of this package in it.

Prints the size of the network, how the file was checked, and three lines of Python that load it.
results=FOLDER names the results folder.
"""

from pathlib import Path

from cotune_bench.cli.parser import Parser
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.find_run import find_run

#: Usual ending of a file of each format.
FORMATS = {"state_dict": ".pt", "torch_export": ".pt2", "onnx": ".onnx"}


def main(arguments: list[str]) -> int:
    """Export one run."""
    parser = Parser("export", __doc__, results="results")
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("--to", choices=FORMATS, required=True, help="format of the file")
    parser.add_argument("--out", type=Path, help="file to write (exported.pt and the like in the run's folder)")
    given = parser.read(arguments)
    run = find_run(Path(given.results), given.run)
    kept = Kept.of(run)

    from cotune_bench.inference.export import export  # torch takes seconds to import

    for line in export(kept, given.to, given.out or run.folder / f"exported{FORMATS[given.to]}"):
        print(line)
    return 0
