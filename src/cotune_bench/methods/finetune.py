"""Fine-tuning: every weight starts at its pre-trained value and is trained; the baseline of all methods."""

from cotune_bench.methods.base import Method


class FineTune(Method):
    """Cross-entropy on the target labels, nothing else."""
