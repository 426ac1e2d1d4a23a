/* Runs the images of sample.c and prints the outputs. An example: what matters is load, then run.
 *
 * VTA_BASE_ADDRESS   address of the accelerator's registers
 * VTA_ARENA_ADDRESS  address of the arena as the accelerator sees it; default: as the processor does
 * VTA_PRINTED        most elements of an output that are printed
 */
#include <stdio.h>

#include "@name@.h"
#include "sample.h"

#ifndef VTA_BASE_ADDRESS
#define VTA_BASE_ADDRESS @BASE_ADDRESS@u
#endif
#ifndef VTA_ARENA_ADDRESS
#define VTA_ARENA_ADDRESS ((uintptr_t)vta_arena_memory)
#endif
#ifndef VTA_PRINTED
#define VTA_PRINTED 16u
#endif

uint8_t vta_arena_memory[@NAME@_ARENA_BYTES] VTA_ALIGNED(VTA_WINDOW_PAGE);
/* Room for every element as a float; integers take a part of it. */
@OUTPUT_ARRAYS@
static void *const results[@NAME@_OUTPUTS] = {@RESULTS@};

static double element(const vta_port *port, const void *values, uint32_t i) {
    if (port->type[0] == 'f') return (double)((const float *)values)[i];
    return port->type[0] == 'u' ? (double)((const uint8_t *)values)[i] : (double)((const int8_t *)values)[i];
}

/* One image's part of an output: what is largest, and the first values, exactly. */
static void print_output(const vta_port *port, const void *values, uint32_t image) {
    const uint32_t count = port->elements / @NAME@_BATCH, first = image * count;
    uint32_t i, largest = first;
    for (i = first; i < first + count; ++i)
        if (element(port, values, i) > element(port, values, largest)) largest = i;
    printf("  %s: largest at %lu, values", port->name, (unsigned long)(largest - first));
    for (i = first; i < first + count && i < first + VTA_PRINTED; ++i) printf(" %.9g", element(port, values, i));
    printf("%s\n", count > VTA_PRINTED ? " ..." : "");
}

static int failed(const vta_device *device, int error) {
    const vta_result *result = &device->result;
    uint32_t bits = error == VTA_ERROR_REPORTED ? result->errors : 0;
    printf("error %d: %s\n", error, vta_error_text(error));
    while (bits) printf("  reported: %s\n", vta_reported_text(bits, &bits));
    if (error == VTA_ERROR_REPORTED && result->error_insn != VTA_NO_INSN)
        printf("  first at instruction %lu of the launch\n", (unsigned long)result->error_insn);
    return error;
}

int main(void) {
    static @name@_instance program;
    static vta_device device;
    uint32_t run, image, output;
    int error;
    vta_open(&device, VTA_BASE_ADDRESS);
    error = @name@_load(&program, &device, vta_arena_memory, VTA_ARENA_ADDRESS);
    for (run = 0; !error && run < SAMPLE_RUNS; ++run) {
        error = @name@_run(&program, sample_inputs[run], results);
        for (image = 0; !error && image < @NAME@_BATCH && run * @NAME@_BATCH + image < SAMPLE_IMAGES; ++image) {
            printf("image %lu\n", (unsigned long)(run * @NAME@_BATCH + image));
            for (output = 0; output < @NAME@_OUTPUTS; ++output)
                print_output(&@name@_outputs[output], results[output], image);
        }
        if (!error) printf("%lu cycles\n", (unsigned long)program.cycles);
    }
    return error ? failed(&device, error) : 0;
}
