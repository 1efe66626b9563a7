"""Networks written for other programs, loaded where this package cannot be imported."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from kept_runs import kept

from cotune_bench import cli
from cotune_bench.cli import export as command
from cotune_bench.inference import export as exporting
from cotune_bench.inference.export import FORMATS, example

#: This package can neither be found nor imported.
ALONE = """
import sys
sys.modules["cotune_bench"] = None
import numpy, torch
torch.set_grad_enabled(False)
"""
#: Runs the printed lines, then predicts the images beside them.
OUTSIDE = """
images = numpy.load("{data}.npy")
images = images if "{to}" == "onnx" else torch.from_numpy(images)
{lines}
{predict}
numpy.save("{to}.npy", numpy.asarray(logits))
"""


def ask(*arguments: str) -> int:
    return cli.main(["export", *arguments])


@pytest.mark.filterwarnings("default")  # of exporters
def test_three_printed_lines_load_a_network_without_this_package(kept_here, capsys):
    files = [("folder", "state_dict", 'it\'s "mine" ä.pt'), ("digits", "torch_export", "network.pt2")]
    if all(find_spec(library) for library in ("onnx", "onnxscript", "onnxruntime")):
        files.append(("digits", "onnx", "network.onnx"))
    code, expected = ALONE, {}
    for data, to, name in files:
        assert ask(data, "--to", to, "--out", name) == 0
        told = capsys.readouterr().out.splitlines()
        if data == "folder":  # ResNet-18 without its classifier has 11,176,512 parameters; 3 classes add 3 x 512 + 3
            assert "11,178,051 parameters" in told[0]
        source = kept(kept_here / "results", data)
        images = example(source, 3)
        np.save(f"{data}.npy", images.numpy())
        predict = "" if "logits" in told[-1] else "logits = network(images)"
        code += OUTSIDE.format(data=data, to=to, lines="\n".join(told[-3:]), predict=predict)
        with torch.no_grad():
            expected[to] = source.method().predict(images).numpy()
        about = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
        assert about["classes"] == list(source.classes)
        assert about["input"] == source.card["input"]
        if to == "onnx":
            graph = pytest.importorskip("onnx").load(name).graph
            shapes = [value.type.tensor_type.shape.dim for value in (*graph.input, *graph.output)]
            assert [shape[0].dim_param for shape in shapes] == ["batch", "batch"]
            assert [axis.dim_value for axis in shapes[0][1:]] == [1, 8, 8]
    ended = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for to, logits in expected.items():
        np.testing.assert_allclose(np.load(f"{to}.npy"), logits, rtol=1e-4, atol=1e-5)


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
