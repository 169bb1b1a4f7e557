"""Loads the two engines and binds faces to them; no other module loads an engine."""

from __future__ import annotations

from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from .chat import ChatModule
    from .framing import FramingModule
    from .load import LoadModule
    from .scanning import ScanningModule
    from .selection import Impl
    from .serving import ServingModule
    from .udp import UdpModule


class Engine:
    """One engine. It loads a concept's module when the concept is first asked for. `engine` makes it."""

    scanning: ScanningModule
    framing: FramingModule
    serving: ServingModule
    udp: UdpModule
    load: LoadModule
    chat: ChatModule

    def __init__(self, impl: Impl) -> None:
        self.impl: Impl = impl

    def __repr__(self) -> str:
        return f"<the {self.impl} engine>"

    @cached_property
    def names(self) -> Any:
        """The module with the public names bound to this engine: ``oxisock.pure`` or ``oxisock.native``."""
        return import_module(f"oxisock.{self.impl}")

    def __getattr__(self, concept: str) -> Any:
        if concept not in Engine.__annotations__:
            raise AttributeError(f"{self!r} has no {concept!r}")
        # Import by name and late, so that importing this module imports no engine.
        found = import_module("oxisock._native" if self.impl == "native" else f"oxisock.pure.{concept}")
        setattr(self, concept, found)  # keeps the module, so that this runs only once
        return found


@cache
def engine(impl: Impl) -> Engine:
    """Return the engine with this name; there is one object for each."""
    return Engine(impl)


class Bound:
    """A class that works through an engine. ``class Lines(codecs.Lines, engine=PURE)`` binds a face to one.

    Attributes:
        impl: the name of the engine, "pure" or "native".
    """

    impl: ClassVar[Impl]
    _engine: ClassVar[Engine]

    def __init_subclass__(cls, *, engine: Engine | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if engine is not None:
            cls._engine, cls.impl = engine, engine.impl
            cls.__doc__ = cls.__base__.__doc__


class Functions:
    """Functions that work through an engine: methods of an object of which there is one for each engine.

    Functions bound in this way are equal wherever they were taken from, and can be pickled.
    """

    _made: ClassVar[dict[tuple[type[Functions], Engine], Functions]] = {}

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Return the functions bound to an engine."""
        found = cls._made.get((cls, engine))
        if not isinstance(found, cls):
            found = cls._made.setdefault((cls, engine), cls(engine))
        assert isinstance(found, cls)
        return found

    def __reduce__(self) -> tuple[Callable[..., Functions], tuple[type[Functions], Impl]]:
        return _rebuilt, (type(self), self._engine.impl)


def _rebuilt(kind: type[Functions], impl: Impl) -> Functions:
    return kind.of(engine(impl))
