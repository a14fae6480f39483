#!/bin/bash
# tests/tidy.sh - checks of the house style that a compiler does not make: `make tidy`.
#
# Every finding is one line `file:line: what`.  The exit status is 1 when there is any.
# A line that carries a `tidy:` remark, saying why, may break the rule on file-scope variables; a
# function with `tidy: table` in it may be longer than 70 lines.
set -u
export LC_ALL=C TIDY_CFLAGS=${TIDY_CFLAGS:-} kept=build/tidy
cd "$(dirname "$0")/.." || exit 2
out=$(mktemp) && trap 'rm -f "$out"' EXIT
say() { echo "$*" >>"$out"; }

mapfile -t all < <(git ls-files --cached --others --exclude-standard 2>/dev/null |
    while read -r f; do [ -f "$f" ] && echo "$f"; done)
[ ${#all[@]} -gt 0 ] || mapfile -t all < <(find . -path ./build -prune -o -type f -print |
    sed 's|^\./||')
pick() { printf '%s\n' "${all[@]}" | grep -E "$1"; }
mapfile -t sources < <(pick '\.[ch]$')
mapfile -t scripts < <(pick '\.sh$|^\.ci/run$')

# ---- which folder may include which
awk '
BEGIN {
    may["core"] = "core"
    may["topology"] = "topology core"
    may["pe"] = "pe core oxbow"
    may["net"] = "net core"
    may["worker"] = "worker pe net core"
    may["master"] = "master topology net core pe/registry.h"
    may["cli"] = "cli topology net core pe/registry.h pe/infer/model.h"
}
/^ *# *include *"/ {
    split($0, part, "\""); to = part[2]
    split(FILENAME, from, "/"); split(to, into, "/")
    if (from[1] in may && index(" " may[from[1]] " ", " " into[1] " ") == 0 &&
        index(" " may[from[1]] " ", " " to " ") == 0)
        print FILENAME ":" FNR ": may not include " to
}' "${sources[@]}" >>"$out"

# ---- file heads, sizes, widths
awk '
FNR == 1 {
    name = FILENAME == "pe/pe.h" ? "oxbow/pe.h" : FILENAME # the name its users know
    short = name
    if (FILENAME ~ /^examples\//) sub(/.*\//, "", short) # an example is a folder that users copy
    if (index($0, "/* " name " - ") != 1 && index($0, "/* " short " - ") != 1)
        print FILENAME ":1: first line is not `/* " name " - ...`"
    nextfile
}' "${sources[@]}" >>"$out"
awk 'FNR == 1001 { print FILENAME ":1001: more than 1000 lines" }' "${sources[@]}" "${scripts[@]}" \
    >>"$out"
awk 'function say(what) { print FILENAME ":" FNR ": " what }
     length($0) > 100 { say("longer than 100 columns") }
     FILENAME == "tests/tidy.sh" { next }
     /FIXME|(^|[^X])XXX([^X]|$)/ { say("FIXME or XXX") }
     /TODO/ && !/TODO\(#[0-9]+\)/ { say("TODO without (#issue)") }
' "${sources[@]}" "${scripts[@]}" >>"$out"

# ---- what needs the text without comments and strings
awk '
function say(what) { print FILENAME ":" FNR ": " what }
BEGIN {
    banned = "(^|[^a-z_0-9])(strcpy|strcat|sprintf|vsprintf|rand|srand|gets|strtok|alloca) *\\("
    variable = "^ *(static |_Thread_local )*[a-z][a-zA-Z_0-9 ]*[ *]+[a-z_0-9]+(\\[[^]]*\\])* *[=;]$"
}
function strip(s,    r, c, i, n, two) { # in_comment is kept from line to line
    r = ""; n = length(s)
    for (i = 1; i <= n; i++) {
        two = substr(s, i, 2); c = substr(s, i, 1)
        if (in_comment) { if (two == "*/") { in_comment = 0; i++ } }
        else if (two == "/*") { in_comment = 1; i++ }
        else if (two == "//") { break }
        else if (c == "\"" || c == "\047") {
            for (i++; i <= n && substr(s, i, 1) != c; i++) { if (substr(s, i, 1) == "\\") i++ }
            r = r c c
        } else { r = r c }
    }
    return r
}
FNR == 1 { in_comment = 0; start = 0; table = 0 }
{
    code = strip($0)
    if (code ~ banned) say("banned call: " $0)
    if (FILENAME != "core/clock.h" && code ~ /(^|[^a-z_0-9>.])(time|gettimeofday) *\(/)
        say("the clock is read through core/clock.h only")
    if ($0 ~ /tidy: table/) table = 1
    if (code ~ /^\{/) { start = FNR; table = 0 }
    if (code ~ /^\}/ && start) {
        if (FNR - start - 1 > 70 && !table) say("function of " FNR - start - 1 " lines ends here")
        start = 0
    }
    head = code; sub(/=.*/, "=", head)
    if (FILENAME !~ /^tests/ && $0 !~ /tidy:/ && code !~ /const|\\$/ && head !~ /\(/ &&
        head ~ variable &&
        (head ~ /^ +(static|_Thread_local) / ||
         head ~ /^(static |_Thread_local |[a-z])/ &&
         head !~ /^(typedef|extern|return|goto) / &&
         head !~ /^(struct|enum|union) [a-z_0-9]+;$/))
        say("mutable variable at file scope or static: " $0)
}' "${sources[@]}" >>"$out"

# ---- folders, orphans, locks, links
for d in $(pick '/' | sed -E 's|/[^/]*$||' | sort -u |
    grep -E '^((core|topology|pe|net|worker|master|cli)(/[a-z]+){0,2}|tests|bench|docs)$|^examples')
do
    [ -f "$d/README.md" ] || say "$d:1: no README.md"
done
built='^((core|topology|pe|pe/builtin|pe/infer(/[a-z]+)?|net|worker|master|cli|bench(/[a-z]+)?'
built+='|tests/support|tests/e2e|tests/conformance)/[^/]+|(tests/(unit|fault)/([^/]+/)?[^/]+_test)'
built+='|tests/sim/(recovery/)?[^/]+|tests/fuzz/[^/]+_(fuzz|seeds)'
built+='|examples/.+)\.c$'
for f in $(pick '\.c$' | grep -vE "$built"); do say "$f:1: no rule of the Makefile builds it"; done
for f in $(grep -lE 'pthread_(mutex|rwlock|spinlock)_t ' "${sources[@]}" |
    grep -vE '^(tests|bench|examples)/'); do
    grep -qF "\`$f\`" docs/THREADS.md 2>/dev/null || say "$f:1: its lock is not in docs/THREADS.md"
done
for f in $(pick '\.md$'); do
    while IFS=: read -r line link; do
        link=${link#](} link=${link%)} link=${link%%#*}
        case $link in '' | http:* | https:* | mailto:*) continue ;; esac
        [ -e "$(dirname "$f")/$link" ] || say "$f:$line: dead link $link"
    done < <(grep -noE '\]\([^) ]+\)' "$f")
done

# ---- other tools, where they are installed
# lint FILE KEY - what clang-tidy finds in it.  A minute of work for some files, so it is kept until
# the key differs: the digests of the checks, of the file and of all of ours that it includes.
lint() {
    local found=$kept/${1//\//_}
    if [ "$(head -n1 "$found" 2>/dev/null)" != "$2" ]; then
        # shellcheck disable=SC2086
        { echo "$2"; clang-tidy --quiet "$1" -- $TIDY_CFLAGS 2>/dev/null |
            grep -E '^[^ ]+:[0-9]+:[0-9]+: (warning|error): '; } >"$found.$$"
        mv "$found.$$" "$found"
    fi
    tail -n +2 "$found"
}
# keys - each source with its key for `lint`, a line each.
keys() {
    local checks
    checks=$({ clang-tidy --version; cat .clang-tidy; echo "$TIDY_CFLAGS"; } | sha256sum)
    awk -v checks="${checks:0:10}" '
    function all(file,    k, key) {
        if (file in seen || !(file in digest)) return ""
        seen[file] = 1
        key = digest[file]
        for (k = 1; k <= includes[file]; k++) key = key all(include[file, k])
        return key
    }
    FNR == NR && FILENAME == "-" { digest[$2] = substr($1, 1, 10); next }
    /^ *# *include *"/ { split($0, part, "\""); include[FILENAME, ++includes[FILENAME]] = part[2] }
    END { for (f in digest) if (f ~ /\.c$/) { delete seen; print f, checks all(f) } }
    ' - "${sources[@]}" < <(sha256sum "${sources[@]}")
}
if command -v shellcheck >/dev/null; then
    shellcheck -S warning -f gcc -e SC1091,SC2034,SC2120,SC2148,SC2154 "${scripts[@]}" >>"$out"
else
    echo "tidy: shellcheck is not installed; its step is left out"
fi
if [ "${CLANG_TIDY:-}" = no ]; then
    :
elif command -v clang-tidy >/dev/null; then
    export -f lint
    mkdir -p "$kept"
    keys | grep -E '^(core|topology|pe|net|worker|master|cli|bench)/' |
        xargs -P "$(nproc)" -n 2 bash -c 'lint "$1" "$2"' - | sort -u | sed "s|^$PWD/||" >>"$out"
else
    echo "tidy: clang-tidy is not installed; its step is left out"
fi

sort -u "$out" | sort -s -t: -k1,1 -k2,2n
count=$(sort -u "$out" | wc -l)
echo "tidy: ${#sources[@]} sources, $count findings"
[ "$count" = 0 ]
