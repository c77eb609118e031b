"""Formatting: a format string is a small language that reads attributes and calls methods."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "formatting",
    "a format string reads attributes that the code could not",
    {"python": "tell('{}'.format('done'))"},
)


def _add(
    id: str,
    why: str,
    source: str,
    python: str,
    *,
    aims: Canary = Canary.SECRET,
    subset: str = "",
    starlark: str = "",
) -> None:
    FAMILY.code(id, why, source, python, aims=aims, subset=subset, starlark=starlark)


# The way from a function to the secret, in pieces: no literal of the code has it whole.
_FIELD = '("{0._" + "_globals_" + "_[os].environ[WINDTUNNEL_CANARY]}")'

_add("format-method", "fields of str.format read attributes and items",
     sources.JINJA_FORMAT, f"""
    text = {_FIELD}
    tried()
    tell(text.format(tell))
""")  # fmt: skip
_add("format-map", "so do those of format_map, which is another method",
     sources.JINJA_MAP, f"""
    text = {_FIELD}.replace("0", "f", 1)
    tried()
    tell(text.format_map({{"f": tell}}))
""")  # fmt: skip
_add("format-indirect", "the method is taken first and called later",
     sources.JINJA_INDIRECT, f"""
    tried()
    render = {_FIELD}.format
    tell(render(tell))
""")  # fmt: skip
_add("format-unbound", "the method of the class is called on the text",
     sources.JINJA_INDIRECT, f"""
    tried()
    render = str.format
    tell(render({_FIELD}, tell))
""")  # fmt: skip
_add("format-mapped", "a builtin calls the method", sources.JINJA_INDIRECT, f"""
    tried()
    tell(list(map({_FIELD}.format, [tell])))
""")  # fmt: skip
_add("format-formatter", "the formatter of the library gives the object itself, not its text",
     sources.RESTRICTED_OBJ, """
    tried()
    import string
    names, _ = string.Formatter().get_field("0._" + "_globals_" + "_", (tell,), {})
    tell(names["os"].environ.get(variable))
""")  # fmt: skip
_add("format-attribute-error", "a failed attribute leaves its object in the exception",
     sources.RESTRICTED_OBJ, """
    text = "{0._" + "_self_" + "_.nothing}"
    tried()
    try:
        text.format(lend("method"))
    except AttributeError as e:
        tell(e.obj.secret)
""")  # fmt: skip
_add("format-logging", "a logging style of the library formats with attributes",
     sources.RONACHER, f"""
    tried()
    import logging
    record = logging.makeLogRecord({{"msg": "", "f": tell}})
    style = logging.Formatter({_FIELD}.replace("0", "f", 1), style="{{", validate=False)
    tell(style.format(record))
""")  # fmt: skip
_add("format-property", "reading an attribute for a field calls a property's function",
     sources.RESTRICTED_FORMAT, """
    tried()
    g = forbidden
    class C:
        p = property(lambda self: g())
    "{0.p}".format(C())
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("format-hook", "formatting an object calls its format method",
     sources.ASTEVAL_FORMAT, """
    g = forbidden
    class C:
        __format__ = lambda self, spec: g(spec)
    tried()
    f"{C():x}"
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("format-repr-hook", "percent formatting calls a method for the text of an object",
     sources.RONACHER, """
    g = forbidden
    class C:
        __repr__ = lambda self: g()
    tried()
    "%r" % (C(),)
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("format-lent", "a field reads what the host's object keeps", sources.RONACHER, """
    tried()
    tell("{0.secret}".format(lend("object")))
""")  # fmt: skip

__all__ = ["FAMILY"]
