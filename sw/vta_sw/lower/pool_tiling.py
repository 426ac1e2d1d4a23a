"""Choose the tiles of a convolution with a MaxPool behind it: every candidate is legal, the least estimates win."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from vta_arch.config import LOOP_ITER_BITS, VTAConfig
from vta_arch.layout import ceil_div

from ..cycles.timing import GEMM_DRAIN
from .errors import NotLowerableError
from .geometry import ConvGeometry
from .tiling import ALU_UOPS, Tiling, row_parts, splits
from .timeline import ALU_VECTOR_START, GEMM_START, TRANSFER_START, store_cycles

_EDGES = (1, 2, 4)
"""The first and last tile of an image may have this fraction of the others' rows."""


@dataclass(frozen=True)
class PoolTask:
    """What the tiles depend on besides the configuration: ``size`` is the result's, ``used`` the columns it needs."""

    geometry: ConvGeometry
    kernel: tuple[int, int]
    strides: tuple[int, int]
    size: tuple[int, int]
    used: int


@lru_cache(maxsize=256)
def best_pool_tilings(cfg: VTAConfig, task: PoolTask, count: int) -> tuple[Tiling, ...]:
    """The ``count`` best tilings, the best first; rows are rows of results. Raises NotLowerableError for none."""
    geometry = task.geometry
    found: list[Tiling] = []
    for slots in ((2, 2), (1, 2), (2, 1), (1, 1)):
        for rows, out, into in product(splits(task.size[0]), splits(geometry.out_blocks), splits(geometry.in_blocks)):
            if not _legal(cfg, task, (rows, out, into), slots):
                continue
            for edge in sorted({ceil_div(rows, part) for part in _EDGES}):
                if edge == rows or 2 * edge < task.size[0]:
                    cycles = _estimate(cfg, task, (rows, edge, out, into), slots)
                    found.append(Tiling(rows, edge, task.used, out, into, True, *slots, cycles))
        if found:
            return tuple(sorted(found, key=lambda item: item.cycles)[:count])
    raise NotLowerableError(f"a row of its pool's results does not fit the scratchpads of configuration {cfg.name}")


def _legal(cfg: VTAConfig, task: PoolTask, sizes: tuple[int, int, int], slots: tuple[int, int]) -> bool:
    rows, out, into = sizes
    geometry, phases = task.geometry, task.strides[0] * task.strides[1]
    height, tiles = geometry.rows.window(rows * task.strides[0]), geometry.parts(out, into)[1]
    results = out * rows * task.size[1]
    return (
        into * height * geometry.cols.window(task.used) <= cfg.inp_depth // slots[0]
        and tiles <= cfg.wgt_depth // slots[1]
        and phases * results <= cfg.acc_depth // 2
        and phases * tiles <= cfg.uop_depth - ALU_UOPS
        and height <= geometry.most_rows
        and max(results, task.used) < 1 << LOOP_ITER_BITS
        and (geometry.out_blocks <= cfg.req_depth or out <= cfg.req_depth // 2)
    )


def _estimate(cfg: VTAConfig, task: PoolTask, sizes: tuple[int, int, int, int], slots: tuple[int, int]) -> int:
    """Estimated cycles: the busiest of load, compute and store, and what nothing hides at both ends."""
    rows, edge, out, into = sizes
    geometry, beat = task.geometry, cfg.axi_data_width // 8
    outs, ins = ceil_div(geometry.out_blocks, out), ceil_div(geometry.in_blocks, into)
    per_image = len(row_parts(task.size[0], rows, edge))
    tiles = geometry.images * per_image * outs
    results = geometry.images * geometry.out_blocks * task.size[0] * task.size[1]
    vectors = results * task.strides[0] * task.strides[1]
    products = vectors * geometry.products
    # Along rows each vector, then along columns each of a row's results.
    passes = 2 * results * ((task.kernel[1] - 1) * task.strides[0] + task.kernel[0] - 1)

    def inp_time(count: float) -> float:
        window = geometry.rows.step * (count * task.strides[0] - 1) + geometry.rows.window(1)
        return into * (TRANSFER_START + window * geometry.cols.window(task.used) * cfg.inp_elem_bytes / beat)

    weights = TRANSFER_START + geometry.parts(out, into)[1] * cfg.wgt_elem_bytes / beat
    load = tiles * ins * inp_time(task.size[0] / per_image) + outs * ins * weights * (
        1 if ins <= slots[1] else per_image
    )
    store = tiles * TRANSFER_START + results * store_cycles(cfg)
    shared = (task.kernel[0] - task.strides[0]) * tiles * (out * task.size[1] + GEMM_DRAIN + ALU_VECTOR_START)
    compute = max(products + tiles * ins * GEMM_START, passes + store) + shared
    last = edge * task.size[1] * out
    ends = inp_time(edge) + weights + last * (2 * task.strides[0] * task.kernel[1] + store_cycles(cfg)) + TRANSFER_START
    return int(max(load, compute, store) + ends)
