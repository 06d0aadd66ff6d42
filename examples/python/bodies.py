"""Numbers, texts and bodies, as sections 2 and 5 of docs/protocol.md have them.

A shape has `write(value, refs) -> bytes` and `read(reader, refs) -> value`; `refs` are the references of the message.
"""
import struct


def uint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def zigzag(n):
    return n << 1 if n >= 0 else -2 * n - 1


def text(s):
    raw = s.encode()
    return uint(len(raw)) + raw


class Reader:
    """Takes bytes off the front. Whatever is wrong with them is a ValueError."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise ValueError("the message ends too early")
        self.at += count
        return self.data[self.at - count:self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)

    def byte(self):
        return self.take(1)[0]

    def uint(self):
        n = 0
        for i in range(10):
            b = self.byte()
            n |= (b & 127) << 7 * i
            if b < 128:
                if (b == 0 and i > 0) or n >> 64:
                    break
                return n
        raise ValueError("a number is not in its one encoding")

    def id(self):
        n = self.uint()
        return -(n >> 1) - 1 if n & 1 else n >> 1

    def text(self):
        return self.take(self.uint()).decode()


class Unsigned:
    """A number of 16 to 64 bits without a sign, the length of something, or the index of a reference or variant."""

    FORMS = {251: "<H", 252: "<I", 253: "<Q"}

    def write(self, n, refs=()):
        if 0 <= n < 251:
            return bytes([n])
        first = 251 if n < 1 << 16 else 252 if n < 1 << 32 else 253
        return bytes([first]) + struct.pack(self.FORMS[first], n)

    def read(self, r, refs=()):
        first = r.byte()
        if first < 251:
            return first
        if first not in self.FORMS:
            raise ValueError(f"no number of 64 bits begins with {first}")
        return struct.unpack(self.FORMS[first], r.take(struct.calcsize(self.FORMS[first])))[0]


class Text:
    def write(self, s, refs=()):
        raw = s.encode()
        return U64.write(len(raw)) + raw

    def read(self, r, refs=()):
        return r.take(U64.read(r)).decode()


class Reference:
    """The index of a capability of the message; one object is one index."""

    def write(self, value, refs):
        at = next((i for i, ref in enumerate(refs) if ref is value), len(refs))
        if at == len(refs):
            refs.append(value)
        return U64.write(at)

    def read(self, r, refs):
        at = U64.read(r)
        if at >= len(refs):
            raise ValueError(f"the body names reference {at}; the message carries {len(refs)}")
        return refs[at]


class Tuple:
    """Values one behind the other; `Tuple()` is nothing."""

    def __init__(self, *shapes):
        self.shapes = shapes

    def write(self, values, refs):
        if len(values) != len(self.shapes):
            raise ValueError(f"{len(values)} values for {len(self.shapes)} shapes")
        return b"".join(shape.write(value, refs) for shape, value in zip(self.shapes, values))

    def read(self, r, refs):
        return tuple(shape.read(r, refs) for shape in self.shapes)


class Struct(Tuple):
    """Fields in their order; the value is a dict."""

    def __init__(self, **fields):
        super().__init__(*fields.values())
        self.names = tuple(fields)

    def write(self, value, refs):
        return super().write([value[name] for name in self.names], refs)

    def read(self, r, refs):
        return dict(zip(self.names, super().read(r, refs)))


class Enum:
    """A variant by its number; the value is (name, value)."""

    def __init__(self, **variants):
        self.names, self.shapes = tuple(variants), tuple(variants.values())

    def write(self, value, refs):
        at = self.names.index(value[0])
        return U64.write(at) + self.shapes[at].write(value[1], refs)

    def read(self, r, refs):
        at = U64.read(r)
        if at >= len(self.names):
            raise ValueError(f"there is no variant {at}")
        return self.names[at], self.shapes[at].read(r, refs)


U64, STR, REF, UNIT = Unsigned(), Text(), Reference(), Tuple()
