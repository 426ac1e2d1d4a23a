// The Verilated accelerator with its memory, behind a C interface for ctypes.
//
// AXI allows no combinational path from an input to an output, so that outputs are there with the clock edge: a cycle
// samples them, sets the inputs, and evaluates the model once, for the settling and the next edge together. Every
// kLookCycles the model settles first, to see that outputs stay as they were.
#include <array>
#include <cstdint>
#include <memory>

#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#include "Vvta_top.h"
#include "Vvta_top___024root.h"
#include "axi_memory.h"
#include "trace_recorder.h"
#include "verilated.h"

#ifndef VTA_AXI_BYTES
#error "VTA_AXI_BYTES: bytes of the AXI data bus"
#endif

namespace {

constexpr unsigned kResetCycles = 8;
constexpr unsigned kRegisterTimeout = 10000;  // cycles that a register access may take
constexpr unsigned kLookCycles = 61;          // between two looks for combinational paths; a prime, to meet all phases

enum RunEnd { kCyclesUsed = 0, kInterrupt = 1, kViolation = 2 };

class Simulation {
  public:
    explicit Simulation(const MemoryParams& params) : axi_(params), top_(&context_, "vta_top") {
        top_.aclk = 0;
        top_.aresetn = 0;
        top_.s_axi_control_awvalid = top_.s_axi_control_wvalid = top_.s_axi_control_bready = 0;
        top_.s_axi_control_arvalid = top_.s_axi_control_rready = 0;
        top_.s_axi_control_awprot = top_.s_axi_control_arprot = 0;
        for (unsigned cycle = 0; cycle < kResetCycles; ++cycle) {
            top_.eval();
            clock();
        }
        top_.eval();
        if (top_.m_axi_gmem_arvalid || top_.m_axi_gmem_awvalid || top_.m_axi_gmem_wvalid)
            axi_.fail(0, "a VALID of m_axi_gmem is high during reset");
        top_.aresetn = 1;
    }
    ~Simulation() { top_.final(); }

    // One clock cycle. False after a protocol violation.
    bool step() {
        begin_cycle();
        return end_cycle();
    }

    int run(uint64_t cycles) {
        for (uint64_t left = cycles; left; --left) {
            if (!step()) return kViolation;
            if (top_.__SYM__interrupt) return kInterrupt;  // `interrupt` is a word that Verilator renames
        }
        return kCyclesUsed;
    }

    bool write_register(uint32_t offset, uint32_t value) {
        top_.s_axi_control_awaddr = offset, top_.s_axi_control_wdata = value, top_.s_axi_control_wstrb = 15;
        top_.s_axi_control_awvalid = top_.s_axi_control_wvalid = top_.s_axi_control_bready = 1;
        for (unsigned cycle = 0; cycle < kRegisterTimeout; ++cycle) {
            begin_cycle();
            const bool address = top_.s_axi_control_awready, data = top_.s_axi_control_wready;
            const bool answer = top_.s_axi_control_bvalid;
            const unsigned response = top_.s_axi_control_bresp;
            if (!end_cycle()) return false;
            if (address) top_.s_axi_control_awvalid = 0;
            if (data) top_.s_axi_control_wvalid = 0;
            if (answer) {
                top_.s_axi_control_bready = 0;
                if (response) axi_.fail(cycle_, "register %#llx: BRESP is %llu", offset, response);
                return !response;
            }
        }
        axi_.fail(cycle_, "register %#llx: a write was not answered in %llu cycles", offset, kRegisterTimeout);
        return false;
    }

    bool read_register(uint32_t offset, uint32_t* value) {
        top_.s_axi_control_araddr = offset;
        top_.s_axi_control_arvalid = top_.s_axi_control_rready = 1;
        for (unsigned cycle = 0; cycle < kRegisterTimeout; ++cycle) {
            begin_cycle();
            const bool address = top_.s_axi_control_arready, answer = top_.s_axi_control_rvalid;
            const unsigned response = top_.s_axi_control_rresp;
            *value = top_.s_axi_control_rdata;
            if (!end_cycle()) return false;
            if (address) top_.s_axi_control_arvalid = 0;
            if (answer) {
                top_.s_axi_control_rready = 0;
                if (response) axi_.fail(cycle_, "register %#llx: RRESP is %llu", offset, response);
                return !response;
            }
        }
        axi_.fail(cycle_, "register %#llx: a read was not answered in %llu cycles", offset, kRegisterTimeout);
        return false;
    }

    uint64_t cycle() const { return cycle_; }
    AxiMemory<VTA_AXI_BYTES>& axi() { return axi_; }
    VerilatedContext& context() { return context_; }
    TraceRecorder& recorder() { return recorder_; }

  private:
    // Drive the inputs. Outputs do not depend on them.
    void begin_cycle() {
        axi_.drive(cycle_);
        const auto& in = axi_.in;
        top_.m_axi_gmem_awready = in.awready, top_.m_axi_gmem_wready = in.wready;
        top_.m_axi_gmem_bvalid = in.bvalid, top_.m_axi_gmem_bid = in.bid, top_.m_axi_gmem_bresp = in.bresp;
        top_.m_axi_gmem_arready = in.arready, top_.m_axi_gmem_rvalid = in.rvalid;
        top_.m_axi_gmem_rid = in.rid, top_.m_axi_gmem_rresp = in.rresp, top_.m_axi_gmem_rlast = in.rlast;
        std::memcpy(&top_.m_axi_gmem_rdata, in.rdata, VTA_AXI_BYTES);
        if (cycle_ % kLookCycles == 0) look();
    }

    void look() {
        const auto before = outputs();
        top_.eval();
        if (outputs() != before) axi_.fail(cycle_, "an output depends on an input of the same cycle");
    }

    std::array<uint64_t, 17> outputs() const {
        return {top_.m_axi_gmem_arvalid,    top_.m_axi_gmem_araddr,     top_.m_axi_gmem_arid,
                top_.m_axi_gmem_arlen,      top_.m_axi_gmem_awvalid,    top_.m_axi_gmem_awaddr,
                top_.m_axi_gmem_awid,       top_.m_axi_gmem_awlen,      top_.m_axi_gmem_wvalid,
                top_.m_axi_gmem_wlast,      top_.m_axi_gmem_bready,     top_.m_axi_gmem_rready,
                top_.s_axi_control_awready, top_.s_axi_control_wready,  top_.s_axi_control_bvalid,
                top_.s_axi_control_arready, top_.s_axi_control_rvalid};
    }

    // Sample the handshakes, then the clock edge.
    bool end_cycle() {
        AxiMemory<VTA_AXI_BYTES>::Outputs out;
        out.ar = {bool(top_.m_axi_gmem_arvalid), top_.m_axi_gmem_araddr, top_.m_axi_gmem_arid,
                  top_.m_axi_gmem_arlen, top_.m_axi_gmem_arsize, top_.m_axi_gmem_arburst};
        out.aw = {bool(top_.m_axi_gmem_awvalid), top_.m_axi_gmem_awaddr, top_.m_axi_gmem_awid,
                  top_.m_axi_gmem_awlen, top_.m_axi_gmem_awsize, top_.m_axi_gmem_awburst};
        out.wvalid = top_.m_axi_gmem_wvalid, out.wlast = top_.m_axi_gmem_wlast, out.wstrb = top_.m_axi_gmem_wstrb;
        out.wdata = reinterpret_cast<const uint8_t*>(&top_.m_axi_gmem_wdata);
        out.bready = top_.m_axi_gmem_bready, out.rready = top_.m_axi_gmem_rready;
        const bool fine = axi_.sample(cycle_, out);
#if VTA_TRACE
        top_.eval();  // what is observed may depend on inputs
        recorder_.sample(cycle_, top_.observed);
#endif
        clock();
        ++cycle_;
        return fine;
    }

    // A rising edge. The falling one changes nothing: it is only forgotten that the clock is high.
    void clock() {
#if VM_COVERAGE
        top_.aclk = 0, top_.eval();  // but its toggles count
#endif
        top_.rootp->__Vtrigprevexpr___TOP__aclk__0 = 0;
        top_.aclk = 1, top_.eval();
    }

    VerilatedContext context_;
    AxiMemory<VTA_AXI_BYTES> axi_;
    Vvta_top top_;
    uint64_t cycle_ = 0;
    TraceRecorder recorder_;
};

}  // namespace

extern "C" {

Simulation* vta_create(const MemoryParams* params) { return new Simulation(*params); }
void vta_destroy(Simulation* simulation) { delete simulation; }
void vta_memory_write(Simulation* s, uint64_t address, const uint8_t* data, uint64_t size) {
    s->axi().memory.write(address, data, size);
}
void vta_memory_read(Simulation* s, uint64_t address, uint8_t* data, uint64_t size) {
    s->axi().memory.read(address, data, size);
}
int vta_register_write(Simulation* s, uint32_t offset, uint32_t value) { return s->write_register(offset, value); }
int vta_register_read(Simulation* s, uint32_t offset, uint32_t* value) { return s->read_register(offset, value); }
int vta_run(Simulation* s, uint64_t cycles) { return s->run(cycles); }
uint64_t vta_cycles(const Simulation* s) { return s->cycle(); }
void vta_stats(Simulation* s, MemoryStats* stats) { *stats = s->axi().stats; }
const char* vta_violation(Simulation* s) { return s->axi().violation.c_str(); }
uint64_t vta_trace_changes(Simulation* s) { return s->recorder().changes(); }
void vta_trace_take(Simulation* s, uint64_t* words) { s->recorder().take(words); }
void vta_trace_clear(Simulation* s) { s->recorder().clear(); }
#if VM_COVERAGE
void vta_coverage_write(Simulation* s, const char* path) { s->context().coveragep()->write(path); }
#endif

}
