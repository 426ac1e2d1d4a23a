"""Parts of depthwise steps: what they read, and the sums that they gather over micro-ops."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import DEPTHWISE_GROUP, VTAConfig

from .scratchpad import ReadPort


def taps_read(cfg: VTAConfig) -> int:
    """Neighbouring input vectors that the input scratchpad gives at a time."""
    return cfg.depthwise_taps if "depthwise" in cfg.extensions else 1


def output_rows(cfg: VTAConfig) -> list[list[int]]:
    """For each output of the array the rows whose products it sums: without the extension all; with it those of its
    taps first, then its share of those that no depthwise step uses."""
    outputs = cfg.depthwise_outputs if "depthwise" in cfg.extensions else 1
    taps = DEPTHWISE_GROUP * cfg.depthwise_taps if outputs > 1 else cfg.block_in
    rest = (cfg.block_in - taps * outputs) // outputs
    beyond = taps * outputs
    return [
        [*range(taps * output, taps * (output + 1)), *range(beyond + rest * output, beyond + rest * (output + 1))]
        for output in range(outputs)
    ]


def input_port(cfg: VTAConfig) -> ReadPort:
    """Read port of the input scratchpad: the vector at the address and those behind it, :func:`taps_read` in all."""
    return ReadPort(cfg.log_inp_depth, cfg.inp_elem_bits * taps_read(cfg))


class PairSums(wiring.Component):
    """The last adders of the multiplier array: of a GEMM's outputs together, or of each output over micro-ops.

    ``sums[p]`` are the sums of the products of output p, ``tree_bits`` a lane; ``depthwise``, ``first`` and ``valid``
    come ``delay`` cycles before them; ``first`` is set for each step of a GEMM. ``psum``, LATENCY cycles after
    ``sums``, is for GEMM the sum of all outputs, for depthwise steps that of output 0 over the valid steps since
    ``first``; one cycle later ``psum_next`` is the same of output 1. Results have :meth:`sum_bits` bits a lane, signed.
    One step a cycle.
    """

    LATENCY = 1

    def __init__(self, cfg: VTAConfig, tree_bits: int, *, delay: int) -> None:
        self._cfg, self._tree_bits, self._delay = cfg, tree_bits, delay
        self._lanes = cfg.batch * cfg.block_out
        self._bits = self.sum_bits(cfg)
        super().__init__(
            {
                "sums": In(self._lanes * tree_bits).array(cfg.depthwise_outputs),
                "depthwise": In(1),
                "first": In(1),
                "valid": In(1),
                "psum": Out(self._lanes * self._bits),
                "psum_next": Out(self._lanes * self._bits),
            }
        )

    @staticmethod
    def sum_bits(cfg: VTAConfig) -> int:
        """Bits of the sums: exact for a range of as many micro-ops as an instruction can name, or those of an
        accumulator, which wraps."""
        products = DEPTHWISE_GROUP * cfg.depthwise_taps << (cfg.log_uop_depth + 1)
        exact = cfg.inp_width + cfg.wgt_width + products.bit_length()
        gemm = cfg.inp_width + cfg.wgt_width + cfg.block_in.bit_length()
        return min(cfg.acc_width, max(exact, gemm))

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        depthwise, first, valid = self._late(m, self.depthwise), self._late(m, self.first), self._late(m, self.valid)
        results = []
        for output, packed in enumerate(self.sums):
            lanes: list[Value] = []
            for lane in range(self._lanes):
                gathered = Signal(signed(self._bits), name=f"sum_{output}_{lane}", reset_less=True)
                kept = Mux(first, 0, gathered)
                if output == 0 and len(self.sums) > 1:
                    kept = Mux(depthwise, kept, self._lane(self.sums[1], lane))
                with m.If(valid):
                    m.d.sync += gathered.eq(self._lane(packed, lane) + kept)
                lanes.append(gathered)
            results.append(Cat(*lanes))
        m.d.comb += self.psum.eq(results[0])
        # While output 0 is written, the sums of the following steps begin.
        m.d.sync += self.psum_next.eq(results[-1])
        return m

    def _lane(self, packed: Value, lane: int) -> Value:
        return packed.word_select(lane, self._tree_bits).as_signed()

    def _late(self, m: Module, value: Value) -> Value:
        for cycle in range(self._delay):
            # The last one is a flip-flop with a reset, not the slow end of a shift register of LUTs.
            register = Signal(name=f"{value.name}_late{cycle}", reset_less=cycle < self._delay - 1)
            m.d.sync += register.eq(value)
            value = register
        return value
