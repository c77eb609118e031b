import html.parser
import re
from pathlib import Path

import made_runs
import pytest
from made_runs import BEGAN, crowd, finished, judged, made

from windtunnel.core import Outcome, TestStarted
from windtunnel.report.data import RunView
from windtunnel.report.page import page, write_page

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser would: what is written, by which elements, and no more."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open in ([], ["li"] * len(self.open)), self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] == "li" and tag != "li":
            self.open.pop()  # HTML lets a list item end without saying so
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


@pytest.fixture
def everything(tmp_path: Path) -> RunView:
    return made(
        tmp_path / "record.db",
        made_runs.everything(),
        judge=lambda record, settings, nodeids: [judged(nodeid) for nodeid in nodeids],
        exit_code=1,
        isolation="env,fork",
    )


def test_the_page_tells_the_facts_of_the_run(everything: RunView):
    text = Reader(page(everything)).text
    for fact in ("pytest -q", "c0ffeec0ffee", "CPython 3.11.7 linux", "env, fork", "9.00 s", "7"):
        assert fact in text
    assert "failed" in text


def test_the_page_names_every_test_and_everything_that_was_broken(everything: RunView):
    text = Reader(page(everything)).text
    for outcome in Outcome:
        assert f"tests/test_a.py::test_{outcome.value}" in text
    for word in ("os.environ['X']", "until(ready)", "of-tomorrow", "port 8123", "pid 4711",
                 "test_unfinished", "failed 3 and passed 5 of 8", "not finished"):  # fmt: skip
        assert word in text


def test_the_page_states_the_makespan_against_the_lower_bound(everything: RunView):
    text = Reader(page(everything)).text
    assert "lower bound" in text
    assert f"{everything.pace.ratio:.2f}" in text


def test_names_and_output_of_tests_cannot_become_markup(everything: RunView):
    read = Reader(page(everything))
    assert read.names.count("script") == 1  # the page's own
    assert "<script>alert('x')</script>" in read.text
    assert "gone </pre>" in read.text
    assert not [name for name, _ in read.attributes if name.startswith("on")]


def test_the_page_asks_the_network_for_nothing(everything: RunView):
    text = page(everything)
    assert not re.search(r"""(?:src|href|action)\s*=|@import|url\((?!#)|fetch\(|https?://""", text)


def test_the_page_is_the_same_for_the_same_run(everything: RunView):
    assert page(everything) == page(everything)


def test_the_page_can_be_read_without_its_script(everything: RunView):
    bare = re.sub(r"<script>.*?</script>", "", page(everything), flags=re.DOTALL)
    assert "tests/test_a.py::test_passed" in Reader(bare).text
    assert "display: none" in re.search(r"\.tools \{[^}]*\}", bare)[0]  # the filter needs it


@pytest.mark.parametrize(
    ("exit_code", "word"),
    [(0, "passed"), (1, "failed"), (2, "interrupted"), (5, "no tests"), (13, "quarantine expired"),
     (77, "exit code 77"), (None, "unfinished")],
)  # fmt: skip
def test_the_page_says_how_the_run_ended(tmp_path: Path, exit_code: int | None, word: str):
    view = made(tmp_path / "record.db", [finished("t.py::test_a")], exit_code=exit_code)
    assert re.search(rf'class="verdict \w+">{word}<', page(view))


def test_a_run_without_tests_and_one_that_was_killed_have_a_page(tmp_path: Path):
    assert "No test has run" in Reader(page(made(tmp_path / "a.db"))).text
    started = TestStarted(nodeid="t.py::test_a", worker="gw0", time=BEGAN)
    killed = Reader(page(made(tmp_path / "b.db", [started], exit_code=None))).text
    assert "unfinished" in killed
    assert "t.py::test_a" in killed


def test_tests_that_took_no_time_have_a_page(tmp_path: Path):
    instant = [
        finished(f"t.py::test_{index}", setup_s=0.0, call_s=0.0, teardown_s=0.0)
        for index in range(3)
    ]
    text = page(made(tmp_path / "record.db", instant, workers=0))
    assert "nan" not in text
    assert Reader(text).text.count("t.py::test_") >= 3


def test_a_very_long_name_stays_whole(tmp_path: Path):
    name = "t.py::test_long[" + "x" * 20_000 + "]"
    assert name in Reader(page(made(tmp_path / "r.db", [finished(name, Outcome.FAILED)]))).text


def test_the_page_of_ten_thousand_tests_stays_below_five_megabytes(tmp_path: Path):
    view = made(tmp_path / "record.db", crowd(10_000, 8), exit_code=1, workers=8)
    text = page(view)
    assert len(text.encode()) < 5_000_000
    assert text.count("<tr class=") == 10_000
    left_out = view.counts[Outcome.FAILED] - 500
    assert f"{left_out} more failures are in the table below only" in text


def test_the_page_is_written_whole_or_not_at_all(everything: RunView, tmp_path: Path):
    target = tmp_path / "deep" / "page.html"
    write_page(everything, target)
    assert target.read_text(encoding="utf-8") == page(everything)
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(OSError):
        write_page(everything, folder)
    assert sorted(one.name for one in tmp_path.iterdir() if "taken" in one.name) == ["taken"]
