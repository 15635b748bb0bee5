/* The inner loops of `geocli batch`; called by geocli/engine/kernel.py, explained in geocli/docs/engine.md.
 *
 * The caller owns all memory: nothing is allocated here, and there are no global variables. All accesses are bounded by sizes
 * that the caller passes. Databases and text may be hostile.
 *
 * One thread at a time may call the functions that change an engine (`geocli_add`, `geocli_store`, `geocli_combine`,
 * `geocli_settle`); others may call `geocli_find` and `geocli_assemble` meanwhile, which see what release stores have published.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#ifndef KERNEL_VERSION
#define KERNEL_VERSION 0 /* build_kernel.py passes the checksum of this file */
#endif

enum {
    TABLE_BITS = 20,        /* leading bits of an address that index the tables */
    MAX_DATABASES = 30,     /* bits in a mask of sources */
    SEPARATOR_BYTES = 16,   /* zeros between the tree and the data of a database */
    IPV4_DEPTH = 96,        /* zeros before an IPv4 address in a tree of IPv6 */
    NO_PREFIX = 255,        /* the prefix length of an answer without a network */
    MAX_BLANKS = 3,         /* maximum number of blanks between an address and a comma */
    BATCH = 16,             /* addresses that are looked up together */
    AHEAD = 8,              /* lines whose text is prefetched */
    COLUMN_END = 5,         /* terminates each column of a stored text */
};

/* Numbers of answers: of UNREAD addresses, which are not yet parsed; SINGLE ones, which are left to the scalar path; MISSING ones,
 * which must be added; ADDED ones, whose answers are complete now. Answers are numbered from FIRST_NUMBER. */
enum { UNREAD, SINGLE, MISSING, ADDED, FIRST_NUMBER };
/* States of answers, by number. */
enum { NEW, RENDERED, IS_SINGLE, NEEDS_REGISTRY };
/* Kinds of pieces: what follows their text. LINKED is a fragment of the text that a record refers to. */
enum { TEXT_END, ADDRESS, NETWORK, TIME, FRAGMENT, LINKED };

struct tree {
    const uint8_t *map;
    uint64_t size_bytes; /* size of the file without the metadata */
    uint32_t node_count, record_bits, ip_version, ipv4_root;
    _Atomic uint32_t *nodes[2]; /* by the leading bits of an address (IPv4, IPv6): the node below them; 0: not yet walked */
    uint64_t secret[3];         /* for hashes of records */
};

/* A hash table with linear probing; values are never 0. */
struct slot {
    _Atomic uint64_t key; /* 0: free */
    uint64_t value;
};

struct numbering {
    struct slot *slots;
    uint64_t mask, count, capacity, secret[3];
};

/* A record: its offset, the position of an address that has it, its kind, 0 if it was not read, its AS number, or 0, and the
 * offset of its text in `arena`. */
struct record {
    uint32_t offset, position, kind, asn, text;
};

/* The records of a database by number; 0 stands for no record, 1 for records without space. */
struct records {
    struct numbering numbering; /* numbers by the offsets of records */
    struct record *by_number;
};

/* The texts of answers from records of some kinds: offsets of pieces in `arena`. */
struct recipe {
    uint32_t line, place, group; /* the line; in the journal, the part of one answer, and the shared part */
    uint32_t sources;            /* bit i stands for database i */
    uint32_t labelled;           /* bit i: the label of the i-th record is part of the keys of answers */
    uint32_t state, sharing;     /* state of the answers; index of the record with the shared part */
};

/* A piece of a text: followed by `text_bytes` of text, then a field, or fragments of a record. */
struct piece {
    uint32_t text_bytes;
    uint8_t kind, record;
    uint16_t first, last, skipped; /* columns of the record's text, and the number of bytes to skip in the first */
};

/* The text of a record: followed by the ends of its columns, and the columns. */
struct text {
    uint32_t link; /* offset in `arena` of a text that several records share */
    uint32_t label, columns;
};

struct engine {
    uint64_t database_count;
    struct tree *trees;
    struct numbering *numberings; /* one for each database, at least one: names of combinations, the last one numbers of answers */
    struct records *records;      /* one for each database */
    const struct tree *scopes;  /* of IPv4 and IPv6: offsets are scopes, from 1 */
    uint64_t embedded;          /* the scope of addresses that contain an IPv4 address */
    _Atomic uint32_t *table;    /* by leading bits: the answer for all addresses with these, as `fill` stores it */
    _Atomic uint8_t *states;    /* by number */
    uint32_t *answers; /* by number: recipe, and texts of the records, of each database and of a registry; after `geocli_add`,
                        * 0, numbers of the records, and the scope */
    uint32_t *groups;  /* by number: group of answers that share members in the journal; null without a journal */
    uint32_t *keys;    /* by number: equal for answers with the same recipe and labels; null without labels */
    struct recipe *recipes;
    uint8_t *arena;
    struct numbering recipe_keys, group_keys, label_keys;
    uint64_t recipe_count, max_recipes;
    uint64_t arena_used, arena_bytes, next_number, max_numbers;
};

static uint32_t *answer_of(const struct engine *engine, uint64_t number) {
    return engine->answers + number * (engine->database_count + 2);
}

static const struct recipe *recipe_of(const struct engine *engine, uint64_t number) {
    return engine->recipes + *answer_of(engine, number);
}

/* The record of an address in a database, 0 if there is none, and its prefix length. */
struct leaf {
    uint32_t offset, prefix;
};

enum { NO_ROW = 0xffffffff };

/* The addresses of a block, and the number of each answer. */
struct block {
    const uint8_t *text;
    uint64_t text_bytes, count, room;
    uint32_t *starts, *ends, *stops;   /* offsets of addresses, and of the ends of their prefix lengths */
    uint32_t *copy_starts, *copy_ends; /* offsets of the text to copy before each answer; may be null */
    uint32_t *skip_starts, *skip_ends; /* offsets of the part of that text to leave out; may be null */
    uint32_t *row_starts;              /* offset of the row that begins before the address, or NO_ROW; null: after a newline */
    uint32_t *padding;                 /* number of delimiters to add to that; may be null */
    uint32_t *written_starts, *written_stops; /* of labelled addresses: where they are in the input, before some are rewritten */
    uint32_t *numbers;
    uint8_t *prefixes;
    struct leaf *leaves; /* by position and database, of addresses that are MISSING or ADDED */
    uint8_t delimiter;
};

/* 128 bits: those of an IPv6 address; or of an IPv4 address, followed by zeros. */
struct address {
    uint64_t high, low;
};

uint32_t geocli_version(void) { return KERNEL_VERSION; }

/* Input. */

/* Divide whole lines into addresses, without a carriage return at the end of a line. */
int64_t geocli_split(struct block *block, uint8_t end) {
    const uint8_t *text = block->text;
    uint64_t at = 0, count = 0;
    while (at < block->text_bytes && count < block->room) {
        const uint8_t *line_end = memchr(text + at, end, block->text_bytes - at);
        if (!line_end) return -1;
        uint64_t stop = line_end - text;
        block->starts[count] = at;
        at = stop + 1;
        if (end == '\n' && stop > block->starts[count] && text[stop - 1] == '\r') stop--;
        block->ends[count] = block->stops[count] = stop;
        count++;
    }
    block->count = count;
    return at == block->text_bytes ? (int64_t)count : -1;
}

/* Find cells in each row of CSV without quotes, in whole lines. Blank lines, and those that begin with `comment` unless it is 0,
 * are not rows. The text before the first cell begins at the end of the previous row. A missing cell is an empty address. Return
 * the number of cells. */
int64_t geocli_cells(struct block *block, const uint32_t *columns, uint64_t asked, uint64_t width, uint8_t comment) {
    const uint8_t *text = block->text;
    uint64_t at = 0, count = 0, copied = 0;
    while (at < block->text_bytes) {
        const uint8_t *newline = memchr(text + at, '\n', block->text_bytes - at);
        if (!newline) return -1;
        uint64_t row = at, stop = newline - text, cells = 1;
        at = stop + 1;
        if (stop > row && text[stop - 1] == '\r') stop--;
        if (stop == row || (comment && text[row] == comment)) continue;
        if (asked > block->room - count) return -1;
        uint32_t *starts = block->starts + count, *ends = block->ends + count;
        for (uint64_t c = 0; c < asked; c++) {
            starts[c] = columns[c] ? stop : row;
            ends[c] = stop;
        }
        for (uint64_t i = row; i < stop; i++) {
            if (text[i] != block->delimiter) continue;
            for (uint64_t c = 0; c < asked; c++) {
                if (cells == columns[c]) starts[c] = i + 1;
                if (cells == columns[c] + 1) ends[c] = i;
            }
            cells++;
        }
        for (uint64_t c = 0; c < asked; c++, count++) {
            block->stops[count] = block->ends[count];
            block->copy_starts[count] = c ? stop : copied;
            block->copy_ends[count] = stop;
            block->padding[count] = !c && cells < width ? width - cells : 0;
        }
        copied = stop;
    }
    block->count = count;
    return count;
}

/* Bytes, sixteen at a time. */

typedef uint8_t vector __attribute__((vector_size(16)));

static inline vector all(uint8_t byte) { return (vector){0} + byte; }

/* Return a bit for each byte of a vector of bytes that are 0 or 255. */
static inline uint64_t bits_of(vector flags) {
#ifdef __SSE2__
    return (uint32_t)__builtin_ia32_pmovmskb128((char __attribute__((vector_size(16))))flags);
#else
    uint64_t halves[2], bits = 0;
    memcpy(halves, &flags, sizeof halves);
    for (int i = 0; i < 2; i++) bits |= ((halves[i] & 0x0101010101010101u) * 0x0102040810204080u >> 56) << 8 * i;
    return bits;
#endif
}

/* Addresses. */

static int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static inline uint64_t digits_of(vector bytes) {
    vector values = bytes - all('0');
    return bits_of((vector)(values < all(10)));
}

enum { QUAD_BYTES = 20 }; /* readable bytes that are needed from the first digit of a dotted quad */

/* Return the value of one to three digits; more than 255 if it is invalid, or has a leading zero. */
static inline uint32_t octet(const uint8_t *digits, uint32_t size) {
    static const uint8_t least[] = {0, 0, 10, 100};
    uint32_t word;
    memcpy(&word, digits, sizeof word);
    word = word << 8 * (3 - size) & 0x0f0f0f;
    uint32_t value = (word & 15) * 100 + (word >> 8 & 15) * 10 + (word >> 16);
    return value < least[size] ? 256 : value;
}

/* Parse a dotted quad without leading zeros (RFC 6943, section 3.1.1); `limit` is the end of readable memory. */
static int parse_ipv4(const uint8_t *at, const uint8_t *end, const uint8_t *limit, uint32_t *address) {
    uint8_t copy[QUAD_BYTES] = {0};
    uint64_t size = end - at;
    if (size - 7 > 8) return 0;
    if (limit - at < QUAD_BYTES) at = memcpy(copy, at, size);
    vector bytes;
    memcpy(&bytes, at, sizeof bytes);
    uint32_t all_bits = (1u << size) - 1, dots = bits_of((vector)(bytes == all('.'))) & all_bits;
    uint32_t second_dots = dots & (dots - 1), third_dots = second_dots & (second_dots - 1);
    if (((dots | digits_of(bytes)) & all_bits) != all_bits || !third_dots || third_dots & (third_dots - 1)) return 0;
    uint32_t first = __builtin_ctz(dots), second = __builtin_ctz(second_dots), third = __builtin_ctz(third_dots);
    uint32_t sizes[] = {first, second - first - 1, third - second - 1, size - third - 1};
    if (sizes[0] - 1 > 2 || sizes[1] - 1 > 2 || sizes[2] - 1 > 2 || sizes[3] - 1 > 2) return 0;
    uint32_t octets[] = {octet(at, sizes[0]), octet(at + first + 1, sizes[1]), octet(at + second + 1, sizes[2]),
                         octet(at + third + 1, sizes[3])};
    *address = octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3];
    return (octets[0] | octets[1] | octets[2] | octets[3]) <= 255;
}

/* Write an address in the form of RFC 5952 to 40 bytes, and return its length. */
static uint64_t format_ipv6(struct address address, uint8_t *to) {
    uint16_t groups[8];
    int longest = 1, first = -1; /* the longest run of at least two zeros */
    for (int i = 0, run = 0; i < 8; i++) {
        groups[i] = (i < 4 ? address.high : address.low) >> (48 - 16 * (i & 3));
        run = groups[i] ? 0 : run + 1;
        if (run > longest) longest = run, first = i - run + 1;
    }
    uint8_t *begin = to;
    for (int i = 0; i < 8; i++) {
        if (i == first) {
            *to++ = ':';
            *to++ = ':';
            i += longest - 1;
            continue;
        }
        if (i && i != first + longest) *to++ = ':';
        int shift = groups[i] > 0xfff ? 12 : groups[i] > 0xff ? 8 : groups[i] > 0xf ? 4 : 0;
        for (; shift >= 0; shift -= 4) *to++ = "0123456789abcdef"[groups[i] >> shift & 15];
    }
    return to - begin;
}

/* Parse an IPv6 address in canonical form, unless it begins with 64 zeros and may embed an IPv4 address. Of a text in any other
 * form something is read, whose canonical form is another text. */
static int parse_ipv6(const uint8_t *text, const uint8_t *end, struct address *address) {
    uint16_t groups[8] = {0};
    uint8_t canonical[40];
    int count = 0, gap = -1; /* groups, and how many precede the gap */
    if (end - text < 2 || end - text > 39) return 0;
    for (const uint8_t *at = text; at < end; at++) {
        int is_last = at + 1 == end || at[1] == ':';
        if (*at != ':') {
            if (count == 8) return 0;
            groups[count] = groups[count] << 4 | (is_digit(*at) ? *at - '0' : (*at - 'a' + 10) & 15);
            count += is_last;
        } else if (is_last) {
            gap = count;
        }
    }
    if (gap >= 0) {
        memmove(groups + gap + 8 - count, groups + gap, (count - gap) * sizeof *groups);
        memset(groups + gap, 0, (8 - count) * sizeof *groups);
    }
    *address = (struct address){0, 0};
    for (int i = 0; i < 4; i++) {
        address->high = address->high << 16 | groups[i];
        address->low = address->low << 16 | groups[4 + i];
    }
    if (format_ipv6(*address, canonical) != (uint64_t)(end - text) || memcmp(canonical, text, end - text)) return 0;
    return address->high || address->low <= 0xffff;
}

/* Parse an address of a block, and return its number of bits: 32, 128, or 0 if it cannot be parsed here. */
static uint32_t parse(const struct block *block, uint64_t i, struct address *address) {
    const uint8_t *start = block->text + block->starts[i], *end = block->text + block->ends[i];
    uint32_t ipv4;
    if (!parse_ipv4(start, end, block->text + block->text_bytes, &ipv4)) return parse_ipv6(start, end, address) ? 128 : 0;
    *address = (struct address){(uint64_t)ipv4 << 32, 0};
    return 32;
}

static uint32_t bit_of(const struct address *address, uint32_t depth) {
    return (depth < 64 ? address->high : address->low) >> (63 - (depth & 63)) & 1;
}

/* Return the last address of the network of a prefix length that begins with this one. */
static struct address last_of(struct address first, uint32_t prefix) {
    first.high |= prefix < 64 ? UINT64_MAX >> prefix : 0;
    first.low |= prefix <= 64 ? UINT64_MAX : prefix < 128 ? UINT64_MAX >> (prefix - 64) : 0;
    return first;
}

/* Return the next address, 0 after the last one. */
static struct address following(struct address address) {
    address.low++;
    address.high += !address.low;
    return address;
}

static int is_after(struct address one, struct address other) {
    return one.high != other.high ? one.high > other.high : one.low > other.low;
}

/* The search tree (MaxMind DB file format, version 2.0). */

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Return the left or right record of a node, which must be below `node_count`. */
static inline uint32_t child(const struct tree *tree, uint32_t node, uint32_t bit) {
    const uint8_t *at = tree->map + (uint64_t)node * (tree->record_bits / 4);
    if (tree->record_bits == 24) return big_endian(at + 3 * bit) >> 8; /* the separator follows the last node */
    if (tree->record_bits == 32) return big_endian(at + 4 * bit);
    uint32_t word = big_endian(at + 3 * bit);
    return bit ? word & 0x0FFFFFFF : word >> 8 | (word & 0xF0) << 20;
}

/* Check a tree against the size of its file, and find the root of IPv4 addresses. Return whether it is valid. */
int32_t geocli_open(struct tree *tree) {
    uint64_t tree_bytes = (uint64_t)tree->node_count * (tree->record_bits / 4);
    int is_known_size = tree->record_bits == 24 || tree->record_bits == 28 || tree->record_bits == 32;
    if (!is_known_size || !tree->node_count || (tree->ip_version != 4 && tree->ip_version != 6)) return 0;
    if (tree_bytes + SEPARATOR_BYTES > tree->size_bytes) return 0;
    tree->ipv4_root = 0;
    for (int depth = 0; tree->ip_version == 6 && depth < IPV4_DEPTH && tree->ipv4_root < tree->node_count; depth++)
        tree->ipv4_root = child(tree, tree->ipv4_root, 0);
    return 1;
}

/* An address to look up, and its records. */
struct search {
    struct address address;
    uint64_t position;
    uint32_t bits;          /* 32 or 128 */
    uint32_t index;         /* the leading bits of the address */
    uint32_t scope, widest; /* prefix lengths for which the scope, and scope and records, are the same */
    uint32_t number;        /* of the answer; 0 if there is none yet */
    int32_t is_known;       /* whether the leaves are known without a walk */
    int32_t is_sound;       /* whether all trees are sound on the path to the address */
    struct leaf leaves[MAX_DATABASES];
};

/* The position of a walk to an address. */
struct walk {
    struct search *search;
    uint32_t node, depth;
};

static void prefetch_node(const struct tree *tree, uint32_t node) {
    if (node < tree->node_count) __builtin_prefetch(tree->map + (uint64_t)node * (tree->record_bits / 4));
}

/* Finish a walk: store the offset of the record, 0 if there is none, and its prefix length. */
static void arrive(const struct tree *tree, uint64_t database, const struct walk *walk) {
    struct search *search = walk->search;
    uint64_t behind_tree = tree->size_bytes - (uint64_t)tree->node_count * (tree->record_bits / 4);
    uint32_t offset = walk->node - tree->node_count;
    if (walk->node < tree->node_count || offset >= behind_tree || (offset && offset < SEPARATOR_BYTES)) search->is_sound = 0;
    search->leaves[database] = (struct leaf){offset, walk->depth};
}

/* Walk to several addresses alternately, so that loads of nodes overlap. */
static void walk_all(const struct tree *tree, uint64_t database, struct search *searches, uint64_t count) {
    struct walk walks[BATCH];
    uint64_t active = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct search *search = searches + i;
        int is_ipv6 = search->bits == 128;
        if (search->is_known) continue;
        search->leaves[database] = (struct leaf){0, 0};
        if (is_ipv6 && tree->ip_version == 4) continue;
        uint32_t reached = atomic_load_explicit(&tree->nodes[is_ipv6][search->index], memory_order_relaxed);
        uint32_t node = reached ? reached : is_ipv6 ? 0 : tree->ipv4_root;
        walks[active++] = (struct walk){search, node, reached ? TABLE_BITS : 0};
        prefetch_node(tree, node);
    }
    while (active) {
        for (uint64_t i = 0; i < active;) {
            struct walk *walk = walks + i;
            const struct search *search = walk->search;
            if (walk->node >= tree->node_count || walk->depth == search->bits) {
                arrive(tree, database, walk);
                *walk = walks[--active];
                continue;
            }
            walk->node = child(tree, walk->node, bit_of(&search->address, walk->depth++));
            prefetch_node(tree, walk->node);
            if (walk->depth == TABLE_BITS && walk->node < tree->node_count)
                atomic_store_explicit(&tree->nodes[search->bits == 128][search->index], walk->node, memory_order_relaxed);
            i++;
        }
    }
}

/* An output text; bytes beyond `room` are only counted. */
struct writer {
    uint8_t *to;
    uint64_t used, room;
};

static void put(struct writer *writer, const void *text, uint64_t size) {
    if (size && writer->used <= writer->room && size <= writer->room - writer->used)
        memcpy(writer->to + writer->used, text, size);
    writer->used += size;
}

static void put_number(struct writer *writer, uint64_t value) {
    uint8_t digits[20];
    int at = 20;
    do digits[--at] = '0' + value % 10;
    while (value /= 10);
    put(writer, digits + at, 20 - at);
}

/* Hashes with a secret, without which nobody can find values that have the same one. */

static inline uint64_t mixed(const uint64_t *secret, uint64_t value) {
    value = (value ^ secret[0]) * secret[1];
    return (value ^ value >> 32) * secret[2];
}

/* Return a hash of 44 bits. */
static inline uint64_t hashed(const uint64_t *secret, uint64_t key) {
    key = mixed(secret, key);
    return (key ^ key >> 32) * secret[1] >> 20;
}

/* Return a hash of bytes and of another hash. */
static uint64_t hashed_bytes(const uint64_t *secret, const uint8_t *at, uint64_t size, uint64_t hash) {
    uint64_t word;
    for (hash = mixed(secret, hash ^ size); size >= sizeof word; at += sizeof word, size -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = mixed(secret, hash ^ word);
    }
    word = 0;
    memcpy(&word, at, size);
    return mixed(secret, hash ^ word);
}

/* Records (MaxMind DB file format, data section), rewritten in the format of Python's marshal, version 3. */

enum { POINTER = 1, STRING, DOUBLE, BYTES, UINT16, UINT32, MAP, INT32, UINT64, UINT128, ARRAY, BOOLEAN = 14, FLOAT };
enum { MAX_DEPTH = 16, MAX_NAMES = 32, MAX_RECORD_BYTES = 8192, FLAG_REF = 0x80 };
/* The role of a value: a record, a map with names in a record, a list of such maps, the names, a map of fields without names, or
 * none of these. */
enum { IN_RECORD, NAMED, LISTED, NAMES, FIELDS, ELSEWHERE };

/* The object that a value was written as, for references, with its size. */
struct reference {
    uint64_t key; /* offset and role of the value; 0: free */
    uint64_t shape;
    uint32_t number, size_bytes;
};

struct decoder {
    const uint8_t *data, *language; /* the data section; the language of names */
    uint64_t data_bytes, language_bytes;
    struct reference *references;
    uint64_t reference_mask, reference_count;
    uint32_t next_number;
    uint64_t expanded; /* size of the record without references */
    const uint64_t *secret;
    uint64_t shape; /* of the last value: for a map with fields, and a list of such maps, a hash of their keys; 0 for a scalar */
    struct writer out;
};

/* The head of a value, with pointers resolved. */
struct value {
    uint32_t type, size, is_shared;
    uint64_t at, begin, end; /* offsets: head; content; next value, unless this is a map or array */
};

static int read_head(const struct decoder *decoder, uint64_t at, struct value *value) {
    const uint8_t *data = decoder->data;
    if (at >= decoder->data_bytes) return 0;
    value->at = at;
    uint32_t control = data[at++], more = 0;
    value->type = control >> 5;
    if (value->type == POINTER) more = (control >> 3 & 3) + 1;
    else if (value->type == 0) {
        if (at >= decoder->data_bytes) return 0;
        value->type = data[at++] + 7;
        if (value->type <= MAP) return 0;
    }
    if (value->type != POINTER) more = (control & 31) > 28 ? (control & 31) - 28 : 0;
    if (decoder->data_bytes - at < more) return 0;
    uint32_t number = 0;
    for (uint32_t i = 0; i < more; i++) number = number << 8 | data[at++];
    if (value->type == POINTER) {
        const uint32_t bases[] = {0, 2048, 526336, 0};
        value->size = more == 4 ? number : ((control & 7) << 8 * more | number) + bases[more - 1];
    } else {
        const uint32_t bases[] = {0, 29, 285, 65821};
        value->size = more ? bases[more] + number : control & 31;
    }
    value->begin = at;
    value->end = at + (value->type == POINTER || value->type == BOOLEAN ? 0 : value->size);
    if (value->type == MAP || value->type == ARRAY) value->end = at;
    return value->end <= decoder->data_bytes;
}

/* Read the head of a value, and follow a pointer; `next` is the offset of the next value. */
static int read_value(const struct decoder *decoder, uint64_t at, struct value *value, uint64_t *next) {
    if (!read_head(decoder, at, value)) return 0;
    *next = value->end;
    value->is_shared = value->type == POINTER;
    return !value->is_shared || (read_head(decoder, value->size, value) && value->type != POINTER);
}

/* Return whether text is valid UTF-8 without surrogates; `is_ascii` whether it has only ASCII. */
static int is_utf8(const uint8_t *text, uint64_t size, int *is_ascii) {
    *is_ascii = 1;
    for (uint64_t i = 0; i < size;) {
        uint8_t byte = text[i++];
        if (byte < 0x80) continue;
        *is_ascii = 0;
        uint32_t more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
        if (byte < 0xc2 || byte > 0xf4 || size - i < more) return 0;
        if ((byte == 0xe0 && text[i] < 0xa0) || (byte == 0xed && text[i] > 0x9f)) return 0;
        if ((byte == 0xf0 && text[i] < 0x90) || (byte == 0xf4 && text[i] > 0x8f)) return 0;
        for (; more; more--)
            if ((text[i++] & 0xc0) != 0x80) return 0;
    }
    return 1;
}

static void put_code(struct decoder *decoder, uint8_t code) { put(&decoder->out, &code, 1); }

static void put_u32(struct decoder *decoder, uint32_t value) {
    uint8_t bytes[] = {value, value >> 8, value >> 16, value >> 24};
    put(&decoder->out, bytes, 4);
}

static void put_integer(struct decoder *decoder, uint64_t value, int is_signed) {
    if (is_signed || value <= INT32_MAX) {
        put_code(decoder, 'i');
        put_u32(decoder, value);
        return;
    }
    uint32_t digits = 0;
    for (uint64_t rest = value; rest; rest >>= 15) digits++;
    put_code(decoder, 'l');
    put_u32(decoder, digits);
    for (; value; value >>= 15) {
        uint8_t bytes[] = {value, value >> 8 & 0x7f};
        put(&decoder->out, bytes, 2);
    }
}

static int put_text(struct decoder *decoder, const struct value *value, uint8_t flag) {
    const uint8_t *text = decoder->data + value->begin;
    int is_ascii;
    if (value->size > MAX_RECORD_BYTES || !is_utf8(text, value->size, &is_ascii)) return 0;
    uint8_t is_short = is_ascii && value->size < 256, size = value->size;
    put_code(decoder, (is_short ? 'z' : 'u') | flag);
    if (is_short) put(&decoder->out, &size, 1);
    else put_u32(decoder, value->size);
    put(&decoder->out, text, value->size);
    return 1;
}

static int put_scalar(struct decoder *decoder, const struct value *value, uint8_t flag) {
    static const uint8_t sizes[] = {[DOUBLE] = 8, [UINT16] = 2, [UINT32] = 4, [INT32] = 4, [UINT64] = 8, [FLOAT] = 4};
    const uint8_t *at = decoder->data + value->begin;
    uint64_t number = 0;
    if (value->type == STRING) return put_text(decoder, value, flag);
    if (value->type == BOOLEAN) {
        put_code(decoder, value->size ? 'T' : 'F');
        return value->size < 2;
    }
    if (value->type >= sizeof sizes || !sizes[value->type] || value->size > sizes[value->type]) return 0;
    for (uint32_t i = 0; i < value->size; i++) number = number << 8 | at[i];
    if (value->type == DOUBLE || value->type == FLOAT) {
        if (value->size != sizes[value->type]) return 0;
        uint32_t bits = number;
        float single;
        double real;
        memcpy(&single, &bits, sizeof single);
        memcpy(&real, &number, sizeof real);
        real = value->type == FLOAT ? single : real;
        memcpy(&number, &real, sizeof number);
        put_code(decoder, 'g');
        put_u32(decoder, number);
        put_u32(decoder, number >> 32);
        return 1;
    }
    put_integer(decoder, number, value->type == INT32);
    return 1;
}

static int is_text(const struct decoder *decoder, const struct value *value, const void *text, uint64_t size) {
    return value->type == STRING && value->size == size && !memcmp(decoder->data + value->begin, text, size);
}


/* Return the role of the value of a key. */
static int inner(const struct decoder *decoder, const struct value *key, int place) {
    static const char *const named[] = {"continent", "country", "city", "postal", "registered_country", "represented_country"};
    if (place == NAMED && is_text(decoder, key, "names", 5)) return NAMES;
    if (place != IN_RECORD) return ELSEWHERE;
    for (uint32_t i = 0; i < sizeof named / sizeof *named; i++)
        if (is_text(decoder, key, named[i], strlen(named[i]))) return NAMED;
    if (is_text(decoder, key, "location", 8) || is_text(decoder, key, "traits", 6)) return FIELDS;
    return is_text(decoder, key, "subdivisions", 12) ? LISTED : ELSEWHERE;
}

/* Return whether a name is certainly not a placeholder for unknown values, which are not letters, or begin with these. */
static int is_known_name(const struct decoder *decoder, const struct value *name) {
    uint8_t byte = name->size ? decoder->data[name->begin] : 0, letter = byte | 0x20;
    if (letter >= 'a' && letter <= 'z') return letter != 'n' && letter != 'u' && letter != 'z';
    return byte >= 0xc3 && (byte < 0xe1 || byte > 0xe3); /* no Unicode space begins with these bytes */
}

static int put_value(struct decoder *decoder, uint64_t at, int place, int depth, uint64_t *next);

/* Find the name in the language; return whether it occurs once and is not a placeholder, and all names are sound. */
static int find_name(const struct decoder *decoder, const struct value *names, uint64_t *key_at, uint64_t *name_at) {
    uint64_t at = names->begin;
    int count = 0, is_ascii;
    for (uint32_t i = 0; i < names->size; i++) {
        struct value key, name;
        uint64_t key_begin = at;
        if (i == MAX_NAMES || !read_value(decoder, at, &key, &at)) return 0;
        uint64_t name_begin = at;
        if (!read_value(decoder, at, &name, &at) || name.type != STRING || key.type != STRING) return 0;
        if (!is_utf8(decoder->data + key.begin, key.size, &is_ascii)) return 0;
        if (!is_utf8(decoder->data + name.begin, name.size, &is_ascii)) return 0;
        if (!is_text(decoder, &key, decoder->language, decoder->language_bytes)) continue;
        if (count++ || !is_known_name(decoder, &name)) return 0;
        *key_at = key_begin;
        *name_at = name_begin;
    }
    return count;
}

static int put_map(struct decoder *decoder, const struct value *map, int place, int depth, uint8_t flag, uint64_t *next) {
    uint64_t at = map->begin, key_at, name, ignored, shape = MAP;
    put_code(decoder, '{' | flag);
    if (place == NAMES && map->is_shared && find_name(decoder, map, &key_at, &name)) {
        if (!put_value(decoder, key_at, ELSEWHERE, depth, &ignored)) return 0;
        if (!put_value(decoder, name, ELSEWHERE, depth, &ignored)) return 0;
    } else {
        for (uint32_t i = 0; i < map->size; i++) {
            struct value key;
            if (!read_value(decoder, at, &key, &ignored) || key.type != STRING) return 0;
            if (!put_value(decoder, at, ELSEWHERE, depth, &at)) return 0;
            if (!put_value(decoder, at, inner(decoder, &key, place), depth, &at)) return 0;
            if (place == IN_RECORD || place == NAMED || place == FIELDS)
                shape = hashed_bytes(decoder->secret, decoder->data + key.begin, key.size,
                                     mixed(decoder->secret, shape) ^ decoder->shape);
        }
        *next = at;
    }
    put_code(decoder, '0');
    decoder->shape = shape;
    return 1;
}

static int put_array(struct decoder *decoder, const struct value *array, int place, int depth, uint8_t flag, uint64_t *next) {
    uint64_t shape = ARRAY;
    *next = array->begin;
    put_code(decoder, '[' | flag);
    put_u32(decoder, array->size);
    for (uint32_t i = 0; i < array->size; i++) {
        if (!put_value(decoder, *next, place == LISTED ? NAMED : ELSEWHERE, depth, next)) return 0;
        if (place == LISTED) shape = mixed(decoder->secret, shape) ^ decoder->shape;
    }
    decoder->shape = shape;
    return 1;
}

/* Return the slot of a value, or the free slot for it. */
static struct reference *reference_of(struct decoder *decoder, uint64_t key) {
    for (uint64_t at = hashed(decoder->secret, key);; at++) {
        struct reference *reference = decoder->references + (at & decoder->reference_mask);
        if (reference->key == key || !reference->key) return reference;
    }
}

/* Write the value at an offset of the data section; return whether it is sound, small, and of a supported type. A value with
 * pointers to it is written once for all records, since most maps and strings are shared. */
static int put_value(struct decoder *decoder, uint64_t at, int place, int depth, uint64_t *next) {
    struct value value;
    uint64_t begin = decoder->out.used, expanded = decoder->expanded, behind, key = 0;
    struct reference *reference = NULL;
    if (depth == MAX_DEPTH || !read_value(decoder, at, &value, next)) return 0;
    if (value.is_shared && (value.type == STRING || value.type == MAP || value.type == ARRAY)) {
        key = (value.at << 3 | place) + 1;
        reference = reference_of(decoder, key);
        if (reference->key) {
            put_code(decoder, 'r');
            put_u32(decoder, reference->number);
            decoder->expanded += reference->size_bytes;
            decoder->shape = reference->shape;
            return decoder->expanded <= MAX_RECORD_BYTES;
        }
        if (decoder->reference_count * 2 > decoder->reference_mask) reference = NULL;
    }
    uint32_t number = reference ? decoder->next_number++ : 0;
    uint8_t flag = reference ? FLAG_REF : 0;
    if (value.type == MAP || value.type == ARRAY) {
        uint64_t *after = value.is_shared ? &behind : next;
        if (value.type == MAP && !put_map(decoder, &value, place, depth + 1, flag, after)) return 0;
        if (value.type == ARRAY && !put_array(decoder, &value, place, depth + 1, flag, after)) return 0;
        decoder->expanded += value.type == MAP ? 2 : 5;
    } else {
        if (!put_scalar(decoder, &value, flag)) return 0;
        decoder->shape = 0;
        decoder->expanded += decoder->out.used - begin;
    }
    if (reference) {
        reference = reference_of(decoder, key); /* its members may have taken the slot */
        *reference = (struct reference){key, decoder->shape, number, decoder->expanded - expanded};
        decoder->reference_count++;
    }
    return decoder->expanded <= MAX_RECORD_BYTES;
}

/* Write the records at some offsets as a marshalled list, and their shapes; None for records that are left to the reader:
 * damaged, large, or of a rare type. Of names in several languages only that in `language` is written where no other name matters.
 * Return the number of bytes. There must be space for five bytes plus one for each record. */
int64_t geocli_decode(const struct tree *tree, const uint32_t *offsets, uint64_t count, const uint8_t *language,
                      uint64_t language_bytes, struct reference *references, uint64_t reference_mask, uint64_t *shapes,
                      uint8_t *out, uint64_t room) {
    uint64_t tree_bytes = (uint64_t)tree->node_count * (tree->record_bits / 4) + SEPARATOR_BYTES, ignored;
    uint64_t references_bytes = (reference_mask + 1) * sizeof *references;
    struct decoder decoder = {
        .data = tree->map + tree_bytes, .data_bytes = tree->size_bytes - tree_bytes, .language = language,
        .language_bytes = language_bytes, .references = references, .reference_mask = reference_mask, .secret = tree->secret,
        .out = {out, 0, room},
    };
    memset(references, 0, references_bytes);
    put_code(&decoder, '[');
    put_u32(&decoder, count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t used = decoder.out.used;
        uint32_t next_number = decoder.next_number;
        decoder.expanded = 0;
        if (offsets[i] >= SEPARATOR_BYTES && put_value(&decoder, offsets[i] - SEPARATOR_BYTES, IN_RECORD, 0, &ignored) &&
            decoder.out.used + (count - i) <= room) { /* there is space for None for all remaining records */
            shapes[i] = decoder.shape;
            continue;
        }
        shapes[i] = 0;
        decoder.out.used = used;
        decoder.next_number = next_number; /* objects written since then are gone, and references to them */
        decoder.reference_count = 0;
        memset(references, 0, references_bytes);
        put_code(&decoder, 'N');
    }
    return decoder.out.used;
}

/* Answers. */

/* Return the slot where the search for a key begins. */
static struct slot *home_slot(const struct numbering *numbering, uint64_t key) {
    return numbering->slots + (hashed(numbering->secret, key) & numbering->mask);
}

static struct slot *next_slot(const struct numbering *numbering, struct slot *slot) {
    return slot == numbering->slots + numbering->mask ? numbering->slots : slot + 1;
}

/* Return the slot of a key, or the free slot for it, which exists since a table is never full. */
static struct slot *slot_of(const struct numbering *numbering, uint64_t key) {
    for (struct slot *slot = home_slot(numbering, key);; slot = next_slot(numbering, slot)) {
        uint64_t there = atomic_load_explicit(&slot->key, memory_order_acquire);
        if (there == key || !there) return slot;
    }
}

/* Return the scope of an address, and a prefix length for which it is the same. */
static uint32_t scope_of(const struct tree *tree, const struct address *address, uint32_t *prefix) {
    uint32_t node = 0;
    for (*prefix = 0; node < tree->node_count; ++*prefix) node = child(tree, node, bit_of(address, *prefix));
    return node - tree->node_count;
}

/* Find the records of addresses; those of MISSING and ADDED ones are in the block. */
static void find_records(const struct engine *engine, struct block *block, struct search *searches, uint64_t count) {
    uint64_t databases = engine->database_count, size = databases * sizeof(struct leaf);
    for (struct search *search = searches; search < searches + count; search++) {
        search->is_sound = 1;
        search->is_known = block->numbers[search->position] != UNREAD;
        if (search->is_known) memcpy(search->leaves, block->leaves + search->position * databases, size);
    }
    for (uint64_t i = 0; i < databases; i++) walk_all(&engine->trees[i], i, searches, count);
    for (struct search *search = searches; search < searches + count; search++) {
        if (!search->is_known) memcpy(block->leaves + search->position * databases, search->leaves, size);
        search->scope = scope_of(engine->scopes + (search->bits == 128), &search->address, &search->widest);
        for (uint64_t i = 0; i < databases; i++)
            if (search->leaves[i].prefix > search->widest) search->widest = search->leaves[i].prefix;
    }
}

static uint64_t key_of(const struct engine *engine, const struct search *search, uint64_t database, uint64_t name) {
    return name << 32 | (engine->database_count ? search->leaves[database].offset : 0);
}

static uint64_t numbering_count(const struct engine *engine) { return engine->database_count ? engine->database_count : 1; }

/* Return the value of a key; a new key gets `value`, or the count of keys if that is 0. Return 0 without space. */
static uint64_t entered(struct numbering *numbering, uint64_t key, uint64_t value) {
    struct slot *slot = slot_of(numbering, key);
    if (atomic_load_explicit(&slot->key, memory_order_relaxed) == key) return slot->value;
    if (numbering->count >= numbering->capacity) return 0;
    numbering->count++;
    slot->value = value ? value : numbering->count;
    atomic_store_explicit(&slot->key, key, memory_order_release);
    return slot->value;
}

/* Find the numbers of the answers for some records, database by database, so that loads of slots overlap. */
static void find_numbers(const struct engine *engine, struct search *searches, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) searches[i].number = searches[i].scope;
    for (uint64_t database = 0; database < numbering_count(engine); database++) {
        const struct numbering *numbering = &engine->numberings[database];
        uint64_t keys[BATCH];
        for (uint64_t i = 0; i < count; i++) {
            keys[i] = key_of(engine, searches + i, database, searches[i].number);
            __builtin_prefetch(home_slot(numbering, keys[i]));
        }
        for (uint64_t i = 0; i < count; i++) {
            struct slot *slot = slot_of(numbering, keys[i]);
            int is_found = searches[i].number && atomic_load_explicit(&slot->key, memory_order_acquire) == keys[i];
            searches[i].number = is_found ? slot->value : 0;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        __builtin_prefetch((const void *)&engine->states[searches[i].number]);
        __builtin_prefetch(answer_of(engine, searches[i].number));
    }
}

/* Return the number of the answer for these records, SINGLE without space; a new one is the next number. */
static uint32_t entered_number(struct engine *engine, const struct search *search) {
    uint64_t name = search->scope, next = engine->next_number;
    if (next >= engine->max_numbers) return SINGLE;
    for (uint64_t i = 0; i < numbering_count(engine); i++) {
        int is_last = i + 1 == numbering_count(engine);
        name = entered(&engine->numberings[i], key_of(engine, search, i, name), is_last ? next : 0);
        if (!name) return SINGLE;
    }
    if (name == next) engine->next_number++;
    return name;
}

/* Return the number of a record; a new one is stored with the position of an address. */
static uint32_t record_number(struct engine *engine, uint64_t database, uint32_t offset, uint64_t position) {
    struct records *records = engine->records + database;
    uint64_t next = records->numbering.count + 2, number = offset ? entered(&records->numbering, offset, next) : 0;
    if (offset && !number) return 1;
    if (number == next) records->by_number[number] = (struct record){.offset = offset, .position = position};
    return number;
}

/* Return the longest prefix length of the databases that an answer is from. */
static uint32_t answer_prefix(uint32_t sources, const struct search *search) {
    uint32_t longest = NO_PREFIX;
    for (uint32_t i = 0; sources; i++, sources >>= 1)
        if (sources & 1 && (longest == NO_PREFIX || search->leaves[i].prefix > longest)) longest = search->leaves[i].prefix;
    return longest;
}

/* Store the number of an answer, of at most 24 bits, and its prefix length, of 8 bits, for all addresses of a prefix. */
static void fill(struct engine *engine, uint32_t index, uint32_t widest, uint32_t number, uint32_t prefix) {
    uint32_t count = 1u << (TABLE_BITS - widest), start = index & ~(count - 1);
    for (uint32_t i = start; i < start + count; i++)
        atomic_store_explicit(&engine->table[i], number << 8 | prefix, memory_order_release);
}

/* Return the number of the answer for the records of an address, or its state. */
static uint32_t number_of(struct engine *engine, struct block *block, const struct search *search) {
    uint32_t number = search->number;
    if (!search->is_sound || search->scope == engine->embedded) return SINGLE;
    if (!number) return MISSING;
    uint32_t state = atomic_load_explicit(&engine->states[number], memory_order_acquire);
    if (state == NEW) return MISSING;
    uint32_t prefix = answer_prefix(recipe_of(engine, number)->sources, search);
    if (state == IS_SINGLE) number = SINGLE;
    block->prefixes[search->position] = prefix;
    if (search->bits == 32 && search->widest <= TABLE_BITS) fill(engine, search->index, search->widest, number, prefix);
    return number;
}

/* Find the answers to a batch of addresses, and return how many are MISSING. */
static uint64_t find_batch(struct engine *engine, struct block *block, struct search *searches, uint64_t count) {
    uint64_t left = 0, missing = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct search *search = searches + i;
        uint32_t entry = search->bits == 32 ? atomic_load_explicit(&engine->table[search->index], memory_order_acquire) : 0;
        if (entry) {
            block->numbers[search->position] = entry >> 8;
            block->prefixes[search->position] = entry;
            continue;
        }
        for (uint64_t j = 0; j < engine->database_count; j++)
            __builtin_prefetch((const void *)&engine->trees[j].nodes[search->bits == 128][search->index]);
        if (left != i) searches[left] = *search;
        left++;
    }
    find_records(engine, block, searches, left);
    find_numbers(engine, searches, left);
    for (uint64_t i = 0; i < left; i++) {
        uint32_t number = block->numbers[searches[i].position] = number_of(engine, block, searches + i);
        missing += number == MISSING;
    }
    return missing;
}

/* Parse the next addresses with one of two numbers, from `position` on. Return how many there are, 0 at the end. */
static uint64_t next_searches(const struct engine *engine, const struct block *block, uint64_t *position, uint32_t number,
                              uint32_t other, struct search *searches) {
    uint64_t count = 0, i;
    while (count < BATCH && (i = *position) < block->count) {
        struct search *search = searches + count;
        ++*position;
        if (i + BATCH < block->count) __builtin_prefetch(block->text + block->starts[i + BATCH]);
        if (block->numbers[i] != number && block->numbers[i] != other) continue;
        if (!(search->bits = parse(block, i, &search->address))) continue;
        search->position = i;
        search->index = search->address.high >> (64 - TABLE_BITS);
        __builtin_prefetch((const void *)&engine->table[search->index]);
        count++;
    }
    return count;
}

/* Find the answers to UNREAD and ADDED addresses; those that cannot be parsed here stay UNREAD. Return how many are MISSING, for
 * which `geocli_add` must be called. */
int64_t geocli_find(struct engine *engine, struct block *block) {
    struct search searches[BATCH];
    int64_t missing = 0;
    for (uint64_t position = 0, count; (count = next_searches(engine, block, &position, UNREAD, ADDED, searches));)
        missing += find_batch(engine, block, searches, count);
    return missing;
}

/* Return how many addresses have answers with a state, and their positions; UNREAD ones have NEW. */
int64_t geocli_pick(const struct engine *engine, const struct block *block, uint8_t state, uint32_t *positions) {
    int64_t count = 0;
    for (uint64_t i = 0; i < block->count; i++)
        if (atomic_load_explicit(&engine->states[block->numbers[i]], memory_order_relaxed) == state) positions[count++] = i;
    return count;
}

/* Assign numbers to missing answers, and to their records. Afterwards the addresses are ADDED, and once the new answers were
 * combined and settled, `geocli_find` finds them. */
void geocli_add(struct engine *engine, struct block *block) {
    struct search searches[BATCH];
    for (uint64_t position = 0, count; (count = next_searches(engine, block, &position, MISSING, MISSING, searches));) {
        find_records(engine, block, searches, count);
        find_numbers(engine, searches, count);
        for (struct search *search = searches; search < searches + count; search++) {
            block->numbers[search->position] = ADDED;
            if (search->number) continue; /* added by another thread */
            uint32_t next = engine->next_number, number = entered_number(engine, search);
            if (number == SINGLE) block->numbers[search->position] = SINGLE;
            if (number != next) continue;
            uint32_t *records = answer_of(engine, number) + 1;
            for (uint64_t j = 0; j < engine->database_count; j++)
                *records++ = record_number(engine, j, search->leaves[j].offset, search->position);
            *records = search->scope;
        }
    }
}

/* Store the texts of records, with COLUMN_END after each column, and return their offsets; return whether there was space for
 * all. */
int32_t geocli_store(struct engine *engine, const uint8_t *texts, uint64_t size, uint64_t count, uint32_t columns,
                     const uint32_t *links, const uint32_t *labels, uint32_t *offsets) {
    uint64_t used = engine->arena_used, at = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct text text = {links ? links[i] : 0, labels ? labels[i] : 0, columns};
        uint32_t end = 0;
        uint64_t head_bytes = sizeof text + (uint64_t)columns * sizeof end;
        if (engine->arena_bytes - used < head_bytes) return 0;
        memcpy(engine->arena + used, &text, sizeof text);
        offsets[i] = used;
        uint8_t *ends = engine->arena + used + sizeof text;
        used += head_bytes;
        for (uint32_t column = 0; column < columns; column++) {
            const uint8_t *stop = memchr(texts + at, COLUMN_END, size - at);
            uint64_t length = stop ? stop - texts - at : 0;
            if (!stop || engine->arena_bytes - used < length) return 0;
            memcpy(engine->arena + used, texts + at, length);
            used += length;
            end += length;
            memcpy(ends + column * sizeof end, &end, sizeof end);
            at += length + 1;
        }
    }
    engine->arena_used = used;
    return at == size;
}

/* Find the recipes of new answers, by their scopes and the kinds of their records, which were read. Return how many recipes are
 * new, for each with the scope, the kind of each record, and the first database with the same AS number as each: they must be
 * added before the answers are settled. */
int64_t geocli_combine(struct engine *engine, uint64_t first, uint32_t *combinations) {
    uint64_t databases = engine->database_count, added = 0;
    for (uint64_t number = first; number < engine->next_number; number++) {
        const struct record *records[MAX_DATABASES];
        uint32_t *answer = answer_of(engine, number), *kinds = combinations + added * (1 + 2 * databases) + 1;
        kinds[-1] = answer[1 + databases];
        uint64_t name = 1u << 31 | kinds[-1]; /* other keys have smaller names */
        for (uint64_t j = 0; j < databases; j++) {
            const struct record *record = records[j] = engine->records[j].by_number + answer[1 + j];
            uint32_t same = 0;
            while (same < j && (!record->asn || records[same]->asn != record->asn)) same++;
            name = name && record->kind ? entered(&engine->recipe_keys, name << 32 | record->kind << 8 | same, 0) : 0;
            kinds[j] = record->kind;
            kinds[databases + j] = same;
            answer[1 + j] = record->text;
        }
        answer[1 + databases] = 0;
        uint64_t next = engine->recipe_count, is_room = next < engine->max_recipes;
        answer[0] = name && is_room ? entered(&engine->recipe_keys, name << 32 | UINT32_MAX, next) : 0;
        if (!answer[0] || answer[0] != next) continue;
        added++;
        engine->recipe_count++;
    }
    return added;
}

static struct text text_at(const struct engine *engine, uint64_t offset) {
    struct text text;
    memcpy(&text, engine->arena + offset, sizeof text);
    return text;
}

/* Store the key of an answer: its recipe and the labels of some of its records. */
static uint64_t key_number(struct engine *engine, const uint32_t *answer) {
    uint32_t labelled = engine->recipes[answer[0]].labelled;
    uint64_t name = entered(&engine->label_keys, (uint64_t)answer[0] << 32 | UINT32_MAX, 0);
    for (uint32_t i = 0; labelled && name; i++, labelled >>= 1)
        if (labelled & 1) name = entered(&engine->label_keys, name << 32 | text_at(engine, answer[1 + i]).label, 0);
    return name;
}

/* Publish new answers, whose recipes are complete; those without a recipe are left to the scalar path. */
void geocli_settle(struct engine *engine, uint64_t first) {
    for (uint64_t number = first; number < engine->next_number; number++) {
        const uint32_t *answer = answer_of(engine, number);
        const struct recipe *recipe = engine->recipes + answer[0];
        uint8_t state = recipe->state == NEW ? IS_SINGLE : recipe->state;
        if (engine->groups && state != IS_SINGLE) {
            uint64_t link = text_at(engine, answer[1 + recipe->sharing]).link;
            uint64_t group = entered(&engine->group_keys, (uint64_t)answer[0] << 32 | link, 0);
            engine->groups[number] = group - 1;
            if (!group) state = IS_SINGLE;
        }
        if (engine->keys && state != IS_SINGLE && !(engine->keys[number] = key_number(engine, answer))) state = IS_SINGLE;
        atomic_store_explicit(&engine->states[number], state, memory_order_release);
    }
}

/* Values of fields that differ between batches. */
struct style {
    const uint8_t *time, *no_network; /* texts */
    uint64_t time_bytes, no_network_bytes;
    uint32_t is_network_quoted, is_label;
};

static uint64_t put_decimal(uint8_t *to, uint32_t value) {
    uint64_t digits = value > 99 ? 3 : value > 9 ? 2 : 1;
    for (uint64_t i = digits; i--; value /= 10) to[i] = '0' + value % 10;
    return digits;
}

/* Write an address of 32 or 128 bits to 40 bytes, and return its length. */
static uint64_t put_address(struct address address, uint32_t bits, uint8_t *to) {
    uint8_t *begin = to;
    if (bits == 128) return format_ipv6(address, to);
    for (int shift = 56; shift >= 32; shift -= 8) {
        to += put_decimal(to, address.high >> shift & 255);
        *to++ = '.';
    }
    return to - begin - 1;
}

/* Write the network of an address to 48 bytes, and return its length. */
static uint64_t put_network(struct address address, uint32_t bits, uint32_t prefix, uint8_t *to) {
    const struct address host_bits = last_of((struct address){0, 0}, prefix);
    address.high &= ~host_bits.high;
    address.low &= ~host_bits.low;
    uint64_t size = put_address(address, bits, to);
    to[size++] = '/';
    return size + put_decimal(to + size, prefix < bits ? prefix : bits);
}

static void put_field(struct writer *writer, const struct block *block, uint64_t i, uint32_t kind, const struct style *style) {
    uint8_t network[56];
    uint64_t size = 0;
    struct address address;
    uint32_t bits;
    if (kind == ADDRESS) {
        put(writer, block->text + block->starts[i], block->stops[i] - block->starts[i]);
    } else if (kind == TIME) {
        put(writer, style->time, style->time_bytes);
    } else if (block->prefixes[i] == NO_PREFIX || !(bits = parse(block, i, &address))) {
        put(writer, style->no_network, style->no_network_bytes);
    } else {
        if (style->is_network_quoted) network[size++] = '"';
        size += put_network(address, bits, block->prefixes[i], network + size);
        if (style->is_network_quoted) network[size++] = '"';
        put(writer, network, size);
    }
}

/* Write columns of a record, or of the text that it refers to. */
static void put_fragments(struct writer *writer, const struct engine *engine, uint32_t offset, const struct piece *piece) {
    if (piece->kind == LINKED) offset = text_at(engine, offset).link;
    uint32_t columns = text_at(engine, offset).columns;
    const uint8_t *ends = engine->arena + offset + sizeof(struct text);
    uint32_t begin = 0, end;
    if (piece->last >= columns || piece->first > piece->last) return;
    if (piece->first) memcpy(&begin, ends + (piece->first - 1) * sizeof begin, sizeof begin);
    memcpy(&end, ends + piece->last * sizeof end, sizeof end);
    begin += piece->skipped;
    if (begin < end) put(writer, ends + columns * sizeof end + begin, end - begin);
}

/* Write the text of an answer; only lines have fields, which are those of an address in a block. */
static void put_pieces(struct writer *writer, const struct engine *engine, uint32_t number, uint32_t offset,
                       const struct block *block, uint64_t i, const struct style *style) {
    const uint32_t *answer = answer_of(engine, number);
    const uint8_t *at = engine->arena + offset;
    for (;;) {
        struct piece piece;
        memcpy(&piece, at, sizeof piece);
        at += sizeof piece;
        put(writer, at, piece.text_bytes);
        at += piece.text_bytes;
        if (piece.kind == TEXT_END) return;
        if (piece.kind < FRAGMENT) put_field(writer, block, i, piece.kind, style);
        else put_fragments(writer, engine, answer[1 + piece.record], &piece);
    }
}

/* The position in the output of a block. */
struct progress {
    uint64_t position, single; /* the next address, and the next line of the scalar path */
    uint64_t labelled;         /* end of a label in the input that an earlier run inserted */
};

static int is_blank(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '"' || byte == '\''; }

/* Return whether an address is between commas, or a comma and the end of its line, ignoring blanks and quotes. */
static int is_between_commas(const struct block *block, uint64_t i) {
    const uint8_t *text = block->text, *end = text + block->text_bytes;
    const uint8_t *before = text + block->written_starts[i], *after = text + block->written_stops[i];
    for (int n = 0; n < MAX_BLANKS && before > text && is_blank(before[-1]); n++) before--;
    for (int n = 0; n < MAX_BLANKS && after < end && is_blank(*after); n++) after++;
    int is_comma_before = before > text && before[-1] == ',', is_comma_after = after < end && *after == ',';
    int is_start = before == text || before[-1] == '\n';
    if (after + 1 < end && *after == '\r') after++;
    int is_end = after == end || *after == '\n';
    return (is_comma_before && (is_comma_after || is_end)) || (is_comma_after && is_start);
}

/* Replace commas in a label by blanks, without two blanks in a row; return its length. */
static uint64_t without_commas(uint8_t *label, uint64_t size) {
    uint64_t length = 0;
    for (uint64_t i = 0; i < size; i++) {
        if (label[i] != ',') label[length++] = label[i];
        else if (i + 1 == size || label[i + 1] != ' ') label[length++] = ' ';
    }
    return length;
}

static int stands_there(const struct block *block, uint64_t at, const uint8_t *label, uint64_t size) {
    return size <= block->text_bytes - at && !memcmp(block->text + at, label, size);
}

/* Adapt a label to its place: without commas between commas, and empty if the text has it already. Return its length. */
static uint64_t fitted(const struct block *block, uint64_t i, struct progress *progress, uint8_t *label, uint64_t size) {
    uint64_t stop = block->written_stops[i];
    if (block->written_starts[i] < progress->labelled) return 0;
    if (is_between_commas(block, i)) size = without_commas(label, size);
    if (!size || !stands_there(block, stop, (const uint8_t *)" [", 2)) return size;
    if (!stands_there(block, stop, label, size)) {
        uint8_t other[256];
        if (size > sizeof other) return size;
        memcpy(other, label, size);
        uint64_t shorter = without_commas(other, size);
        if (!stands_there(block, stop, other, shorter)) return size;
        size = shorter;
    }
    progress->labelled = stop + size;
    return 0;
}

/* Write the copied text and the line of each address, as many as fit into `room`; return the number of bytes. Lines of the scalar
 * path are in `singles`, and end at `single_ends`; UNREAD addresses have none. */
int64_t geocli_assemble(const struct engine *engine, const struct block *block, const struct style *style,
                        const uint8_t *singles, const uint64_t *single_ends, struct progress *progress, uint8_t *out,
                        uint64_t room) {
    struct writer writer = {out, 0, room};
    for (; progress->position < block->count; progress->position++) {
        uint64_t i = progress->position, used = writer.used, line;
        if (i + AHEAD < block->count) __builtin_prefetch(engine->arena + answer_of(engine, block->numbers[i + AHEAD])[1]);
        if (block->copy_starts) {
            uint64_t start = block->copy_starts[i], stop = block->copy_ends[i];
            if (block->skip_starts) {
                put(&writer, block->text + start, block->skip_starts[i] - start);
                start = block->skip_ends[i];
            }
            put(&writer, block->text + start, stop - start);
            for (uint64_t cells = block->padding ? block->padding[i] : 0; cells; cells--) put(&writer, &block->delimiter, 1);
        }
        line = writer.used;
        int is_single = block->numbers[i] < FIRST_NUMBER && block->numbers[i] != UNREAD;
        if (is_single) {
            uint64_t begin = progress->single ? single_ends[progress->single - 1] : 0;
            put(&writer, singles + begin, single_ends[progress->single] - begin);
        } else if (block->numbers[i] >= FIRST_NUMBER) {
            put_pieces(&writer, engine, block->numbers[i], recipe_of(engine, block->numbers[i])->line, block, i, style);
        }
        if (writer.used > room) return used;
        progress->single += is_single;
        if (style->is_label) writer.used = line + fitted(block, i, progress, out + line, writer.used - line);
    }
    return writer.used;
}

/* Count numbers of answers, each `step` words after the one before; states are left out. */
void geocli_count(const uint32_t *numbers, uint64_t count, uint64_t step, uint64_t *counts) {
    for (uint64_t i = 0; i < count; i++)
        if (numbers[i * step] >= FIRST_NUMBER) counts[numbers[i * step]]++;
}

/* Selecting rows: what geocli/batch/row_selection.py defines. */

static uint32_t line_end(const struct block *block, uint32_t start, uint32_t stop) {
    const uint8_t *newline = memchr(block->text + start, '\n', stop - start);
    return newline ? (uint32_t)(newline - block->text) + 1 : start;
}

static uint32_t last_line(const struct block *block, uint32_t start, uint32_t stop) {
    while (stop > start && block->text[stop - 1] != '\n') stop--;
    return stop > start ? stop : NO_ROW;
}

/* Drop the addresses of a row, with their answers and the text of the row. */
static void drop_row(struct block *block, uint64_t first, uint64_t end) {
    for (uint64_t i = first; i < end; i++) {
        block->numbers[i] = UNREAD;
        if (block->copy_starts) block->skip_ends[i] = block->copy_ends[i];
        if (block->padding) block->padding[i] = 0;
    }
}

/* Drop the rows of a block in which no address is selected, and text between rows but for what ends each of them. Answers are
 * selected by number, and addresses that are looked up by themselves by position. Return whether the row before the tail is left. */
int32_t geocli_select(struct block *block, const uint8_t *numbers, const uint8_t *positions) {
    uint64_t row = 0;
    int is_kept = 0;
    for (uint64_t i = 0; i < block->count; i++) {
        uint32_t number = block->numbers[i], start = 0, begin = 0;
        if (block->copy_starts) {
            start = block->copy_starts[i];
            begin = block->row_starts ? block->row_starts[i] : last_line(block, start, block->copy_ends[i]);
            block->skip_starts[i] = block->skip_ends[i] = start;
        }
        if (begin != NO_ROW) {
            if (!is_kept) drop_row(block, row, i);
            if (block->copy_starts) {
                if (is_kept) block->skip_starts[i] = line_end(block, start, begin);
                block->skip_ends[i] = begin;
            }
            row = i;
            is_kept = 0;
        }
        is_kept |= number < FIRST_NUMBER ? positions[i] : numbers[number];
    }
    if (!is_kept) drop_row(block, row, block->count);
    return is_kept;
}

/* Addresses in text, as defined by geocli/batch/address_scanner.py. */

/* Properties of bytes, and decisions, as in geocli/batch/ipv4_boundaries.py. */
enum { DIGIT = 1, HEX = 2, WORD = 4, LETTER = 8, BETWEEN = 16, BEFORE_SMALL = 32, NEXT_TO_RUN = 64, IN_RUN = 128 };
enum { ACCEPT, REJECT, UNDECIDED };
/* Doubts, which Python decides: a candidate for an IPv4 address, a run of hexadecimal groups, a dot or colon that may be defanged
 * or encoded, and whether an address and a prefix length are a network. */
enum { CANDIDATE, RUN, DEFANGED, PREFIX };
/* Kinds of cached decisions: whether a candidate is a product version, by the bytes near it; what it is, by its window. */
enum { NEAR, WINDOW };
enum { UNKNOWN, REJECTED, OPEN, ACCEPTED }; /* ACCEPTED + n: after n digits of an escape */
enum { WAYS = 4, KEY_BYTES = 179, BLOCK_BYTES = 64 };

struct doubt {
    uint32_t position, kind;
};

struct remembered {
    uint64_t hash;
    uint32_t sizes; /* sizes of the context before, the candidate, the context after; and the kind */
    uint8_t key[KEY_BYTES], answer;
};

struct scanner {
    const uint8_t *before, *after; /* 65,536 decisions each, by the two bytes next to a candidate */
    const uint8_t *endings;        /* 32,768 flags, by the last three letters of the preceding word */
    const uint8_t *firsts;         /* 256 flags, by the first number */
    const uint8_t *properties;     /* 256 sets of properties of bytes */
    struct remembered *memory;     /* a hash table with sets of WAYS slots */
    uint64_t secret[3], set_mask;
    uint32_t max_between, near_bytes, quote_bytes, before_bytes, after_bytes, max_run_bytes;
};

/* A text to search, treated as if it began and ended with an empty line. */
struct scan {
    const struct scanner *scanner;
    struct block *block;
    struct doubt *doubts;
    uint64_t doubt_count;
    const uint8_t *text;
    int64_t size;
    int64_t region_end, run_end; /* ends of the last string of bytes of runs, and of the last run */
};

static inline uint8_t byte_at(const struct scan *scan, int64_t at) {
    return (uint64_t)at < (uint64_t)scan->size ? scan->text[at] : '\n';
}

static inline uint32_t pair_at(const struct scan *scan, int64_t at) {
    return (uint32_t)byte_at(scan, at) << 8 | byte_at(scan, at + 1);
}

static inline int is_in(const struct scan *scan, int64_t at, int properties) {
    return scan->scanner->properties[byte_at(scan, at)] & properties;
}

static int add_span(struct scan *scan, int64_t start, int64_t end) {
    struct block *block = scan->block;
    if (block->count == block->room) return 0;
    block->starts[block->count] = start;
    block->ends[block->count++] = end;
    return 1;
}

static int add_doubt(struct scan *scan, int64_t start, int64_t end, uint32_t kind) {
    if (!add_span(scan, start, end)) return 0;
    scan->doubts[scan->doubt_count++] = (struct doubt){scan->block->count - 1, kind};
    return 1;
}

/* Drop the spans that begin at or after an offset. */
static void drop_from(struct scan *scan, int64_t start) {
    struct block *block = scan->block;
    while (block->count && block->starts[block->count - 1] >= start) block->count--;
    while (scan->doubt_count && scan->doubts[scan->doubt_count - 1].position >= block->count) scan->doubt_count--;
}

/* The bytes that determine what a candidate is. */
struct question {
    int64_t first, last;
    uint64_t hash;
    uint32_t sizes; /* as in `remembered` */
};

static struct question question_of(const struct scan *scan, int64_t first, int64_t start, int64_t end, int64_t last,
                                   uint32_t kind) {
    uint64_t hash = hashed_bytes(scan->scanner->secret, scan->text + first, last - first, kind);
    return (struct question){first, last, hash, (start - first) | (end - start) << 8 | (last - end) << 16 | kind << 24};
}

/* Return the question by some bytes before a candidate, which must exist. */
static struct question near_question(const struct scan *scan, int64_t start, int64_t end) {
    return question_of(scan, start - scan->scanner->near_bytes, start, end, end + (end < scan->size), NEAR);
}

/* Return what `window` of geocli/batch/ipv4_context.py returns. */
static struct question window_question(const struct scan *scan, int64_t start, int64_t end) {
    const struct scanner *scanner = scan->scanner;
    int64_t least = start > scanner->before_bytes ? start - scanner->before_bytes : 0, first = start, last = end;
    int64_t most = scan->size - end > scanner->after_bytes ? end + scanner->after_bytes : scan->size;
    for (; first > least && scan->text[first - 1] != '\n'; first--)
        if (scan->text[first] == '"' && start - first > scanner->quote_bytes) break;
    while (last < most && scan->text[last] != '\n' && scan->text[last] != '"') last++;
    return question_of(scan, first, start, end, last, WINDOW);
}

static struct remembered *set_of(const struct scanner *scanner, const struct question *question) {
    return scanner->memory + (question->hash >> 32 & scanner->set_mask) * WAYS;
}

static int recall(const struct scan *scan, struct question question) {
    const struct remembered *slot = set_of(scan->scanner, &question);
    uint64_t size = question.last - question.first;
    for (int way = 0; way < WAYS && size <= KEY_BYTES; way++, slot++)
        if (slot->hash == question.hash && slot->sizes == question.sizes && !memcmp(slot->key, scan->text + question.first, size))
            return slot->answer;
    return UNKNOWN;
}

/* Cache a decision about a candidate. */
void geocli_remember(const struct scanner *scanner, const struct block *block, uint32_t start, uint32_t end, uint32_t kind,
                     uint8_t answer) {
    struct scan scan = {.scanner = scanner, .text = block->text, .size = block->text_bytes};
    if (kind == NEAR && start < scanner->near_bytes) return;
    struct question question = kind == NEAR ? near_question(&scan, start, end) : window_question(&scan, start, end);
    struct remembered *set = set_of(scanner, &question);
    if (question.last - question.first > KEY_BYTES) return;
    memmove(set + 1, set, (WAYS - 1) * sizeof *set); /* replaces the oldest one */
    *set = (struct remembered){.hash = question.hash, .sizes = question.sizes, .answer = answer};
    memcpy(set->key, scan.text + question.first, question.last - question.first);
}

static int remembered_answer(const struct scan *scan, int64_t start, int64_t end) {
    if (byte_at(scan, start - 1) == '/' && start >= scan->scanner->near_bytes) {
        int answer = recall(scan, near_question(scan, start, end));
        if (answer != OPEN) return answer;
    }
    return recall(scan, window_question(scan, start, end));
}

/* Return whether the word before an offset ends like one that leaves the candidate undecided. */
static int follows_word(const struct scan *scan, int64_t start) {
    int64_t at = start - 1;
    for (uint32_t step = 0; step < scan->scanner->max_between && is_in(scan, at, BETWEEN); step++) at--;
    if (!is_in(scan, at, LETTER)) return 0;
    uint32_t third = byte_at(scan, at - 2) & 31, second = byte_at(scan, at - 1) & 31, last = byte_at(scan, at) & 31;
    return scan->scanner->endings[third << 10 | second << 5 | last];
}

/* Return whether groups of an IPv6 address may precede a hexadecimal digit and a colon. */
static int follows_groups(const struct scan *scan, int64_t start) {
    int64_t size = 1;
    while (size < 5 && is_in(scan, start - 2 - size, HEX)) size++;
    return size < 5 && byte_at(scan, start - 2 - size) == ':' && is_in(scan, start - 3 - size, HEX);
}

static int is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r' && byte != '\n'); }

static int is_separator(uint8_t byte) { return is_space(byte) || byte == '+' || byte == ';' || byte == ','; }

static int is_quote(uint8_t byte) { return byte == '"' || byte == '\'' || byte == '\\'; }

static int is_of_name(const struct scan *scan, int64_t at) {
    return is_in(scan, at, WORD) || byte_at(scan, at) == '.' || byte_at(scan, at) == '-';
}

enum { MAX_NAME_BYTES = 48 };

/* Return whether an address after a slash may be the version of a product, by the criteria of `is_version` in order: the name,
 * zeros, a header, and neighbouring products. */
static int may_be_of_product(const struct scan *scan, int64_t start, int64_t end, const uint32_t *octets, int is_version_like) {
    int64_t name_end = start - 1 - (byte_at(scan, start - 2) == '\\'), name = name_end, at;
    int is_lower = 1;
    for (; is_of_name(scan, name - 1); name--) {
        if (name_end - name == MAX_NAME_BYTES) return 1;
        is_lower &= !(byte_at(scan, name - 1) >= 'A' && byte_at(scan, name - 1) <= 'Z');
    }
    uint8_t last = byte_at(scan, name - 1);
    if (name == name_end || !is_in(scan, name, LETTER)) return 0;
    if (last == '/' || last == '\\' || last == ':' || last == '@') return 0;
    if (!octets[2] && (!octets[1] || !octets[3])) return 1;
    for (at = name - 1; is_space(byte_at(scan, at)) || is_quote(byte_at(scan, at)); at--) {}
    if (byte_at(scan, at) == ':' || byte_at(scan, at) == '=') return 1;
    if (octets[0] > 63 || is_lower) return is_version_like;
    if (is_version_like && (last == '"' || last == '\'')) return 1;
    for (at = name - 1; is_separator(byte_at(scan, at)); at--) {}
    if (byte_at(scan, at) == ')' || (at < name - 1 && is_in(scan, at, DIGIT))) return 1;
    for (at = end; is_separator(byte_at(scan, at)); at++) {}
    if (byte_at(scan, at) == '(') return 1;
    while (is_of_name(scan, at)) at++;
    at += byte_at(scan, at) == '\\';
    return byte_at(scan, at) == '/' && is_in(scan, at + 1, DIGIT);
}

enum { BEFORE_DOT = 16, AROUND_DOT = 32 }; /* bytes before the third dot of a candidate, and including those after it */

/* Examine the candidate around a third dot. Return whether there was space. */
static int take_candidate(struct scan *scan, int64_t third_dot) {
    const struct scanner *scanner = scan->scanner;
    const uint8_t *bytes = scan->text + third_dot - BEFORE_DOT;
    uint8_t copy[AROUND_DOT];
    if (third_dot < BEFORE_DOT || scan->size - third_dot < AROUND_DOT - BEFORE_DOT) {
        for (int i = 0; i < AROUND_DOT; i++) copy[i] = byte_at(scan, third_dot - BEFORE_DOT + i);
        bytes = copy;
    }
    vector left, right;
    memcpy(&left, bytes, sizeof left);
    memcpy(&right, bytes + BEFORE_DOT, sizeof right);
    uint32_t dots = bits_of((vector)(left == all('.'))), others = ~digits_of(left) & 0xffff;
    uint32_t behind = (~digits_of(right) & 0xffff) >> 1;
    if (!(dots & (dots - 1)) || !behind) return 1;
    uint32_t second = 31 - __builtin_clz(dots), first = 31 - __builtin_clz(dots ^ 1u << second);
    uint32_t before_first = others & ((1u << first) - 1), first_begin = before_first ? 32 - __builtin_clz(before_first) : 0;
    uint32_t begin = first > first_begin + 3 ? first - 3 : first_begin, last = __builtin_ctz(behind);
    uint32_t sizes[] = {first - begin, second - first - 1, BEFORE_DOT - 1 - second};
    if (others >> (first + 1) != 1u << (second - first - 1)) return 1; /* only digits between the dots */
    if (sizes[0] - 1 > 2 || sizes[1] - 1 > 2 || sizes[2] - 1 > 2 || last - 1 > 2) return 1;
    uint32_t end = BEFORE_DOT + 1 + last;
    uint32_t octets[] = {octet(bytes + begin, sizes[0]), octet(bytes + first + 1, sizes[1]), octet(bytes + second + 1, sizes[2]),
                         octet(bytes + BEFORE_DOT + 1, last)};
    int before = scanner->before[bytes[begin - 2] << 8 | bytes[begin - 1]];
    int after = scanner->after[bytes[end] << 8 | bytes[end + 1]];
    int64_t start = third_dot - BEFORE_DOT + begin, stop = third_dot - BEFORE_DOT + end;
    if ((octets[1] | octets[2] | octets[3]) > 255 || before == REJECT || after == REJECT || start < scan->run_end) return 1;
    int long_count = (sizes[1] > 2) + (sizes[2] > 2) + (last > 2), is_ten = octets[0] == 10;
    int is_version_like = sizes[0] < 3 && octets[0] < 64 && !is_ten && long_count < 2;
    if (before == UNDECIDED && bytes[begin - 1] == ':' && !follows_groups(scan, start)) before = ACCEPT;
    if (before == UNDECIDED && bytes[begin - 1] == '/' && !may_be_of_product(scan, start, stop, octets, is_version_like)) before = ACCEPT;
    if (before == ACCEPT && octets[0] > 255) return 1;
    int may_be_version = sizes[0] < 3 && !is_ten && !long_count && scanner->properties[bytes[begin - 1]] & BEFORE_SMALL;
    if (before == ACCEPT && after == ACCEPT && !scanner->firsts[octets[0]] && !may_be_version && !follows_word(scan, start))
        return add_span(scan, start, stop);
    int answer = remembered_answer(scan, start, stop);
    if (answer == REJECTED) return 1;
    return answer < ACCEPTED ? add_doubt(scan, start, stop, CANDIDATE) : add_span(scan, start + answer - ACCEPTED, stop);
}

/* Return whether six colons with up to four hexadecimal digits between them end at an offset. */
static int are_six_colons(const struct scan *scan, int64_t at) {
    for (int gap = 0; gap < 5; gap++) {
        int64_t size = 0;
        while (size < 4 && is_in(scan, at - size - 1, HEX)) size++;
        if (!size || byte_at(scan, at - size - 1) != ':') return 0;
        at -= size + 1;
    }
    return 1;
}

/* Return what `is_run` of geocli/batch/ipv6_context.py returns. */
static int is_run(const struct scan *scan, int64_t start, int64_t end) {
    const uint8_t *text = scan->text;
    int has_anchor = 0;
    if (end - start > scan->scanner->max_run_bytes) return 0;
    for (int64_t at = start + 1; at < end && !has_anchor; at++)
        has_anchor = text[at] == ':' && (text[at - 1] == ':' || (at - start >= 10 && are_six_colons(scan, at)));
    if (!has_anchor) return 0;
    int has_end = text[end - 1] == ':' && text[end - 2] == ':';
    uint32_t host;
    return !has_end || !parse_ipv4(text + start, text + end - 2, text + scan->size, &host); /* the host of an rsync module */
}

/* Decide whether a run is an address as a whole, or has none, if this does not depend on more of the line. */
static int judge_run(const struct scan *scan, int64_t start, int64_t end) {
    const uint8_t *text = scan->text;
    int groups = 0, pairs = 0, doubles = 0, has_decimal = 0;
    if (is_in(scan, end, WORD) || byte_at(scan, end) == '%' || !is_in(scan, start - 1, NEXT_TO_RUN)) return UNDECIDED;
    for (int64_t at = start; at < end;) {
        int digits = 0, colons = 0;
        for (; at < end && text[at] != ':'; at++, digits++) {
            if (text[at] == '.') return UNDECIDED;
            has_decimal |= is_digit(text[at]);
        }
        for (; at < end && text[at] == ':'; at++) colons++;
        groups += digits > 0;
        pairs += digits == 2;
        doubles += colons == 2;
        if (digits > 4 || colons > 2 || (colons == 1 && (!groups || at == end))) return UNDECIDED;
    }
    if (!doubles && (groups > 9 || (groups == 8 && pairs == 8))) return REJECT; /* longer than an address; EUI-64 */
    if (doubles ? doubles > 1 || groups > 7 : groups != 8) return UNDECIDED;
    return has_decimal && !follows_word(scan, start) ? ACCEPT : UNDECIDED;
}

/* Examine the string of bytes of runs around an anchor. Return whether there was space. */
static int take_run(struct scan *scan, int64_t anchor) {
    const uint8_t *text = scan->text;
    int64_t start = anchor, end = anchor;
    if (anchor < scan->region_end) return 1;
    while (start > scan->region_end && is_in(scan, start - 1, IN_RUN)) {
        if (text[start - 1] == '.' && text[start] == '.') {
            start++;
            break;
        }
        start--;
    }
    while (is_in(scan, end, IN_RUN) && !(text[end] == '.' && byte_at(scan, end + 1) == '.')) end++;
    scan->region_end = end;
    if (!is_run(scan, start, end)) return 1;
    scan->run_end = end;
    drop_from(scan, start); /* a run has no separate IPv4 addresses */
    int decision = judge_run(scan, start, end);
    if (decision == UNDECIDED) return add_doubt(scan, start, end, RUN);
    return decision == REJECT || add_span(scan, start, end);
}

/* Examine the byte before an offset, which may be part of a defanged or encoded dot or colon. Return whether there was space. */
static int take_spelled(struct scan *scan, int64_t at) {
    if (byte_at(scan, at - 1) == '%') {
        if ((byte_at(scan, at + 1) | 32) != 'a' || !(is_in(scan, at + 2, HEX) || byte_at(scan, at + 2) == '%')) return 1;
    }
    if (!is_in(scan, at - 2, HEX) && byte_at(scan, at - 2) != ':') return 1;
    return add_doubt(scan, at - 1, at - 1, DEFANGED);
}

struct marks {
    uint64_t dots, colons, spelled;
};

/* Find dots and colons in a vector, and where they may be defanged or encoded; a byte precedes it. */
static inline void mark(struct marks *marks, const uint8_t *bytes, int at) {
    vector last, next;
    memcpy(&last, bytes + at, sizeof last);
    memcpy(&next, bytes + at + 1, sizeof next);
    vector dot = (vector)(next == all('.')), colon = (vector)(next == all(':'));
    vector letter = (vector)((next | all(' ')) == all('d')), three = (vector)(next == all('3'));
    vector bracket = (vector)(last == all('[')), percent = (vector)(last == all('%'));
    vector other = (vector)(last == all('(')) | (vector)(last == all('{'));
    marks->dots |= bits_of(dot) << at;
    marks->colons |= bits_of(colon) << at;
    marks->spelled |= bits_of((bracket & (dot | colon | letter)) | (other & dot) | (percent & three)) << at;
}

/* Return the bits of a block moved by some bytes, with those of the previous block. */
static inline uint64_t behind(uint64_t bits, uint64_t earlier, int bytes) {
    return bits << bytes | earlier >> (BLOCK_BYTES - bytes);
}

static inline uint64_t near_dots(uint64_t bits, uint64_t earlier) {
    return behind(bits, earlier, 2) | behind(bits, earlier, 3) | behind(bits, earlier, 4);
}

enum { COLONS_BYTES = 15 }; /* maximum distance from the first of four neighbouring colons to the last */

static inline uint64_t near_colons(uint64_t bits, uint64_t earlier) { return near_dots(bits, earlier) | behind(bits, earlier, 5); }

/* Find candidates in the text of a block. Return how many are doubtful, -1 if there is not enough space. Python drops a span by
 * making it empty. */
int64_t geocli_scan(const struct scanner *scanner, struct block *block, struct doubt *doubts) {
    struct scan scan = {.scanner = scanner, .block = block, .doubts = doubts, .text = block->text, .size = block->text_bytes};
    struct marks earlier = {0, 0, 0};
    uint64_t second = 0, near = 0, nearer = 0; /* of the previous block */
    block->count = 0;
    for (int64_t base = 0; base < scan.size; base += BLOCK_BYTES) {
        uint8_t padded[BLOCK_BYTES + 1];
        const uint8_t *bytes = padded;
        int64_t there = scan.size - base < BLOCK_BYTES ? scan.size - base : BLOCK_BYTES;
        if (base && there == BLOCK_BYTES) {
            bytes = scan.text + base - 1;
        } else {
            memset(padded, '\n', sizeof padded);
            padded[0] = byte_at(&scan, base - 1);
            memcpy(padded + 1, scan.text + base, there);
        }
        struct marks marks = {0, 0, 0};
        mark(&marks, bytes, 0);
        mark(&marks, bytes, 16);
        mark(&marks, bytes, 32);
        mark(&marks, bytes, 48);
        uint64_t twos = marks.dots & near_dots(marks.dots, earlier.dots), threes = marks.dots & near_dots(twos, second);
        uint64_t colons = marks.colons, doubles = 0, close = 0, closer = 0, closest = 0;
        if (colons && (colons & (colons - 1) || earlier.colons >> (BLOCK_BYTES - COLONS_BYTES))) {
            doubles = colons & behind(colons, earlier.colons, 1);
            close = colons & near_colons(colons, earlier.colons);
            closer = colons & near_colons(close, near);
            closest = colons & near_colons(closer, nearer);
        }
        earlier = marks, second = twos, near = close, nearer = closer;
        for (uint64_t left = threes | doubles | closest | marks.spelled; left; left &= left - 1) {
            uint64_t bit = left & -left;
            int64_t at = base + __builtin_ctzll(left);
            int is_anchor = doubles & bit || (closest & bit && are_six_colons(&scan, at));
            if (threes & bit && !take_candidate(&scan, at)) return -1;
            if (is_anchor && !take_run(&scan, at)) return -1;
            if (marks.spelled & bit && !take_spelled(&scan, at)) return -1;
        }
    }
    return scan.doubt_count;
}

/* Drop the spans of a block that are empty or begin within the previous one, and find the prefix lengths of networks, unless an
 * address begins within them. Return how many prefix lengths are left to Python. */
int64_t geocli_trim(const struct scanner *scanner, struct block *block, struct doubt *doubts) {
    struct scan scan = {.scanner = scanner, .text = block->text, .size = block->text_bytes};
    uint64_t spans = 0, count = 0;
    for (uint64_t i = 0; i < block->count; i++) {
        uint64_t end = block->ends[i];
        if (end == block->starts[i] || (spans && block->starts[i] < block->ends[spans - 1])) continue;
        if (spans && block->starts[i] < block->stops[spans - 1]) block->stops[spans - 1] = block->ends[spans - 1];
        block->starts[spans] = block->starts[i];
        block->ends[spans] = block->stops[spans] = end;
        if (byte_at(&scan, end) == '/' && is_in(&scan, end + 1, DIGIT)) {
            uint64_t stop = end + 1;
            uint32_t length = 0, ipv4;
            while (stop < end + 4 && is_in(&scan, stop, DIGIT)) length = length * 10 + scan.text[stop++] - '0';
            int is_number = stop == end + 2 || scan.text[end + 1] != '0';
            int runs_on = is_in(&scan, stop, WORD) || (byte_at(&scan, stop) == '.' && is_in(&scan, stop + 1, WORD));
            int is_ipv4 = parse_ipv4(scan.text + block->starts[spans], scan.text + end, scan.text + scan.size, &ipv4);
            if (!is_ipv4 && is_number && !runs_on) doubts[count++] = (struct doubt){spans, PREFIX};
            if (is_ipv4 && is_number && !runs_on && length <= 32 && !((uint64_t)ipv4 << length & 0xffffffff))
                block->stops[spans] = stop;
        }
        spans++;
    }
    block->count = spans;
    return count;
}

/* Answers for the journal. */


struct row {
    const uint8_t *address;
    uint32_t number;
    uint8_t address_bytes, prefix;
};

/* Append rows for the addresses of a block that were not seen before; return the number of rows. When the table of these, whose
 * slots have two words of an address, is full, it is emptied, so that some may be appended twice. */
int64_t geocli_collect(struct numbering *seen, const struct block *block, struct row *rows, uint64_t count) {
    for (uint64_t i = 0; i < block->count; i++) {
        struct address address;
        uint32_t bits = block->numbers[i] < FIRST_NUMBER ? 0 : parse(block, i, &address);
        if (!bits) continue;
        /* Addresses that begin with 64 zeros have few other bits, which leaves values for IPv4; `::` is not both 0. */
        uint64_t high = bits == 128 ? address.high : 0, low = bits == 128 ? address.low : 1ull << 32 | address.high >> 32;
        if (bits == 128 && !high) low |= 2ull << 32;
        if (seen->count >= seen->capacity) {
            memset(seen->slots, 0, (seen->mask + 1) * sizeof *seen->slots);
            seen->count = 0;
        }
        struct slot *slot = home_slot(seen, high ^ hashed(seen->secret, low));
        while ((slot->key || slot->value) && (slot->key != high || slot->value != low)) slot = next_slot(seen, slot);
        if (slot->key || slot->value) continue;
        atomic_store_explicit(&slot->key, high, memory_order_relaxed);
        slot->value = low;
        seen->count++;
        rows[count++] = (struct row){block->text + block->starts[i], block->numbers[i],
                                     block->ends[i] - block->starts[i], block->prefixes[i]};
    }
    return count;
}

/* Stable counting sort of rows by one property; `starts` has space for all its values. */
static void sort_by(const struct engine *engine, int property, const struct row *from, struct row *to, uint64_t count,
                    uint32_t *starts, uint64_t values) {
    memset(starts, 0, values * sizeof *starts);
    for (int is_moving = 0; is_moving < 2; is_moving++) {
        for (uint64_t i = 0; i < count; i++) {
            uint32_t number = from[i].number;
            uint32_t value = property == 0 ? from[i].prefix : property == 1 ? number : engine->groups[number];
            if (is_moving) to[starts[value]++] = from[i];
            else starts[value]++;
        }
        for (uint64_t value = 0, sum = 0; !is_moving && value < values; value++) {
            uint32_t size = starts[value];
            starts[value] = sum;
            sum += size;
        }
    }
}

/* Sort rows by group, number and prefix length. The result is in `other`; both arrays are changed. All numbers and groups are below
 * `numbers` and `groups`; `starts` has space for as many counts, at least 256. */
void geocli_sort(const struct engine *engine, struct row *rows, struct row *other, uint64_t count, uint32_t *starts,
                 uint64_t numbers, uint64_t groups) {
    sort_by(engine, 0, rows, other, count, starts, 256);
    sort_by(engine, 1, other, rows, count, starts, numbers);
    sort_by(engine, 2, rows, other, count, starts, groups);
}

/* Write the place of an answer after that of another one, which it shares members with if they are of one group. */
static void put_members(struct writer *places, const struct engine *engine, uint32_t number, const struct row *last) {
    const struct recipe *recipe = recipe_of(engine, number);
    if (last && engine->groups[last->number] == engine->groups[number]) {
        put(places, ",", 1);
    } else {
        if (last) put(places, "]},", 3);
        put_pieces(places, engine, number, recipe->group, NULL, 0, NULL);
        put(places, "\"places\":[", 10);
    }
    put_pieces(places, engine, number, recipe->place, NULL, 0, NULL);
}

/* Write the addresses, and the places and rows, of the next frame of sorted rows (geocli/storage/frames.py), of at most `max_bytes`
 * but for the first row. Return the number of rows. The texts are complete only if they fit into their room. */
int64_t geocli_payload(const struct engine *engine, const struct row *rows, uint64_t count, uint64_t max_bytes,
                       struct writer *addresses, struct writer *places) {
    uint64_t packed = 0, place = 0, row_bytes = 0;
    for (; packed < count; packed++) {
        const struct row *row = rows + packed, *last = packed ? row - 1 : NULL;
        uint64_t address_bytes = addresses->used, place_bytes = places->used;
        int is_place = !last || row->number != last->number;
        if (last) put(addresses, " ", 1);
        put(addresses, row->address, row->address_bytes);
        if (is_place) put_members(places, engine, row->number, last);
        if (is_place || row->prefix != last->prefix) row_bytes += sizeof "[123456,123456,null]," - 1;
        if (last && addresses->used + places->used + row_bytes > max_bytes) {
            addresses->used = address_bytes;
            places->used = place_bytes;
            break;
        }
    }
    put(places, "]}],\"rows\":[", 12);
    for (uint64_t i = 0, begin = 0; i < packed; i++) {
        int is_last = i + 1 == packed, is_same = !is_last && rows[i + 1].number == rows[i].number;
        if (is_same && rows[i + 1].prefix == rows[i].prefix) continue;
        put(places, "[", 1);
        put_number(places, i + 1 - begin);
        put(places, ",", 1);
        put_number(places, place);
        put(places, ",", 1);
        if (rows[i].prefix == NO_PREFIX) put(places, "null", 4);
        else put_number(places, rows[i].prefix);
        put(places, is_last ? "]]}" : "],", is_last ? 3 : 2);
        begin = i + 1;
        place += !is_same;
    }
    return packed;
}

/* Networks: a walk through several trees at once, in the order of addresses, down to the leaves of each. */

enum { UNJUDGED, UNSELECTED }; /* values of combinations; selected ones are larger */

/* A tree of a walk. Its records are numbered in the order of their offsets, from 1; number 0 stands for no data. */
struct source {
    const struct tree *tree;
    const uint64_t *marks;   /* by 32 bytes of the data, a word of marks; null: records are identified by offset */
    uint64_t words;          /* of `marks` */
    const uint32_t *classes; /* by number of the record, from 0 for none */
    uint64_t stride;         /* factor of a class in a combination */
};

/* A range of addresses with one class in each tree, or neighbouring ranges of one value. */
struct span {
    struct address first, last;
    uint64_t value;
};

struct joint {
    const struct source *sources; /* the first has the scopes of special addresses */
    uint64_t source_count;
    uint32_t *nodes;          /* of each source, for each depth */
    const uint32_t *values;   /* by combination; null without combinations */
    struct address next, last;
    uint64_t combination;     /* the UNJUDGED combination at which the walk stopped */
    uint64_t leaves;          /* number of leaves that may still follow; exceeded only in a malformed tree */
    uint32_t skipped;         /* a scope that the walk does not enter */
    uint32_t bits, depth, is_apart, is_done;
};

/* A word of marks: the low half has a bit for each byte, set where a record begins, and the high half the number of records before
 * these bytes, so that a record is found by one access to memory. */
enum { MARKED_BYTES = 32 };

/* Mark the offsets of records in the zeroed words, and return their number, -1 if one is outside of the data. */
int64_t geocli_mark(const struct tree *tree, uint64_t *marks, uint64_t words) {
    for (uint32_t node = 0; node < tree->node_count; node++)
        for (uint32_t bit = 0; bit < 2; bit++) {
            /* Without a branch: half of the children, in no order, are nodes. */
            uint32_t record = child(tree, node, bit), is_data = record > tree->node_count;
            uint32_t offset = is_data ? record - tree->node_count : 0;
            if ((is_data & (offset < SEPARATOR_BYTES)) | (offset / MARKED_BYTES >= words)) return -1;
            marks[offset / MARKED_BYTES] |= is_data << offset % MARKED_BYTES;
        }
    uint64_t count = 0;
    for (uint64_t i = 0; i < words; i++) {
        marks[i] |= count << 32;
        count += __builtin_popcount((uint32_t)marks[i]);
    }
    return count;
}

/* Find the end of a value that begins before `limit`; return whether it is sound. */
static int skip_value(const struct decoder *decoder, uint64_t at, int depth, uint64_t limit, uint64_t *next) {
    struct value value;
    if (depth == MAX_DEPTH || at >= limit || !read_head(decoder, at, &value)) return 0;
    *next = value.end;
    uint64_t parts = value.type == MAP ? 2ull * value.size : value.type == ARRAY ? value.size : 0;
    for (; parts; parts--)
        if (!skip_value(decoder, *next, depth + 1, limit, next)) return 0;
    return 1;
}

/* Keys whose values are ignored, the shortest first: for each its length in a byte, then its text. */
struct keys {
    const uint8_t *by_size[UINT8_MAX + 1]; /* the first that is not shorter */
    const uint8_t *end, *entered;          /* `entered`: its map is not ignored, but entered */
};

static int is_among(const struct decoder *decoder, const struct keys *keys, const struct value *key, int *is_entered) {
    if (key->size > UINT8_MAX) return 0;
    for (const uint8_t *at = keys->by_size[key->size]; at < keys->end && *at == key->size; at += 1 + *at)
        if (is_text(decoder, key, at + 1, *at)) {
            *is_entered = at == keys->entered;
            return 1;
        }
    return 0;
}

static int outline_map(const struct decoder *decoder, const struct keys *keys, const struct value *map, int depth,
                       uint64_t limit, uint64_t *hash, uint64_t *next) {
    *next = map->begin;
    *hash = mixed(decoder->secret, *hash ^ map->size);
    for (uint32_t i = 0; i < map->size; i++) {
        struct value key, value;
        int is_entered = 0;
        if (*next >= limit || !read_value(decoder, *next, &key, next) || key.type != STRING) return 0;
        uint64_t begin = *next, behind, ignored;
        if (!read_value(decoder, begin, &value, &behind)) return 0;
        *hash = hashed_bytes(decoder->secret, decoder->data + key.begin, key.size, *hash);
        int is_ignored = is_among(decoder, keys, &key, &is_entered);
        if (is_entered && !depth && value.type == MAP) {
            uint64_t *after = value.is_shared ? &ignored : next;
            uint64_t end = value.is_shared ? value.begin + MAX_RECORD_BYTES : limit;
            if (!outline_map(decoder, keys, &value, 1, end, hash, after)) return 0;
            if (value.is_shared) *next = behind;
            continue;
        }
        if (!skip_value(decoder, begin, 0, limit, next)) return 0;
        if (is_ignored && !is_entered) continue;
        if (value.is_shared) *hash = mixed(decoder->secret, *hash ^ value.at);
        else *hash = hashed_bytes(decoder->secret, decoder->data + begin, *next - begin, *hash);
    }
    return 1;
}

/* Write the offset of each marked record, and a hash of it without the values of some keys; 0 for records that `geocli_decode`
 * leaves to the reader. */
void geocli_outline(const struct tree *tree, const uint64_t *marks, uint64_t words, const uint8_t *ignored, uint64_t ignored_bytes,
                    uint64_t entered, uint32_t *offsets, uint64_t *hashes) {
    uint64_t tree_bytes = (uint64_t)tree->node_count * (tree->record_bits / 4) + SEPARATOR_BYTES, next;
    struct decoder decoder = {.data = tree->map + tree_bytes, .data_bytes = tree->size_bytes - tree_bytes, .secret = tree->secret};
    struct keys keys = {.end = ignored + ignored_bytes, .entered = ignored + entered};
    const uint8_t *key = ignored;
    for (uint32_t size = 0; size <= UINT8_MAX; keys.by_size[size++] = key)
        while (key < keys.end && *key < size) key += 1 + *key;
    for (uint64_t word = 0; word < words; word++)
        for (uint32_t rest = marks[word]; rest; rest &= rest - 1) {
            struct value record;
            uint64_t offset = word * MARKED_BYTES + __builtin_ctz(rest), at = offset - SEPARATOR_BYTES, hash = 1;
            int is_plain = read_value(&decoder, at, &record, &next) && record.type == MAP && !record.is_shared;
            is_plain = is_plain && outline_map(&decoder, &keys, &record, 0, at + MAX_RECORD_BYTES, &hash, &next);
            *offsets++ = offset;
            *hashes++ = is_plain ? hash | 1 : 0;
        }
}

static uint32_t class_of(const struct source *source, uint32_t node) {
    uint32_t offset = node - source->tree->node_count;
    if (!source->marks) return offset;
    if (!offset || offset / MARKED_BYTES >= source->words) return source->classes[0];
    uint64_t word = source->marks[offset / MARKED_BYTES];
    return source->classes[1 + (word >> 32) + __builtin_popcount(word & ((1u << offset % MARKED_BYTES) - 1))];
}


/* Descend to a leaf of each tree, or to a skipped scope; return whether that is no deeper than addresses. */
static int descend(struct joint *joint, int *is_skipped) {
    for (;; joint->depth++) {
        uint32_t *nodes = joint->nodes + joint->depth * joint->source_count, inner_count = 0, bit;
        uint32_t scope_count = joint->sources[0].tree->node_count;
        *is_skipped = joint->skipped && nodes[0] >= scope_count && nodes[0] - scope_count == joint->skipped;
        for (uint64_t i = 0; i < joint->source_count; i++) inner_count += nodes[i] < joint->sources[i].tree->node_count;
        if (*is_skipped || !inner_count) return 1;
        if (joint->depth == joint->bits) return 0;
        bit = bit_of(&joint->next, joint->depth);
        for (uint64_t i = 0; i < joint->source_count; i++) {
            const struct tree *tree = joint->sources[i].tree;
            nodes[joint->source_count + i] = nodes[i] < tree->node_count ? child(tree, nodes[i], bit) : nodes[i];
        }
    }
}

/* Continue after the last address of a network. */
static void advance(struct joint *joint, const struct span *span) {
    while (joint->depth && bit_of(&joint->next, joint->depth - 1)) joint->depth--; /* up to the last step to the left */
    joint->is_done = !joint->depth-- || !is_after(joint->last, span->last);
    joint->next = following(span->last);
}

/* Add the next selected spans to the first `count`, up to `room`, and with `classes`, which requires separate spans, the class of each
 * in each tree. Return their number, -1 for damaged trees. Neighbours of one value are merged, unless they are to stay apart: the
 * last span may continue in the next call. With values, the walk stops at an UNJUDGED combination. */
int64_t geocli_walk(struct joint *joint, struct span *spans, uint32_t *classes, uint64_t count, uint64_t room) {
    joint->combination = UINT64_MAX;
    while (count < room && !joint->is_done) {
        int is_skipped;
        if (!joint->leaves-- || !descend(joint, &is_skipped)) return -1;
        const uint32_t *nodes = joint->nodes + joint->depth * joint->source_count;
        struct span span = {joint->next, last_of(joint->next, joint->depth), 0}, *before = count ? spans + count - 1 : NULL;
        if (is_after(span.last, joint->last)) span.last = joint->last;
        uint64_t combination = 0;
        for (uint64_t i = 0; i < joint->source_count && !is_skipped; i++) {
            uint32_t class = class_of(joint->sources + i, nodes[i]);
            combination += class * joint->sources[i].stride;
            if (classes) classes[count * joint->source_count + i] = class;
        }
        span.value = is_skipped ? UNSELECTED : joint->values ? joint->values[combination] : UNSELECTED + 1;
        if (span.value == UNJUDGED) {
            joint->combination = combination;
            joint->leaves++;
            return count;
        }
        advance(joint, &span);
        if (span.value == UNSELECTED) continue;
        int is_next = before && before->value == span.value && !is_after(span.first, following(before->last));
        if (is_next && !joint->is_apart) before->last = span.last;
        else spans[count++] = span;
    }
    return count;
}

/* The format of a list of networks: each between a constant text and the text of its value. */
struct list_form {
    const uint8_t *before, *after;
    const uint64_t *ends; /* by value, from UNSELECTED + 1: end of its text in `after`; it begins at the previous end */
    uint64_t before_bytes;
    uint32_t bits, shortest, is_range; /* of addresses; minimum prefix length; whether to list first and last addresses */
};

enum { MAX_NETWORK_BYTES = 96 }; /* two IPv6 addresses and separators */

/* Return the prefix length of the largest network at the start of a span. */
static uint32_t first_prefix(const struct span *span, uint32_t shortest) {
    uint64_t high = span->first.high, low = span->first.low;
    uint32_t prefix = low ? 128 - __builtin_ctzll(low) : high ? 64 - __builtin_ctzll(high) : 0;
    if (prefix < shortest) prefix = shortest;
    while (is_after(last_of(span->first, prefix), span->last)) prefix++;
    return prefix;
}

/* Write spans as lines of a list, and remove what is written from them. Return the number of bytes; `written` becomes the index of
 * the first span that is not completely written. */
int64_t geocli_list(struct span *spans, uint64_t count, uint64_t *written, const struct list_form *form, uint8_t *out, uint64_t room) {
    uint64_t used = 0;
    for (; *written < count; ++*written) {
        struct span *span = spans + *written;
        const uint64_t *end = form->ends + (span->value - UNSELECTED - 1);
        uint64_t begin = span->value == UNSELECTED + 1 ? 0 : end[-1];
        for (int is_last = 0; !is_last;) {
            if (room - used < form->before_bytes + MAX_NETWORK_BYTES + (*end - begin)) return used;
            uint32_t prefix = form->is_range ? 0 : first_prefix(span, form->shortest);
            struct address last = form->is_range ? span->last : last_of(span->first, prefix);
            memcpy(out + used, form->before, form->before_bytes);
            used += form->before_bytes;
            used += put_address(span->first, form->bits, out + used);
            out[used++] = form->is_range ? '-' : '/';
            used += form->is_range ? put_address(last, form->bits, out + used) : put_decimal(out + used, prefix);
            memcpy(out + used, form->after + begin, *end - begin);
            used += *end - begin;
            is_last = !is_after(span->last, last);
            span->first = following(last);
        }
    }
    return used;
}
