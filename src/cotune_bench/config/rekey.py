"""Keys of earlier versions, replaced by today's."""

import dataclasses

from omegaconf import OmegaConf

from cotune_bench.config.keys import key_of, upgraded
from cotune_bench.errors import UserError
from cotune_bench.storage.records import RecordStore
from cotune_bench.storage.records import key_of as record_key


def rekey(store: RecordStore) -> dict[str, str]:
    """Give records and run folders of an earlier version today's keys; returns the new keys of records by their old.

    The new record is written before the old file goes, so that a kill leaves both and a second call ends the work.

    Raises:
        UserError: a run folder of the new key is there already.
    """
    records, pairs = store.read()[0], {}
    here = {(record.key, record.finished) for record in records}
    for record in records:
        config = upgraded(record.config)
        key = key_of(config)
        if key != record.key:
            pairs[record.key] = key
            if (key, record.finished) not in here:
                store.add(dataclasses.replace(record, key=key, config=config), again=True)
    for path in store.folder.glob("*.json"):
        if record_key(path) in pairs:
            path.unlink()
    for path in (store.results / "runs").glob("*/config.yaml"):
        config = upgraded(OmegaConf.to_container(OmegaConf.load(path), resolve=True))  # pyright: ignore
        folder = path.parent.with_name(key_of(config))
        if folder != path.parent:
            if folder.exists():
                raise UserError(f"{folder} is there already: move it or {path.parent} away")
            OmegaConf.save(OmegaConf.create(config), path)
            path.parent.rename(folder)
    return pairs
