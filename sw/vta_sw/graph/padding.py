"""The padding of a node, whichever way it is given."""

from __future__ import annotations

from .view import GraphView, attributes


def explicit_pads(
    view: GraphView, index: int, kernel: tuple[int, int], height: int, width: int
) -> tuple[int, int, int, int]:
    """Padding of a Conv: top, left, bottom, right; auto_pad is worked out for an input of ``height`` x ``width``."""
    named = attributes(view.nodes[index])
    mode = named.get("auto_pad", b"NOTSET").decode()
    if mode in ("NOTSET", ""):
        top, left, bottom, right = named.get("pads", [0, 0, 0, 0])
        return top, left, bottom, right
    if mode == "VALID":
        return 0, 0, 0, 0
    strides, dilations = named.get("strides", [1, 1]), named.get("dilations", [1, 1])
    first, last = [], []
    for size, window, stride, dilation in zip((height, width), kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        small = total // 2
        first.append(small if mode == "SAME_UPPER" else total - small)
        last.append(total - first[-1])
    return first[0], first[1], last[0], last[1]
