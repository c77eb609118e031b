"""Docs are code: the README and every page of docs/ does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import doc_snippets
import pytest

ROOT = doc_snippets.ROOT
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_of_the_page_runs_and_prints_what_it_shows(page: Path, tmp_path: Path):
    expected = sum(
        block.language in ("python", "console", "sh", "toml") or bool(block.file)
        for block in doc_snippets.blocks(page)
        if not block.directive.startswith("skip ")
    )
    assert doc_snippets.run_page(page, tmp_path) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_of_the_page_leads_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_index_links_to_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [p.name for p in PAGES[1:] if p.name != "README.md" and f"({p.name})" not in index]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nassert 1 == 2\n```\n", "exit code 1"),
        ("```python\n>>> 1 + 1\n3\n```\n", "exit code 1"),
        ("```console\n$ echo one\ntwo\n```\n", "but the page shows"),
        ("```console\n$ exit 3\n```\n", "exit code 3, not 0"),
        ("<!-- snippet: exit 2 -->\n```console\n$ exit 3\n```\n", "exit code 3, not 2"),
        ("```sh\nfalse\ntrue\n```\n", "exit code 1"),
        ("```console\nnot a command\n```\n", "begins with"),
        ("```python\n", "never closed"),
        ("<!-- snippet: skip -->\n```sh\nfalse\n```\n", "unknown directive"),
        ("```toml\n[tool.windtunnel]\nisolaton = 'env'\n```\n", "no setting"),
    ],
)
def test_a_page_that_lies_is_caught(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "examples").mkdir()
    monkeypatch.setattr(doc_snippets, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(Exception, match=message):
        doc_snippets.run_page(page, tmp_path / "work")


def test_a_true_page_passes_with_files_continuations_and_wildcards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "examples").mkdir()
    monkeypatch.setattr(doc_snippets, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# greet.py\nname = 'you'\n```\n"
        "```python\nimport greet\n```\n"
        "<!-- snippet: continues -->\n```python\nassert greet.name == 'you'\n```\n"
        "```console\n$ echo one; echo took 3.2 s; echo two\none\ntook ... s\n"
        "$ echo a \\\n> b\na b\n```\n"
        "<!-- snippet: exit 3 -->\n```console\n$ exit 3\n```\n"
        "<!-- snippet: skip it would restart the machine -->\n```sh\nreboot\n```\n"
        "```text\nnot run\n```\n",
        encoding="utf-8",
    )
    assert doc_snippets.run_page(page, tmp_path / "work") == 5
