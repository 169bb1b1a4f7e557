"""Checks an installation without any extra, from inside: only the standard library is imported, and the command works.

    python -I bare_install.py

Runs on the Python of a clean environment in which oxisock, and nothing else, is installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import oxisock

# The last is what setuptools, where an environment comes with it, loads into every Python.
EXPECTED = ("oxisock", "pytest_oxisock", "_distutils_hack")


def main() -> None:
    """Check everything; the first thing that is not so ends it with an AssertionError."""
    assert importlib.metadata.version("oxisock") == oxisock.__version__
    installed = sorted(found.metadata["Name"] for found in importlib.metadata.distributions())
    assert set(installed) <= {"oxisock", "pip", "setuptools"}, f"not a bare installation: {installed}"
    assert (Path(oxisock.__file__).parent / "py.typed").exists(), "type checkers would not read the annotations"
    imports_nothing_foreign()
    the_command_works()
    print(f"{sys.version.split()[0]}: a bare installation imports only the standard library, and its command works")


def imports_nothing_foreign() -> None:
    """Import every module there is, and look where all that came with them is from."""
    for module in pkgutil.walk_packages(oxisock.__path__, "oxisock."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    paths = sysconfig.get_paths()
    site = {paths["purelib"], paths["platlib"]}
    foreign = {
        name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        and any(file.startswith(folder) for folder in site)
        and name.partition(".")[0] not in EXPECTED
    }
    assert not foreign, f"imported from elsewhere: {sorted(foreign)}"


def the_command_works() -> None:
    """Serve, ask, scan and explain, as somebody would who has just installed it."""
    assert oxisock_command("--version") == f"oxisock {oxisock.__version__}"
    for engine in ("native", "pure"):
        serve = [*command(), "serve", "upper", "--impl", engine]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                where = server.stdout.readline().removeprefix("Listening on ").strip()
                port = where.rpartition(":")[2]
                assert oxisock_command("send", where, "hello") == "Echo: HELLO"
                assert oxisock_command("check", where) == f"{where} open"
                line = oxisock_command("scan", "127.0.0.1", "-p", port, "--impl", engine).split("\t")
                assert line[:3] == ["127.0.0.1", port, "open"], line
            finally:
                server.terminate()
    assert "_shtab_oxisock" in oxisock_command("completion", "bash")


def command() -> list[str]:
    """Give the installed command, the one that users type."""
    return [str(Path(sysconfig.get_path("scripts")) / "oxisock")]


def oxisock_command(*words: str) -> str:
    """Run the command and give what it prints; it must succeed and have nothing to complain of."""
    done = subprocess.run([*command(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, (words, done.returncode, done.stderr)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
