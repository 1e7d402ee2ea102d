"""Values that JSON cannot say, made sayable: what becomes of each is the table in docs/encoders.md.

The encoders come here only with an event that they could not write, or that holds something without an exact form (`native`).
`walk` goes over it once, `objects` knows what an object of another library is, `texts` makes text out of anything.
"""

from __future__ import annotations

from metlog.tracebacks import exception_fields
from metlog.values.native import is_json_native, is_proper, is_written_natively
from metlog.values.objects import pairs, unwrapped
from metlog.values.texts import formatted, repr_of, text_of, type_name, whole_number
from metlog.values.walk import MARK, MAX_DEPTH, MAX_ITEMS, MAX_TEXT, noted, sanitize, to_json_value

__all__ = [
    "MARK", "MAX_DEPTH", "MAX_ITEMS", "MAX_TEXT", "exception_fields", "formatted", "is_json_native", "is_proper", "is_written_natively",
    "noted", "pairs", "repr_of", "sanitize", "text_of", "to_json_value", "type_name", "unwrapped", "whole_number",
]  # fmt: skip

plain = is_json_native
sayable = to_json_value
# Kept names.
