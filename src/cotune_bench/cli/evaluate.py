"""Evaluate the network that a run has kept: on its own test images, or on others of the same classes.

--data FOLDER takes class folders, data=NAME and data.root=FOLDER change the run's own data set. Accuracy, accuracy of
every class, most confused pairs and calibration error go to the terminal and, with figures, into a folder.
results=FOLDER names the results folder (results by default) and device=cpu the device.
"""

import re
import sys
from pathlib import Path

from cotune_bench.cli import guarded
from cotune_bench.config.overrides import Arguments, take_settings
from cotune_bench.config.protocol import VIEWS
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Evaluate one run."""
    given, rest = take_settings(arguments, "results", "device")
    settings = [text for text in rest if text.startswith(("data=", "data.")) and "=" in text]
    parser = Arguments(prog="evaluate.py", description=__doc__)
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("--data", metavar="FOLDER", help="class folders to evaluate on")
    parser.add_argument("--views", choices=VIEWS, help="crops of each image: those of the run's test, or center")
    parser.add_argument(
        "--out", type=Path, help="folder to write to: evaluation/ in the run's, evaluation-NAME/ of other images"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--skip-bad", action="store_true", help="go on without files that cannot be read")
    chosen = parser.parse_intermixed_args([text for text in rest if text not in settings])
    run = find_run(Path(given.get("results", "results")), chosen.run)
    kept = Kept.of(run)

    from cotune_bench.inference.predict import Predictor, predict_labelled
    from cotune_bench.inference.scores import evaluate, labelled_images  # torch and figures take seconds to import
    from cotune_bench.reports import evaluation_files as report
    from cotune_bench.training.experiment import devices

    device = devices(given.get("device", "auto"))[0]
    images = labelled_images(kept, chosen.data, settings)
    others = chosen.data or any(text.startswith("data=") for text in settings)
    name = re.sub(r"[^\w.-]+", "-", f"evaluation-{images.name}") if others else "evaluation"
    out = chosen.out or run.folder / name
    check_writable(out, "--out " if chosen.out else "")
    predicted, labels, bad = predict_labelled(
        Predictor(kept, device, views=chosen.views), images, skip_bad=chosen.skip_bad
    )
    evaluation = evaluate(predicted.probabilities, labels, kept.classes)
    about = {
        "run": kept.card["key"],
        "data": images.name,
        "root": str(getattr(images, "root", "")),
        "views": chosen.views or kept.card["input"]["views"],
    }
    written = report.write(evaluation, about, out)
    print(report.as_json(evaluation, about) if chosen.json else "\n".join(report.as_lines(evaluation)))
    for line in bad:
        print(f"warning: left out {line}", file=sys.stderr)
    recorded = kept.card["accuracy"]
    own = not (chosen.data or settings or chosen.views or bad)
    if own and abs(evaluation.accuracy - recorded) > 1e-9:
        print(f"warning: the record tells {recorded:.2f} %: data or libraries have changed since", file=sys.stderr)
    print(f"{', '.join(path.name for path in written)} -> {out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
