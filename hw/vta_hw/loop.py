"""The two-level loop over micro-ops that GEMM and ALU instructions run."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import LOOP_ITER_BITS, UOP_BITS, VTAConfig
from vta_arch.isa import INSN_BITS, Opcode

from .countdown import Countdown
from .layouts import insn_layout, uop_layout
from .scratchpad import ReadPort


def step_layout(cfg: VTAConfig) -> data.StructLayout:
    """The indices of one step, and what GEMM must know of the instruction that it belongs to.

    ``dst_over`` etc. say that the index went past the memory's end, ``last`` that the instruction ends
    with this step, ``void`` that it has no step at all and this one stands for it. With the extension ``depthwise``,
    a bit of that name tells DEPTHWISE from GEMM, and ``ends`` says that this is the last micro-op of its iteration.
    """
    requant = "requant" in cfg.extensions
    return data.StructLayout(
        {
            "dst": cfg.log_acc_depth,
            # With requantization, src may also be an index of parameters.
            "src": max(cfg.log_acc_depth, cfg.log_inp_depth, cfg.log_req_depth if requant else 0),
            "wgt": cfg.log_wgt_depth,
            **{f"{name}_over": 1 for name in ("uop", "dst", "inp", "acc", "wgt", *(["req"] if requant else []))},
            "reset": 1,
            "one_bank": 1,
            "last": 1,
            "void": 1,
            **({"depthwise": 1, "ends": 1} if "depthwise" in cfg.extensions else {}),
        }
    )


class MicroOpLoop(wiring.Component):
    """for iter_out, for iter_in, for uop: the micro-op's indices plus the loops' offsets.

    ``start`` takes ``insn`` while ``ready``; the next may start in the cycle of the last step, so that
    instructions follow each other without a gap. Latency four cycles from ``start`` to the first
    step; one step a cycle, through loop ends. ``busy`` is high until the last step has been taken.
    """

    def __init__(self, cfg: VTAConfig, opcode: Opcode) -> None:
        self._cfg = cfg
        self._layout = insn_layout(cfg, opcode)
        self._opcode = opcode
        self._widths = {"dst": cfg.log_acc_depth, "src": max(cfg.log_acc_depth, cfg.log_inp_depth)}
        if opcode == Opcode.GEMM:
            self._widths["wgt"] = cfg.log_wgt_depth
        super().__init__(
            {
                "start": In(1),
                "ready": Out(1),
                "insn": In(INSN_BITS),
                "steps": Out(stream.Signature(step_layout(cfg))),
                "busy": Out(1),
                "uop": Out(ReadPort(cfg.log_uop_depth, UOP_BITS)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq(~self.steps.valid | self.steps.ready)
        insn = data.View(self._layout, Signal(INSN_BITS, name="held_insn", reset_less=True))
        active, void, last, ends = Signal(), Signal(), Signal(), Signal()
        with m.If(self.start):
            m.d.sync += insn.eq(self.insn)
        uop_index, offsets = self._elaborate_counters(m, insn, active & advance, void, last, ends)
        m.d.comb += self.ready.eq(~active | (advance & last))
        with m.If(self.start):
            m.d.sync += active.eq(1)
        with m.Elif(advance & last):
            m.d.sync += active.eq(0)

        m.d.comb += [self.uop.en.eq(advance & active), self.uop.addr.eq(uop_index)]
        flags = {"reset": insn.reset, "one_bank": insn["one_bank"] if "overlap" in self._cfg.extensions else 0}
        flags |= {"last": last, "void": void, "uop_over": uop_index >> self._cfg.log_uop_depth != 0}
        if "depthwise" in self._cfg.extensions:
            flags |= {"depthwise": insn.opcode == Opcode.DEPTHWISE, "ends": ends}
        names = flags | {f"{name}_offset": offset for name, offset in offsets.items()}
        # One stage while the memory is read, one for what it gave.
        valid, values = [active], [names]
        for stage in ("read", "given"):
            valid.append(Signal(name=f"{stage}_valid"))
            values.append(
                {n: Signal(len(Value.cast(v)), name=f"{stage}_{n}", reset_less=True) for n, v in names.items()}
            )
            with m.If(advance):
                m.d.sync += valid[-1].eq(valid[-2])
                m.d.sync += [values[-1][name].eq(value) for name, value in values[-2].items()]
        uop = data.View(uop_layout(self._cfg), Signal(UOP_BITS, name="given_uop", reset_less=True))
        with m.If(advance):
            m.d.sync += [uop.eq(self.uop.data), self.steps.valid.eq(valid[-1])]
            m.d.sync += [self.steps.payload[name].eq(values[-1][name]) for name in flags]
            self._elaborate_indices(m, uop, {name: values[-1][f"{name}_offset"] for name in offsets})
        m.d.comb += self.busy.eq(Cat(*valid).any() | self.steps.valid)
        return m

    def _elaborate_indices(self, m: Module, uop: data.View, offsets: dict[str, Signal]) -> None:
        """The micro-op's fields plus the offsets, and whether they leave the memories."""
        cfg, step = self._cfg, self.steps.payload
        for name, offset in offsets.items():
            index = Signal(len(offset) + 1, name=f"{name}_index")
            m.d.comb += index.eq(uop[name] + offset)
            m.d.sync += step[name].eq(index)
            if name == "dst":
                m.d.sync += step.dst_over.eq(index >> cfg.log_acc_depth != 0)
            elif name == "src":
                m.d.sync += step.acc_over.eq(index >> cfg.log_acc_depth != 0)
                m.d.sync += step.inp_over.eq(index >> cfg.log_inp_depth != 0)
                if "requant" in cfg.extensions:
                    m.d.sync += step.req_over.eq(index >> cfg.log_req_depth != 0)
            else:
                m.d.sync += step.wgt_over.eq(index >> cfg.log_wgt_depth != 0)

    def _elaborate_counters(
        self, m: Module, insn: data.View, step: Value, void: Signal, last: Signal, ends: Signal
    ) -> tuple[Signal, dict[str, Signal]]:
        """The three nested counters and, for each index, the sum of the loops' offsets.

        All that ``last`` needs is compared with a constant or a register, since issue waits for it.
        """
        first = data.View(self._layout, self.insn)
        uop, last_index = (Signal(len(insn.uop_end), name=n, reset_less=True) for n in ("uop_index", "last_index"))
        inner, outer = (Countdown(LOOP_ITER_BITS, f"{n}_left", reset_less=True) for n in ("inner", "outer"))
        last_uop, last_inner, last_outer = (Signal(name=f"last_{n}") for n in ("uop", "inner", "outer"))
        m.d.comb += [
            last_uop.eq(uop == last_index),
            last_inner.eq(inner.value == 1),
            last_outer.eq(outer.value == 1),
            ends.eq(void | last_uop),
            last.eq(void | (last_uop & last_inner & last_outer)),
        ]
        with m.If(self.start):
            m.d.sync += [uop.eq(first.uop_bgn), last_index.eq(first.uop_end - 1)]
            inner.set(m, first.iter_in)
            outer.set(m, first.iter_out)
            m.d.sync += void.eq((first.uop_end <= first.uop_bgn) | (first.iter_in == 0) | (first.iter_out == 0))
        with m.Elif(step):
            m.d.sync += uop.eq(Mux(last_uop, insn.uop_bgn, uop + 1))
            with m.If(last_uop):
                with m.If(last_inner):
                    inner.set(m, insn.iter_in)
                    outer.step(m)
                with m.Else():
                    inner.step(m)
        offsets = {}
        for name, width in self._widths.items():
            offsets[name] = total = Signal(width + LOOP_ITER_BITS + 1, name=f"{name}_offset", reset_less=True)
            row = Signal.like(total, name=f"{name}_row", reset_less=True)
            factor = Mux(last_inner, insn[f"{name}_factor_out"], insn[f"{name}_factor_in"])
            following = Mux(last_inner, row, total) + factor
            with m.If(self.start):
                m.d.sync += [total.eq(0), row.eq(0)]
            with m.Elif(step & last_uop):
                m.d.sync += total.eq(following)
                with m.If(last_inner):
                    m.d.sync += row.eq(following)
        return uop, offsets
