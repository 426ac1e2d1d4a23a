/* The driver's hooks on the simulated accelerator: its library is $VTA_SHIM_LIBRARY, its memory behaves as
 * $VTA_SHIM_PARAMETERS says (numbers with commas between). The arena of main.c plays the processor's cache: the
 * simulated memory gets its bytes when they are flushed, and gives its own when they are invalidated.
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vta_driver.h"

extern uint8_t vta_arena_memory[];

#define RUN_VIOLATION 2
#define CYCLES_OF_A_WAIT 500u

static struct {
    void *handle;
    void *(*create)(const uint64_t *);
    void (*memory_write)(void *, uint64_t, const void *, uint64_t);
    void (*memory_read)(void *, uint64_t, void *, uint64_t);
    int (*register_write)(void *, uint32_t, uint32_t);
    int (*register_read)(void *, uint32_t, uint32_t *);
    int (*run)(void *, uint64_t);
    const char *(*violation)(void *);
} rtl;

/* POSIX lets an object pointer hold a function's; C99 has no cast for it. */
static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (!symbol) {
        fprintf(stderr, "shim: %s\n", dlerror());
        exit(100);
    }
    memcpy(function, &symbol, sizeof symbol);
}

static void *device(void) {
    uint64_t parameters[12] = {0};
    const char *text = getenv("VTA_SHIM_PARAMETERS"), *path = getenv("VTA_SHIM_LIBRARY");
    void *library;
    size_t i;
    if (rtl.handle) return rtl.handle;
    library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library || !text) {
        fprintf(stderr, "shim: no library or parameters\n");
        exit(100);
    }
    for (i = 0; i < sizeof parameters / sizeof parameters[0]; ++i) {
        char *end;
        parameters[i] = strtoull(text, &end, 10);
        text = end + (*end == ',');
    }
    find(library, "vta_create", &rtl.create);
    find(library, "vta_memory_write", &rtl.memory_write);
    find(library, "vta_memory_read", &rtl.memory_read);
    find(library, "vta_register_write", &rtl.register_write);
    find(library, "vta_register_read", &rtl.register_read);
    find(library, "vta_run", &rtl.run);
    find(library, "vta_violation", &rtl.violation);
    rtl.handle = rtl.create(parameters);
    return rtl.handle;
}

static void check(int fine) {
    if (fine) return;
    fprintf(stderr, "shim: %s\n", rtl.violation(rtl.handle));
    exit(101);
}

uint32_t vta_read32(uintptr_t address) {
    void *handle = device();
    uint32_t value = 0;
    check(rtl.register_read(handle, (uint32_t)(address - VTA_BASE_ADDRESS), &value));
    return value;
}

void vta_write32(uintptr_t address, uint32_t value) {
    void *handle = device();
    check(rtl.register_write(handle, (uint32_t)(address - VTA_BASE_ADDRESS), value));
}

void vta_cache_flush(const void *memory, size_t size) {
    void *handle = device();
    const uint64_t offset = (uint64_t)((const uint8_t *)memory - vta_arena_memory);
    rtl.memory_write(handle, VTA_ARENA_ADDRESS + offset, memory, size);
}

void vta_cache_invalidate(void *memory, size_t size) {
    void *handle = device();
    const uint64_t offset = (uint64_t)((const uint8_t *)memory - vta_arena_memory);
    rtl.memory_read(handle, VTA_ARENA_ADDRESS + offset, memory, size);
}

void vta_wait(vta_device *waiting) {
    void *handle = device();
    (void)waiting;
    check(rtl.run(handle, CYCLES_OF_A_WAIT) != RUN_VIOLATION);
}
