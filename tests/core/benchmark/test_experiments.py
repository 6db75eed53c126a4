"""The harness: which conditions, by how many processes, written down one by one and taken up again."""

import json

import pytest
import torch

from byav_core import __main__ as cli
from byav_core.benchmark.conditions import CONDITIONS
from byav_core.benchmark.experiments import Run, Setup, chosen, measure_here, summary
from byav_core.benchmark.report import as_markdown, by_step, write_report
from byav_core.benchmark.results import read_results, write_results
from byav_core.benchmark.scores import Score
from byav_core.checkpoints import save_models


@pytest.fixture(scope="module")
def weights(studio, tmp_path_factory):
    """A file of the small untrained models."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_models(studio.models, path)
    return path


def experiments(*arguments):
    return cli.main(["experiments", *(str(argument) for argument in arguments)])


def test_conditions_are_chosen_by_patterns_with_their_extent():
    runs = chosen(["*", "close*:24x1", "close, intra:8"], 64, 3, ["main"])
    assert all(CONDITIONS[one.condition].model == "main" for one in runs)
    extents = {one.condition: (one.scenes, one.seeds) for one in runs}
    assert extents["intra"] == (64, 3)
    assert extents["close, boxes"] == (24, 1)
    assert extents["close, intra"] == (8, 3)


def test_conditions_of_other_weights_are_measured_when_those_are_given():
    with pytest.raises(ValueError, match="'without eq. 3 and 4' need other weights"):
        chosen(["without eq. 3 and 4"], 1, 1, ["main"])
    assert chosen(["without eq*"], 1, 2, ["main", "no eq. 3 and 4"]) == (Run("without eq. 3 and 4", 1, 2),)


@pytest.mark.parametrize("pattern, said", [("inter", "no condition is named 'inter'"), ("intra:1x2x3", "write 24x1")])
def test_what_cannot_be_chosen_is_said(pattern, said):
    with pytest.raises(ValueError, match=said):
        chosen([pattern], 1, 1, ["main"])


def test_each_metric_is_summed_up_over_the_scenes_that_speak_of_it():
    found = summary([{"a": Score(1, 2, 2)}, {"a": Score(2, 2, 2), "b": Score(1, 1, 1)}, {"c": Score()}])
    assert found["a"]["mean"] == 0.75 and found["a"]["n"] == 4
    assert found["b"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 1}
    assert "c" not in found


@pytest.mark.slow
def test_the_command_measures_writes_and_takes_up_again(weights, tmp_path, capsys):
    out = tmp_path / "experiments.json"
    told = ("--model", weights, "--out", out, "--scenes", 2, "--seeds", 1, "--steps", 1, "--workers", 2)
    assert experiments(*told, "--conditions", "true video") == 0
    first = read_results(out)
    assert first["conditions"]["true video"]["binding/true"]["mean"] == 1.0
    assert first["runs"] == {"true video": {"scenes": 2, "seeds": 1}}
    assert experiments(*told, "--conditions", "true video", "intra", "--resume") == 0
    second = read_results(out)
    assert second["conditions"]["true video"] == first["conditions"]["true video"]
    assert {"mean", "low", "high", "n"} == set(second["conditions"]["intra"]["joint/own"])
    assert second["conditions"]["intra"]["passes"]["mean"] == 2
    assert experiments(*told, "--conditions", "intra, noised") == 0
    assert read_results(out)["conditions"].keys() == {"true video", "intra", "intra, noised"}  # nothing is lost
    assert experiments("--out", out, "--report") == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"experiments.md", "experiments_binding.png"}


@pytest.mark.slow
def test_results_of_other_settings_are_not_mixed(weights, tmp_path, capsys):
    out = tmp_path / "experiments.json"
    told = ("--model", weights, "--out", out, "--scenes", 1, "--seeds", 1, "--workers", 1)
    assert experiments(*told, "--conditions", "true video", "--steps", 1) == 0
    for how in ((), ("--resume",)):
        assert experiments(*told, "--conditions", "true video", "--steps", 2, *how) == 2
        assert "was measured with other settings (steps)" in capsys.readouterr().err
    assert read_results(out)["measured"]["steps"] == 1


def test_weights_that_cannot_be_loaded_are_known_before_the_first_film(weights, tmp_path, capsys):
    (tmp_path / "other.safetensors").write_bytes(weights.read_bytes()[:1000])
    told = ("--model", weights, "--out", tmp_path / "experiments.json", "--conditions", "true video", "--workers", 1)
    assert experiments(*told, "--weights", f"no eq. 3 and 4={tmp_path / 'other.safetensors'}") == 2
    assert "other.safetensors" in capsys.readouterr().err and not (tmp_path / "experiments.json").exists()


def test_a_handful_of_scenes_is_measured_in_this_process(weights):
    found = measure_here(Setup((("main", str(weights)),), steps=1), Run("true masks", 2, 1))
    assert found["iou"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": found["iou"]["n"]}
    assert found["identity/own"]["n"] == 4


def test_films_can_be_looked_at(weights, tmp_path):
    sheet = tmp_path / "films.png"
    told = ("--model", weights, "--steps", 1, "--scenes", 1, "--sheet", sheet)
    assert experiments(*told, "--conditions", "intra") == 0
    assert sheet.stat().st_size > 1000
    assert experiments(*told, "--conditions", "intra, noised") == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--scenes", 0), "--scenes 0 is too few"),
        (("--weights", "no eq. 3 and 4"), "write NAME=FILE"),
        (("--weights", "no eq 3=tiny.safetensors"), "no condition needs weights of that name"),
        (("--weights", "no eq. 3 and 4=nowhere.safetensors"), "there is no file nowhere.safetensors"),
        (("--guidance", "nan", "2"), "--guidance nan 2.0 is no pair of numbers"),
        (("--sheet", "films.jpg"), "films.jpg should end in .png"),
        (("--conditions", "nonsense"), "no condition is named"),
        (("--out", "nowhere/at/all.json"), "there is no folder"),
        (("--report", "--out", "nothing.json"), "measure first"),
    ],
)
def test_what_the_user_can_mend_is_said_in_a_sentence(arguments, said, capsys):
    assert experiments(*arguments) == 2
    assert said in capsys.readouterr().err


def test_a_setup_names_the_weights_of_each_model():
    assert (
        Setup((("main", "tiny"), ("no eq. 3 and 4", "other.safetensors"))).weights["no eq. 3 and 4"]
        == "other.safetensors"
    )


def test_the_page_says_what_was_found_and_whether_it_was_aimed_at(tmp_path):
    measured = {"mean": 0.97, "low": 0.9, "high": 1.0, "n": 40}
    report = {
        "measured": {
            "model": "tiny",
            "weights": {"main": "abc", "no eq. 3 and 4": "def"},
            "speech": "eSpeak NG",
            "steps": 8,
            "scheduler": "dpm",
            "guidance": {"text": 1.0, "audio": 2.0},
        },
        "runs": {"intra": {"scenes": 64, "seeds": 3}},
        "conditions": {"intra": {"binding/own": measured, "iou, step 1, layer 1": measured}},
    }
    page = as_markdown(report)
    goal = (
        "| each mouth follows its voice | intra | binding/own | at least 0.95 | 0.97 [0.90, 1.00] | yes, not certain |"
    )
    assert goal in page
    assert "0.97 [0.90, 1.00]" in page and "64x3" in page
    for words in ("--voices FOLDER", '--weights "no eq. 3 and 4=FILE"', "--guidance 1 2", '"intra:64x3"'):
        assert words in page[page.index("## The command") :]
    source = tmp_path / "experiments.json"
    write_results(report, source)
    assert json.loads(source.read_text()) == report["conditions"]
    assert [path.name for path in write_report(source)] == [
        "experiments.md",
        "experiments_binding.png",
        "experiments_masks.png",
    ]


MEASURED = '{"mean": 1, "low": 1, "high": 1, "n": 2}'


@pytest.mark.parametrize(
    "about, results, said",
    [
        ("{", "{}", "experiments_run.json is damaged"),
        ('{"measured": {}, "runs": {}}', "{'", "experiments.json is damaged"),
        ('{"measured": {}, "runs": {}}', "[]", "experiments.json holds no results"),
        ('{"runs": {}}', "{}", "does not say what was measured"),
        ('{"measured": {}, "runs": {}}', '{"intra": {"iou": ' + MEASURED + "}}", "holds no results of 'intra'"),
        (
            '{"measured": {}, "runs": {"intra": 1}}',
            '{"intra": {"iou": {"mean": null}}}',
            "holds no results of 'intra'",
        ),
        ('{"measured": {}, "runs": {"intra": 1}}', '{"intra": 3}', "holds no results of 'intra'"),
    ],
)
def test_damaged_results_are_named(about, results, said, tmp_path):
    (tmp_path / "experiments_run.json").write_text(about)
    (tmp_path / "experiments.json").write_text(results)
    with pytest.raises(ValueError, match=said):
        read_results(tmp_path / "experiments.json")


def test_steps_and_layers_are_read_in_order():
    metrics = {f"iou, step {s}, layer {layer}": {"mean": s + layer / 10} for s in (1, 2) for layer in (1, 2, 3)}
    assert torch.allclose(torch.tensor(by_step(metrics)), torch.tensor([[1.1, 1.2, 1.3], [2.1, 2.2, 2.3]]))
