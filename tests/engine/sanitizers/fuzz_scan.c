/* Run the kernel's search for addresses on hostile text and tables. Arguments: seconds, seed. That it finds what Python
 * finds is tested there; here each answer must be in the text, in order, and no byte outside the text may be read. */
#include "world.h"

enum { SETS = 8, NEAR_BYTES = 24, MAX_ROOM = 200 };

static const char *const pieces[] = {
    " ", "/", "=", "v", "version ", "nginx/", "1.2.3", "fe80::1%eth0", "::ffff:1.2.3.4", "255", "256", "ffff", "12345", ".", ":", "::", "[.]",
    "(.)", "{.}", "[:]", "[dot]", "%3a", "%3A%3A", "%252e", "/24", "/128", "..", ":::", "de:ad:be:ef:00:11:22:33", "0", "00", "\xff", "\"",
    "\\n", "\n", "mask ",
};

static uint64_t make_line(uint64_t *random, uint8_t *text) {
    uint64_t size = 0, kinds = 1 + below(random, sizeof pieces / sizeof *pieces);
    for (uint64_t left = below(random, 30); left; left--) {
        const char *piece = pieces[below(random, kinds)];
        if (below(random, 3)) size += put_random_address(random, text + size);
        for (; *piece && below(random, 20); piece++) text[size++] = *piece;
        if (!below(random, 9)) memset(text + size, text[size ? size - 1 : size], 70), size += below(random, 70);
    }
    for (uint64_t damaged = size ? below(random, 1 + size / 20) : 0; damaged; damaged--) text[below(random, size)] = next_random(random) >> 40;
    return size;
}

/* Tables of rules that decide at random, and the properties of bytes as they are. */
static void make_scanner(struct scanner *scanner, uint64_t *random) {
    static uint8_t before[1 << 16], after[1 << 16], endings[1 << 15], firsts[256], properties[256];
    uint8_t *decisions[] = {before, after};
    for (int table = 0; table < 2; table++)
        for (int i = 0; i < 1 << 16; i++) decisions[table][i] = below(random, 6) ? ACCEPT : below(random, 2) ? REJECT : UNDECIDED;
    for (int i = 0; i < 1 << 15; i++) endings[i] = !below(random, 10);
    for (int i = 0; i < 256; i++) {
        int is_letter = (i | 32) >= 'a' && (i | 32) <= 'z', is_hex = is_digit(i) || ((i | 32) >= 'a' && (i | 32) <= 'f');
        firsts[i] = !below(random, 20);
        properties[i] = is_digit(i) * (DIGIT | HEX | WORD | IN_RUN) | is_hex * (HEX | IN_RUN) | is_letter * (LETTER | WORD) |
                        (i == ' ' || i == '=') * (BETWEEN | BEFORE_SMALL | NEXT_TO_RUN) | (i == ':' || i == '.') * IN_RUN |
                        (i == '\n' || i == '"') * NEXT_TO_RUN | (i == '_') * WORD;
    }
    *scanner = (struct scanner){before, after, endings, firsts, properties, zeros(SETS * WAYS, sizeof(struct remembered)),
                                {next_random(random), next_random(random) | 1, next_random(random) | 1}, SETS - 1, 6, NEAR_BYTES, 100, 128, 1 + below(random, 100), 1 + below(random, 256)};
}

/* Decide a doubt at random, as Python does by its rules: accept a part of the span, or nothing. */
static void decide(const struct scanner *scanner, struct block *block, const struct doubt *doubt, uint64_t *random) {
    uint32_t *start = block->starts + doubt->position, *end = block->ends + doubt->position, size = *end - *start;
    uint32_t skipped = below(random, size + 1);
    if (doubt->kind == CANDIDATE) {
        if (*start >= NEAR_BYTES && block->text[*start - 1] == '/')
            geocli_remember(scanner, block, *start, *end, NEAR, REJECTED + below(random, 2));
        geocli_remember(scanner, block, *start, *end, WINDOW, skipped == size ? REJECTED : ACCEPTED + skipped);
    } else if (doubt->kind == DEFANGED && *start >= 3 && block->text_bytes - *end > 9) {
        *start -= 3;
        *end += 9;
    }
    *start += skipped;
}

static void check_spans(const struct block *block) {
    for (uint64_t i = 0; i < block->count; i++) {
        CHECK(block->starts[i] < block->ends[i] && block->ends[i] <= block->stops[i] && block->stops[i] <= block->text_bytes);
        CHECK(!i || block->starts[i] >= block->ends[i - 1]);
    }
}

static void one_text(const struct scanner *scanner, uint64_t *random) {
    uint8_t text[MAX_TEXT];
    uint64_t size = make_line(random, text), room = below(random, 4) ? MAX_ROOM : below(random, 5);
    uint8_t *copy = zeros(size, 1);
    memcpy(copy, text, size);
    struct block block = {.text = copy, .text_bytes = size, .room = room};
    uint32_t **arrays[] = {&block.starts, &block.ends, &block.stops};
    for (int i = 0; i < 3; i++) *arrays[i] = zeros(room, sizeof(uint32_t));
    struct doubt *doubts = zeros(room, sizeof *doubts);
    for (int turn = 0; turn < 2; turn++) { /* decisions are cached for the second turn */
        int64_t count = geocli_scan(scanner, &block, doubts);
        CHECK(count >= -1 && block.count <= room && count <= (int64_t)block.count);
        for (int64_t i = 0; i < count; i++) {
            CHECK(doubts[i].position < block.count && (!i || doubts[i].position > doubts[i - 1].position));
            CHECK(block.ends[doubts[i].position] <= size);
            decide(scanner, &block, doubts + i, random);
        }
        if (count < 0) continue;
        int64_t odd = geocli_trim(scanner, &block, doubts);
        CHECK(odd <= (int64_t)block.count);
        check_spans(&block);
    }
    for (int i = 0; i < 3; i++) free(*arrays[i]);
    free(doubts);
    free(copy);
}

static void one_round(uint64_t *random) {
    struct scanner scanner;
    make_scanner(&scanner, random);
    for (int texts = 0; texts < 500; texts++) one_text(&scanner, random);
    for (int i = 0; i < SETS * WAYS; i++) {
        uint32_t sizes = scanner.memory[i].sizes;
        CHECK((sizes & 255) + (sizes >> 8 & 255) + (sizes >> 16 & 255) <= KEY_BYTES);
    }
    free(scanner.memory);
}

int main(int count, char **arguments) { return run_rounds(count, arguments, one_round); }
