"""A small residual network for 8x8 images, pre-trained on drawn letters; its weights come with the package."""

import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from cotune_bench.backbones.base import Backbone, SourceInfo, state_sha256
from cotune_bench.backbones.plain_network import Plain
from cotune_bench.errors import UserError
from cotune_bench.storage.cache import Cache

#: The S source classes: Latin, Armenian and Georgian letters, less those that look alike once they fill the same box.
#: Digits, Greek, Cyrillic and mathematical symbols are left to the targets.
CLASSES = tuple(
    "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # I is l; c k o p s u v w x z are their capitals
    "abdefghijlmnqrty"
    "ÆØÞæəðßŒŋÅÇÑŁĦŦƎƐƔƧƷɓɖɗɠɤɥɦɮɰɷɹɺɾʁʃʊʎʓʔʘʤʬ"
    "ԲԳԴԵԶԷԸԹԺԻԽԿՁՃՄՇՈՉՊՋՌՎՐՑՒՓՔՖ"
    "աբգդեզէըթժիլխծկձղճմյնշչպջռվտրփքֆև"
    "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"
)
MEAN, STD = 0.31, 0.37  # of glyph pixels scaled to [0, 1]; a test compares
WIDTHS = (16, 32, 64)  # fewer than 16 channels in a strided 1x1 convolution: oneDNN bug 6035
#: Source networks of one recipe, numbered by the seed that drew their glyphs, weights and batches.
SHIPPED = Path(__file__).parent / "glyphnet_weights"
#: Networks of other tasks than ``letters``, which is source network 0 (:mod:`glyphnet_zoo`).
SHIPPED_ZOO = Path(__file__).parent / "glyphnet_weights_zoo"
ZOO = ("letters", "marks", "fonts", "rotation", "contrastive")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., 2016), with torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = convolution(outputs, outputs, 3, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, outputs, H / stride, W / stride) of maps (B, inputs, H, W)."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.relu(self.bn1(self.conv1(maps)))
        return self.relu(self.bn2(self.conv2(maps)) + shortcut)


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution that keeps the size except for its stride, without bias, with He's initial weights."""
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def trunk(depth: int = 1) -> nn.Sequential:
    """Images (B, 1, 8, 8) to features (B, WIDTHS[-1]): a 3x3 stem, then stages of ``depth`` blocks, each halved."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=convolution(1, WIDTHS[0], 3, 1), bn1=nn.BatchNorm2d(WIDTHS[0]), relu=nn.ReLU(inplace=True)
    )
    for stage, (inputs, outputs) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False), start=1):
        first = BasicBlock(inputs, outputs, stride=1 if stage == 1 else 2)
        layers[f"layer{stage}"] = nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(depth - 1)))
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)


class Network(nn.Module):
    """Trunk and source head with random weights that depend on seed and depth alone."""

    def __init__(self, seed: int, depth: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = trunk(depth)
            self.source_head = nn.Linear(WIDTHS[-1], len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Source logits (B, S) of normalised images (B, 1, 8, 8)."""
        return self.source_head(self.trunk(images))


def load(name: str, cache: Path, *, weights: str, seed: int = 0, depth: int = 1) -> Backbone:
    """The network with weights ``glyphs`` (shipped), ``train`` (trained here, then kept in the cache) or ``random``.

    Args:
        name, cache: of the backbone, and the folder of the cache.
        weights: one of these, or of :data:`ZOO`, shipped networks of several tasks; all but ``letters`` have no
            classifier.
        seed: which network; without effect on the zoo's.
        depth: residual blocks of a stage.

    Raises:
        UserError: unknown weights, or a seed for which none are shipped.
    """
    model, temperature = Network(seed, depth), 1.0
    zoo = weights in ZOO and depth == 1
    if zoo and weights != "letters":
        state, _ = _shipped(SHIPPED_ZOO / f"{weights}.safetensors")
        model.trunk.load_state_dict(state)
    elif weights == "glyphs" or zoo:
        path = shipped_folder(depth) / f"{0 if zoo else seed:02d}.safetensors"
        if not path.exists():
            raise UserError(
                f"backbone.seed={seed} has no shipped source network: choose 0 to {len(shipped_seeds(depth)) - 1}, "
                "or backbone.weights=train, which trains one here (about a minute; other CPUs give other weights)"
            )
        state, facts = _shipped(path)
        model.load_state_dict(state)
        temperature = float(facts["temperature"])
    elif weights == "train":
        from cotune_bench.backbones.glyphnet_training import RECIPE, pretrain  # noqa: PLC0415  # it imports this module

        inputs = {"classes": CLASSES, "seed": seed, **vars(RECIPE)} | ({"depth": depth} if depth > 1 else {})
        arrays = Cache(cache).get("glyphnet", inputs, lambda: pretrain(seed, depth=depth))
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in model.state_dict()})
        temperature = arrays["temperature"].item()
    elif weights != "random":
        known = ["glyphs", "train", "random", *(ZOO if depth == 1 else ())]
        raise UserError(f"backbone {name} has no weights {weights}: choose {', '.join(known[:-1])} or {known[-1]}")
    classes = () if zoo and weights != "letters" else CLASSES
    sha256 = state_sha256(model.state_dict() if classes else model.trunk.state_dict())
    blocks = [f"layer{stage}.{block}" for stage in range(1, len(WIDTHS) + 1) for block in range(depth)]
    return Backbone(
        name,
        model.trunk,
        model.source_head if classes else None,
        SourceInfo(weights, sha256, classes, (MEAN,), (STD,), temperature),
        blocks=blocks,
        taps=[f"{block}.conv2" for block in blocks[depth - 1 :: depth]],
        plain=Plain("glyphnet", name, head="head", options={"depth": depth} if depth > 1 else {}),
        width=WIDTHS[-1],
    )


def _shipped(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state and the metadata of a file that comes with the package; UserError if it was changed."""
    content = path.read_bytes()
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}"
    if line not in path.with_name("SHA256SUMS").read_text(encoding="ascii").splitlines():
        raise UserError(f"{path} is not the file that was shipped: install the package again")
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load_safetensors(content), header["__metadata__"]


def shipped_folder(depth: int = 1) -> Path:
    """Where the source networks of this depth are."""
    return SHIPPED if depth == 1 else SHIPPED.with_name(f"{SHIPPED.name}_depth{depth}")


def shipped_seeds(depth: int = 1) -> list[int]:
    """Seeds of the source networks that come with the package, ascending."""
    return sorted(int(path.stem) for path in shipped_folder(depth).glob("*.safetensors"))
