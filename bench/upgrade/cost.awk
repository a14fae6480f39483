# bench/upgrade/cost.awk - instructions per tuple of a callgrind profile, by what they are for.
#
# Run in the root of the sources.  Self cost only: what a called function costs is listed there.
# A line of a function named below counts; so does a line elsewhere that mentions one of the words.
# What is asked for changes and something else as well is a group of its own, counted in full.

function belongs(file, line, name, text, k) {
    name = owner[file, line]
    text = source[file, line]
    if (name in group) {
        return group[name]
    }
    for (k in words) {
        if (file ~ /worker\// && text ~ k) {
            return words[k]
        }
    }
    return ""
}

# learn - who owns each line of a file: a function's body begins with a line `{`.
function learn(file, n, text, name, within, at) {
    known[file] = 1
    n = 0
    within = ""
    while ((getline text < file) > 0) {
        n++
        source[file, n] = text
        if (text ~ /^[A-Za-z].*\(/ && text !~ /;$/) {
            at = text
            sub(/\(.*/, "", at)
            sub(/.*[ *]/, "", at)
            name = at
        }
        if (text == "{") {
            within = name
        }
        owner[file, n] = within != "" ? within : name
        if (text == "}") {
            within = ""
        }
    }
    close(file)
}

# relative - of a path that ends with a file of ours: from the root of the sources on; else "".
function relative(file) {
    file = "/" file
    if (match(file, /\/(worker|pe|core|net|bench)\/[a-z_\/]*[a-z_]+\.[ch]$/)) {
        return substr(file, RSTART + 1)
    }
    return ""
}

BEGIN {
    change = "a change is looked for"
    n = split("cut_due cut_heads take_arrivals leave_retired spills_of cut_spills cut_drain " \
              "moves_gate end_late end_calls chain_squeeze_turn chain_is_squeezed " \
              "chain_squeeze_rows take_squeezed", list, " ")
    for (i = 1; i <= n; i++) {
        group[list[i]] = change
    }
    words["missing|waiting|c->changed|gated|chain_is_squeezed|squeeze|->closed|room = "] = change
    ledger = "numbers, and comparing them"
    n = split("channel_account number compare channel_note_first note_last out_of_order", list, " ")
    for (i = 1; i <= n; i++) {
        group[list[i]] = ledger
    }
    marker = "alignment (checkpoints, too)"
    n = split("align_blocks align_switches align_marker align_void apply_void inject_marker " \
              "take_marker", list, " ")
    for (i = 1; i <= n; i++) {
        group[list[i]] = marker
    }
    recovery = "recovery and moves of state"
    n = split("resend_turn retain_turn move_turn channel_log is_away is_gone", list, " ")
    for (i = 1; i <= n; i++) {
        group[list[i]] = recovery
    }
}

/^(fl|fi|fe)=/ {
    file = relative(substr($0, 4))
    if (file != "" && !(file in known)) {
        learn(file)
    }
    next
}
/^calls=/ {
    getline # what the call costs is counted at the called
    next
}
/^[0-9]+ [0-9]+$/ {
    total += $2
    which = file != "" ? belongs(file, $1) : ""
    if (which != "") {
        sum[which] += $2
        by[which, file == "" ? "-" : owner[file, $1]] += $2
    }
}

END {
    printf "  %-32s %10.3f instructions a tuple\n", "all, PEs included", total / tuples
    for (which in sum) {
        printf "  %-32s %10.3f  %6.3f %%\n", which, sum[which] / tuples, 100 * sum[which] / total
        all += sum[which]
    }
    printf "  %-32s %10.3f  %6.3f %%\n", "together", all / tuples, 100 * all / total
    if (detail) {
        for (key in by) {
            split(key, part, SUBSEP)
            printf "    %-32s %-28s %8.4f\n", part[1], part[2], by[key] / tuples
        }
    }
}
