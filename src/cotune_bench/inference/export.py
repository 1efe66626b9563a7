"""The kept network for other programs, which need nothing of this package; checked before it is written."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cotune_bench.backbones.plain_network import Plain
from cotune_bench.data.target import Normalize
from cotune_bench.errors import UserError
from cotune_bench.inference.kept_network import Kept
from cotune_bench.storage.files import write_atomically

#: Largest difference of a logit, relative to the largest logit, that rounding in another order may make.
TOLERANCE = 1e-4

Call = Callable[[Tensor], Tensor]


class Exported(NamedTuple):
    """A network for another program: a file's content, what loads it, and lines of Python that load a file."""

    content: bytes
    load: Callable[[], Call]
    lines: tuple[str, ...]


def export(kept: Kept, to: str, path: Path) -> list[str]:
    """Write the network in a format of :data:`FORMATS` and, beside it, ``PATH.json`` with classes and preprocessing.

    Returns the lines to print: size, check, and the code that loads the file.

    Raises:
        UserError: the format is not for this network, something is not installed, or the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the file to write with --out")
    plain, network = kept.plain()
    images = example(kept, 4)
    exported = FORMATS[to](network, plain, images[:2])
    difference = compare(network, exported.load(), images)
    if difference > TOLERANCE:
        raise RuntimeError(f"the exported network differs from ours by {difference:.1e} and was not written")
    about = {name: kept.card[name] for name in ("key", "accuracy", "classes", "input", "network", "source")}
    try:
        write_atomically(path, exported.content)
        write_atomically(Path(f"{path}.json"), (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}): choose another --out") from error
    return [
        f"{path}: {sum(weights.numel() for weights in network.parameters()):,} parameters",
        f"checked on {len(images)} images of noise: logits differ by at most {difference:.1e} of the largest",
        f"classes and preprocessing: {path}.json",
        *(line.replace('"PATH"', json.dumps(str(path), ensure_ascii=False)) for line in exported.lines),
    ]


def example(kept: Kept, count: int) -> Tensor:
    """Normalised images of noise (count, C, crop, crop), always the same."""
    seen = kept.card["input"]
    shape = (count, seen["crop"], seen["crop"], seen["channels"])
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Normalize(seen["mean"], seen["std"], torch.device("cpu"))(pixels).contiguous()


def compare(network: Call, other: Call, images: Tensor) -> float:
    """Largest difference between two networks' logits, relative to the largest logit."""
    with torch.no_grad():
        expected, found = network(images), other(images)
    return ((expected - found).abs().max() / expected.abs().max()).item()


# Formats ----------------------------------------------------------------------------------------------------------


def _state_dict(network: nn.Module, plain: Plain, _images: Tensor) -> Exported:
    if plain.library == "glyphnet":
        raise UserError(
            "glyphnet is this package's own network: no other library builds it around a state_dict file, "
            "use --to torch_export or --to onnx"
        )
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)

    def load() -> Call:
        fresh = plain.build()
        fresh.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
        return fresh

    options = "".join(f", {name}={value}" for name, value in plain.options.items())
    make = {"torchvision": f"torchvision.models.{plain.model}(", "timm": f'timm.create_model("{plain.model}", '}
    lines = (
        f"import torch, {plain.library}",
        f"network = {make[plain.library]}num_classes={plain.num_classes}{options}).eval()",
        'network.load_state_dict(torch.load("PATH", weights_only=True))',
    )
    return Exported(buffer.getvalue(), load, lines)


def _torch_export(network: nn.Module, _plain: Plain, images: Tensor) -> Exported:
    buffer = io.BytesIO()
    torch.export.save(_traced(network, images), buffer)
    lines = ("import torch", 'network = torch.export.load("PATH").module()', "logits = network(images)")
    return Exported(buffer.getvalue(), lambda: torch.export.load(io.BytesIO(buffer.getvalue())).module(), lines)


def _onnx(network: nn.Module, _plain: Plain, images: Tensor) -> Exported:
    try:
        import onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
        import onnxruntime  # pyright: ignore[reportMissingImports]
        import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"--to onnx needs {error.name}, which is not installed: pip install -e '.[onnx]'") from error
    program: Any = torch.onnx.export(
        _traced(network, images), input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
    )
    model = program.model_proto
    drawn = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # torch calls the axis s77
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == drawn:
                axis.dim_param = "batch"
    content = model.SerializeToString()

    def load() -> Call:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    lines = (
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("PATH")',
        'logits = session.run(None, {"images": images})[0]',
    )
    return Exported(content, load, lines)


def _traced(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The network's computation for any number of images."""
    return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


FORMATS = {"state_dict": _state_dict, "torch_export": _torch_export, "onnx": _onnx}
