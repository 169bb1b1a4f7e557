"""The ground: choosing an engine, importing quickly, the same surface everywhere."""

from __future__ import annotations

import errno
import inspect
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import oxisock
from oxisock import errors
from oxisock.scanning.running import reason_text
from support.processes import python


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return python(code, env={**os.environ, **env})


@pytest.mark.parametrize(("choice", "expected"), [("", "native"), ("native", "native"), ("pure", "pure")])
def test_environment_selects_the_engine(choice: str, expected: str) -> None:
    done = run("import oxisock; print(oxisock.impl)", OXISOCK_IMPL=choice)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr


def test_an_unknown_engine_is_an_import_error_that_says_why() -> None:
    done = run("import oxisock", OXISOCK_IMPL="rust")
    assert done.returncode == 1
    assert "ImportError: OXISOCK_IMPL='rust' names no engine: expected 'native' or 'pure'" in done.stderr


def test_a_native_engine_that_is_missing_is_an_import_error_that_says_why() -> None:
    code = "import sys; sys.modules['oxisock._native'] = None; import oxisock"
    done = run(code, OXISOCK_IMPL="native")
    assert "ImportError: the native engine of oxisock cannot be loaded" in done.stderr
    assert "OXISOCK_IMPL=pure" in done.stderr


def test_the_version_is_that_of_the_crate() -> None:
    from importlib.metadata import version

    from oxisock import _native

    assert oxisock.__version__ == _native.VERSION == version("oxisock")


def test_importing_is_lean() -> None:
    code = (
        "import sys, threading; before = set(sys.modules); import oxisock; after = set(sys.modules) - before;"
        "slow = {'logging', 'ipaddress', 'concurrent.futures', 'asyncio', 'hypothesis', 'rich', 'argparse', 'json'};"
        "print(sorted(slow & after), threading.active_count())"
    )
    assert run(code).stdout.strip() == "[] 1"


def test_both_engines_offer_the_whole_public_surface() -> None:
    from oxisock import native, pure

    assert sorted(pure.__all__) == sorted(native.__all__)
    assert all(hasattr(oxisock, name) for name in oxisock.__all__)
    assert set(pure.__all__) <= set(oxisock.__all__)


def test_everything_is_there_after_a_plain_import() -> None:
    code = (
        "import oxisock; oxisock.pure.Lines; oxisock.native.Lines; oxisock.presets.dns_tcp;"
        "assert callable(oxisock.scan); assert all(getattr(oxisock, name) is not None for name in oxisock.__all__);"
        "assert callable(oxisock.scan); assert callable(oxisock.pure.scan); print(oxisock.Lines.__module__)"
    )
    done = run(code)
    assert done.stdout == "oxisock.native\n", done.stderr


def test_a_signature_lists_every_option_of_a_scan(impl: ModuleType) -> None:
    for function in (impl.scan, impl.scan_iter):
        options = inspect.signature(function).parameters
        assert (options["shard"].default, options["shard"].annotation) == (None, "str | None")
        assert (options["keep"].default, options["keep"].annotation) == (("open",), "str | Iterable[str]")
        assert not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in options.values())
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) got an unexpected keyword argument 'timout'"):
            function("127.0.0.1", 1, timout=1.0)


FOLDERS = [path.parent for path in Path(oxisock.__file__).parent.glob("*/**/__init__.py") if path.parent.name != "pure"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_says_what_is_in_which_file(folder: Path) -> None:
    said = (folder / "__init__.py").read_text("utf-8")
    inside = {path.stem for path in folder.glob("*.py") if path.stem[0] != "_"}
    assert {name for name in inside if not re.search(rf"\b{name}\b", said)} == set()


def test_errors_have_one_name_on_all_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(errno.errorcode, 10061, "WSAECONNREFUSED")
    assert errors.errno_name(10061) == errors.errno_name(errno.ECONNREFUSED) == "ECONNREFUSED"
    assert errors.errno_name(-1) is None
    assert reason_text(-10061) == "local-error: ECONNREFUSED" and reason_text(-99999) == "local-error: 99999"


@pytest.mark.parametrize("module", ["oxisock", "oxisock.pure", "oxisock.native"])
def test_a_misspelt_name_is_told_from_others(module: str) -> None:
    assert "Did you mean: 'MessageServer'?" in run(f"import oxisock, {module}; {module}.MesageServer").stderr
