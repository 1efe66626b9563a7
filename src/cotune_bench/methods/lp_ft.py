"""LP-FT: a linear probe first, then fine-tuning from its head (Kumar et al., ICLR 2022)."""

from cotune_bench.methods.linear_probe import LinearProbe


class LPFT(LinearProbe):
    """Fine-tuning from the head of the linear probe, in place of a random one."""

    solved = False
