"""Two products in one hardware multiplier, and their sums inside a chain of multipliers.

The weights w0 and w1 of two columns share the activation a. In the multiplier's wide port they lie side by
side, w0 made positive by a bias so that it borrows nothing from w1:

    packed = (w1 << SHIFT) | (w0 + 2^(W-1))            W: bits of a weight; SHIFT + W = PORT_BITS
    packed * a = (w1 * a << SHIFT) + w0 * a + (a << W-1)

A chain of multipliers adds these up over a few rows; it starts from minus the last term, which depends on
activations only. What it ends with is (H << SHIFT) + L, H and L the true sums of the two columns. L is signed and
may have one bit more than SHIFT; that bit is the difference between the parity of H as it stands in the
total, borrow included, and its true parity, the exclusive or of the lowest bits' products. Then H follows. Nothing
is lost for any weight or activation.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from vta_arch.config import VTAConfig

PORT_BITS = 25
"""Signed bits of the multiplier's wide port: DSP48E1; later ones have more."""
CHAIN_ROWS = 4
"""Rows that add up in one chain."""
LEAST_PRODUCT_AREA = 32
"""Products of activation bits times weight bits below this are smaller in logic."""


def packs(cfg: VTAConfig) -> bool:
    """Whether the configuration's products go to hardware multipliers in pairs."""
    return cfg.block_out > 1 and cfg.inp_width * cfg.wgt_width >= LEAST_PRODUCT_AREA


class PackedChain:
    """Builds the chains of one array. Row r of a chain works r cycles after row 0, on operands that are as
    much older: ``late`` has them. Sums come ``latency`` cycles after the operands of row 0."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self.rows = min(CHAIN_ROWS, cfg.block_in)
        self.levels = self.rows.bit_length() - 1
        """Levels of the adder tree that a chain replaces."""
        self.latency = self.rows + 2
        """Multiplier register, one sum a row, split."""
        self._shift = PORT_BITS - cfg.wgt_width
        self._low_bits = cfg.inp_width + cfg.wgt_width + self.levels
        """Bits of a chain's sum of one column."""
        assert self._low_bits <= self._shift + 1
        self.total_bits = self._shift + self._low_bits + 1

    def late(self, m: Module, value: Value, name: str) -> list[Value]:
        """``value`` of now, one cycle ago, ... for each row of a chain. What no row uses, synthesis removes."""
        ages = [value]
        for cycle in range(1, self.rows):
            register = Signal(value.shape(), name=f"{name}_late{cycle}", reset_less=True)
            m.d.sync += register.eq(ages[-1])
            ages.append(register)
        return ages

    def starts(self, m: Module, values: list[Value], name: str) -> list[Value]:
        """What each chain starts from: minus the biases' share of its sum, one cycle after ``values``."""
        starts: list[Value] = []
        for group in range(0, len(values), self.rows):
            total: Value = sum(values[group : group + self.rows], start=Const(0))
            start = Signal(signed(self._cfg.inp_width + self.levels + 2), name=f"start_{name}_{group}", reset_less=True)
            m.d.sync += start.eq(-total)
            starts.append(_extend(Cat(Const(0, self._cfg.wgt_width - 1), start), self.total_bits))
        return starts

    def parities(self, m: Module, vector: Value, weights: Value, name: str) -> list[Value]:
        """The lowest bit of each chain's sum of products of two vectors, in step with the chain's end."""
        cfg = self._cfg
        groups = cfg.block_in // self.rows
        odd: Value = Cat(self._odd(vector, weights, group) for group in range(groups))
        for cycle in range(self.latency - 1):
            register = Signal(groups, name=f"odd_{name}_{cycle}", reset_less=True)
            m.d.sync += register.eq(odd)
            odd = register
        return [odd[group] for group in range(groups)]

    def _odd(self, vector: Value, weights: Value, group: int) -> Value:
        cfg = self._cfg
        first, second = (
            value.word_select(group, self.rows * width)
            for value, width in ((vector, cfg.inp_width), (weights, cfg.wgt_width))
        )
        if cfg.inp_width != cfg.wgt_width:
            first, second = (value[::width] for value, width in ((first, cfg.inp_width), (second, cfg.wgt_width)))
            return (first & second).xor()
        # Whole words with a mask: the simulator has no quick way to gather single bits.
        mask = sum(1 << (row * cfg.inp_width) for row in range(self.rows))
        return (first & second & mask).xor()

    def sums(
        self,
        m: Module,
        values: list[Value],
        pairs: list[tuple[Value, ...]],
        starts: list[Value],
        parities: list[Value],
        name: str,
    ) -> tuple[list[Value], list[Value]]:
        """The chains of one pair of columns: their sums of the first column, and of the second.

        ``values`` are activations and ``pairs`` their two weights, each as late as its row.
        """
        halves: tuple[list[Value], list[Value]] = ([], [])
        for group, (start, parity) in enumerate(zip(starts, parities, strict=True)):
            total = start
            for row in range(group * self.rows, (group + 1) * self.rows):
                total = self._multiply_add(m, values[row], pairs[row], total, f"{name}_{row}")
            for half, value in zip(halves, self._split(m, total, parity, f"{name}_{group}"), strict=True):
                half.append(value)
        return halves

    def _multiply_add(self, m: Module, value: Value, weights: tuple[Value, ...], before: Value, name: str) -> Value:
        """``before`` plus both products: a multiplier with its product and sum registers."""
        low, high = weights
        bias = 1 << (len(low) - 1)
        packed = (Cat(low, Const(0, self._shift - len(low)), high) ^ bias).as_signed()
        product = Signal((packed * value).shape(), name=f"product_{name}", reset_less=True)
        total = Signal(self.total_bits, name=f"total_{name}", reset_less=True)
        # Sums are bits without a sign: they wrap, and the simulator need not extend them.
        m.d.sync += [product.eq(packed * value), total.eq(product + before.as_unsigned())]
        return total

    def _split(self, m: Module, total: Value, parity: Value, name: str) -> tuple[Value, Value]:
        """The two sums that ``total`` holds."""
        low = Signal(signed(self._shift + 1), name=f"low_{name}", reset_less=True)
        high = Signal(signed(self._low_bits + 1), name=f"high_{name}", reset_less=True)
        borrow = total[self._shift] ^ parity
        m.d.sync += [
            low.eq(Cat(total[: self._shift], borrow).as_signed()),
            high.eq(total[self._shift :] + borrow),
        ]
        return low, high


def _extend(value: Value, width: int) -> Value:
    """Two's complement in ``width`` bits."""
    return Cat(value, value[-1].replicate(width - len(value)))
