/* See vta_tensors.h. */
#include "vta_tensors.h"

#include <string.h>

/* Tiles -------------------------------------------------------------------------------- */

/* Calls back for every vector of a tile: its first element's index in tiles, its first value, and how many there are.
 * Values of one vector are strides[1] apart. */
typedef void vector_function(const vta_tiling *tiling, uint8_t *tiles, uint32_t index, uint8_t *values, uint32_t stride,
                             uint32_t count);

static void each_vector(const vta_tiling *tiling, const vta_tensor *tensor, uint8_t *tiles, uint8_t *values,
                        vector_function *function) {
    const uint32_t *shape = tensor->shape, *strides = tensor->strides;
    const uint32_t blocks = (shape[1] + tiling->block - 1u) / tiling->block;
    uint32_t n, block, y, x;
    for (n = 0; n < shape[0]; ++n)
        for (block = 0; block < blocks; ++block)
            for (y = 0; y < shape[2]; ++y)
                for (x = 0; x < shape[3]; ++x) {
                    const uint32_t first = block * tiling->block, left = shape[1] - first;
                    const uint32_t image = n / tiling->batch * blocks + block;
                    const uint32_t tile = (image * shape[2] + y) * shape[3] + x;
                    const uint32_t index = (tile * tiling->batch + n % tiling->batch) * tiling->block;
                    const size_t value = (size_t)n * strides[0] + (size_t)first * strides[1] + (size_t)y * strides[2] +
                                         (size_t)x * strides[3];
                    function(tiling, tiles, index, values + value, strides[1],
                             left < tiling->block ? left : tiling->block);
                }
}

static void put_vector(const vta_tiling *tiling, uint8_t *tiles, uint32_t index, uint8_t *values, uint32_t stride,
                       uint32_t count) {
    const uint32_t width = tiling->width, per_byte = 8u / width, mask = (1u << width) - 1u;
    uint32_t i;
    if (width == 8u) {
        for (i = 0; i < count; ++i) tiles[index + i] = values[(size_t)i * stride];
        return;
    }
    for (i = 0; i < count; ++i) {
        const uint32_t at = index + i, bits = values[(size_t)i * stride] & mask;
        tiles[at / per_byte] = (uint8_t)(tiles[at / per_byte] | bits << at % per_byte * width);
    }
}

static void get_vector(const vta_tiling *tiling, uint8_t *tiles, uint32_t index, uint8_t *values, uint32_t stride,
                       uint32_t count) {
    const uint32_t width = tiling->width, per_byte = 8u / width, mask = (1u << width) - 1u;
    const uint32_t sign = tiling->is_signed ? 1u << (width - 1u) : 0u;
    uint32_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t at = index + i, bits = (uint32_t)tiles[at / per_byte] >> at % per_byte * width & mask;
        values[(size_t)i * stride] = (uint8_t)((bits ^ sign) - sign);
    }
}

void vta_write_tensor(const vta_arena *arena, const vta_tiling *tiling, const vta_tensor *tensor, const void *values) {
    uint8_t *tiles = arena->memory + tensor->offset;
    memset(tiles, 0, tensor->size);
    each_vector(tiling, tensor, tiles, (uint8_t *)values, put_vector); /* which only reads the values */
    vta_cache_flush(tiles, tensor->size);
}

void vta_read_tensor(const vta_arena *arena, const vta_tiling *tiling, const vta_tensor *tensor, void *values) {
    uint8_t *tiles = arena->memory + tensor->offset;
    vta_cache_invalidate(tiles, tensor->size);
    each_vector(tiling, tensor, tiles, (uint8_t *)values, get_vector);
}

/* Windows ------------------------------------------------------------------------------ */

void vta_gather_windows(const vta_windows *step, const void *source, void *packed) {
    const uint8_t *from = (const uint8_t *)source;
    uint8_t *to = (uint8_t *)packed;
    const size_t plane = (size_t)step->height * step->width;
    uint32_t n, y, x, r, q, c;
    for (n = 0; n < step->images; ++n, from += plane * step->channels)
        for (y = 0; y < step->out_height; ++y)
            for (x = 0; x < step->out_width; ++x)
                for (r = 0; r < step->window[0]; ++r)
                    for (q = 0; q < step->window[1]; ++q, to += step->channels) {
                        /* Left of the source these wrap to large numbers, which are outside as well. */
                        const uint32_t row = y * step->strides[0] + r * step->dilations[0] - step->before[0];
                        const uint32_t col = x * step->strides[1] + q * step->dilations[1] - step->before[1];
                        if (row >= step->height || col >= step->width) {
                            memset(to, step->value, step->channels);
                            continue;
                        }
                        for (c = 0; c < step->channels; ++c) to[c] = from[c * plane + (size_t)row * step->width + col];
                    }
}

/* Operators ---------------------------------------------------------------------------- */

/* From 2^23 on a float is a whole number. A zero keeps its sign, as in IEEE 754. */
static float with_sign(float magnitude, float sign_of) {
    uint32_t bits, sign;
    memcpy(&bits, &magnitude, sizeof bits);
    memcpy(&sign, &sign_of, sizeof sign);
    bits = (bits & 0x7fffffffu) | (sign & 0x80000000u);
    memcpy(&magnitude, &bits, sizeof bits);
    return magnitude;
}

static int is_whole(float value) { return !(value > -8388608.0f && value < 8388608.0f); }

static float round_even(float value) {
    int32_t whole;
    float rest;
    if (is_whole(value)) return value;
    whole = (int32_t)value;
    rest = value - (float)whole;
    if (rest > 0.5f || (rest == 0.5f && whole % 2)) ++whole;
    if (rest < -0.5f || (rest == -0.5f && whole % 2)) --whole;
    return with_sign((float)whole, value);
}

static float round_down(float value) {
    float whole;
    if (is_whole(value)) return value;
    whole = (float)(int32_t)value;
    if (whole > value) whole -= 1.0f;
    return with_sign(whole, value);
}

void vta_quantize(const vta_scales *scales, const float *values, void *integers, int32_t low, int32_t high) {
    uint8_t *to = (uint8_t *)integers;
    uint32_t i;
    for (i = 0; i < scales->elements; ++i) {
        const uint32_t channel = scales->count == 1u ? 0u : i / scales->inner % scales->count;
        const int32_t zero = scales->zero[channel];
        const float steps = round_even(values[i] / scales->scale[channel]);
        int32_t q = low;
        if (steps >= (float)(high - zero))
            q = high;
        else if (steps > (float)(low - zero))
            q = (int32_t)steps + zero;
        to[i] = (uint8_t)q;
    }
}

void vta_dequantize(const vta_scales *scales, const void *integers, int is_signed, float *values) {
    const uint8_t *from = (const uint8_t *)integers;
    const int32_t sign = is_signed ? 128 : 0;
    uint32_t i;
    for (i = 0; i < scales->elements; ++i) {
        const uint32_t channel = scales->count == 1u ? 0u : i / scales->inner % scales->count;
        const int32_t q = (from[i] ^ sign) - sign;
        values[i] = (float)(q - scales->zero[channel]) * scales->scale[channel];
    }
}

/* The next index of a box, row-major, and with it the offsets of `arrays` arrays; 0 after the last. */
static int next_index(uint32_t rank, const uint32_t *shape, uint32_t *index, uint32_t arrays,
                      const uint32_t *const *strides, size_t *offsets) {
    uint32_t axis, i;
    for (axis = rank; axis-- > 0u;) {
        const int more = ++index[axis] < shape[axis];
        for (i = 0; i < arrays; ++i) {
            if (more)
                offsets[i] += strides[i][axis];
            else
                offsets[i] -= (size_t)(shape[axis] - 1u) * strides[i][axis];
        }
        if (more) return 1;
        index[axis] = 0;
    }
    return 0;
}

void vta_copy(size_t element, uint32_t rank, const uint32_t *shape, const void *source, const uint32_t *source_strides,
              void *target, const uint32_t *target_strides) {
    const uint32_t *strides[2];
    uint32_t index[VTA_MAX_RANK] = {0};
    size_t offsets[2] = {0, 0};
    strides[0] = source_strides, strides[1] = target_strides;
    do
        memcpy((uint8_t *)target + offsets[1] * element, (const uint8_t *)source + offsets[0] * element, element);
    while (next_index(rank, shape, index, 2, strides, offsets));
}

void vta_fill(size_t element, uint32_t count, const void *value, void *target) {
    uint32_t i;
    for (i = 0; i < count; ++i) memcpy((uint8_t *)target + i * element, value, element);
}

static float binary(vta_binary_op op, float a, float b) {
    switch (op) {
        case VTA_ADD:
            return a + b;
        case VTA_SUB:
            return a - b;
        case VTA_MUL:
            return a * b;
        case VTA_DIV:
            break;
    }
    return a / b;
}

void vta_binary(vta_binary_op op, uint32_t rank, const uint32_t *shape, const float *a, const uint32_t *a_strides,
                const float *b, const uint32_t *b_strides, float *result) {
    const uint32_t *strides[2];
    uint32_t index[VTA_MAX_RANK] = {0};
    size_t offsets[2] = {0, 0};
    strides[0] = a_strides, strides[1] = b_strides;
    do
        *result++ = binary(op, a[offsets[0]], b[offsets[1]]);
    while (next_index(rank, shape, index, 2, strides, offsets));
}

static float unary(vta_unary_op op, float value) {
    switch (op) {
        case VTA_CEIL:
            return -round_down(-value);
        case VTA_FLOOR:
            return round_down(value);
        case VTA_NEG:
            return -value;
        case VTA_RELU:
            return value < 0.0f ? 0.0f : value;
        case VTA_ROUND:
            break;
    }
    return round_even(value);
}

void vta_unary(vta_unary_op op, uint32_t count, const float *values, float *result) {
    uint32_t i;
    for (i = 0; i < count; ++i) result[i] = unary(op, values[i]);
}

void vta_clip(uint32_t count, const float *values, const float *low, const float *high, float *result) {
    uint32_t i;
    for (i = 0; i < count; ++i) {
        const float above = low && values[i] < *low ? *low : values[i];
        result[i] = high && above > *high ? *high : above;
    }
}
