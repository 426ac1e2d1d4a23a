"""The choice of a convolution's tiling: the good ones are emitted on trial, and the cycle model compares them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable

from vta_arch.config import VTAConfig
from vta_arch.layout import ceil_div

from .choice import Chosen
from .context import Context
from .geometry import ConvGeometry
from .requantize import Requantization
from .stream import StreamBuilder
from .tiling import Tiling, best_tilings, row_parts
from .timeline import slice_cycles, trial_cost

_TRIAL_STEPS, _LEAST_TRIALS = 500, 3
"""Steps of all trials of a layer: with many steps its ends hardly matter, and the estimate is as good."""


class TilingTrials(ABC):
    """Chooses a tiling when it is first asked for; the lowering sets all attributes, and emits."""

    _TRIALS = 24
    """Most tilings that are tried on the timeline."""
    _context: Context
    _cfg: VTAConfig
    geometry: ConvGeometry
    plan: Requantization
    _found: tuple[Tiling, ...]
    """Good tilings, the best by its estimate first."""
    _tiling: Tiling | None = None

    @abstractmethod
    def key(self) -> tuple[Hashable, ...]:
        """Layers of one key have the same instructions, but for addresses and constants."""

    @abstractmethod
    def _emit(self, context: Context, stream: StreamBuilder, tiling: Tiling, weights: int) -> None:
        """Add the layer's instructions; ``weights``: where its weights are in their segment."""

    @property
    def tiling(self) -> Tiling:
        """The sizes of its tiles. They are chosen when first asked for: that takes trials."""
        if self._tiling is None:
            self._tiling = self._choose_tiling()
        return self._tiling

    @tiling.setter
    def tiling(self, tiling: Tiling) -> None:
        self._tiling = tiling

    @property
    def tried(self) -> tuple[tuple[int, Tiling], ...]:
        """The tilings that were tried with what they cost, the best first; none where there was no choice to make."""
        _ = self.tiling  # to choose it takes trials
        return self._context.choice.trials.get(self.key(), ())

    @property
    def is_chosen(self) -> bool:
        """Whether the tiling of such a layer is known already."""
        return self.key() in self._context.tilings

    @property
    def trial_steps(self) -> int:
        """Steps of all trials: about how much work the choice is."""
        return sum(self._steps(item) for item in self._to_try(self._found))

    def choose(self) -> Chosen:
        """The tiling, and what was found on the way to it."""
        self.cycles()
        key = self.key()
        return self._context.choice.chosen(key, self.tiling, self._context.cycles[key])

    def learn(self, chosen: Chosen) -> None:
        """Take over what :meth:`choose` found in another process."""
        key = self.key()
        self._context.tilings[key] = chosen.tiling
        self._context.cycles[key] |= chosen.cycles
        self._context.choice.learn(key, chosen)

    def _choose_tiling(self) -> Tiling:
        """The best of some good tilings: each is emitted on trial."""
        key, found = self.key(), self._found
        if key not in self._context.tilings:
            few = self._to_try(found)
            self._context.tilings[key] = self._context.choice.choose(key, few, found, self._trial, self.sample)
        return self._context.tilings[key]

    def _to_try(self, found: tuple[Tiling, ...]) -> tuple[Tiling, ...]:
        """Those of good tilings that are worth a trial."""
        few = found[: max(_LEAST_TRIALS, _TRIAL_STEPS // self._steps(found[0]))]
        return tuple(item for item in few if self._steps(item) <= _TRIAL_STEPS)

    def _good_tilings(self, count: int) -> tuple[Tiling, ...]:
        """The ``count`` tilings with the least estimated cycles, the best first."""
        return best_tilings(self._cfg, self.geometry, self.plan.cycles, len(self.plan.vectors), count)

    def _steps(self, tiling: Tiling) -> int:
        geometry = self.geometry
        rows = len(row_parts(geometry.rows.out, tiling.rows, tiling.edge))
        positions = geometry.images * rows * ceil_div(geometry.cols.out, tiling.cols)
        return positions * self._weight_steps(tiling)

    def _weight_steps(self, tiling: Tiling) -> int:
        """Parts of the weights that are multiplied at each position."""
        return self.geometry.parts(tiling.out_blocks, tiling.in_blocks)[0]

    def _trial(self, tiling: Tiling) -> int:
        """What ``tiling`` costs, on the timeline; its cycles are remembered."""
        _, stream = self.sample(tiling)
        insns = stream.finish()
        cycles = self._context.cycles[self.key()][tiling] = slice_cycles(self._cfg, insns, stream.banks)
        return trial_cost(cycles, len(insns))

    def sample(self, tiling: Tiling) -> tuple[Context, StreamBuilder]:
        """The layer with ``tiling``, apart from the network and with its weights left out."""
        context, stream = Context(self._cfg), StreamBuilder(self._cfg)
        self._emit(context, stream, tiling, 0)
        return context, stream

    def rehearse(self, context: Context, stream: StreamBuilder, tiling: Tiling) -> None:
        """Add the layer's instructions with ``tiling`` to ``stream``, its weights left out."""
        kept = self.tiling
        self._emit(context, stream, tiling, 0)
        self.tiling = kept

    def cycles(self) -> int:
        """Cycles of the layer alone, on the timeline."""
        known, tiling = self._context.cycles[self.key()], self.tiling
        if tiling not in known:
            self._trial(tiling)
        return known[tiling]
