/* topology/model.c - the end of a topology, and finding a PE in it. */
#include "topology/model.h"

#include "core/mem.h"
#include "topology/schema.h"

#include <string.h>

static void ports_free(struct port *ports, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        mem_free(ports[i].name);
        mschema_fini(&ports[i].schema);
    }
    mem_free(ports);
}

static void pe_fini(struct pe *p)
{
    mem_free(p->name);
    mem_free(p->uid);
    mem_free(p->use);
    mem_free(p->code);
    mem_free(p->device);
    json_decref(p->with);
    json_decref(p->labels);
    ports_free(p->inputs, p->input_count);
    ports_free(p->outputs, p->output_count + (p->outputs != NULL ? 1 : 0));
    mschema_fini(&p->declared_out);
}

void topology_free(struct topology *t)
{
    if (t == NULL) {
        return;
    }
    for (uint32_t i = 0; i < t->pe_count; i++) {
        pe_fini(&t->pes[i]);
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        mem_free(t->streams[i].name);
    }
    mem_free(t->name);
    mem_free(t->pes);
    mem_free(t->streams);
    mem_free(t->order);
    mem_free(t->checkpoint_location);
    mem_free(t->canonical);
    mem_free(t);
}

const struct pe *topology_pe(const struct topology *t, const char *name)
{
    uint32_t low = 0, high = t->pe_count; /* in order of name */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(name, t->pes[middle].name);
        if (order == 0) {
            return &t->pes[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
