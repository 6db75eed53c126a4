"""What a model is made of, as plain values: frozen, to and from JSON, carried inside every weights file of ours.

Two dialects of one model: `paper()` is what the paper describes, `released()` what the authors' published weights
compute. They differ in values here, never by a branch in a forward. `tiny()` is the paper's dialect at a size for a
CPU. Other flavours are `dataclasses.replace(paper(), ...)`.
"""

import json
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal

SPECIAL_TOKENS = 3  # beside words: padding, end, unknown
FROM_ZERO = ("mask_layer", "halvings")  # an index and an exponent; all other whole numbers of a part count things


class Part:
    """One part of the model."""

    def __post_init__(self):
        """Raises ValueError for an extent, number of layers or interval below one."""
        counts = {name: value for name, value in vars(self).items() if type(value) is int and name not in FROM_ZERO}
        if small := {name: value for name, value in counts.items() if value < 1}:
            raise ValueError(f"{type(self).__name__} cannot be built with {small}; give numbers from 1 up")


@dataclass(frozen=True)
class TransformerConfig(Part):
    """The MM-DiT (CogVideoX) with face and audio cross-attention inside its blocks. Names are diffusers' where it
    has them. in_channels is 3C': noisy latent, references, inpainting frame."""

    num_attention_heads: int
    attention_head_dim: int
    in_channels: int
    out_channels: int
    time_embed_dim: int
    text_embed_dim: int
    num_layers: int
    sample_width: int
    sample_height: int
    sample_frames: int
    max_text_seq_length: int
    patch_size: int = 2
    temporal_compression_ratio: int = 4
    use_learned_positional_embeddings: bool = True
    rotary_height: int = 30  # rows of tokens that rotary positions are laid over, whatever the grid
    rotary_width: int = 45
    norm_eps: float = 1e-5
    face_interval: int = 2  # face cross-attention in every 2nd block
    face_heads: int = 16
    face_head_dim: int = 128
    face_dim: int = 2048  # channels of a face token, e_c
    audio_interval: int = 1
    audio_heads: int = 48
    audio_head_dim: int = 64
    audio_dim: int = 768  # channels of a speech token, e_a
    inflation: Literal["complement", "none"] = "complement"  # §3.3.1: the audio mask leaves out only the others

    @property
    def dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def face_layers(self) -> int:
        return -(-self.num_layers // self.face_interval)


@dataclass(frozen=True)
class FaceExtractorConfig(Part):
    """The Q-Former that turns face features into e_c: `queries` tokens of `output_dim` per character."""

    identity_dim: int = 1280
    feature_dim: int = 1024
    dim: int = 1024
    scales: int = 5
    depth: int = 10
    heads: int = 16
    head_dim: int = 64
    identity_tokens: int = 5
    queries: int = 32
    output_dim: int = 2048
    ff_mult: int = 4


@dataclass(frozen=True)
class SpeechProjectorConfig(Part):
    """Windows of speech hidden states to e_a: `tokens` tokens of `output_dim` per latent frame and stream."""

    layers: int = 12
    channels: int = 768
    window: int = 5
    hidden_dim: int = 512
    tokens: int = 32
    output_dim: int = 768
    halvings: int = 2  # times the frame rate is halved, 4x in time as the video autoencoder does
    mute_shape: tuple[int, int] = (32, 768)  # of tokens that nothing reads; the release has them so at every size


@dataclass(frozen=True)
class RouterConfig(Part):
    """The Intra-Denoise Router (Appendix A).

    head: "softmax" over n characters and the background (paper) or "sigmoid" per character (released).
    positions: "rotary" 3D (paper) or "table", added, with the released fold of rows and columns.
    mask_layer: the face layer whose mask serves all that follow, or None when each layer's own mask does.
    rasterize: how masks of pixels become masks of tokens: "soft", or "released": hard, and constant over time.
    """

    heads: int = 16
    head_dim: int = 128
    face_tokens: int = 32
    depth: int = 4
    attention_heads: int = 8
    head: Literal["softmax", "sigmoid"] = "softmax"
    positions: Literal["rotary", "table"] = "rotary"
    table_extent: tuple[int, int, int] = (13, 30, 45)  # t h w of the released position table
    mask_layer: int | None = None
    rasterize: Literal["soft", "released"] = "soft"


@dataclass(frozen=True)
class TextConfig(Part):
    """T5. vocabulary "bytes" needs no tokenizer files (ByT5's), nor does "words", where `words` are all that there
    are, a token each; "t5" is the sentencepiece one beside the weights."""

    vocabulary: Literal["t5", "bytes", "words"] = "t5"
    d_model: int = 4096
    d_kv: int = 64
    d_ff: int = 10240
    num_layers: int = 24
    num_heads: int = 64
    vocab_size: int = 32128
    words: tuple[str, ...] = ()

    def __post_init__(self):
        """Raises ValueError when there are words but another vocabulary, or room for another number of them."""
        super().__post_init__()
        if bool(self.words) != (self.vocabulary == "words"):
            raise ValueError(
                f"the vocabulary is {self.vocabulary!r} and there are {len(self.words)} words; give "
                'words to the vocabulary "words" and to no other'
            )
        if self.words and self.vocab_size != len(self.words) + SPECIAL_TOKENS:
            raise ValueError(
                f"vocab_size is {self.vocab_size} but there are {len(self.words)} words; it should be "
                f"{len(self.words) + SPECIAL_TOKENS}, with padding, end and unknown"
            )


@dataclass(frozen=True)
class VideoAutoencoderConfig(Part):
    """AutoencoderKLCogVideoX; four levels halve space three times and time twice."""

    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    latent_channels: int = 16
    layers_per_block: int = 3
    norm_num_groups: int = 32
    temporal_compression_ratio: int = 4
    scaling_factor: float = 0.7
    sample_height: int = 480
    sample_width: int = 720

    @property
    def spatial_compression_ratio(self) -> int:
        return 2 ** (len(self.block_out_channels) - 1)


@dataclass(frozen=True)
class PatchAutoencoderConfig(Part):
    """PatchAutoencoder, for the tiny model: patches of `patch` x `patch` pixels over `temporal_compression_ratio`
    frames; `depth` blocks of `width` channels refine them, on squares of `fold` x `fold` pixels."""

    latent_channels: int = 96
    patch: int = 8
    temporal_compression_ratio: int = 4
    width: int = 128
    depth: int = 6
    fold: int = 4
    scaling_factor: float = 1.0
    sample_height: int = 64
    sample_width: int = 96

    @property
    def spatial_compression_ratio(self) -> int:
        return self.patch


@dataclass(frozen=True)
class FaceEncoderConfig(Part):
    """Face recognition vector (identity_dim) and the EVA02-CLIP vision tower; `taps` are the blocks before which
    its feature maps are taken. recognition names the network: InsightFace's, or a small one of our own for tiny().
    The released tower looks at faces in grey; in colour it sees more of drawn ones."""

    recognition: Literal["insightface", "small"] = "insightface"
    recognition_dim: int = 512
    image_size: int = 336
    patch_size: int = 14
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 2.6667
    embed_dim: int = 768
    rope_grid: int = 16
    taps: tuple[int, ...] = (4, 8, 12, 16, 20)
    seen_in: Literal["grey", "colour"] = "grey"


@dataclass(frozen=True)
class SpeechEncoderConfig(Part):
    """wav2vec2-base-960h, or the same architecture in small. conv_kernel: how far each convolution reaches; together
    25 ms of sound in the base model."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: int = 512
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    sample_rate: int = 16000


@dataclass(frozen=True)
class ScheduleConfig(Part):
    """CogVideoX's noise schedule: v-prediction, scaled linear betas, zero terminal SNR, trailing timesteps."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "v_prediction"
    rescale_betas_zero_snr: bool = True
    snr_shift_scale: float = 1.0
    timestep_spacing: str = "trailing"
    set_alpha_to_one: bool = True
    clip_sample: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """The whole model. `trained` is what every output says of it: "released", "stage 3", "untrained" ..."""

    name: str
    transformer: TransformerConfig
    face_extractor: FaceExtractorConfig = field(default_factory=FaceExtractorConfig)
    speech_projector: SpeechProjectorConfig = field(default_factory=SpeechProjectorConfig)
    router: RouterConfig = field(default_factory=RouterConfig)
    text: TextConfig = field(default_factory=TextConfig)
    video: VideoAutoencoderConfig | PatchAutoencoderConfig = field(default_factory=VideoAutoencoderConfig)
    face: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    speech: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    fps: float = 25.0
    trained: str = "untrained"

    def __post_init__(self):
        """Raises ValueError when two parts that touch do not fit each other, or frames have no rate."""
        if not 0 < self.fps < float("inf"):
            raise ValueError(f"fps is {self.fps}; give frames per second, such as 25")
        t, f, s, r = self.transformer, self.face_extractor, self.speech_projector, self.router
        meets = [
            ("transformer.in_channels", t.in_channels, "3 x video.latent_channels", 3 * self.video.latent_channels),
            ("transformer.out_channels", t.out_channels, "video.latent_channels", self.video.latent_channels),
            ("transformer.text_embed_dim", t.text_embed_dim, "text.d_model", self.text.d_model),
            ("transformer.face_dim", t.face_dim, "face_extractor.output_dim", f.output_dim),
            ("transformer.audio_dim", t.audio_dim, "speech_projector.output_dim", s.output_dim),
            ("router.heads", r.heads, "transformer.face_heads", t.face_heads),
            ("router.head_dim", r.head_dim, "transformer.face_head_dim", t.face_head_dim),
            ("router.face_tokens", r.face_tokens, "face_extractor.queries", f.queries),
            ("face_extractor.feature_dim", f.feature_dim, "face.width", self.face.width),
            ("face_extractor.scales", f.scales, "number of face.taps", len(self.face.taps)),
            ("face_extractor.identity_dim", f.identity_dim, "face.recognition_dim + face.embed_dim",
             self.face.recognition_dim + self.face.embed_dim),
            ("speech_projector.layers", s.layers, "speech.num_hidden_layers", self.speech.num_hidden_layers),
            ("speech_projector.channels", s.channels, "speech.hidden_size", self.speech.hidden_size),
            ("2 ** speech_projector.halvings", 2**s.halvings, "video.temporal_compression_ratio",
             self.video.temporal_compression_ratio),
        ]  # fmt: skip
        wrong = [f"{a} is {x} but {b} is {y}" for a, x, b, y in meets if x != y]
        if wrong:
            raise ValueError("this configuration does not fit together: " + "; ".join(wrong))

    @property
    def untrained(self) -> bool:
        return self.trained.startswith("untrained")

    @property
    def pixels_per_token(self) -> int:
        return self.video.spatial_compression_ratio * self.transformer.patch_size

    @property
    def frames_per_latent(self) -> int:
        return self.video.temporal_compression_ratio

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ModelConfig":
        """Raises ValueError when a field is unknown, missing or of another kind than expected."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the model configuration is not JSON: {error}") from error
        return build(cls, values, "config")


def build(cls: type, values: Any, where: str) -> Any:
    """A configuration from named values as JSON has them. Raises ValueError naming the field below `where`."""
    if not isinstance(values, dict):
        raise ValueError(f"{where} should be an object with named fields, got {values!r}")
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where} has unknown fields {unknown}; known are {sorted(known)}")
    hints = typing.get_type_hints(cls)
    built = {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**built)
    except TypeError as error:
        raise ValueError(f"{where} is incomplete: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` if it is of the kind that `hint` names; a list becomes a tuple, and 4 is 4.0 and the other way round."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint) or (hint,)
    if is_dataclass(hint):
        return build(hint, value, where)
    if all(is_dataclass(kind) for kind in kinds):
        return build(_closest(kinds, value), value, where)
    if origin is tuple and isinstance(value, list | tuple) and (kinds[-1] is ... or len(kinds) == len(value)):
        return tuple(_value(kinds[0], element, f"{where}[{i}]") for i, element in enumerate(value))
    if hint in (int, float) and type(value) in (int, float) and (hint is float or value % 1 == 0):
        return hint(value)
    if origin is not tuple and (value in kinds if origin is Literal else type(value) in kinds):
        return value
    names = [str(getattr(kind, "__name__", kind)) for kind in kinds]
    expected = f"({', '.join(names)})" if origin is tuple else " or ".join(names)
    raise ValueError(f"{where} is {value!r}; expected {expected}")


def _closest(kinds: tuple[type, ...], value: Any) -> type:
    """The kind of part that has most of the fields named."""
    named = set(value) if isinstance(value, dict) else set()
    return max(kinds, key=lambda kind: len(named & {f.name for f in fields(kind)}))


def paper() -> ModelConfig:
    """The paper's model on CogVideoX-5B: n+1-way softmax router, 3D rotary positions, masks per frame."""
    return ModelConfig(
        name="paper",
        transformer=TransformerConfig(
            num_attention_heads=48,
            attention_head_dim=64,
            in_channels=48,
            out_channels=16,
            time_embed_dim=512,
            text_embed_dim=4096,
            num_layers=42,
            sample_width=90,
            sample_height=60,
            sample_frames=49,
            max_text_seq_length=226,
        ),
    )


def released() -> ModelConfig:
    """The authors' published weights: sigmoid per character, added position table, each layer its own mask."""
    base = paper()
    return ModelConfig(
        name="released",
        transformer=base.transformer,
        router=RouterConfig(head="sigmoid", positions="table", rasterize="released"),
        trained="released",
    )


WORDS = (
    "back", "beach", "black", "blond", "blue", "brown", "crossing", "far", "front", "green", "grey", "in", "kitchen",
    "leaning", "left", "lime", "middle", "mountains", "night", "nodding", "office", "park", "pink", "purple", "right",
    "room", "still", "studio", "swaying", "teal", "turning", "walking", "white", "yellow",
)  # fmt: skip  # of the drawn world's prompts


def tiny() -> ModelConfig:
    """The paper's dialect at a size that runs on a CPU in seconds. Inner extents differ pairwise on purpose."""
    return ModelConfig(
        name="tiny",
        transformer=TransformerConfig(
            num_attention_heads=5,
            attention_head_dim=32,
            in_channels=288,
            out_channels=96,
            time_embed_dim=64,
            text_embed_dim=96,
            num_layers=6,
            sample_width=12,
            sample_height=8,
            sample_frames=25,
            max_text_seq_length=24,
            patch_size=1,
            rotary_height=8,
            rotary_width=12,
            face_heads=4,
            face_head_dim=24,
            face_dim=80,
            audio_heads=4,
            audio_head_dim=32,
            audio_dim=56,
        ),
        face_extractor=FaceExtractorConfig(
            identity_dim=72, feature_dim=64, dim=64, depth=5, heads=4, head_dim=16, identity_tokens=3, queries=8,
            output_dim=80, ff_mult=2,
        ),
        speech_projector=SpeechProjectorConfig(
            layers=3, channels=72, window=5, hidden_dim=64, tokens=6, output_dim=56, mute_shape=(6, 56)
        ),
        router=RouterConfig(heads=4, head_dim=24, face_tokens=8, depth=2, attention_heads=2),
        text=TextConfig(
            vocabulary="words", d_model=96, d_kv=24, d_ff=192, num_layers=3, num_heads=4,
            vocab_size=len(WORDS) + SPECIAL_TOKENS, words=WORDS,
        ),
        video=PatchAutoencoderConfig(depth=5),
        face=FaceEncoderConfig(
            recognition="small", recognition_dim=40, image_size=48, patch_size=8, width=64, depth=6, heads=4,
            embed_dim=32, rope_grid=6, taps=(1, 2, 3, 4, 5), seen_in="colour",
        ),
        speech=SpeechEncoderConfig(
            hidden_size=72, num_hidden_layers=3, num_attention_heads=4, intermediate_size=144, conv_dim=32,
            conv_kernel=(10, 3, 3, 3, 3, 5, 6),  # 80 ms of sound: a frame at 12.5 frames a second
        ),
        fps=12.5,
    )  # fmt: skip


PRESETS = {"paper": paper, "released": released, "tiny": tiny}
