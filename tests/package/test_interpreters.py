"""Sub-interpreters: the native engine says that it is not for them; the pure one frames there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.commands import environment

SUB = """
import sys
try:
    import _interpreters as interpreters  # 3.13 and later
except ImportError:
    import _xxsubinterpreters as interpreters
{more}
code = "import sys; sys.path[:0] = " + repr(sys.path) + {code!r}
try:
    how = {{"isolated": False}} if sys.version_info < (3, 13) else {{}}
    number = interpreters.create(**how) if how else interpreters.create("legacy")
    told = interpreters.run_string(number, code)
    interpreters.destroy(number)
except Exception as error:
    print(type(error).__name__, error)
else:
    print("told", told)
"""

REFUSED = """
try:
    {imports}
except ImportError as error:
    assert "main interpreter" in str(error) and "sub-interpreter" in str(error), error
else:
    raise AssertionError("it was let in")
"""

FRAMES = """
from oxisock import pure
decoder = pure.Lines().decoder()
assert decoder.feed(b"one\\r\\ntw") == [b"one"]
try:
    pure.LengthPrefix(4, max_frame=10).decode(b"\\x7f\\0\\0\\0")
except pure.FrameError:
    pass
"""


def in_another(code: str, more: str, **env: str) -> str:
    program = SUB.format(code="\n" + code, more=more)
    done = subprocess.run([sys.executable, "-c", program], env=environment(**env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("more", ["", "import oxisock; oxisock.Lines().decoder()"], ids=["first", "later"])
@pytest.mark.parametrize("imports", ["import oxisock", "from oxisock import _native"])
def test_the_native_engine_says_that_it_is_for_the_main_interpreter(more: str, imports: str) -> None:
    assert in_another(REFUSED.format(imports=imports), more) == "told None"


def test_the_pure_engine_frames_there() -> None:
    assert in_another(FRAMES, "", OXISOCK_IMPL="pure") == "told None"
