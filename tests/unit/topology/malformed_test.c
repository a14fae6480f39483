/* tests/unit/topology/malformed_test.c - what a user reads who wrote something wrong.
 *
 * Goal:   every mistake is reported where it stands, says what is wrong, and says what to do.
 * Method: a table of malformed topologies, each with the place, a part of the message and a part of
 *         the hint of one problem it must give.  None of them may give a topology. */
#include "tests/unit/topology/catalog_fixture.h"
#include "topology/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "oxbow: 1\ntopology: t\n"
#define A_Z "pes:\n  a: {use: sequence}\n  z: {use: null-sink}\n"

struct malformed {
    const char *yaml;
    uint32_t line, column;
    const char *message, *hint; /* parts of them; "" fits all */
};

/* clang-format off */
static const struct malformed table[] = {
    {"",
     1, 1, "empty", "new topology"},
    {"# only a comment\n",
     1, 1, "empty", "new topology"},
    {"- a\n" "- b\n",
     1, 1, "a list, not a mapping", "oxbow: value"},
    {"hello\n",
     1, 1, "a plain value", "oxbow"},
    {"topology: t\n" "pes:\n" "  a: {use: sequence}\n",
     1, 1, "version is missing", "oxbow: 1"},
    {"oxbow: 2\n" "topology: t\n" "pes:\n" "  a: {use: sequence}\n",
     1, 8, "version 2", "newer"},
    {"oxbow: one\n" "topology: t\n" "pes:\n" "  a: {use: sequence}\n",
     1, 8, "not a whole number", "from 1"},
    {"oxbow: '1'\n" "topology: t\n" "pes:\n" "  a: {use: sequence}\n",
     1, 8, "not a whole number", "from 1"},
    {"oxbow: 1\n" "pes:\n" "  a: {use: sequence}\n",
     1, 1, "no name", "topology: NAME"},
    {"oxbow: 1\n" "topology: My_App\n" "pes:\n" "  a: {use: sequence}\n",
     2, 11, "cannot be the name", "'my-app'"},
    {"oxbow: 1\n" "topology: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"
     "pes:\n" "  a: {use: sequence}\n",
     2, 11, "cannot be the name", "63"},
    {"oxbow: 1\n" "topology:\n" "pes:\n" "  a: {use: sequence}\n",
     2, 10, "nothing", "after the colon"},
    {HEAD,
     1, 1, "no PEs", "add `pes:`"},
    {HEAD "pes: {}\n",
     3, 6, "empty", "NAME: {use: ...}"},
    {HEAD "pes: [a]\n",
     3, 6, "a list", "NAME"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "stream: []\n",
     8, 1, "unknown key 'stream'", "'streams'"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "fusion: on\n",
     8, 9, "cannot be 'on'", "auto, off"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: 10s\n",
     8, 13, "not a mapping", "every"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {keep: 3}\n",
     8, 13, "lacks 'every'", "every: 10s"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 10}\n",
     8, 21, "not a duration", "10ms"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 1ms}\n",
     8, 21, "too short", "10ms"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 1s, retain: lots}\n",
     8, 33, "'retain' is not a size", "64KiB"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 1s, retain: 2000GiB}\n",
     8, 33, "'retain' is too large", "less"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 1s, keep: 0}\n",
     8, 31, "'keep' is 0", "1 to 1000"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "checkpoint: {every: 1s, location: s3://b}\n",
     8, 35, "cannot be kept", "file:///"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "upgrade: {consistency: exakt}\n",
     8, 24, "'exakt'", "'exact'"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "upgrade: {time-out: 3s}\n",
     8, 11, "unknown key 'time-out'", "'timeout'"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "oxbow: 1\n",
     8, 1, "a second time", "line 1"},
    {HEAD "pes:\n" "  a: {use: sequence}\n" "  a: {use: null-sink}\n",
     5, 3, "'a' stands here a second time", "line 4"},
    {HEAD "pes:\n" "  a: {use: sequence\n",
     5, 1, "not YAML", "close the mapping"},
    {HEAD "pes:\n" "\ta: {use: sequence}\n",
     4, 1, "cannot start any token", "not tabs"},
    {HEAD "pes:\n" "  a: {use: 'sequence}\n",
     5, 1, "end of stream", "close the quotes"},
    {HEAD "pes:\n" "  a:\n" "    use: sequence\n" "   with: {}\n",
     6, 4, "not YAML", "indentation"},
    {HEAD "pes:\n" "  a: use: sequence\n",
     4, 9, "mapping values", "quotes"},
    {HEAD "pes: &x\n" "  a: {use: sequence}\n",
     3, 6, "anchors", "write the value out"},
    {HEAD "pes: *x\n",
     3, 6, "aliases", "write the value out"},
    {HEAD "pes: !!map {}\n",
     3, 6, "tags", "quote"},
    {"%YAML 1.2\n" "---\n" "oxbow: 1\n" "topology: t\n" "pes:\n" "  a: {use: sequence}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     1, 1, "directives", "remove"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "---\n" "oxbow: 1\n",
     8, 1, "second document", "another file"},
    {HEAD "pes: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
     3, 37, "deeper than 32", "five levels"},
    {HEAD "pes:\n" "  a: {use: \"a\\0b\"}\n",
     4, 12, "zero byte", "remove"},
    {HEAD "pes:\n" "  a: {use: \"\\q\"}\n",
     4, 13, "unknown escape", "backslash"},
    {HEAD "pes:\n" "  ? [x]\n" "  : {use: sequence}\n",
     4, 5, "a key is a list", "plain word"},
    {HEAD "pes:\n" "  a: \xff\n",
     4, 1, "not UTF-8", "UTF-8"},
    {HEAD "pes:\n" "  A: {use: sequence}\n",
     4, 3, "cannot be the name of a PE", "'a'"},
    {HEAD "pes:\n" "  a:\n",
     4, 3, "the PE 'a' is empty", "use: NAME"},
    {HEAD "pes:\n" "  a: sequence\n",
     4, 6, "a plain value, not a mapping", "use: value"},
    {HEAD "pes:\n" "  a: {with: {}}\n",
     4, 3, "does not say what it uses", "use: NAME"},
    {HEAD
     "pes:\n" "  a: {use: sequense}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 12, "no PE 'sequense'", "'sequence'"},
    {HEAD
     "pes:\n" "  a: {use: kafka}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 12, "no PE 'kafka'", "pe list"},
    {HEAD
     "pes:\n" "  a: {use: ./missing.so}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 12, "not there", "build it"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: './parse.so:prase'}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 12, "no PE 'prase'", "'parse'"},
    {HEAD
     "pes:\n" "  a: {use: [a]}\n" "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 12, "'use' is a list", "one value"},
    {HEAD
     "pes:\n" "  a: {use: sequence, paralellism: 2}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 22, "'paralellism'", "'parallelism'"},
    {HEAD
     "pes:\n" "  a: {use: sequence, parallelism: 0}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 35, "'parallelism' is 0", "1 to 1024"},
    {HEAD
     "pes:\n" "  a: {use: sequence, parallelism: 2000}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 35, "2000", "1024"},
    {HEAD
     "pes:\n" "  a: {use: sequence, parallelism: two}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 35, "not a whole number", "number from 1"},
    {HEAD
     "pes:\n" "  a: {use: sequence, uid: Q}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 27, "cannot be the name of a uid", "'q'"},
    {HEAD
     "pes:\n" "  a: {use: sequence, uid: x}\n" "  z: {use: null-sink, uid: x}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     5, 3, "same uid 'x'", "own"},
    {HEAD
     "pes:\n" "  a: {use: sequence, state: forget}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 29, "cannot be 'forget'", "keep, drop"},
    {HEAD
     "pes:\n" "  a: {use: sequence, threads: owned}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 31, "cannot be 'owned'", "shared, own"},
    {HEAD
     "pes:\n" "  a: {use: sequence, isolate: process}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 31, "'isolate: process' is not supported yet", "none"},
    {HEAD
     "pes:\n" "  a: {use: sequence, on_error: {then: held}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 39, "cannot be 'held'", "did you mean 'hold'?"},
    {HEAD
     "pes:\n" "  a: {use: sequence, on_error: {stuck_after: 1ms}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 46, "'stuck_after' is too short", "100ms or more"},
    {HEAD
     "pes:\n" "  a: {use: sequence, on_error: {retry: 3}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 33, "unknown key 'retry'", "retries"},
    {HEAD
     "pes:\n" "  a: {use: sequence, place: {device: gpu}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 38, "'device: gpu' is not supported yet", "cpu"},
    {HEAD
     "pes:\n" "  a: {use: sequence, place: {labels: [a]}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 38, "a list, not a mapping", "zone"},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: {cuont: 3}}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 29, "no parameter 'cuont'", "'count'"},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: {count: many}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 36, "not a whole number", ""},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: {count: \"3\"}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 36, "not a whole number", "quotes"},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: {count: -1}}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 36, "out of range", "use 0 to"},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: {rate: 0}}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 35, "out of range", "use 0.001"},
    {HEAD
     "pes:\n" "  a: {use: sequence, with: [1]}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 28, "a list, not a mapping", "name: value"},
    {HEAD
     "pes:\n" "  a: {use: file-source}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 3, "lacks the parameter 'path'", "with: {path: ...}"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: }}\n" "  z: {use: null-sink}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     4, 38, "not a path", "path of a file"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, follow: yes}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 49, "not true or false", "true or false"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: josnl}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 49, "not one of its choices", "'jsonl'"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: csv}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 3, "must say which fields", "out: {field"},
    {HEAD
     "pes:\n" "  a: {use: tcp-source, with: {listen: 9000}}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: z}\n",
     4, 39, "not an address", "HOST:PORT"},
    {HEAD
     "pes:\n" "  a: {use: tcp-source, with: {listen: 'h:1', line_max: lots}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 56, "not a size", "64KiB"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: count, with: {by: user}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 30, "names the field 'user'", "seq"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: count, with: {by: [key, kee]}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 36, "names the field 'kee'", "'key'"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: count, with: {by: [key, key]}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 36, "'key' twice", "once"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: count, with: {by: []}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 30, "an empty list", "at least one"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: set, with: {fields: 3}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 32, "not a mapping", "name: value"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: set, with: {fields: {a: }}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 36, "not a single value", "number"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: set, with: {fields: {1a: 2}}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 33, "not a field name", "fields are named"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: union, with: {x: 1}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 26, "no parameter 'x'", "takes no parameters"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: words}\n" "  z: {use: null-sink}\n"
     "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 3, "names the field 'line'", "seq"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: words, with: {field: seq}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: b}\n" "  - {from: b, to: z}\n",
     5, 3, "needs the field 'seq' as str", ""},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: csv}, out: {a: int}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 64, "'int' is not a type", "'i64'"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: csv}, out: {a: f32[0]}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 64, "not a type", "f32[N]"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: csv}, out: {a-b: i64}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 61, "name of a field", "letters"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x, format: csv}, out: {}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 60, "empty", "field: type"},
    {HEAD
     "pes:\n" "  a: {use: file-source, with: {path: x}, out: {a: i64}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n",
     4, 47, "not what 'file-source' gives", "line: str"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  z: {use: null-sink, out: {a: i64}}\n" "streams:\n"
     "  - {from: a, to: z}\n",
     5, 28, "no output, but an 'out'", "remove"},
    {HEAD A_Z "streams: {from: a, to: z}\n",
     6, 10, "a mapping, not a list", "- {from"},
    {HEAD A_Z "streams:\n" "  - a->z\n",
     7, 5, "a stream is a plain value", "from"},
    {HEAD A_Z "streams:\n" "  - {from: a}\n",
     7, 5, "lacks 'to'", "to: PE"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, key: seq}\n",
     7, 22, "unknown key 'key'", "known are from, to, name, by"},
    {HEAD A_Z "streams:\n" "  - {from: b, to: z}\n",
     7, 12, "no PE 'b'", "known are a, z"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: nowhere}\n",
     7, 19, "no PE 'nowhere'", "known are"},
    {HEAD A_Z "streams:\n" "  - {from: a.error, to: z}\n",
     7, 12, "no output port 'error'", "out"},
    {HEAD A_Z "streams:\n" "  - {from: z, to: z}\n",
     7, 12, "'z' has no outputs", "sink"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: a}\n",
     7, 19, "'a' has no inputs", "source"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, by: [seq, sek]}\n",
     7, 32, "no field 'sek'", "'seq'"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, by: []}\n",
     7, 26, "names 0 fields", "1 to 8"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, by: [key, key]}\n",
     7, 32, "'key' twice", "once"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, by: key, to_all: true}\n",
     7, 39, "either keyed", "one of them"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, to_all: yes}\n",
     7, 30, "neither true nor false", "true or false"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z, name: A B}\n",
     7, 28, "cannot be the name", "'a-b'"},
    {HEAD A_Z "streams:\n" "  - {from: a, to: z}\n" "  - {from: a, to: z}\n",
     8, 5, "second stream is named 'a->z'", "line 7"},
    {HEAD A_Z,
     5, 3, "no stream enters 'z'", "to: z"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  w: {use: window}\n" "streams:\n"
     "  - {from: a, to: w}\n",
     5, 3, "input 'rules'", "w.rules"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  b: {use: delay}\n" "  c: {use: union}\n" "streams:\n"
     "  - {from: a, to: c}\n" "  - {from: b, to: c}\n" "  - {from: c, to: b}\n",
     10, 5, "cycle: b -> c -> b", "remove"},
    {HEAD "pes:\n" "  b: {use: delay}\n" "streams:\n" "  - {from: b, to: b}\n",
     6, 5, "cycle: b -> b", "remove"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  l: {use: file-source, with: {path: x}}\n"
     "  z: {use: null-sink}\n" "streams:\n" "  - {from: a, to: z}\n" "  - {from: l, to: z}\n",
     9, 5, "different schemas", "same fields"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  p: {use: ./parse.so, out: {x: i64}}\n" "streams:\n"
     "  - {from: a, to: p}\n",
     5, 3, "needs the field 'line: str'", "seq: i64"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  c: {use: count, parallelism: 2, with: {by: key}}\n"
     "streams:\n" "  - {from: a, to: c}\n",
     7, 5, "keeps state by key", "by: key"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  c: {use: count, parallelism: 2, with: {by: key}}\n"
     "streams:\n" "  - {from: a, to: c, by: seq}\n",
     7, 5, "keeps state by key", "key"},
    {HEAD
     "pes:\n" "  a: {use: sequence}\n" "  c: {use: count, parallelism: 300, with: {by: key}}\n"
     "streams:\n" "  - {from: a, to: c, by: key}\n",
     7, 5, "more instances (300)", "256"},
    {HEAD
     "pes:\n" "  a: {use: sequence, parallelism: 1000}\n"
     "  z: {use: null-sink, parallelism: 999}\n" "streams:\n" "  - {from: a, to: z}\n",
     7, 5, "channels", "parallelism"},
};
/* clang-format on */

static bool says(const struct diag *d, const struct malformed *m)
{
    return d->level == DIAG_ERROR && d->at.line == m->line && d->at.column == m->column &&
           strstr(d->message, m->message) != NULL &&
           strstr(d->hint != NULL ? d->hint : "", m->hint) != NULL;
}

static void every_mistake_is_reported_with_its_place_and_a_hint(void **state)
{
    struct catalog *c = *state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct diags d = {0};
        struct topology *t = topology_parse(table[i].yaml, strlen(table[i].yaml), "/d", c, &d);
        bool found = false;
        for (size_t k = 0; k < d.count; k++) {
            found = found || says(&d.items[k], &table[i]);
        }
        if (!found) {
            char *text = diags_text(&d, "got");
            fail_msg("%s\nexpected %u:%u: %s (%s)\n%s", table[i].yaml, table[i].line,
                     table[i].column, table[i].message, table[i].hint, text);
        }
        assert_null(t);
        assert_true(d.errors > 0);
        diags_fini(&d);
    }
}

static void a_broken_text_never_crashes_wherever_it_ends(void **state)
{
    struct catalog *c = *state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t bytes = 0; bytes < strlen(table[i].yaml); bytes += 7) {
            struct diags d = {0};
            topology_free(topology_parse(table[i].yaml, bytes, "/d", c, &d));
            diags_fini(&d);
        }
    }
}

static void several_mistakes_are_all_reported_in_order_of_place(void **state)
{
    static const char yaml[] = HEAD "pes:\n  a: {use: sequense}\n  b: {use: count, with: {}}\n"
                                    "streams:\n  - {from: x, to: b}\nfusion: maybe\n";
    struct diags d = {0};
    assert_null(topology_parse(yaml, strlen(yaml), "/d", *state, &d));
    assert_int_equal(d.count, 4);
    assert_int_equal(d.items[0].at.line, 4);
    assert_int_equal(d.items[1].at.line, 5);
    assert_int_equal(d.items[2].at.line, 7);
    assert_int_equal(d.items[3].at.line, 8);
    diags_fini(&d);
}

static void problems_beyond_the_limit_are_counted(void **state)
{
    char yaml[16384] = HEAD "pes:\n";
    for (unsigned i = 0; i < 300; i++) {
        snprintf(yaml + strlen(yaml), 40, "  p%u: {use: nothing-%u}\n", i, i);
    }
    struct diags d = {0};
    assert_null(topology_parse(yaml, strlen(yaml), "/d", *state, &d));
    assert_int_equal(d.count, DIAGS_MAX);
    assert_int_equal(d.errors, 300);
    assert_int_equal(d.dropped, 300 - DIAGS_MAX);
    char *text = diags_text(&d, "f.yaml");
    assert_non_null(strstr(text, "f.yaml:4:13: there is no PE 'nothing-0' ("));
    assert_non_null(strstr(text, "200 more problems"));
    free(text);
    diags_fini(&d);
}

static int set_up(void **state)
{
    *state = fixture_catalog();
    return 0;
}

static int tear_down(void **state)
{
    catalog_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_is_reported_with_its_place_and_a_hint),
        cmocka_unit_test(a_broken_text_never_crashes_wherever_it_ends),
        cmocka_unit_test(several_mistakes_are_all_reported_in_order_of_place),
        cmocka_unit_test(problems_beyond_the_limit_are_counted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
