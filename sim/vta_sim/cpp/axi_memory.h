// AXI4 subordinate in front of a sparse memory, with a protocol checker for the manager.
//
// A cycle is: drive() before the clock edge, then sample() with the settled outputs of the manager; sample()
// accepts what was handshaked. No input depends on an output of the same cycle.
//
// Ordering: each direction answers in order. Reads take their data as late as possible, writes become visible
// as late as possible (with their response), so that a manager that does not wait for its responses is found out.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "sparse_memory.h"

struct MemoryParams {  // mirrored by ctypes in vta_sim/rtl.py
    uint64_t latency;           // cycles from an accepted address to its first data; from last data to response
    uint64_t interval_num;      // one beat every num/den cycles, each direction
    uint64_t interval_den;
    uint64_t max_reads;         // bursts accepted and not yet answered
    uint64_t max_writes;
    uint64_t max_burst;         // beats
    uint64_t stall_threshold;   // of 4096: chance of a random stall, per channel and cycle
    uint64_t seed;
    uint64_t error_begin;       // bursts that touch [begin, end) are answered with SLVERR
    uint64_t error_end;
    uint64_t silent_after;      // beats and responses after which nothing is answered ...
    uint64_t silent_cycles;     // ... for so many cycles; 0: never falls silent
};

struct MemoryStats {  // mirrored by ctypes
    uint64_t read_bursts, read_beats, write_bursts, write_beats, reads_open, writes_open;
};

template <unsigned kBytes>
class AxiMemory {
  public:
    static constexpr unsigned kRing = 64;      // most bursts open in a direction
    static constexpr unsigned kMaxBeats = 256;  // longest burst of AXI4

    struct Inputs {  // of the manager
        bool awready = false, wready = false, bvalid = false, arready = false, rvalid = false, rlast = false;
        uint32_t bid = 0, bresp = 0, rid = 0, rresp = 0;
        alignas(8) uint8_t rdata[kBytes] = {};
    };
    struct Address {
        bool valid = false;
        uint64_t addr = 0;
        uint32_t id = 0, len = 0, size = 0, burst = 0;
    };
    struct Outputs {  // of the manager
        Address aw, ar;
        bool wvalid = false, wlast = false, bready = false, rready = false;
        uint64_t wstrb = 0;
        const uint8_t* wdata = nullptr;
    };

    explicit AxiMemory(const MemoryParams& params) : params_(params), random_(params.seed * 2 + 1) {}

    Inputs in;
    MemoryStats stats{};
    SparseMemory memory;
    std::string violation;  // empty while the manager keeps to the protocol

    // Choose this cycle's inputs of the manager.
    void drive(uint64_t cycle) {
        const uint64_t stalls = params_.stall_threshold ? draw() : ~uint64_t(0);
        if (silent(cycle)) {  // what is valid stays so, nothing else is said
            in.arready = in.awready = in.wready = false;
            return;
        }
        in.arready = stats.reads_open < params_.max_reads && go(stalls, 0);
        in.awready = stats.writes_open < params_.max_writes && go(stalls, 1);
        in.wready = write_data_ != write_tail_ && next_write_ <= cycle * params_.interval_den && go(stalls, 2);
        if (!in.rvalid && stats.reads_open && reads_[read_head_ % kRing].ready <= cycle &&
            next_read_ <= cycle * params_.interval_den && go(stalls, 3))
            present_read(cycle);
        if (!in.bvalid && write_head_ != write_data_ && writes_[write_head_ % kRing].ready <= cycle && go(stalls, 4))
            present_response();
    }

    // Take part in this cycle's handshakes. False after a violation.
    bool sample(uint64_t cycle, const Outputs& out) {
        check_address("AR", out.ar, held_ar_, cycle);
        check_address("AW", out.aw, held_aw_, cycle);
        if (out.wvalid || held_wvalid_) check_write_data(out, cycle);
        if (out.ar.valid && in.arready) accept_read(out.ar, cycle);
        // Data may only follow its address: accept W first, so that it meets addresses of earlier cycles.
        if (out.wvalid && in.wready) accept_write_data(out, cycle);
        if (out.aw.valid && in.awready) accept_write(out.aw, cycle);
        if (in.rvalid && out.rready) finish_read_beat();
        if (in.bvalid && out.bready) finish_write();
        return violation.empty();
    }

    void fail(uint64_t cycle, const char* what, unsigned long long first = 0, unsigned long long second = 0) {
        if (!violation.empty()) return;
        char text[160], line[224];
        std::snprintf(text, sizeof text, what, first, second);
        std::snprintf(line, sizeof line, "cycle %llu: %s", static_cast<unsigned long long>(cycle), text);
        violation = line;
    }

  private:
    struct Burst {
        uint64_t addr, ready;
        uint32_t id, beats, size, done;
        bool error;
        uint8_t data[kMaxBeats * kBytes];  // writes only: kept until the response makes them visible
        uint64_t strobes[kMaxBeats];
    };

    // xorshift64*: one draw a cycle, 12 bits a channel
    uint64_t draw() {
        random_ ^= random_ >> 12, random_ ^= random_ << 25, random_ ^= random_ >> 27;
        return random_ * 0x2545F4914F6CDD1DULL;
    }
    bool go(uint64_t stalls, unsigned channel) const {
        return (stalls >> (4 + 12 * channel) & 4095) >= params_.stall_threshold;
    }
    bool silent(uint64_t cycle) {
        if (!params_.silent_cycles || stats.read_beats + stats.write_beats + responses_ < params_.silent_after)
            return false;
        if (!silent_since_) silent_since_ = cycle + 1;
        return cycle + 1 - silent_since_ < params_.silent_cycles;
    }
    static uint64_t beat_address(const Burst& burst, uint32_t beat) {
        const uint64_t aligned = burst.addr >> burst.size << burst.size;
        return beat ? aligned + (uint64_t(beat) << burst.size) : burst.addr;
    }
    static uint64_t word_address(const Burst& burst, uint32_t beat) {
        return beat_address(burst, beat) & ~uint64_t(kBytes - 1);
    }
    // Byte lanes of the bus that a beat may use: from its address to the end of its aligned transfer.
    static uint64_t lanes(const Burst& burst, uint32_t beat) {
        const uint64_t address = beat_address(burst, beat), first = address & (kBytes - 1);
        const uint64_t last = ((address >> burst.size << burst.size) + (uint64_t(1) << burst.size) - 1) & (kBytes - 1);
        const uint64_t below = last == 63 ? ~uint64_t(0) : (uint64_t(1) << (last + 1)) - 1;
        return below & ~((uint64_t(1) << first) - 1);
    }
    uint64_t spend(uint64_t next, uint64_t cycle) const {
        const uint64_t now = cycle * params_.interval_den;
        return (next > now ? next : now) + params_.interval_num;
    }

    void present_read(uint64_t cycle) {
        Burst& burst = reads_[read_head_ % kRing];
        memory.template read_word<kBytes>(word_address(burst, burst.done), in.rdata);
        in.rvalid = true;
        in.rid = burst.id;
        in.rresp = burst.error ? 2 : 0;
        in.rlast = burst.done + 1 == burst.beats;
        next_read_ = spend(next_read_, cycle);
    }
    void finish_read_beat() {
        in.rvalid = false;
        ++stats.read_beats;
        if (++reads_[read_head_ % kRing].done == reads_[read_head_ % kRing].beats) ++read_head_, --stats.reads_open;
    }
    void present_response() {
        Burst& burst = writes_[write_head_ % kRing];
        if (!burst.error)
            for (uint32_t beat = 0; beat < burst.beats; ++beat)
                memory.template write_word<kBytes>(word_address(burst, beat), burst.data + beat * kBytes,
                                                   burst.strobes[beat]);
        in.bvalid = true;
        in.bid = burst.id;
        in.bresp = burst.error ? 2 : 0;
    }
    void finish_write() {
        in.bvalid = false;
        ++responses_;
        ++write_head_, --stats.writes_open;
    }

    void fill(Burst& burst, const Address& address) const {
        burst.addr = address.addr;
        burst.id = address.id;
        burst.beats = address.len + 1;
        burst.size = address.size;
        burst.done = 0;
        const uint64_t begin = address.addr >> address.size << address.size;
        const uint64_t last = begin + (uint64_t(burst.beats) << address.size) - 1;
        burst.error = address.addr < params_.error_end && last >= params_.error_begin &&
                      params_.error_begin < params_.error_end;
    }
    void accept_read(const Address& address, uint64_t cycle) {
        Burst& burst = reads_[(read_head_ + stats.reads_open) % kRing];
        fill(burst, address);
        burst.ready = cycle + params_.latency;
        ++stats.reads_open, ++stats.read_bursts;
    }
    void accept_write(const Address& address, uint64_t) {
        fill(writes_[write_tail_ % kRing], address);
        ++write_tail_, ++stats.writes_open, ++stats.write_bursts;
    }
    void accept_write_data(const Outputs& out, uint64_t cycle) {
        Burst& burst = writes_[write_data_ % kRing];
        const uint32_t beat = burst.done++;
        const bool last = burst.done == burst.beats;
        if (out.wlast != last) fail(cycle, "WLAST is %llu at beat %llu of a write burst", out.wlast, beat);
        if (out.wstrb & ~lanes(burst, beat))
            fail(cycle, "WSTRB %#llx outside the lanes %#llx of its beat", out.wstrb, lanes(burst, beat));
        std::memcpy(burst.data + beat * kBytes, out.wdata, kBytes);
        burst.strobes[beat] = out.wstrb;
        next_write_ = spend(next_write_, cycle);
        ++stats.write_beats;
        if (last) burst.ready = cycle + params_.latency, ++write_data_;
    }

    void check_address(const char* channel, const Address& now, Address& held, uint64_t cycle) {
        const bool is_read = channel[1] == 'R';
        const bool ready = is_read ? in.arready : in.awready;
        if (held.valid) {
            if (!now.valid) fail(cycle, is_read ? "ARVALID fell before ARREADY" : "AWVALID fell before AWREADY");
            else if (now.addr != held.addr || now.id != held.id || now.len != held.len || now.size != held.size ||
                     now.burst != held.burst)
                fail(cycle, is_read ? "AR changed while ARVALID waited for ARREADY"
                                    : "AW changed while AWVALID waited for AWREADY");
        } else if (now.valid) {
            check_burst(is_read, now, cycle);
        }
        held.valid = false;
        if (now.valid && !ready) held = now;
    }
    void check_burst(bool is_read, const Address& now, uint64_t cycle) {
        const uint64_t beats = uint64_t(now.len) + 1;
        if (now.burst != 1) fail(cycle, is_read ? "ARBURST is %llu, not INCR" : "AWBURST is %llu, not INCR", now.burst);
        if (uint64_t(1) << now.size > kBytes)
            fail(cycle, is_read ? "ARSIZE %llu exceeds the bus" : "AWSIZE %llu exceeds the bus", now.size);
        if (beats > params_.max_burst)
            fail(cycle, is_read ? "read burst of %llu beats, the limit is %llu"
                                : "write burst of %llu beats, the limit is %llu", beats, params_.max_burst);
        const uint64_t begin = now.addr >> now.size << now.size;
        if ((begin + (beats << now.size) - 1) >> 12 != now.addr >> 12)
            fail(cycle, is_read ? "read burst at %#llx of %llu beats crosses a 4 KiB boundary"
                                : "write burst at %#llx of %llu beats crosses a 4 KiB boundary", now.addr, beats);
    }
    void check_write_data(const Outputs& out, uint64_t cycle) {
        if (held_wvalid_) {
            if (!out.wvalid) fail(cycle, "WVALID fell before WREADY");
            else if (out.wlast != held_wlast_ || out.wstrb != held_wstrb_ || std::memcmp(out.wdata, held_wdata_, kBytes))
                fail(cycle, "W changed while WVALID waited for WREADY");
        }
        held_wvalid_ = out.wvalid && !in.wready;
        if (held_wvalid_) {
            held_wlast_ = out.wlast, held_wstrb_ = out.wstrb;
            std::memcpy(held_wdata_, out.wdata, kBytes);
        }
    }

    MemoryParams params_;
    uint64_t random_;
    uint64_t responses_ = 0, silent_since_ = 0;
    uint64_t next_read_ = 0, next_write_ = 0;  // in 1/interval_den cycles
    uint64_t read_head_ = 0;
    uint64_t write_head_ = 0, write_data_ = 0, write_tail_ = 0;  // next to answer, to take data, to take an address
    Burst reads_[kRing], writes_[kRing];
    Address held_ar_, held_aw_;
    bool held_wvalid_ = false, held_wlast_ = false;
    uint64_t held_wstrb_ = 0;
    uint8_t held_wdata_[kBytes] = {};
};
