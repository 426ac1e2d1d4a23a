"""Executes GEMM: the pipeline from loop steps to accumulated sums."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from vta_arch.config import VTAConfig

from .depthwise import input_port
from .loop import step_layout
from .mac_array import MacArray
from .scratchpad import BankedReadPort, ReadPort, WritePort, bank_read


class Gemm(wiring.Component):
    """acc[dst] += inp[src] * wgt[wgt]; or = 0 (reset), or = the product (reset and one bank).

    One step a cycle, always ready. The accumulator is read two cycles before its sum arrives. A step
    that follows another on the same accumulator takes the newer value from one of three places: the
    sum being written, the one written a cycle ago, or memory; so instructions may follow each other
    without a gap. ``done`` comes with the last write of an instruction.

    Steps of DEPTHWISE (extension ``depthwise``) gather in the array; the one that ends its iteration is followed by
    the updates of its accumulators, one a cycle. For that time it is not ``ready`` for what updates an accumulator
    itself: a GEMM's step, or one that ends an iteration. So ranges of as many micro-ops as a step has outputs run
    at one step a cycle.
    """

    OPERAND_LATENCY = 2
    """From indices to multiplier operands: memory, and its output register."""

    def __init__(self, cfg: VTAConfig) -> None:
        self._cfg = cfg
        self._deep = "depthwise" in cfg.extensions
        super().__init__(
            {
                "steps": In(stream.Signature(step_layout(cfg))),
                "inp": Out(input_port(cfg)),
                "wgt": Out(ReadPort(cfg.log_wgt_depth, cfg.wgt_elem_bits)),
                "acc": Out(BankedReadPort(cfg.log_acc_depth, cfg.acc_elem_bits)),
                "write": Out(WritePort(cfg.log_acc_depth, cfg.acc_elem_bits, 1)),
                "done": Out(1),
                "range_error": Out(1),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.array = array = MacArray(self._cfg)
        step = self.steps.payload
        valid = self.steps.valid & self.steps.ready & ~step.void
        only_reset = step.reset & ~step.one_bank
        multiply = valid & ~only_reset
        m.d.comb += [
            self.inp.en.eq(multiply),
            self.inp.addr.eq(step.src),
            self.wgt.en.eq(multiply),
            self.wgt.addr.eq(step.wgt),
        ]
        over = step.uop_over | step.dst_over | (~only_reset & (step.inp_over | step.wgt_over))
        update = {
            "valid": valid,
            "dst": step.dst,
            "no_acc": step.reset,
            "no_sum": only_reset,
            "last": self.steps.valid & self.steps.ready & step.last,
        }
        if self._deep:
            over |= self._depthwise_over(only_reset)
            update = self._elaborate_depthwise(m, array, valid, update)
        else:
            m.d.comb += self.steps.ready.eq(1)
        m.d.sync += [
            array.inp.eq(self.inp.data),
            array.wgt.eq(self.wgt.data),
            self.range_error.eq(valid & over),
        ]
        stages = [update]
        count = self.OPERAND_LATENCY + array.latency
        for number in range(count):
            # What addresses memory is a flip-flop with a reset, not the slow end of a shift register of LUTs.
            stages.append(self._next_stage(m, stages[-1], str(number), reset=number == count - 3))
        repeats = self._elaborate_read(m, stages)
        self._accumulate(m, array, stages, repeats)
        return m

    def _elaborate_depthwise(
        self, m: Module, array: MacArray, valid: Value, update: dict[str, Value]
    ) -> dict[str, Value]:
        """What the array must know of a step, and the updates: of the step, or the second one of an earlier step."""
        step = self.steps.payload
        # The step before ended an iteration, as all instructions do: this one begins another.
        first = Signal(init=1)
        with m.If(valid):
            m.d.sync += first.eq(~step.depthwise | step.ends)
        bits = {"depthwise": step.depthwise, "first": first | ~step.depthwise, "valid": valid}
        for number in range(self.OPERAND_LATENCY):
            bits = self._next_stage(m, bits, f"operand_{number}")
        m.d.comb += [getattr(array, name).eq(bit) for name, bit in bits.items()]

        gathers = step.depthwise & ~step.ends
        update["valid"] = valid & ~gathers
        if self._cfg.depthwise_outputs == 1:
            m.d.comb += self.steps.ready.eq(1)
            return update
        place = step.dst[:-1]
        both = valid & step.depthwise & step.ends
        following = update | {"valid": both, "dst": Cat((place + 1)[: len(place)], step.dst[-1])}
        following["last"] = both & step.last
        following = self._next_stage(m, following, "second")
        second = following["valid"]
        m.d.comb += self.steps.ready.eq(~second | gathers)
        update["last"] &= ~both
        return {name: Mux(second, following[name], value) for name, value in update.items()} | {"second": second}

    def _depthwise_over(self, only_reset: Value) -> Value:
        """Whether a tap or an output of the step lies past the end of its memory, or of its bank."""
        cfg, step = self._cfg, self.steps.payload
        taps = step.src[: cfg.log_inp_depth] > max(0, cfg.inp_depth - cfg.depthwise_taps)
        outputs = step.ends & step.dst[:-1].all() if cfg.depthwise_outputs > 1 else Const(0)
        return step.depthwise & ((~only_reset & taps) | outputs)

    def _next_stage(self, m: Module, stage: dict[str, Value], suffix: str, *, reset: bool = False) -> dict[str, Value]:
        """The step's bits, a cycle later."""
        following: dict[str, Value] = {}
        for name, value in stage.items():
            register = Signal(
                len(value), name=f"{name}_{suffix}", reset_less=not reset and name not in ("valid", "last")
            )
            m.d.sync += register.eq(value)
            following[name] = register
        return following

    def _elaborate_read(self, m: Module, stages: list[dict[str, Value]]) -> Signal:
        """Reads the accumulator of the step in the third stage from the end; whether that step repeats the one before.

        One that repeats takes the sum of the step before, and one that overwrites takes none: they leave the bank to
        STORE.
        """
        fourth, third = stages[-4:-2]
        repeats, reads = Signal(reset_less=True), Signal()
        repeated = third["valid"] & (fourth["dst"] == third["dst"])
        m.d.sync += [
            repeats.eq(repeated),
            reads.eq(fourth["valid"] & ~fourth["no_acc"] & ~repeated),
        ]
        m.d.comb += [self.acc.en.eq(reads), self.acc.addr.eq(third["dst"])]
        return repeats

    def _accumulate(self, m: Module, array: MacArray, stages: list[dict[str, Value]], repeats: Signal) -> None:
        """Adds the sums to the newest value of their accumulators. ``repeats``: of the third step from the end."""
        cfg, write = self._cfg, self.write
        end = stages[-1]
        newest, forwards = self._newest(m, stages, repeats)
        sums = []
        for lane in range(cfg.batch * cfg.block_out):
            psum = array.psum.word_select(lane, array.sum_bits)
            if "second" in end:
                psum = Mux(end["second"], array.psum_next.word_select(lane, array.sum_bits), psum)
            psum = psum[: array.sum_bits].as_signed()
            old = Mux(forwards, write.data.word_select(lane, cfg.acc_width), newest.word_select(lane, cfg.acc_width))
            sums.append((psum + old)[: cfg.acc_width])
        m.d.sync += [
            write.mask.eq(end["valid"]),
            write.addr.eq(end["dst"]),
            write.data.eq(Cat(*sums)),
            self.done.eq(end["last"]),
        ]
        with m.If(end["no_sum"]):
            m.d.sync += write.data.eq(0)

    def _newest(self, m: Module, stages: list[dict[str, Value]], repeats: Signal) -> tuple[Signal, Signal]:
        """The accumulators as far as memory and earlier sums have them in the cycle before the addition, 0 for steps
        that overwrite; and whether the sum of the step just before comes instead. Comparisons are made a cycle ahead.
        """
        third, before, end = stages[-3:]
        write = self.write
        bank = bank_read(m, self.acc)
        forwards, after_next, after_third = (Signal(name=f"forwards_{n}", reset_less=True) for n in (1, 2, 3))
        repeated = Signal(reset_less=True)
        m.d.sync += [
            repeated.eq(repeats),
            forwards.eq(repeated & ~before["no_acc"]),
            after_next.eq(end["valid"] & (end["dst"] == third["dst"])),
            after_third.eq(write.mask & (write.addr == third["dst"])),
        ]
        # The sum of the step before last is being written, that of the one before it was when memory was read. The
        # source is a number of two bits: so one LUT a bit chooses.
        newest, written = (Signal(self._cfg.acc_elem_bits, name=n, reset_less=True) for n in ("newest", "written"))
        sources = [*self.acc.banks, write.data, written]
        source = Mux(after_next, 2, Mux(after_third, 3, bank))
        m.d.sync += [written.eq(write.data), newest.eq(Array(sources)[source])]
        with m.If(before["no_acc"]):
            m.d.sync += newest.eq(0)
        return newest, forwards
