"""Fourier transforms of eight real images side by side, one in each lane, for numba kernels.

An image of n by n pixels is given as (n, n, 8) float32; each transform along an edge is a mixed-radix one in passes of
4, 2, 3 and 5, which sort themselves (Stockham). Two rows are transformed as one complex row and told apart by symmetry.

A complex line of lanes is a flat float32 array in which the real part of element i starts at 16 i and the imaginary
part at 16 i + 8.

Source: Temperton, J. Comput. Phys. 52, 1 (1983).
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from tempica.imaging.lanes import WIDTH, add, fma, load, mul, splat, store, sub

_COMPILED = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_INLINE = {"cache": True, "error_model": "numpy"}
_ROOT = np.float32(np.sqrt(0.75))  # sin 2π/3
_C1, _S1 = np.float32(np.cos(2 * np.pi / 5)), np.float32(np.sin(2 * np.pi / 5))
_C2, _S2 = np.float32(np.cos(4 * np.pi / 5)), np.float32(np.sin(4 * np.pi / 5))


class Passes(NamedTuple):
    """How a line of n elements is transformed."""

    radix: np.ndarray  # (pass,) int64
    start: np.ndarray  # (pass,) int64, where its factors begin in
    factor: np.ndarray  # float32, cosine and sine of each


@lru_cache(maxsize=16)
def passes_of(n: int) -> Passes:
    """Passes of a line of n = 2^a 3^b 5^c elements."""
    radix, rest = [], n
    for r in (4, 2, 3, 5):
        while rest % r == 0:
            radix.append(r)
            rest //= r
    if rest != 1:
        raise ValueError(f"n = {n} must be a product of 2, 3 and 5 alone.")
    start, factor, done, length = [], [], 1, 0
    for r in radix:
        inner = n // (done * r)
        angle = -2 * np.pi / n * done * np.arange(inner)[:, None] * np.arange(1, r)
        start.append(length)
        factor.append(np.stack([np.cos(angle), np.sin(angle)], -1).ravel())
        length += factor[-1].size
        done *= r
    return Passes(np.array(radix), np.array(start), np.concatenate(factor).astype(np.float32))


def good_size(n: int) -> int:
    """The least even 2^a 3^b 5^c ≥ n."""
    n += n % 2
    while True:
        rest = n
        for r in (2, 3, 5):
            while rest % r == 0:
                rest //= r
        if rest == 1:
            return n
        n += 2


@numba.njit(**_INLINE)
def _put(line, at, re, im, factor, w, turned):
    """A complex value, times its factor where there is one."""
    if turned:
        c, s = splat(factor[w]), splat(factor[w + np.uint64(1)])
        re, im = sub(mul(re, c), mul(im, s)), fma(re, s, mul(im, c))
    store(line, at, re)
    store(line, at + np.uint64(WIDTH), im)


@numba.njit(**_INLINE)
def _two(line, re, im, step, to, over, w, factor, turned):
    a, b = load(line, re), load(line, re + step)
    c, d = load(line, im), load(line, im + step)
    store(line, to, add(a, b))
    store(line, to + np.uint64(WIDTH), add(c, d))
    _put(line, to + over, sub(a, b), sub(c, d), factor, w, turned)


@numba.njit(**_INLINE)
def _three(line, re, im, step, to, over, w, factor, turned):
    two = np.uint64(2)
    a, c = load(line, re), load(line, im)
    p, q = load(line, re + step), load(line, re + two * step)
    r, s = load(line, im + step), load(line, im + two * step)
    x, y, u, v = add(p, q), add(r, s), sub(p, q), sub(r, s)
    store(line, to, add(a, x))
    store(line, to + np.uint64(WIDTH), add(c, y))
    a, c = fma(splat(np.float32(-0.5)), x, a), fma(splat(np.float32(-0.5)), y, c)
    k, m = splat(_ROOT), splat(-_ROOT)
    _put(line, to + over, fma(k, v, a), fma(m, u, c), factor, w, turned)
    _put(line, to + two * over, fma(m, v, a), fma(k, u, c), factor, w + two, turned)


@numba.njit(**_INLINE)
def _four(line, re, im, step, to, over, w, factor, turned):
    two, three = np.uint64(2), np.uint64(3)
    a, b, p, q = load(line, re), load(line, re + two * step), load(line, re + step), load(line, re + three * step)
    x, y, s, t = add(a, b), sub(a, b), add(p, q), sub(p, q)
    a, b, p, q = load(line, im), load(line, im + two * step), load(line, im + step), load(line, im + three * step)
    u, v, k, m = add(a, b), sub(a, b), add(p, q), sub(p, q)
    store(line, to, add(x, s))
    store(line, to + np.uint64(WIDTH), add(u, k))
    _put(line, to + over, add(y, m), sub(v, t), factor, w, turned)
    _put(line, to + two * over, sub(x, s), sub(u, k), factor, w + two, turned)
    _put(line, to + three * over, sub(y, m), add(v, t), factor, w + np.uint64(4), turned)


@numba.njit(**_INLINE)
def _five(line, re, im, step, to, over, w, factor, turned):
    two, three, four = np.uint64(2), np.uint64(3), np.uint64(4)
    a, c = load(line, re), load(line, im)
    p, q = load(line, re + step), load(line, re + four * step)
    x1, u1 = add(p, q), sub(p, q)
    p, q = load(line, re + two * step), load(line, re + three * step)
    x2, u2 = add(p, q), sub(p, q)
    p, q = load(line, im + step), load(line, im + four * step)
    y1, v1 = add(p, q), sub(p, q)
    p, q = load(line, im + two * step), load(line, im + three * step)
    y2, v2 = add(p, q), sub(p, q)
    store(line, to, add(a, add(x1, x2)))
    store(line, to + np.uint64(WIDTH), add(c, add(y1, y2)))
    c1, s1, c2, s2 = splat(_C1), splat(_S1), splat(_C2), splat(_S2)
    r, i = fma(c1, x1, fma(c2, x2, a)), fma(c1, y1, fma(c2, y2, c))
    e, f = fma(s1, v1, mul(s2, v2)), fma(s1, u1, mul(s2, u2))
    _put(line, to + over, add(r, e), sub(i, f), factor, w, turned)
    _put(line, to + four * over, sub(r, e), add(i, f), factor, w + np.uint64(6), turned)
    r, i = fma(c2, x1, fma(c1, x2, a)), fma(c2, y1, fma(c1, y2, c))
    e, f = sub(mul(s2, v1), mul(s1, v2)), sub(mul(s2, u1), mul(s1, u2))
    _put(line, to + two * over, add(r, e), sub(i, f), factor, w + two, turned)
    _put(line, to + three * over, sub(r, e), add(i, f), factor, w + four, turned)


# copied into what calls it, so that neither which butterfly it is nor whether it turns is asked again in its loops
@numba.njit(inline="always")
def _pass(butterfly, radix, room, re, im, step, to, done, inner, factor, w, turned):
    """`inner` butterflies in each of `done` parts of a line."""
    pair, skip, turn = np.uint64(2 * WIDTH), np.uint64(radix - 1), np.uint64(2 * (radix - 1))
    over, apart = pair * inner * done, step * inner
    for _ in range(done):
        v = w
        for _ in range(inner):
            butterfly(room, re, im, apart, to, over, v, factor, turned)
            re, im, to, v = re + step, im + step, to + pair, v + turn
        re, im = re + apart * skip, im + apart * skip


@numba.njit(**_COMPILED)
def transform_line(room, re, im, step, n, radix_P, start_P, factor, first, second):
    """Forward transform of n complex lanes, whose place is returned: one of the lines `first` and `second` of `room`.

    Real parts start at `re` of `room`, imaginary parts at `im`, elements are `step` apart; all in float32.
    """
    done = np.uint64(1)
    for p in range(radix_P.shape[0]):
        r, w = np.uint64(radix_P[p]), np.uint64(start_P[p])
        inner = np.uint64(n) // (done * r)
        if r == 4 and inner > 1:
            _pass(_four, 4, room, re, im, step, first, done, inner, factor, w, True)
        elif r == 4:
            _pass(_four, 4, room, re, im, step, first, done, inner, factor, w, False)
        elif r == 3 and inner > 1:
            _pass(_three, 3, room, re, im, step, first, done, inner, factor, w, True)
        elif r == 3:
            _pass(_three, 3, room, re, im, step, first, done, inner, factor, w, False)
        elif r == 2:
            _pass(_two, 2, room, re, im, step, first, done, inner, factor, w, True)
        else:
            _pass(_five, 5, room, re, im, step, first, done, inner, factor, w, True)
        done *= r
        re, im, step = first, first + np.uint64(WIDTH), np.uint64(2 * WIDTH)
        first, second = second, first
    return second


@numba.njit(**_INLINE)
def plane_stride(n):
    """Float32 from one line of a plane to the next: no power of two, which would crowd a few sets of the cache."""
    return np.uint64(2 * WIDTH) * np.uint64(n + 1)


@numba.njit(**_COMPILED)
def transform_rows(room, n, margin, low, high, n_columns, radix_P, start_P, factor, first, second, plane):
    """Twice the coefficients kx = 0 … n_columns − 1 of each of n rows, into lines (kx, row) of `plane`.

    Lines are `plane_stride` apart. Rows begin at 0 of `room`, and `margin` pixels lie between one and the next. Only
    `low` … `high` − 1, both even, are read: the others are empty.
    """
    pair, lane, nothing = np.uint64(2 * WIDTH), np.uint64(WIDTH), splat(np.float32(0))
    long, stride = lane * np.uint64(n + margin), plane_stride(n)
    low, high = np.uint64(low), np.uint64(high)
    for k in range(np.uint64(n_columns)):
        to = plane + stride * k
        for at in range(to, to + pair * low, lane):
            store(room, at, nothing)
        for at in range(to + pair * high, to + pair * np.uint64(n), lane):
            store(room, at, nothing)
    for j in range(low, high, np.uint64(2)):
        at = long * j
        line = transform_line(room, at, at + long, lane, n, radix_P, start_P, factor, first, second)
        to = plane + pair * j
        for k in range(np.uint64(n_columns)):
            here, there = line + pair * k, line + pair * (np.uint64(n) - k if k > 0 else k)
            a, b = load(room, here), load(room, here + lane)
            c, d = load(room, there), load(room, there + lane)
            store(room, to, add(a, c))
            store(room, to + lane, sub(b, d))
            store(room, to + pair, add(b, d))
            store(room, to + pair + lane, sub(c, a))
            to += stride
