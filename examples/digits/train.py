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

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import onnx_write as onnx

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


def write(path, shape, net):
    """The network as ONNX; outputs `scores`, one of each digit, and `digit`, the largest."""
    nodes, weights, last, n = [], [], "image", 0
    for layer in net:
        n += 1
        if isinstance(layer, Dense):
            w, op, attrs = layer.w, "Gemm", {}
            if isinstance(layer, Conv):
                w = w.reshape(3, 3, -1, w.shape[1]).transpose(3, 2, 0, 1)
                op, attrs = "Conv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
            weights += [onnx.floats(f"w{n}", w.shape, w.ravel().tolist()),
                        onnx.floats(f"b{n}", layer.b.shape, layer.b.tolist())]
            out = f"y{n}" if layer.relu else "scores"
            nodes.append(onnx.node(op, [last, f"w{n}", f"b{n}"], out, **attrs))
            last = out
            if layer.relu:
                nodes.append(onnx.node("Relu", [last], f"r{n}"))
                last = f"r{n}"
        elif isinstance(layer, Pool):
            nodes.append(onnx.node("MaxPool", [last], f"p{n}", kernel_shape=[2, 2], strides=[2, 2]))
            nodes.append(onnx.node("Flatten", [f"p{n}"], f"f{n}"))
            last = f"f{n}"
    nodes.append(onnx.node("ArgMax", [last], "digit", axis=1, keepdims=0))
    onnx.write(path, "digits", nodes, weights, [onnx.value("image", onnx.FLOAT, ["N", *shape])],
               [onnx.value("scores", onnx.FLOAT, ["N", 10]),
                onnx.value("digit", onnx.INT64, ["N"])])


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
