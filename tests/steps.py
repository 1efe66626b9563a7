"""A cell of a sweep that only notes its steps; a module of its own, because the processes of cells import it."""

import time


def noted(_here, _cell, folder, number, _place):
    """Note when the cell begins and ends; the first takes longest."""
    for step, seconds in (("begin", 0.0 if number else 0.5), ("end", 0.0)):
        with (folder / "steps").open("a") as file:
            file.write(f"{step}{number} ")
        time.sleep(seconds)
