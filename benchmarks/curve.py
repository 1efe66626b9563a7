"""The first 200 updates of a small real run, digits on glyphs, in fp32 and in bf16 with the same seeds.

bf16 counts as within the spread of seeds if both hold, for every method:
1. at every report (mean training loss of ten updates), the mean over seeds of the absolute difference between bf16
   and fp32 with the same seed is smaller than the standard deviation between the fp32 seeds;
2. the means of the final validation accuracy differ by at most the range of the fp32 seeds.
Test images are not looked at.
"""

import statistics
import tempfile
from collections.abc import Sequence

from harness import environment, parser, report

from cotune_bench.config import compose_config
from cotune_bench.training.experiment import Experiment

UPDATES = 200


def main() -> None:
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--methods", nargs="+", default=["finetune", "cotuning"])
    options = arguments.parse_args()
    figures: dict = {"environment": environment(1, ("torch", "numpy"))}  # threads: as the desk protocol says
    lines = [f"digits, all training images, {UPDATES} updates, seeds 0 to {options.rounds - 1}"]
    for method in options.methods:
        runs = {
            precision: [trained(method, precision, seed, options.device) for seed in range(options.rounds)]
            for precision in ("fp32", "bf16")
        }
        found = judged(runs["fp32"], runs["bf16"])
        figures[method] = {"runs": runs, "judged": found}
        lines += told(method, runs["fp32"][0]["updates"], found)
    report(figures, lines, options.json)


def trained(method: str, precision: str, seed: int, device: str) -> dict:
    """Mean training losses at every report, and the validation accuracy at the end."""
    updates, losses = [], []

    def note(update: int, _lr: float, terms: dict[str, float]) -> None:
        updates.append(update)
        losses.append(sum(terms.values()))

    with tempfile.TemporaryDirectory() as results:
        settings = [f"method={method}", "data=digits", "rate=1", f"seed={seed}", f"precision={precision}"]
        rules = [f"protocol.updates={UPDATES}", f"device={device}", f"results={results}"]
        experiment = Experiment.build(compose_config([*settings, *rules])).placed()
        experiment.train(note)
        accuracy = (experiment.validate() or {})["accuracy"]
    return {"updates": updates, "losses": losses, "accuracy": accuracy}


def judged(fp32: Sequence[dict], bf16: Sequence[dict]) -> dict:
    """The two sides of both criteria, at every report and at the end."""
    pairs = list(zip(fp32, bf16, strict=True))
    differences, spreads = [], []
    for place in range(len(fp32[0]["losses"])):
        differences.append(statistics.mean(abs(a["losses"][place] - b["losses"][place]) for a, b in pairs))
        spreads.append(statistics.stdev(run["losses"][place] for run in fp32))
    accuracies = [[run["accuracy"] for run in side] for side in (fp32, bf16)]
    return {
        "differences": differences,
        "standard deviations": spreads,
        "accuracies": accuracies,
        "accuracy difference": statistics.mean(accuracies[1]) - statistics.mean(accuracies[0]),
        "accuracy range": max(accuracies[0]) - min(accuracies[0]),
    }


def told(method: str, updates: Sequence[int], found: dict) -> list[str]:
    """Lines of one method."""
    differences, spreads = found["differences"], found["standard deviations"]
    shares = [difference / spread for difference, spread in zip(differences, spreads, strict=True)]
    worst = max(range(len(shares)), key=shares.__getitem__)
    both = " and ".join(
        f"{statistics.mean(side):.2f} % ({min(side):.2f}-{max(side):.2f})" for side in found["accuracies"]
    )
    loss = all(share < 1 for share in shares)
    accuracy = abs(found["accuracy difference"]) <= found["accuracy range"]
    return [
        "",
        f"{method}: {'within' if loss and accuracy else 'NOT within'} the spread of seeds",
        f"  loss, difference to the same seed over deviation between seeds: median {statistics.median(shares):.3f}, "
        f"largest {shares[worst]:.3f} at update {updates[worst]}; below 1 at {sum(s < 1 for s in shares)} of "
        f"{len(shares)} reports",
        f"  validation accuracy, fp32 and bf16: {both}; difference {found['accuracy difference']:+.2f}, "
        f"range of fp32 {found['accuracy range']:.2f}",
    ]


if __name__ == "__main__":
    main()
