"""What is answered, as models: the interface's description is made of them."""

from pydantic import BaseModel


class Problem(BaseModel):
    """Why a request was refused: one sentence, and a word that a program can act on."""

    error: str
    code: str


class Haze(BaseModel):
    """What was found in a picture: `airlight` is sRGB in 0..1, its mean over the picture; `borders` are the widths in
    pixels of bars and frames around it, by side, which stay as they are."""

    width: int
    height: int
    airlight: list[float]
    density: float
    mean_transmission: float
    borders: dict[str, int]


class Field(Haze):
    """The haze of one picture.

    `lattice` holds the rows of the transmission's lattice over what is inside the borders; transmission is held at
    `floor` or above.
    """

    floor: float
    lattice: list[list[float]]


class HeldPicture(Haze):
    """A picture that is kept: by what name, and for how long after its last use."""

    id: str
    kept_seconds: float
    format: str
    transparent: bool
    notes: list[str]


class HeldVideo(BaseModel):
    """A video that is kept: `stills` are the seconds at which it has frames to look at."""

    id: str
    kept_seconds: float
    width: int
    height: int
    seconds: float
    frames: int | None
    stills: list[float]
    stem: str
    suffix: str


class JobState(BaseModel):
    """How far a job is: `done` of `total` frames or pictures; `file` is the address of its result, once there is one.

    A ZIP is made while it is fetched; `missing` are pictures of it that are not kept (any more).
    """

    id: str
    kind: str
    state: str
    done: int
    total: int | None
    failed: int
    error: str | None
    file: str | None
    name: str
    missing: list[str]


class Accepted(BaseModel):
    """What this server accepts."""

    body: int
    pixels: int
    jobs: bool
    video: int
    video_seconds: float
