"""Predict pictures with a kept network.

Runs keep their network with keep_checkpoint=true, which is the default for data=folder and data=imagelist.
results=FOLDER names the results folder, device=cpu the device.
"""

import sys
from pathlib import Path

from cotune_bench.cli.parser import Parser
from cotune_bench.cli.predictions import as_json, as_lines, image_files
from cotune_bench.config.protocol import VIEWS
from cotune_bench.errors import UserError
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Print the most probable classes of every picture; unreadable files are named and counted."""
    parser = Parser("predict", __doc__, results="results", device="auto")
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("images", nargs="+", help="picture, or folder of pictures")
    parser.add_argument("--top", type=int, default=5, help="classes to show (5)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    parser.add_argument("--views", choices=VIEWS, help="crops of each picture (those of the run's test)")
    parser.add_argument("--explain", action="store_true", help="cotuning: which source classes a picture resembles")
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be read")
    given = parser.read(arguments)
    if given.top < 1:
        raise UserError(f"--top {given.top} cannot be used: it is a number of classes above 0")
    kept = Kept.of(find_run(Path(given.results), given.run))
    files, ignored = image_files(given.images)

    from cotune_bench.inference.execution import devices  # torch takes seconds to import
    from cotune_bench.inference.predict import Predictor, predict_files

    predictor = Predictor.of(kept, devices(given.device)[0], views=given.views, explain=given.explain)
    good, predicted, bad = predict_files(predictor, files, skip_bad=given.skip_bad)
    show = as_json if given.json else as_lines
    sources = kept.card["source"].get("classes", ())
    for line in show(good, predicted.probabilities, kept.classes, given.top, predicted.source, sources):
        print(line)
    for line in bad:
        print(f"warning: left out {line}", file=sys.stderr)
    if bad or ignored:
        left_out = f"{len(bad)} unreadable and {ignored} other files left out"
        print(f"warning: {len(good)} pictures predicted, {left_out}", file=sys.stderr)
    return 0
