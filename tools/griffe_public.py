"""Shows the API pages every public name where users find it: the faces are bound to engines at run time, which reading
the source cannot see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

# Classes whose methods are bound to an engine and offered as functions, and the module that offers them.
BINDERS = {
    "oxisock": (
        "oxisock.scanning.calls.Scanner",
        "oxisock.serving.requests.Requests",
        "oxisock.load.calls.Loads",
    ),
    "oxisock.aio": ("oxisock.aio.faces.Aio",),
}
# What a public name is called where it is defined, if not the same.
RENAMED = {
    "connect": "oxisock.framing.framed_socket.FramedSocket.connect",
    "presets": "oxisock.framing.well_known.Presets",
}
# Where the keywords of ``**options`` stand, with their defaults.
SPELLED_OUT = {"Unpack[ScanKeywords]": "oxisock.scanning.options.ScanOptions"}
ENGINES = ("pure", "native", "_native", "engines", "cli", "bench")


class PublicNames(griffe.Extension):
    """Puts what is meant by ``oxisock.NAME`` and ``oxisock.aio.NAME`` in its place."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Rewrite the members of the package once all of it has been read."""
        if pkg.name != "oxisock":
            return
        defined = {definition.name: definition for definition in _definitions(pkg)}
        wanted: list[tuple[griffe.Module, str, griffe.Object]] = []
        for path, binders in BINDERS.items():
            module = pkg if path == "oxisock" else pkg["aio"]
            bound = {
                name: method
                for binder in binders
                for name, method in _at(pkg, binder).members.items()
                if method.is_function
            }
            for name in _exported(module):
                found = bound.get(name) or (_at(pkg, RENAMED[name]) if name in RENAMED else defined.get(name))
                if found is not None:
                    wanted.append((module, name, found))
        # Found all, before the first is put in its place: `oxisock.scan` is a function from here on, no module.
        for module, name, found in wanted:
            if isinstance(found, griffe.Function):
                module.set_member(name, _function(found, name, pkg))
            else:
                module.set_member(name, griffe.Alias(name, found, parent=module))


def _exported(module: griffe.Module) -> list[str]:
    return [name if isinstance(name, str) else name.name for name in module.exports or []]


def _at(pkg: griffe.Module, path: str) -> griffe.Object:
    found: griffe.Object = pkg[path.removeprefix("oxisock.")]
    return found


def _definitions(module: griffe.Module) -> Iterator[griffe.Object]:
    """Give the classes and functions of a package that are defined in it, those of the engines left out."""
    for member in module.members.values():
        if member.is_alias:
            continue
        if member.is_module:
            if member.name not in ENGINES:
                yield from _definitions(member)
        elif member.is_class or member.is_function:
            yield member


def _function(method: griffe.Function, name: str, pkg: griffe.Module) -> griffe.Function:
    """Give a method as the function that is left when it is bound."""
    function = griffe.Function(
        name,
        lineno=method.lineno,
        endlineno=method.endlineno,
        parameters=griffe.Parameters(*_parameters(method, pkg)),
        returns=method.returns,
        docstring=method.docstring,
    )
    function.labels |= method.labels & {"async"}
    return function


def _parameters(method: griffe.Function, pkg: griffe.Module) -> Iterator[griffe.Parameter]:
    for one in method.parameters:
        options = SPELLED_OUT.get(str(one.annotation))
        if options is not None:
            for field in _at(pkg, options).attributes.values():
                yield griffe.Parameter(
                    field.name,
                    annotation=field.annotation,
                    kind=griffe.ParameterKind.keyword_only,
                    default=str(field.value),
                )
        elif one.name not in ("self", "cls"):
            yield one
