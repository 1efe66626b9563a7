"""Objects that notebooks show in a few lines."""

import html

from cotune_bench.storage.escape import plain


class Summary:
    """Base of a class whose ``repr`` is its summary, a table in notebooks."""

    def summary(self) -> dict[str, object]:
        """Names and values of a few lines."""
        raise NotImplementedError

    def __repr__(self) -> str:
        rows = self.summary()
        width = max(map(len, rows))
        return "\n".join(f"{name.ljust(width)}  {plain(value)}" for name, value in rows.items())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th>{name}</th><td>{html.escape(plain(value))}</td></tr>" for name, value in self.summary().items()
        )
        return f"<table>{''.join(rows)}</table>"
