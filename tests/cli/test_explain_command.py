from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import lowres
from lowres.cli.main import app
from tests.conftest import toy_rows

pytest.importorskip("captum", reason="captum is not installed: pip install 'lowres[explain]'")

ROWS = [row for row in toy_rows(20) if row["domain"] == "film"]


@pytest.fixture(scope="module")
def adapter(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"learning_rate": 5e-3, "head_learning_rate": 5e-2, "min_steps": 40, "max_length": 24}
    fitted = lowres.Classifier(backbone=encoder, recipe=recipe, precision="fp32")
    fitted.fit([row["text"] for row in ROWS], [row["label"] for row in ROWS])
    return fitted.save(tmp_path_factory.mktemp("model") / "adapter")


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["explain", *(str(word) for word in words)])


def test_json_and_plain_text_say_the_same(adapter: Path) -> None:
    found = [json.loads(line) for line in call(adapter, "a good plot", "bad scene", "--json").stdout.splitlines()]
    assert [one["text"] for one in found] == ["a good plot", "bad scene"]
    result = call(adapter, "a good plot", "bad scene")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    for one, title, text in zip(found, result.stdout.splitlines()[::2], result.stdout.splitlines()[1::2], strict=True):
        assert title == f"{one['label']} {one['probability']:.1%}"
        strongest = max(one["words"], key=lambda word: abs(word["weight"]))
        shown = f"{strongest['word']}({strongest['weight']:+.2f})".replace("-", "−")
        assert shown in text
        assert f"off by {one['gap']:.1%} after {one['steps']} steps" in result.stderr
    (other,) = (
        json.loads(line) for line in call(adapter, "a good plot", "--label", "negative", "--json").stdout.splitlines()
    )
    assert (other["label"], other["predicted"]) == ("negative", found[0]["predicted"])


def test_the_page_is_escaped_and_needs_no_network(adapter: Path, tmp_path: Path) -> None:
    evil = "good <script>alert(1)</script> \x1b[31m & plot"
    result = call(adapter, evil, "--html", tmp_path / "a.html")
    assert result.exit_code == 0
    text = (tmp_path / "a.html").read_text()
    assert "<script" not in text
    assert "script" in text  # its words are shown
    assert not re.search(r"(src|href)=|url\(|https?:", text)
    assert "\x1b" not in text + result.stdout + result.stderr
    assert re.search(r'class="for s\d+"', text)
    assert "unsafe" not in text
    assert "style=" not in text
    (style,) = re.findall("<style>(.*?)</style>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src &#39;sha256-{digest}&#39;" in text


def test_colour_on_a_terminal_only(
    adapter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lowres.analysis.explain import explain
    from lowres.report.attributions import coloured

    (one,) = explain(lowres.load(adapter), ["a good plot"])
    styles = {str(span.style) for span in coloured(one).spans}
    assert coloured(one).plain == "a good plot"
    assert styles & {"green", "bold green", "red", "bold red"}


def test_what_changed_between_domains(adapter: Path, toy_table: Path) -> None:
    words = [adapter, "--task", toy_table, "--compare", "shop,film", "--limit", 30]
    found = [json.loads(line) for line in call(*words, "--json").stdout.splitlines()]
    assert found
    gaps = [abs(one["in_target"] - one["in_source"]) for one in found]
    assert gaps == sorted(gaps, reverse=True)
    assert all(min(one["source_texts"], one["target_texts"]) >= 5 for one in found)
    shown = call(*words).stdout.splitlines()
    assert shown[0].split() == ["weight", "for", "positive", "shop", "(texts)", "film", "(texts)"]
    assert [line.split()[0] for line in shown[1:]] == [one["word"] for one in found]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["good", "--compare", "shop,film"],
        ["good", "--task", "x.csv"],
        ["--compare", "shop,film"],
        ["--task", "x.csv"],
    ],
)
def test_faults_are_the_users(adapter: Path, words: list[str]) -> None:
    result = call(adapter, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing to explain" in result.stderr


def test_more_faults(adapter: Path, toy_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean 'film'" in call(adapter, "--task", toy_table, "--compare", "shop,fil").stderr
    assert "two domains" in call(adapter, "--task", toy_table, "--compare", "shop").stderr
    assert call(adapter, "good", "--html", tmp_path).exit_code == 2
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    result = call(adapter, "good")
    assert result.exit_code == 2
    assert "pip install 'lowres[explain]'" in result.stderr
