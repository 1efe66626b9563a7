"""The model card of a kept network: metadata, code that loads it, facts, limits, citation."""

from collections.abc import Mapping
from typing import Any

import yaml

from cotune_bench.config.protocol import channels_last
from cotune_bench.storage.escape import markdown
from cotune_bench.storage.find_run import CARD


def card_text(card: Mapping[str, Any], weights: str) -> str:
    """The model card for people and for model hubs, Markdown; ``weights`` is the file beside it."""
    seen, source, images, protocol = card["input"], card["source"], card["images"], card["protocol"]
    validation = "" if card["val_accuracy"] is None else f" (validation {card['val_accuracy']:.2f} %)"
    settings = {name: value for name, value in card["method"].items() if name not in ("name", "_target_")}
    text = ", ".join(f"{name} {value}" for name, value in settings.items())
    rows = {
        "data": f"{card['data']['name']}: {images['train']} training and {images['test']} test images, "
        f"{len(card['classes'])} classes",
        "method": f"{card['method']['name']}{f' ({text})' if text else ''}",
        "protocol": f"{protocol['name']}: {protocol['updates']} updates of {protocol['batch_size']} images; "
        f"rate {card['rate']:g}, seed {card['seed']}, split seed {card['split_seed']}",
        "test accuracy": f"{card['accuracy']:.2f} %{validation}, views {seen['views']}",
        "input": f"{seen['channels']} channels; {'turned as EXIF asks; ' if seen['upright'] else ''}"
        f"{seen['resize_mode']} to {seen['resize']} px ({seen['resize_filter']}), crop {seen['crop']} px, "
        f"scaled to [0, 1], mean {seen['mean']}, std {seen['std']}",
        "computed in": f"{card['precision']}{', channels last' if channels_last(seen['crop']) else ''}",
        "source weights": f"{source['backbone']} {source['weights']}, SHA-256 {source['sha256'] or 'none'}",
        "licence": f"{source['licence']} The training images' own terms hold, too.",
        "versions": ", ".join(f"{name} {value}" for name, value in card["versions"].items()),
        "finished": card["finished"],
    }
    table = "\n".join(f"| {name} | {markdown(value)} |" for name, value in rows.items())
    classes = "\n".join(f"{number}. {markdown(name)}" for number, name in enumerate(card["classes"]))
    metadata = {
        "library_name": "cotune_bench",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": "see-this-page",
        "tags": ["image-classification", card["method"]["name"]],
        "model-index": [
            {
                "name": card["key"],
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": card["data"]["name"], "type": "image-folder"},
                        "metrics": [{"type": "accuracy", "value": round(card["accuracy"], 2)}],
                    }
                ],
            }
        ],
    }
    return f"""---
{yaml.safe_dump(metadata, sort_keys=False)}---

# {markdown(card["key"])}

```python
import cotune_bench as cb
network = cb.load("FOLDER")  # of this file
probabilities = network.predict("photo.jpg")
```

| | |
|---|---|
{table}

`{weights}` holds the state of the trained method, `{CARD}` its configuration and this page for programs.

## Limits

- It knows the classes below and no others: every image gets one of them, however unlike it is.
- The accuracy is that of {images["test"]} test images like the training images; expect less on images from elsewhere.
- Its probabilities are not calibrated; `cotune-bench evaluate` measures by how much they are wrong.
- It may repeat what is one-sided in the training images and in the images of its source weights.

## Citation

The method: docs/methods/{card["method"]["name"]}.md of cotune_bench names its paper. The tool: CITATION.cff there.

## Classes, in the order of the outputs

{classes}
"""
