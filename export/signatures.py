"""The signatures of an export's graphs, from its options."""

from collections.abc import Mapping

from export.options import ExportOptions
from export.sources import Source
from runtime.artifact.size import Dim
from runtime.artifact.tensors import Dtype, GraphSpec, Role, TensorSpec, check_signature
from runtime.errors import ExportError

_HEIGHT_AND_WIDTH = ("height", "width")


def graph_specs(options: ExportOptions, sources: Mapping[str, Source]) -> dict[str, GraphSpec]:
    """The signature of every source's graph. ExportError for options that none of them takes."""
    encodes = "encode" in sources
    if options.encode_takes_labels and (options.labels is None or not encodes):
        raise ExportError("encode_takes_labels: expected an encoder and labels beside it")
    if options.encode_takes_noise and not encodes:
        raise ExportError("encode_takes_noise: expected an encoder beside it")
    specs: dict[str, GraphSpec] = {}
    if "decode" in sources:
        specs["decode"] = decoder_spec(options)
    if encodes:
        specs["encode"] = encoder_spec(options)
    if "translate" in sources:
        made = sources["translate"].translated_shape(options)
        specs["translate"] = translator_spec(options, made)
    return specs


def decoder_spec(options: ExportOptions) -> GraphSpec:
    """Latents (and labels or a prompt, truncation, noise) -> images, or volumes."""
    latents = TensorSpec(
        name="latents", role="latents", dtype="float32", shape=options.latent_shape
    )
    prompt: tuple[TensorSpec, ...] = ()
    if options.vocabulary is not None:
        prompt = (_tensor("prompt", "int64", (options.vocabulary.length,)),)
    made = _images(options)
    if options.depth is not None:
        made = _tensor("volume", "uint8", (options.depth, *made.shape))
    return _spec("decode", (latents, *prompt, *_conditions(options)), (made,))


def encoder_spec(options: ExportOptions) -> GraphSpec:
    """Images (and labels, noise) -> the moments of a normal, latents and their log density, or
    latents alone, with their codes where there is a codebook."""
    inputs = [_images(options)]
    if options.encode_takes_labels:
        inputs.append(_tensor("labels", "int64"))
    outputs: tuple[TensorSpec, ...] = tuple(
        _tensor("codes", "int64", tuple(options.codes))
        if role == "codes"
        else _tensor(role, shape=options.latent_shape)
        for role in options.encode_gives
    )
    if options.encode_takes_noise:
        inputs.append(_tensor("noise", shape=options.latent_shape))
        outputs = (_tensor("latents", shape=options.latent_shape), _tensor("log_density"))
    return _spec("encode", tuple(inputs), outputs)


def translator_spec(options: ExportOptions, made: tuple[int, int, int]) -> GraphSpec:
    """Images (and a mask, labels, truncation, noise) -> images; `made` is the (C, H, W) that the
    module made of the smallest images."""
    images = _images(options)
    inputs = [images]
    if options.takes_mask:
        inputs.append(_tensor("mask", "uint8", (*images.shape[:2], 1)))
    channels, *lengths = made
    given = options.smallest_image
    shape = [
        _scaled(dim, length, before)
        for dim, length, before in zip(images.shape[:2], lengths, given, strict=True)
    ]
    outputs = (
        TensorSpec(name="translated", role="images", dtype="uint8", shape=(*shape, channels)),
    )
    return _spec("translate", (*inputs, *_conditions(options)), outputs)


def _scaled(dim: Dim, length: int, before: int) -> Dim:
    if isinstance(dim, int):
        return length
    if length % before == 0:
        return dim if length == before else f"{length // before} * {dim}"
    if before % length == 0:
        return f"{dim} / {before // length}"
    raise ExportError(
        f"translate: expected images a whole number of times larger or smaller along {dim}, "
        f"found {length} for {before}"
    )


def _images(options: ExportOptions) -> TensorSpec:
    image = options.image
    fixed = dict(zip(_HEIGHT_AND_WIDTH, (image.height, image.width), strict=True))
    sides: list[Dim] = [name if name in options.axes else fixed[name] for name in fixed]
    return TensorSpec(name="images", role="images", dtype="uint8", shape=(*sides, image.channels))


def _conditions(options: ExportOptions) -> tuple[TensorSpec, ...]:
    found: list[TensorSpec] = []
    if options.labels is not None:
        found.append(_tensor("labels", "int64"))
    if options.takes_truncation:
        found.append(_tensor("truncation"))
    if options.takes_mixing:
        found.append(_tensor("mixing_latents", shape=options.latent_shape))
        found.append(_tensor("mixing_layer"))
    for number, shape in enumerate(options.noise):
        found.append(
            TensorSpec(name=f"noise_{number}", role="noise", dtype="float32", shape=tuple(shape))
        )
    return tuple(found)


def _tensor(role: Role, dtype: Dtype = "float32", shape: tuple[Dim, ...] = ()) -> TensorSpec:
    return TensorSpec(name=role, role=role, dtype=dtype, shape=shape)


def _spec(graph: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> GraphSpec:
    spec = GraphSpec(f"{graph}.onnx", "fp32", inputs, outputs)
    try:
        check_signature(graph, spec)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return spec
