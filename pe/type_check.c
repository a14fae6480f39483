/* pe/type_check.c - is a PE type's table well-formed?  Asked of plug-ins and registered types.
 *
 * Threads:    any; pure.
 * Invariants: Q1 nothing behind the ABI field is read before the ABI is known to match.
 * See:        pe/pe.h, tests/unit/pe/registry_test.c */
#include "core/limits.h"
#include "core/text.h"
#include "pe/host.h"
#include "pe/registry.h"

#define TYPE_HINT "see struct oxb_pe_type in oxbow/pe.h"

static enum err check_callbacks(const struct oxb_pe_type *t, struct fail *f);
static enum err check_params(const struct oxb_pe_type *t, struct fail *f);
static enum err check_ports(const struct oxb_pe_type *t, const struct oxb_port *ports,
                            bool outputs, struct fail *f);
static enum err check_states(const struct oxb_pe_type *t, struct fail *f);

enum err type_check(const struct oxb_pe_type *type, struct fail *f)
{
    if (type == NULL) {
        return fail_set(f, ERR_INVALID, TYPE_HINT, "there is no PE type");
    }
    unsigned major = type->abi >> 16;
    unsigned minor = type->abi & 0xffff;
    if (major != OXB_ABI_MAJOR || minor > OXB_ABI_MINOR) { /* Q1 */
        return fail_set(f, ERR_VERSION, "rebuild it against the oxbow/pe.h of this engine",
                        "it was built for version %u.%u of the SDK; this engine has %u.%u", major,
                        minor, OXB_ABI_MAJOR, OXB_ABI_MINOR);
    }
    if (type->name == NULL || !text_is_name(type->name)) {
        return fail_set(f, ERR_INVALID, "names are a-z, 0-9 and -, a letter first",
                        "the PE type has the bad name `%.70s`",
                        type->name != NULL ? type->name : "");
    }
    if (type->self_bytes > TUPLE_BYTES_MAX) {
        return fail_set(f, ERR_LIMIT, "allocate in prepare",
                        "the PE type `%s` asks for %u bytes of its own", type->name,
                        type->self_bytes);
    }
    enum err e = check_callbacks(type, f);
    e = e == ERR_OK ? check_params(type, f) : e;
    e = e == ERR_OK ? check_ports(type, type->inputs, false, f) : e;
    e = e == ERR_OK ? check_ports(type, type->outputs, true, f) : e;
    return e == ERR_OK ? check_states(type, f) : e;
}

static enum err check_callbacks(const struct oxb_pe_type *t, struct fail *f)
{
    bool source = (t->flags & OXB_SOURCE) != 0;
    if (source ? t->produce == NULL : t->process == NULL) {
        return fail_set(f, ERR_INVALID, TYPE_HINT, "the PE type `%s` lacks `%s`", t->name,
                        source ? "produce" : "process");
    }
    if (source && t->inputs != NULL && t->inputs[0].name != NULL) {
        return fail_set(f, ERR_INVALID, TYPE_HINT, "the source `%s` declares inputs", t->name);
    }
    if ((t->flags & OXB_REPLAYABLE) != 0 && (t->snapshot == NULL || t->restore == NULL)) {
        return fail_set(f, ERR_INVALID, "a position is written by snapshot, read by restore",
                        "the PE type `%s` is replayable but lacks snapshot or restore", t->name);
    }
    return ERR_OK;
}

static enum err check_params(const struct oxb_pe_type *t, struct fail *f)
{
    unsigned count = 0;
    for (const struct oxb_param *p = t->params; p != NULL && p->name != NULL; p++, count++) {
        if (count == PARAMS_MAX) {
            return fail_set(f, ERR_LIMIT, "", "the PE type `%s` has more than %d parameters",
                            t->name, PARAMS_MAX);
        }
        if (!text_is_field(p->name) || p->type < OXB_P_I64 || p->type > OXB_P_MAP) {
            return fail_set(f, ERR_INVALID, TYPE_HINT,
                            "the PE type `%s` has the malformed parameter `%.70s`", t->name,
                            p->name);
        }
        if (p->type == OXB_P_ENUM && (p->choices == NULL || p->choices[0] == '\0')) {
            return fail_set(f, ERR_INVALID, TYPE_HINT,
                            "the parameter `%s` of `%s` has no choices", p->name, t->name);
        }
    }
    return ERR_OK;
}

static enum err check_ports(const struct oxb_pe_type *t, const struct oxb_port *ports,
                            bool outputs, struct fail *f)
{
    unsigned count = 0;
    for (const struct oxb_port *p = ports; p != NULL && p->name != NULL; p++, count++) {
        if (count == PORTS_MAX) {
            return fail_set(f, ERR_LIMIT, "", "the PE type `%s` has more than %d ports", t->name,
                            PORTS_MAX);
        }
        if (!text_is_name(p->name) || (outputs && (p->schema == NULL || p->schema[0] == '\0'))) {
            return fail_set(f, ERR_INVALID, TYPE_HINT,
                            "the PE type `%s` has the malformed port `%.70s`", t->name, p->name);
        }
    }
    return ERR_OK;
}

static enum err check_states(const struct oxb_pe_type *t, struct fail *f)
{
    bool timed = false;
    for (const struct oxb_state_decl *s = t->states; s != NULL && s->name != NULL; s++) {
        const struct oxb_value *v = s->values;
        for (; v != NULL && v->name != NULL; v++) {
            timed = timed || v->type == OXB_TIME;
            bool good = v->type == OXB_I64 || v->type == OXB_F64 || v->type == OXB_BOOL ||
                        v->type == OXB_TIME || v->type == OXB_BYTES;
            if (!good) {
                return fail_set(f, ERR_INVALID, "cells are i64, f64, bool, time or bytes",
                                "the value `%.70s` of state `%.70s` in `%s` has a bad type",
                                v->name, s->name, t->name);
            }
        }
        if (s->values == NULL || s->values[0].name == NULL) {
            return fail_set(f, ERR_INVALID, TYPE_HINT, "the state `%.70s` of `%s` has no values",
                            s->name, t->name);
        }
    }
    if (pe_type_has_key_timer(t) && !timed) {
        return fail_set(f, ERR_INVALID, "declare one; oxb_key_timer_set writes it",
                        "the PE type `%s` has key_timer and no state with a cell of type time",
                        t->name);
    }
    return ERR_OK;
}
