"""The objects of a kind that are in use: known without being kept alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from weakref import ref

__all__ = ["Living"]

T = TypeVar("T")


class Living(Generic[T]):
    """A set of weak references that threads may add to while others walk it; `weakref.WeakSet` raises RuntimeError then.

    Each step is one call of a C function: no thread sees a part of another's change, and a signal handler needs no lock.
    """

    __slots__ = ("_forget", "_references")

    def __init__(self) -> None:
        self._references: set[ref[T]] = set()
        self._forget = self._references.discard

    def add(self, item: T) -> None:
        """Adds an object, which has to be hashable; it leaves the set when nothing else refers to it."""
        self._references.add(ref(item, self._forget))

    def discard(self, item: T) -> None:
        """Takes an object out, if it is there."""
        self._references.discard(ref(item))

    def __iter__(self) -> Iterator[T]:
        """Goes over the objects that are there at the first step, whatever is added or taken out meanwhile."""
        for reference in self._references.copy():
            item = reference()
            if item is not None:
                yield item
