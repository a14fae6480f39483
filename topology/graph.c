/* topology/graph.c - drawings of a topology as text, DOT and JSON; svg.c has the fourth. */
#include "topology/graph.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "topology/schema.h"

#include <string.h>

/* ---- facts */

const char *graph_partitioning_text(enum partitioning p)
{
    return p == PART_KEYED ? "keyed" : p == PART_BROADCAST ? "broadcast" : "balanced";
}

static bool has_own_name(const struct stream *s)
{
    return strstr(s->name, "->") == NULL;
}

void graph_stream_label(struct strbuf *out, const struct topology *t, uint32_t stream)
{
    const struct stream *s = &t->streams[stream];
    const struct mschema *schema = &t->pes[s->from_pe].outputs[s->from_port].schema;
    if (has_own_name(s)) {
        strbuf_printf(out, "%s%s", s->name, s->partitioning != PART_BALANCED ? ": " : "");
    }
    if (s->partitioning == PART_BROADCAST) {
        strbuf_text_add(out, "to all");
    }
    for (unsigned i = 0; i < s->key_count; i++) {
        strbuf_printf(out, "%s%s", i == 0 ? "by " : ", ", schema->fields[s->keys[i]].name);
    }
}

void graph_stream_channels(const struct pgraph *g, uint32_t stream, uint32_t *count,
                           uint32_t *fused)
{
    uint32_t low = 0, high = g->channel_count; /* channels are in order of stream */
    *count = *fused = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (g->channels[middle].stream < stream) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < g->channel_count && g->channels[low].stream == stream; low++) {
        ++*count;
        *fused += g->channels[low].fused;
    }
}

static uint32_t first_instance(const struct pgraph *g, uint32_t pe)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < pe; i++) {
        first += g->topology->pes[i].parallelism;
    }
    return first;
}

void graph_pe_workers(struct strbuf *out, const struct pgraph *g, uint32_t pe)
{
    uint32_t *counts = mem_array(g->worker_count, sizeof counts[0]);
    uint32_t first = first_instance(g, pe);
    bool any = false;
    for (uint32_t i = 0; i < g->topology->pes[pe].parallelism; i++) {
        counts[g->instances[first + i].worker]++;
    }
    for (uint32_t w = 0; w < g->worker_count; w++) {
        if (counts[w] > 0) {
            strbuf_printf(out, "%s%s", any ? ", " : "", g->workers[w].name);
            if (g->topology->pes[pe].parallelism > 1) {
                strbuf_printf(out, " %u", counts[w]);
            }
            any = true;
        }
    }
    mem_free(counts);
}

/* ---- text */

static void text_streams(struct strbuf *out, const struct topology *t, const struct pgraph *g,
                         uint32_t pe)
{
    const struct pe *p = &t->pes[pe];
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        const struct pe *to = &t->pes[s->to_pe];
        if (s->from_pe != pe) {
            continue;
        }
        bool usual = (int)s->from_port == port_default(p->outputs, p->output_count, "out");
        strbuf_printf(out, "    %s%s%s-> %s", usual ? "" : ".",
                      usual ? "" : p->outputs[s->from_port].name, usual ? "" : " ", to->name);
        if ((int)s->to_port != port_default(to->inputs, to->input_count, "in")) {
            strbuf_printf(out, ".%s", to->inputs[s->to_port].name);
        }
        struct strbuf label = {0};
        graph_stream_label(&label, t, i);
        if (label.bytes > 0) {
            strbuf_printf(out, "  %s", strbuf_text(&label));
        }
        strbuf_fini(&label);
        if (g != NULL) {
            uint32_t count, fused;
            graph_stream_channels(g, i, &count, &fused);
            strbuf_printf(out, "  [%u channel%s%s]", count, count == 1 ? "" : "s",
                          fused == count ? ", fused"
                          : fused > 0    ? ", partly fused"
                                         : "");
        }
        strbuf_char(out, '\n');
    }
}

char *graph_text(const struct topology *t, const struct pgraph *g)
{
    struct strbuf out = {0};
    size_t widest = 0;
    for (uint32_t i = 0; i < t->pe_count; i++) {
        size_t bytes = strlen(t->pes[i].name);
        widest = bytes > widest ? bytes : widest;
    }
    strbuf_printf(&out, "%s: %u PE%s, %u stream%s\n", t->name, t->pe_count,
                  t->pe_count == 1 ? "" : "s", t->stream_count, t->stream_count == 1 ? "" : "s");
    for (uint32_t o = 0; o < t->pe_count; o++) {
        const struct pe *p = &t->pes[t->order[o]];
        strbuf_printf(&out, "  %-*s  %s", (int)widest, p->name, p->use);
        if (p->parallelism > 1) {
            strbuf_printf(&out, " x%u", p->parallelism);
        }
        if (g != NULL) {
            strbuf_text_add(&out, "  on ");
            graph_pe_workers(&out, g, t->order[o]);
        }
        strbuf_char(&out, '\n');
        text_streams(&out, t, g, t->order[o]);
    }
    return strbuf_take(&out);
}

/* ---- DOT */

static void dot_string(struct strbuf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\') {
            strbuf_char(out, '\\');
        }
        strbuf_char(out, *s);
    }
}

static void dot_pe(struct strbuf *out, const struct topology *t, const struct pgraph *g,
                   uint32_t pe)
{
    const struct pe *p = &t->pes[pe];
    const char *shape = p->input_count == 0 ? "cds" : p->output_count == 0 ? "cylinder" : "box";
    strbuf_printf(out, "    \"%s\" [shape=%s, label=\"%s\\n", p->name, shape, p->name);
    dot_string(out, p->use);
    if (p->parallelism > 1) {
        strbuf_printf(out, " x%u", p->parallelism);
    }
    if (g != NULL) {
        strbuf_text_add(out, "\\n");
        graph_pe_workers(out, g, pe);
    }
    strbuf_text_add(out, "\"];\n");
}

char *graph_dot(const struct topology *t, const struct pgraph *g)
{
    struct strbuf out = {0};
    strbuf_printf(&out,
                  "digraph \"%s\" {\n    rankdir=LR;\n    node [fontname=\"sans-serif\","
                  " style=\"rounded,filled\", fillcolor=\"#f4f6f8\"];\n"
                  "    edge [fontname=\"sans-serif\", fontsize=10];\n",
                  t->name);
    for (uint32_t o = 0; o < t->pe_count; o++) {
        dot_pe(&out, t, g, t->order[o]);
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint32_t count = 0, fused = 0;
        strbuf_printf(&out, "    \"%s\" -> \"%s\" [label=\"", t->pes[s->from_pe].name,
                      t->pes[s->to_pe].name);
        graph_stream_label(&out, t, i);
        if (g != NULL) {
            graph_stream_channels(g, i, &count, &fused);
        }
        strbuf_printf(&out, "\"%s%s];\n", s->partitioning == PART_BROADCAST ? ", style=dashed" : "",
                      fused > 0 ? ", penwidth=3" : "");
    }
    strbuf_text_add(&out, "}\n");
    return strbuf_take(&out);
}

/* ---- JSON */

static json_t *ports_json(const struct port *ports, unsigned count)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < count; i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s?, s:b}", "name", ports[i].name, "schema",
                                        ports[i].schema.text, "connected", ports[i].connected));
    }
    return list;
}

static json_t *instances_json(const struct pgraph *g, uint32_t pe)
{
    json_t *list = json_array();
    uint32_t first = first_instance(g, pe);
    for (uint32_t i = first; i < first + g->topology->pes[pe].parallelism; i++) {
        const struct pinstance *x = &g->instances[i];
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:s, s:I}", "id", (json_int_t)x->id, "index",
                                        (json_int_t)x->index, "worker", g->workers[x->worker].name,
                                        "chain", (json_int_t)x->chain));
    }
    return list;
}

static json_t *graph_stream_json(const struct topology *t, const struct pgraph *g, uint32_t stream)
{
    const struct stream *s = &t->streams[stream];
    const struct pe *from = &t->pes[s->from_pe], *to = &t->pes[s->to_pe];
    json_t *by = json_array();
    for (unsigned i = 0; i < s->key_count; i++) {
        const struct mschema *schema = &from->outputs[s->from_port].schema;
        json_array_append_new(by, json_string(schema->fields[s->keys[i]].name));
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "name", s->name, "from",
                             from->name, "from_port", from->outputs[s->from_port].name, "to",
                             to->name, "to_port", to->inputs[s->to_port].name, "partitioning",
                             graph_partitioning_text(s->partitioning), "by", by);
    if (g != NULL) {
        uint32_t count, fused;
        graph_stream_channels(g, stream, &count, &fused);
        json_object_set_new(json, "channels", json_integer(count));
        json_object_set_new(json, "fused", json_boolean(count > 0 && fused == count));
        json_object_set_new(json, "channels_fused", json_integer(fused));
    }
    return json;
}

char *graph_json(const struct topology *t, const struct pgraph *g)
{
    json_t *pes = json_array(), *streams = json_array();
    for (uint32_t o = 0; o < t->pe_count; o++) {
        const struct pe *p = &t->pes[t->order[o]];
        json_t *json =
            json_pack("{s:s, s:s, s:s, s:I, s:s, s:b, s:b, s:o, s:o}", "name", p->name, "use",
                      p->use, "uid", p->uid, "parallelism", (json_int_t)p->parallelism, "digest",
                      p->digest, "source", p->desc->source, "stateful", p->desc->stateful, "inputs",
                      ports_json(p->inputs, p->input_count), "outputs",
                      ports_json(p->outputs, p->output_count));
        if (g != NULL) {
            json_object_set_new(json, "instances", instances_json(g, t->order[o]));
        }
        json_array_append_new(pes, json);
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        json_array_append_new(streams, graph_stream_json(t, g, i));
    }
    json_t *json = json_pack("{s:s, s:s, s:o, s:o}", "topology", t->name, "digest", t->digest,
                             "pes", pes, "streams", streams);
    char *text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    return text != NULL ? text : mem_dup("{}");
}
