"""Importing by another route: what the import statement refuses is reached around it."""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family
from windtunnel.sessions.confinement.stage import Stage

FAMILY = Family(
    "importing",
    "a module, or what it can do, is reached without the import that is refused",
    {"python": "tell(str(len('four')) and 'done')"},
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


_add("import-alias", "the import function is called under another name", sources.NEDBAT, """
    tried()
    load = __import__
    tell(load("os").environ.get(variable))
""", subset="""
    import os
    tried()
    tell([os.getenv(variable), os.environ.get(variable)])
""")  # fmt: skip
_add("import-builtins-table", "the table of builtins holds the import function",
     sources.NEDBAT, """
    tried()
    table = __builtins__
    table = table if isinstance(table, dict) else vars(table)
    tell(table["_" + "_import_" + "_"]("os").environ.get(variable))
""")  # fmt: skip
_add("import-importlib", "importlib is not on the list", sources.SMOLAGENTS_LIST, """
    tried()
    import importlib
    tell(importlib.import_module("os").environ.get(variable))
""")  # fmt: skip
_add("import-builtin-importer", "the interpreter's own importer loads what was compiled in",
     "Python library, importlib.machinery.BuiltinImporter", """
    tried()
    from importlib.machinery import BuiltinImporter
    core = BuiltinImporter.load_module("pos" + "ix")
    read = core.open
    tell(core.read(read(secret_file, 0), 100))
""")  # fmt: skip
_add("import-through-attribute", "an allowed module has imported what is refused",
     sources.SMOLAGENTS_5120, """
    tried()
    import random
    tell(random._os.environ.get(variable))
""", starlark="""
    tried()
    tell([getattr(json, name) for name in dir(json)])
""")  # fmt: skip
_add("import-from-private", "an allowed module's private name is imported",
     sources.SMOLAGENTS_LIST, """
    tried()
    from random import _os as core
    tell(core.environ.get(variable))
""")  # fmt: skip
_add("import-sys-modules", "what the host has imported stands in sys.modules",
     sources.AGENTA, """
    tried()
    import inspect
    tell(inspect.sys.modules[module].SECRET)
""", subset="""
    import sys
    tried()
    tell(sys.modules[module].SECRET)
""")  # fmt: skip
_add("import-eval-alias", "source that is put together at run time is not looked through",
     sources.NEDBAT, """
    run = eval
    tried()
    tell(run("_" + "_import_" + "_('os').environ.get(variable)"))
""")  # fmt: skip
_add("import-pickle", "a pickle names any callable of any module", sources.PY_PICKLE, """
    tried()
    import pickle
    text = "cbuiltins\\nopen\\n(V" + secret_file + "\\ntR."
    tell(pickle.loads(text.encode()).read())
""")  # fmt: skip
_add("import-resolve-name", "a function of the library resolves names to objects",
     "Python library, pkgutil.resolve_name", """
    tried()
    import pkgutil
    tell(pkgutil.resolve_name("os:environ").get(variable))
""")  # fmt: skip
_add("import-annotation", "asking for type hints evaluates annotations that are text",
     "Python library, typing.get_type_hints", """
    import typing
    def f(x: "tell(_" + "_import_" + "_('os').environ.get(variable)) or int"):
        pass
    tried()
    typing.get_type_hints(f)
""")  # fmt: skip
_add("import-timeit", "a tool that times statements runs them", "Python library, timeit", """
    tried()
    import timeit
    timeit.timeit("tell(_" + "_import_" + "_('os').environ.get(variable))",
                  globals={"tell": tell, "variable": variable}, number=1)
""")  # fmt: skip
_add("import-interpreter", "the library has an interpreter in it", sources.SMOLAGENTS_LIST, """
    tried()
    import code
    inner = code.InteractiveInterpreter({"tell": tell, "variable": variable})
    inner.runsource("tell(_" + "_import_" + "_('os').environ.get(variable))")
""")  # fmt: skip
_add("open-io", "the function behind open has other names", sources.PYSANDBOX, """
    tried()
    import io
    tell(io.FileIO(secret_file).read())
""", subset="""
    from pathlib import Path
    tried()
    tell(Path(secret_file).read_text())
""")  # fmt: skip
_add("open-linecache", "a module that shows source lines reads any file",
     "Python library, linecache", """
    tried()
    import linecache
    tell(linecache.getlines(secret_file))
""", subset="""
    tried()
    with open(secret_file) as file:
        tell(file.read())
""")  # fmt: skip
_add("open-codecs", "a module for encodings opens files", sources.SMOLAGENTS_LIST, """
    tried()
    import codecs
    read = codecs.open
    tell(read(secret_file).read())
""")  # fmt: skip
_add("open-alias", "open is called under another name", sources.CWE_184, """
    read = open
    tried()
    tell(read(secret_file).read())
""")  # fmt: skip
_add("open-for-writing", "a module for logs writes files", "Python library, logging.FileHandler",
     """
    tried()
    import logging
    logging.FileHandler(planted).emit(logging.makeLogRecord({"msg": "planted"}))
""", aims=Canary.PLANTED, subset="""
    from pathlib import Path
    tried()
    Path(planted).write_text("planted")
""")  # fmt: skip
_add("open-database", "a database engine writes files", sources.SMOLAGENTS_LIST, """
    tried()
    import sqlite3
    base = sqlite3.connect(planted)
    base.executescript("create table t (c)")
    base.close()
""", aims=Canary.PLANTED)  # fmt: skip
_add("socket-private", "the core of the refused module has another name",
     sources.SMOLAGENTS_LIST, """
    tried()
    import _socket
    one = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    one.connect(("127.0.0.1", port))
""", aims=Canary.NETWORK)  # fmt: skip
_add("socket-client", "a client of a protocol connects", sources.OWASP_SSRF, """
    tried()
    import http.client
    http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
""", aims=Canary.NETWORK)  # fmt: skip
_add("import-loader", "the loader of source files reads any file",
     "Python library, importlib.machinery.SourceFileLoader", """
    tried()
    from importlib.machinery import SourceFileLoader
    tell(SourceFileLoader("m", secret_file).get_data(secret_file))
""")  # fmt: skip


@FAMILY.play("import-statement", "Starlark specification: load statements", aims=Canary.SECRET,
             python="tried()\nimport secret\ntell(secret.SECRET)\n",
             starlark="load(FILE, 'SECRET')\ntell(SECRET)\n")  # fmt: skip
async def _import_statement(stage: Stage) -> None:
    """The import statement itself is served, from a folder of the host that is in its path."""
    if stage.language != "starlark":
        with stage.importable():
            await stage.execute()
        return
    for file in (str(stage.ground.secret_file), "../secret.txt", "//secret.txt", "@host//secret"):
        result = await stage.execute(stage.code.replace("FILE", repr(file)))
        # A load comes before all other statements: that it was parsed is all that can be seen.
        if result is not None and result.error_type != "SyntaxError":
            stage.tried()


_add("open-other-roots", "the kernel shows the root folder of every process that may be traced",
     "proc(5): /proc/PID/root", """
    read = open
    tried()
    import inspect
    for pid in ("1", str(inspect.os.getppid()), "self"):
        try:
            read("/proc/" + pid + "/root" + planted, "w").write("planted")
        except (PermissionError, FileNotFoundError):
            continue
""", aims=Canary.PLANTED)  # fmt: skip

__all__ = ["FAMILY"]
