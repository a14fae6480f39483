#!/usr/bin/python3
"""examples/digits/train.py FOLDER - trains two networks on handwritten digits, with numpy alone.

Reads the 8x8 images of Debian's python3-sklearn (only its data file) and writes to FOLDER
  dense.onnx   a dense network, made small (64-12-10) and trained for a moment
  conv.onnx    a convolutional one (two convolutions, a pool, a dense layer)
  test.jsonl   the images that neither has seen: {"label": 3, "pixels": [64 numbers, 0 to 1]}
Prints the accuracy of both over test.jsonl.  Same input, same output: the seed is fixed.
"""
import glob
import gzip
import json
import os
import sys

import numpy as np

PLACES = "/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz"
TRAIN = 1437


def images():
    found = [p for p in (os.environ.get("DIGITS", ""), *glob.glob(PLACES)) if os.path.exists(p)]
    with gzip.open(found[0], "rt") as f:
        rows = np.loadtxt(f, delimiter=",", dtype=np.float32)
    rows = rows[np.random.default_rng(1).permutation(len(rows))]
    return rows[:, :64] / 16, rows[:, 64].astype(int)


# ---- layers: forward gives (output, what backward needs) ----

def windows(x):
    """The 3x3 surroundings of every pixel, zeros outside: [n, h, w, 9 * c]."""
    n, h, w, c = x.shape
    padded = np.zeros((n, h + 2, w + 2, c), np.float32)
    padded[:, 1:-1, 1:-1] = x
    return np.concatenate([padded[:, i:i + h, j:j + w] for i in range(3) for j in range(3)], 3)


def windows_back(d, shape):
    n, h, w, c = shape
    out = np.zeros((n, h + 2, w + 2, c), np.float32)
    for k in range(9):
        i, j = divmod(k, 3)
        out[:, i:i + h, j:j + w] += d[..., k * c:(k + 1) * c]
    return out[:, 1:-1, 1:-1]


class Dense:
    """x @ w + b, over the last dimension; with relu where it is not the last layer."""

    def __init__(self, rng, n_in, n_out, relu=True):
        self.w = (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(np.float32)
        self.b = np.zeros(n_out, np.float32)
        self.relu = relu

    def forward(self, x):
        self.x = x
        y = x @ self.w + self.b
        self.on = y > 0 if self.relu else np.ones_like(y, bool)
        return y * self.on

    def backward(self, d):
        d = d * self.on
        flat = d.reshape(-1, d.shape[-1])
        self.dw = self.x.reshape(-1, self.x.shape[-1]).T @ flat
        self.db = flat.sum(0)
        return d @ self.w.T


class Conv(Dense):
    """A 3x3 convolution, as a dense layer over each pixel's surroundings."""

    def __init__(self, rng, c_in, c_out):
        super().__init__(rng, 9 * c_in, c_out)

    def forward(self, x):
        self.shape = x.shape
        return super().forward(windows(x))

    def backward(self, d):
        return windows_back(super().backward(d), self.shape)


class Image:
    """64 numbers -> an image of 8x8 with one channel."""

    def forward(self, x):
        return x.reshape(-1, 8, 8, 1)

    def backward(self, d):
        return d.reshape(-1, 64)


class Pool:
    """The largest of each 2x2; then all in one row, channels first, as ONNX has them."""

    def forward(self, x):
        n, h, w, c = x.shape
        tiles = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 5, 1, 3, 2, 4)
        self.tiles = tiles.reshape(n, c, h // 2, w // 2, 4)
        self.best = self.tiles.argmax(4)
        return self.tiles.max(4).reshape(n, -1)

    def backward(self, d):
        n, c, h, w, _ = self.tiles.shape
        out = np.zeros_like(self.tiles)
        np.put_along_axis(out, self.best[..., None], d.reshape(n, c, h, w, 1), 4)
        out = out.reshape(n, c, h, w, 2, 2).transpose(0, 2, 4, 3, 5, 1)
        return out.reshape(n, 2 * h, 2 * w, c)


def forward(net, x):
    for layer in net:
        x = layer.forward(x)
    return x


def train(net, x, labels, epochs, rng, rate=2e-3):
    """Adam (Kingma, Ba 2015) on the cross entropy, batches of 64."""
    layers = [layer for layer in net if isinstance(layer, Dense)]
    params = [p for layer in layers for p in (layer.w, layer.b)]
    m, v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for at in range(0, len(x), 64):
            pick = order[at:at + 64]
            y = forward(net, x[pick])
            p = np.exp(y - y.max(1, keepdims=True))
            d = p / p.sum(1, keepdims=True)
            d[np.arange(len(pick)), labels[pick]] -= 1
            d /= len(pick)
            for layer in reversed(net):
                d = layer.backward(d)
            step += 1
            for i, g in enumerate(g for layer in layers for g in (layer.dw, layer.db)):
                m[i] += 0.1 * (g - m[i])
                v[i] += 0.001 * (g * g - v[i])
                params[i] -= rate * (m[i] / (1 - 0.9 ** step)) / (
                    np.sqrt(v[i] / (1 - 0.999 ** step)) + 1e-8)


# ---- ONNX: the few messages of its protobuf format that these networks need ----

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


def tensor(name, a):
    kind, a = (7, a.astype("<i8")) if a.dtype.kind == "i" else (1, a.astype("<f4"))
    return (b"".join(number(1, d) for d in a.shape) + number(2, kind) + text(8, name)
            + text(9, a.tobytes()))


def value(name, kind, dims):
    shape = b"".join(text(1, text(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return text(1, name) + text(2, text(1, number(1, kind) + text(2, shape)))


def node(op, inputs, output, **attrs):
    out = b"".join(text(1, i) for i in inputs) + text(2, output) + text(4, op)
    for name, a in attrs.items():
        body = text(1, name)
        if isinstance(a, list):
            body += b"".join(number(8, n) for n in a) + number(20, 7)
        else:
            body += number(3, a) + number(20, 2)
        out += text(5, body)
    return out


def write(path, shape, net):
    """The network with `scores` (one of each digit) and `digit` (the largest) as outputs."""
    nodes, weights, last, n = [], [], "image", 0
    for layer in net:
        n += 1
        if isinstance(layer, Dense):
            w, op, attrs = layer.w, "Gemm", {}
            if isinstance(layer, Conv):
                w = w.reshape(3, 3, -1, w.shape[1]).transpose(3, 2, 0, 1)
                op, attrs = "Conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
            weights += [tensor(f"w{n}", w), tensor(f"b{n}", layer.b)]
            out = f"y{n}" if layer.relu else "scores"
            nodes.append(node(op, [last, f"w{n}", f"b{n}"], out, **attrs))
            last = out
            if layer.relu:
                nodes.append(node("Relu", [last], f"r{n}"))
                last = f"r{n}"
        elif isinstance(layer, Pool):
            nodes.append(node("MaxPool", [last], f"p{n}", kernel_shape=[2, 2], strides=[2, 2]))
            nodes.append(node("Flatten", [f"p{n}"], f"f{n}"))
            last = f"f{n}"
    nodes.append(node("ArgMax", [last], "digit", axis=1, keepdims=0))
    graph = (b"".join(text(1, one) for one in nodes) + text(2, "digits")
             + b"".join(text(5, w) for w in weights)
             + text(11, value("image", 1, ["N", *shape]))
             + text(12, value("scores", 1, ["N", 10])) + text(12, value("digit", 7, ["N"])))
    with open(path, "wb") as f:
        f.write(number(1, 8) + text(2, "train.py") + text(7, graph) + text(8, number(2, 13)))


def main(folder):
    x, labels = images()
    rng = np.random.default_rng(7)
    dense = [Dense(rng, 64, 12), Dense(rng, 12, 10, relu=False)]
    conv = [Image(), Conv(rng, 1, 12), Conv(rng, 12, 24), Pool(),
            Dense(rng, 384, 10, relu=False)]
    train(dense, x[:TRAIN], labels[:TRAIN], 20, rng)
    train(conv, x[:TRAIN], labels[:TRAIN], 12, rng)
    write(os.path.join(folder, "dense.onnx"), [64], dense)
    write(os.path.join(folder, "conv.onnx"), [1, 8, 8], conv)
    with open(os.path.join(folder, "test.jsonl"), "w", encoding="ascii") as f:
        for image, label in zip(x[TRAIN:], labels[TRAIN:]):
            f.write(json.dumps({"label": int(label), "pixels": [float(p) for p in image]}) + "\n")
    for name, net in (("dense", dense), ("conv", conv)):
        right = int((forward(net, x[TRAIN:]).argmax(1) == labels[TRAIN:]).sum())
        print(name, right, len(x) - TRAIN)


if __name__ == "__main__":
    main(sys.argv[1])
