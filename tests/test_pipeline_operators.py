"""``use`` and ``with``: which classes a pipeline file may name, and what their constructors take."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmstream.pipeline import PipelineError, check, load, read_text
from tests.pipeline_texts import ALLOW, CHAIN, FUSED, changed, graph_of, problem_of, written

# Arguments.


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("toys:Mel,", "toys:Mel, with: {n_mel: 4},", "4: Mel takes no 'n_mel'; did you mean 'n_mels'?"),
        ("toys:Mel,", "toys:Mel, with: {zzz: 4},", "4: Mel takes no 'zzz'; it takes 'n_mels', 'hop_ms', 'centre'"),
        ("toys:Show,", "toys:Show, with: {zzz: 4},", "7: Show takes no 'zzz'; it takes no arguments"),
        ("toys:Mel,", "toys:Mel, n_mels: 4,", "4: 'n_mels' is an argument of 'mel' (Mel): write it under 'with'"),
        ("{model: small}", "{}", "5: Decode needs 'model' under 'with': text"),
        ("{model: small}", "{modle: small}", "5: Decode takes no 'modle'; did you mean 'model'?"),
        (
            "{model: small}",
            "[model]",
            "5: 'with' must be a mapping from the arguments of Decode to values, not ['model']",
        ),
        ("{model: small}", "{model: 5}", "5: Decode takes text for 'model', not 5; put it in quotes"),
        ("{model: small}", "{model: {a: 1}}", "5: Decode takes text for 'model', not {a: 1}"),
        (
            "{model: small}",
            "{model: a, words: [a, 1]}",
            "5: Decode takes a list of texts or null for 'words', not ['a', 1]",
        ),
        ("{model: small}", "{model: a, words: a}", "5: Decode takes a list of texts or null for 'words', not 'a'"),
        (
            "{model: small}",
            "{model: a, weights: {x: y}}",
            "5: Decode takes a mapping from names to numbers or null for 'weights', not {x: 'y'}",
        ),
        ("toys:Mel,", "toys:Mel, with: {n_mels: 4.5},", "4: Mel takes an integer for 'n_mels', not 4.5"),
        ("toys:Mel,", "toys:Mel, with: {n_mels: true},", "4: Mel takes an integer for 'n_mels', not true"),
        (
            "toys:Mel,",
            "toys:Mel, with: {n_mels: '80'},",
            "4: Mel takes an integer for 'n_mels', not '80'; write it without quotes",
        ),
        ("toys:Mel,", "toys:Mel, with: {n_mels: },", "4: Mel takes an integer for 'n_mels', not null"),
        ("toys:Mel,", "toys:Mel, with: {hop_ms: .nan},", "4: Mel takes a number for 'hop_ms', not nan"),
        ("toys:Mel,", "toys:Mel, with: {centre: 1},", "4: Mel takes true or false for 'centre', not 1"),
        ("toys:Mic}", "toys:Mic, with: {device: [1]}}", "3: Mic takes text, an integer or null for 'device', not [1]"),
        (
            "toys:Commit,",
            "toys:Commit, with: {sizes: [1, x]},",
            "6: Commit takes a list of integers for 'sizes', not [1, 'x']",
        ),
        (
            "toys:Commit,",
            "toys:Commit, with: {size: [1]},",
            "6: Commit takes a list of 2: an integer and an integer for 'size', not [1]",
        ),
    ],
)
def test_wrong_arguments(old, new, said):
    assert problem_of(changed(old, new)) == said


def test_wrong_choice_is_told_the_right_ones():
    text = changed("{path: a.mp4}", "{path: a.mp4, pace: realtim}", FUSED)
    assert problem_of(text) == "4: Clip takes 'fast' or 'realtime' for 'pace', not 'realtim'; did you mean 'realtime'?"


def test_arguments_arrive_as_annotated():
    text = changed("toys:Commit,", "toys:Commit, with: {sizes: [1, 2], size: [3, 4], folder: out},")
    assert graph_of(text).nodes["commit"].arguments == {"sizes": (1, 2), "size": (3, 4), "folder": Path("out")}
    free = changed("toys:Show,", "toys:Free, with: {whatever: [1]},")
    assert graph_of(free).nodes["show"].arguments == {"whatever": [1]}


# Operators.


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("toys:Mell", "4: tests.pipeline_toys has no operator 'Mell'; did you mean 'Mel'?"),
        ("operators.adio:Resample", "4: there is no module 'operators.adio'; did you mean 'operators.audio'?"),
        ("operators.audio:Resampel", "4: operators.audio has no operator 'Resampel'; did you mean 'Resample'?"),
        ("Resample", "4: 'Resample' is not of the form MODULE:Class; did you mean 'operators.audio:Resample'?"),
        (
            "operators.audio.Vad",
            "4: 'operators.audio.Vad' is not of the form MODULE:Class; did you mean 'operators.audio:Vad'?",
        ),
        (
            "toys:NOT_A_CLASS",
            "4: tests.pipeline_toys:NOT_A_CLASS is not an operator: it does not derive from Operator or Source",
        ),
        ("toys:Unfinished", "4: tests.pipeline_toys:Unfinished is abstract: it lacks open and process"),
        ("toys:Typeless", "4: tests.pipeline_toys:Typeless does not say what it accepts"),
        ("5", "4: 'use' must name an operator, such as operators.audio:Resample, not 5"),
        ("os:system", "4: the module 'os' is not allowed"),
        ("subprocess:Popen", "4: the module 'subprocess' is not allowed"),
        ("operators:Mel", "4: operators has no operator 'Mel'; did you mean 'tests.pipeline_toys:Mel'?"),
    ],
)
def test_wrong_operators(use, said):
    assert problem_of(changed("toys:Mel,", f"{use},")).startswith(said)


def test_a_module_that_is_not_allowed_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "spoilt_operators.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = changed("toys:Mel,", "spoilt_operators:Mel,")
    assert "add --allow spoilt_operators" in problem_of(text)
    assert "spoilt_operators" not in sys.modules
    with pytest.raises(PipelineError, match=r"cannot be imported: RuntimeError: imported \(.*spoilt_operators.py:1\)"):
        check(read_text(written(text), "p.yaml", {}), (*ALLOW, "spoilt_operators"))


def test_an_allowed_module_is_found_beside_the_pipeline_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "near_operators.py").write_text("from tests.pipeline_toys import Mel as Base\nclass Mine(Base): ...\n")
    path = tmp_path / "p.yaml"
    path.write_text(written(changed("toys:Mel,", "near_operators:Mine,")))
    graph = load(path, allow=(*ALLOW, "near_operators"))
    assert graph.nodes["mel"].kind.__name__ == "Mine"


def test_allow_takes_module_names():
    with pytest.raises(PipelineError, match=r"--allow \./mine\.py: --allow takes the name of a module"):
        check(read_text(written(CHAIN), "p.yaml", {}), (*ALLOW, "./mine.py"))
