"""The Python API gives what the command line gives, takes pixels and files, and refuses what would mislead."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_dataset
from PIL import Image
from toy import toy_record

import cotune_bench as cb
from cotune_bench import cli
from cotune_bench.config import compose_config
from cotune_bench.training.experiment import Experiment

SMALL = {"weights": "random"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COTUNE_CACHE", str(tmp_path / "cache"))


def short(head_init: str = "normal", **values) -> cb.Data:
    """Digits for a few updates."""
    protocol = cb.load_protocol("desk", updates=5, drop_at=[3], head_init=head_init)
    return cb.load_data("digits", cb.load_backbone("glyphnet", **SMALL), rate=0.15, protocol=protocol, **values)


def test_the_package_is_imported_without_torch_and_numpy():
    code = "import sys, cotune_bench; assert not {'torch', 'numpy'} & set(sys.modules); cotune_bench.relationship"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)


def test_all_public_names_are_there():
    for name in cb.__all__:
        assert getattr(cb, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cb.nothing  # noqa: B018


@pytest.mark.parametrize("init", ["normal", "torch"])
def test_weights_are_those_of_the_command_line_s_run(tmp_path, init):
    updates = ["protocol.updates=5", "protocol.drop_at=[3]", f"protocol.head_init={init}"]
    overrides = ["method=cotuning", "method.trade_off=2.3", "seed=3", *updates, f"results={tmp_path}"]
    run = Experiment.build(compose_config([*overrides, "backbone.weights=random", "device=cpu"]))
    run.train()

    data, backbone = short(init, seed=3), cb.load_backbone("glyphnet", **SMALL)
    torch.manual_seed(3)
    fitted = cb.fit(cb.CoTuning(backbone, len(data.classes), trade_off=2.3), data, device="cpu")
    expected = run.method.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fitted.method.state_dict().items())
    record = run.record(0.0)
    assert fitted.evaluate() == {"accuracy": record.accuracy, "nll": record.nll}


def test_pixels_and_files_are_predicted_as_the_test_images_are(tmp_path):
    data = short()
    backbone = cb.load_backbone("glyphnet", **SMALL)
    fitted = cb.fit(cb.FineTune(backbone, 10), data, device="cpu")
    probabilities = fitted.predict()
    assert probabilities.shape == (899, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    images = data.target.test.images.take(np.arange(3))
    np.testing.assert_allclose(fitted.predict(images), probabilities[:3], atol=1e-6)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[..., 0]).convert("RGB").save(file)
    np.testing.assert_allclose(fitted.predict(files), probabilities[:3], atol=1e-6)
    with pytest.raises(cb.UserError, match=r"images are float64 \(3, 8, 8, 1\): give uint8"):
        fitted.predict(images / 255)


def test_a_folder_is_read_whatever_its_name(tmp_path):
    folder = tmp_path / "it's, [mine]"
    for kind in ("light", "dark"):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            shade = (200 if kind == "light" else 20) + number
            Image.new("RGB", (12, 9), (shade,) * 3).save(folder / kind / f"{number}.png")
    protocol = cb.load_protocol("desk", resize=32, crop=32)
    data = cb.load_data("folder", cb.load_backbone("resnet18", weights="random"), root=folder, protocol=protocol)
    assert data.classes == ("dark", "light")
    assert len(data.target.test) == 2


def test_a_backbone_is_trained_once():
    data, backbone = short(), cb.load_backbone("glyphnet", **SMALL)
    cb.fit(cb.BSS(backbone, 10), data, device="cpu")
    with pytest.raises(cb.UserError, match="this backbone was trained before"):
        cb.fit(cb.FineTune(backbone, 10), data, device="cpu")


def test_wrong_names_and_values_are_reported_in_one_line():
    with pytest.raises(cb.UserError, match="backbone=resnet5 is unknown: did you mean resnet50"):
        cb.load_backbone("resnet5")
    with pytest.raises(cb.UserError, match=r"protocol\.update is not a setting: did you mean protocol.updates"):
        cb.load_protocol("desk", update=5)
    with pytest.raises(cb.UserError, match="rate=2 cannot be used"):
        cb.load_data("digits", cb.load_backbone("glyphnet", **SMALL), rate=2)
    with pytest.raises(cb.UserError, match="images of your own need protocol="):
        cb.load_data(make_dataset(), cb.load_backbone("glyphnet", **SMALL))


def test_progress_is_reported_with_the_terms_of_the_loss():
    told = []
    cb.fit(
        cb.L2SP(cb.load_backbone("glyphnet", **SMALL), 10),
        short(),
        device="cpu",
        report=lambda updates, lr, terms: told.append((updates, sorted(terms))),
    )
    assert told == [(5, ["ce", "head", "sp"])]


def test_names_are_completed_before_anything_is_imported():
    code = "import sys, cotune_bench as cb; print(sorted(set(cb.__all__) - set(dir(cb))), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "[] False\n"


@pytest.fixture
def fitted() -> cb.Fitted:
    data = short()
    return cb.fit(cb.BSS(cb.load_backbone("glyphnet", **SMALL), len(data.classes), weight=0.02), data, device="cpu")


def test_what_notebooks_show_is_short(fitted, tmp_path):
    network = fitted.save(tmp_path / "kept")
    for shown in (fitted, fitted.data, network, toy_record()):
        assert len(repr(shown).splitlines()) < 10
        assert len(repr(shown)) < 800
        assert shown._repr_html_().count("<tr>") == len(repr(shown).splitlines())
    assert "0: 0, 1, 2, 3, 4, ..." in repr(fitted)
    assert "BSS" in repr(fitted)


def test_one_file_a_path_a_list_and_one_image_are_predicted(fitted, tmp_path):
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    expected = fitted.predict(picture[None, :, :, None])
    assert expected.shape == (1, 10)
    for one in (tmp_path / "x.png", str(tmp_path / "x.png"), [tmp_path / "x.png"], picture[:, :, None]):
        np.testing.assert_allclose(fitted.predict(one), expected, rtol=1e-6)


def test_a_saved_network_predicts_the_same_from_python_and_from_the_command_line(fitted, tmp_path, capsys):
    folder = tmp_path / "kept"
    network = fitted.save(folder)
    pixels = fitted.data.target.test.images.take(np.arange(20))
    np.testing.assert_allclose(cb.load(folder).predict(pixels), fitted.predict(pixels), atol=1e-6)
    assert network.classes == fitted.data.classes
    assert network.kept.card["method"] == {"name": "bss", "weight": 0.02, "k": 1}
    assert network.kept.card["accuracy"] == fitted.evaluate()["accuracy"]
    Image.fromarray(pixels[0, :, :, 0]).save(tmp_path / "x.png")
    assert cli.main(["predict", str(folder), str(tmp_path / "x.png"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["top"][0]
    row = fitted.predict(tmp_path / "x.png")[0]
    assert first["class"] == fitted.data.classes[row.argmax()]
    assert first["probability"] == pytest.approx(row.max(), abs=1e-6)


def test_saving_is_refused_where_the_network_could_not_be_built_again(fitted, tmp_path):
    with pytest.raises(cb.UserError, match=r"did you mean onnx\? choose state_dict, torch_export, onnx"):
        fitted.export("onxx", tmp_path / "x")
    with pytest.raises(cb.UserError, match=r"model\.json is missing"):
        cb.load(tmp_path)
    fitted.method.k = 3.5  # a setting that the method does not take is no part of its layers
    with torch.no_grad():
        fitted.method.register_buffer("stray", torch.zeros(1))
    with pytest.raises(cb.UserError, match="has layers of another version"):
        fitted.save(tmp_path / "kept")


def test_a_network_is_exported_from_python(fitted, tmp_path):
    lines = fitted.export("torch_export", tmp_path / "x.pt2")
    assert (tmp_path / "x.pt2").is_file()
    assert lines[-1] == "logits = network(images)"


def test_fit_shows_a_bar_in_notebooks(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html)

    def display(html, display_id):
        shown.append(html)
        return Handle()

    module = SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=module))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    data = short()
    cb.fit(cb.FineTune(cb.load_backbone("glyphnet", **SMALL), len(data.classes)), data, device="cpu")
    assert shown[0].startswith('<progress value="0" max="5"></progress> FineTune 0/5 updates')
    assert shown[-1].startswith('<progress value="5" max="5"></progress> FineTune 5/5 updates, about 0 s left ce ')
    assert len(shown) == 6
