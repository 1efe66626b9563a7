"""Tables of own images, made from records that no yaml names."""

from pathlib import Path

import pytest
from kept_runs import put_pets
from toy import toy_record

from cotune_bench import cli
from cotune_bench.config import compose_config, run_config, run_key
from cotune_bench.reports import page
from cotune_bench.reports.own_images import own_tables
from cotune_bench.reports.tables import to_markdown
from cotune_bench.storage.records import RecordStore


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with folders of pictures."""
    monkeypatch.chdir(tmp_path)
    put_pets(tmp_path / "pets", count=4)
    put_pets(tmp_path / "more" / "pets", count=3)
    put_pets(tmp_path / "zoo", count=5)
    return tmp_path


def finish(accuracy: float, *overrides: str, **values: object) -> None:
    """Add a record of this configuration."""
    asked = compose_config(["data=folder", "data.root=pets", *overrides])
    config = run_config(asked)
    names = {group: config[group]["name"] for group in ("method", "data", "backbone", "protocol")}
    usual = {"key": run_key(asked), "rate": float(config["rate"]), "seed": config["seed"], "config": config, **names}
    RecordStore(Path("results")).add(toy_record(accuracy=accuracy, **{**usual, **values}))


def tables() -> dict[str, str]:
    return {grid.spec.name: to_markdown(grid) for grid, _ in own_tables(Path("results"))[0]}


def test_a_folder_has_a_table_of_its_own_and_all_have_one_together(here):
    RecordStore(Path("results")).add(toy_record())  # of a published data set
    for seed in (0, 1):
        finish(80 + seed, "method=finetune", f"seed={seed}")
        finish(90, "method=cotuning", f"seed={seed}")
        finish(70, "method=cotuning", f"seed={seed}", "data.root=zoo")
    found = tables()
    assert sorted(found) == ["own-pets", "own-zoo", "own_all"]
    assert "| pets     | Fine-tune |     80.50 ± 0.71 |" in found["own-pets"]
    assert "|          | Co-Tuning | **90.00 ± 0.00** |" in found["own-pets"]
    assert "zoo" not in found["own-pets"]
    assert "| zoo      | Fine-tune |          – (0/2) |" in found["own_all"]
    assert "Trade-offs of the methods are not tuned on these images" in found["own-pets"]


def test_what_differs_never_shares_a_row(here):
    finish(80, "method=cotuning")
    finish(81, "method=cotuning", "method.trade_off=0.5")
    finish(82, "method=cotuning", "protocol.updates=300")
    finish(83, "method=cotuning", "data.root=more/pets")
    (text,) = tables().values()
    roots = {name: f"pets (root={here / name}, updates=" for name in ("pets", "more/pets")}
    for block in (roots["pets"] + "1500)", roots["pets"] + "300)", roots["more/pets"] + "1500)"):
        assert block in text
    for row in ("cotuning (trade_off=0.5)", "cotuning (trade_off=2.3)"):
        assert row in text
    for value in ("80.00", "81.00", "82.00", "83.00"):
        assert text.count(value) == 1


def test_replicates_and_seeds_on_one_split_have_tables_of_their_own(here):
    for number in (0, 1, 2):
        finish(80 + number, "method=finetune", f"replicate={number}")
        finish(90 + number, "method=bss", f"seed={number}")
    found = {grid.spec.name: (grid, status) for grid, status in own_tables(Path("results"))[0]}
    assert sorted(found) == ["own-pets", "own-pets-replicates"]
    (replicates, _), (seeds, _) = found["own-pets-replicates"], found["own-pets"]
    assert replicates.spec.unit == "replicate"
    assert replicates.spec.methods == seeds.spec.methods == ("finetune", "bss")  # BSS with seed 0 is on split 0
    assert replicates.cell("pets", "finetune", 1.0).values == ((0, 80.0), (1, 81.0), (2, 82.0))
    assert seeds.spec.unit == "seed"
    assert seeds.cell("pets", "bss", 1.0).values == ((0, 90.0), (1, 91.0), (2, 92.0))
    assert seeds.cell("pets", "finetune", 1.0).values == ((0, 80.0),)


def test_the_commands_of_a_table_give_its_configurations_again(here):
    for number in (0, 3):  # replicates alone have no table of seeds
        finish(80, "method=finetune", f"replicate={number}", "backbone=glyphnet", "protocol=desk", "data.name=b")
    asked = ["method=bss", "method.k=2", "seed=3", "rate=0.5", "backbone=resnet18", "backbone.weights=random"]
    asked += ["split_seed=1", "data.test_share=0.3", "protocol.views=center", "data.root=more/pets"]
    asked += ["devices=2", "sync_batch_norm=false"]
    finish(80, *asked)
    finish(81, "method=finetune", "protocol=paper", "protocol.drop_at=[5,7]", "precision=bf16", "data.name=a")
    found = {grid.spec.name: status for grid, status in own_tables(Path("results"))[0]}
    assert sorted(found) == ["own-a", "own-b-replicates", "own-pets", "own_all"]
    for name in ("own-a", "own-b-replicates", "own-pets"):
        for cell in found[name].cells:
            assert RecordStore(Path("results")).path(run_key(compose_config(cell.overrides))).exists(), cell.overrides


def test_a_block_names_model_and_weights_without_their_path(here):
    asked = ["method=finetune", "backbone=timm", "backbone.model=resnet10t", "seed=0"]
    finish(80, *asked, "backbone.weights=/home/me/one.pth", weights_sha256="a" * 64, weights="one.pth")
    finish(81, *asked, "backbone.weights=/home/me/two.pth", weights_sha256="b" * 64, weights="two.pth")
    (text,) = tables().values()
    assert "pets (weights=one aaaaaaaa)" in text
    assert "pets (weights=two bbbbbbbb)" in text
    assert "backbone timm resnet10t" in text
    assert "/home/me" not in text


def test_make_tables_writes_them_beside_the_named_ones(here, capsys, monkeypatch):
    monkeypatch.setattr(page, "grid_figures", lambda *_: ([], []))
    finish(80, "method=finetune", "protocol.updates=3")
    finish(90, "method=cotuning")
    assert cli.main(["tables"]) == 0
    assert "Own images: pets" in capsys.readouterr().out
    assert "pets (updates=3)" in Path("results/report.html").read_text()
    assert {path.name for path in Path("results/tables").iterdir()} == {
        f"own-pets{end}" for end in (".md", ".csv", ".tex", ".html", "-compare.md", "-compare.csv")
    }
    assert cli.main(["tables", "table=desk"]) == 0
    assert "Own images" not in capsys.readouterr().out
