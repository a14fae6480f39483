/* cli/submit.c - hands a topology file to the master and waits for what becomes of it.
 *
 * Runs on:    the caller; blocks.
 * Invariants: S1 nothing is posted before every plug-in it names is uploaded. */
#include "cli/submit.h"

#include "cli/print.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>
#include <time.h>

#define POLL_MS_MIN 20 /* the first look: a small topology runs at once */
#define POLL_MS_MAX 250

static int upload(struct cli *cli, const struct load_file *file)
{
    struct fail f = {0};
    char *data = NULL;
    size_t bytes = 0;
    if (file_read(file->path, HTTP_ARTIFACT_BYTES_MAX, &data, &bytes, &f) != ERR_OK) {
        return cli_fail(cli, &f);
    }
    struct client_reply reply;
    char *path = mem_printf("/v1/artifacts/%s", file->digest);
    enum err e =
        client_call(cli->master, "PUT", path, "application/octet-stream", data, bytes, &reply, &f);
    mem_free(path);
    mem_free(data);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, file->use);
    }
    client_reply_fini(&reply);
    return code;
}

int submit_file(struct cli *cli, const struct loaded *l, const char *path, uint64_t more_us,
                struct client_reply *reply)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < l->file_count && code == EXIT_DONE; i++) {
        code = upload(cli, &l->files[i]);
    }
    if (code != EXIT_DONE) {
        return code;
    }
    json_t *artifacts = json_object();
    for (size_t i = 0; i < l->file_count; i++) {
        json_object_set_new(artifacts, l->files[i].use, json_string(l->files[i].digest));
    }
    json_t *yaml = json_stringn(l->yaml, l->yaml_bytes);
    if (yaml == NULL) {
        json_decref(artifacts);
        cli_error(cli, "the file is not UTF-8", l->file, "save it as UTF-8");
        return EXIT_REFUSED;
    }
    json_t *document =
        json_pack("{s:o, s:o, s:s}", "yaml", yaml, "artifacts", artifacts, "base_dir", l->base_dir);
    char *body = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    struct fail f = {0};
    enum err e = client_call_for(cli->master, "POST", path, "application/json", body,
                                 strlen(body), more_us, reply, &f);
    mem_free(body);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    if (reply->status < 200 || reply->status > 299) {
        code = cli_refused(cli, reply, l->file);
        client_reply_fini(reply);
        *reply = (struct client_reply){0};
    }
    return code;
}

int submit_topology(struct cli *cli, const struct loaded *l, char **name, uint64_t *version)
{
    struct client_reply reply = {0};
    int code = submit_file(cli, l, "/v1/topologies", 0, &reply);
    if (code == EXIT_DONE) {
        *name = mem_dup(json_text_of(reply.json, "topology"));
        *version = json_count_of(reply.json, "version");
        client_reply_fini(&reply);
    }
    return code;
}

void submit_sleep_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

int submit_wait(struct cli *cli, const char *name, const char *states, uint64_t timeout_us,
                json_t **out)
{
    uint64_t started_us = clock_now_us();
    char *path = mem_printf("/v1/topologies/%s", name);
    int code = EXIT_DONE;
    for (uint64_t wait_ms = POLL_MS_MIN;;
         wait_ms = wait_ms * 2 > POLL_MS_MAX ? POLL_MS_MAX : wait_ms * 2) {
        json_t *topology = NULL;
        code = cli_get(cli, path, &topology);
        if (code != EXIT_DONE) {
            break;
        }
        if (state_is_one_of(json_text_of(topology, "state"), states)) {
            *out = topology;
            break;
        }
        if (timeout_us != 0 && clock_now_us() - started_us > timeout_us) {
            char *what = mem_printf("%s is still %s", name, json_text_of(topology, "state"));
            char *hint =
                mem_printf("look with `oxbow status %s`, or wait longer with --timeout", name);
            cli_error(cli, what, "the time given has passed", hint);
            mem_free(what);
            mem_free(hint);
            json_decref(topology);
            code = EXIT_TIMEOUT;
            break;
        }
        json_decref(topology);
        submit_sleep_ms(wait_ms);
    }
    mem_free(path);
    return code;
}

bool state_is_one_of(const char *state, const char *states)
{
    size_t bytes = strlen(state);
    for (const char *p = states; bytes > 0 && (p = strstr(p, state)) != NULL; p++) {
        if ((p == states || p[-1] == ' ') && (p[bytes] == ' ' || p[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

int submit_print_failure(struct cli *cli, const json_t *topology)
{
    const json_t *error = json_object_get(topology, "error");
    const char *message = json_text_of(error, "message");
    const char *where = json_text_of(error, "where");
    const char *name = json_text_of(topology, "name");
    char *what = where[0] != '\0' ? mem_printf("%s failed at '%s'", name, where)
                                  : mem_printf("%s failed", name);
    cli_error(cli, what, message, json_text_of(error, "hint"));
    mem_free(what);
    return EXIT_FAILED;
}

int submit_check_name(struct cli *cli, const char *name)
{
    if (text_is_name(name)) {
        return EXIT_DONE;
    }
    char *what = mem_printf("`%s` is no topology name", name);
    cli_error(cli, what, "names are lower-case letters, digits and dashes",
              "see `oxbow status` for those that run");
    mem_free(what);
    return EXIT_USAGE;
}
