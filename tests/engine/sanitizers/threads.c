/* Two threads find, add and assemble with one engine, as those of a batch do: for ThreadSanitizer. Arguments: seconds, seed. */
#include <pthread.h>

#include "world.h"

enum { THREADS = 2, BLOCKS = 20 };

struct worker {
    struct engine *engine;
    pthread_mutex_t *adding;
    uint64_t random;
};

/* Add what is missing: the line of each answer is the address and a newline, so that output is what the input was. */
static void add(struct engine *engine, struct block *block) {
    uint32_t positions[MAX_NUMBERS], scopes[MAX_NUMBERS], offsets[MAX_NUMBERS * DATABASES], numbers[MAX_NUMBERS];
    uint64_t ends[MAX_NUMBERS], count = geocli_add(engine, block, positions, scopes, offsets);
    uint8_t text[2 * MAX_NUMBERS], states[MAX_NUMBERS];
    for (uint64_t i = 0; i < count; i++) {
        numbers[i] = engine->next_number - count + i;
        memcpy(text + 2 * i, "\1\n", 2);
        ends[i] = 2 * i + 2;
        engine->sources[numbers[i]] = (1u << engine->database_count) - 1;
        states[i] = RENDERED;
    }
    if (!geocli_render(engine, numbers, count, text, ends)) memset(states, IS_SINGLE, count);
    geocli_settle(engine, numbers, states, count);
}

static void check_output(const struct engine *engine, const struct block *block) {
    uint64_t size = 0, whole_size = 0, singles = 0, ends[MAX_LINES];
    uint8_t text[MAX_TEXT], whole[MAX_TEXT], out[MAX_TEXT];
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t length = block->stops[i] - block->starts[i];
        memcpy(whole + whole_size, block->text + block->starts[i], length);
        whole[whole_size + length] = '\n';
        if (block->numbers[i] < FIRST_NUMBER) {
            memcpy(text + size, whole + whole_size, length + 1);
            ends[singles++] = size += length + 1;
        }
        whole_size += length + 1;
    }
    struct style style = {(const uint8_t *)"", (const uint8_t *)"", 0, 0, 0, 0};
    struct progress progress = {0};
    uint64_t written = geocli_assemble(engine, block, &style, text, ends, &progress, out, sizeof out);
    CHECK(progress.position == block->count && written == whole_size && !memcmp(out, whole, written));
}

static void pack(const struct engine *engine, const struct block *block) {
    static const uint64_t offsets[FIRST_NUMBER + MAX_NUMBERS];
    static const uint32_t zero[FIRST_NUMBER + MAX_NUMBERS];
    uint64_t seen[4 * MAX_LINES] = {0}, written;
    struct packer packer = {seen, 2 * MAX_LINES - 1, 0, MAX_LINES, offsets, zero, zero, offsets, zero};
    struct row rows[MAX_LINES], sorted[MAX_LINES];
    uint32_t starts[256];
    uint8_t out[4 * MAX_TEXT];
    uint64_t count = geocli_collect(&packer, engine, block, rows, 0);
    geocli_sort(&packer, rows, sorted, count, starts, FIRST_NUMBER + MAX_NUMBERS, 1);
    CHECK(count == (uint64_t)geocli_payload(&packer, engine, sorted, count, NULL, 0, sizeof out, out, sizeof out, &written));
}

static void *work(void *argument) {
    struct worker *worker = argument;
    for (int blocks = 0; blocks < BLOCKS; blocks++) {
        struct block block;
        make_block(&block, &worker->random, MAX_LINES, 0);
        free(block.copy_starts);
        block.copy_starts = NULL;
        CHECK(geocli_split(&block, '\n') >= 0);
        while (geocli_find(worker->engine, &block)) {
            pthread_mutex_lock(worker->adding);
            add(worker->engine, &block);
            pthread_mutex_unlock(worker->adding);
        }
        check_output(worker->engine, &block);
        pack(worker->engine, &block);
        free_block(&block);
    }
    return NULL;
}

static void one_round(uint64_t *random) {
    struct engine *engine = make_engine(random, 0);
    pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){engine, &adding, next_random(random)};
        CHECK(!pthread_create(threads + i, NULL, work, workers + i));
    }
    for (int i = 0; i < THREADS; i++) CHECK(!pthread_join(threads[i], NULL));
    free_engine(engine);
}

int main(int count, char **arguments) { return run_rounds(count, arguments, one_round); }
