/* topology/svg.c - a topology as SVG: boxes in columns from left to right, streams as curves.
 *
 * Colours follow the reader's light or dark scheme; a box tells source, transform and sink apart, a
 * thick stream is fused, a dashed one goes to all. */
#include "topology/graph.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "topology/layout.h"

#include <stdio.h>
#include <string.h>

#define NAME_PX 7.6  /* mean width of a letter of a PE's name */
#define SMALL_PX 6.2 /* and of the lines below it */
#define PADDING 14.0
#define LABEL_BYTES_MAX 28 /* of a text in a box */

static const char style[] = /* plain colours, so that viewers without CSS variables show them too */
    "<style>\n"
    "text{font:13px ui-sans-serif,system-ui,'Segoe UI',Roboto,sans-serif;fill:#1c2733}\n"
    ".n{font-weight:600}.s{font-size:11px;fill:#5b6b7b}\n"
    ".l{font-size:11px;fill:#5b6b7b;paint-order:stroke;stroke:#fff;stroke-width:4px;"
    "text-anchor:middle}\n"
    ".bg{fill:#fff}.b{fill:#f4f6f8;stroke:#c9d3dd;stroke-width:1.2}.a{fill:#8a9aab}\n"
    ".source{fill:#1f9d6b}.sink{fill:#c2701c}.mid{fill:#2f6fde}\n"
    ".e{fill:none;stroke:#8a9aab;stroke-width:1.5}.all{stroke-dasharray:5 4}\n"
    ".fused{stroke-width:3.5;stroke-linecap:round}\n"
    "@media(prefers-color-scheme:dark){text{fill:#e8eef4}.s{fill:#9aabbb}"
    ".l{fill:#9aabbb;stroke:#10161d}\n"
    ".bg{fill:#10161d}.b{fill:#1a232d;stroke:#33424f}.a{fill:#6d7f91}.e{stroke:#6d7f91}\n"
    ".source{fill:#3cc790}.sink{fill:#e39a4b}.mid{fill:#6ea2ff}}\n"
    "</style>\n";

static void escape(struct strbuf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '<':
            strbuf_text_add(out, "&lt;");
            break;
        case '>':
            strbuf_text_add(out, "&gt;");
            break;
        case '&':
            strbuf_text_add(out, "&amp;");
            break;
        case '"':
            strbuf_text_add(out, "&quot;");
            break;
        default:
            strbuf_char(out, (unsigned char)*s < 0x20 ? ' ' : *s);
        }
    }
}

/* shorten - what does not fit a box ends in "..."; UTF-8 stays whole. */
static void shorten(char *s)
{
    if (strlen(s) <= LABEL_BYTES_MAX) {
        return;
    }
    size_t at = LABEL_BYTES_MAX - 3;
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80) {
        at--;
    }
    memcpy(s + at, "...", 4);
}

struct box { /* what stands in a PE's box */
    char *lines[3];
    unsigned count;
};

static void make_box(struct box *b, const struct topology *t, const struct pgraph *g, uint32_t pe)
{
    const struct pe *p = &t->pes[pe];
    const char *file = strrchr(p->use, '/');
    b->lines[b->count++] = mem_dup(p->name);
    b->lines[b->count] = mem_dup(file != NULL ? file + 1 : p->use);
    shorten(b->lines[b->count]);
    if (p->parallelism > 1) {
        char *with = mem_printf("%s \xc3\x97%u", b->lines[b->count], p->parallelism);
        mem_free(b->lines[b->count]);
        b->lines[b->count] = with;
    }
    b->count++;
    if (g != NULL) {
        struct strbuf workers = {0};
        graph_pe_workers(&workers, g, pe);
        b->lines[b->count] = strbuf_take(&workers);
        shorten(b->lines[b->count++]);
    }
}

static double box_width(const struct box *b)
{
    double width = 0;
    for (unsigned i = 0; i < b->count; i++) {
        double line = (double)strlen(b->lines[i]) * (i == 0 ? NAME_PX : SMALL_PX);
        width = line > width ? line : width;
    }
    return width + 2 * PADDING + 6;
}

static void draw_box(struct strbuf *out, const struct pe *p, const struct layout_node *n,
                     const struct box *b)
{
    const char *kind = p->input_count == 0 ? "source" : p->output_count == 0 ? "sink" : "mid";
    strbuf_printf(out, "<g id=\"pe-%s\"><title>", p->name);
    escape(out, p->use);
    for (unsigned i = 0; i < p->output_count; i++) {
        strbuf_printf(out, "&#10;%s: {", p->outputs[i].name);
        escape(out, p->outputs[i].schema.text != NULL ? p->outputs[i].schema.text : "");
        strbuf_char(out, '}');
    }
    strbuf_printf(out,
                  "</title>\n<rect class=\"b\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\""
                  " rx=\"8\"/><rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"4\""
                  " height=\"%.1f\" rx=\"2\"/>\n",
                  n->x, n->y, n->width, n->height, kind, n->x + 5, n->y + 7, n->height - 14);
    for (unsigned i = 0; i < b->count; i++) {
        strbuf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", i == 0 ? "n" : "s",
                      n->x + PADDING + 4, n->y + 20 + 16 * i);
        escape(out, b->lines[i]);
        strbuf_text_add(out, "</text>\n");
    }
    strbuf_text_add(out, "</g>\n");
}

/* port_y - several streams at one side of a box leave it at different heights.
 * @order: how many streams of that side lie above; @count: how many there are. */
static double port_y(const struct layout_node *n, uint32_t order, uint32_t count)
{
    return n->y + n->height * (order + 1.0) / (count + 1.0);
}

struct sides { /* per PE: streams in and out, and how many are drawn */
    uint32_t in, out, in_used, out_used;
};

static void draw_stream(struct strbuf *out, const struct topology *t, const struct pgraph *g,
                        const struct layout *l, uint32_t stream, struct sides *sides)
{
    const struct stream *s = &t->streams[stream];
    const struct layout_path *path = &l->paths[stream];
    const struct layout_node *from = &l->nodes[s->from_pe], *to = &l->nodes[s->to_pe];
    struct sides *a = &sides[s->from_pe], *b = &sides[s->to_pe];
    double x = from->x + from->width, y = port_y(from, a->out_used++, a->out);
    double end_y = port_y(to, b->in_used++, b->in), first_x = x, first_y = y;
    double label_x = 0, label_y = 0;
    uint32_t count = 0, fused = 0;
    if (g != NULL) {
        graph_stream_channels(g, stream, &count, &fused);
    }
    strbuf_printf(out, "<path class=\"e%s%s\" marker-end=\"url(#a)\" d=\"M%.1f %.1f",
                  s->partitioning == PART_BROADCAST ? " all" : "", fused > 0 ? " fused" : "", x, y);
    for (uint32_t i = 1; i < path->count; i++) {
        const struct layout_node *n = &l->nodes[l->points[path->first + i]];
        bool last = i + 1 == path->count;
        double next_x = last ? n->x - (fused > 0 ? 9 : 6) : n->x;
        double next_y = last ? end_y : n->y + n->height / 2, bend = (next_x - x) / 2;
        strbuf_printf(out, " C%.1f %.1f %.1f %.1f %.1f %.1f", x + bend, y, next_x - bend, next_y,
                      next_x, next_y);
        if (i == 1) {
            label_x = (first_x + next_x) / 2;
            label_y = (first_y + next_y) / 2;
        }
        if (!last) {
            strbuf_printf(out, " H%.1f", n->x + n->width);
        }
        x = n->x + n->width;
        y = next_y;
    }
    strbuf_text_add(out, "\"><title>");
    escape(out, s->name);
    strbuf_text_add(out, "</title></path>\n");
    struct strbuf label = {0};
    graph_stream_label(&label, t, stream);
    if (label.bytes > 0) {
        char *text = strbuf_take(&label);
        shorten(text);
        strbuf_printf(out, "<text class=\"l\" x=\"%.1f\" y=\"%.1f\">", label_x, label_y - 5);
        escape(out, text);
        strbuf_text_add(out, "</text>\n");
        mem_free(text);
    }
    strbuf_fini(&label);
}

/* other_y - where a stream goes or comes from, to let streams leave a box without crossing. */
static double other_y(const struct layout *l, uint32_t stream, bool out)
{
    const struct layout_path *p = &l->paths[stream];
    const struct layout_node *n = &l->nodes[l->points[p->first + (out ? 1 : p->count - 2)]];
    return n->y + n->height / 2;
}

/* stream_order - streams sorted by the height of both neighbours; few, so by insertion. */
static uint32_t *stream_order(const struct topology *t, const struct layout *l)
{
    uint32_t *order = mem_array(t->stream_count, sizeof order[0]);
    double *height = mem_array(t->stream_count, sizeof height[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        uint32_t at = i;
        height[i] = other_y(l, i, true) + other_y(l, i, false);
        for (; at > 0 && height[order[at - 1]] > height[i]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    mem_free(height);
    return order;
}

static void draw_streams(struct strbuf *out, const struct topology *t, const struct pgraph *g,
                         const struct layout *l)
{
    struct sides *sides = mem_array(t->pe_count, sizeof sides[0]);
    uint32_t *order = stream_order(t, l);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        sides[t->streams[i].from_pe].out++;
        sides[t->streams[i].to_pe].in++;
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        draw_stream(out, t, g, l, order[i], sides);
    }
    mem_free(order);
    mem_free(sides);
}

char *graph_svg(const struct topology *t, const struct pgraph *g)
{
    struct box *boxes = mem_array(t->pe_count, sizeof boxes[0]);
    double *widths = mem_array(t->pe_count, sizeof widths[0]);
    double *heights = mem_array(t->pe_count, sizeof heights[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        make_box(&boxes[i], t, g, i);
        widths[i] = box_width(&boxes[i]);
        heights[i] = 14 + 16.0 * boxes[i].count;
    }
    struct layout *l = layout_new(t, widths, heights);
    struct strbuf out = {0};
    strbuf_printf(
        &out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\""
        " height=\"%.0f\" role=\"img\">\n<title>%s</title>\n%s"
        "<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"2\" refY=\"4\""
        " markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\""
        " orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" class=\"a\"/></marker></defs>\n"
        "<rect width=\"100%%\" height=\"100%%\" class=\"bg\"/>\n",
        l->width, l->height, l->width, l->height, t->name, style);
    draw_streams(&out, t, g, l);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        draw_box(&out, &t->pes[i], &l->nodes[i], &boxes[i]);
        for (unsigned k = 0; k < boxes[i].count; k++) {
            mem_free(boxes[i].lines[k]);
        }
    }
    strbuf_text_add(&out, "</svg>\n");
    layout_free(l);
    mem_free(boxes);
    mem_free(widths);
    mem_free(heights);
    return strbuf_take(&out);
}
