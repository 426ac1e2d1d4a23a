/* What the processor does to tensors: tiles of the accelerator, gathered windows, and the operators at the border.
 *
 * Integers of 8 bits and less take a byte each in host memory. Every float operation is one IEEE 754 operation in
 * single precision, so that results are the same on any processor.
 */
#ifndef VTA_TENSORS_H
#define VTA_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "vta_driver.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VTA_MAX_RANK @MAX_RANK@

/* How elements lie in tiles [N/batch][C/block][H][W][batch][block], `width` bits each, element 0 of a byte lowest. */
typedef struct {
    uint32_t batch;
    uint32_t block;
    uint32_t width;
    int is_signed;
} vta_tiling;

/* A tensor in the arena: byte offset and size of its tiles, and its host array as [N, C, H, W] with a stride each. */
typedef struct {
    const char *name;
    uint32_t offset;
    uint32_t size;
    uint32_t shape[4];
    uint32_t strides[4];
} vta_tensor;

/* An input or output of a program. */
typedef struct {
    const char *name;
    const char *type; /* "float32", "int8", ...: below 8 bits one element a byte */
    uint32_t elements;
    uint32_t bytes;
    uint32_t rank;
    uint32_t shape[VTA_MAX_RANK];
    float scale;  /* real value = scale * (q - zero), where the program says so */
    int32_t zero;
    int has_scale;
} vta_port;

/* Windows gathered into channels: packed[n][y][x][(r * window[1] + q) * C + c], channels standing together. */
typedef struct {
    uint32_t images, channels, height, width; /* of the source [N, C, H, W] */
    uint32_t out_height, out_width;
    uint32_t window[2], strides[2], dilations[2], before[2];
    uint8_t value; /* outside the source */
} vta_windows;

/* Values of one scale or of one for each index of an axis: element i has scale[i / inner % count]. */
typedef struct {
    uint32_t elements;
    uint32_t count;
    uint32_t inner;
    const float *scale;
    const int32_t *zero;
} vta_scales;

/* Host array to tiles in the arena, flushed; padding is zero. Tiles in the arena to host array, invalidated first. */
void vta_write_tensor(const vta_arena *arena, const vta_tiling *tiling, const vta_tensor *tensor, const void *values);
void vta_read_tensor(const vta_arena *arena, const vta_tiling *tiling, const vta_tensor *tensor, void *values);

void vta_gather_windows(const vta_windows *step, const void *source, void *packed);

/* Rounds half to even and saturates; a NaN becomes `low`. Scales are positive. */
void vta_quantize(const vta_scales *scales, const float *values, void *integers, int32_t low, int32_t high);
void vta_dequantize(const vta_scales *scales, const void *integers, int is_signed, float *values);

/* A box of elements from one array to another, each with strides in elements. */
void vta_copy(size_t element, uint32_t rank, const uint32_t *shape, const void *source, const uint32_t *source_strides,
              void *target, const uint32_t *target_strides);
void vta_fill(size_t element, uint32_t count, const void *value, void *target);

typedef enum { VTA_ADD, VTA_SUB, VTA_MUL, VTA_DIV } vta_binary_op;
typedef enum { VTA_CEIL, VTA_FLOOR, VTA_NEG, VTA_RELU, VTA_ROUND } vta_unary_op;

/* The result stands contiguous; a stride of 0 repeats an operand. */
void vta_binary(vta_binary_op op, uint32_t rank, const uint32_t *shape, const float *a, const uint32_t *a_strides,
                const float *b, const uint32_t *b_strides, float *result);
void vta_unary(vta_unary_op op, uint32_t count, const float *values, float *result);
/* A limit that is NULL is none. */
void vta_clip(uint32_t count, const float *values, const float *low, const float *high, float *result);

#ifdef __cplusplus
}
#endif

#endif
