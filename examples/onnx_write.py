"""examples/onnx_write.py - small ONNX models, with Python alone.

The few messages of ONNX's protobuf format that the examples need, written by hand: a field is its
number and wire type, then a varint, or a length and that many bytes.
"""
import array
import sys

FLOAT, INT64 = 1, 7  # TensorProto.DataType


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def text(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def floats(name, dims, values):
    """A constant of 32-bit floats; values: row by row."""
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    return (b"".join(number(1, d) for d in dims) + number(2, FLOAT) + text(8, name)
            + text(9, data.tobytes()))


def value(name, kind, dims):
    """An input or output; a dimension that is a word is free."""
    shape = b"".join(text(1, text(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return text(1, name) + text(2, text(1, number(1, kind) + text(2, shape)))


def node(op, inputs, output, **attrs):
    """An operator; attributes are whole numbers or lists of them."""
    out = b"".join(text(1, i) for i in inputs) + text(2, output) + text(4, op)
    for name, a in attrs.items():
        body = text(1, name)
        if isinstance(a, list):
            body += b"".join(number(8, n) for n in a) + number(20, 7)
        else:
            body += number(3, a) + number(20, 2)
        out += text(5, body)
    return out


def write(path, name, nodes, constants, inputs, outputs):
    """The model, of opset 13."""
    graph = (b"".join(text(1, n) for n in nodes) + text(2, name)
             + b"".join(text(5, c) for c in constants)
             + b"".join(text(11, i) for i in inputs) + b"".join(text(12, o) for o in outputs))
    with open(path, "wb") as f:
        f.write(number(1, 8) + text(2, "onnx_write.py") + text(7, graph) + text(8, number(2, 13)))
