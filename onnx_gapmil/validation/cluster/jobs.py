"""What is run on a cluster: an audit, a comparison or a prediction, as a worker does a shard of it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from onnx_gapmil.auditing.audit import RESULTS as AUDITED
from onnx_gapmil.auditing.audit import audit_shard
from onnx_gapmil.auditing.text import conditions_note
from onnx_gapmil.data.opening import open_data
from onnx_gapmil.data.photos import locate_photos
from onnx_gapmil.errors import InputError
from onnx_gapmil.files.arrays import ARRAY_SUFFIXES
from onnx_gapmil.prediction.naming import REPORT
from onnx_gapmil.prediction.predicting import PredictionRun
from onnx_gapmil.prediction.tables import TABLES
from onnx_gapmil.validation.comparing.compare import RESULTS as COMPARED
from onnx_gapmil.validation.comparing.compare import compare_shard
from onnx_gapmil.validation.comparing.text import conditions_note as sides_note

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onnx_gapmil.auditing.audit import Opened
    from onnx_gapmil.auditing.preparation import Request
    from onnx_gapmil.running.shards import Shard, ShardResult
    from onnx_gapmil.validation.comparing.request import CompareRequest
    from onnx_gapmil.validation.comparing.sides import Sides

#: Characters in a line of what a worker announces.
_WIDTH = 110
_MAGIC = re.compile(r"[*?\[]")


@dataclass
class Told:
    """What a worker has to say while it is at a shard.

    Attributes:
        done: images of the shard that are done.
        before: how many of these an earlier run has done.
        conditions: what was decided, as text; "" before.
        notes: what has changed since an earlier run.
    """

    done: int = 0
    before: int = 0
    conditions: str = ""
    notes: list[str] = field(default_factory=list)


class Job(Protocol):
    """A run that is divided among workers. It is sent to them as it is, and what one opens stays there."""

    @property
    def output(self) -> Path:
        """The result folder of the whole."""

    @property
    def gallery(self) -> int | None:
        """Images in the report; None where there is none."""

    @property
    def page_classes(self) -> int | None:
        """Of each of these the classes whose cells the report keeps; None for as many as the verb keeps."""

    @property
    def provider(self) -> str:
        """Where to run."""

    @property
    def results(self) -> tuple[str, ...]:
        """What a whole run writes into its folder."""

    @property
    def asked(self) -> Request | CompareRequest | None:
        """What shards are put together by, with all that it names; None of what needs no more than the shards."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What every worker has to see, each at this very path."""

    def images(self) -> int:
        """How many there are.

        Raises:
            InputError: they cannot be listed.
        """

    def run(self, folder: Path, shard: Shard, told: Told) -> ShardResult:
        """Do a shard.

        Args:
            folder: of the shard's results.
            shard: which.
            told: is kept up to date.

        Raises:
            InputError: see the verb.
            UnsupportedHeadError: no output has a head that can be lifted.
        """


@dataclass
class AuditJob:
    """An audit.

    Args:
        request: what was asked for.
        output: the result folder.
        gallery: images in the report.
        page_classes: see `Job`.
    """

    request: Request
    output: Path
    gallery: int | None = 300
    page_classes: int | None = None
    _opened: Opened | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def provider(self) -> str:
        """See `Job`."""
        return self.request.provider

    @property
    def results(self) -> tuple[str, ...]:
        """See `Job`."""
        return AUDITED

    @property
    def asked(self) -> Request:
        """See `Job`."""
        return self.request

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Job`."""
        return _paths(self.request.model, self.request.data)

    def images(self) -> int:
        """See `Job`."""
        return len(open_data(self.request.data, labels=self.request.labels).samples)

    def run(self, folder: Path, shard: Shard, told: Told) -> ShardResult:
        """See `Job`."""
        result, self._opened = audit_shard(
            self.request,
            folder,
            shard,
            announce=lambda classifier, prepared, before, _: _tell(told, before, conditions_note(classifier, prepared)),
            progress=lambda found: setattr(told, "done", found.done),
            note=told.notes.append,
            opened=self._opened,
        )
        return result


@dataclass
class CompareJob:
    """A comparison.

    Args:
        request: what was asked for.
        output: the result folder.
        gallery: images in the report.
        page_classes: see `Job`.
    """

    request: CompareRequest
    output: Path
    gallery: int | None = 60
    page_classes: int | None = None
    _opened: Sides | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def provider(self) -> str:
        """See `Job`."""
        return self.request.provider

    @property
    def results(self) -> tuple[str, ...]:
        """See `Job`."""
        return COMPARED

    @property
    def asked(self) -> CompareRequest:
        """See `Job`."""
        return self.request

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Job`."""
        return _paths(self.request.old.model, self.request.new.model, self.request.data)

    def images(self) -> int:
        """See `Job`."""
        if self.request.unlabelled:
            return len(locate_photos([str(self.request.data)]))
        return len(open_data(self.request.data, labels=self.request.labels).samples)

    def run(self, folder: Path, shard: Shard, told: Told) -> ShardResult:
        """See `Job`."""
        result, self._opened = compare_shard(
            self.request,
            folder,
            shard,
            announce=lambda sides, before, _, why: _tell(told, before, sides_note(sides, 0, len(sides.shots), why)),
            progress=lambda found: setattr(told, "done", found.done),
            opened=self._opened,
        )
        return result


@dataclass
class PredictJob:
    """A prediction.

    Args:
        model: path of the ``.onnx`` file.
        photos: files, folders or globs.
        output: the result folder.
        options: of `PredictionRun`, by name.

    Raises:
        InputError: a page is asked for, which no shard can write.
    """

    model: Path
    photos: tuple[str, ...]
    output: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    gallery: int | None = None
    page_classes: int | None = None

    def __post_init__(self) -> None:
        if self.options.get("page") is not None:
            raise InputError("A page shows all photos of one run: leave --page, or --ray.")

    @property
    def provider(self) -> str:
        """See `Job`."""
        return str(self.options.get("provider", "auto"))

    @property
    def results(self) -> tuple[str, ...]:
        """See `Job`."""
        return (REPORT, *(TABLES[kind] for kind in self.options.get("tables", ())))

    @property
    def asked(self) -> None:
        """See `Job`."""
        return None

    @property
    def files(self) -> tuple[Path, ...]:
        """See `Job`."""
        return _paths(self.model)

    def images(self) -> int:
        """See `Job`."""
        return len(locate_photos(self.photos, others=ARRAY_SUFFIXES, without=self.output))

    def run(self, folder: Path, shard: Shard, told: Told) -> ShardResult:
        """See `Job`."""
        made = PredictionRun(
            self.model, self.photos, folder, shard=shard, whole=self.output, resume=True, **self.options
        )
        with closing(made) as run:
            model = run.classifier
            provider = model.session.provider
            lines = [f"model          {model.name}  ({model.rewrite.said_verdict})"]
            if not run.of_arrays:
                used = model.preprocess
                lines += [f"preprocessing  {used.preprocess.describe()}", f"               {used.source}"]
            lines += [f"classes        {model.names.source}"]
            told.conditions = "\n".join([*lines, f"running on     {provider['used']}: {provider['reason']}"])
            told.done = told.before = run.done
            for _ in run:
                told.done += 1
            return run.save_shard()


def _paths(*given: Path | str | None) -> tuple[Path, ...]:
    """Those that are paths: URLs are reached by their own means, and what a pattern stands for is not known here."""
    return tuple(path for path in given if isinstance(path, Path) and not _MAGIC.search(str(path)))


def _tell(told: Told, before: int, conditions: RenderableType) -> None:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=_WIDTH).print(conditions)
    told.done = told.before = before
    told.conditions = "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())
