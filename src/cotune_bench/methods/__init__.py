"""One file per paper, on one contract."""
