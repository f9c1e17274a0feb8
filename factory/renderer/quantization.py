"""Load a model's network with weights of 8 or 4 bits."""

from importlib.util import find_spec
from typing import Any

from factory.common.errors import UserError
from factory.models.inference import QUANTIZE_WITH

_NETWORKS = ("transformer", "unet")


def quantization(kind: str, parts: dict[str, Any], *, device: Any, dtype: Any) -> Any:
    """Return the `quantization_config` with which a pipeline is loaded.

    Args:
        kind: A key of `QUANTIZE_WITH`.
        parts: The pipeline's `model_index.json`. Text encoders and decoder keep their type.
        device: Device that will compute.
        dtype: Type in which it computes.

    Raises:
        UserError: The package is missing, the device cannot compute it, or the pipeline has no
            network that can be quantized.
    """
    package = QUANTIZE_WITH[kind]
    if find_spec(package) is None:
        raise UserError(
            f"--quantize {kind} needs {package}; install it: pip install 'data-factory[{kind}]'"
        )
    if kind == "nf4" and str(device) == "cpu":
        raise UserError(
            "--quantize nf4 needs an accelerator, but this machine has cpu; use --quantize int8, "
            "or remove the option"
        )
    network = next((name for name in _NETWORKS if name in parts), None)
    if network is None:
        raise UserError(
            f"--quantize {kind}: {parts.get('_class_name')} has neither a transformer nor a unet; "
            "remove the option"
        )
    import diffusers

    return diffusers.PipelineQuantizationConfig(quant_mapping={network: _config(kind, dtype)})


def _config(kind: str, dtype: Any) -> Any:
    import diffusers

    if kind == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return diffusers.TorchAoConfig(Int8WeightOnlyConfig())
    return diffusers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
