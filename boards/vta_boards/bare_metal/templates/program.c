/* @TITLE@: constants, tensors, and what a run does, step by step. Made by vta export c. */
#include "@name@.h"

#include <string.h>

/* What the accelerator must be ---------------------------------------------------------- */

const vta_identity @name@_identity = {@CAPABILITY@u, @FINGERPRINT@ull, @ADDRESS_BITS@u};

/* Constants of the arena, little-endian words -------------------------------------------- */

@SEGMENT_WORDS@
static const vta_segment segments[] = {
@SEGMENTS@
};

/* Tensors: of the arena, of the network's borders, of the processor ---------------------- */

static const vta_tiling inp_tiling = {@INP_TILING@};
static const vta_tiling out_tiling = {@OUT_TILING@};

/* name, offset, bytes, [N, C, H, W], strides of its host array */
static const vta_tensor tensors[] = {
@TENSORS@
};

/* name, type, elements, bytes, rank, shape, scale, zero point, whether the program says them */
const vta_port @name@_inputs[@NAME@_INPUTS] = {
@INPUTS@
};
const vta_port @name@_outputs[@NAME@_OUTPUTS] = {
@OUTPUTS@
};

@ARRAYS@
/* Running ------------------------------------------------------------------------------- */

int @name@_load(@name@_instance *self, vta_device *device, void *memory, uint64_t address) {
    int error;
    self->device = device;
    self->arena.memory = (uint8_t *)memory;
    self->arena.address = address;
    self->arena.size = @NAME@_ARENA_BYTES;
    self->loaded = 0;
    self->cycles = 0;
    error = vta_identify(device, &@name@_identity);
    if (error) return error;
    error = vta_reset(device); /* what ran before, perhaps another program's, may still write */
    if (error) return error;
    error = vta_load(&self->arena, &@name@_identity, segments, sizeof segments / sizeof segments[0]);
    if (error) return error;
    self->loaded = 1;
    return VTA_OK;
}

int @name@_run(@name@_instance *self, const void *const *inputs, void *const *outputs) {
    int error = VTA_OK;
    if (!self->loaded) return VTA_ERROR_NOT_LOADED;
    self->cycles = 0;
@STATEMENTS@
    return error;
}
