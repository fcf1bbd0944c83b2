"""Eight float32 at once, for numba kernels: plain loops compile to code that is a quarter as fast.

A value of type `lanes` lives in vector registers (AVX2 holds one in a register; other processors in several, or in
half of one). It exists within compiled functions only.

    v = load(array, at)         # array[at : at + 8] of a contiguous float32 array; `at` is uint64, not checked
    store(array, at, fma(splat(a), v, w))
"""

# what numba compiles has types of its own
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 8
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)


class Lanes(types.Type):
    """Numba's type of eight float32."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, frontend):
        super().__init__(manager, frontend, _VECTOR)


def _address(context, builder, array_type, array, at):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


@intrinsic
def load(typing_context, array, at):
    """array[at : at + 8]."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return lanes(array, types.uint64), generate


@intrinsic
def store(typing_context, array, at, value):
    """array[at : at + 8] = value."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.uint64, lanes), generate


@intrinsic
def splat(typing_context, value):
    """The same float32 in all lanes."""

    def generate(context, builder, signature, arguments):
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(undefined, arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), None))

    return lanes(types.float32), generate


@intrinsic
def iota(typing_context):
    """0, 1, … 7."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(_VECTOR, [float(i) for i in range(WIDTH)])

    return lanes(), generate


@intrinsic
def fma(typing_context, a, b, c):
    """a b + c, rounded once."""

    def generate(context, builder, signature, arguments):
        shape = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, shape, f"llvm.fma.v{WIDTH}f32"), arguments)

    return lanes(lanes, lanes, lanes), generate


@intrinsic
def add(typing_context, a, b):
    """a + b."""
    return lanes(lanes, lanes), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@intrinsic
def sub(typing_context, a, b):
    """a − b."""
    return lanes(lanes, lanes), lambda context, builder, signature, arguments: builder.fsub(*arguments)


@intrinsic
def mul(typing_context, a, b):
    """a b."""
    return lanes(lanes, lanes), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@intrinsic
def minimum(typing_context, a, b):
    """The smaller in each lane."""

    def generate(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return lanes(lanes, lanes), generate


@intrinsic
def lowered(typing_context, a, n):
    """a · 2^−i where n = 1.5 · 2²³ + i, a float32 whose last bits are the integer i; a and the result are normal."""

    def generate(context, builder, signature, arguments):
        bits = ir.VectorType(ir.IntType(32), WIDTH)
        exponent = builder.shl(builder.bitcast(arguments[1], bits), ir.Constant(bits, [23] * WIDTH))
        return builder.bitcast(builder.sub(builder.bitcast(arguments[0], bits), exponent), _VECTOR)

    return lanes(lanes, lanes), generate
