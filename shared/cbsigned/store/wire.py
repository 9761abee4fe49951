"""Reads protobuf's wire format: bytes → numbered fields. Knows no schema and needs no protobuf runtime.

Nothing here recurses: a field that holds a message is bytes until somebody asks for it, so what hostile bytes can
cost is bounded by their length.

References:
    - protobuf.dev, "Encoding": varint, 64-bit, length-delimited, 32-bit; groups are not read
"""

from __future__ import annotations

from typing import Optional, Union

__all__ = ["Message", "WireError"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELD = (1 << 29) - 1


class WireError(ValueError):
    """The bytes are no protobuf message; the text says where they stop being one."""


class Message:
    """One message: its fields by number, the last value of a number first in question.

    A field that is absent, or of another wire type than asked for, is None: never an error, since every field of
    the schema is optional to us.

    Args:
        data: The whole message.

    Raises:
        WireError: It is none.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[Union[int, bytes]]] = {}
        position = 0
        while position < len(data):
            tag, position = _varint(data, position)
            number, kind = tag >> 3, tag & 7
            if not 0 < number <= _MAX_FIELD:
                raise WireError(f"field number {number} at byte {position}")
            value, position = _value(data, position, kind)
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def number(self, field: int) -> Optional[int]:
        """Return an unsigned number, below 2⁶⁴."""
        value = self._fields.get(field, (None,))[-1]
        return value if isinstance(value, int) else None

    def unsigned32(self, field: int) -> Optional[int]:
        """Return a 32-bit number; negative ones, which take 64 bits on the wire, as their unsigned twin."""
        value = self.number(field)
        return None if value is None else value & 0xFFFFFFFF

    def flag(self, field: int) -> bool:
        """Return whether a switch is on; absent is off."""
        return bool(self.number(field))

    def data(self, field: int) -> Optional[bytes]:
        """Return bytes."""
        value = self._fields.get(field, (None,))[-1]
        return value if isinstance(value, bytes) else None

    def text(self, field: int) -> Optional[str]:
        """Return a text; bytes that are no UTF-8 stay visible as `\\xff`."""
        value = self.data(field)
        return None if value is None else value.decode("utf-8", "backslashreplace")

    def part(self, field: int) -> Optional[Message]:
        """Return the message inside.

        Raises:
            WireError: It is none.
        """
        value = self.data(field)
        return None if value is None else Message(value)

    def parts(self, field: int) -> list[Message]:
        """Return all messages of a repeated field.

        Raises:
            WireError: One of them is none.
        """
        return [Message(value) for value in self._fields.get(field, ()) if isinstance(value, bytes)]


def _value(data: bytes, position: int, kind: int) -> tuple[Union[int, bytes], int]:
    if kind == _VARINT:
        return _varint(data, position)
    if kind == _BYTES:
        length, position = _varint(data, position)
    elif kind in (_FIXED64, _FIXED32):
        length = 8 if kind == _FIXED64 else 4
    else:
        raise WireError(f"wire type {kind} at byte {position}")
    end = position + length
    if end > len(data):
        raise WireError(f"cut off: byte {position} announces {length} bytes, {len(data) - position} are left")
    chunk = data[position:end]
    return (chunk if kind == _BYTES else int.from_bytes(chunk, "little")), end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WireError(f"cut off in a number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
    raise WireError(f"a number of more than 10 bytes before byte {position}")
