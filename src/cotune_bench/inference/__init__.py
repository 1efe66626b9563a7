"""A trained network on images: evaluate, keep, predict and export."""
