"""Networks written for other programs, loaded where this package cannot be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kept_runs import kept

from cotune_bench import cli
from cotune_bench.cli import export as command
from cotune_bench.inference import export as exporting
from cotune_bench.inference.export import FORMATS, example

#: Runs the printed lines, then predicts the images beside them; this package can neither be found nor imported.
OUTSIDE = """
import sys
sys.modules["cotune_bench"] = None
import numpy, torch
images = numpy.load("images.npy")
images = images if "{to}" == "onnx" else torch.from_numpy(images)
{lines}
{predict}
numpy.save("logits.npy", numpy.asarray(logits))
try:
    import cotune_bench
except ImportError:
    print("alone")
"""


def ask(*arguments: str) -> int:
    return cli.main(["export", *arguments])


@pytest.mark.parametrize(
    ("data", "to", "name"),
    [
        ("folder", "state_dict", 'it\'s "mine" ä.pt'),
        ("digits", "torch_export", "network.pt2"),
        ("digits", "onnx", "network.onnx"),
    ],
)
@pytest.mark.filterwarnings("default")  # of exporters
def test_three_printed_lines_load_the_network_without_this_package(kept_here, capsys, data, to, name):
    for library in {"onnx": ["onnx", "onnxscript", "onnxruntime"]}.get(to, []):
        pytest.importorskip(library)
    assert ask(data, "--to", to, "--out", name) == 0
    told = capsys.readouterr().out.splitlines()
    if data == "folder":  # ResNet-18 without its classifier has 11,176,512 parameters; 3 classes add 3 x 512 + 3
        assert "11,178,051 parameters" in told[0]
    source = kept(kept_here / "results", data)
    images = example(source, 3)
    np.save("images.npy", images.numpy())
    predict = "" if "logits" in told[-1] else "logits = network(images).detach()"
    code = OUTSIDE.format(to=to, lines="\n".join(told[-3:]), predict=predict).replace(
        "logits = network(images)\n", "logits = network(images).detach()\n"
    )
    ended = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "alone\n"), ended.stderr
    with torch.no_grad():
        expected = source.method().predict(images).numpy()
    np.testing.assert_allclose(np.load("logits.npy"), expected, rtol=1e-4, atol=1e-5)
    about = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
    assert about["classes"] == list(source.classes)
    assert about["input"] == source.card["input"]


def test_a_network_that_computes_anything_else_is_not_written(kept_here, monkeypatch):
    monkeypatch.setattr(exporting, "compare", lambda *_: 0.1)
    with pytest.raises(RuntimeError, match="differs from ours"):
        exporting.export(kept(kept_here / "results", "folder"), "state_dict", Path("a.pt"))
    assert not list(kept_here.glob("a.pt*"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("digits", "--to", "state_dict", "--out", "a.pt"), "glyphnet is this package's own network"),
        (("folder", "--to", "state_dict", "--out", "results"), "results is a folder"),
        (("folder", "--to", "state_dict", "--out", "file/a.pt"), "cannot be written"),
        (("folder", "--to", "tflite", "--out", "a"), "invalid choice: 'tflite'"),
        (("nothing", "--to", "onnx", "--out", "a"), "is no run"),
    ],
)
def test_bad_input_is_reported_in_one_line_and_writes_nothing(kept_here, capsys, arguments, told):
    (kept_here / "file").write_text("in the way")
    assert ask(*arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert told in line
    assert not list(kept_here.glob("a*"))


def test_a_missing_onnx_says_what_to_install(kept_here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert ask("digits", "--to", "onnx", "--out", "a.onnx") == 2
    assert "pip install -e '.[onnx]'" in capsys.readouterr().err
    assert not list(kept_here.glob("a*"))


def test_the_command_offers_every_format():
    assert tuple(FORMATS) == tuple(command.FORMATS)
