"""Smuggling: a reference crosses where a value should have, in one direction or the other."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage

FAMILY = Family(
    "smuggling",
    "a callback hands over a reference to the host's own things, or takes the guest's with it",
    {"python": "x = lend('list')\ntell(x == ['mine'] and 'done')"},
)


def _add(
    id: str,
    why: str,
    python: str,
    *,
    aims: Canary,
    source: str = sources.OCAP,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(id, why, source, python, aims=aims, subset=subset, starlark=starlark)


_add("lent-list", "a list that a host function returns is the host's own", """
    tried()
    lend("list").append("the guest's")
""", aims=Canary.HOST)  # fmt: skip
_add("lent-dict", "so is a dictionary, and all that is in it", """
    tried()
    lend("dict")["mine"].append("the guest's")
""", aims=Canary.HOST)  # fmt: skip
_add("lent-object", "an object that a host function returns has all its attributes", """
    tried()
    tell(lend("object").secret)
""", aims=Canary.SECRET)  # fmt: skip
_add("lent-method", "a method that a host function returns is bound to its object", """
    get = getattr
    tried()
    tell(get(lend("method"), "_" + "_self_" + "_").secret)
""", aims=Canary.SECRET)  # fmt: skip
_add("lent-error", "an exception of a host function carries its objects to who catches it", """
    tried()
    try:
        lend("error")
    except Exception as e:
        tell(e.host.secret)
""", aims=Canary.SECRET, source=sources.RESTRICTED_OBJ)  # fmt: skip
_add("kept-list", "a list is looked over when it is given, and used after it was changed", """
    items = ["harmless"]
    keep(items)
    tried()
    items.append("harmful")
""", aims=Canary.HOST, source=sources.CWE_367)  # fmt: skip
_add("kept-nested", "what a list contains is changed where only the list was copied", """
    items = [["harmless"]]
    keep(items)
    tried()
    items[0].append("harmful")
""", aims=Canary.HOST, source=sources.CWE_367)  # fmt: skip
_add("compared-text", "who is compared with a secret is shown the secret by its own method", """
    class Thief(str):
        def __eq__(self, other):
            tell(str(other))
            return True
    tried()
    log_in(Thief("guess"))
""", aims=Canary.SECRET, source=sources.PY_MODEL)  # fmt: skip
_add("called-back", "a function that the guest hands over runs with the rights of the host", """
    tried()
    call_back(forbidden)
""", aims=Canary.FORBIDDEN, source=sources.CONFUSED)  # fmt: skip
_add("called-closure", "so does one that the guest has written", """
    g = forbidden
    tried()
    call_back(lambda: g())
""", aims=Canary.FORBIDDEN, source=sources.CONFUSED)  # fmt: skip
_add("copied-reduce", "copying an object asks it for a function to call", """
    class Bomb:
        def __reduce_ex__(self, protocol):
            return forbidden, ()
    tried()
    copied(Bomb())
""", aims=Canary.FORBIDDEN, source=sources.JUPYTER_PICKLE)  # fmt: skip
_add("returned-repr", "a result that is logged runs the method that makes its text", """
    class Late:
        def __repr__(self):
            g = forbidden
            g()
            return "harmless"
    tried()
    Late()
""", aims=Canary.FORBIDDEN, source=sources.JUPYTER_PICKLE)  # fmt: skip
_add("returned-error", "so does the message of an error", """
    g = forbidden
    class Late(Exception):
        def __str__(self):
            g()
            return "harmless"
    tried()
    raise Late()
""", aims=Canary.FORBIDDEN, source=sources.JUPYTER_PICKLE)  # fmt: skip


@FAMILY.play("input-list", sources.OCAP, aims=Canary.HOST,
             python="tried()\nhosts_list.append(\"the guest's\")\n")  # fmt: skip
async def _input_list(stage: Stage) -> None:
    """A list that is given as an input is the host's own."""
    await stage.execute(inputs={"hosts_list": stage.shelf.listed})


@FAMILY.play("input-nested", sources.OCAP, aims=Canary.HOST,
             python="tried()\nhosts_dict['mine'].append(\"the guest's\")\n")  # fmt: skip
async def _input_nested(stage: Stage) -> None:
    """So is what a dictionary contains, where only the dictionary was copied."""
    await stage.execute(inputs={"hosts_dict": stage.shelf.mapped})


__all__ = ["FAMILY"]
