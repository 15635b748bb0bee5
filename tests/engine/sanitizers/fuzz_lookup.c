/* Run the kernel on hostile trees, records and text, and compare the results with plain code. Arguments: seconds, seed. */
#include "world.h"

enum { SEEN_SLOTS = 16, ITEMS = 3 };

/* How the texts by a recipe are put together. */
struct way {
    struct piece pieces[ITEMS + 1];
    char literals[ITEMS + 1][24];
};

/* What the answers of an engine should be, by number; texts of records have two columns, and a shared one. */
struct expected {
    uint32_t scopes[FIRST_NUMBER + MAX_NUMBERS], records[FIRST_NUMBER + MAX_NUMBERS][DATABASES];
    uint8_t states[FIRST_NUMBER + MAX_NUMBERS];
    char lines[FIRST_NUMBER + MAX_NUMBERS][256];
    char texts[DATABASES][MAX_NUMBERS + 2][3][24];
    uint32_t read[DATABASES];
    struct way ways[MAX_RECIPES + 1];
};

/* Parse with the C library, and accept only canonical addresses. */
static uint32_t reference_parse(const struct block *block, uint64_t i, struct address *address) {
    char text[INET6_ADDRSTRLEN], canonical[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    uint64_t size = block->ends[i] - block->starts[i];
    if (size >= sizeof text || memchr(block->text + block->starts[i], 0, size)) return 0;
    memcpy(text, block->text + block->starts[i], size);
    text[size] = 0;
    int family = memchr(text, ':', size) ? AF_INET6 : AF_INET;
    memset(bytes, 0, sizeof bytes);
    if (inet_pton(family, text, bytes) != 1 || strcmp(text, inet_ntop(family, bytes, canonical, sizeof canonical))) return 0;
    *address = (struct address){0, 0};
    for (int i = 0; i < 8; i++) {
        address->high = address->high << 8 | bytes[i];
        address->low = address->low << 8 | bytes[i + 8];
    }
    return family == AF_INET ? 32 : address->high || address->low <= 0xffff ? 128 : 0;
}

static uint32_t reference_record(const struct tree *tree, uint32_t node, uint32_t side) {
    uint32_t bytes = tree->record_bits / 4, value = 0;
    const uint8_t *at = tree->map + (uint64_t)node * bytes;
    if (tree->record_bits == 28) value = side ? at[3] & 15 : at[3] >> 4;
    for (uint32_t i = 0; i < bytes / 2; i++) value = value << 8 | at[side * ((bytes + 1) / 2) + i];
    return value;
}

/* Walk from the first bit, without cached nodes. */
static int reference_walk(const struct tree *tree, const struct address *address, uint32_t bits, uint32_t *offset, uint32_t *prefix) {
    uint32_t node = 0, depth = 0;
    *offset = *prefix = 0;
    if (bits == 128 && tree->ip_version == 4) return 1;
    for (int i = 0; bits == 32 && tree->ip_version == 6 && i < 96 && node < tree->node_count; i++)
        node = reference_record(tree, node, 0);
    for (; node < tree->node_count && depth < bits; depth++) node = reference_record(tree, node, bit_of(address, depth));
    *offset = node - tree->node_count;
    *prefix = depth;
    uint64_t tree_bytes = (uint64_t)tree->node_count * (tree->record_bits / 4);
    if (node < tree->node_count || tree_bytes + *offset >= tree->size_bytes) return 0;
    return !*offset || *offset >= SEPARATOR_BYTES;
}

static uint32_t reference_scope(const struct address *address, uint32_t bits) {
    if (bits == 32) return address->high >> 56 == 10 ? PRIVATE : GLOBAL;
    return address->high >> 57 == 0xfc >> 1 ? LOCAL : address->high >> 48 == 0x2002 ? EMBEDDED : GLOBAL;
}

/* Find the records of an address; return whether it has an answer of its own. */
static int reference_records(const struct engine *engine, const struct address *address, uint32_t bits, struct search *records) {
    int is_sound = (records->scope = reference_scope(address, bits)) != EMBEDDED;
    for (uint64_t i = 0; i < engine->database_count; i++)
        is_sound &= reference_walk(engine->trees + i, address, bits, &records->leaves[i].offset, &records->leaves[i].prefix);
    return is_sound;
}

static uint64_t random_line(uint64_t *random, const char *bytes, char *to) {
    uint64_t size = 0;
    for (uint64_t left = below(random, 20); left; left--) to[size++] = bytes[below(random, strlen(bytes))];
    to[size] = 0;
    return size;
}

/* Store the texts of new records, as Python would; some cannot be read. */
static void store_records(struct engine *engine, struct expected *expected, uint64_t *random) {
    for (uint64_t i = 0; i < engine->database_count; i++) {
        struct records *records = engine->records + i;
        for (uint32_t *number = &expected->read[i]; *number < records->numbering.count + 2; ++*number) {
            char(*texts)[24] = expected->texts[i][*number], stored[64];
            uint64_t size;
            uint32_t label = below(random, 3), link, offset;
            for (int column = 0; column < 3; column++) random_line(random, "bc, [", texts[column]);
            size = sprintf(stored, "%s%c%s%c", texts[0], COLUMN_END, texts[1], COLUMN_END);
            char shared[32];
            uint64_t shared_size = sprintf(shared, "%s%c", texts[2], COLUMN_END);
            int is_stored = geocli_store(engine, (uint8_t *)shared, shared_size, 1, 1, NULL, NULL, &link) &&
                            geocli_store(engine, (uint8_t *)stored, size, 1, 2, &link, &label, &offset);
            CHECK(!geocli_store(engine, (uint8_t *)stored, size, 1, 3, NULL, NULL, &link));
            if (!is_stored) continue;
            struct record *record = records->by_number + *number;
            record->kind = below(random, 4);
            record->asn = below(random, 3);
            record->text = offset;
        }
    }
}

/* Add a recipe with fields and fragments; in the journal it has fragments alone. */
static void add_recipe(struct engine *engine, struct expected *expected, uint64_t *random, uint64_t number) {
    struct way *way = expected->ways + number, place;
    for (int i = 0; i <= ITEMS; i++) {
        random_line(random, " [a,", way->literals[i]);
        uint16_t first = below(random, 3);
        way->pieces[i] = (struct piece){0, i == ITEMS ? TEXT_END : 1 + below(random, LINKED), below(random, engine->database_count + 1),
                                        first, first + below(random, 2), below(random, 3)};
    }
    place = *way;
    for (int i = 0; i < ITEMS; i++)
        if (place.pieces[i].kind < FRAGMENT) place.pieces[i].kind = FRAGMENT;
    struct recipe *recipe = engine->recipes + number;
    recipe->line = put_pieces_at(engine, way->pieces, way->literals, ITEMS + 1);
    recipe->place = recipe->group = put_pieces_at(engine, place.pieces, place.literals, ITEMS + 1);
    recipe->sources = below(random, 1ull << engine->database_count);
    recipe->labelled = below(random, 2ull << engine->database_count);
    recipe->sharing = below(random, engine->database_count + 1);
    if (recipe->line && recipe->place) recipe->state = RENDERED + below(random, 3);
}

static void expect_line(const struct engine *engine, struct expected *expected, uint32_t number) {
    const struct way *way = expected->ways + *answer_of(engine, number);
    char *line = expected->lines[number];
    *line = 0;
    for (int i = 0; i <= ITEMS; i++) {
        const struct piece *piece = way->pieces + i;
        char text[80] = "", field[] = {piece->kind < FRAGMENT ? piece->kind : 0, 0};
        uint32_t record = piece->record < engine->database_count ? expected->records[number][piece->record] : 0;
        if (record > 1 && piece->kind >= FRAGMENT && engine->records[piece->record].by_number[record].text)
            for (int column = piece->first; column <= piece->last; column++)
                strcat(text, expected->texts[piece->record][record][piece->kind == LINKED ? 2 : column]);
        int is_there = piece->last < (piece->kind == LINKED ? 1 : 2) && piece->skipped < strlen(text);
        strcat(strcat(strcat(line, way->literals[i]), field), is_there ? text + piece->skipped : "");
    }
}

/* Answers have the same recipe if their scopes, the kinds of their records and what these have in common are the same. */
static int is_alike(const struct engine *engine, const struct expected *expected, uint32_t number, uint32_t other) {
    const uint32_t *one = expected->records[number], *two = expected->records[other];
    int is_same = expected->scopes[number] == expected->scopes[other];
    for (uint64_t i = 0; i < engine->database_count; i++) {
        const struct records *records = engine->records;
        const struct record *left = records[i].by_number + one[i], *right = records[i].by_number + two[i];
        is_same &= left->kind == right->kind;
        uint64_t first = i, second = i;
        for (uint64_t j = i; j-- > 0;) {
            if (left->asn && left->asn == records[j].by_number[one[j]].asn) first = j;
            if (right->asn && right->asn == records[j].by_number[two[j]].asn) second = j;
        }
        is_same &= first == second;
    }
    return is_same;
}

/* Combine new answers as Python would. */
static void settle(struct engine *engine, struct expected *expected, uint64_t *random, uint64_t first) {
    uint64_t databases = engine->database_count, count = engine->next_number - first;
    for (uint32_t number = first; number < engine->next_number; number++) {
        memcpy(expected->records[number], answer_of(engine, number) + 1, databases * sizeof(uint32_t));
        expected->scopes[number] = answer_of(engine, number)[1 + databases];
    }
    uint32_t *combinations = zeros(count * (1 + 2 * databases), sizeof *combinations);
    uint64_t before = engine->recipe_count, added = geocli_combine(engine, first, combinations);
    CHECK(added <= count && engine->recipe_count == before + added && engine->recipe_count <= engine->max_recipes);
    for (uint64_t i = 0; i < added; i++) {
        uint32_t number = first, *combination = combinations + i * (1 + 2 * databases);
        while (number < engine->next_number && *answer_of(engine, number) != before + i) number++;
        CHECK(number < engine->next_number && expected->scopes[number] == combination[0]);
        for (uint64_t j = 0; j < databases; j++) {
            const struct record *record = engine->records[j].by_number + expected->records[number][j];
            CHECK(combination[1 + j] == record->kind && combination[1 + databases + j] <= j);
        }
        add_recipe(engine, expected, random, before + i);
    }
    geocli_settle(engine, first);
    for (uint32_t number = first; number < engine->next_number; number++) {
        uint32_t recipe = *answer_of(engine, number);
        expected->states[number] = engine->states[number];
        CHECK(engine->states[number] != NEW && (recipe || engine->states[number] == IS_SINGLE));
        expect_line(engine, expected, number);
        for (uint32_t other = FIRST_NUMBER; recipe && other < number; other++)
            CHECK(!*answer_of(engine, other) || is_alike(engine, expected, number, other) == (recipe == *answer_of(engine, other)));
    }
    free(combinations);
}

/* Find and add until nothing is missing. */
static void find(struct engine *engine, struct block *block, struct expected *expected, uint64_t *random) {
    while (geocli_find(engine, block)) {
        uint64_t first = engine->next_number;
        geocli_add(engine, block);
        CHECK(engine->next_number >= first && engine->next_number <= engine->max_numbers);
        store_records(engine, expected, random);
        settle(engine, expected, random, first);
    }
}

static uint32_t offset_of(const struct engine *engine, const struct expected *expected, uint32_t number, uint64_t database) {
    uint32_t record = expected->records[number][database];
    return record > 1 ? engine->records[database].by_number[record].offset : 0;
}

/* Return whether an answer is of some records; of which there was no room for is not known. */
static int is_of(const struct engine *engine, const struct expected *expected, uint32_t number, const struct search *records) {
    int is_same = expected->scopes[number] == records->scope;
    for (uint64_t i = 0; i < engine->database_count; i++)
        is_same &= expected->records[number][i] == 1 || offset_of(engine, expected, number, i) == records->leaves[i].offset;
    return is_same;
}

/* Return how many addresses have answers with a state. */
static uint64_t count_of(const struct engine *engine, const struct block *block, uint8_t state) {
    uint32_t *positions = zeros(block->count, sizeof *positions);
    uint64_t count = geocli_pick(engine, block, state, positions);
    free(positions);
    return count;
}

/* Each address has the number of an answer for its records, or is left to Python for a reason. */
static void check_numbers(const struct engine *engine, const struct block *block, const struct expected *expected) {
    uint64_t counts[FIRST_NUMBER + 1] = {0};
    int is_full = engine->next_number == engine->max_numbers;
    for (uint64_t i = 0; i < engine->database_count || !i; i++)
        is_full |= engine->numberings[i].count == engine->numberings[i].capacity;
    for (uint64_t i = 0; i < block->count; i++) {
        struct address address, parsed;
        struct search records = {0};
        uint32_t number = block->numbers[i];
        uint32_t bits = reference_parse(block, i, &address);
        CHECK(parse(block, i, &parsed) == bits);
        CHECK(bits ? !memcmp(&address, &parsed, sizeof address) && number != UNREAD : number == UNREAD);
        counts[number < FIRST_NUMBER ? number : FIRST_NUMBER]++;
        if (!bits) continue;
        int has_answer = reference_records(engine, &address, bits, &records);
        if (number == SINGLE) {
            int is_single = is_full || !has_answer;
            for (uint64_t other = FIRST_NUMBER; !is_single && other < engine->next_number; other++)
                is_single = expected->states[other] == IS_SINGLE && is_of(engine, expected, other, &records);
            CHECK(is_single);
            continue;
        }
        CHECK(has_answer && number >= FIRST_NUMBER && number < engine->next_number);
        CHECK(is_of(engine, expected, number, &records));
        CHECK(block->prefixes[i] == (uint8_t)answer_prefix(recipe_of(engine, number)->sources, &records));
    }
    CHECK(counts[UNREAD] == count_of(engine, block, NEW) && !counts[MISSING] && !counts[ADDED]);
    CHECK(counts[SINGLE] == count_of(engine, block, IS_SINGLE));
    uint32_t *positions = zeros(block->count, sizeof *positions);
    uint64_t picked = geocli_pick(engine, block, NEEDS_REGISTRY, positions);
    CHECK(picked <= counts[FIRST_NUMBER]);
    for (uint64_t i = 0, next = 0; i < block->count; i++)
        if (expected->states[block->numbers[i]] == NEEDS_REGISTRY) CHECK(next < picked && positions[next++] == i);
    for (uint64_t i = 0; i < picked; i++) CHECK(expected->states[block->numbers[positions[i]]] == NEEDS_REGISTRY);
    free(positions);
}

static uint64_t reference_network(struct address address, uint32_t width, uint32_t prefix, char *to) {
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    for (uint32_t bit = prefix; bit < width; bit++) *(bit < 64 ? &address.high : &address.low) &= ~(1ull << (63 - bit % 64));
    for (int i = 0; i < 16; i++) bytes[i] = (i < 8 ? address.high : address.low) >> (56 - 8 * (i & 7));
    inet_ntop(width == 128 ? AF_INET6 : AF_INET, bytes, text, sizeof text);
    return sprintf(to, "%s/%u", text, prefix < width ? prefix : width);
}

static uint64_t reference_field(const struct block *block, uint64_t i, char kind, char *to) {
    struct address address;
    uint64_t size = block->stops[i] - block->starts[i], bits = 0;
    if (kind == ADDRESS) return memcpy(to, block->text + block->starts[i], size), size;
    if (kind == TIME) return sprintf(to, "time");
    if (kind != NETWORK) return sprintf(to, "%c", kind);
    if (block->prefixes[i] != NO_PREFIX) bits = reference_parse(block, i, &address);
    return bits ? reference_network(address, bits, block->prefixes[i], to) : (uint64_t)sprintf(to, "-");
}

/* Write the output a line at a time, where there is room for all; return its length. Singles are numbered letters. */
static uint64_t reference_output(const struct block *block, const struct expected *expected, char *to) {
    uint64_t size = 0, singles = 0;
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t copied = block->copy_ends[i] - block->copy_starts[i];
        memcpy(to + size, block->text + block->copy_starts[i], copied);
        memset(to + size + copied, ',', block->padding[i]);
        size += copied + block->padding[i];
        if (block->numbers[i] == UNREAD) continue;
        if (block->numbers[i] < FIRST_NUMBER) to[size++] = 'A' + singles++ % 26;
        else
            for (const char *at = expected->lines[block->numbers[i]]; *at; at++) size += reference_field(block, i, *at, to + size);
    }
    return size;
}

/* Answers have the same key if they have the same recipe, and the labels that are part of it are the same. */
static void check_keys(const struct engine *engine) {
    for (uint32_t one = FIRST_NUMBER; one < engine->next_number; one++)
        for (uint32_t two = FIRST_NUMBER; two < one; two++) {
            const uint32_t *answer = answer_of(engine, one), *other = answer_of(engine, two);
            int is_same = *answer == *other;
            for (uint64_t i = 0; i <= engine->database_count; i++)
                if (recipe_of(engine, one)->labelled >> i & 1)
                    is_same &= text_at(engine, answer[1 + i]).label == text_at(engine, other[1 + i]).label;
            if (engine->states[one] == IS_SINGLE || engine->states[two] == IS_SINGLE) continue;
            CHECK(is_same == (engine->keys[one] == engine->keys[two]));
        }
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
    uint64_t singles = count_of(engine, block, IS_SINGLE), *ends = zeros(singles, 8);
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

/* Select answers and addresses at random. What is left out is within the text of each address, and each selected address is left;
 * the output is at most as long as without a selection. */
static void check_selected(const struct engine *engine, const struct block *block, uint64_t *random) {
    struct block left = *block;
    struct style style = {(const uint8_t *)"time", (const uint8_t *)"-", 4, 1, 0, 0};
    uint64_t sizes[2], size = block->count * sizeof *left.numbers, room = MAX_LINES * 4 * MAX_TEXT;
    uint8_t *numbers = zeros(engine->next_number, 1), *positions = zeros(block->count, 1), *out = zeros(room, 1);
    uint64_t *ends = zeros(block->count, sizeof *ends);
    for (uint64_t i = 0; i < engine->next_number; i++) numbers[i] = !below(random, 3);
    for (uint64_t i = 0; i < block->count; i++) positions[i] = !below(random, 3);
    uint32_t **own[] = {&left.numbers, &left.padding}, **skipped[] = {&left.skip_starts, &left.skip_ends};
    for (int i = 0; i < 2; i++) {
        *skipped[i] = zeros(block->count, sizeof **skipped[i]);
        *own[i] = memcpy(zeros(block->count, sizeof **own[i]), *own[i], size);
    }
    geocli_select(&left, numbers, positions);
    for (uint64_t i = 0; i < block->count; i++) {
        uint32_t number = block->numbers[i], is_selected = number < FIRST_NUMBER ? positions[i] : numbers[number];
        CHECK(left.numbers[i] == number || (left.numbers[i] == UNREAD && !is_selected));
        CHECK(left.copy_starts[i] <= left.skip_starts[i] && left.skip_starts[i] <= left.skip_ends[i]);
        CHECK(left.skip_ends[i] <= left.copy_ends[i]);
    }
    for (int i = 0; i < 2; i++) {
        struct progress progress = {0};
        sizes[i] = geocli_assemble(engine, i ? &left : block, &style, numbers, ends, &progress, out, room);
        CHECK(progress.position == block->count);
    }
    CHECK(sizes[1] <= sizes[0]);
    void *memory[] = {numbers, positions, out, ends, left.numbers, left.padding, left.skip_starts, left.skip_ends};
    for (uint64_t i = 0; i < sizeof memory / sizeof *memory; i++) free(memory[i]);
}

/* Pack the answers as for the journal, with a table that overflows at times, and check that all rows are there, in order. */
static void check_packed(const struct engine *engine, const struct block *block, uint64_t *random) {
    uint64_t numbers = engine->next_number;
    struct slot slots[SEEN_SLOTS] = {0};
    struct numbering seen = {slots, SEEN_SLOTS - 1, 0, 1 + below(random, SEEN_SLOTS - 1),
                             {next_random(random), next_random(random) | 1, next_random(random) | 1}};
    struct row *rows = zeros(block->count, sizeof *rows), *sorted = zeros(block->count, sizeof *rows);
    uint64_t values = numbers + engine->group_keys.count;
    uint32_t *starts = zeros(values < 256 ? 256 : values, sizeof *starts);
    uint64_t count = geocli_collect(&seen, block, rows, 0), packed = 0;
    CHECK(count <= count_of(engine, block, RENDERED) + count_of(engine, block, NEEDS_REGISTRY));
    geocli_sort(engine, rows, sorted, count, starts, numbers, engine->group_keys.count);
    for (uint64_t i = 1; i < count; i++) {
        const struct row *row = sorted + i, *last = row - 1;
        uint64_t order = (uint64_t)engine->groups[row->number] << 40 | (uint64_t)row->number << 8 | row->prefix;
        CHECK(((uint64_t)engine->groups[last->number] << 40 | (uint64_t)last->number << 8 | last->prefix) <= order);
    }
    while (packed < count) {
        uint64_t limit = below(random, 400), room = below(random, 2000);
        struct writer addresses = {zeros(room, 1), 0, room}, places = {zeros(room, 1), 0, room};
        uint64_t taken = geocli_payload(engine, sorted + packed, count - packed, limit, &addresses, &places);
        CHECK(taken && taken <= count - packed && (places.used > room || places.to[places.used - 1] == '}'));
        CHECK(taken == 1 || addresses.used + places.used <= limit + sizeof "]}],\"rows\":[]}");
        packed += taken;
        free(addresses.to);
        free(places.to);
    }
    free(rows);
    free(sorted);
    free(starts);
}

/* The networks of a tree follow each other without gaps, and each is the result of a walk to its first address. */
static void check_networks(const struct tree *tree, uint64_t *random) {
    int is_ipv6 = tree->ip_version == 6;
    uint32_t nodes[129] = {0};
    struct source source = {.tree = tree};
    struct joint joint = {.sources = &source, .source_count = 1, .nodes = nodes, .leaves = UINT64_MAX, .is_apart = 1};
    joint.bits = is_ipv6 ? 128 : 32;
    joint.last = (struct address){UINT64_MAX, UINT64_MAX};
    struct address next = {0, 0};
    for (int turn = 0; turn < 40 && !joint.is_done; turn++) {
        uint64_t room = 1 + below(random, 10);
        struct span *spans = zeros(room, sizeof *spans);
        uint32_t *classes = zeros(room, sizeof *classes);
        int64_t count = geocli_walk(&joint, spans, classes, 0, room);
        CHECK(count <= (int64_t)room);
        for (int64_t i = 0; i < count; i++) {
            const struct span *span = spans + i;
            struct tree from_top = *tree;
            uint32_t offset, prefix;
            from_top.ip_version = is_ipv6 ? 6 : 4;
            reference_walk(&from_top, &span->first, joint.bits, &offset, &prefix);
            CHECK(span->first.high == next.high && span->first.low == next.low && classes[i] == offset);
            for (uint32_t bit = prefix; bit < 128; bit++) *(bit < 64 ? &next.high : &next.low) |= 1ull << (63 - bit % 64);
            CHECK(span->last.high == next.high && span->last.low == next.low);
            next.high += !++next.low;
        }
        free(spans);
        free(classes);
        if (count < 0) break;
    }
    CHECK(!joint.is_done || (!next.high && !next.low));
}

/* Count the lines of a block that are neither blank nor comments. */
static uint64_t count_rows(const struct block *block, uint8_t comment) {
    uint64_t rows = 0;
    for (uint64_t at = 0, next; at < block->text_bytes; at = next) {
        uint64_t stop = at;
        while (stop < block->text_bytes && block->text[stop] != '\n') stop++;
        next = stop + 1;
        if (stop > at && block->text[stop - 1] == '\r') stop--;
        rows += stop > at && !(comment && block->text[at] == comment);
    }
    return rows;
}

static void one_round(uint64_t *random) {
    struct engine *engine = make_engine(random, below(random, 2));
    static struct expected expected;
    memset(&expected, 0, sizeof expected);
    for (uint64_t i = 0; i < engine->database_count; i++) check_networks(engine->trees + i, random);
    for (int i = 0; i < DATABASES; i++) expected.read[i] = 2;
    for (uint64_t blocks = 1 + below(random, 40); blocks; blocks--) {
        struct block block;
        make_block(&block, random, below(random, 8) ? MAX_LINES : below(random, MAX_LINES), below(random, 2));
        int is_csv = below(random, 2);
        uint32_t columns[3] = {below(random, 3), below(random, 3), below(random, 3)};
        uint64_t asked = is_csv ? 1 + below(random, 3) : 1;
        uint8_t comment = below(random, 2) ? '#' : 0;
        int64_t count = is_csv ? geocli_cells(&block, columns, asked, below(random, 4), comment) : geocli_split(&block, '\n');
        uint64_t lines = is_csv ? asked * count_rows(&block, comment) : 0;
        for (uint64_t i = 0; i < block.text_bytes; i++) lines += !is_csv && block.text[i] == '\n';
        int is_whole = !block.text_bytes || block.text[block.text_bytes - 1] == '\n';
        CHECK(is_whole && lines <= block.room ? count == (int64_t)lines : count == -1);
        int is_label = !is_csv && below(random, 2);
        if (is_label) end_at_blanks(&block);
        block.written_starts = block.starts;
        block.written_stops = block.stops;
        if (count >= 0) {
            find(engine, &block, &expected, random);
            check_numbers(engine, &block, &expected);
            if (engine->keys) check_keys(engine);
            check_output(engine, &block, &expected, random, is_label);
            check_selected(engine, &block, random);
            if (engine->groups) check_packed(engine, &block, random);
        }
        free_block(&block);
    }
    free_engine(engine);
}

int main(int count, char **arguments) { return run_rounds(count, arguments, one_round); }
