"""``lowres tasks`` on own data, and the page that explains it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lowres.cli import tasks
from lowres.cli.tasks import FOUND
from lowres.data.spec import parse_spec
from lowres.data.task import load_task, shipped_tasks
from tests.cli.conftest import call
from tests.conftest import toy_rows, write_table

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    names = {"text": "Review", "label": "Stars", "domain": "Shop"}
    rows = [{names[key]: value for key, value in row.items()} for row in toy_rows(20)]
    return write_table(tmp_path / "reviews.csv", rows)


def test_check_says_what_it_guessed_and_only_that_on_stderr(table: Path, toy_table: Path) -> None:
    result = call("tasks", "check", table)
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("guessed: text column 'Review' (")
    assert "Stars" not in result.stdout
    assert "guessed" not in call("tasks", "check", toy_table).stderr


def test_check_counts_in_all_and_says_that_nothing_was_found(toy_table: Path) -> None:
    said = call("tasks", "check", toy_table).stdout.splitlines()
    rows = [line.split() for line in said if line.split()[1:2] in (["train"], ["dev"], ["test"])]
    (total,) = (line.split() for line in said if line.startswith("all "))
    assert [int(value) for value in total[1:]] == [
        sum(int(row[place]) for row in rows) for place in range(2, len(rows[0]))
    ]
    assert all(int(row[2]) == sum(map(int, row[3:])) for row in rows)
    (found,) = (line for line in said if line.startswith("found: "))
    counts = dict(part.rsplit(" ", 1) for part in found.removeprefix("found: ").split(" · "))
    assert set(counts) == set(FOUND)
    assert counts["duplicate"] == "0"


def test_init_writes_what_check_reads(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "deep" / "own.yaml"
    target.parent.mkdir()
    written = call("tasks", "init", table, "--output", target, "--name", "own")
    assert (written.exit_code, written.stdout) == (0, "")
    assert f"tasks check {target}" in written.stderr
    assert "path: ../reviews.csv" in target.read_text(encoding="utf-8")
    checked = call("tasks", "check", target)
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.splitlines()[1:] == call("tasks", "check", table).stdout.splitlines()[1:]
    assert load_task(target).name == "own"
    monkeypatch.chdir(tmp_path)
    printed = call("tasks", "init", "reviews.csv").stdout
    assert call("tasks", "show", "reviews.csv").stdout == printed
    assert parse_spec(printed.encode(), "x").source.parts[0].path == "reviews.csv"  # type: ignore[union-attr]
    assert call("tasks", "show", "deep/own.yaml").stdout == target.read_text(encoding="utf-8")


def test_init_of_a_folder(tmp_path: Path) -> None:
    for domain in ("film", "shop"):
        rows = [{"text": row["text"], "label": row["label"]} for row in toy_rows(20) if row["domain"] == domain]
        write_table(tmp_path / f"{domain}.csv", rows)
    assert call("tasks", "init", tmp_path, "--output", tmp_path / "t.yaml").exit_code == 0
    assert load_task(tmp_path / "t.yaml").fingerprint == load_task(tmp_path).fingerprint


def test_the_column_of_the_domains_asked_for_is_found_without_its_name(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": row["label"], "category": row["domain"]} for row in toy_rows(20)]
    table = write_table(tmp_path / "x.csv", rows)
    for command in ("check", "init"):
        assert "--domain-column (category?)" in call("tasks", command, table).stderr
        found = call("tasks", command, table, "--domains", "shop, film")
        assert found.exit_code == 0, found.output
        assert "category" in found.output


def test_a_file_that_is_there_stays(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "own.yaml"
    target.write_text("precious")
    result = call("tasks", "init", table, "--output", target)
    assert (result.exit_code, target.read_text()) == (2, "precious")
    assert "--force" in result.stderr
    assert call("tasks", "init", table, "--output", target, "--label-column", "Starz", "--force").exit_code == 2
    assert target.read_text() == "precious"
    assert call("tasks", "init", table, "--output", target, "--force").exit_code == 0
    assert target.read_text() != "precious"
    before = table.read_bytes()
    assert call("tasks", "init", table, "--output", table, "--force").exit_code == 2
    assert table.read_bytes() == before
    assert call("tasks", "init", table, "--output", tmp_path / "no" / "own.yaml").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "ONE"], "--domain-column"),
        (["init", "ONE"], "--domain-column"),
        (["show", "ONE"], "--domain-column"),
        (["check", "TABLE", "--text-column", "review"], "did you mean 'Review'"),
        (["init", "vader-sentiment"], "a task file already"),
        (["init", "TABLE", "--name", "a/b"], "it could be a-b"),
        (["init", "gone.csv"], "no such file"),
        (["show", "gone.yaml"], "no such file"),
    ],
)
def test_mistakes_are_said_in_three_lines(words: list[str], said: str, table: Path, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": row["label"]} for row in toy_rows(20)]
    own = {"ONE": write_table(tmp_path / "one.csv", rows), "TABLE": table}
    result = call("tasks", *(own.get(word, word) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 3


def test_ls_fits_on_a_page() -> None:
    lines = call("tasks", "ls").stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} == set(shipped_tasks())
    assert all(len(line) <= 100 for line in lines)
    vader = next(line for line in lines if line.startswith("vader-sentiment"))
    assert vader.split()[1:4] == ["2", "pypi", "tweets,"]


def test_many_labels_and_long_lists_are_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row | {"label": f"class {number % 12:02}"} for number, row in enumerate(toy_rows(36))]
    task = load_task(write_table(tmp_path / "x.csv", rows))
    result = call("tasks", "check", tmp_path / "x.csv")
    assert "class" not in result.stdout
    train = task.domains["shop"].train
    sizes = [len(places) for places in train.by_label().values()]
    line = next(line.split() for line in result.stdout.splitlines() if line.startswith("shop") and "train" in line)
    assert line[2:] == [str(len(train)), str(len(sizes)), str(min(sizes) if len(sizes) == 12 else 0), str(max(sizes))]
    monkeypatch.setattr(tasks, "MOST", 1)
    doubled = write_table(tmp_path / "y.csv", [*toy_rows(9), *toy_rows(9)])
    found = call("tasks", "check", doubled)
    items = load_task(doubled).findings.items
    assert f"… and {len(items) - 1} more" in found.stdout


def test_what_a_table_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label\x1b[2J": row["label"], "domain": row["domain"]} for row in toy_rows(20)]
    write_table(tmp_path / "x.csv", rows)
    for command in ("check", "show", "init"):
        result = call("tasks", command, tmp_path / "x.csv")
        assert result.exit_code == 0, result.output
        assert "\x1b[2J" not in result.output
    (tmp_path / "t.yaml").write_text("title: \x1b[2J")
    assert "\x1b" not in call("tasks", "show", tmp_path / "t.yaml").output


def test_the_page_on_own_data_is_run(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page, in order: Python writes files, commands end well, and print the lines shown after them."""
    monkeypatch.chdir(tmp_path)
    quick = ["--backbone", str(encoder), "--precision", "fp32"]
    for setting in ("min_steps=2", "epochs=1", "max_length=24"):
        quick += ["--set", f"recipe.{setting}"]
    ran: list[str] = []
    output = ""
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S):
        if kind == "python":
            exec(compile(block, str(PAGE), "exec"), {})
        elif kind == "bash":
            output = ""
            for line in block.splitlines():
                name, *words = shlex.split(line)
                assert name == "lowres"
                words = [str(encoder) if word == "minilm" else word for word in words]
                own = quick if words[0] in ("run", "plan") else []
                if "--noise" in words:  # the last section of the page
                    pytest.importorskip("cleanlab", reason="cleanlab is not installed: pip install lowres[noise]")
                    own = [*quick[:2], "--max-length", "24"]
                result = call(*words, *own)
                assert result.exit_code == 0, f"{line}\n{result.output}"
                output += result.output
                ran.append(words[0])
        else:
            assert kind == "text"
            for line in block.splitlines():
                assert line in output.splitlines(), line
    assert (ran.count("run"), ran.count("plan"), ran.count("tasks")) == (2, 3, 13)


def test_check_shows_labels_by_domain_where_they_differ(uneven_file: Path) -> None:
    result = call("tasks", "check", uneven_file)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["label", "chat", "film", "shop"] in lines
    assert ["neutral", "40", "–", "40"] in lines
    assert "domain 'film' has no rows of class 'neutral'" in result.stderr


def test_numbers_are_shown_as_numbers(tmp_path: Path) -> None:
    rows = [
        {"text": f"thing {number} of {domain}", "label": str(number % 5), "domain": domain}
        for domain in ("a", "b")
        for number in range(60)
    ]
    write_table(tmp_path / "r.csv", rows)
    (tmp_path / "r.yaml").write_text(
        "name: r\ntype: regression\nrange: [0, 5]\nsource: {kind: files, parts: [{path: r.csv}]}\n"
        "columns: {text: text, label: label, domain: domain}\n"
    )
    made = call("tasks", "check", tmp_path / "r.yaml")
    assert made.exit_code == 0, made.output
    first, header, row, *_ = made.stdout.splitlines()
    assert "0 to 5" in first
    assert header.split() == ["domain", "part", "rows", "lowest", "mean", "highest"]
    part = load_task(tmp_path / "r.yaml").domains["a"].train
    numbers = [float(label) for label in part.labels]
    assert [float(cell) for cell in row.split()[2:]] == [
        len(part), min(numbers), pytest.approx(sum(numbers) / len(numbers), abs=1e-3), max(numbers),
    ]  # fmt: skip
