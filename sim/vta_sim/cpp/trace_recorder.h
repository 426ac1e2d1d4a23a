// Keeps what a wide port showed, cycle by cycle, as a list of its changes.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

class TraceRecorder {
  public:
    // Record the port's value in a cycle, if it is not what it was in the cycle before.
    template <typename Port>
    void sample(uint64_t cycle, const Port& port) {
        static_assert(sizeof(Port) % sizeof(uint64_t) == 0, "the port's width is a multiple of 64 bits");
        constexpr size_t kWords = sizeof(Port) / sizeof(uint64_t);
        if (changes_ && !std::memcmp(last_, &port, sizeof(Port))) return;
        static_assert(kWords <= kMaxWords, "raise kMaxWords");
        std::memcpy(last_, &port, sizeof(Port));
        words_.push_back(cycle);
        words_.insert(words_.end(), last_, last_ + kWords);
        ++changes_;
    }
    // Changes recorded since the last clear: each a cycle number and the port's words.
    uint64_t changes() const { return changes_; }
    void take(uint64_t* target) {
        std::memcpy(target, words_.data(), words_.size() * sizeof(uint64_t));
        clear();
    }
    // Forget; the next cycle is recorded whatever it shows.
    void clear() {
        words_.clear();
        changes_ = 0;
    }

  private:
    static constexpr size_t kMaxWords = 16;
    std::vector<uint64_t> words_;
    uint64_t last_[kMaxWords] = {};
    uint64_t changes_ = 0;
};
