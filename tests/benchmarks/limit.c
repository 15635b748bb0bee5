/* The practical limit that `geocli batch` is measured against.
 *
 * One thread, and nothing but the work itself: addresses from standard input, one a line, are parsed by hand
 * (IPv4) or by inet_pton, looked up by libmaxminddb, and written as geocli's default CSV. Each distinct record
 * is decoded and rendered once, and kept under its place in the data section. Input and output go in large blocks.
 *
 * Not in here, but in geocli: the special-purpose registries, country names for databases that have codes
 * only, what spreadsheets take for a formula, several databases, the cache.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <maxminddb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIELDS = 7, LONGEST_ROW = 8192, IN_SIZE = 1 << 18, OUT_SIZE = 1 << 20 };

static const char HEADER[] =
    "ip,status,country_code,country_name,region,city,latitude,longitude,time_zone,asn,org,source\n";
static const char UNRESOLVED[] = ",unresolved,,,,,,,,,,\n", INVALID[] = ",invalid,,,,,,,,,,\n";

/* Where MaxMind's records have a field, and where those of ip-location-db have it. */
static const char *const PATHS[FIELDS][2][5] = {
    {{"country", "iso_code"}, {"country_code"}},
    {{"country", "names", "en"}, {"country_name"}},
    {{"subdivisions", "0", "names", "en"}, {"state1"}},
    {{"city", "names", "en"}, {"city"}},
    {{"location", "latitude"}, {"latitude"}},
    {{"location", "longitude"}, {"longitude"}},
    {{"location", "time_zone"}, {"timezone"}},
};

static MMDB_s database;
static char source[256];

static uint32_t *row_of;   /* data offset -> where its row is in `rows`; 0: not rendered yet */
static char *rows;         /* each row: its length in two bytes, then its text */
static size_t used = 1, size; /* of `rows`, in bytes */

static char in[IN_SIZE + 1], out[OUT_SIZE];
static char *end = out; /* of what is in `out` */

static void die(const char *why) {
    fprintf(stderr, "limit: %s\n", why);
    exit(1);
}

static void flush(void) {
    for (char *at = out; at < end;) {
        ssize_t written = write(STDOUT_FILENO, at, end - at);
        if (written < 0) die("cannot write");
        at += written;
    }
    end = out;
}

static void put(const char *text, size_t length) {
    memcpy(end, text, length);
    end += length;
}

/* Append a cell, quoted as RFC 4180 has it, and return its end. */
static char *cell(char *to, const char *text, size_t length) {
    if (length > LONGEST_ROW / 32) length = LONGEST_ROW / 32;
    if (!memchr(text, ',', length) && !memchr(text, '"', length)) return mempcpy(to, text, length);
    *to++ = '"';
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"') *to++ = '"';
        *to++ = text[i];
    }
    *to++ = '"';
    return to;
}

/* Append the shortest text that is the same number, with a point in it, as Python's repr has it. */
static char *number(char *to, double value) {
    for (int digits = 15; digits <= 17; digits++) {
        sprintf(to, "%.*g", digits, value);
        if (strtod(to, NULL) == value) break;
    }
    if (!strpbrk(to, ".en")) strcat(to, ".0");
    return to + strlen(to);
}

/* Render a record, keep it, and return where it is in `rows`. */
static uint32_t render(MMDB_entry_s *entry) {
    char row[LONGEST_ROW], *to = stpcpy(row, ",resolved,"), *before = to;
    for (int field = 0; field < FIELDS; field++, *to++ = ',') {
        MMDB_entry_data_s found;
        for (int schema = 0; schema < 2; schema++) {
            if (MMDB_aget_value(entry, &found, PATHS[field][schema]) || !found.has_data) continue;
            if (found.type == MMDB_DATA_TYPE_UTF8_STRING) to = cell(to, found.utf8_string, found.data_size);
            else if (found.type == MMDB_DATA_TYPE_DOUBLE) to = number(to, found.double_value);
            else if (found.type == MMDB_DATA_TYPE_FLOAT) to = number(to, found.float_value);
            else continue;
            break;
        }
    }
    if (to - before == FIELDS) to = stpcpy(row, UNRESOLVED); /* a record with nothing in it */
    else to += sprintf(to, ",,%s\n", source);
    uint16_t length = to - row;
    if (used + LONGEST_ROW + 2 > size && !(rows = realloc(rows, size = size * 2 + (1 << 20)))) die("out of memory");
    if (used > UINT32_MAX - LONGEST_ROW) die("too many records");
    memcpy(rows + used, &length, 2);
    memcpy(rows + used + 2, row, length);
    uint32_t at = row_of[entry->offset] = used;
    used += length + 2;
    return at;
}

static void look_up(const struct sockaddr *address) {
    int error;
    MMDB_lookup_result_s found = MMDB_lookup_sockaddr(&database, address, &error);
    if (error == MMDB_IPV6_LOOKUP_IN_IPV4_DATABASE_ERROR) found.found_entry = false;
    else if (error) die(MMDB_strerror(error));
    if (!found.found_entry) {
        put(UNRESOLVED, sizeof UNRESOLVED - 1);
        return;
    }
    uint32_t at = row_of[found.entry.offset];
    if (!at) at = render(&found.entry);
    uint16_t length;
    memcpy(&length, rows + at, 2);
    put(rows + at + 2, length);
}

static void look_up_ipv4(uint32_t ip) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = ip};
    look_up((struct sockaddr *)&address);
}

/* Parse a line that is a dotted quad in its canonical form, and return where the next one begins, or NULL. */
static const char *ipv4(const char *at, uint32_t *ip) {
    uint32_t whole = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = (unsigned char)*at++ - '0', digit;
        if (value > 9) return NULL;
        for (; value && (digit = (unsigned char)*at - '0') <= 9; at++)
            if ((value = value * 10 + digit) > 255) return NULL;
        if (*at++ != (part < 3 ? '.' : '\n')) return NULL;
        whole = whole << 8 | value;
    }
    *ip = htonl(whole);
    return at;
}

/* Write an IPv6 address as RFC 5952 has it; glibc's inet_ntop goes through sprintf, and takes several times as long. */
static void put_ipv6(const unsigned char *bytes) {
    unsigned group[8];
    int longest = 1, first = -1; /* the longest run of two zeros or more */
    for (int i = 0, run = 0; i < 8; i++) {
        group[i] = bytes[2 * i] << 8 | bytes[2 * i + 1];
        run = group[i] ? 0 : run + 1;
        if (run > longest) longest = run, first = i - run + 1;
    }
    for (int i = 0; i < 8; i++) {
        if (i == first) {
            put("::", 2);
            i += longest - 1;
            continue;
        }
        if (i && i != first + longest) *end++ = ':';
        for (int shift = group[i] > 0xfff ? 12 : group[i] > 0xff ? 8 : group[i] > 0xf ? 4 : 0; shift >= 0; shift -= 4)
            *end++ = "0123456789abcdef"[group[i] >> shift & 15];
    }
}

/* Answer a line that is no plain dotted quad. */
static void other(const char *line, size_t length) {
    char text[INET6_ADDRSTRLEN], shown[INET_ADDRSTRLEN];
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    unsigned char *bytes = address.sin6_addr.s6_addr;
    uint32_t ip;
    while (length && strchr(" \t\r", line[length - 1])) length--;
    while (length && strchr(" \t", *line)) line++, length--;
    if (length < sizeof text) {
        *(char *)mempcpy(text, line, length) = 0;
        bool is_ipv4 = inet_pton(AF_INET, text, &ip) == 1;
        if (is_ipv4 || inet_pton(AF_INET6, text, bytes) == 1) {
            if (!is_ipv4 && IN6_IS_ADDR_V4MAPPED(&address.sin6_addr)) {
                memcpy(&ip, bytes + 12, 4);
                is_ipv4 = true;
            }
            if (!is_ipv4) {
                put_ipv6(bytes);
                look_up((struct sockaddr *)&address);
                return;
            }
            inet_ntop(AF_INET, &ip, shown, sizeof shown);
            put(shown, strlen(shown));
            look_up_ipv4(ip);
            return;
        }
    }
    put(line, length < LONGEST_ROW / 2 ? length : LONGEST_ROW / 2);
    put(INVALID, sizeof INVALID - 1);
}

/* Answer whole lines, the last one with its end. */
static void answer(const char *at, const char *behind) {
    while (at < behind) {
        uint32_t ip;
        const char *next = ipv4(at, &ip);
        if (next) {
            put(at, next - at - 1);
            look_up_ipv4(ip);
        } else {
            next = (const char *)memchr(at, '\n', behind - at) + 1;
            other(at, next - at - 1);
        }
        at = next;
        if (end > out + OUT_SIZE - 2 * LONGEST_ROW) flush();
    }
}

int main(int count, char **arguments) {
    if (count != 2) return puts(MMDB_lib_version()) < 0;
    int status = MMDB_open(arguments[1], MMDB_MODE_MMAP, &database);
    if (status) die(MMDB_strerror(status));
    snprintf(source, sizeof source, "%s", database.metadata.database_type);
    for (char *at = source; (at = strchr(at, ' '));) *at = '-';
    if (!(row_of = calloc(database.data_section_size, sizeof *row_of))) die("out of memory");
    put(HEADER, sizeof HEADER - 1);
    size_t kept = 0; /* bytes of a line whose end is not read yet */
    for (ssize_t got; (got = read(STDIN_FILENO, in + kept, IN_SIZE - kept)) != 0;) {
        if (got < 0) die("cannot read");
        char *behind = in + kept + got, *last = memrchr(in, '\n', behind - in);
        if (last) answer(in, last + 1);
        kept = behind - (last ? last + 1 : in);
        if (kept == IN_SIZE) die("a line is too long");
        if (last) memmove(in, last + 1, kept);
    }
    if (kept) {
        in[kept++] = '\n';
        answer(in, in + kept);
    }
    flush();
    MMDB_close(&database);
    return 0;
}
