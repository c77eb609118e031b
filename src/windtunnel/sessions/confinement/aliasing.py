"""Aliasing: a guard that watches a name does not watch the object behind it."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "aliasing",
    "a guarded object is used under another name than the guard watches",
    {"python": "f = tell\nf('done')"},
)

_WHY = "a guard that looks for calls by name does not see that "


def _add(
    id: str,
    how: str,
    python: str,
    *,
    source: str = sources.CWE_184,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(
        id, _WHY + how, source, python, aims=Canary.FORBIDDEN, subset=subset, starlark=starlark
    )


_add("alias-assignment", "the function has been given a second one", """
    f = forbidden
    tried()
    f()
""")  # fmt: skip
_add("alias-list", "a list's element is called", """
    fs = [forbidden]
    tried()
    fs[0]()
""")  # fmt: skip
_add("alias-dict", "a dictionary's value is called", """
    fs = {"f": forbidden}
    tried()
    fs["f"]()
""")  # fmt: skip
_add("alias-unpacking", "unpacking binds a name", """
    a, b = [tried, forbidden]
    tried()
    b()
""", source=sources.PY_NAMES)  # fmt: skip
_add("alias-starred-arguments", "unpacking binds a parameter", """
    def call(f, *rest):
        tried()
        return rest[0]()
    call(*[tried, forbidden])
""", source=sources.PY_NAMES)  # fmt: skip
_add("alias-condition", "an expression chooses what is called", """
    tried()
    (forbidden if len("a") else tell)()
""")  # fmt: skip
_add("alias-argument", "a parameter is called", """
    tried()
    (lambda g: g())(forbidden)
""", source=sources.CONFUSED)  # fmt: skip
_add("alias-default", "a parameter's default is called", """
    def call(g=forbidden):
        return g()
    tried()
    call()
""")  # fmt: skip
_add("alias-closure", "a variable of an enclosing function is called", """
    def outer():
        g = forbidden
        def inner():
            return g()
        return inner
    tried()
    outer()()
""")  # fmt: skip
_add("alias-comprehension", "a comprehension's variable is called", """
    tried()
    [g() for g in [forbidden]]
""", source=sources.PY_NAMES)  # fmt: skip
_add("alias-loop", "a loop's variable is called", """
    tried()
    for g in (forbidden,):
        g()
""", source=sources.PY_NAMES, starlark="""
    def go():
        for g in (forbidden,):
            g()
    tried()
    go()
""")  # fmt: skip
_add("alias-walrus", "an assignment within an expression binds a name", """
    tried()
    (f := forbidden)()
""", source="PEP 572, assignment expressions")  # fmt: skip
_add("alias-match", "a pattern captures it", """
    tried()
    match [forbidden]:
        case [f]:
            f()
""", source="PEP 634, structural pattern matching")  # fmt: skip
_add("alias-map", "a builtin calls it", """
    tried()
    list(map(forbidden, ["x"]))
""", source=sources.PYSANDBOX)  # fmt: skip
_add("alias-sort-key", "a sort calls it for every element", """
    tried()
    sorted([2, 1], key=forbidden)
""", source=sources.PYSANDBOX)  # fmt: skip
_add("alias-decorator", "a decorator is a call", """
    g = forbidden
    tried()
    @lambda f: g()
    def f():
        return 1
""", source=sources.PY_NAMES)  # fmt: skip
_add("alias-globals", "the table of names holds it", """
    tried()
    f = globals()["for" + "bidden"]
    f()
""")  # fmt: skip
_add("alias-partial", "a wrapper of the library calls it", """
    from functools import partial
    f = partial(forbidden, 1)
    tried()
    f()
""")  # fmt: skip
_add("alias-operator", "an operator of a class is the function itself", """
    g = forbidden
    class C:
        __getitem__ = lambda self, key: g(key)
    tried()
    C()[1]
""", source=sources.PY_MODEL)  # fmt: skip
_add("alias-descriptor", "reading an attribute calls a property's function", """
    tried()
    g = forbidden
    class C:
        p = property(lambda self: g())
    C().p
""", source=sources.PY_MODEL)  # fmt: skip
_add("alias-metaclass", "making a class calls its metaclass", """
    tried()
    class C(metaclass=forbidden):
        pass
""", source=sources.PY_MODEL)  # fmt: skip

__all__ = ["FAMILY"]
