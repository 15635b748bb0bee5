/* Let the kernel decode hostile records, and check that its output is valid marshal data, since Python's reader of that
 * trusts it. Arguments: seconds, seed. That records have the values that the reader of databases finds is tested in Python. */
#include "world.h"

enum { REFERENCES = 64, FULL_DATA = 4000, MAX_DATA = 2 * FULL_DATA, MAX_OBJECTS = 20000, MAX_OFFSETS = 100 };

struct data {
    uint8_t bytes[MAX_DATA];
    uint64_t size, value_count;
    uint32_t values[MAX_DATA]; /* where values begin */
};

static void put_head(struct data *data, uint32_t type, uint32_t size) {
    uint8_t *to = data->bytes + data->size;
    data->values[data->value_count++] = data->size;
    *to++ = (type > MAP ? 0 : type << 5) | (size < 29 ? size : 29);
    if (type > MAP) *to++ = type - 7;
    if (size >= 29) *to++ = size - 29;
    data->size = to - data->bytes;
}

static void put_string(struct data *data, const char *text, uint64_t size) {
    put_head(data, STRING, size);
    memcpy(data->bytes + data->size, text, size);
    data->size += size;
}

static void put_pointer(struct data *data, uint32_t target) {
    int is_long = target >= 2048;
    uint32_t value = target - (is_long ? 2048 : 0);
    if (is_long) data->bytes[data->size++] = 1 << 5 | 1 << 3 | value >> 16;
    else data->bytes[data->size++] = 1 << 5 | value >> 8;
    if (is_long) data->bytes[data->size++] = value >> 8;
    data->bytes[data->size++] = value;
}

static void put_key(struct data *data, uint64_t *random) {
    static const char *const keys[] = {"names", "country", "city", "subdivisions", "en", "de", "iso_code", "location", "", "\xc3\xa9", "latitude"};
    const char *key = keys[below(random, sizeof keys / sizeof *keys)];
    if (data->value_count && !below(random, 4)) put_pointer(data, data->values[below(random, data->value_count)]);
    else put_string(data, key, strlen(key));
}

/* Append a random value, most of them sound. */
static void put_random(struct data *data, uint64_t *random, int depth) {
    static const char text[] = "Winston, \"Salem\" unknown - N/A \xc3\xa9 \xf0\x9f\x8f\x99 Frankfurt am Main, a name of some length, or longer";
    static const uint32_t types[] = {DOUBLE, FLOAT, UINT16, UINT32, INT32, UINT64, BOOLEAN, UINT128, BYTES, 12, 13, 16};
    static const uint32_t sizes[] = {8, 4, 2, 4, 4, 8, 1, 16, 9, 1, 1, 1};
    uint64_t kind = data->size > FULL_DATA ? 9 : below(random, 10), size = below(random, 5);
    if (kind < 4 && depth < 20) {
        put_head(data, kind ? MAP : ARRAY, size);
        for (uint64_t i = 0; i < size; i++) {
            if (kind) put_key(data, random);
            put_random(data, random, depth + 1);
        }
    } else if (kind < 6 && data->value_count) {
        put_pointer(data, data->values[below(random, data->value_count)]);
    } else if (kind < 8) {
        put_string(data, text, below(random, sizeof text));
    } else {
        uint64_t chosen = below(random, below(random, 20) ? 7 : 12), bytes = chosen < 2 ? sizes[chosen] : below(random, sizes[chosen] + 1);
        put_head(data, types[chosen], bytes);
        for (; bytes && types[chosen] != BOOLEAN; bytes--) data->bytes[data->size++] = next_random(random) >> 40;
    }
}

/* Append a place as databases have them, whose names are somewhere else. */
static void put_place(struct data *data, uint64_t *random) {
    static const char *const languages[] = {"de", "en", "fr", "", "en", "\xff"}, *const names[] = {"Wien", "none", "\xc3\x89vreux", "", "N/A"};
    static uint32_t target;
    if (!data->value_count || below(random, 2)) {
        uint64_t size = below(random, 5);
        target = data->size;
        put_head(data, MAP, size);
        for (; size; size--) {
            const char *language = languages[below(random, 6)], *name = names[below(random, 5)];
            put_string(data, language, strlen(language));
            put_string(data, name, strlen(name));
        }
        return;
    }
    put_head(data, MAP, 2);
    put_string(data, "country", 7);
    put_head(data, MAP, 1);
    put_string(data, "names", 5);
    put_pointer(data, target);
    put_key(data, random);
    put_random(data, random, 2);
}

/* Marshal that is checked, and what of it may be referred to. */
struct reader {
    const uint8_t *at, *end;
    uint32_t count;
    uint8_t codes[MAX_OBJECTS]; /* 0 for objects that are not yet complete */
};

static uint32_t read_u32(struct reader *reader) {
    CHECK(reader->end - reader->at >= 4);
    reader->at += 4;
    return reader->at[-4] | reader->at[-3] << 8 | reader->at[-2] << 16 | (uint32_t)reader->at[-1] << 24;
}

static void check_text(struct reader *reader, uint8_t code) {
    int is_ascii;
    uint64_t size = code == 'u' ? read_u32(reader) : *reader->at++;
    CHECK(size <= (uint64_t)(reader->end - reader->at));
    CHECK(is_utf8(reader->at, size, &is_ascii) && (code == 'u' || is_ascii));
    reader->at += size;
}

static void check_long(struct reader *reader) {
    uint32_t digits = read_u32(reader);
    CHECK(digits && digits <= 5 && reader->end - reader->at >= 2 * digits);
    for (uint32_t i = 0; i < digits; i++, reader->at += 2) CHECK(reader->at[1] < 0x80);
    CHECK(reader->at[-1] || reader->at[-2]);
}

/* Check one object, and return its code, which is that of a string for a reference to one; 0 at the end of a map. */
static uint8_t check_object(struct reader *reader, int depth) {
    CHECK(reader->at < reader->end && depth < 20 && reader->count < MAX_OBJECTS);
    uint32_t number = reader->count;
    uint8_t code = *reader->at++, is_shared = code & FLAG_REF;
    code &= ~FLAG_REF;
    if (is_shared) reader->codes[reader->count++] = 0;
    if (code == '0') return 0;
    if (code == 'z' || code == 'u') check_text(reader, code);
    else if (code == 'l') check_long(reader);
    else if (code == 'i') read_u32(reader);
    else if (code == 'g') read_u32(reader), read_u32(reader);
    else if (code == '[')
        for (uint32_t left = read_u32(reader); left; left--) CHECK(check_object(reader, depth + 1));
    else if (code == '{')
        for (uint8_t key; (key = check_object(reader, depth + 1));) {
            CHECK(key == 'z' || key == 'u');
            CHECK(check_object(reader, depth + 1));
        }
    else if (code == 'r') {
        uint32_t target = read_u32(reader);
        CHECK(target < reader->count && reader->codes[target]);
        return reader->codes[target];
    } else CHECK(code == 'N' || code == 'T' || code == 'F');
    if (is_shared) reader->codes[number] = code;
    return code;
}

static void one_round(uint64_t *random) {
    static struct data data;
    static struct reader reader;
    data.size = data.value_count = 0;
    uint32_t offsets[MAX_OFFSETS], tree_bytes = 6 + SEPARATOR_BYTES, count = 1 + below(random, MAX_OFFSETS);
    for (uint32_t i = 0; i < count; i++) {
        offsets[i] = SEPARATOR_BYTES + data.size;
        (below(random, 2) ? put_place(&data, random) : put_random(&data, random, 0));
        if (!below(random, 20)) offsets[i] = below(random, data.size + SEPARATOR_BYTES + 1);
        if (!below(random, 200)) offsets[i] = next_random(random) >> 32;
    }
    if (below(random, 2))
        for (uint64_t damaged = 1 + below(random, 1 + data.size / 20); damaged; damaged--)
            data.bytes[below(random, data.size)] ^= below(random, 2) ? 1ull << below(random, 8) : next_random(random) >> 40;
    uint8_t *map = zeros(tree_bytes + data.size, 1);
    memcpy(map + tree_bytes, data.bytes, data.size);
    struct tree tree = {.map = map, .size_bytes = tree_bytes + data.size, .node_count = 1, .record_bits = 24, .ip_version = 6};
    CHECK(geocli_open(&tree));
    uint64_t room = 5 + count + (below(random, 2) ? below(random, 2000) : 100000);
    struct reference *references = zeros(REFERENCES, sizeof *references);
    uint8_t *out = zeros(room, 1);
    for (int i = 0; i < 3; i++) tree.secret[i] = next_random(random) | !!i;
    uint64_t *shapes = zeros(count, sizeof *shapes);
    uint64_t size = geocli_decode(&tree, offsets, count, (const uint8_t *)"en", 2, references, REFERENCES - 1, shapes, out, room);
    CHECK(size <= room);
    reader = (struct reader){.at = out, .end = out + size};
    CHECK(size >= 5 && *out == '[' && check_object(&reader, 0) == '[' && reader.at == reader.end);
    free(map);
    free(references);
    free(shapes);
    free(out);
}

int main(int count, char **arguments) { return run_rounds(count, arguments, one_round); }
