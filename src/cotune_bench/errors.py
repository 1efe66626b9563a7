"""The one exception that means: the input is wrong, and here is the remedy."""


class UserError(ValueError):
    """Bad input, told in one line that names the culprit and the remedy; the command line exits with 2."""
