#!/usr/bin/python3
"""examples/anomaly/learn.py FOLDER        - two models of what is usual, from FOLDER/normal.jsonl
examples/anomaly/learn.py FOLDER check  - are the scores in FOLDER/scores.jsonl those models'?

distance.onnx     how many standard deviations a sample is away, each number by itself
autoencoder.onnx  a linear autoencoder: what the two main directions of the usual samples cannot
                  rebuild; it sees numbers that do not go together, each of which is usual
A score is a mean of squares; samples like the recorded ones have about 1 with the first, less with
the second.  Needs Python and nothing else.
"""
import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import onnx_write as onnx

FIELDS = ["busy", "kernel", "switches", "interrupts", "forks"]
FLOOR = [0.02, 0.02, 20, 20, 20]  # the least deviations: a quiet recording may have none
CODE = 2  # numbers between the autoencoder's halves
ROUNDS = 200


def samples(path):
    with open(path, encoding="ascii") as f:
        return [json.loads(line) for line in f]


def learn(rows):
    """Mean, 1 / deviation, and the CODE main directions of the scaled rows."""
    wide = range(len(FIELDS))
    mean = [sum(r[i] for r in rows) / len(rows) for i in wide]
    scale = []
    for i in wide:
        deviation = (sum((r[i] - mean[i]) ** 2 for r in rows) / len(rows)) ** 0.5
        scale.append(1 / max(deviation, FLOOR[i]))
    z = [[(r[i] - mean[i]) * scale[i] for i in wide] for r in rows]
    cov = [[sum(r[i] * r[j] for r in z) / len(z) for j in wide] for i in wide]
    directions = []
    for k in range(CODE):  # power iteration, without what the earlier directions have
        v = [1.0 + i + k for i in wide]
        for _ in range(ROUNDS):
            v = [sum(cov[i][j] * v[j] for j in wide) for i in wide]
            for d in directions:
                part = sum(a * b for a, b in zip(v, d))
                v = [a - part * b for a, b in zip(v, d)]
            length = sum(a * a for a in v) ** 0.5
            v = [a / length if length > 0 else 0.0 for a in v]
        directions.append(v)
    return {"mean": mean, "scale": scale, "directions": directions}


def score(model, row, rebuild):
    z = [(x - m) * s for x, m, s in zip(row, model["mean"], model["scale"])]
    back = [0.0] * len(z)
    if rebuild:
        for d in model["directions"]:
            code = sum(a * b for a, b in zip(z, d))
            back = [b + code * a for b, a in zip(back, d)]
    return sum((a - b) ** 2 for a, b in zip(z, back)) / len(z)


def write(path, model, rebuild):
    wide = len(FIELDS)
    constants = [onnx.floats("mean", [wide], model["mean"]),
                 onnx.floats("scale", [wide], model["scale"])]
    nodes = [onnx.node("Sub", ["vitals", "mean"], "centred"),
             onnx.node("Mul", ["centred", "scale"], "z")]
    rest = "z"
    if rebuild:
        columns = [d[i] for i in range(wide) for d in model["directions"]]
        constants += [onnx.floats("encoder", [wide, CODE], columns),
                      onnx.floats("decoder", [CODE, wide], sum(model["directions"], []))]
        nodes += [onnx.node("MatMul", ["z", "encoder"], "code"),
                  onnx.node("MatMul", ["code", "decoder"], "back"),
                  onnx.node("Sub", ["z", "back"], "rest")]
        rest = "rest"
    nodes += [onnx.node("Mul", [rest, rest], "squares"),
              onnx.node("ReduceMean", ["squares"], "score", axes=[1], keepdims=0)]
    onnx.write(path, "anomaly", nodes, constants,
               [onnx.value("vitals", onnx.FLOAT, ["N", wide])],
               [onnx.value("score", onnx.FLOAT, ["N"])])


def check(folder):
    """Each sample once, in order; the score of the model that it names; one change of models."""
    with open(os.path.join(folder, "model.json"), encoding="ascii") as f:
        model = json.load(f)
    names = {}
    for name in ("distance", "autoencoder"):
        with open(os.path.join(folder, name + ".onnx"), "rb") as f:
            names[hashlib.sha256(f.read()).hexdigest()[:12]] = name
    seen = []
    for i, s in enumerate(samples(os.path.join(folder, "scores.jsonl"))):
        name = names[s["model"]]
        want = score(model, [s[f] for f in FIELDS], name == "autoencoder")
        if s["n"] != i:
            sys.exit(f"FAILED: sample {s['n']} where {i} should be")
        if abs(s["score"] - want) > 1e-3 * want + 1e-3:
            sys.exit(f"FAILED: sample {i} has score {s['score']} of {name}, it should be {want}")
        if not seen or seen[-1][0] != name:
            seen.append((name, []))
        seen[-1][1].append(s["score"])
    if [name for name, _ in seen] != ["distance", "autoencoder"]:
        sys.exit(f"FAILED: the models took turns: {[name for name, _ in seen]}")
    for name, scores in seen:
        middle = sorted(scores)[len(scores) // 2]
        print(f"  {name:12} {len(scores):5} samples, median {middle:8.2f},"
              f" highest {max(scores):8.2f}")


def main():
    folder = sys.argv[1]
    if sys.argv[2:] == ["check"]:
        check(folder)
        return
    rows = [[s[f] for f in FIELDS] for s in samples(os.path.join(folder, "normal.jsonl"))]
    model = learn(rows)
    with open(os.path.join(folder, "model.json"), "w", encoding="ascii") as f:
        json.dump(model, f)
    write(os.path.join(folder, "distance.onnx"), model, False)
    write(os.path.join(folder, "autoencoder.onnx"), model, True)


main()
