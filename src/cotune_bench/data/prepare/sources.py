"""Where the files of every data set are, as published by their authors or copied since."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file that a data set is made from.

    Attributes:
        to: the file or folder it becomes, relative to ``data.root``.
        url: where it is downloaded from; its last part is the name of the file.
        name: of a file that must be downloaded manually; with ``*``, the parts of one archive.
        where: such a file is found.
        md5: of the file, "" if none is published.
        holds: the folder in the archive that becomes ``to``; "" for all of it, None if the file is not an archive.
        lists: md5 of files in that folder, for archives that are packed on request and have no hash of their own.
    """

    to: str
    url: str = ""
    name: str = ""
    where: str = ""
    md5: str = ""
    holds: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of the file, or the pattern of its parts."""
        return self.name or self.url.rpartition("/")[2]


_PUBLISHED: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_suffix(".yaml")))
SOURCES = {name: tuple(Source(**source) for source in sources) for name, sources in _PUBLISHED.items()}
