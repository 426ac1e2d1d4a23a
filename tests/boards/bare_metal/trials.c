/* Tries what a driver must survive on one simulated accelerator; prints a line for each trial. */
#include <stdio.h>
#include <string.h>

#include "program.h"
#include "sample.h"

uint8_t vta_arena_memory[PROGRAM_ARENA_BYTES] VTA_ALIGNED(VTA_WINDOW_PAGE);

static uint64_t outputs[PROGRAM_OUTPUTS][512];
static uint64_t now, tick;

uint64_t vta_now(void) { return now += tick; }

static int run(program_instance *program) {
    void *results[PROGRAM_OUTPUTS];
    int i;
    for (i = 0; i < PROGRAM_OUTPUTS; ++i) results[i] = outputs[i];
    return program_run(program, sample_inputs[0], results);
}

static void report(const char *trial, int error) { printf("%s: %d\n", trial, error); }

static void try_identities(const vta_device *device) {
    vta_identity other = program_identity;
    other.fingerprint ^= 1ull << 40;
    report("fingerprint", vta_identify(device, &other));
    other = program_identity;
    other.capability ^= 1u;
    report("capability", vta_identify(device, &other));
}

static void try_arenas(program_instance *program, vta_device *device) {
    report("arena begins in a page", program_load(program, device, vta_arena_memory, VTA_ARENA_ADDRESS + 64u));
    report("arena beyond the bus", program_load(program, device, vta_arena_memory, 0xfffff000ull + 0x1000u));
    report("run after a failed load", run(program));
}

static void try_timeouts(program_instance *program, vta_device *device) {
    device->max_polls = 1;
    report("polls", run(program));
    device->max_polls = 0;
    tick = 10, device->timeout = 5;
    report("time", run(program));
    device->timeout = 0, tick = 0;
    report("run after timeouts", run(program));
    device->watchdog = 1;
    report("watchdog", run(program));
    printf("watchdog's words: %s\n", vta_reported_text(device->result.errors & VTA_ERRORS_WATCHDOG, &(uint32_t){0}));
    device->watchdog = VTA_DEFAULT_WATCHDOG;
}

int main(void) {
    static program_instance program;
    static uint64_t first[PROGRAM_OUTPUTS][512];
    vta_device device;
    vta_open(&device, VTA_BASE_ADDRESS);
    report("run before load", run(&program));
    try_identities(&device);
    try_arenas(&program, &device);
    report("load", program_load(&program, &device, vta_arena_memory, VTA_ARENA_ADDRESS));
    report("run", run(&program));
    memcpy(first, outputs, sizeof first);
    try_timeouts(&program, &device);
    memset(outputs, 0, sizeof outputs);
    device.interrupt = 1;
    report("run by interrupt", run(&program));
    printf("same outputs: %d\n", !memcmp(first, outputs, sizeof first));
    return 0;
}
