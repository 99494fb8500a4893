/* Read a spectrum of an npy store, after comparing it with its digest.
 *
 * Written from docs/format.md. Needs xxhash.h (Debian: libxxhash-dev) and nothing else:
 *   cc -O2 examples/read_store.c -o read_store && ./read_store STORE ROW
 * Prints wavelength in Angstrom and flux of each pixel. Little-endian machines only.
 */
#define XXH_INLINE_ALL
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct {
    FILE *file;
    char descr[8];
    long rows, columns; /* columns is 1 for one dimension */
    long offset, item;
} Array;

static void fail(const char *what, const char *name) {
    fprintf(stderr, "read_store: %s: %s\n", name, what);
    exit(1);
}

static Array open_array(const char *folder, const char *name) {
    char path[4096];
    unsigned char head[10];
    Array array = {0};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    array.file = fopen(path, "rb");
    if (!array.file) fail("cannot be opened", path);
    if (fread(head, 1, 10, array.file) != 10 || memcmp(head, "\x93NUMPY\x01\x00", 8))
        fail("not a .npy file of format 1.0", path);
    size_t length = head[8] + 256u * head[9];
    char *text = calloc(length + 1, 1);
    if (!text || fread(text, 1, length, array.file) != length) fail("truncated header", path);
    const char *descr = strstr(text, "'descr': '"), *shape = strstr(text, "'shape': (");
    if (!descr || !shape || !strstr(text, "'fortran_order': False")) fail("unknown header", path);
    if (sscanf(descr, "'descr': '%7[^']'", array.descr) != 1) fail("no type", path);
    int found = sscanf(shape, "'shape': (%ld, %ld", &array.rows, &array.columns);
    if (found < 1 || array.rows < 1) fail("no shape", path);
    if (found == 1) array.columns = 1;
    array.offset = 10 + (long)length;
    array.item = strtol(array.descr + 2, NULL, 10);
    free(text);
    fseek(array.file, 0, SEEK_END);
    if (ftell(array.file) != array.offset + array.rows * array.columns * array.item)
        fail("its size does not fit its shape", path);
    return array;
}

static void *read_row(Array array, long row) {
    size_t size = (size_t)(array.columns * array.item);
    void *data = malloc(size);
    fseek(array.file, array.offset + row * (long)size, SEEK_SET);
    if (!data || fread(data, 1, size, array.file) != size) fail("cannot be read", "row");
    return data;
}

/* The number behind a name in the manifest, such as "bzero": enough where the name is unique. */
static double number(const char *manifest, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *place = strstr(manifest, key);
    if (!place) fail("lacks a field", name);
    return strtod(place + strlen(key), NULL);
}

static char *read_manifest(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    FILE *file = fopen(path, "rb");
    if (!file) fail("no manifest.json: not a store", folder);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *text = calloc((size_t)size + 1, 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size) fail("unreadable", path);
    fclose(file);
    if (!strstr(text, "\"galahstream store\"")) fail("not the manifest of a store", path);
    if (number(text, "version") > 1) fail("a newer version of the format", path);
    return text;
}

int main(int count, char **words) {
    if (count != 3) fail("usage: read_store STORE ROW", words[0]);
    const char *folder = words[1];
    long row = strtol(words[2], NULL, 10);
    char *manifest = read_manifest(folder);
    Array flux = open_array(folder, "flux"), digests = open_array(folder, "digests");
    Array ids = open_array(folder, "ids"), wavelength = open_array(folder, "wavelength");
    if (row < 0 || row >= flux.rows) fail("no such row", words[2]);
    void *stored = read_row(flux, row);
    uint64_t *expected = read_row(digests, row);
    int64_t *id = read_row(ids, row);
    if (XXH3_64bits(stored, (size_t)(flux.columns * flux.item)) != *expected)
        fail("the row does not match its digest: it was damaged", folder);
    int is_quantized = strcmp(flux.descr, "<u2") == 0;
    if (!is_quantized && strcmp(flux.descr, "<f4")) fail("unknown type of flux", flux.descr);
    double bscale = is_quantized ? number(manifest, "bscale") : 1;
    double bzero = is_quantized ? number(manifest, "bzero") : 0;
    printf("# star %" PRId64 ", row %ld, verified\n", *id, row);
    for (long pixel = 0; pixel < flux.columns; pixel++) {
        double *angstrom = read_row(wavelength, pixel), value;
        if (is_quantized) {
            uint16_t code = ((uint16_t *)stored)[pixel];
            value = code == 65535 ? NAN : bzero + bscale * code;
        } else {
            value = ((float *)stored)[pixel];
        }
        printf("%.4f %.9g\n", *angstrom, value);
        free(angstrom);
    }
    return 0;
}
