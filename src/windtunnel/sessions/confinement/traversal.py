"""Traversal: a path or an address that looks granted and leads elsewhere.

The host functions of the ground trust their guard. Some of them do to the path what layers below a
guard do (decode it, fold its Unicode, take backslashes), because a guard that judges another text
than the one that is used judges nothing.
"""

from __future__ import annotations

from windtunnel.sessions.confinement import sources
from windtunnel.sessions.confinement.model import Canary, Family

FAMILY = Family(
    "traversal",
    "a path or address that looks granted leads to what is not",
    {"python": "tell(read(root + '/public.txt') == 'public' and 'done')"},
)


def _path(id: str, why: str, expression: str, *, source: str, call: str = "read") -> None:
    FAMILY.code(
        id,
        why,
        source,
        f"path = {expression}\ntried()\ntell({call}(path))\n",
        aims=Canary.OUTSIDE,
    )


def _url(id: str, why: str, expression: str, *, source: str = sources.OWASP_SSRF) -> None:
    FAMILY.code(
        id,
        why,
        source,
        f"url = {expression}\ntried()\ntell(fetch(url))\n",
        aims=Canary.NETWORK,
    )


_path("path-parent", "two dots lead above the folder that the text begins with",
      'root + "/../secret.txt"', source=sources.CWE_22)  # fmt: skip
_path("path-parent-deep", "they also do behind folders that exist",
      'root + "/flat/deep/../../../secret.txt"', source=sources.CWE_22)  # fmt: skip
_path("path-parent-missing", "and behind folders that do not, for who takes them off as text",
      'root + "/none/../flat/../../secret.txt"', source=sources.CWE_22)  # fmt: skip
_path("path-dot-segments", "single dots and double slashes hide them from a search",
      'root + "/.//.././/secret.txt"', source=sources.CWE_22)  # fmt: skip
_path("path-sibling", "a folder next to the granted one begins with the same letters",
      'root + "-evil/secret.txt"', source="CWE-187, partial string comparison")  # fmt: skip
_path("path-link", "a symbolic link in the granted folder leads out of it",
      'root + "/link"', source=sources.CWE_59)  # fmt: skip
_path("path-link-folder", "so does a link to a folder",
      'root + "/way/secret.txt"', source=sources.CWE_59)  # fmt: skip
_path("path-link-parent", "two dots behind a link go up from where it leads, not from where it is",
      'root + "/way/../secret.txt"', source=sources.CWE_59)  # fmt: skip
_path("path-proc-root", "the kernel has links to every root in /proc",
      'root + "/../../../../../../../../../../proc/self/root" + secret_file',
      source="proc(5): /proc/PID/root")  # fmt: skip
_path("path-star-deep", "a star that stands for one name is read as any text",
      'root + "/flat/deep/secret.txt"', source="POSIX, glob: slashes are matched by slashes only",
      call="read_flat")  # fmt: skip
_path("path-star-parent", "a star is matched with dots in it",
      'root + "/flat/../../secret.txt"', source=sources.CWE_22, call="read_flat")  # fmt: skip
_path("path-percent", "a percent form of dots is decoded below the guard",
      'root + "/%2e%2e/secret.txt"', source=sources.CWE_180, call="read_decoded")  # fmt: skip
_path("path-percent-slash", "so is one of the separator",
      'root + "/..%2fsecret.txt"', source=sources.CWE_180, call="read_decoded")  # fmt: skip
_path("path-percent-twice", "two layers below decode one time each",
      'root + "/%252e%252e/secret.txt"', source="CWE-174, double decoding of the same data",
      call="read_decoded")  # fmt: skip
_path("path-fullwidth-dots", "fullwidth full stops are folded to dots below the guard",
      'root + "/\\uff0e\\uff0e/secret.txt"', source=sources.UTS_39, call="read_folded")  # fmt: skip
_path("path-two-dot-leader", "one character is folded to two dots",
      'root + "/\\u2025/secret.txt"', source=sources.UTS_39, call="read_folded")  # fmt: skip
_path("path-fullwidth-slash", "a fullwidth slash is folded to a separator",
      'root + "/..\\uff0fsecret.txt"', source=sources.UTS_39, call="read_folded")  # fmt: skip
_path("path-invisible", "characters that show nothing keep two dots apart, until they are stripped",
      'root + "/.\\u200b./secret.txt"', source=sources.UTS_39, call="read_stripped")  # fmt: skip
_path("path-backslash", "a backslash separates elsewhere",
      'root + "/..\\\\secret.txt"', source="CWE-23, relative path traversal",
      call="read_windows")  # fmt: skip
_path("path-nul", "a text ends at NUL for C, and goes on for the guard",
      'root + "/../secret.txt" + "\\0" + "/public.txt"', source="CWE-158, NUL byte",
      call="read_cut")  # fmt: skip
FAMILY.code(
    "path-liar", "a text that is asked whether it begins so answers what it likes",
    sources.CWE_367, """
    class Liar(str):
        def startswith(self, *args):
            return True
        def __str__(self):
            return self
    tried()
    tell(read(Liar(secret_file)))
    """, aims=Canary.OUTSIDE)  # fmt: skip
FAMILY.code(
    "path-changed", "a path that is judged once and used twice is another the second time",
    sources.CWE_367, """
    class Shifty:
        asked = 0
        def __str__(self):
            self.asked += 1
            return root + "/public.txt"
        def __fspath__(self):
            return secret_file
    tried()
    tell(read(Shifty()))
    """, aims=Canary.OUTSIDE)  # fmt: skip

_url("url-user", "what stands before @ is a user name, not the host",
     '"http://allowed.test@127.0.0.1:" + str(port) + "/"')  # fmt: skip
_url("url-user-port", "also with something that looks like a port",
     '"http://allowed.test:80@127.0.0.1:" + str(port) + "/"')  # fmt: skip
_url("url-backslash", "a backslash ends the host for browsers and not for others",
     '"http://127.0.0.1:" + str(port) + "\\\\@allowed.test/"')  # fmt: skip
_url("url-suffix", "a longer name begins with the granted one",
     '"http://allowed.test.localhost:" + str(port) + "/"')  # fmt: skip
_url("url-decimal", "an address is a number too", '"http://2130706433:" + str(port) + "/"')
_url("url-hexadecimal", "in any base", '"http://0x7f.0x1:" + str(port) + "/"')
_url("url-octal", "of which some programs know fewer", '"http://0177.0.0.1:" + str(port) + "/"')
_url("url-short", "parts of an address may be left out", '"http://127.1:" + str(port) + "/"')
_url("url-fullwidth", "digits of other widths are folded to digits",
     '"http://\\uff11\\uff12\\uff17.0.0.1:" + str(port) + "/"', source=sources.UTS_39)  # fmt: skip
_url("url-mapped", "an address of the new kind holds one of the old",
     '"http://[::ffff:127.0.0.1]:" + str(port) + "/"')  # fmt: skip

__all__ = ["FAMILY"]
