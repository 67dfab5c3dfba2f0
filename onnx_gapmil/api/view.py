"""`view`: a page on this machine to look and to touch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx_gapmil.api.places import takes_urls
from onnx_gapmil.files.guarding import watched_reads
from onnx_gapmil.rewriting.sizing.record import parse_size
from onnx_gapmil.viewing.view import make_server, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from onnx_gapmil.lift.tokens.modes import ClassTokenWish


@takes_urls(read=("model", "new", "names", "names_new", "preprocess", "preprocess_new"))
def view(
    model: str | Path,
    photos: str | Path | Sequence[str | Path] = (),
    *,
    new: str | Path | None = None,
    preprocess: str | Path | None = None,
    names: str | Path | None = None,
    head: str | None = None,
    thresholds: float | str | Path | None = None,
    preprocess_new: str | Path | None = None,
    names_new: str | Path | None = None,
    head_new: str | None = None,
    provider: str = "auto",
    class_token: ClassTokenWish | None = None,
    size: tuple[int, int] | int | str | None = None,
    no_guess: bool = False,
    port: int = 0,
    browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a page on this machine to look and to touch, until the process is interrupted.

    It listens on 127.0.0.1 alone, and answers who knows the random token in its address alone.

    Args:
        model: path of an ``.onnx`` file.
        photos: files, folders or globs to begin with; others are dropped on the page.
        new: another model, which is shown beside it.
        preprocess: see `predict`, as for names, head, thresholds, provider, class_token and no_guess.
        names: of the first model.
        head: of the first model.
        thresholds: of the first model.
        preprocess_new: of the other model.
        names_new: of the other model.
        head_new: of the other model.
        provider: where to run.
        class_token: of both models.
        size: of the input of both models, where it is not to be their own; see `predict`.
        no_guess: refuse a preprocessing that would be a guess.
        port: to listen on; any that is free if 0.
        browser: open the page in the user's browser.
        ready: is called with the page's address, once it can be opened.

    Raises:
        InputError: model, photos, preprocessing, names, provider or port will not do; see the errors below it.
        UnsupportedHeadError: no output has a head that can be lifted.
        KeyboardInterrupt: the process was interrupted; the server is closed then.
    """
    both: dict[str, Any] = {"class_token": class_token, "size": parse_size(size), "no_guess": no_guess or None}
    own = {"preprocess": preprocess, "names": names, "head": head, "thresholds": thresholds, **both}
    other = {"preprocess": preprocess_new, "names": names_new, "head": head_new, **both}
    asked = [(model, own)] if new is None else [(model, own), (new, other)]
    given = [(path, {key: value for key, value in options.items() if value is not None}) for path, options in asked]
    paths = [photos] if isinstance(photos, str | Path) else photos
    with watched_reads():
        server = make_server(given, [str(path) for path in paths], provider=provider, port=port)
        serve(server, browser=browser, ready=ready)
