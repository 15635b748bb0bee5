/* Let two threads find, add and assemble with one engine, as in a batch: for ThreadSanitizer. Arguments: seconds, seed. */
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
    uint32_t combinations[MAX_NUMBERS * (1 + 2 * DATABASES)];
    uint64_t first = engine->next_number;
    geocli_add(engine, block);
    struct piece pieces[] = {{0, ADDRESS, 0, 0, 0, 0}, {0, TEXT_END, 0, 0, 0, 0}};
    char literals[][24] = {"", "\n"};
    for (uint64_t i = 0; i < engine->database_count; i++)
        for (uint64_t number = 2; number < engine->records[i].numbering.count + 2; number++) engine->records[i].by_number[number].kind = 1;
    for (uint64_t added = geocli_combine(engine, first, combinations); added; added--) {
        struct recipe *recipe = engine->recipes + engine->recipe_count - added;
        recipe->line = recipe->place = recipe->group = put_pieces_at(engine, pieces, literals, 2);
        recipe->place = recipe->group = put_pieces_at(engine, pieces + 1, literals + 1, 1);
        recipe->sources = (1u << engine->database_count) - 1;
        if (recipe->line && recipe->place) recipe->state = RENDERED;
    }
    geocli_settle(engine, first);
}

static void check_output(const struct engine *engine, const struct block *block) {
    uint64_t size = 0, whole_size = 0, singles = 0, ends[MAX_LINES];
    uint8_t text[MAX_TEXT], whole[MAX_TEXT], out[MAX_TEXT];
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t length = block->stops[i] - block->starts[i];
        if (block->numbers[i] == UNREAD) continue;
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
    struct slot slots[2 * MAX_LINES] = {0};
    struct numbering seen = {slots, 2 * MAX_LINES - 1, 0, MAX_LINES, {1, 3, 5}};
    struct row rows[MAX_LINES], sorted[MAX_LINES];
    uint32_t starts[256];
    uint8_t out[2][2 * MAX_TEXT];
    struct writer addresses = {out[0], 0, sizeof out[0]}, places = {out[1], 0, sizeof out[1]};
    uint64_t count = geocli_collect(&seen, block, rows, 0);
    geocli_sort(engine, rows, sorted, count, starts, FIRST_NUMBER + MAX_NUMBERS, MAX_NUMBERS);
    CHECK(count == (uint64_t)geocli_payload(engine, sorted, count, sizeof out, &addresses, &places));
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
        if (worker->engine->groups) pack(worker->engine, &block);
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
