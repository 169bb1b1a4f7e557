"""The native engine, as Python sees it."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final[str]
