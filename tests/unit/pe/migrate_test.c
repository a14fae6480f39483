/* tests/unit/pe/migrate_test.c - entries of another state version, taken in through `migrate`.
 *
 * Goal:   what older code's table tells, piece by piece and while it is written to and deleted
 *         from, becomes exactly the newer code's entries; nothing stays behind in the PE's own; a
 *         migrate that fails, or is not there, says so; damaged bytes are refused.
 * Method: random writes beside an array (state_model.h); values of several types and a text each
 *         way that say from which value they were made. */
#include "tests/unit/pe/state_model.h"

#include "core/mem.h"
#include "tests/support/pe_run.h"

/* version 1: sum, text; version 2: text, half, negative, sum */
static const struct oxb_value old_values[] = {{"sum", OXB_I64}, {"text", OXB_BYTES}, {0}};
static const struct oxb_state_decl old_decl = {"sums", old_values};
static const struct oxb_value new_values[] = {
    {"text", OXB_BYTES}, {"half", OXB_F64}, {"negative", OXB_BOOL}, {"sum", OXB_I64}, {0}};
static const struct oxb_state_decl new_states[] = {{"sums", new_values}, {0}};

static int grow(struct oxb_pe *pe, const char *state, uint32_t from, const void *old_cells,
                void *new_cells)
{
    const int64_t *old = old_cells;
    int64_t *new = new_cells;
    struct oxb_str text = oxb_cell_get(&old[1]);
    char longer[80];
    assert_int_equal(from, 1);
    assert_string_equal(state, "sums");
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(new[i], 0);
    }
    if (oxb_param_has(pe, "but") && old[0] == oxb_param_i64(pe, "but")) {
        return oxb_fail(pe, "not that one");
    }
    int bytes = snprintf(longer, sizeof longer, "%.*s, grown", (int)text.len, text.p);
    double half = (double)old[0] / 2;
    oxb_cell_set(oxb_state(pe, state), &new[0], longer, text.len > 0 ? (uint32_t)bytes : 0);
    memcpy(&new[1], &half, sizeof half);
    new[2] = old[0] < 0;
    new[3] = old[0];
    return OXB_OK;
}
static int pass(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)port;
    oxb_forward(pe, 0, in);
    return OXB_OK;
}
static const struct oxb_param params[] = {{.name = "but", .type = OXB_P_I64, .doc = ""}, {0}};
static const struct oxb_port outputs[] = {{"out", "*", ""}, {0}};
static const struct oxb_pe_type newer = {
    .abi = OXB_ABI, .name = "newer", .params = params, .outputs = outputs, .states = new_states,
    .state_version = 2, .process = pass, .migrate = grow};
static const struct oxb_pe_type unable = {
    .abi = OXB_ABI, .name = "unable", .params = params, .outputs = outputs, .states = new_states,
    .state_version = 2, .process = pass};

static uint32_t text_of(int64_t value, char *room, size_t bytes)
{
    return value % 3 == 0 ? 0 : (uint32_t)snprintf(room, bytes, "made of %lld", (long long)value);
}

static void write_some(struct oxb_state *s, struct model *m, enum key_form form, struct prng *p,
                       uint32_t writes)
{
    static uint8_t room[KEY_ROOM];
    for (uint32_t i = 0; i < writes; i++) {
        uint32_t id = (uint32_t)prng_below(p, IDS);
        struct oxb_key key = model_key(form, id, room);
        if (prng_below(p, 5) == 0) {
            assert_int_equal(oxb_state_delete(s, key), model_delete(m, id));
        } else {
            char text[40];
            int64_t value = (int64_t)prng_below(p, 1u << 30) - (1 << 29);
            int64_t *cells = oxb_state_put(s, key);
            cells[0] = value;
            oxb_cell_set(s, &cells[1], text, text_of(value, text, sizeof text));
            model_put(m, id, value);
        }
    }
}

static void check_grown(const struct model *m, struct oxb_state *s, enum key_form form)
{
    static uint8_t room[KEY_ROOM];
    assert_int_equal(oxb_state_count(s), m->count);
    for (uint32_t id = 0; id < IDS; id++) {
        const int64_t *cells = oxb_state_get(s, model_key(form, id, room));
        assert_int_equal(cells != NULL, m->there[id]);
        if (cells == NULL) {
            continue;
        }
        char text[80];
        double half;
        struct oxb_str has = oxb_cell_get(&cells[0]);
        uint32_t bytes = text_of(m->value[id], text, sizeof text);
        bytes += bytes > 0 ? (uint32_t)snprintf(text + bytes, sizeof text - bytes, ", grown") : 0;
        assert_int_equal(has.len, bytes);
        assert_memory_equal(has.p, text, bytes);
        memcpy(&half, &cells[1], sizeof half);
        assert_true(half == (double)m->value[id] / 2);
        assert_int_equal(cells[2], m->value[id] < 0);
        assert_int_equal(cells[3], m->value[id]);
    }
}

static void open_pe(struct pe_run *r, const struct oxb_pe_type *type, const char *with)
{
    assert_true(pe_run_open(r, type, with, "n: i64", NULL, 0, 1));
}

static void what_is_told_is_migrated(void **state)
{
    (void)state;
    bool all[KEY_GROUPS];
    all_groups(all);
    for (enum key_form form = FORM_I64; form < FORM_COUNT; form++) {
        struct pe_run r;
        open_pe(&r, &newer, "{}");
        struct oxb_state *s = state_new(&old_decl), *to = state_new(&new_states[0]);
        struct oxb_state *own = oxb_state(r.pe, "sums");
        uint64_t own_bytes = state_bytes(own);
        struct model *m = mem_alloc(sizeof *m);
        struct prng p = {form + 3};
        struct fail f = {0};
        struct strbuf bytes = {0};
        write_some(s, m, form, &p, 5000);
        struct state_mover *mover = state_mover_new(s, all);
        for (int round = 0; round < 10; round++) {
            for (bool more = true; more;) {
                more = state_mover_slice(mover, 100 + prng_below(&p, 20000), &bytes);
                assert_int_equal(pe_take_pieces(r.pe, "sums", 1, to, bytes.data, bytes.bytes, &f),
                                 ERR_OK);
                strbuf_clear(&bytes);
                write_some(s, m, form, &p, more && round < 3 ? 10 : 0);
            }
            check_grown(m, to, form);
            assert_int_equal(state_bytes(own), own_bytes); /* G1 */
            write_some(s, m, form, &p, round < 9 ? 500 : 0);
        }
        state_mover_free(mover);
        state_free(s);
        state_free(to);
        strbuf_fini(&bytes);
        mem_free(m);
        pe_run_close(&r);
    }
}

/* The same version takes the short way, and needs no migrate. */
static void checkpoints_are_migrated_group_by_group(void **state)
{
    (void)state;
    struct pe_run r;
    open_pe(&r, &newer, "{}");
    struct oxb_state *s = state_new(&old_decl), *own = oxb_state(r.pe, "sums");
    struct model *m = mem_alloc(sizeof *m);
    struct prng p = {5};
    bool groups[KEY_GROUPS];
    struct state_reader *reader = state_reader_new(s);
    for (int round = 0; round < 4; round++) { /* a base and deltas */
        write_some(s, m, FORM_STR, &p, round == 0 ? 5000 : 300);
        (void)state_changed(reader, groups);
        state_freeze(reader, groups, NULL);
        for (unsigned g = 0; g < KEY_GROUPS; g++) {
            struct strbuf bytes = {0};
            if (groups[g]) {
                assert_int_equal(state_read_group(reader, g, &bytes), ERR_OK);
                assert_int_equal(pe_take_group(r.pe, "sums", 1, own, g, bytes.data, bytes.bytes,
                                               NULL), ERR_OK);
            }
            strbuf_fini(&bytes);
        }
        check_grown(m, own, FORM_STR);
    }
    state_reader_free(reader);
    state_free(s);
    mem_free(m);
    pe_run_close(&r);
}

static void what_cannot_be_migrated_says_why(void **state)
{
    (void)state;
    static const struct {
        const struct oxb_pe_type *type;
        const char *with, *name;
        enum err e;
        const char *what;
    } cases[] = {{&newer, "{\"but\":7}", "sums", ERR_INVALID, "version 1: not that one"},
                 {&newer, "{}", "others", ERR_NOTFOUND, "no state `others`"},
                 {&unable, "{}", "sums", ERR_VERSION, "no `migrate`"}};
    bool all[KEY_GROUPS];
    all_groups(all);
    struct oxb_state *s = state_new(&old_decl);
    for (int64_t k = 0; k < 20; k++) {
        *(int64_t *)oxb_state_put(s, oxb_key_i64(&k)) = k;
    }
    struct state_mover *mover = state_mover_new(s, all);
    struct strbuf bytes = {0};
    while (state_mover_slice(mover, 1000, &bytes)) {
    }
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct pe_run r;
        struct fail f = {0};
        open_pe(&r, cases[k].type, cases[k].with);
        struct oxb_state *to = state_new(&new_states[0]);
        assert_int_equal(
            pe_take_pieces(r.pe, cases[k].name, 1, to, bytes.data, bytes.bytes, &f), cases[k].e);
        if (strstr(f.what, cases[k].what) == NULL) {
            fail_msg("%s", f.what);
        }
        state_free(to);
        pe_run_close(&r);
    }
    state_mover_free(mover);
    state_free(s);
    strbuf_fini(&bytes);
}

/* Bytes come from peers and files: whatever they are, they are taken in or refused. */
static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    bool all[KEY_GROUPS];
    all_groups(all);
    struct prng p = {11};
    struct oxb_state *s = state_new(&old_decl);
    struct model *m = mem_alloc(sizeof *m);
    struct pe_run r;
    struct strbuf bytes = {0};
    unsigned refused = 0;
    open_pe(&r, &newer, "{}");
    write_some(s, m, FORM_I64, &p, 40);
    struct state_mover *mover = state_mover_new(s, all);
    while (state_mover_slice(mover, 1000, &bytes)) {
    }
    for (size_t cut = 0; cut < bytes.bytes; cut++) {
        struct oxb_state *to = state_new(&new_states[0]);
        char *part = mem_alloc(bytes.bytes); /* of exactly these bytes */
        size_t count = cut % 2 == 0 ? bytes.bytes : cut;
        memcpy(part, bytes.data, count);
        part[prng_below(&p, count)] ^= (char)(1u << prng_below(&p, 8));
        struct fail f = {0};
        enum err e = pe_take_pieces(r.pe, "sums", 1, to, part, count, &f);
        refused += e != ERR_OK ? 1 : 0;
        assert_true(e == ERR_OK || f.what[0] != '\0');
        state_free(to);
        mem_free(part);
    }
    assert_in_range(refused, bytes.bytes / 4, bytes.bytes);
    state_mover_free(mover);
    state_free(s);
    strbuf_fini(&bytes);
    mem_free(m);
    pe_run_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_is_migrated),
        cmocka_unit_test(checkpoints_are_migrated_group_by_group),
        cmocka_unit_test(what_cannot_be_migrated_says_why),
        cmocka_unit_test(damaged_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
