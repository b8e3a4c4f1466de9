"""What one server accepts, and how it refuses."""

from dataclasses import dataclass, fields

from nedr.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """The most that a server accepts.

    body: bytes of a picture's request;  pixels: of a picture;  workers: pictures processed at once, each in a process
    of its own;  queue: pictures that may wait;  seconds: from the body's arrival to the answer
    header_seconds: for a request's header to arrive;  body_seconds: for a body to begin, after which `body_rate` bytes
    per second are due;  answer_rate: bytes of an answer that must be read per second
    waiting: bytes of all bodies in memory
    connections: open at once, `per_address` of them from one address
    store: bytes of the pictures, videos and results that are kept for callers, for `kept_seconds` after their last
    use;  jobs: videos processed at once, 0 for no videos;  video: bytes of one, `video_seconds`: its length
    job_seconds: the longest that one job may take

    Raises UsageError for a limit that is not above 0 (queue and jobs may be 0).
    """

    body: int = 64_000_000
    pixels: int = 50_000_000
    workers: int = 2
    queue: int = 32
    seconds: float = 60.0
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    body_rate: int = 16_000
    answer_rate: int = 16_000
    waiting: int = 512_000_000
    connections: int = 1000
    per_address: int = 200
    store: int = 4_000_000_000
    kept_seconds: float = 1800.0
    jobs: int = 1
    video: int = 1_000_000_000
    video_seconds: float = 900.0
    job_seconds: float = 7200.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, free = getattr(self, field.name), field.name in ("queue", "jobs")
            if not (value >= 0 if free else value > 0):
                raise UsageError(f"expected {field.name} above 0{' or 0' * free}, found {value}")


class Refusal(Exception):
    """A refused request: answered with `status`, one sentence, and a code that a program can act on."""

    def __init__(self, status: int, text: str, code: str = "refused", **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.code = status, text, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
