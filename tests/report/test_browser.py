"""The page in a real Chromium: nothing is asked of a network, nothing is complained of, and keys work."""

from __future__ import annotations

import csv as tables
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowres.report import html
from tests.report import studies
from tests.report.browser import PROGRAM, Browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here: apt-get install chromium")
EVIL = ("=1+1", '"><img src=http://evil.example/x onerror=alert(1)>', "مراجعات")
SORTED = "[...document.querySelectorAll('#drops tbody tr')].map(row => row.cells[{column}].textContent)"
CATCH = """(() => {{
  const kept = URL.createObjectURL;
  return new Promise(done => {{
    URL.createObjectURL = blob => {{ blob.text().then(done); return kept.call(URL, blob); }};
    document.querySelector('#{table} button.csv').click();
  }});
}})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html.render(*studies.study(("movie", "amazon", "tweets", "nyt"))), encoding="utf-8")
    return path


def quiet(browser: Browser, path: Path) -> None:
    """No request but for the page itself, no word in the console, no exception."""
    asked = [found["request"]["url"] for found in browser.of("Network.requestWillBeSent")]
    assert asked == [path.as_uri()]
    assert not browser.of("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_opens_and_fits(browser: Browser, page: Path, width: int, dark: bool, tmp_path: Path) -> None:
    browser.open(page, width=width, dark=dark)
    quiet(browser, page)
    assert browser.run("document.documentElement.scrollWidth") <= width
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
    assert browser.run("document.querySelector('#verdict').getBoundingClientRect().top") < 300
    small = (
        "[...document.querySelectorAll('figure:not(.wide) svg')].filter(one => one.getBoundingClientRect().width < 290)"
    )
    assert browser.run(f"{small}.length") == 0
    browser.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_columns_are_sorted_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelectorAll('#drops thead button')[5].focus()")
    values = (
        "[...document.querySelectorAll('#drops tbody tr')].map(row => Number(row.cells[5].dataset.v.split(',')[0]))"
    )
    state = "document.querySelectorAll('#drops thead th')[5].getAttribute('aria-sort')"
    before = browser.run(values)
    assert before != sorted(before)
    browser.press("Enter", 13, "\r")
    assert (browser.run(values), browser.run(state)) == (sorted(before), "ascending")
    assert browser.run("document.querySelector('[role=status]').textContent") == "sorted by source drop, ascending"
    browser.press(" ", 32, " ")
    assert (browser.run(values), browser.run(state)) == (sorted(before, reverse=True), "descending")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "target drop"
    browser.run("document.querySelectorAll('#drops thead button')[0].click()")
    names = browser.run(SORTED.format(column=0))
    assert names == sorted(names)
    assert browser.run("document.querySelectorAll('#drops thead th[aria-sort]').length") == 1
    quiet(browser, page)


def test_what_is_missing_is_sorted_last(browser: Browser, page: Path) -> None:
    browser.open(page)
    for _ in range(2):
        browser.run("document.querySelectorAll('#records thead button')[0].click()")
        found = browser.run("[...document.querySelectorAll('#records tbody tr')].map(row => row.cells[0].textContent)")
        missing = [name == "–" for name in found]
        assert any(missing)
        assert missing == sorted(missing)


def test_a_table_is_saved_as_csv_without_formulas(browser: Browser, tmp_path: Path) -> None:
    found = studies.study(EVIL, labels=EVIL[:2], texts=EVIL)
    path = tmp_path / "report.html"
    path.write_text(html.render(*found), encoding="utf-8")
    browser.open(path)
    browser.ask("Browser.setDownloadBehavior", behavior="deny")
    rows = list(tables.DictReader(io.StringIO(browser.run(CATCH.format(table="drops")))))
    assert len(rows) == len(found[0].shift) == 6
    for row, one in zip(rows, found[0].shift, strict=True):
        assert row["source"] == ("'=1+1" if one.source == "=1+1" else one.source)
        drop = [float(row[f"source drop{end}"]) for end in ("", " low", " high")]
        assert drop == pytest.approx([one.source_drop.mean, one.source_drop.low, one.source_drop.high], abs=1e-4)
        assert row["why no recovery"] == ""
    for table in browser.run("[...document.querySelectorAll('.grid')].map(one => one.id)"):
        for row in tables.reader(io.StringIO(browser.run(CATCH.format(table=table)))):
            for cell in row:
                assert not cell.lstrip().startswith(("=", "+", "@")), (table, cell)
                assert not cell.startswith("-") or float(cell) < 0, (table, cell)
    quiet(browser, path)


def test_a_link_opens_what_it_leads_to(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html.render(*studies.study(tuple(f"domain {number}" for number in range(5)))), encoding="utf-8")
    browser.open(path)
    assert browser.run("document.querySelectorAll('details').length") > 3
    browser.run("document.querySelector('#drops tbody a').click()")
    seen = "(() => { const box = document.querySelector('tr:target').getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight })()"
    assert browser.run(seen)
    browser.run(
        "document.querySelectorAll('details')[2].querySelector('figure').id = 'inside'; location.hash = 'inside'"
    )
    assert browser.run("new Promise(done => setTimeout(() => done(document.querySelectorAll('details')[2].open), 50))")


def test_a_stranger_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    """Also where escaping failed, the policy would stop it."""
    path = tmp_path / "report.html"
    text = html.render(*studies.study(EVIL))
    path.write_text(
        text.replace("</main>", "<script>window.evil = 1</script><img src='https://evil.example/x'></main>")
    )
    browser.open(path)
    assert browser.run("window.evil === undefined")
    assert [one["entry"]["source"] for one in browser.of("Log.entryAdded")].count("security") >= 2
    path.write_text(text, encoding="utf-8")
    browser.open(path)
    quiet(browser, path)


def test_it_can_be_read_without_scripts(browser: Browser, page: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        shown = browser.run("[...document.querySelectorAll('button')].filter(one => one.offsetParent).length")
        assert shown == 0
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
