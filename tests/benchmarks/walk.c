/* What `geocli networks` is measured against: a walk through all nodes of a database, in the order of addresses. */
#include <maxminddb.h>
#include <stdint.h>
#include <stdio.h>

static MMDB_s database;
static uint64_t with_record, without;

static void walk(uint32_t number) {
    MMDB_search_node_s node;
    if (MMDB_read_node(&database, number, &node)) return;
    uint64_t records[] = {node.left_record, node.right_record};
    uint8_t types[] = {node.left_record_type, node.right_record_type};
    for (int side = 0; side < 2; side++) {
        if (types[side] == MMDB_RECORD_TYPE_SEARCH_NODE) walk(records[side]);
        else if (types[side] == MMDB_RECORD_TYPE_DATA) with_record++;
        else without++;
    }
}

int main(int count, char **arguments) {
    if (count != 2 || MMDB_open(arguments[1], MMDB_MODE_MMAP, &database)) return 1;
    walk(0);
    return printf("%llu %llu\n", (unsigned long long)with_record, (unsigned long long)without) < 0;
}
