"""The portable passes in order: from the operators of the source to our own domain, folded and fused.

What comes out is what is saved and printed: no Conv, Gemm, MatMul or elementwise operator on numbers is left in the
ONNX domain. Quantisation, layouts and everything that depends on the machine come afterwards.
"""

from __future__ import annotations

import onnx_ir

from magicmind.passes.average_to_integer import AverageToInteger
from magicmind.passes.choose_layout import ChooseLayout
from magicmind.passes.compare import compare_outputs
from magicmind.passes.conv_to_own import ConvToOwn
from magicmind.passes.decompose_conv_transpose import DecomposeConvTranspose, DecomposeQuantisedConvTranspose
from magicmind.passes.drop_expand import DropExpand
from magicmind.passes.expand_operators import ExpandOperators
from magicmind.passes.fold_batch_norm import FoldBatchNorm
from magicmind.passes.fold_constants import FoldConstants
from magicmind.passes.fold_pad import FoldPad
from magicmind.passes.fold_requantise import FoldRequantise
from magicmind.passes.fold_scale import FoldScale
from magicmind.passes.fold_scale_forward import FoldScaleForward
from magicmind.passes.fuse_activation import FuseHardSigmoid, FuseHardSwish, FuseMish, FuseSwish
from magicmind.passes.fuse_attention import FuseAttention
from magicmind.passes.fuse_byte_table import FuseByteTable
from magicmind.passes.fuse_elementwise import FuseDequantise, FuseElementwise
from magicmind.passes.fuse_epilogue import FuseEpilogue
from magicmind.passes.fuse_gelu import FuseGelu
from magicmind.passes.fuse_group_norm import FuseGroupNorm
from magicmind.passes.fuse_l2_norm import FuseL2Norm
from magicmind.passes.fuse_load import FuseLoad
from magicmind.passes.fuse_normalization import FuseNormalization
from magicmind.passes.fuse_separable import FuseSeparable
from magicmind.passes.hoist_strides import HoistStrides
from magicmind.passes.infer import InferTypes
from magicmind.passes.infra import Runner, Stage
from magicmind.passes.inline_if import InlineIf
from magicmind.passes.lift_transpose import LiftTranspose
from magicmind.passes.merge_affine import MergeAffine
from magicmind.passes.merge_common import MergeCommon
from magicmind.passes.merge_reshapes import MergeReshapes
from magicmind.passes.merge_transposes import MergeTransposes, TransposeToReshape
from magicmind.passes.move_dequantise import DropRequantise, HoistQuantise, MoveDequantise, TransposeWeights
from magicmind.passes.outline import OutlineBodies
from magicmind.passes.quantise_to_elementwise import FoldDequantise, QuantiseToElementwise
from magicmind.passes.read_sizes import ReadSizes
from magicmind.passes.remove_dead import RemoveDead
from magicmind.passes.remove_identity import RemoveIdentity
from magicmind.passes.resolve_auto_pad import ResolveAutoPad
from magicmind.passes.shift_to_unsigned import ShiftToUnsigned
from magicmind.passes.sink_transpose import SinkTranspose
from magicmind.passes.split_batch import SplitBatch
from magicmind.passes.split_epilogue import SplitEpilogue
from magicmind.passes.to_elementwise import ToElementwise
from magicmind.passes.to_integer import ConvToInteger, MatmulOfDataToInteger, MatmulToInteger
from magicmind.passes.to_matmul import FuseMatmulBias, GemmToMatmul, MatmulToOwn
from magicmind.passes.to_plain_conv import ToPlainConv

__all__ = ["describe", "lower_layout", "simplify", "stages"]


def stages() -> list[Stage]:
    """Every pass in order; a comment says why it stands where it stands."""
    return [
        Stage(
            "simplify",
            until_stable=True,
            passes=[
                InferTypes(),  # everything below relies on dtype and rank
                InlineIf(),  # before all that looks at nodes: the branch not taken is not even typed
                ExpandOperators(),  # what has no kernel of its own becomes operators that have
                FoldConstants(),  # soon: what looks computed is often a constant, and shape arithmetic goes away
                RemoveDead(),  # before anything that asks how often a value is used
                RemoveIdentity(),  # so that patterns see neighbours
                MergeCommon(),
                DropExpand(),
                MergeReshapes(),
                MergeTransposes(),
                LiftTranspose(),
                SinkTranspose(),
                TransposeToReshape(),
                ResolveAutoPad(),
                FoldPad(),  # after auto_pad: it adds to pads
                FuseNormalization(),  # what recognises pictures stands before scales are folded, constants among them
                FuseGroupNorm(),
                FuseL2Norm(),
                FuseGelu(),
                FuseSwish(),
                FuseMish(),
                FuseHardSwish(),
                FuseHardSigmoid(),  # its picture is a part of hard-swish's
                FoldBatchNorm(),  # before scales: a scale after it folds into the same weights
                MergeAffine(),
                FoldScale(),
                FoldScaleForward(),  # last: a scale between two convolutions belongs to the first
                RemoveDead(),
            ],
        ),
        Stage(
            "integer",
            until_stable=True,
            passes=[
                ShiftToUnsigned(),  # first: what the others make is unsigned from the start
                TransposeWeights(),
                DecomposeQuantisedConvTranspose(),  # before Quantise is hoisted: past what sorts the phases, too
                MoveDequantise(),
                HoistQuantise(),
                DropRequantise(),
                RemoveIdentity(),
                MergeCommon(),
                RemoveDead(),
            ],
        ),
        Stage(
            "products of whole numbers",
            passes=[
                ConvToInteger(),
                MatmulToInteger(),
                MatmulOfDataToInteger(),
                AverageToInteger(),
                FoldDequantise(),  # the products that were left
                QuantiseToElementwise(),
                RemoveDead(),
            ],
        ),
        Stage(
            "to own domain",
            passes=[
                ReadSizes(),  # once no dim changes any more, before anything asks how often a value is used
                RemoveDead(),
                FuseAttention(),  # while products, masks and softmax still are single operators
                DecomposeConvTranspose(),  # after its scales and normalisations are folded
                GemmToMatmul(),
                MatmulToOwn(),
                FuseMatmulBias(),  # while the addition still is an Add
                ToPlainConv(),  # before the blocked kernels take the rest
                ConvToOwn(),
                ToElementwise(),  # after all that looks for single ONNX operators
                RemoveDead(),
            ],
        ),
        Stage(
            "fuse",
            until_stable=True,
            passes=[
                FuseDequantise(),  # first: a residual of bytes goes into the epilogue as bytes
                FuseEpilogue(),  # before elementwise: work next to a product belongs to it
                FuseElementwise(),
                FuseByteTable(),  # once a chain from bytes to bytes is one program
                FoldRequantise(),  # once what stands before a Quantise is in one program with it
                HoistStrides(),  # once residual additions are operands of the convolution before
                MergeCommon(),
                RemoveDead(),
            ],
        ),
    ]


def simplify(model: onnx_ir.Model) -> None:
    """Runs all portable passes, in place. Raises magicmind.Error, with a note that names the pass."""
    Runner(compare=compare_outputs).run(stages(), model, layout_stages())


def layout_stages() -> list[Stage]:
    """What follows once the portable form is saved: how values lie in memory."""
    return [
        Stage("nested graphs", passes=[OutlineBodies(_optimise)]),  # portable passes are done with them
        Stage(
            "layout",
            passes=[
                SplitEpilogue(),
                FuseSeparable(),
                FuseLoad(),
                ChooseLayout(),
                SplitBatch(),  # last: it repeats whatever nodes there are
                RemoveDead(),
            ],
        ),
    ]


def _optimise(model: onnx_ir.Model) -> None:
    """All passes on a nested graph."""
    simplify(model)
    lower_layout(model)


def lower_layout(model: onnx_ir.Model) -> None:
    """Chooses memory layouts, in place."""
    Runner(compare=compare_outputs).run(layout_stages(), model, stages())


def describe() -> str:
    """The list of passes as text, one line each."""
    lines = []
    for stage in [*stages(), *layout_stages()]:
        lines.append(f"{stage.name}{' (until nothing changes)' if stage.until_stable else ''}")
        lines += [f"  {pass_.name:20} {pass_.summary}" for pass_ in stage.passes]
    return "\n".join(lines)
