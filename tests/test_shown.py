"""What people show to others: figures, model cards, contact sheets, exported networks."""

import numpy as np
import pandas as pd
import pytest
import yaml
from kept_runs import kept

from cotune_bench.inference.predict import Predicted, surest_mistakes
from cotune_bench.reports.figures.base import NUMBERED, heat_map, image, settings
from cotune_bench.reports.figures.pictures import mistakes_figure


def shares(classes: int) -> pd.DataFrame:
    names = pd.Index([f"class{number}" for number in range(classes)])
    return pd.DataFrame(np.eye(classes) * 80 + 0.2, names, names)


def test_pdf_figures_have_truetype_fonts():
    with settings():
        content = image(heat_map(shares(3), "a", "b", "c"), "pdf")
    assert b"/Type3" not in content
    assert b"/FontFile2" in content  # an embedded TrueType font


@pytest.mark.parametrize(("classes", "texts"), [(NUMBERED, NUMBERED), (NUMBERED + 1, 0)])
def test_a_confusion_matrix_has_numbers_where_there_is_room(classes, texts):
    with settings():
        (axes, _) = heat_map(shares(classes), "a", "b", "c").axes
    assert [text.get_text() for text in axes.texts] == ["80"] * texts


def test_the_surest_mistakes_come_first_and_are_drawn_with_both_names():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([1, 1, 0, 1])
    places = surest_mistakes(Predicted(None, probabilities), labels, most=2)
    assert places.tolist() == [0, 2]
    pictures = np.zeros((2, 8, 8, 1), np.uint8)
    names = ("\x1b[31m", "a very long name of a class")
    figure = mistakes_figure(pictures, labels[places], probabilities[places], names)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["a very long nam…\n→ \\x1b[31m 90 %", "\\x1b[31m\n→ a very long nam… 70 %"]
    assert set(titles[2:]) == {""}
    assert mistakes_figure(pictures[:0], labels[:0], probabilities[:0], ("a", "b")) is None


def test_evaluate_writes_the_contact_sheet(kept_here, ask):
    run = kept(kept_here / "results", "digits")
    answer = ask("evaluate", run.card["key"], "device=cpu", "--out", "here")
    assert answer.code == 0
    assert (kept_here / "here" / "mistakes.png").read_bytes().startswith(b"\x89PNG")
    assert "mistakes.png" in answer.err


def test_a_model_card_has_metadata_code_limits_and_a_citation(kept_here):
    run = kept(kept_here / "results", "digits")
    text = (run.folder / "model_card.md").read_text(encoding="utf-8")
    empty, metadata, page = text.split("---\n", 2)
    about = yaml.safe_load(metadata)
    assert empty == ""
    assert about["pipeline_tag"] == "image-classification"
    (result,) = about["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": round(run.card["accuracy"], 2)}]
    code = page.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) == 3
    picture = next(kept_here.joinpath("results").resolve().parent.rglob("pets/*/*.png"))
    code = code.replace("FOLDER", str(run.folder)).replace("photo.jpg", str(picture))
    names: dict = {}
    exec(code, names)  # noqa: S102
    assert names["probabilities"].shape == (1, 10)
    assert "\n## Limits\n" in page
    assert "\n## Citation\n" in page
