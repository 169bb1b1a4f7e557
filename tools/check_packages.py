"""Builds the wheel and the source distribution, and tries both in clean environments on every Python there is.

    python tools/check_packages.py [--suite none|first|all] [--python PYTHON ...]
    python tools/check_packages.py --look WHEEL

Each Python gets an environment of its own with the wheel alone, in which bare_install.py runs; then the extra "test" is
added and the test suite runs on what is installed, on the first Python or on all of them. The source distribution is
built and tried on the first. Needs maturin, Rust, and a way to PyPI for the extra.

With ``--look``, a wheel that was built elsewhere or for another system is looked into, and nothing runs. For Windows,
mingw-w64's objdump tells which libraries of the system its extension asks for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# What every Windows from 10 on has, and the library that every Python from 3.11 on has there.
WINDOWS = ("python3.dll", "bcryptprimitives.dll", "kernel32.dll", "ntdll.dll", "ws2_32.dll", "msvcrt.dll")


def main() -> None:
    """Build, and try what was built."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", metavar="PYTHON", help="try this one (default: all that are here)")
    parser.add_argument("--suite", choices=("none", "first", "all"), default="first", help="where the suite runs")
    parser.add_argument("--look", type=Path, metavar="WHEEL", help="only look into this wheel")
    args = parser.parse_args()
    if args.look is not None:
        look_into(args.look)
        print(f"{args.look}: {args.look.stat().st_size / 1000:.0f} kB, with all that it needs and nothing else")
        return
    pythons = args.python or found()
    wheel, sdist = build()
    look_into(wheel)
    for number, python in enumerate(pythons):
        with tempfile.TemporaryDirectory(prefix="oxisock-") as folder:
            inside = environment(python, Path(folder), wheel)
            if args.suite == "all" or (args.suite == "first" and number == 0):
                run(inside, "-m", "pip", "install", "--quiet", f"{wheel}[test]")
                run(inside, "-m", "pytest", "-q", cwd=ROOT)
    with tempfile.TemporaryDirectory(prefix="oxisock-") as folder:
        environment(pythons[0], Path(folder), sdist)
    for path in (wheel, sdist):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def found() -> list[str]:
    """Give the Pythons of this machine, one of each version that oxisock is for, this one first."""
    known = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    # pyenv keeps its Pythons off the PATH, unless they are chosen.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        places = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
        for place in filter(None, places):
            if version not in known and works(str(place), version):
                known[version] = str(place)
    return list(known.values())


def works(python: str, version: str) -> bool:
    """Say whether a Python runs and is of a version: a shim may be there for one that is not installed."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == version


def build() -> tuple[Path, Path]:
    """Build both and give their paths."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked", "--out", str(DIST), cwd=ROOT)
    run(sys.executable, "-m", "maturin", "sdist", "--out", str(DIST), cwd=ROOT)
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    return wheel, sdist


def look_into(wheel: Path) -> None:
    """Check that the wheel is one for all Pythons from 3.11 on, and has what it needs and nothing else."""
    assert "-cp311-abi3-" in wheel.name, wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    # What nobody imports is easily left out: scripts for Redis and shells, a certificate, stubs, the marker of types.
    kinds = {"*.py", "*.pyi", "*.lua", "*.pem", "*.bash", "*.fish", "*.zsh", "py.typed"}
    needed = {path.relative_to(ROOT / "python").as_posix() for kind in kinds for path in (ROOT / "python").rglob(kind)}
    assert {"oxisock/py.typed", "oxisock/_native.pyi", "oxisock/chat/backplane/scripts/append.lua"} <= needed
    missing = sorted(needed.difference(names))
    assert not missing, f"missing from {wheel.name}: {missing}"
    extension = "oxisock/_native.pyd" if wheel.stem.endswith("-win_amd64") else "oxisock/_native.abi3.so"
    assert extension in names, f"{extension} is missing from {wheel.name}"
    if extension.endswith(".pyd"):
        asked = libraries(zipfile.ZipFile(wheel).read(extension))
        foreign = [name for name in asked if name not in WINDOWS and not name.startswith("api-ms-win-core-")]
        assert not foreign, f"{extension} asks for libraries that a Windows may not have: {foreign}"
    assert any(name.endswith("/licenses/LICENSE") for name in names), "the licence is missing"
    strangers = [name for name in names if not name.startswith(("oxisock/", "pytest_oxisock/", "oxisock-"))]
    assert not strangers, f"what is this doing in {wheel.name}: {strangers}"


def libraries(extension: bytes) -> list[str]:
    """Give the names of the libraries that an extension for Windows is linked to."""
    with tempfile.TemporaryDirectory(prefix="oxisock-") as folder:
        path = Path(folder) / "extension.pyd"
        path.write_bytes(extension)
        told = subprocess.run(["x86_64-w64-mingw32-objdump", "-p", path], capture_output=True, text=True, check=True)
    names = [line.split()[-1].lower() for line in told.stdout.splitlines() if "DLL Name:" in line]
    assert names, "objdump told no library, and an extension needs python3.dll at least"
    return names


def environment(python: str, folder: Path, package: Path) -> str:
    """Make a clean environment, install a package alone, try it, and give the environment's Python."""
    run(python, "-m", "venv", str(folder))
    inside = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(package))
    run(inside, "-I", str(ROOT / "tools" / "bare_install.py"))
    return inside


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command and say so; one that fails ends everything."""
    print("+", *command, flush=True)
    # What leads Python to other modules than those of the environment is not passed on.
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OXISOCK_IMPL")}
    done = subprocess.run(command, cwd=cwd, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")


if __name__ == "__main__":
    main()
