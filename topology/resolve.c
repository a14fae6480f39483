/* topology/resolve.c - the schema of every port, from the sources on.
 *
 * Invariants: T2 of model.h.  What depends on something already reported stays unknown, in silence.
 */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/strbuf.h"

#include <string.h>

/* ---- inputs */

/* take_inputs - streams into a port give it their schema; all of them must have the same. */
static void take_inputs(struct draft *dr, uint32_t pe, const uint32_t *streams, uint32_t count)
{
    struct topology *t = dr->t;
    struct pe *p = &t->pes[pe];
    for (uint32_t i = 0; i < count; i++) {
        const struct stream *s = &t->streams[streams[i]];
        const struct port *from = &t->pes[s->from_pe].outputs[s->from_port];
        struct port *to = &p->inputs[s->to_port];
        if (!mschema_known(&from->schema)) {
            continue;
        }
        if (!mschema_known(&to->schema)) {
            mschema_copy(&to->schema, &from->schema);
        } else if (strcmp(to->schema.text, from->schema.text) != 0) {
            diags_error(
                dr->d, s->at, mem_printf("give both the same fields, or use an input each"),
                "'%s' gets tuples of different schemas: {%.150s} from '%s', and before {%.150s}",
                p->name, from->schema.text, t->pes[s->from_pe].name, to->schema.text);
        }
    }
}

static struct schema_scope scope_of(const struct pe *p)
{
    return (struct schema_scope){
        .input = p->input_count > 0 ? &p->inputs[0].schema : NULL,
        .declared =
            p->has_declared_out && mschema_known(&p->declared_out) ? &p->declared_out : NULL,
        .with = p->with,
        .model = json_object_get(p->desc->json, "model"),
    };
}

static void check_wanted(struct draft *dr, const struct pe *p, unsigned port,
                         const struct mschema *wanted)
{
    const struct mschema *has = &p->inputs[port].schema;
    for (unsigned i = 0; i < wanted->count; i++) {
        const struct mfield *w = &wanted->fields[i];
        int at = mschema_find(has, w->name);
        if (at < 0 && w->type[0] != '\0') {
            diags_error(dr->d, p->at, mem_printf("it gets {%.150s}", has->text),
                        "'%s' needs the field '%s: %s' in its input", p->name, w->name, w->type);
        } else if (at >= 0 && !schema_type_fits(has->fields[at].type, w->type)) {
            diags_error(dr->d, p->at, NULL,
                        "'%s' needs the field '%s' as %s, its input has it as %s", p->name, w->name,
                        w->type, has->fields[at].type);
        }
    }
}

static void check_inputs(struct draft *dr, const struct pe *p)
{
    struct schema_scope scope = scope_of(p);
    for (unsigned i = 0; i < p->input_count; i++) {
        struct mschema wanted;
        struct fail f = {0};
        if (!mschema_known(&p->inputs[i].schema)) {
            continue;
        }
        enum err e = schema_input(p->desc->inputs[i].schema, &scope, &wanted, &f);
        if (e == ERR_INVALID) {
            diags_error(dr->d, p->at, mem_dup(f.hint), "'%s': %s", p->name, f.what);
        }
        if (e == ERR_OK) {
            check_wanted(dr, p, i, &wanted);
            mschema_fini(&wanted);
        }
    }
}

/* ---- outputs */

static bool says_declared(const struct pe_desc *desc)
{
    for (unsigned i = 0; i < desc->output_count; i++) {
        const char *expr = desc->outputs[i].schema;
        if (expr != NULL && strstr(expr, "declared") != NULL) {
            return true;
        }
    }
    return false;
}

/* check_out - an `out:` that the PE does not ask for must say what its default output has. */
static void check_out(struct draft *dr, const struct pe *p, const struct dpe *at)
{
    int port = port_default(p->outputs, p->output_count, "out");
    if (at->out == NULL || !mschema_known(&p->declared_out)) {
        return;
    }
    if (port < 0) {
        diags_error(dr->d, at->out->at, mem_dup("remove it"), "'%s' has no output, but an 'out'",
                    p->name);
        return;
    }
    const struct mschema *has = &p->outputs[port].schema;
    if (mschema_known(has) && strcmp(has->text, p->declared_out.text) != 0 &&
        !(says_declared(p->desc) && strstr(p->desc->outputs[port].schema, "declared") == NULL)) {
        diags_error(dr->d, at->out->at, mem_printf("remove it, or write {%.150s}", has->text),
                    "'out' of '%s' is not what '%s' gives", p->name, p->use);
    }
}

static void make_outputs(struct draft *dr, struct pe *p, const struct dpe *at)
{
    struct schema_scope scope = scope_of(p);
    for (unsigned i = 0; i < p->output_count; i++) {
        struct fail f = {0};
        enum err e = schema_output(p->desc->outputs[i].schema, &scope, &p->outputs[i].schema, &f);
        if (e == ERR_NOTFOUND && at->out == NULL) {
            diags_error(dr->d, p->at, mem_dup("add `out: {field: type, ...}`"),
                        "'%s' must say which fields it gives", p->name);
        } else if (e != ERR_OK && e != ERR_NOTFOUND && e != ERR_AGAIN) {
            diags_error(dr->d, place_in_with(p, at, f.what), mem_dup(f.hint), "'%s': %s", p->name,
                        f.what);
        }
    }
    check_out(dr, p, at);
}

/* ---- keys of streams */

static void read_key(struct draft *dr, struct stream *s, const struct ynode *n)
{
    const struct pe *p = &dr->t->pes[s->from_pe];
    const struct mschema *has = &p->outputs[s->from_port].schema;
    const char *name;
    if (!read_text(dr->d, n, "'by'", &name) || !mschema_known(has)) {
        return;
    }
    int field = mschema_find(has, name);
    if (field < 0) {
        const char **names = mem_array(has->count, sizeof names[0]);
        for (unsigned i = 0; i < has->count; i++) {
            names[i] = has->fields[i].name;
        }
        diags_error(dr->d, n->at, hint_nearest(name, names, has->count),
                    "tuples of '%s' have no field '%.80s'", p->name, name);
        mem_free(names);
        return;
    }
    if (strncmp(has->fields[field].type, "f32", 3) == 0) {
        diags_error(dr->d, n->at, mem_dup("use a scalar field"), "the tensor '%s' cannot be a key",
                    name);
        return;
    }
    for (unsigned i = 0; i < s->key_count; i++) {
        if (s->keys[i] == (uint32_t)field) {
            diags_error(dr->d, n->at, mem_dup("name each field once"),
                        "'by' names the field '%s' twice", name);
            return;
        }
    }
    s->keys[s->key_count++] = (uint32_t)field;
}

static void read_keys(struct draft *dr, struct stream *s, const struct ynode *by)
{
    if (by->kind != Y_LIST) {
        read_key(dr, s, by);
        return;
    }
    if (by->count == 0 || by->count > KEY_FIELDS_MAX) {
        diags_error(dr->d, by->at, mem_printf("name 1 to %d fields", KEY_FIELDS_MAX),
                    "'by' names %zu fields", by->count);
        return;
    }
    for (size_t i = 0; i < by->count; i++) {
        read_key(dr, s, by->items[i]);
    }
}

/* same_key - are the stream's keys the fields that the parameter `by` names, in order? */
static bool same_key(const struct mschema *schema, const struct stream *s, const json_t *by)
{
    bool list = json_is_array(by);
    if (s->key_count != (list ? json_array_size(by) : 1)) {
        return false;
    }
    for (unsigned i = 0; i < s->key_count; i++) {
        const char *name = json_string_value(list ? json_array_get(by, i) : by);
        if (name == NULL || strcmp(schema->fields[s->keys[i]].name, name) != 0) {
            return false;
        }
    }
    return true;
}

/* check_state_key - state kept by key must be where the key's tuples go: with several instances, a
 * stream that spreads a key over them would leave each with a part of its state. */
static void check_state_key(struct draft *dr, const struct stream *s)
{
    const struct pe *p = &dr->t->pes[s->to_pe];
    const struct mschema *schema = &dr->t->pes[s->from_pe].outputs[s->from_port].schema;
    const json_t *by = json_object_get(p->with, "by");
    if (!p->desc->stateful || p->parallelism == 1 || s->partitioning == PART_BROADCAST ||
        !mschema_known(schema)) {
        return;
    }
    if (s->partitioning == PART_KEYED && (by == NULL || same_key(schema, s, by))) {
        return;
    }
    struct strbuf fields = {0};
    for (size_t i = 0; i < json_array_size(by); i++) {
        strbuf_printf(&fields, "%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(by, i)));
    }
    if (json_is_string(by) || by == NULL) {
        strbuf_text_add(&fields, by != NULL ? json_string_value(by) : "FIELD");
    }
    bool list = json_array_size(by) > 1;
    diags_error(dr->d, s->at,
                mem_printf("add `by: %s%s%s` to the stream, or use parallelism 1", list ? "[" : "",
                           strbuf_text(&fields), list ? "]" : ""),
                "'%s' keeps state by key in %u instances, but the stream '%s' does not bring all"
                " tuples of a key to one of them",
                p->name, p->parallelism, s->name);
    strbuf_fini(&fields);
}

void resolve_schemas(struct draft *dr, uint32_t ordered)
{
    struct topology *t = dr->t;
    uint32_t *first = mem_array((size_t)t->pe_count + 2, sizeof first[0]); /* streams by consumer */
    uint32_t *list = mem_array(t->stream_count, sizeof list[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        first[t->streams[i].to_pe + 2]++;
    }
    for (uint32_t i = 2; i < t->pe_count + 2; i++) {
        first[i] += first[i - 1];
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        list[first[t->streams[i].to_pe + 1]++] = i;
    }
    for (uint32_t i = 0; i < ordered; i++) {
        uint32_t pe = t->order[i];
        struct pe *p = &t->pes[pe];
        if (p->desc == NULL) {
            continue;
        }
        take_inputs(dr, pe, list + first[pe], first[pe + 1] - first[pe]);
        size_t errors = dr->d->errors;
        params_check_fields(dr, p, &dr->pes[pe]);
        if (dr->d->errors == errors && !dr->pes[pe].params_bad) {
            check_inputs(dr, p);
            make_outputs(dr, p, &dr->pes[pe]);
        }
        if (dr->d->errors == errors && !dr->pes[pe].params_bad) {
            check_wiring(dr, p, &dr->pes[pe]);
        }
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        size_t errors = dr->d->errors;
        if (dr->streams[i].by != NULL) {
            read_keys(dr, &t->streams[i], dr->streams[i].by);
        }
        if (dr->d->errors == errors) {
            check_state_key(dr, &t->streams[i]);
        }
    }
    mem_free(first);
    mem_free(list);
}
