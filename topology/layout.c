/* topology/layout.c - a layered drawing after Sugiyama: layers, order by barycentres, coordinates.
 */
#include "topology/layout.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

#define SWEEPS 12
#define COUNTED_LINKS_MAX 1500 /* counting crossings is quadratic */
#define GAP_X 90.0             /* between layers: room for the labels of streams */
#define GAP_Y 26.0             /* between boxes of one layer */
#define MARGIN 24.0
#define PASSING_HEIGHT 10.0
#define PASSING_MAX 20000 /* beyond it long streams are drawn straight: nobody reads that drawing  \
                           */

struct making {
    const struct topology *t;
    struct layout *l;
    uint32_t (*links)[2]; /* from node, to node: neighbours in adjacent layers */
    uint32_t link_count;
    uint32_t *sides[2];  /* [link_count]: links by the layer of their end, of their start */
    uint32_t *starts[2]; /* [layer_count + 1]: of each layer in `sides` */
    uint32_t **layers;   /* [layer_count]: nodes in order of rank */
    uint32_t *sizes;     /* [layer_count] */
    double *weight;      /* [nodes]: scratch */
    uint32_t *degree;    /* [nodes]: scratch */
};

/* ---- layers */

static void find_layers(struct making *m)
{
    const struct topology *t = m->t;
    struct layout_node *nodes = m->l->nodes;
    uint32_t *position = mem_array(t->pe_count, sizeof position[0]);
    uint32_t *sorted = mem_array(t->stream_count, sizeof sorted[0]); /* by place of the producer */
    uint32_t *count = mem_array((size_t)t->pe_count + 1, sizeof count[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        position[t->order[i]] = i;
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        count[position[t->streams[i].from_pe] + 1]++;
    }
    for (uint32_t i = 0; i < t->pe_count; i++) {
        count[i + 1] += count[i];
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        sorted[count[position[t->streams[i].from_pe]]++] = i;
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[sorted[i]];
        uint32_t least = nodes[s->from_pe].layer + 1;
        nodes[s->to_pe].layer = nodes[s->to_pe].layer > least ? nodes[s->to_pe].layer : least;
    }
    uint32_t *nearest = mem_array(t->pe_count, sizeof nearest[0]); /* the lowest consumer's layer */
    bool *fed = mem_array(t->pe_count, sizeof fed[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint32_t layer = nodes[s->to_pe].layer;
        uint32_t *n = &nearest[s->from_pe];
        *n = *n == 0 || layer < *n ? layer : *n;
        fed[s->to_pe] = true;
    }
    for (uint32_t i = 0; i < t->pe_count; i++) {
        if (!fed[i] && nearest[i] > 0) {
            nodes[i].layer = nearest[i] - 1; /* a source stands beside what it feeds */
        }
        uint32_t layers = nodes[i].layer + 1;
        m->l->layer_count = m->l->layer_count > layers ? m->l->layer_count : layers;
    }
    mem_free(position);
    mem_free(sorted);
    mem_free(count);
    mem_free(nearest);
    mem_free(fed);
}

/* make_paths - the nodes of every stream, with one passing node in each layer between its ends. */
static void make_paths(struct making *m, const double *widths, const double *heights)
{
    const struct topology *t = m->t;
    struct layout *l = m->l;
    size_t passing = 0;
    for (uint32_t i = 0; i < t->stream_count; i++) {
        passing += l->nodes[t->streams[i].to_pe].layer - l->nodes[t->streams[i].from_pe].layer - 1;
    }
    passing = passing <= PASSING_MAX ? passing : 0;
    bool direct = passing == 0;
    l->nodes = mem_resize(l->nodes, t->pe_count + passing, sizeof l->nodes[0]);
    l->points = mem_array(2 * (size_t)t->stream_count + passing, sizeof l->points[0]);
    l->paths = mem_array(t->stream_count, sizeof l->paths[0]);
    m->links = mem_array((size_t)t->stream_count + passing, sizeof m->links[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        l->nodes[i].width = widths[i];
        l->nodes[i].height = heights[i];
    }
    l->node_count = t->pe_count;
    uint32_t points = 0;
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint32_t last = s->from_pe;
        l->paths[i].first = points;
        l->points[points++] = last;
        for (uint32_t layer = l->nodes[last].layer + 1; !direct && layer < l->nodes[s->to_pe].layer;
             layer++) {
            l->nodes[l->node_count] =
                (struct layout_node){.pe = -1, .layer = layer, .height = PASSING_HEIGHT};
            m->links[m->link_count][0] = last;
            last = l->node_count++;
            m->links[m->link_count++][1] = last;
            l->points[points++] = last;
        }
        m->links[m->link_count][0] = last;
        m->links[m->link_count++][1] = s->to_pe;
        l->points[points++] = s->to_pe;
        l->paths[i].count = points - l->paths[i].first;
    }
}

/* ---- order within the layers */

struct ranked {
    double weight;
    uint32_t rank, node;
};

static int by_weight(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? -1 : 1;
    }
    return x->rank < y->rank ? -1 : x->rank > y->rank ? 1 : 0;
}

static void set_ranks(struct making *m, uint32_t layer)
{
    for (uint32_t i = 0; i < m->sizes[layer]; i++) {
        m->l->nodes[m->layers[layer][i]].rank = i;
    }
}

/* sort_links - by the layer of the node that is moved: their end going forward, else their start.
 */
static void sort_links(struct making *m, unsigned side)
{
    const struct layout *l = m->l;
    uint32_t *starts = mem_array((size_t)l->layer_count + 2, sizeof starts[0]);
    m->sides[side] = mem_array(m->link_count, sizeof m->sides[side][0]);
    m->starts[side] = starts;
    for (uint32_t i = 0; i < m->link_count; i++) {
        starts[l->nodes[m->links[i][1 - side]].layer + 2]++;
    }
    for (uint32_t k = 2; k < l->layer_count + 2; k++) {
        starts[k] += starts[k - 1];
    }
    for (uint32_t i = 0; i < m->link_count; i++) {
        m->sides[side][starts[l->nodes[m->links[i][1 - side]].layer + 1]++] = i;
    }
}

/* sweep - sort layer after layer by the mean rank of the neighbours on one side. */
static void sweep(struct making *m, unsigned side, struct ranked *scratch)
{
    struct layout_node *nodes = m->l->nodes;
    for (uint32_t k = 0; k < m->l->layer_count; k++) {
        uint32_t layer = side == 0 ? k : m->l->layer_count - 1 - k;
        for (uint32_t i = 0; i < m->sizes[layer]; i++) {
            m->weight[m->layers[layer][i]] = 0;
            m->degree[m->layers[layer][i]] = 0;
        }
        for (uint32_t i = m->starts[side][layer]; i < m->starts[side][layer + 1]; i++) {
            const uint32_t *link = m->links[m->sides[side][i]];
            m->weight[link[1 - side]] += nodes[link[side]].rank;
            m->degree[link[1 - side]]++;
        }
        for (uint32_t i = 0; i < m->sizes[layer]; i++) {
            uint32_t n = m->layers[layer][i];
            bool alone = m->degree[n] == 0;
            scratch[i] = (struct ranked){alone ? nodes[n].rank : m->weight[n] / m->degree[n],
                                         nodes[n].rank, n};
        }
        qsort(scratch, m->sizes[layer], sizeof scratch[0], by_weight);
        for (uint32_t i = 0; i < m->sizes[layer]; i++) {
            m->layers[layer][i] = scratch[i].node;
        }
        set_ranks(m, layer);
    }
}

/* crossings - pairs of links between the same layers that cross. */
static uint64_t crossings(const struct making *m)
{
    const struct layout_node *nodes = m->l->nodes;
    uint64_t count = 0;
    for (uint32_t k = 0; k < m->l->layer_count; k++) {
        for (uint32_t i = m->starts[0][k]; i < m->starts[0][k + 1]; i++) {
            const uint32_t *a = m->links[m->sides[0][i]];
            for (uint32_t j = i + 1; j < m->starts[0][k + 1]; j++) {
                const uint32_t *b = m->links[m->sides[0][j]];
                int64_t from = (int64_t)nodes[a[0]].rank - nodes[b[0]].rank;
                int64_t to = (int64_t)nodes[a[1]].rank - nodes[b[1]].rank;
                count += (from < 0 && to > 0) || (from > 0 && to < 0);
            }
        }
    }
    return count;
}

/* sweep_all - forward and backward in turn; the order with the fewest crossings stays. */
static void sweep_all(struct making *m, struct ranked *scratch)
{
    struct layout *l = m->l;
    uint32_t *best = mem_array(l->node_count, sizeof best[0]); /* ranks */
    uint64_t fewest = UINT64_MAX;
    bool count = m->link_count <= COUNTED_LINKS_MAX;
    for (unsigned s = 0; s < SWEEPS; s++) {
        sweep(m, s % 2, scratch);
        uint64_t now = count ? crossings(m) : fewest - 1;
        for (uint32_t i = 0; now < fewest && i < l->node_count; i++) {
            best[i] = l->nodes[i].rank;
        }
        fewest = now < fewest ? now : fewest;
    }
    for (uint32_t i = 0; i < l->node_count; i++) {
        l->nodes[i].rank = best[i];
        m->layers[l->nodes[i].layer][best[i]] = i;
    }
    mem_free(best);
}

static void order_layers(struct making *m)
{
    struct layout *l = m->l;
    struct ranked *scratch = mem_array(l->node_count, sizeof scratch[0]);
    m->layers = mem_array(l->layer_count, sizeof m->layers[0]);
    m->sizes = mem_array(l->layer_count, sizeof m->sizes[0]);
    for (uint32_t i = 0; i < l->node_count; i++) {
        m->sizes[l->nodes[i].layer]++;
    }
    for (uint32_t k = 0; k < l->layer_count; k++) {
        m->layers[k] = mem_array(m->sizes[k], sizeof m->layers[k][0]);
        m->sizes[k] = 0;
    }
    for (uint32_t i = 0; i < l->node_count; i++) {
        uint32_t k = l->nodes[i].layer;
        m->layers[k][m->sizes[k]] = i;
        l->nodes[i].rank = m->sizes[k]++;
    }
    sort_links(m, 0);
    sort_links(m, 1);
    sweep_all(m, scratch);
    mem_free(scratch);
}

/* ---- coordinates */

static double middle(const struct layout_node *n)
{
    return n->y + n->height / 2;
}

/* push_apart - L2, moving as little as may be: down in order, then the overshoot back up. */
static void push_apart(struct making *m, uint32_t layer)
{
    struct layout_node *nodes = m->l->nodes;
    const uint32_t *order = m->layers[layer];
    uint32_t size = m->sizes[layer];
    double shift = 0;
    for (uint32_t i = 0; i < size; i++) {
        struct layout_node *n = &nodes[order[i]];
        double wanted = n->y;
        if (i > 0) {
            const struct layout_node *above = &nodes[order[i - 1]];
            double least = above->y + above->height + GAP_Y;
            n->y = n->y < least ? least : n->y;
        }
        shift += n->y - wanted;
    }
    for (uint32_t i = 0; i < size; i++) {
        nodes[order[i]].y -= shift / size;
    }
}

/* settle_layer - move each box towards the middle of all its neighbours. */
static void settle_layer(struct making *m, uint32_t layer)
{
    struct layout_node *nodes = m->l->nodes;
    for (uint32_t i = 0; i < m->sizes[layer]; i++) {
        m->weight[m->layers[layer][i]] = 0;
        m->degree[m->layers[layer][i]] = 0;
    }
    for (unsigned side = 0; side < 2; side++) {
        for (uint32_t i = m->starts[side][layer]; i < m->starts[side][layer + 1]; i++) {
            const uint32_t *link = m->links[m->sides[side][i]];
            m->weight[link[1 - side]] += middle(&nodes[link[side]]);
            m->degree[link[1 - side]]++;
        }
    }
    for (uint32_t i = 0; i < m->sizes[layer]; i++) {
        uint32_t n = m->layers[layer][i];
        nodes[n].y =
            m->degree[n] > 0 ? m->weight[n] / m->degree[n] - nodes[n].height / 2 : nodes[n].y;
    }
    push_apart(m, layer);
}

static void set_rows(struct making *m)
{
    struct layout *l = m->l;
    for (uint32_t k = 0; k < l->layer_count; k++) {
        for (uint32_t i = 0; i < m->sizes[k]; i++) {
            l->nodes[m->layers[k][i]].y = 0;
        }
        push_apart(m, k);
    }
    for (unsigned s = 0; s < 4 * SWEEPS; s++) {
        for (uint32_t k = 0; k < l->layer_count; k++) {
            settle_layer(m, s % 2 == 0 ? k : l->layer_count - 1 - k);
        }
    }
}

static void set_columns(struct making *m)
{
    struct layout *l = m->l;
    double x = MARGIN, top = 0, bottom = 0;
    for (uint32_t k = 0; k < l->layer_count; k++) {
        double widest = 0;
        for (uint32_t i = 0; i < m->sizes[k]; i++) {
            double width = l->nodes[m->layers[k][i]].width;
            widest = width > widest ? width : widest;
        }
        for (uint32_t i = 0; i < m->sizes[k]; i++) {
            struct layout_node *n = &l->nodes[m->layers[k][i]];
            n->width = widest; /* one width per layer reads as a column */
            n->x = x;
        }
        x += widest + GAP_X;
    }
    for (uint32_t i = 0; i < l->node_count; i++) {
        const struct layout_node *n = &l->nodes[i];
        top = i == 0 || n->y < top ? n->y : top;
        bottom = i == 0 || n->y + n->height > bottom ? n->y + n->height : bottom;
    }
    for (uint32_t i = 0; i < l->node_count; i++) {
        l->nodes[i].y += MARGIN - top;
    }
    l->width = x - GAP_X + MARGIN;
    l->height = bottom - top + 2 * MARGIN;
}

struct layout *layout_new(const struct topology *t, const double *widths, const double *heights)
{
    struct layout *l = mem_alloc(sizeof *l);
    struct making m = {.t = t, .l = l};
    l->nodes = mem_array(t->pe_count, sizeof l->nodes[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        l->nodes[i].pe = (int32_t)i;
    }
    find_layers(&m);
    make_paths(&m, widths, heights);
    m.weight = mem_array(l->node_count, sizeof m.weight[0]);
    m.degree = mem_array(l->node_count, sizeof m.degree[0]);
    order_layers(&m);
    set_rows(&m);
    set_columns(&m);
    for (uint32_t k = 0; k < l->layer_count; k++) {
        mem_free(m.layers[k]);
    }
    mem_free(m.layers);
    mem_free(m.sizes);
    mem_free(m.links);
    for (unsigned side = 0; side < 2; side++) {
        mem_free(m.sides[side]);
        mem_free(m.starts[side]);
    }
    mem_free(m.weight);
    mem_free(m.degree);
    return l;
}

void layout_free(struct layout *l)
{
    if (l == NULL) {
        return;
    }
    mem_free(l->nodes);
    mem_free(l->points);
    mem_free(l->paths);
    mem_free(l);
}
