"""What the numbers mean: networks, their weights, the flat update vector, and model files.

This package alone knows that position 1,234 of an update belongs to a certain convolution. To all
other parts (wire, aggregation, attacks, audit) an update is one float32 vector of shape (d,) and the
digest of a `VectorSpec` that both ends compute for themselves.
"""

from secure_fl.models.architectures import FixedBatchNorm2d, ModelSpec, build_model, embed
from secure_fl.models.files import SIMULATION_MARK, ModelCard, card_of, load_model, refuse_simulated, save_model
from secure_fl.models.vectors import (
    VectorSpec,
    fingerprint,
    flatten,
    flatten_by_parameter,
    flatten_gradient,
    unflatten,
    unflatten_gradient,
)
from secure_fl.models.weights import initial_model, load_weights

__all__ = [
    "SIMULATION_MARK",
    "FixedBatchNorm2d",
    "ModelCard",
    "ModelSpec",
    "VectorSpec",
    "build_model",
    "card_of",
    "embed",
    "fingerprint",
    "flatten",
    "flatten_by_parameter",
    "flatten_gradient",
    "initial_model",
    "load_model",
    "load_weights",
    "refuse_simulated",
    "save_model",
    "unflatten",
    "unflatten_gradient",
]
