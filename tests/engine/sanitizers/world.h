/* Engines over random databases, and blocks of random text, for the programs that test the kernel. Each piece of memory is one
 * allocation of its exact size, so that sanitizers see a read or a write beyond it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../../geocli/engine/kernel.c"

enum { MAX_NUMBERS = 64, MAX_RECIPES = 16, KEYS = 256, ARENA_BYTES = 8192, DATABASES = 3, MAX_LINES = 64, MAX_TEXT = 4096, TABLE_SLOTS = 1 << TABLE_BITS };

/* Seed of the current round: `PROGRAM 0 SEED` repeats it. */
static uint64_t last_seed;

#define CHECK(condition) \
    do \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: seed %llu: %s\n", __FILE__, __LINE__, (unsigned long long)last_seed, #condition); \
            abort(); \
        } \
    while (0)

/* Random numbers (xorshift64*, Vigna 2016); the same seed gives the same ones. */
static uint64_t next_random(uint64_t *random) {
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    return *random * 0x2545F4914F6CDD1Dull;
}

static uint64_t below(uint64_t *random, uint64_t limit) { return (next_random(random) >> 16) % limit; }

/* Run rounds for the seconds of the first argument, from the seed of the second. */
static int run_rounds(int count, char **arguments, void (*one_round)(uint64_t *random)) {
    uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 10) : 1, rounds = 0;
    for (time_t end = time(NULL) + (count > 1 ? atoi(arguments[1]) : 1); time(NULL) < end || !rounds; rounds++, seed++) {
        uint64_t random = seed * 0x9E3779B97F4A7C15ull | 1;
        last_seed = seed;
        one_round(&random);
    }
    printf("%s: %llu rounds without an error\n", arguments[0], (unsigned long long)rounds);
    return 0;
}

static void *zeros(uint64_t count, uint64_t size) {
    void *memory = calloc(count ? count : 1, size);
    CHECK(memory);
    return memory;
}

static void put_record(struct tree *tree, uint8_t *map, uint32_t node, int side, uint32_t value) {
    uint8_t *at = map + (uint64_t)node * (tree->record_bits / 4) + side * (tree->record_bits == 32 ? 4 : 3);
    if (tree->record_bits == 28) {
        uint8_t *middle = map + (uint64_t)node * 7 + 3, *rest = side ? middle + 1 : at;
        *middle = side ? (*middle & 0xF0) | (value >> 24 & 15) : (*middle & 15) | (value >> 24 & 15) << 4;
        for (int i = 0; i < 3; i++) rest[i] = value >> (16 - 8 * i);
        return;
    }
    for (uint32_t bytes = tree->record_bits / 8, i = 0; i < bytes; i++) at[i] = value >> 8 * (bytes - 1 - i);
}

enum { GLOBAL = 1, PRIVATE, LOCAL, EMBEDDED, SCOPE_NODES = 32 };

/* Give the addresses of a network a scope, in a tree in which all other addresses are global. */
static void add_scope(struct tree *tree, uint8_t *map, uint32_t *used, uint64_t network, uint32_t length, uint32_t scope) {
    for (uint32_t node = 0, depth = 0; depth < length; depth++) {
        uint32_t side = network >> (63 - depth) & 1, next = child(tree, node, side);
        if (depth + 1 == length) next = SCOPE_NODES + scope;
        else if (next >= SCOPE_NODES) {
            next = (*used)++;
            for (int i = 0; i < 2; i++) put_record(tree, map, next, i, SCOPE_NODES + GLOBAL);
        }
        put_record(tree, map, node, side, next);
        node = next;
    }
}

/* Return trees of scopes as in geocli/addresses.py, but fewer: 10.0.0.0/8, fc00::/7, and one that embeds IPv4. */
static const struct tree *scope_trees(void) {
    static uint8_t maps[2][SCOPE_NODES * 8 + SEPARATOR_BYTES];
    static struct tree trees[2];
    uint32_t used[] = {1, 1};
    for (int i = 0; i < 2; i++) {
        trees[i] = (struct tree){.map = maps[i], .size_bytes = sizeof maps[i], .node_count = SCOPE_NODES, .record_bits = 32};
        for (int side = 0; side < 2; side++) put_record(trees + i, maps[i], 0, side, SCOPE_NODES + GLOBAL);
    }
    add_scope(trees, maps[0], used, 10ull << 56, 8, PRIVATE);
    add_scope(trees + 1, maps[1], used + 1, 0xfcull << 56, 7, LOCAL);
    add_scope(trees + 1, maps[1], used + 1, 0x2002ull << 48, 16, EMBEDDED);
    return trees;
}

/* Make a tree of random shape, some with long prefixes; in hostile ones, records point anywhere. */
static void make_tree(struct tree *tree, uint64_t *random, int is_hostile) {
    uint32_t count = 1 + below(random, 300), bits = (uint32_t[]){24, 28, 32}[below(random, 3)];
    uint64_t tree_bytes = count * (bits / 4), size = tree_bytes + SEPARATOR_BYTES + below(random, 400);
    if (is_hostile && !below(random, 4)) size = below(random, tree_bytes + 40);
    uint8_t *map = zeros(size, 1);
    memset(tree, 0, sizeof *tree);
    *tree = (struct tree){.map = map, .size_bytes = size, .node_count = count, .record_bits = bits,
                          .ip_version = below(random, 4) ? 6 : 4};
    if (is_hostile && !below(random, 3)) {
        for (uint64_t i = 0; i < size; i++) map[i] = next_random(random) >> 32;
    } else if (size >= tree_bytes + SEPARATOR_BYTES) {
        uint64_t data = size - tree_bytes - SEPARATOR_BYTES, length = 2 + below(random, 60);
        for (uint32_t node = 0; node < count; node++)
            for (int side = 0; side < 2; side++) {
                uint32_t leads_on = node + 1 < count && below(random, length);
                uint32_t value = leads_on ? node + 1 + below(random, count - node - 1 < 3 ? count - node - 1 : 3)
                                          : count + (below(random, 3) ? SEPARATOR_BYTES + below(random, data + 1) : 0);
                if (is_hostile && !below(random, 20)) value = next_random(random) >> 32;
                put_record(tree, map, node, side, value);
            }
    }
    if (is_hostile && !below(random, 8)) tree->node_count = next_random(random) >> (32 + below(random, 32));
    if (is_hostile && !below(random, 8)) tree->record_bits = below(random, 40);
    for (int i = 0; i < 2; i++) tree->nodes[i] = zeros(TABLE_SLOTS, sizeof *tree->nodes[i]);
}

static void free_tree(struct tree *tree) {
    free((void *)tree->map);
    for (int i = 0; i < 2; i++) free(tree->nodes[i]);
}

static struct numbering make_numbering(uint64_t *random, uint64_t slots) {
    return (struct numbering){zeros(slots, sizeof(struct slot)), slots - 1, 0, slots / 2 + below(random, slots / 2),
                              {next_random(random) | 1, next_random(random) | 1, next_random(random) | 1}};
}

static struct engine *make_engine(uint64_t *random, int is_hostile) {
    struct engine *engine = zeros(1, sizeof *engine);
    engine->trees = zeros(DATABASES, sizeof *engine->trees);
    for (uint64_t wanted = below(random, DATABASES + 1); wanted; wanted--) {
        struct tree *tree = engine->trees + engine->database_count;
        make_tree(tree, random, is_hostile);
        if (geocli_open(tree)) engine->database_count++;
        else free_tree(tree);
    }
    engine->numberings = zeros(DATABASES, sizeof *engine->numberings);
    engine->records = zeros(DATABASES, sizeof *engine->records);
    for (int i = 0; i < DATABASES; i++) {
        engine->numberings[i] = make_numbering(random, MAX_NUMBERS);
        struct records *records = engine->records + i;
        records->numbering = make_numbering(random, MAX_NUMBERS);
        records->by_number = zeros(MAX_NUMBERS + 2, sizeof *records->by_number);
        records->by_number[0].kind = 1;
    }
    engine->recipe_keys = make_numbering(random, KEYS);
    engine->group_keys = make_numbering(random, KEYS);
    engine->label_keys = make_numbering(random, KEYS);
    engine->max_recipes = 1 + below(random, MAX_RECIPES);
    engine->recipe_count = 1;
    engine->recipes = zeros(engine->max_recipes, sizeof *engine->recipes);
    engine->scopes = scope_trees();
    engine->embedded = EMBEDDED;
    engine->table = zeros(TABLE_SLOTS, sizeof *engine->table);
    engine->max_numbers = FIRST_NUMBER + below(random, MAX_NUMBERS);
    engine->states = zeros(engine->max_numbers, 1);
    engine->states[SINGLE] = IS_SINGLE;
    engine->answers = zeros(engine->max_numbers * (engine->database_count + 2), sizeof *engine->answers);
    engine->groups = below(random, 4) ? zeros(engine->max_numbers, sizeof *engine->groups) : NULL;
    engine->keys = below(random, 4) ? zeros(engine->max_numbers, sizeof *engine->keys) : NULL;
    engine->arena_used = sizeof(struct text);
    engine->arena_bytes = engine->arena_used + (below(random, 8) ? ARENA_BYTES : below(random, 100));
    engine->arena = zeros(engine->arena_bytes, 1);
    engine->next_number = FIRST_NUMBER;
    return engine;
}

static void free_engine(struct engine *engine) {
    for (uint64_t i = 0; i < engine->database_count; i++) free_tree(engine->trees + i);
    for (int i = 0; i < DATABASES; i++) {
        free(engine->records[i].by_number);
        free(engine->records[i].numbering.slots);
        free(engine->numberings[i].slots);
    }
    void *tables[] = {engine->trees, engine->numberings, engine->records, engine->table, engine->states, engine->answers,
                      engine->groups, engine->keys, engine->recipes, engine->recipe_keys.slots, engine->group_keys.slots,
                      engine->label_keys.slots, engine->arena};
    for (uint64_t i = 0; i < sizeof tables / sizeof *tables; i++) free(tables[i]);
    free(engine);
}

/* Write a random address in canonical form, mostly in few networks, and return its length. */
static uint64_t put_random_address(uint64_t *random, uint8_t *to) {
    uint8_t bytes[16] = {0};
    int is_ipv6 = !below(random, 3);
    for (int i = 0; i < (is_ipv6 ? 16 : 4); i++)
        bytes[i] = below(random, 3) ? (uint8_t[]){0, 10, 32, 0xfd, 0xff}[below(random, 5)] : next_random(random) >> 32;
    uint64_t zeros_from = below(random, 16);
    if (is_ipv6 && below(random, 2)) memset(bytes + zeros_from, 0, 1 + below(random, 16 - zeros_from));
    char text[INET6_ADDRSTRLEN];
    inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, bytes, text, sizeof text);
    memcpy(to, text, strlen(text));
    return strlen(text);
}

/* Fill a buffer with lines of cells, mostly addresses, and damage some bytes. The last line is terminated, unless damaged. */
static uint64_t make_text(uint64_t *random, uint8_t *text, uint64_t lines, int is_damaged) {
    static const char common[] = ":.,;\t\r\n \"[]%/0123456789abcdefABF";
    uint64_t size = 0;
    for (; lines && size < MAX_TEXT - 200; lines--) {
        for (uint64_t cells = below(random, 4) ? 1 : below(random, 4); cells; cells--) {
            size += put_random_address(random, text + size);
            if (!below(random, 4)) size += sprintf((char *)text + size, " [%.*s", (int)below(random, 5), "a a,");
            if (cells > 1) text[size++] = ',';
        }
        if (!below(random, 5)) text[size++] = '\r';
        text[size++] = '\n';
    }
    for (uint64_t i = is_damaged && size ? below(random, 1 + size / 8) : 0; i; i--)
        text[below(random, size)] = below(random, 4) ? (uint8_t)common[below(random, sizeof common - 1)] : next_random(random) >> 32;
    return size;
}

/* Make a block of a random text, whose arrays have room for `room` addresses. */
static void make_block(struct block *block, uint64_t *random, uint64_t room, int is_damaged) {
    uint8_t text[MAX_TEXT];
    uint64_t size = make_text(random, text, below(random, MAX_LINES), is_damaged);
    uint8_t *copy = zeros(size, 1);
    memcpy(copy, text, size);
    *block = (struct block){.text = copy, .text_bytes = size, .room = room, .delimiter = ','};
    uint32_t **arrays[] = {&block->starts, &block->ends, &block->stops, &block->copy_starts, &block->copy_ends,
                           &block->padding, &block->numbers};
    for (uint64_t i = 0; i < sizeof arrays / sizeof *arrays; i++) *arrays[i] = zeros(room, sizeof(uint32_t));
    block->prefixes = zeros(room, 1);
    block->leaves = zeros(room * MAX_DATABASES, sizeof(struct leaf));
}

static void free_block(struct block *block) {
    void *memory[] = {(void *)block->text, block->starts, block->ends, block->stops, block->copy_starts, block->copy_ends,
                      block->padding, block->numbers, block->prefixes, block->leaves};
    for (uint64_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
}

/* Append pieces to the arena as Python does; return where they begin, 0 without room. */
static uint32_t put_pieces_at(struct engine *engine, const struct piece *pieces, char literals[][24], uint64_t count) {
    uint8_t text[1024];
    uint64_t size = 0, begin = engine->arena_used;
    for (uint64_t i = 0; i < count; i++) {
        struct piece piece = pieces[i];
        piece.text_bytes = strlen(literals[i]);
        memcpy(text + size, &piece, sizeof piece);
        memcpy(text + size + sizeof piece, literals[i], piece.text_bytes);
        size += sizeof piece + piece.text_bytes;
    }
    if (size > engine->arena_bytes - begin) return 0;
    memcpy(engine->arena + begin, text, size);
    engine->arena_used += size;
    return begin;
}
