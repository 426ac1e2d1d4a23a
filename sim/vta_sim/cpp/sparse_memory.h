// Byte memory over the whole 64-bit address space; pages exist once they are written, the rest reads zero.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>

class SparseMemory {
  public:
    static constexpr uint64_t kPageBits = 16;
    static constexpr uint64_t kPageBytes = uint64_t(1) << kPageBits;

    // `size` bytes at `address`; an access that runs past the top of the address space wraps.
    void read(uint64_t address, uint8_t* data, uint64_t size) {
        while (size) {
            const uint64_t offset = address & (kPageBytes - 1);
            const uint64_t part = size < kPageBytes - offset ? size : kPageBytes - offset;
            const uint8_t* page = find(address >> kPageBits);
            if (page) std::memcpy(data, page + offset, part);
            else std::memset(data, 0, part);
            address += part, data += part, size -= part;
        }
    }

    void write(uint64_t address, const uint8_t* data, uint64_t size) {
        while (size) {
            const uint64_t offset = address & (kPageBytes - 1);
            const uint64_t part = size < kPageBytes - offset ? size : kPageBytes - offset;
            std::memcpy(make(address >> kPageBits) + offset, data, part);
            address += part, data += part, size -= part;
        }
    }

    // Bytes of one bus word of N bytes at an N-aligned address: never leaves a page.
    template <unsigned N>
    void read_word(uint64_t address, uint8_t* data) {
        const uint8_t* page = find(address >> kPageBits);
        if (page) std::memcpy(data, page + (address & (kPageBytes - 1)), N);
        else std::memset(data, 0, N);
    }

    template <unsigned N>
    void write_word(uint64_t address, const uint8_t* data, uint64_t strobes) {
        constexpr uint64_t kAll = N == 64 ? ~uint64_t(0) : (uint64_t(1) << (N % 64)) - 1;
        if (!strobes) return;
        uint8_t* word = make(address >> kPageBits) + (address & (kPageBytes - 1));
        if (strobes == kAll) {
            std::memcpy(word, data, N);
            return;
        }
        for (unsigned lane = 0; lane < N; ++lane)
            if (strobes >> lane & 1) word[lane] = data[lane];
    }

  private:
    const uint8_t* find(uint64_t number) {
        if (number == read_number_ && read_page_) return read_page_;
        const auto found = pages_.find(number);
        if (found == pages_.end()) return nullptr;
        read_number_ = number;
        read_page_ = found->second.get();
        return read_page_;
    }

    uint8_t* make(uint64_t number) {
        if (number == write_number_ && write_page_) return write_page_;
        std::unique_ptr<uint8_t[]>& page = pages_[number];
        if (!page) page = std::make_unique<uint8_t[]>(kPageBytes);  // value-initialised: zeros
        write_number_ = number;
        write_page_ = page.get();
        return write_page_;
    }

    std::unordered_map<uint64_t, std::unique_ptr<uint8_t[]>> pages_;
    uint64_t read_number_ = 0, write_number_ = 0;
    const uint8_t* read_page_ = nullptr;
    uint8_t* write_page_ = nullptr;
};
