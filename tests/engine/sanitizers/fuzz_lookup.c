/* Runs the kernel on hostile trees, records and texts, and compares what it does with plain code. Arguments: seconds, seed. */
#include "world.h"

enum { SEEN_SLOTS = 16 };

/* What the answers of an engine should be, by number. */
struct expected {
    uint32_t scopes[FIRST_NUMBER + MAX_NUMBERS], offsets[FIRST_NUMBER + MAX_NUMBERS][DATABASES];
    uint8_t states[FIRST_NUMBER + MAX_NUMBERS];
    char lines[FIRST_NUMBER + MAX_NUMBERS][128];
};

/* Parse as the C library does, and accept what it would write itself. */
static int reference_parse(const struct block *block, uint64_t i, struct address *address) {
    char text[INET6_ADDRSTRLEN], canonical[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    uint64_t size = block->ends[i] - block->starts[i];
    memset(address, 0, sizeof *address);
    if (size >= sizeof text || memchr(block->text + block->starts[i], 0, size)) return 0;
    memcpy(text, block->text + block->starts[i], size);
    text[size] = 0;
    address->is_ipv6 = memchr(text, ':', size) != NULL;
    int family = address->is_ipv6 ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, bytes) != 1 || strcmp(text, inet_ntop(family, bytes, canonical, sizeof canonical))) return 0;
    address->ipv4 = address->is_ipv6 ? 0 : big_endian(bytes);
    for (int i = 0; i < 8 && address->is_ipv6; i++) {
        address->high = address->high << 8 | bytes[i];
        address->low = address->low << 8 | bytes[i + 8];
    }
    return !address->is_ipv6 || address->high || address->low <= 0xffff;
}

static uint32_t reference_record(const struct tree *tree, uint32_t node, uint32_t side) {
    uint32_t bytes = tree->record_bits / 4, value = 0;
    const uint8_t *at = tree->map + (uint64_t)node * bytes;
    if (tree->record_bits == 28) value = side ? at[3] & 15 : at[3] >> 4;
    for (uint32_t i = 0; i < bytes / 2; i++) value = value << 8 | at[side * ((bytes + 1) / 2) + i];
    return value;
}

/* Walk from the first bit, without what the kernel remembers. */
static int reference_walk(const struct tree *tree, const struct address *address, uint32_t *offset, uint32_t *prefix) {
    uint32_t node = 0, depth = 0, bits = address->is_ipv6 ? 128 : 32;
    *offset = *prefix = 0;
    if (address->is_ipv6 && tree->ip_version == 4) return 1;
    for (int i = 0; !address->is_ipv6 && tree->ip_version == 6 && i < 96 && node < tree->node_count; i++)
        node = reference_record(tree, node, 0);
    for (; node < tree->node_count && depth < bits; depth++) node = reference_record(tree, node, bit_of(address, depth));
    *offset = node - tree->node_count;
    *prefix = depth;
    uint64_t tree_bytes = (uint64_t)tree->node_count * (tree->record_bits / 4);
    if (node < tree->node_count || tree_bytes + *offset >= tree->size_bytes) return 0;
    return !*offset || *offset >= SEPARATOR_BYTES;
}

static uint32_t reference_scope(const struct address *address) {
    if (!address->is_ipv6) return address->ipv4 >> 24 == 10;
    return address->high >> 57 == 0xfc >> 1 ? 2 : address->high >> 48 == 0x2002 ? 3 : 0;
}

/* Find the records of an address; return whether it has an answer of its own. */
static int reference_records(const struct engine *engine, const struct address *address, struct search *records) {
    int is_sound = (records->scope = reference_scope(address)) != engine->ranges.embedding;
    for (uint64_t i = 0; i < engine->database_count; i++)
        is_sound &= reference_walk(engine->trees + i, address, &records->offsets[i], &records->prefixes[i]);
    return is_sound;
}

static uint64_t random_line(uint64_t *random, const char *bytes, char *to) {
    uint64_t size = 0;
    for (uint64_t left = below(random, 20); left; left--) to[size++] = bytes[below(random, strlen(bytes))];
    to[size] = 0;
    return size;
}

/* Render answers with lines of their own. */
static int render(struct engine *engine, struct expected *expected, uint64_t *random, const uint32_t *numbers, uint64_t count) {
    uint64_t ends[MAX_NUMBERS], size = 0;
    char text[MAX_NUMBERS * 64];
    for (uint64_t i = 0; i < count; i++) {
        size += random_line(random, " [a,\1\2\3\5", text + size);
        ends[i] = size;
        uint64_t begin = i ? ends[i - 1] : 0;
        memcpy(expected->lines[numbers[i]], text + begin, size - begin + 1);
    }
    return geocli_render(engine, numbers, count, (uint8_t *)text, ends);
}

/* Render answers with a line that has two fragments, which are of one column of two. */
static int join(struct engine *engine, struct expected *expected, uint64_t *random, const uint32_t *numbers, uint64_t count) {
    char line[64] = "", texts[2][64], stored[128];
    uint32_t offsets[2], rows[2][MAX_NUMBERS];
    uint64_t parts[3], size = 0, ends[2];
    for (int i = 0; i < 3; i++) {
        parts[i] = random_line(random, " [a,\1\2\3\5", line + size);
        size += parts[i];
        if (i < 2) line[size++] = FRAGMENT;
    }
    for (int i = 0; i < 2; i++) ends[i] = random_line(random, "bc\4", texts[i]) + (i ? ends[0] : 0);
    sprintf(stored, "%s%s", texts[0], texts[1]);
    if (!geocli_store(engine, (uint8_t *)stored, ends, 2, offsets)) return 0;
    for (uint64_t i = 0; i < count; i++) {
        for (int n = 0; n < 2; n++) rows[n][i] = below(random, 2);
        sprintf(expected->lines[numbers[i]], "%.*s%s%.*s%s%s", (int)parts[0], line, texts[rows[0][i]], (int)parts[1],
                line + parts[0] + 1, texts[rows[1][i]], line + parts[0] + parts[1] + 2);
    }
    struct column columns[] = {{offsets, rows[0]}, {offsets, rows[1]}};
    return geocli_join(engine, numbers, count, (uint8_t *)line, size, columns, 2);
}

/* Render new answers as Python would, and note the databases that they are from. */
static int settle(struct engine *engine, struct expected *expected, uint64_t *random, const uint32_t *scopes,
                  const uint32_t *offsets, uint64_t count) {
    uint32_t numbers[MAX_NUMBERS];
    uint8_t states[MAX_NUMBERS];
    for (uint64_t i = 0; i < count; i++) {
        uint32_t number = numbers[i] = engine->next_number - count + i;
        expected->scopes[number] = scopes[i];
        if (engine->database_count)
            memcpy(expected->offsets[number], offsets + i * engine->database_count, engine->database_count * sizeof *offsets);
        expected->states[number] = states[i] = RENDERED + below(random, 3);
        engine->sources[number] = below(random, 1ull << engine->database_count);
    }
    int is_room = (below(random, 2) ? render : join)(engine, expected, random, numbers, count);
    if (is_room) geocli_settle(engine, numbers, states, count);
    return is_room;
}

/* Find and add until nothing is missing; return whether the engine had room for all. */
static int find(struct engine *engine, struct block *block, struct expected *expected, uint64_t *random) {
    while (geocli_find(engine, block)) {
        uint64_t room = engine->max_numbers - engine->next_number;
        uint32_t *positions = zeros(room, 4), *scopes = zeros(room, 4), *offsets = engine->database_count ? zeros(room * engine->database_count, 4) : NULL;
        uint64_t before = engine->next_number, count = geocli_add(engine, block, positions, scopes, offsets);
        CHECK(count == engine->next_number - before && count <= room);
        int is_room = settle(engine, expected, random, scopes, offsets, count);
        free(positions);
        free(scopes);
        free(offsets);
        if (!is_room) return 0;
    }
    return 1;
}

/* Each address has the number of an answer for its records, or is left to Python for a reason. */
static void check_numbers(const struct engine *engine, const struct block *block, const struct expected *expected) {
    uint64_t counts[4] = {0};
    int is_full = engine->next_number == engine->max_numbers;
    for (uint64_t i = 0; i < engine->database_count || !i; i++)
        is_full |= engine->numberings[i].count == engine->numberings[i].capacity;
    for (uint64_t i = 0; i < block->count; i++) {
        struct address address, parsed;
        struct search records = {0};
        uint32_t number = block->numbers[i];
        int is_address = reference_parse(block, i, &address);
        CHECK(parse(block, i, &parsed) == is_address);
        CHECK(is_address ? !memcmp(&address, &parsed, sizeof address) && number != UNREAD : number == UNREAD);
        counts[number < FIRST_NUMBER ? number : 3]++;
        if (!is_address) continue;
        int has_answer = reference_records(engine, &address, &records);
        if (number == SINGLE) {
            int is_single = is_full || !has_answer;
            for (uint64_t other = FIRST_NUMBER; !is_single && other < engine->next_number; other++)
                is_single = expected->states[other] == IS_SINGLE && expected->scopes[other] == records.scope &&
                            !memcmp(expected->offsets[other], records.offsets, engine->database_count * 4);
            CHECK(is_single);
            continue;
        }
        CHECK(has_answer && number >= FIRST_NUMBER && number < engine->next_number);
        CHECK(expected->scopes[number] == records.scope);
        CHECK(!memcmp(expected->offsets[number], records.offsets, engine->database_count * 4));
        CHECK(block->prefixes[i] == (uint8_t)answer_prefix(engine->sources[number], &records));
    }
    CHECK(counts[UNREAD] == block->unread && counts[SINGLE] == block->singles && !counts[MISSING]);
    uint32_t *positions = zeros(block->count, sizeof *positions);
    uint64_t picked = geocli_pick(engine, block, NEEDS_REGISTRY, positions);
    CHECK(picked == block->unregistered && picked <= counts[3]);
    for (uint64_t i = 0; i < picked; i++) CHECK(expected->states[block->numbers[positions[i]]] == NEEDS_REGISTRY);
    free(positions);
}

static uint64_t reference_network(struct address address, uint32_t prefix, char *to) {
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    uint32_t width = address.is_ipv6 ? 128 : 32;
    for (uint32_t bit = prefix; bit < width; bit++) {
        if (!address.is_ipv6) address.ipv4 &= ~(1u << (31 - bit));
        else if (bit < 64) address.high &= ~(1ull << (63 - bit));
        else address.low &= ~(1ull << (127 - bit));
    }
    for (int i = 0; i < 16 && address.is_ipv6; i++) bytes[i] = (i < 8 ? address.high : address.low) >> (56 - 8 * (i & 7));
    for (int i = 0; i < 4 && !address.is_ipv6; i++) bytes[i] = address.ipv4 >> (24 - 8 * i);
    inet_ntop(address.is_ipv6 ? AF_INET6 : AF_INET, bytes, text, sizeof text);
    return sprintf(to, "%s/%u", text, prefix < width ? prefix : width);
}

static uint64_t reference_field(const struct block *block, uint64_t i, char kind, char *to) {
    struct address address;
    uint64_t size = block->stops[i] - block->starts[i];
    if (kind == ADDRESS) return memcpy(to, block->text + block->starts[i], size), size;
    if (kind == TIME) return sprintf(to, "time");
    if (kind != NETWORK) return sprintf(to, "%c", kind);
    if (block->prefixes[i] == NO_PREFIX || !reference_parse(block, i, &address)) return sprintf(to, "-");
    return reference_network(address, block->prefixes[i], to);
}

/* Write the output a line at a time, where there is room for all; return its length. Singles are numbered letters. */
static uint64_t reference_output(const struct block *block, const struct expected *expected, char *to) {
    uint64_t size = 0, singles = 0;
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t copied = block->copy_ends[i] - block->copy_starts[i];
        memcpy(to + size, block->text + block->copy_starts[i], copied);
        memset(to + size + copied, ',', block->padding[i]);
        size += copied + block->padding[i];
        if (block->numbers[i] < FIRST_NUMBER) to[size++] = 'A' + singles++ % 26;
        else
            for (const char *at = expected->lines[block->numbers[i]]; *at; at++) size += reference_field(block, i, *at, to + size);
    }
    return size;
}

/* Let addresses end before a blank in their lines, as in texts that are labelled. */
static void end_at_blanks(struct block *block) {
    for (uint64_t i = 0; i < block->count; i++) {
        const uint8_t *start = block->text + block->starts[i], *blank = memchr(start, ' ', block->ends[i] - block->starts[i]);
        if (blank) block->ends[i] = block->stops[i] = blank - block->text;
    }
}

/* Assemble the output with whatever room there is, and compare. Labels are only checked not to be longer than lines. */
static void check_output(const struct engine *engine, const struct block *block, const struct expected *expected,
                         uint64_t *random, int is_label) {
    static char whole[MAX_LINES * 4 * MAX_TEXT];
    struct style style = {(const uint8_t *)"time", (const uint8_t *)"-", 4, 1, 0, is_label};
    uint64_t size = reference_output(block, expected, whole), used = 0, room = below(random, 64), before;
    uint64_t singles = block->singles + block->unread, *ends = zeros(singles, 8);
    uint8_t *letters = zeros(singles, 1);
    for (uint64_t i = 0; i < singles; i++) letters[i] = 'A' + i % 26, ends[i] = i + 1;
    struct progress progress = {0};
    while (progress.position < block->count) {
        uint8_t *out = zeros(room, 1);
        before = progress.position;
        uint64_t written = geocli_assemble(engine, block, &style, letters, ends, &progress, out, room);
        CHECK(written <= room && used + written <= size && (is_label || !memcmp(whole + used, out, written)));
        used += written;
        free(out);
        if (progress.position == before) room += 1 + room;
    }
    CHECK(progress.single == singles && (is_label || used == size));
    free(letters);
    free(ends);
}

/* Pack the answers as for the journal, with a table that overflows at times, and check that all rows are there, in order. */
static void check_packed(const struct engine *engine, const struct block *block, uint64_t *random) {
    uint64_t numbers = engine->next_number, seen[2 * SEEN_SLOTS] = {0}, places[FIRST_NUMBER + MAX_NUMBERS] = {0}, texts[4] = {0};
    uint32_t place_bytes[FIRST_NUMBER + MAX_NUMBERS], groups[FIRST_NUMBER + MAX_NUMBERS], group_bytes[4];
    uint64_t head = engine->arena_used;
    for (uint64_t i = 0; i < numbers; i++) place_bytes[i] = below(random, head < 9 ? head + 1 : 9), groups[i] = below(random, 4);
    for (uint64_t i = 0; i < 4; i++) group_bytes[i] = below(random, head < 9 ? head + 1 : 9);
    struct packer packer = {seen, SEEN_SLOTS - 1, 0, 1 + below(random, SEEN_SLOTS - 1), places, place_bytes, groups, texts,
                            group_bytes};
    struct row *rows = zeros(block->count, sizeof *rows), *sorted = zeros(block->count, sizeof *rows);
    uint32_t *starts = zeros(numbers < 256 ? 256 : numbers, sizeof *starts);
    uint64_t count = geocli_collect(&packer, engine, block, rows, 0), packed = 0, written;
    CHECK(count <= block->count - block->singles - block->unread);
    geocli_sort(&packer, rows, sorted, count, starts, numbers, 4);
    for (uint64_t i = 1; i < count; i++) {
        const struct row *row = sorted + i, *last = row - 1;
        uint64_t order = (uint64_t)groups[row->number] << 40 | (uint64_t)row->number << 8 | row->prefix;
        CHECK(((uint64_t)groups[last->number] << 40 | (uint64_t)last->number << 8 | last->prefix) <= order);
    }
    while (packed < count) {
        uint64_t limit = below(random, 400), room = below(random, 2000);
        uint8_t *out = zeros(room, 1);
        uint64_t taken = geocli_payload(&packer, engine, sorted + packed, count - packed, (const uint8_t *)"{", 1, limit, out,
                                        room, &written);
        CHECK(taken && taken <= count - packed && (written > room || out[written - 1] == '}'));
        packed += taken;
        free(out);
    }
    free(rows);
    free(sorted);
    free(starts);
}

/* The networks of a tree follow each other without gaps, and each is what a walk finds for its first address. */
static void check_networks(const struct tree *tree, uint64_t *random) {
    struct cursor cursor = {0};
    uint64_t low = 0, high = 0;
    for (int turn = 0; turn < 40 && !cursor.is_done; turn++) {
        uint64_t room = 1 + below(random, 10);
        struct network *networks = zeros(room, sizeof *networks);
        int64_t count = geocli_networks(tree, &cursor, networks, room);
        CHECK(count <= (int64_t)room);
        for (int64_t i = 0; i < count; i++) {
            const struct network *network = networks + i;
            struct address address = {tree->ip_version == 6, network->low, network->high, network->low};
            struct tree from_top = *tree;
            uint32_t offset, prefix, behind = (tree->ip_version == 6 ? 128 : 32) - network->prefix;
            from_top.ip_version = tree->ip_version == 6 ? 6 : 4;
            reference_walk(&from_top, &address, &offset, &prefix);
            CHECK(network->high == high && network->low == low && network->prefix == prefix && network->offset == offset);
            CHECK(network->offset + (uint64_t)tree->node_count <= UINT32_MAX);
            if (behind >= 64) high += behind < 128 ? 1ull << (behind - 64) : 0;
            else high += (low += 1ull << behind) < 1ull << behind;
        }
        free(networks);
        if (count < 0) break;
    }
    CHECK(!cursor.is_done || (!high && (!low || (tree->ip_version == 4 && low == 1ull << 32))));
}

static void one_round(uint64_t *random) {
    struct engine *engine = make_engine(random, below(random, 2));
    static struct expected expected;
    memset(&expected, 0, sizeof expected);
    for (uint64_t i = 0; i < engine->database_count; i++) check_networks(engine->trees + i, random);
    int is_room = 1; /* without room for all answers an engine is of no use any more */
    for (uint64_t blocks = 1 + below(random, 40); blocks && is_room; blocks--) {
        struct block block;
        make_block(&block, random, below(random, 8) ? MAX_LINES : below(random, MAX_LINES), below(random, 2));
        int is_csv = below(random, 2);
        int64_t count = is_csv ? geocli_cells(&block, below(random, 3), below(random, 4)) : geocli_split(&block, '\n');
        uint64_t lines = 0;
        for (uint64_t i = 0; i < block.text_bytes; i++) lines += block.text[i] == '\n';
        int is_whole = !block.text_bytes || block.text[block.text_bytes - 1] == '\n';
        CHECK(is_whole && lines <= block.room ? count == (int64_t)lines : count == -1);
        int is_label = !is_csv && below(random, 2);
        if (is_label) end_at_blanks(&block);
        if (count >= 0 && (is_room = find(engine, &block, &expected, random))) {
            check_numbers(engine, &block, &expected);
            check_output(engine, &block, &expected, random, is_label);
            check_packed(engine, &block, random);
        }
        free_block(&block);
    }
    free_engine(engine);
}

int main(int count, char **arguments) { return run_rounds(count, arguments, one_round); }
