"""What a user may choose about quantization, checked against the accelerator's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from vta_arch.config import VTAConfig
from vta_arch.errors import ConfigError

from ..quantize_choices import CalibrateMode, PartitionConversions, Rounding, WeightScale
from .overrides import BITS, NO_OVERRIDES, Overrides, check_range
from .types import IntType, has_any_scale, has_zero_points

_CHOICES: dict[str, type[StrEnum]] = {
    "calibrate_mode": CalibrateMode,
    "weight_scale": WeightScale,
    "rounding": Rounding,
    "partition_conversions": PartitionConversions,
}


@dataclass(frozen=True, kw_only=True)
class QConfig:
    """Choices of quantization. None stands for what the configuration has.

    Names are those of TVM's relay.quantize where it has one.
    """

    nbit_input: int | None = None
    """Bits of activations, at most the configuration's inp_width."""
    nbit_weight: int | None = None
    """Bits of weights, at most the configuration's wgt_width."""
    nbit_activation: int | None = None
    """Bits of accumulators, at most the configuration's acc_width."""
    dtype_input: str | None = None
    """``int8`` keeps every activation signed and 0 at the integer 0; ``uint8`` makes those without negative values
    unsigned, and gives 8-bit ones of uneven range zero points where scales are free (the default where the
    configuration has zero points). Its bits must be ``nbit_input``."""
    dtype_weight: str | None = None
    dtype_activation: str | None = None
    calibrate_mode: CalibrateMode = CalibrateMode.MSE
    global_scale: float = 8.0
    """Greatest magnitude of every activation, for ``calibrate_mode`` global_scale."""
    percentile: float = 99.99
    """Percent of the magnitudes that are not clipped, for ``calibrate_mode`` percentile."""
    weight_scale: WeightScale = WeightScale.MSE
    skip_dense_layer: bool = False
    skip_conv_layers: tuple[int, ...] = ()
    """Convolutions, by their number in the network from 0, that stay float."""
    do_simulation: bool = False
    """Write float operators with SimQuantize nodes instead of integers."""
    round_for_shift: bool = True
    """Only True: the accelerator always rounds when it shifts."""
    rounding: Rounding = Rounding.NEAREST
    debug_enabled_ops: tuple[str, ...] | None = None
    """Operator types that may become integer; None: all."""
    calibrate_chunk_by: int | None = None
    """Samples that are run at once; None: as many as fit 48 MiB of observed tensors, at most 32."""
    partition_conversions: PartitionConversions = PartitionConversions.DISABLED
    """``fully_integral`` takes the conversions at the network's ends out: its inputs and outputs are integers."""
    bias_correction: bool = True
    """Take the mean error that quantization makes on the calibration data, all layers before included, out of each
    channel's bias."""
    equalize: bool = False
    """Balance the ranges of the channels between two convolutions before anything else (cross-layer equalization)."""
    edge_bits: int | None = 8
    """Bits of the network's input and of its first and last layer, where the configuration has fewer; None: no more
    than elsewhere. Wider layers than the configuration's run on the CPU."""
    keep_float: tuple[str, ...] = ()
    """Names of nodes, or shell patterns of names, that stay float."""
    overrides: Overrides = field(default=NO_OVERRIDES)
    rounding_steps: int = 300
    """Steps of the optimizer for each layer, for ``rounding`` adaround."""
    seed: int = 0
    """Of stochastic rounding, and of the samples that fitted rounding draws."""

    def __post_init__(self) -> None:
        """Names of choices become the choices. Raises ConfigError for a name that none has."""
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, kind(value))
            except ValueError:
                raise ConfigError(f"{name} {value!r}: give one of {', '.join(kind)}") from None

    def resolve(self, cfg: VTAConfig) -> Widths:
        """The types that follow from this and ``cfg``. Raises ConfigError where both contradict each other."""
        _check(self, cfg)
        unsigned = not cfg.inp_is_signed
        if cfg.inp_is_signed and has_zero_points(cfg):
            unsigned = self.dtype_input is None or self.dtype_input.startswith("u")
        return Widths(
            activation=IntType(self.nbit_input or cfg.inp_width, cfg.inp_is_signed),
            unsigned=unsigned,
            weight=IntType(self.nbit_weight or cfg.wgt_width, True),
            acc_bits=self.nbit_activation or cfg.acc_width,
            edge_bits=self.edge_bits,
        )

    def mode_of(self, layer: str | None) -> CalibrateMode:
        """How the scale of what ``layer`` makes is found; None: of what no layer makes."""
        asked = None if layer is None else self.overrides.of(layer).calibrate_mode
        return CalibrateMode(asked or self.calibrate_mode)


@dataclass(frozen=True)
class Widths:
    """Types that a network is quantized to."""

    activation: IntType
    unsigned: bool
    """Whether activations without negative values are unsigned, and others may have zero points."""
    weight: IntType
    acc_bits: int
    edge_bits: int | None


def _check(wanted: QConfig, cfg: VTAConfig) -> None:
    """Raises ConfigError for the first contradiction, naming both sides."""
    _check_types(wanted, cfg)
    _check_signs(wanted, cfg)
    if not wanted.round_for_shift:
        raise ConfigError(f"round_for_shift false: configuration {cfg.name!r} always rounds when it shifts")
    if wanted.do_simulation and wanted.partition_conversions is PartitionConversions.FULLY_INTEGRAL:
        raise ConfigError("partition_conversions fully_integral: do_simulation true keeps all float; leave one out")
    if wanted.edge_bits not in (None, *BITS):
        raise ConfigError(f"edge_bits {wanted.edge_bits}: give 2, 4 or 8, or nothing")
    for name, least in (("calibrate_chunk_by", 1), ("rounding_steps", 1), ("seed", 0)):
        value = getattr(wanted, name)
        if value is not None and value < least:
            raise ConfigError(f"{name} {value}: give {least} or more")
    check_range("percentile", wanted.percentile)
    check_range("global_scale", wanted.global_scale)


def _check_types(wanted: QConfig, cfg: VTAConfig) -> None:
    held = {"input": ("inp_width", cfg.inp_width), "weight": ("wgt_width", cfg.wgt_width)}
    held["activation"] = ("acc_width", cfg.acc_width)
    for what, (name, width) in held.items():
        bits, dtype = getattr(wanted, f"nbit_{what}"), getattr(wanted, f"dtype_{what}")
        offered = range(2, width + 1) if what == "activation" else [size for size in BITS if size <= width]
        if bits is not None and bits not in offered:
            shown = f"2 to {width}" if what == "activation" else " or ".join(map(str, offered))
            raise ConfigError(f"nbit_{what} {bits}: configuration {cfg.name!r} has {name} {width}; give {shown}")
        digits = "" if dtype is None else dtype.removeprefix("u").removeprefix("int")
        if dtype is not None and (not digits.isdigit() or int(digits) != (bits or width)):
            limit = f"configuration {cfg.name!r} has {name} {width}" if bits is None else f"nbit_{what} {bits} is given"
            raise ConfigError(f"dtype_{what} {dtype!r}: {limit}; give int{bits or width}")
        if what != "input" and dtype is not None and dtype.startswith("u"):
            raise ConfigError(
                f"dtype_{what} {dtype!r}: {name} of configuration {cfg.name!r} is signed; give int{width}"
            )


def _check_signs(wanted: QConfig, cfg: VTAConfig) -> None:
    dtype = wanted.dtype_input
    if dtype is None:
        return
    if dtype.startswith("u") and cfg.inp_is_signed and not has_zero_points(cfg):
        raise ConfigError(
            f"dtype_input {dtype!r}: configuration {cfg.name!r} has inp_is_signed true and no zero points; "
            f"give int{cfg.inp_width}, or a configuration with the extension pad_value"
        )
    if not dtype.startswith("u") and not cfg.inp_is_signed:
        raise ConfigError(f"dtype_input {dtype!r}: configuration {cfg.name!r} has inp_is_signed false; give u{dtype}")


def power_of_two_weights(wanted: QConfig, cfg: VTAConfig) -> bool:
    """Whether weight scales are powers of two."""
    return wanted.weight_scale is WeightScale.POWER2 or not has_any_scale(cfg)
