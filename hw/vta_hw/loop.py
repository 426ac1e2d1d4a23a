"""The two-level loop over micro-ops that GEMM and ALU instructions run."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .layouts import insn_layout, uop_layout
from .scratchpad import ReadPort


def index_layout(cfg: VTAConfig) -> data.StructLayout:
    """The indices of one step; ``dst_over`` etc. say that the index went past the memory's end."""
    return data.StructLayout(
        {
            "dst": cfg.log_acc_depth,
            "src": max(cfg.log_acc_depth, cfg.log_inp_depth),
            "wgt": cfg.log_wgt_depth,
            "uop_over": 1,
            "dst_over": 1,
            "inp_over": 1,
            "acc_over": 1,
            "wgt_over": 1,
        }
    )


class MicroOpLoop(wiring.Component):
    """for iter_out, for iter_in, for uop: the micro-op's indices plus the loops' offsets.

    Latency three cycles from ``start`` to the first step; one step a cycle, through loop ends.
    ``busy`` is high from ``start`` until the last step has been taken. A loop without a step is never
    busy. ``src_factor_*`` are read from the GEMM or ALU format, as the opcode says.
    """

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._widths = {"dst": cfg.log_acc_depth, "src": max(cfg.log_acc_depth, cfg.log_inp_depth)}
        self._widths["wgt"] = cfg.log_wgt_depth
        super().__init__(
            {
                "start": In(1),
                "insn": In(INSN_BITS),
                "steps": Out(stream.Signature(index_layout(cfg))),
                "busy": Out(1),
                "uop": Out(ReadPort(cfg.log_uop_depth, 32)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(~self.steps.valid | self.steps.ready)
        active, uop_index, offsets = self._elaborate_counters(m, advance)

        read_valid, read_over = Signal(), Signal()
        m.d.comb += [self.uop.en.eq(advance & active), self.uop.addr.eq(uop_index)]
        read_offsets = {name: Signal.like(offset, reset_less=True) for name, offset in offsets.items()}
        with m.If(advance):
            m.d.sync += [read_valid.eq(active), read_over.eq(uop_index >> self._cfg.log_uop_depth != 0)]
            m.d.sync += [read_offsets[name].eq(offset) for name, offset in offsets.items()]

        uop = data.View(uop_layout(self._cfg), self.uop.data)
        step = self.steps.payload
        depths = {"dst": "acc", "src": "inp", "wgt": "wgt"}
        with m.If(advance):
            m.d.sync += [self.steps.valid.eq(read_valid), step.uop_over.eq(read_over)]
            for name, offset in read_offsets.items():
                index = Signal(len(offset) + 1, name=f"{name}_index")
                m.d.comb += index.eq(uop[name] + offset)
                over = index >> getattr(self._cfg, f"log_{depths[name]}_depth") != 0
                m.d.sync += step[name].eq(index)
                m.d.sync += step["dst_over" if name == "dst" else f"{depths[name]}_over"].eq(over)
                if name == "src":
                    m.d.sync += step.acc_over.eq(index >> self._cfg.log_acc_depth != 0)
        m.d.comb += self.busy.eq(active | read_valid | self.steps.valid)
        return m

    def _elaborate_counters(self, m: Module, advance: Signal) -> tuple[Signal, Signal, dict[str, Signal]]:
        """The three nested counters and, for each index, the sum of the loops' offsets."""
        gemm = data.View(insn_layout(self._cfg, Opcode.GEMM), self.insn)
        alu = data.View(insn_layout(self._cfg, Opcode.ALU), self.insn)
        is_alu = gemm.opcode == Opcode.ALU
        active = Signal()
        uop = Signal(len(gemm.uop_end), reset_less=True)
        inner, outer = (Signal(LOOP_ITER_BITS, name=n, reset_less=True) for n in ("inner", "outer"))
        last_uop, last_inner, last_outer = (Signal(name=f"last_{n}") for n in ("uop", "inner", "outer"))
        m.d.comb += [
            last_uop.eq(uop + 1 == gemm.uop_end),
            last_inner.eq(inner + 1 == gemm.iter_in),
            last_outer.eq(outer + 1 == gemm.iter_out),
        ]
        some = (gemm.uop_end > gemm.uop_bgn) & (gemm.iter_in != 0) & (gemm.iter_out != 0)
        step = active & advance
        with m.If(self.start):
            m.d.sync += [uop.eq(gemm.uop_bgn), inner.eq(0), outer.eq(0), active.eq(some)]
        with m.Elif(step):
            m.d.sync += uop.eq(Mux(last_uop, gemm.uop_bgn, uop + 1))
            with m.If(last_uop):
                m.d.sync += inner.eq(Mux(last_inner, 0, inner + 1))
                with m.If(last_inner):
                    m.d.sync += [outer.eq(outer + 1), active.eq(~last_outer)]
        offsets = {}
        for name, width in self._widths.items():
            factors = [
                Mux(is_alu, alu[f"src_factor_{loop}"], gemm[f"src_factor_{loop}"])
                if name == "src"
                else gemm[f"{name}_factor_{loop}"]
                for loop in ("out", "in")
            ]
            offsets[name] = total = Signal(width + LOOP_ITER_BITS + 1, name=f"{name}_offset", reset_less=True)
            row = Signal.like(total, name=f"{name}_row", reset_less=True)
            next_row = row + factors[0]
            with m.If(self.start):
                m.d.sync += [total.eq(0), row.eq(0)]
            with m.Elif(step & last_uop):
                m.d.sync += total.eq(Mux(last_inner, next_row, total + factors[1]))
                with m.If(last_inner):
                    m.d.sync += row.eq(next_row)
        return active, uop, offsets
