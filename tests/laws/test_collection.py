"""Contracts in test files: ids, selection, workers, exit codes, what is shown and what replays."""

from __future__ import annotations

import re
import sys

import pytest

pytestmark = pytest.mark.once  # whole runs; the laws themselves are tested on each

LEAN = [f"-pno:{name}" for name in ("syrupy", "time-machine", "pytest_cov", "asyncio", "anyio")]

CODECS = """
    from hypothesis import strategies as st
    from windtunnel import laws

    @laws.law
    def round_trips(codec, draw):
        text = draw(st.text("aĀ"), "text")
        assert text.encode(codec).decode(codec) == text

    class Codecs(laws.Contract):
        subjects = {"utf8": lambda: "utf-8", "latin1": lambda: "latin-1"}
        more_laws = [round_trips]

        @laws.law
        async def is_known(codec, draw):
            import asyncio
            await asyncio.sleep(0)
            assert "".encode(codec) == b""
"""


def passed(result: pytest.RunResult) -> list[str]:
    return re.findall(r"^\S+?\.py::(\S+) PASSED", result.stdout.str(), re.M)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*LEAN, "-v", *arguments)


def test_there_is_one_test_a_subject_and_law_and_ids_and_options_work_as_for_any(pytester):
    pytester.makepyfile(test_codecs=CODECS)
    result = run(pytester)
    result.stdout.fnmatch_lines(
        [
            "laws: Codecs: 4 tests of 2 subjects*",
            "  close_is_idempotent: no close",
            "test_codecs.py::Codecs::utf8::is_known PASSED*",
            "test_codecs.py::Codecs::utf8::round_trips PASSED*",
            "test_codecs.py::Codecs::latin1::is_known PASSED*",
            "test_codecs.py::Codecs::latin1::round_trips FAILED*",
            "*def round_trips(codec, draw):*",
            "*Draw 1 (text): 'Ā'*",  # the smallest that Latin-1 has not
            "*windtunnel run test_codecs.py::Codecs::latin1::round_trips --seed *",
        ]
    )
    assert result.ret == 1
    assert run(pytester, "--lf").parseoutcomes() == {"failed": 1, "deselected": 3}


def test_workers_and_ids_on_the_command_line_find_the_same_tests(pytester):
    pytester.makepyfile(test_codecs=CODECS)
    xdist = run(pytester, "-n", "2", "-k", "Codecs and not is_known")
    assert xdist.parseoutcomes() == {"passed": 1, "failed": 1}
    node = "test_codecs.py::Codecs::utf8::round_trips"
    ours = pytester.run(sys.executable, "-m", "windtunnel", "run", "-n", "2", node, *LEAN)
    assert ours.parseoutcomes() == {"passed": 1}


def test_fixtures_reach_make_by_keyword_and_marks_reach_the_tests(pytester):
    pytester.makepyfile(
        test_made="""
        import pytest
        from windtunnel import laws

        @pytest.fixture
        def folder(tmp_path):
            return tmp_path

        class Folders(laws.Contract):
            subjects = {"it": lambda folder: folder}
            def make(self, factory, config, *, folder):
                return factory(folder)
            @laws.law
            def is_there(folder):
                assert folder.is_dir()

        class TestInAClass:
            class Inner(laws.Contract):
                subjects = {"it": list}
                @laws.law
                def is_empty(subject):
                    assert not subject

        def sized(it):
            assert len(it) == 0

        called = laws.contract(subjects=[list], more_laws=[sized])

        @pytest.mark.slow
        class Slow(laws.Contract):
            subjects = {"it": list}
            more_laws = [sized]
        """
    )
    pytester.makeini("[pytest]\nmarkers = slow")
    assert passed(run(pytester, "-m", "not slow")) == [
        "Folders::it::is_there",
        "TestInAClass::Inner::it::is_empty",
        "called::list::sized",
    ]


def test_a_contract_from_elsewhere_is_collected_where_it_is_subclassed(pytester):
    pytester.makepyfile(
        kit="""
        from windtunnel import laws

        class Sized(laws.Contract):
            subjects = [list]
            @laws.law
            def has_a_length(subject, draw):
                assert len(subject) == 0
            @laws.law
            def can_be_cleared(subject, draw):
                subject.clear()
                assert len(subject) == 0
            @laws.law
            def is_falsy(subject, draw):
                assert not subject
        """,
        test_mine="""
        from kit import Sized, laws

        class Mine(Sized):
            subjects = [tuple]
            without = {"can_be_cleared": "a tuple never changes"}
            is_falsy = None
            @laws.law
            def has_a_length(subject, draw):
                assert True
        """,
    )
    result = run(pytester, "-rs")
    result.stdout.fnmatch_lines(
        [
            "test_mine.py::Mine::tuple::has_a_length-overridden-by-Mine PASSED*",
            "test_mine.py::Mine::tuple::can_be_cleared-left-out-by-Mine SKIPPED*",
            "test_mine.py::Mine::tuple::is_falsy-left-out-by-Mine FAILED*",
            "*Mine takes the law is_falsy of Sized away*",
            "*found: no reason*",
            "*left out by Mine: a tuple never changes*",
        ]
    )
    assert "::list::" not in result.stdout.str()


def test_a_contract_that_cannot_be_read_is_a_collection_error_in_plain_words(pytester):
    pytester.makepyfile(
        test_wrong="""
        from windtunnel import laws

        class Empty(laws.Contract):
            subjects = {}

        class Mistaken(laws.Contract):
            subjects = [list]
            waivers = {"no_such_law": "because"}
        """
    )
    result = run(pytester)
    result.stdout.fnmatch_lines(["*Empty has no subjects*", "*found: nothing in its subjects*"])
    result.stdout.fnmatch_lines(
        ["*a waiver names no law of the contract*", "*found: 'no_such_law'*"]
    )
    assert result.ret == 2


VACUOUS = """
    from windtunnel import laws

    class Lists(laws.Contract):
        subjects = [list]
        waivers = [
            laws.waive("says_nothing", "lists are empty at first", finding="loop*"),
            laws.waive("says_nothing", "as above", finding="assertion*"),
            laws.waive("says_enough", "it was so once"),
        ]
        @laws.law
        def says_nothing(subject, draw):
            for one in subject:
                assert one
        @laws.law
        def says_enough(subject, draw):
            assert subject == []
        @laws.law
        def tests_nothing(subject, draw):
            if subject:
                assert subject[0]
"""


def test_a_run_that_is_vacuous_and_else_good_ends_with_a_code_of_its_own(pytester):
    pytester.makepyfile(test_lists=VACUOUS)
    result = run(pytester)
    result.stdout.fnmatch_lines(
        [
            "*::list::says_nothing PASSED*",
            "*::list::tests_nothing FAILED*",
            "the law tests_nothing is vacuous for list: it held in one example, and yet",
            "  found: branch never taken: if subject (test_lists.py:*)",
            "         assertion never reached: subject[[]0[]] (test_lists.py:*)",
            "*test_lists.py:14: StaleWaiverWarning: Lists: says_enough of list is not vacuous*",
            "vacuous*",
            "*waived: lists are*",
        ]
    )
    assert result.ret == 14
    assert run(pytester, "-n", "1").ret == 14


def test_a_run_that_fails_otherwise_too_ends_as_any_that_failed(pytester):
    pytester.makepyfile(test_lists=VACUOUS, test_more="def test_it():\n    assert 0\n")
    assert run(pytester).ret == 1


def test_ids_show_who_is_the_double_and_where_it_differs_is_listed(pytester):
    pytester.makepyfile(
        test_doubles="""
        from hypothesis import strategies as st
        from windtunnel import laws

        class Parsing(laws.Contract):
            subjects = {"real": lambda: int, "mock": lambda: lambda text: 1}
            doubles = {"mock": "real"}
            inputs = st.sampled_from(["1", "2", "x"])
            def call(self, parse, text):
                return parse(text)
        """
    )
    result = run(pytester, "-k", "failure_says_so or agrees")
    result.stdout.fnmatch_lines(
        [
            "test_doubles.py::Parsing::real-real::failure_says_so PASSED*",
            "test_doubles.py::Parsing::mock-fake-of-real::failure_says_so FAILED*",
            "test_doubles.py::Parsing::mock-fake-of-real::agrees_with_the_real_one FAILED*",
            "*mock is not like real for '2'*",
            "*expected: returned 2*",
            "*found: returned 1*",
            "*doubles that differ*",
            "*Parsing: failure_says_so: mock failed, real passed*",
        ]
    )
