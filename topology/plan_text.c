/* topology/plan_text.c - a plan as a person reads it. */
#include "topology/plan.h"

#include "core/mem.h"
#include "core/strbuf.h"

#include <inttypes.h>
#include <string.h>

static void add_bytes(struct strbuf *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned u = 0;
    while (value >= 1024 && u + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        u++;
    }
    strbuf_printf(out, u == 0 ? "%.0f %s" : "%.1f %s", value, units[u]);
}

static char sign_of(enum change_kind kind)
{
    switch (kind) {
    case CHANGE_PE_ADDED:
    case CHANGE_STREAM_ADDED:
        return '+';
    case CHANGE_PE_REMOVED:
    case CHANGE_STREAM_REMOVED:
        return '-';
    default:
        return '~';
    }
}

/* noun_of - what has changed about it; empty for coming and going. */
static const char *noun_of(enum change_kind kind)
{
    switch (kind) {
    case CHANGE_PE_RENAMED:
    case CHANGE_STREAM_RENAMED:
        return "name: ";
    case CHANGE_STREAM_REPOINTED:
        return "ends: ";
    case CHANGE_STREAM_REPARTITIONED:
        return "partitioning: ";
    case CHANGE_PE_ADDED:
    case CHANGE_PE_REMOVED:
    case CHANGE_STREAM_ADDED:
    case CHANGE_STREAM_REMOVED:
    case CHANGE_POLICY:
        return "";
    default:
        return NULL; /* its name says it */
    }
}

static void add_changes(struct strbuf *out, const struct plan *p)
{
    for (size_t i = 0; i < p->diff->count; i++) {
        const struct diff_item *c = &p->diff->items[i];
        const char *noun = noun_of(c->kind);
        const char *what = change_is_pe(c->kind)              ? "pe"
                           : c->kind <= CHANGE_STREAM_RENAMED ? "stream"
                                                              : "topology";
        strbuf_printf(out, "  %c %s %s  ", sign_of(c->kind), what, c->name);
        if (noun != NULL) {
            strbuf_text_add(out, noun);
        } else {
            strbuf_printf(out, "%s: ", change_kind_name(c->kind));
        }
        if (c->before != NULL && c->after != NULL) {
            strbuf_printf(out, "%s => %s\n", c->before, c->after);
        } else {
            strbuf_printf(out, "%s\n", c->before != NULL ? c->before : c->after);
        }
    }
    strbuf_printf(out, "  = %u PEs, %u streams unchanged\n", p->pes_unchanged,
                  p->streams_unchanged);
}

struct pe_share { /* members of one PE */
    uint32_t roles[4], heads, tokens;
    unsigned why;
};

static void add_share(struct strbuf *out, const char *name, const struct pe_share *s)
{
    const char *between = "";
    char *why = cover_why_text(s->why);
    strbuf_printf(out, "    %-20s ", name);
    for (unsigned r = 0; r < 4; r++) {
        if (s->roles[r] > 0) {
            strbuf_printf(out, "%s%u %s", between, s->roles[r],
                          cover_role_name((enum cover_role)r));
            between = ", ";
        }
    }
    strbuf_printf(out, "%s%s  (%s)\n", s->heads > 0 ? ", head" : "",
                  s->tokens > 0 ? ", new waits for all old" : "", why);
    mem_free(why);
}

static void add_cover(struct strbuf *out, const struct plan *p)
{
    const struct diff *d = p->diff;
    uint32_t nodes = d->to->pe_count + d->from->pe_count, pes = 0;
    struct pe_share *shares = mem_array(nodes, sizeof shares[0]);
    for (uint32_t i = 0; i < p->cover->member_count; i++) {
        const struct cover_member *m = &p->cover->members[i];
        uint32_t pe = m->new != INDEX_NONE ? p->to->instances[m->new].pe
                                           : p->match->from->instances[m->old].pe;
        if (m->new == INDEX_NONE) {
            pe = d->pe_new[pe] != INDEX_NONE ? d->pe_new[pe] : d->to->pe_count + pe;
        }
        shares[pe].roles[m->role]++;
        shares[pe].heads += m->head;
        shares[pe].tokens += m->token;
        shares[pe].why |= m->why;
        pes +=
            shares[pe].roles[0] + shares[pe].roles[1] + shares[pe].roles[2] + shares[pe].roles[3] ==
            1;
    }
    const uint32_t members = p->cover->member_count, heads = p->cover->head_count;
    strbuf_printf(out, "  cut: %u instance%s of %u PE%s, %u head%s; %s\n", members,
                  members == 1 ? "" : "s", pes, pes == 1 ? "" : "s", heads, heads == 1 ? "" : "s",
                  p->cover->channels_inside > 0 ? "a marker travels inside" : "no marker travels");
    for (uint32_t i = 0; i < nodes; i++) {
        if (shares[i].why != 0) {
            add_share(out,
                      i < d->to->pe_count ? d->to->pes[i].name
                                          : d->from->pes[i - d->to->pe_count].name,
                      &shares[i]);
        }
    }
    mem_free(shares);
}

static void add_workers(struct strbuf *out, const struct plan *p)
{
    for (size_t i = 0; i < p->instruction_count;) {
        uint32_t worker = p->instructions[i].worker;
        strbuf_printf(out, "  worker %s:", p->to->workers[worker].name);
        while (i < p->instruction_count && p->instructions[i].worker == worker) {
            enum instruction_kind kind = p->instructions[i].kind;
            size_t first = i;
            while (i < p->instruction_count && p->instructions[i].worker == worker &&
                   p->instructions[i].kind == kind) {
                i++;
            }
            strbuf_printf(out, " %s %zu", instruction_name(kind), i - first);
        }
        strbuf_char(out, '\n');
    }
}

static void add_moves(struct strbuf *out, const struct plan *p)
{
    for (size_t i = 0; i < p->move_count; i++) {
        const struct state_move *m = &p->moves[i];
        strbuf_printf(out, "  state of %s: %s%u key groups, ", p->diff->to->pes[m->pe].name,
                      m->other ? "all, " : "", m->group_count);
        add_bytes(out, m->bytes);
        strbuf_printf(out, ", from %u on %s to %u on %s%s\n",
                      p->match->from->instances[m->old].index, p->to->workers[m->from_worker].name,
                      p->to->instances[m->new].index, p->to->workers[m->to_worker].name,
                      state_move_migrates(p, m)        ? " (through migrate)"
                      : m->from_worker == m->to_worker ? " (by pointer)"
                                                       : "");
    }
}

char *plan_text(const struct plan *p)
{
    struct strbuf out = {0};
    strbuf_printf(&out, "plan for %s, on version %" PRIu64 "\n", p->diff->to->name,
                  p->base_version);
    if (plan_is_empty(p) && p->refusal_count == 0) {
        strbuf_text_add(&out, "  no change\n");
    } else {
        add_changes(&out, p);
    }
    if (p->match != NULL && p->instruction_count > 0) {
        add_cover(&out, p);
        add_workers(&out, p);
        add_moves(&out, p);
        strbuf_printf(&out, "  predicted pause: %" PRIu64 " us; state over the network: ",
                      p->predicted_pause_us);
        add_bytes(&out, p->remote_bytes);
        strbuf_char(&out, '\n');
    }
    for (size_t i = 0; i < p->note_count; i++) {
        strbuf_printf(&out, "  note: %s\n", p->notes[i]);
    }
    for (size_t i = 0; i < p->refusal_count; i++) {
        const struct refusal *r = &p->refusals[i];
        strbuf_printf(&out, "  refused: %s%s%s\n", r->what, r->hint[0] != '\0' ? "; " : "",
                      r->hint);
    }
    strbuf_printf(&out, "  digest: %s\n", p->digest);
    return strbuf_take(&out);
}
