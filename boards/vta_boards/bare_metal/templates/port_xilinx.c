/* The hooks for the standalone BSP of Zynq and Zynq UltraScale+: its caches and its clock. Vitis compiles this file with
 * the others; elsewhere leave it out and write your own hooks.
 */
#include "vta_driver.h"
#include "xil_cache.h"
#include "xtime_l.h"

void vta_cache_flush(const void *memory, size_t size) { Xil_DCacheFlushRange((INTPTR)memory, (u32)size); }

void vta_cache_invalidate(void *memory, size_t size) { Xil_DCacheInvalidateRange((INTPTR)memory, (u32)size); }

/* COUNTS_PER_SECOND ticks a second: vta_device.timeout = 2ull * COUNTS_PER_SECOND is two seconds. */
uint64_t vta_now(void) {
    XTime now;
    XTime_GetTime(&now);
    return now;
}
