"""cotune_bench: which way of fine-tuning a pre-trained network is best, measured."""

__version__ = "0.1.0"
