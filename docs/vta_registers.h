/* Made from vta_arch by `make docs`; do not edit. */
#ifndef VTA_REGISTERS_H
#define VTA_REGISTERS_H

/* The registers have 32 bits each; _LO and _HI are the words of a 64-bit quantity. */
#define VTA_REG_SPACE_BYTES 0x1000u
#define VTA_REG_IDENT 0x000u /* read only: identifies the accelerator */
#define VTA_REG_VERSION 0x004u /* read only: instruction set version */
#define VTA_REG_CAPABILITY 0x008u /* read only: one bit for each extension */
#define VTA_REG_FINGERPRINT_LO 0x010u /* read only: fingerprint of the configuration (bits 31:0) */
#define VTA_REG_FINGERPRINT_HI 0x014u /* read only: fingerprint of the configuration (bits 63:32) */
#define VTA_REG_CONTROL 0x018u /* write 1 to set; clears itself: START begins a run, ignored while one is under way or the accelerator is resetting; RESET ends a run without DONE, completes what it began on the bus, and clears units, queues, tokens and errors */
#define VTA_REG_STATUS 0x01cu /* read only: state of the run; WAIT bits name units that wait for a token */
#define VTA_REG_ERRORS 0x020u /* read only: sticky errors of the run */
#define VTA_REG_IRQ_ENABLE 0x024u /* read and write: events that raise the interrupt */
#define VTA_REG_IRQ_STATUS 0x028u /* write 1 to clear: events since they were last cleared */
#define VTA_REG_INSN_COUNT 0x02cu /* read and write: instructions in the stream */
#define VTA_REG_INSN_ADDRESS_LO 0x030u /* read and write: byte address of the stream, a multiple of 64 (bits 31:0) */
#define VTA_REG_INSN_ADDRESS_HI 0x034u /* read and write: byte address of the stream, a multiple of 64 (bits 63:32) */
#define VTA_REG_CYCLES_LO 0x038u /* read only: cycles from START to the end of the run (bits 31:0) */
#define VTA_REG_CYCLES_HI 0x03cu /* read only: cycles from START to the end of the run (bits 63:32) */
#define VTA_REG_BASE_UOP_LO 0x040u /* read and write: byte address added to UOP addresses (bits 31:0) */
#define VTA_REG_BASE_UOP_HI 0x044u /* read and write: byte address added to UOP addresses (bits 63:32) */
#define VTA_REG_BASE_WGT_LO 0x048u /* read and write: byte address added to WGT addresses (bits 31:0) */
#define VTA_REG_BASE_WGT_HI 0x04cu /* read and write: byte address added to WGT addresses (bits 63:32) */
#define VTA_REG_BASE_INP_LO 0x050u /* read and write: byte address added to INP addresses (bits 31:0) */
#define VTA_REG_BASE_INP_HI 0x054u /* read and write: byte address added to INP addresses (bits 63:32) */
#define VTA_REG_BASE_ACC_LO 0x058u /* read and write: byte address added to ACC and ACC_8BIT addresses (bits 31:0) */
#define VTA_REG_BASE_ACC_HI 0x05cu /* read and write: byte address added to ACC and ACC_8BIT addresses (bits 63:32) */
#define VTA_REG_BASE_OUT_LO 0x060u /* read and write: byte address added to OUT addresses (bits 31:0) */
#define VTA_REG_BASE_OUT_HI 0x064u /* read and write: byte address added to OUT addresses (bits 63:32) */
#define VTA_REG_ERROR_INSN 0x068u /* read only: index in the stream of the first instruction to blame for an error; 0xffffffff if there is none */
#define VTA_REG_WATCHDOG 0x06cu /* read and write: cycles without any progress after which the run ends; 0: without limit */
#define VTA_REG_DMA_BASE_LO 0x070u /* read and write: first byte address of the DMA window, rounded down to 4096 bytes (bits 31:0) */
#define VTA_REG_DMA_BASE_HI 0x074u /* read and write: first byte address of the DMA window, rounded down to 4096 bytes (bits 63:32) */
#define VTA_REG_DMA_LIMIT_LO 0x078u /* read and write: byte address beyond the DMA window, rounded down to 4096 bytes; 0: the window has no end (bits 31:0) */
#define VTA_REG_DMA_LIMIT_HI 0x07cu /* read and write: byte address beyond the DMA window, rounded down to 4096 bytes; 0: the window has no end (bits 63:32) */
#define VTA_REG_ARRAY_BUSY_LO 0x080u /* read only: cycles in which the multiplier array worked (bits 31:0) */
#define VTA_REG_ARRAY_BUSY_HI 0x084u /* read only: cycles in which the multiplier array worked (bits 63:32) */
#define VTA_REG_STALL_INPUT_LO 0x088u /* read only: cycles in which it waited for the load of inputs (bits 31:0) */
#define VTA_REG_STALL_INPUT_HI 0x08cu /* read only: cycles in which it waited for the load of inputs (bits 63:32) */
#define VTA_REG_STALL_WEIGHT_LO 0x090u /* read only: cycles in which it waited for the load of weights (bits 31:0) */
#define VTA_REG_STALL_WEIGHT_HI 0x094u /* read only: cycles in which it waited for the load of weights (bits 63:32) */
#define VTA_REG_STALL_UOP_LO 0x098u /* read only: cycles in which it waited for the load of micro-ops (bits 31:0) */
#define VTA_REG_STALL_UOP_HI 0x09cu /* read only: cycles in which it waited for the load of micro-ops (bits 63:32) */
#define VTA_REG_STALL_ACC_LO 0x0a0u /* read only: cycles in which it waited for the load of accumulators (bits 31:0) */
#define VTA_REG_STALL_ACC_HI 0x0a4u /* read only: cycles in which it waited for the load of accumulators (bits 63:32) */
#define VTA_REG_STALL_ALU_LO 0x0a8u /* read only: cycles in which it waited for the ALU (bits 31:0) */
#define VTA_REG_STALL_ALU_HI 0x0acu /* read only: cycles in which it waited for the ALU (bits 63:32) */
#define VTA_REG_STALL_TOKEN_LO 0x0b0u /* read only: cycles in which compute waited for a token or for room for one while load and store did nothing (bits 31:0) */
#define VTA_REG_STALL_TOKEN_HI 0x0b4u /* read only: cycles in which compute waited for a token or for room for one while load and store did nothing (bits 63:32) */
#define VTA_REG_STALL_STORE_LO 0x0b8u /* read only: cycles in which it waited for the store unit (bits 31:0) */
#define VTA_REG_STALL_STORE_HI 0x0bcu /* read only: cycles in which it waited for the store unit (bits 63:32) */
#define VTA_REG_STALL_INSN_LO 0x0c0u /* read only: cycles in which compute had no instruction (bits 31:0) */
#define VTA_REG_STALL_INSN_HI 0x0c4u /* read only: cycles in which compute had no instruction (bits 63:32) */
#define VTA_REG_STALL_OTHER_LO 0x0c8u /* read only: cycles in which instructions were issued or ended (bits 31:0) */
#define VTA_REG_STALL_OTHER_HI 0x0ccu /* read only: cycles in which instructions were issued or ended (bits 63:32) */
#define VTA_REG_READ_INSN_LO 0x0d0u /* read only: bytes read as instructions (bits 31:0) */
#define VTA_REG_READ_INSN_HI 0x0d4u /* read only: bytes read as instructions (bits 63:32) */
#define VTA_REG_READ_UOP_LO 0x0d8u /* read only: bytes read as micro-ops (bits 31:0) */
#define VTA_REG_READ_UOP_HI 0x0dcu /* read only: bytes read as micro-ops (bits 63:32) */
#define VTA_REG_READ_WGT_LO 0x0e0u /* read only: bytes read as weights (bits 31:0) */
#define VTA_REG_READ_WGT_HI 0x0e4u /* read only: bytes read as weights (bits 63:32) */
#define VTA_REG_READ_INP_LO 0x0e8u /* read only: bytes read as inputs (bits 31:0) */
#define VTA_REG_READ_INP_HI 0x0ecu /* read only: bytes read as inputs (bits 63:32) */
#define VTA_REG_READ_ACC_LO 0x0f0u /* read only: bytes read as accumulators, 8-bit ones included (bits 31:0) */
#define VTA_REG_READ_ACC_HI 0x0f4u /* read only: bytes read as accumulators, 8-bit ones included (bits 63:32) */
#define VTA_REG_WRITE_OUT_LO 0x0f8u /* read only: bytes written as outputs (bits 31:0) */
#define VTA_REG_WRITE_OUT_HI 0x0fcu /* read only: bytes written as outputs (bits 63:32) */

/* Bits of CONTROL */
#define VTA_CONTROL_START 0x00000001u
#define VTA_CONTROL_RESET 0x00000002u

/* Bits of STATUS */
#define VTA_STATUS_RUNNING 0x00000001u
#define VTA_STATUS_DONE 0x00000002u
#define VTA_STATUS_ERROR 0x00000004u
#define VTA_STATUS_RESETTING 0x00000008u
#define VTA_STATUS_WAIT_LOAD 0x00000100u
#define VTA_STATUS_WAIT_COMPUTE 0x00000200u
#define VTA_STATUS_WAIT_STORE 0x00000400u

/* Bits of ERRORS */
#define VTA_ERRORS_INDEX_RANGE 0x00000001u /* a scratchpad index went past the memory's end and wrapped */
#define VTA_ERRORS_UNKNOWN_OPCODE 0x00000002u /* an instruction of unknown opcode was dropped */
#define VTA_ERRORS_UNKNOWN_MEMORY 0x00000004u /* a LOAD of an unknown memory type moved nothing */
#define VTA_ERRORS_AXI_READ 0x00000008u /* the memory answered a read with an error */
#define VTA_ERRORS_AXI_WRITE 0x00000010u /* the memory answered a write with an error */
#define VTA_ERRORS_DEADLOCK 0x00000020u /* units wait for tokens that nobody will give */
#define VTA_ERRORS_NO_FINISH 0x00000040u /* the stream ended without FINISH */
#define VTA_ERRORS_ONE_BANK 0x00000080u /* an instruction that declared one accumulator bank touched the other */
#define VTA_ERRORS_WATCHDOG 0x00000100u /* nothing moved for as long as WATCHDOG allows */
#define VTA_ERRORS_DMA_WINDOW 0x00000200u /* a transfer outside the DMA window was not put on the bus */

/* Bits of IRQ_ENABLE */
#define VTA_IRQ_ENABLE_DONE 0x00000001u

/* Bits of IRQ_STATUS */
#define VTA_IRQ_STATUS_DONE 0x00000001u

/* Values */
#define VTA_IDENT_VALUE 0x56544121u
#define VTA_HW_VERSION_VALUE 0x00000200u
#define VTA_NO_INSN 0xffffffffu /* ERROR_INSN when no instruction is to blame */
#define VTA_WINDOW_PAGE 4096u /* bytes; the DMA window's ends are multiples of it */

/* Lists, for tables of those who include this */
#define VTA_ERRORS_LIST(ITEM) \
    ITEM(VTA_ERRORS_INDEX_RANGE, "a scratchpad index went past the memory's end and wrapped") \
    ITEM(VTA_ERRORS_UNKNOWN_OPCODE, "an instruction of unknown opcode was dropped") \
    ITEM(VTA_ERRORS_UNKNOWN_MEMORY, "a LOAD of an unknown memory type moved nothing") \
    ITEM(VTA_ERRORS_AXI_READ, "the memory answered a read with an error") \
    ITEM(VTA_ERRORS_AXI_WRITE, "the memory answered a write with an error") \
    ITEM(VTA_ERRORS_DEADLOCK, "units wait for tokens that nobody will give") \
    ITEM(VTA_ERRORS_NO_FINISH, "the stream ended without FINISH") \
    ITEM(VTA_ERRORS_ONE_BANK, "an instruction that declared one accumulator bank touched the other") \
    ITEM(VTA_ERRORS_WATCHDOG, "nothing moved for as long as WATCHDOG allows") \
    ITEM(VTA_ERRORS_DMA_WINDOW, "a transfer outside the DMA window was not put on the bus")
#define VTA_BASES_LIST(ITEM) \
    ITEM(VTA_REG_BASE_UOP_LO) \
    ITEM(VTA_REG_BASE_WGT_LO) \
    ITEM(VTA_REG_BASE_INP_LO) \
    ITEM(VTA_REG_BASE_ACC_LO) \
    ITEM(VTA_REG_BASE_OUT_LO)

#endif
