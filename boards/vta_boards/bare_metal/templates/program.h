/* @TITLE@
 *
 * Made by vta export c; the same program gives the same bytes. Compiled for configuration @CONFIG@.
 */
#ifndef @NAME@_H
#define @NAME@_H

#include "vta_driver.h"
#include "vta_tensors.h"

#ifdef __cplusplus
extern "C" {
#endif

#define @NAME@_BATCH @BATCH@u            /* images of a run */
#define @NAME@_ARENA_BYTES @ARENA_BYTES@u /* memory that processor and accelerator share, whole pages */
#define @NAME@_CONSTANT_BYTES @CONSTANT_BYTES@u /* instructions and weights, which loading copies into it */
#define @NAME@_BUFFER_BYTES @BUFFER_BYTES@u /* tensors of the processor, static arrays */

/* Inputs and outputs, by their places in the arrays that a run takes. */
@PORT_NAMES@

extern const vta_identity @name@_identity;
extern const vta_port @name@_inputs[@NAME@_INPUTS];
extern const vta_port @name@_outputs[@NAME@_OUTPUTS];

typedef struct {
    vta_device *device;
    vta_arena arena;
    int loaded;
    uint64_t cycles; /* the accelerator's, of the last run */
} @name@_instance;

/* Compare the device with the program, reset it, then copy the program's constants to the arena.
 *
 * memory: @NAME@_ARENA_BYTES where the processor sees them; address: where the accelerator sees them, a multiple of
 * VTA_WINDOW_PAGE. Returns VTA_OK or an error, see vta_error_text().
 */
int @name@_load(@name@_instance *self, vta_device *device, void *memory, uint64_t address);

/* Run @NAME@_BATCH images. inputs[i] has the bytes of @name@_inputs[i], outputs[i] gets those of @name@_outputs[i];
 * arrays are row-major and aligned as their elements. Returns VTA_OK or an error; then outputs are not touched, and the
 * next run may follow. One at a time: the processor's tensors are static.
 */
int @name@_run(@name@_instance *self, const void *const *inputs, void *const *outputs);

#ifdef __cplusplus
}
#endif

#endif
