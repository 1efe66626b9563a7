"""Predict pictures with the network that a run has kept.

results=FOLDER names the results folder (results by default) and device=cpu the device. Runs keep their network with
keep_checkpoint=true, which is the default for data=folder and data=imagelist.
"""

import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.config.overrides import Arguments, take_settings
from cotune_bench.config.protocol import VIEWS
from cotune_bench.errors import UserError
from cotune_bench.inference.kept_network import Kept
from cotune_bench.reports.predictions import as_json, as_lines, image_files
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Print the most probable classes of every picture; what cannot be read is named and counted."""
    given, rest = take_settings(arguments, "results", "device")
    parser = Arguments(prog="predict.py", description=__doc__)
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("images", nargs="+", help="picture, or folder of pictures")
    parser.add_argument("--top", type=int, default=5, help="classes to show (5)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    parser.add_argument("--views", choices=VIEWS, help="crops of each picture: those of the run's test, or center")
    parser.add_argument("--explain", action="store_true", help="cotuning: which source classes a picture resembles")
    parser.add_argument("--skip-bad", action="store_true", help="go on without files that cannot be read")
    chosen = parser.parse_intermixed_args(rest)
    if chosen.top < 1:
        raise UserError(f"--top {chosen.top} cannot be used: it is a number of classes above 0")
    kept = Kept.of(find_run(Path(given.get("results", "results")), chosen.run))
    files, ignored = image_files(chosen.images)

    from cotune_bench.inference.predict import Predictor, predict_files
    from cotune_bench.training.experiment import devices  # torch takes seconds to import

    device = devices(given.get("device", "auto"))[0]
    predictor = Predictor(kept, device, views=chosen.views, explain=chosen.explain)
    good, predicted, bad = predict_files(
        predictor, files, kept.card["input"]["crop_bottom"], skip_bad=chosen.skip_bad
    )
    show = as_json if chosen.json else as_lines
    sources = kept.card["source"].get("classes", ())
    for line in show(good, predicted.probabilities, kept.classes, chosen.top, predicted.source, sources):
        print(line)
    for line in bad:
        print(f"warning: left out {line}", file=sys.stderr)
    if bad or ignored:
        told = f"{len(bad)} unreadable and {ignored} other files left out"
        print(f"warning: {len(good)} pictures predicted, {told}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
