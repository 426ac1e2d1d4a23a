// Sign extension for Verilated code in two shifts instead of Verilator's three operations and a constant.
//
// Included in front of each source. Words hold nothing above their `bits`.
#pragma once
#include "verilated.h"

static inline IData vta_extend(int bits, IData word) { return IData(int32_t(word << (32 - bits)) >> (32 - bits)); }
static inline QData vta_extend_wide(int bits, QData word) { return QData(int64_t(word << (64 - bits)) >> (64 - bits)); }

#define VL_EXTENDS_II(to, from, word) vta_extend(from, word)
#define VL_EXTENDS_QI(to, from, word) vta_extend_wide(from, word)
#define VL_EXTENDS_QQ(to, from, word) vta_extend_wide(from, word)
// The low bits of a product do not depend on signs, and no others are used.
#define VL_MULS_III(bits, left, right) ((left) * (right))
#define VL_MULS_QQQ(bits, left, right) ((left) * (right))
