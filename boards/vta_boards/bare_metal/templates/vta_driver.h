/* The accelerator's driver: identify it, load a program's constants, run its instructions.
 *
 * C99; needs stdint.h, stddef.h and string.h only and allocates nothing. One accelerator does one run at a time, so
 * a vta_device and what runs on it belong to one thread.
 */
#ifndef VTA_DRIVER_H
#define VTA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "vta_registers.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the accelerator's memory is little-endian, and so must the processor be"
#endif

#ifndef VTA_WEAK
#define VTA_WEAK __attribute__((weak))
#endif
#ifndef VTA_ALIGNED
#define VTA_ALIGNED(bytes) __attribute__((aligned(bytes)))
#endif

/* Memory and registers in program order, for the accelerator too. */
#ifndef VTA_BARRIER
#if defined(__aarch64__) || (defined(__ARM_ARCH) && __ARM_ARCH >= 7)
#define VTA_BARRIER() __asm__ volatile("dsb sy" ::: "memory")
#else
#define VTA_BARRIER() __sync_synchronize()
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define VTA_BASE_ALIGNMENT @BASE_ALIGNMENT@u /* bytes; tensors begin at multiples of it, which is a cache line at least */
#define VTA_INSN_BYTES @INSN_BYTES@u
#define VTA_DEFAULT_WATCHDOG @DEFAULT_WATCHDOG@u /* cycles without progress after which the accelerator gives up */
#define VTA_RESET_POLLS @RESET_POLLS@u /* looks at STATUS before a reset is given up */
#ifndef VTA_DEFAULT_POLLS
#define VTA_DEFAULT_POLLS 100000000u /* looks at STATUS that a run may take */
#endif

/* What a function returns; vta_error_text() has the words. */
enum {
    VTA_OK = 0,
    VTA_ERROR_IDENT,       /* no accelerator at this address */
    VTA_ERROR_VERSION,     /* another version of the instruction set */
    VTA_ERROR_CAPABILITY,  /* other extensions than the program needs */
    VTA_ERROR_FINGERPRINT, /* another configuration than the program's */
    VTA_ERROR_ARENA,       /* the arena's address is not aligned or does not fit the address bus */
    VTA_ERROR_RESET,       /* the memory does not answer what the accelerator asked it for */
    VTA_ERROR_TIMEOUT,     /* the run did not end in time */
    VTA_ERROR_REPORTED,    /* the accelerator reports errors: see vta_device.result */
    VTA_ERROR_NOT_LOADED,  /* a run before the program was loaded */
    VTA_ERROR_COUNT
};

/* What the accelerator must be for a program. */
typedef struct {
    uint32_t capability;
    uint64_t fingerprint;
    uint32_t address_bits;
} vta_identity;

/* Constant bytes of a program and their place in the arena. */
typedef struct {
    const char *name;
    uint32_t offset;
    uint32_t size;
    const uint32_t *words;
} vta_segment;

/* What the last launch left in the registers. */
typedef struct {
    uint64_t cycles;
    uint32_t status;     /* VTA_STATUS_ bits */
    uint32_t errors;     /* VTA_ERRORS_ bits */
    uint32_t error_insn; /* the instruction to blame, counted from the launch's first; VTA_NO_INSN if there is none */
} vta_result;

/* An accelerator. vta_open() sets it; the limits may be changed afterwards. */
typedef struct {
    uintptr_t registers; /* address of its registers */
    uint32_t watchdog;   /* cycles without progress after which it ends a run itself; 0: never */
    uint32_t max_polls;  /* looks at STATUS that a run may take; 0: any number */
    uint64_t timeout;    /* ticks of vta_now() that a run may take; 0: any number */
    int interrupt;       /* raise the interrupt at the end of a run: vta_wait() can sleep until then */
    vta_result result;   /* of the last launch */
} vta_device;

/* Memory that processor and accelerator share: a program's constants and tensors. */
typedef struct {
    uint8_t *memory; /* where the processor sees it */
    uint64_t address; /* where the accelerator sees it: a multiple of VTA_WINDOW_PAGE */
    uint32_t size;
} vta_arena;

/* A device at an address, with the default limits. Nothing is read or written. */
void vta_open(vta_device *device, uintptr_t registers);

/* Compare IDENT, VERSION, CAPABILITY and FINGERPRINT with what a program needs. */
int vta_identify(const vta_device *device, const vta_identity *wanted);

/* End whatever runs; clear units, queues, tokens and errors. */
int vta_reset(const vta_device *device);

/* Copy constants to the arena and make the accelerator see all of it. */
int vta_load(const vta_arena *arena, const vta_identity *identity, const vta_segment *segments, size_t count);

/* Run `count` instructions at byte `offset` of the arena to their end. Only the arena can be touched. */
int vta_launch(vta_device *device, const vta_arena *arena, uint32_t offset, uint32_t count);

/* The words for a return value. */
const char *vta_error_text(int error);

/* The words for the lowest of VTA_ERRORS_ bits, and the bits without it: for (; bits; bits = ...) prints them all. */
const char *vta_reported_text(uint32_t bits, uint32_t *rest);

/* Hooks. The driver has weak ones of each; a definition of yours replaces it. */

/* A register at an address. Weak: a volatile access of 32 bits. */
uint32_t vta_read32(uintptr_t address);
void vta_write32(uintptr_t address, uint32_t value);

/* Write the processor's cached bytes to memory / forget them, so that memory is read. Weak: nothing, which is right
 * without a data cache, with an uncached arena, or through a coherent port. */
void vta_cache_flush(const void *memory, size_t size);
void vta_cache_invalidate(void *memory, size_t size);

/* Time in ticks of any length, for vta_device.timeout. Weak: 0. */
uint64_t vta_now(void);

/* Called between two looks at STATUS: may sleep until the interrupt, or let others work. Weak: nothing. */
void vta_wait(vta_device *device);

#ifdef __cplusplus
}
#endif

#endif
