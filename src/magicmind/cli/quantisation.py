"""Arguments that say how a network is quantised: shared by `build` and `calibrate`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from magicmind.errors import PrecisionError

if TYPE_CHECKING:
    from magicmind.quant.quantise import Quantisation
    from magicmind.quant.samples import Data


def add_data(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, required: bool = False) -> None:
    """What calibration reads."""
    parser.add_argument(
        "--calibration",
        required=required,
        metavar="DATA",
        help="a folder of images or .npz files, a .npz file, or random[:N], which is not accurate",
    )
    parser.add_argument(
        "--preprocess",
        metavar="TEXT",
        help="how images become the input: 'size=227 mean=104,117,123 std=1 order=bgr'; also crop=, short=, layout=",
    )
    parser.add_argument("--samples", type=int, metavar="N", help="use N images of the folder, spread evenly")


def add_quantisation(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The fields of `Quantisation`."""
    parser.add_argument(
        "--algorithm", default="eqnm", metavar="NAME", help="linear, eqnm, percentile or entropy (default: %(default)s)"
    )
    parser.add_argument("--symmetric", action="store_true", help="activations around zero")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for all channels of weights")
    parser.add_argument("--no-bias-correction", action="store_true", help="leave the means of outputs as they come")
    parser.add_argument(
        "--equalise",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="balance channels of neighbouring convolutions first (default: with --per-tensor)",
    )


def data_of(arguments: argparse.Namespace) -> Data | None:
    """The calibration data. Raises PrecisionError for preprocessing of what are no images."""
    from magicmind.quant.samples import Images, Preprocessing, parse_preprocessing

    source: str | None = arguments.calibration
    folder = source is not None and os.path.isdir(source) and not any(Path(source).glob("*.npz"))
    if not folder:
        if arguments.preprocess is not None or arguments.samples is not None:
            raise PrecisionError("--preprocess and --samples are for a folder of images", hint="see --calibration")
        return source
    assert source is not None
    how = Preprocessing() if arguments.preprocess is None else parse_preprocessing(arguments.preprocess)
    return Images(source, how, arguments.samples)


def quantisation_of(arguments: argparse.Namespace) -> Quantisation:
    """What `add_quantisation` adds."""
    from magicmind.quant.quantise import Quantisation

    return Quantisation(
        arguments.algorithm,
        symmetric=arguments.symmetric,
        per_axis=not arguments.per_tensor,
        bias_correction=not arguments.no_bias_correction,
        equalise=arguments.equalise,
    )
