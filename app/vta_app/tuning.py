"""Tuning: the best of a layer's good tilings, measured instead of predicted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from vta_arch.config import VTAConfig
from vta_sw.compiler import Compilation
from vta_sw.lower.choice import Sample, TilingChoice, TilingKey, Trial, key_text, sizes_of
from vta_sw.lower.context import Context
from vta_sw.lower.geometry import ConvGeometry
from vta_sw.lower.stream import StreamBuilder
from vta_sw.lower.tiling import Tiling
from vta_sw.lower.timeline import slice_cycles

from .devices import Backend, open_device
from .measure import SampleRunner
from .output import ProgressCallback
from .tuned_cache import Tuned, TuningBackend, save_tuned

Measure = Callable[[Context, StreamBuilder], int]


@dataclass(frozen=True)
class TunedLayer:
    """A layer shape: cycles with the tiling that the compiler chose, and with the best one of ``tried``."""

    shape: str
    tried: int
    untuned: int
    tuned: int
    best: Tiling

    @property
    def gain(self) -> float:
        """How much more cycles the compiler's tiling takes, in percent."""
        return 100 * (self.untuned - self.tuned) / self.tuned


@dataclass
class TuningReport:
    """All layer shapes of a network, and the file that keeps the result."""

    layers: list[TunedLayer] = field(default_factory=list)
    file: Path | None = None


class _MeasuringChoice(TilingChoice):
    """Measures the tiling that the compiler would choose and the next best ones, ``trials`` in all."""

    def __init__(self, measure: Measure, trials: int) -> None:
        super().__init__()
        self._measure, self._trials = measure, trials
        self.layers: dict[str, TunedLayer] = {}

    def choose(
        self, key: TilingKey, few: Sequence[Tiling], found: Sequence[Tiling], trial: Trial, sample: Sample
    ) -> Tiling:
        usual = super().choose(key, few, found, trial, sample)
        others = [tiling for _, tiling in self.trials.get(key, ()) if tiling != usual]
        others += [tiling for tiling in found if tiling != usual and tiling not in others]
        chosen = [usual, *others[: self._trials - 1]]
        cycles = {tiling: self._measure(*sample(tiling)) for tiling in chosen}
        best = min(chosen, key=cycles.__getitem__)
        self.layers[key_text(key)] = TunedLayer(_described(key), len(chosen), cycles[usual], cycles[best], best)
        return best


def tune(
    network: Path | str,
    cfg: VTAConfig,
    *,
    trials: int = 8,
    backend: TuningBackend = TuningBackend.RTL,
    progress: ProgressCallback | None = None,
) -> TuningReport:
    """Measure ``trials`` tilings of every layer shape of a network, all of them legal, and remember the best.

    Convolutions of all kinds, dense layers, maxima and what is fused with them are tiled by trial; sums, joins and
    Resize, which move at the speed of the bus, are not.

    Raises what compiling raises, and DeviceError when a measurement fails.
    """
    layers = measure_tilings(network, cfg, trials=trials, backend=backend, progress=progress)
    found = {text: Tuned(sizes_of(layer.best), layer.tuned, backend.value) for text, layer in layers.items()}
    return TuningReport(list(layers.values()), save_tuned(cfg, found))


def measure_tilings(
    network: Path | str | onnx.ModelProto,
    cfg: VTAConfig,
    *,
    trials: int = 8,
    backend: TuningBackend = TuningBackend.RTL,
    progress: ProgressCallback | None = None,
    packing: str = "time",
) -> dict[str, TunedLayer]:
    """What :func:`tune` remembers, by the text of each layer shape's key; raises the same. Nothing is remembered."""
    with _measuring(cfg, backend, progress) as measure:
        choice = _MeasuringChoice(measure, trials)
        Compilation(network, cfg, choice=choice, progress=progress, packing=packing).tile()
    return choice.layers


def _described(key: TilingKey) -> str:
    """The layer shape that a key stands for."""
    parts = key if isinstance(key, tuple) else (key,)
    kind = str(parts[0]).removesuffix("Lowering").lower()
    for item in parts:
        if isinstance(item, ConvGeometry):
            rows, cols = item.rows, item.cols
            return (
                f"{kind} {rows.kernel}x{cols.kernel} stride {rows.stride}, {rows.size}x{cols.size} to "
                f"{rows.out}x{cols.out}, {item.in_blocks} to {item.out_blocks} blocks"
            )
    return kind


@contextlib.contextmanager
def _measuring(cfg: VTAConfig, backend: TuningBackend, progress: ProgressCallback | None) -> Iterator[Measure]:
    if backend is TuningBackend.MODEL:
        yield lambda _context, stream: slice_cycles(cfg, stream.finish(), stream.banks)
        return
    with open_device(Backend.RTL, cfg, progress) as device:
        yield SampleRunner(device, cfg).cycles
