"""Attributes: every object of an interpreter leads to its class, its function, its frame, and from
there to everything."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "attributes",
    "attributes that the interpreter gives every object lead out of the namespace",
    {"python": "tell(str('done').lower())", "starlark": "tell('DONE'.lower())"},
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


_add("dunder-subclasses", "object knows all classes, and one of them was defined in os",
     sources.NEDBAT, """
    tried()
    for c in ().__class__.__base__.__subclasses__():
        if c.__name__ == "_wrap_close":
            tell(c.__init__.__globals__["environ"].get(variable))
""")  # fmt: skip
_add("dunder-function-globals", "a host function shows the globals of its module",
     sources.PYSANDBOX, """
    tried()
    tell(tell.__globals__["__builtins__"]["open"](secret_file).read())
""")  # fmt: skip
_add("dunder-closure", "a guard's wrapper keeps the guarded function in its closure",
     sources.PYSANDBOX, """
    tried()
    for cell in forbidden.__closure__:
        inner = cell.cell_contents
        if hasattr(inner, "__code__"):
            inner()
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("dunder-wrapped", "functools.wraps leaves the wrapped function in an attribute",
     "Python library, functools.update_wrapper", """
    tried()
    forbidden.__wrapped__()
""", aims=Canary.FORBIDDEN)  # fmt: skip
_add("dunder-self", "a builtin function knows the module it belongs to", sources.PYSANDBOX, """
    tried()
    tell(len.__self__.open(secret_file).read())
""")  # fmt: skip
_add("dunder-method-self", "a bound method knows its object", sources.PY_MODEL, """
    tried()
    tell(lend("method").__self__.secret)
""")  # fmt: skip
_add("dunder-warnings-module", "a class of the library keeps a module in an attribute",
     sources.SMOLAGENTS_9959, """
    tried()
    for c in ().__class__.__base__.__subclasses__():
        if c.__name__ == "catch_warnings":
            tell(c()._module.__builtins__["open"](secret_file).read())
""")  # fmt: skip
_add("dunder-importer-class", "the interpreter's importer is a class like any other",
     sources.SMOLAGENTS_9959, """
    tried()
    for c in ().__class__.__base__.__subclasses__():
        if c.__name__ == "BuiltinImporter":
            core = c.load_module("posix")
            tell(core.read(core.open(secret_file, 0), 100))
""")  # fmt: skip
_add("dunder-file-class", "the class behind open is a subclass of object's subclass",
     sources.SMOLAGENTS_9959, """
    tried()
    for base in ().__class__.__base__.__subclasses__():
        if base.__name__ == "_IOBase":
            for raw in base.__subclasses__():
                for c in raw.__subclasses__():
                    if c.__name__ == "FileIO":
                        tell(c(secret_file).read())
""")  # fmt: skip
_add("frame-of-generator", "a running generator's frame knows who called it",
     sources.RESTRICTED_FRAMES, """
    seen = []
    def walk():
        frame = running[0].gi_frame.f_back
        while frame is not None:
            seen.append(frame)
            frame = frame.f_back
        yield 1
    running = [walk()]
    tried()
    for one in running[0]:
        pass
    tell(seen[-1].f_builtins["op" + "en"](secret_file).read())
""")  # fmt: skip
_add("frame-of-coroutine", "a coroutine's frame has the builtins", sources.RESTRICTED_FRAMES, """
    async def c():
        pass
    tried()
    one = c()
    read = one.cr_frame.f_builtins["op" + "en"]
    one.close()
    tell(read(secret_file).read())
""")  # fmt: skip
_add("frame-of-traceback", "a caught exception's traceback has the frames it went through",
     sources.RESTRICTED_FRAMES, """
    tried()
    try:
        lend("error")
    except Exception as e:
        tb = e.__traceback__
        while tb:
            box = tb.tb_frame.f_globals["__builtins__"]
            box = box if isinstance(box, dict) else box.__dict__
            if "open" in box:
                tell(box["open"](secret_file).read())
            tb = tb.tb_next
""")  # fmt: skip
_add("frame-of-inspect", "a module of the library walks the stack", sources.AGENTA, """
    tried()
    import inspect
    frame = inspect.currentframe()
    while frame.f_back:
        frame = frame.f_back
    tell(frame.f_builtins["op" + "en"](secret_file).read())
""")  # fmt: skip
_add("getattr-built-name", "a name that is put together at run time is not looked through",
     sources.SMOLAGENTS_5120, """
    get = getattr
    tried()
    u = "_" + "_"
    for c in get(get(get((), u + "class" + u), u + "base" + u), u + "subclasses" + u)():
        if get(c, u + "name" + u) == "_wrap_close":
            tell(get(get(c, u + "init" + u), u + "globals" + u)["environ"].get(variable))
""", starlark="""
    def go(get, u):
        for c in get(get(get((), u + "class" + u), u + "base" + u), u + "subclasses" + u)():
            if get(c, u + "name" + u) == "_wrap_close":
                tell(get(get(c, u + "init" + u), u + "globals" + u)["environ"].get(variable))
    tried()
    go(getattr, "_" + "_")
""")  # fmt: skip
_add("getattr-operator", "a function of the library reads attributes by name",
     sources.JINJA_ATTR, """
    tried()
    import operator
    u = "_" + "_"
    base = operator.attrgetter(u + "class" + u + "." + u + "base" + u)(())
    for c in operator.methodcaller(u + "subclasses" + u)(base):
        if "_wrap_close" in str(c):
            names = operator.attrgetter(u + "init" + u + "." + u + "globals" + u)(c)
            tell(names["environ"].get(variable))
""")  # fmt: skip
_add("getattr-match", "a class pattern reads attributes", "PEP 634, structural pattern matching",
     """
    tried()
    match tell:
        case object(__globals__=names):
            tell(names["os"].environ.get(variable))
""")  # fmt: skip
_add("getattr-vars", "a type's dictionary has its methods", sources.PYSANDBOX, """
    u = "_" + "_"
    tried()
    for c in vars(type)[u + "subclasses" + u](object):
        if str(c) == "<class 'os." + "_wrap_close'>":
            init = vars(c)[u + "init" + u]
            names = vars(type(init))[u + "globals" + u]
            tell(vars(type(names))[u + "get" + u](names, init)["environ"].get(variable))
""")  # fmt: skip
_add("getattr-dir", "dir names what getattr then reads", sources.STARLARK + ": dir, getattr", """
    get = getattr
    tried()
    for name in dir(tell):
        if name.strip("_") == "globals":
            tell(get(tell, name)["os"].environ.get(variable))
""", starlark="""
    def go():
        for name in dir(tell):
            if name.strip("_") == "globals":
                tell(getattr(tell, name)["os"].environ.get(variable))
    tried()
    go()
""")  # fmt: skip
_add("heap-walk", "the collector hands out every container of the process",
     "Python library, gc.get_objects", """
    tried()
    import gc
    for one in gc.get_objects():
        if type(one) is dict and one.get("_" + "_name_" + "_") == module:
            tell(one.get("SECRET"))
""")  # fmt: skip
_add("poison-builtins", "the guest's builtins are the host's own dictionary",
     sources.PYSANDBOX, """
    async def c():
        pass
    tried()
    one = c()
    table = one.cr_frame.f_builtins
    one.close()
    table["ascii"] = str
""", aims=Canary.HOST)  # fmt: skip
_add("poison-module", "an allowed module is the host's own, for everyone to see",
     sources.RESTRICTED_POSITIONAL + " (poisoned modules)", """
    import json
    tried()
    json.dumps = str
""", aims=Canary.HOST)  # fmt: skip
_add("poison-process", "settings of the process belong to the whole process", sources.OCAP, """
    tried()
    import inspect
    inspect.os.chdir("/")
    inspect.os.environ["WINDTUNNEL_CHANGED"] = "1"
""", aims=Canary.HOST)  # fmt: skip
_add("raise-system-exit", "an exception that is no Exception passes the handlers of the host",
     "asteval: BaseException classes in the symbol table end the host", """
    tried()
    raise SystemExit(3)
""", aims=Canary.HOST)  # fmt: skip

__all__ = ["FAMILY"]
