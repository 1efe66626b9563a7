"""Evaluate a kept network on its own test images, or on other images of the same classes.

--data FOLDER names class folders; data=NAME and data.root=FOLDER change the run's own data set. Accuracy, accuracy of
every class, most confused pairs and calibration error are printed and, with figures, written to a folder.
results=FOLDER names the results folder, device=cpu the device.
"""

import re
import sys
from pathlib import Path

from cotune_bench.cli.parser import Parser, warn
from cotune_bench.config.protocol import VIEWS
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.files import check_writable
from cotune_bench.storage.find_run import find_run


def main(arguments: list[str]) -> int:
    """Evaluate one run."""
    settings = [text for text in arguments if re.match(r"data(\.\w+)?=", text)]
    parser = Parser("evaluate", __doc__, results="results", device="auto")
    parser.add_argument("run", help="key, beginning of a key, or folder of a run")
    parser.add_argument("--data", metavar="FOLDER", help="class folders to evaluate on")
    parser.add_argument("--views", choices=VIEWS, help="crops of each image (those of the run's test)")
    parser.add_argument(
        "--out", type=Path, help="folder to write to (evaluation in the run's, evaluation-NAME for other images)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be read")
    given = parser.read([text for text in arguments if text not in settings])
    run = find_run(Path(given.results), given.run)
    kept = Kept.of(run)

    import numpy as np

    from cotune_bench.inference.execution import devices  # torch and figures take seconds to import
    from cotune_bench.inference.labelled_images import labelled_images
    from cotune_bench.inference.predict import Predictor, predict_labelled, surest_mistakes, thumbnails
    from cotune_bench.metrics import evaluate
    from cotune_bench.reports import evaluation_files as report
    from cotune_bench.reports.figures.pictures import MOST, SIDE, mistakes_figure

    device = devices(given.device)[0]
    images = labelled_images(kept, given.data, settings)
    others = given.data or any(text.startswith("data=") for text in settings)
    name = re.sub(r"[^\w.-]+", "-", f"evaluation-{images.name}") if others else "evaluation"
    out = given.out or run.folder / name
    check_writable(out, "--out " if given.out else "")
    predictor = Predictor.of(kept, device, views=given.views)
    predicted, rows, bad = predict_labelled(predictor, images, skip_bad=given.skip_bad)
    labels = images.labels[rows]
    evaluation = evaluate(predicted.probabilities, labels, kept.classes)
    about = {
        "run": kept.card["key"],
        "data": images.name,
        "root": str(getattr(images, "root", "")),
        "views": given.views or kept.card["input"]["views"],
    }
    places = surest_mistakes(predicted, labels, MOST)
    pictures = thumbnails(images, rows[places], SIDE) if len(places) else np.empty(0)
    sheet = mistakes_figure(pictures, labels[places], predicted.probabilities[places], kept.classes)
    written = report.write(evaluation, about, out, sheet)
    print(report.as_json(evaluation, about) if given.json else "\n".join(report.as_lines(evaluation)))
    warn([f"left out {line}" for line in bad])
    recorded = kept.card["accuracy"]
    own = not (given.data or settings or given.views or bad)
    if own and abs(evaluation.accuracy - recorded) > 1e-9:
        warn([f"the record has {recorded:.2f} %: data or libraries have changed since"])
    print(f"{', '.join(path.name for path in written)} -> {out}", file=sys.stderr)
    return 0
