#!/bin/sh
# examples/digits/run.sh - images of handwritten digits stream through a small dense network, which
# is exchanged for a convolutional one while they do: the accuracy steps up, no image is lost.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
. "$here/../cluster.sh"
cd "$here"
python=${PYTHON:-/usr/bin/python3}
rounds=${ROUNDS:-20} # over the test images, before and after the change

if ! "$python" -c 'import numpy' 2>/dev/null ||
    [ ! -f "${DIGITS:-/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz}" ]; then
    echo "skipped: this example trains on the digits of Debian's python3-sklearn with numpy:" \
        "apt install python3-numpy python3-sklearn (or DIGITS=path of its digits.csv.gz)"
    exit 0
fi

answers_above() { [ "$(wc -l <work/answers.jsonl)" -gt "$1" ]; }

echo "training on 1437 images, testing on 360 others (right answers of 360, by numpy):"
"$python" -B train.py work | tee work/numpy.txt | sed 's/^/  /'

# feed ROUNDS - that many times the 360 test images, each with a number of its own.
images=0
feed() {
    left=$1
    while [ "$left" -gt 0 ]; do
        awk -v id=$images '{ printf "{\"id\": %d, %s\n", id++, substr($0, 2) }' work/test.jsonl \
            >>work/images.jsonl
        images=$((images + 360))
        left=$((left - 1))
    done
}

start_cluster
feed "$rounds"
"$OXBOW" deploy dense.yaml
wait_until "answer of the first images" answers_above $((images - 1))
"$OXBOW" upgrade conv.yaml --yes &
upgrade_pid=$!
pids="$upgrade_pid $pids"
while kill -0 $upgrade_pid 2>/dev/null; do # images go on coming meanwhile
    feed 1
    sleep 0.2
done
wait $upgrade_pid
pids=${pids#* } # it is gone
feed "$rounds"
wait_until "last answer" answers_above $((images - 1))

# {"id":7,"label":3,"pixels":[...],"seen":3,"model":"0123456789ab"}
answer='"id": ?([0-9]+), ?"label": ?([0-9]+).*"seen": ?([0-9]+), ?"model": ?"([0-9a-f]+)"'
sed -E "s/\{$answer\}/\1 \2 \3 \4/" work/answers.jsonl >work/answers.txt
awk '{ print $1 }' work/answers.txt >work/ids.got
awk -v n="$images" 'BEGIN { for (i = 0; i < n; i++) print i }' >work/ids.want
same "each of $images images has one answer, in order" work/ids.got work/ids.want

for name in dense conv; do
    sha256sum work/$name.onnx | awk -v name=$name '{ print substr($1, 1, 12), name }'
done >work/models.txt
uniq -f 3 work/answers.txt | awk '{ print $4 }' >work/models.got
awk '{ print $1 }' work/models.txt >work/models.want
same "one change of models, from the dense to the convolutional one" work/models.got \
    work/models.want

# Accuracy over the stream, and for every image the answer that numpy's network of the time gives.
awk -v every=3600 '
    { n++; right += $2 == $3 }
    n == every { printf "  images %5d to %5d: %5.1f %% right\n", NR - n, NR - 1, 100 * right / n
                 n = right = 0 }' work/answers.txt
awk 'FILENAME == ARGV[1] { name[$1] = $2; next }
     FILENAME == ARGV[2] { want[$1] = $2 / $3; next }
     { n[name[$4]]++; right[name[$4]] += $2 == $3 }
     END {
         for (m in want) {
             got = n[m] > 0 ? right[m] / n[m] : 0
             printf "%s: %.1f %% right of %d, numpy %.1f %% of 360\n",
                 m, 100 * got, n[m], 100 * want[m]
             d = got - want[m]
             # a part of a round over the test images is left at either end of a model
             if (n[m] < 360 || d * d * n[m] * n[m] > 360 * 360) bad = 1
             all[m] = got
         }
         exit bad || all["conv"] <= all["dense"]
     }' work/models.txt work/numpy.txt work/answers.txt >work/accuracy.txt || {
    cat work/accuracy.txt
    echo "FAILED: the accuracy is not what numpy has, or did not step up" >&2
    exit 1
}
cat work/accuracy.txt
echo "ok: the accuracy stepped up while the images went through"
