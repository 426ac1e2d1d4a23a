/* See vta_driver.h. Register offsets and bits are those of vta_registers.h. */
#include "vta_driver.h"

#include <string.h>

/* Hooks -------------------------------------------------------------------------------- */

VTA_WEAK uint32_t vta_read32(uintptr_t address) { return *(volatile uint32_t *)address; }

VTA_WEAK void vta_write32(uintptr_t address, uint32_t value) { *(volatile uint32_t *)address = value; }

VTA_WEAK void vta_cache_flush(const void *memory, size_t size) {
    (void)memory;
    (void)size;
}

VTA_WEAK void vta_cache_invalidate(void *memory, size_t size) {
    (void)memory;
    (void)size;
}

VTA_WEAK uint64_t vta_now(void) { return 0; }

VTA_WEAK void vta_wait(vta_device *device) { (void)device; }

/* Registers ---------------------------------------------------------------------------- */

static uint32_t read_register(const vta_device *device, uint32_t offset) {
    return vta_read32(device->registers + offset);
}

static void write_register(const vta_device *device, uint32_t offset, uint32_t value) {
    vta_write32(device->registers + offset, value);
}

/* A 64-bit quantity is two registers, the low word first. */
static uint64_t read_pair(const vta_device *device, uint32_t offset) {
    const uint64_t low = read_register(device, offset);
    return (uint64_t)read_register(device, offset + 4u) << 32 | low;
}

static void write_pair(const vta_device *device, uint32_t offset, uint64_t value) {
    write_register(device, offset, (uint32_t)value);
    write_register(device, offset + 4u, (uint32_t)(value >> 32));
}

/* The device --------------------------------------------------------------------------- */

void vta_open(vta_device *device, uintptr_t registers) {
    memset(device, 0, sizeof *device);
    device->registers = registers;
    device->watchdog = VTA_DEFAULT_WATCHDOG;
    device->max_polls = VTA_DEFAULT_POLLS;
    device->result.error_insn = VTA_NO_INSN;
}

int vta_identify(const vta_device *device, const vta_identity *wanted) {
    if (read_register(device, VTA_REG_IDENT) != VTA_IDENT_VALUE) return VTA_ERROR_IDENT;
    if (read_register(device, VTA_REG_VERSION) != VTA_HW_VERSION_VALUE) return VTA_ERROR_VERSION;
    if (read_register(device, VTA_REG_CAPABILITY) != wanted->capability) return VTA_ERROR_CAPABILITY;
    if (read_pair(device, VTA_REG_FINGERPRINT_LO) != wanted->fingerprint) return VTA_ERROR_FINGERPRINT;
    return VTA_OK;
}

int vta_reset(const vta_device *device) {
    uint32_t polls;
    write_register(device, VTA_REG_CONTROL, VTA_CONTROL_RESET);
    for (polls = 0; polls < VTA_RESET_POLLS; ++polls)
        if (!(read_register(device, VTA_REG_STATUS) & (VTA_STATUS_RESETTING | VTA_STATUS_RUNNING))) return VTA_OK;
    return VTA_ERROR_RESET;
}

int vta_load(const vta_arena *arena, const vta_identity *identity, const vta_segment *segments, size_t count) {
    const uint64_t last = arena->address + arena->size - 1u;
    size_t i;
    if (arena->address % VTA_WINDOW_PAGE || last < arena->address) return VTA_ERROR_ARENA;
    if (identity->address_bits < 64u && last >> identity->address_bits) return VTA_ERROR_ARENA;
    for (i = 0; i < count; ++i) memcpy(arena->memory + segments[i].offset, segments[i].words, segments[i].size);
    vta_cache_flush(arena->memory, arena->size);
    return VTA_OK;
}

/* Wait for DONE. A run that does not end in time is told to; the next launch waits until it has. */
static int wait_done(vta_device *device) {
    const uint64_t start = vta_now();
    uint32_t polls = 0;
    while (!(read_register(device, VTA_REG_STATUS) & VTA_STATUS_DONE)) {
        const int late = device->timeout && vta_now() - start > device->timeout;
        if (late || (device->max_polls && ++polls >= device->max_polls)) {
            write_register(device, VTA_REG_CONTROL, VTA_CONTROL_RESET);
            return VTA_ERROR_TIMEOUT;
        }
        vta_wait(device);
    }
    return VTA_OK;
}

static void program_registers(const vta_device *device, const vta_arena *arena, uint32_t offset, uint32_t count) {
#define VTA_ITEM(offset) offset,
    static const uint32_t bases[] = {VTA_BASES_LIST(VTA_ITEM)};
#undef VTA_ITEM
    const uint64_t end = arena->address + arena->size;
    size_t i;
    write_pair(device, VTA_REG_DMA_BASE_LO, arena->address);
    write_pair(device, VTA_REG_DMA_LIMIT_LO, (end + VTA_WINDOW_PAGE - 1u) / VTA_WINDOW_PAGE * VTA_WINDOW_PAGE);
    write_register(device, VTA_REG_WATCHDOG, device->watchdog);
    for (i = 0; i < sizeof bases / sizeof bases[0]; ++i) write_pair(device, bases[i], arena->address);
    write_pair(device, VTA_REG_INSN_ADDRESS_LO, arena->address + offset);
    write_register(device, VTA_REG_INSN_COUNT, count);
    write_register(device, VTA_REG_IRQ_STATUS, VTA_IRQ_STATUS_DONE);
    write_register(device, VTA_REG_IRQ_ENABLE, device->interrupt ? VTA_IRQ_ENABLE_DONE : 0u);
}

int vta_launch(vta_device *device, const vta_arena *arena, uint32_t offset, uint32_t count) {
    vta_result *result = &device->result;
    int error = VTA_OK;
    memset(result, 0, sizeof *result);
    result->error_insn = VTA_NO_INSN;
    if (read_register(device, VTA_REG_STATUS) & (VTA_STATUS_RUNNING | VTA_STATUS_RESETTING)) error = vta_reset(device);
    if (error) return error;
    program_registers(device, arena, offset, count);
    VTA_BARRIER();
    write_register(device, VTA_REG_CONTROL, VTA_CONTROL_START);
    error = wait_done(device);
    VTA_BARRIER();
    result->status = read_register(device, VTA_REG_STATUS);
    if (error) return error;
    result->cycles = read_pair(device, VTA_REG_CYCLES_LO);
    result->errors = read_register(device, VTA_REG_ERRORS);
    result->error_insn = read_register(device, VTA_REG_ERROR_INSN);
    write_register(device, VTA_REG_IRQ_STATUS, VTA_IRQ_STATUS_DONE);
    return result->errors ? VTA_ERROR_REPORTED : VTA_OK;
}

/* Words -------------------------------------------------------------------------------- */

const char *vta_error_text(int error) {
    static const char *const texts[VTA_ERROR_COUNT] = {
        "no error",
        "register IDENT is not a VTA's: no accelerator at this address; program the device first",
        "the accelerator has another instruction set version; make its Verilog and this program with one software",
        "the accelerator has other extensions than the program's configuration; use the configuration that it was made from",
        "the accelerator has another configuration than the program; use the configuration that it was made from",
        "the arena must begin at a page of the DMA window (VTA_WINDOW_PAGE) and lie within the accelerator's address bits",
        "the memory does not answer what the accelerator asked it for; program the device again",
        "the run did not end in time; raise max_polls or timeout if it needs more",
        "the accelerator reports errors; see vta_device.result",
        "the program is not loaded; call its load function first",
    };
    return error >= 0 && error < VTA_ERROR_COUNT ? texts[error] : "unknown error";
}

const char *vta_reported_text(uint32_t bits, uint32_t *rest) {
#define VTA_ITEM(bit, text) {bit, text},
    static const struct {
        uint32_t bit;
        const char *text;
    } items[] = {VTA_ERRORS_LIST(VTA_ITEM)};
#undef VTA_ITEM
    size_t i;
    *rest = bits & (bits - 1u);
    for (i = 0; i < sizeof items / sizeof items[0]; ++i)
        if ((bits ^ *rest) == items[i].bit) return items[i].text;
    return bits ? "an error that this driver does not know" : "no error";
}
