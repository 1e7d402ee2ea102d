"""The complete examples that the docstrings of the extension points show, as classes."""

from __future__ import annotations

import doctest
import sys
from typing import Any


def documented(protocol: type, name: str) -> Any:
    """The class that the docstring of a Protocol defines under this name."""
    names = dict(vars(sys.modules[protocol.__module__]))
    for example in doctest.DocTestParser().get_examples(protocol.__doc__ or ""):
        if name in names:
            break
        exec(compile(example.source, f"<docstring of {protocol.__name__}>", "exec"), names)
    return names[name]
