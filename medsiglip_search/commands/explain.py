"""Asking why: search, and an explanation of what was found."""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search import terminal, wire
from medsiglip_search.commands.options import (
    DECODE_TIMEOUT_S,
    AsJson,
    DecodeTimeout,
    Device,
    EncoderName,
    GalleryPath,
    GroupBy,
    Like,
    QueryImages,
    QueryText,
    Where,
    Without,
)
from medsiglip_search.commands.output import (
    print_cells,
    print_hits,
    print_json,
    print_lines,
    say_failed,
    say_what_demo_knows,
)
from medsiglip_search.errors import ExplainerUnavailable, InvalidQuery, MedSiglipSearchError
from medsiglip_search.explanation_text import explanation_lines
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.explain import Explainer, Explanation, Question, TellPiece
    from medsiglip_search.explain.chat import ChatModel
    from medsiglip_search.explain.gathering import FileOf
    from medsiglip_search.explain.scoring import Scorers
    from medsiglip_search.search import Searcher

Explain = Callable[..., None]


def explain_command(file_of: "Callable[[], FileOf]") -> Explain:
    """Return the command. file_of: makes what opens the files of archives."""

    def explain(
        gallery: GalleryPath,
        text: QueryText = None,
        image: QueryImages = None,
        like: Like = None,
        study: Annotated[str | None, typer.Option(help="Cases like this study.")] = None,
        without: Without = None,
        where: Where = None,
        group_by: Annotated[
            GroupBy,
            typer.Option(help="One hit for each; a study for --study, else an image."),
        ] = None,
        top_k: Annotated[int, typer.Option(min=1, max=20, show_default=True, help="How many hits.")] = 3,
        explainer: Annotated[
            str,
            typer.Option(
                envvar="MEDSIGLIP_EXPLAINER",
                show_envvar=True,
                show_default=True,
                metavar="NAME|FOLDER|URL",
                help="evidence (no language model), demo, medgemma, a checkpoint folder, a hub id, or the "
                "URL of an OpenAI-compatible server.",
            ),
        ] = "evidence",
        model: Annotated[
            str | None, typer.Option(help="Which of the server's models; its only one by default.")
        ] = None,
        allow_upload: Annotated[
            bool,
            typer.Option(
                "--allow-upload", help="Let pictures and reports leave this machine for the URL's server."
            ),
        ] = False,
        key_file: Annotated[
            Path | None,
            typer.Option(help="File with the server's key; MEDSIGLIP_EXPLAINER_KEY by default."),
        ] = None,
        second_opinion: Annotated[
            bool, typer.Option("--second-opinion", help="Ask again in other words, and tell disagreement.")
        ] = False,
        joint: Annotated[
            bool, typer.Option("--joint", help="All pictures in one prompt, for models made for it.")
        ] = False,
        report: Annotated[
            bool, typer.Option("--report", help="Also summarise the hits' reports, and draft one.")
        ] = False,
        reader: Annotated[
            str | None,
            typer.Option(
                metavar="NAME|FOLDER|URL", help="Another model for --report, such as medgemma-27b-text-it."
            ),
        ] = None,
        reader_model: Annotated[
            str | None, typer.Option(help="Which of the models of --reader's server.")
        ] = None,
        reader_key_file: Annotated[
            Path | None,
            typer.Option(help="File with the key of --reader's server; MEDSIGLIP_READER_KEY by default."),
        ] = None,
        labels: Annotated[
            str | None,
            typer.Option(metavar="LABELSET", help="Findings to check against: a shipped set or a YAML file."),
        ] = None,
        calibration: Annotated[Path | None, typer.Option(help="Of --labels, as calibrate wrote it.")] = None,
        heatmaps: Annotated[
            Path | None,
            typer.Option(metavar="FOLDER", help="Write where in each hit the encoder sees TEXT, as PNG."),
        ] = None,
        four_bit: Annotated[
            bool, typer.Option("--four-bit", help="Load a local model in 4 bits, on a GPU.")
        ] = False,
        no_cache: Annotated[
            bool, typer.Option("--no-cache", help="Neither use nor keep answers on disk.")
        ] = False,
        encoder: EncoderName = None,
        device: Device = "auto",
        decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
        as_json: AsJson = False,
    ) -> None:
        """Search, and say why the hits answer.

        Hits come first. What a language model says is checked against the records and the encoder's own
        scores; exit with 1 where it broke down.
        """
        from medsiglip_search.explain import untold
        from medsiglip_search.explain.evidence import EvidenceExplainer
        from medsiglip_search.explain.gathering import Gatherer
        from medsiglip_search.explain.kinds import EVIDENCE, READER_KEY_VARIABLE
        from medsiglip_search.explain.language import LanguageExplainer, Options
        from medsiglip_search.explain.opening import Access, open_explainer, open_model, require_usable
        from medsiglip_search.images.guard import Guard, Limits
        from medsiglip_search.queries import Query
        from medsiglip_search.search import Searcher

        access = Access(device, four_bit, model, key_file, may_upload=allow_upload, is_cached=not no_cache)
        for_reader = replace(
            access, model=reader_model, key_file=reader_key_file, key_variable=READER_KEY_VARIABLE
        )
        _require_sense(explainer, text, heatmaps, second_opinion or joint or report, report, reader)
        require_usable(explainer, access)
        if reader is not None:
            require_usable(reader, for_reader)
        limits = Limits(timeout_s=decode_timeout)
        query = Query(
            text=text,
            images=image or (),
            like=like or (),
            study=study,
            without=without or (),
            where=where,
            group_by=group_by,
            top_k=top_k,
        )
        searcher = Searcher.open(gallery, encoder, device, limits)
        say_what_demo_knows(searcher.encoder.name)
        scorers = _scorers(searcher, labels, calibration)
        result = searcher.search_all([query])[0]
        # The hits come before anything is explained.
        if as_json:
            print_json(map(wire.hit_json, result))
        else:
            print_hits(result)
            print_lines([""])
        options = Options(joint, second_opinion, report)

        def explainer_of(chat: "ChatModel") -> "Explainer":
            return LanguageExplainer(chat, options, open_model(reader, for_reader) if reader else None)

        shown = _Shown(as_json)
        with Guard(1, limits) as guard:
            question = Gatherer(searcher, scorers, guard, file_of()).gather(query, result)
            try:
                explaining = open_explainer(explainer, access, explainer_of)
                # The evidence comes all at once, with the rest.
                explanation = _explained(explaining, question, untold if explainer == EVIDENCE else shown)
            except ExplainerUnavailable as error:
                explanation = EvidenceExplainer().explain(question)
                explanation = replace(explanation, state="failed", problem=str(error))
            written = _heatmaps(searcher, question, text, heatmaps) if heatmaps is not None else []
        told = wire.explanation_json(explanation)
        if as_json:
            print_json([{**told, "heatmaps": written}])
        else:
            shown.end()
            print_lines(explanation_lines(told, shown.texts))
            print_cells([(f"heat map of {one['subject']}", str(one["file"])) for one in written])
        if explanation.state not in ("done", "cancelled"):
            raise typer.Exit(say_failed(explanation.problem, MedSiglipSearchError.exit_code))
        if explanation.state == "cancelled":
            raise KeyboardInterrupt

    return explain


def _scorers(searcher: "Searcher", labels: str | None, calibration: Path | None) -> "Scorers":
    """Return what scores findings. Raises InvalidLabelSet, UnusableFile and others for what was chosen."""
    from medsiglip_search.explain.scoring import Scorers
    from medsiglip_search.labels.calibration_file import read_calibration
    from medsiglip_search.labels.classifier import zero_shot
    from medsiglip_search.labels.opening import open_label_set

    if labels is None:
        if calibration is not None:
            raise typer.BadParameter("--calibration belongs to --labels; give both")
        return Scorers(searcher.encoder)
    label_set = open_label_set(labels)
    read = None
    if calibration is not None:
        read = read_calibration(calibration, zero_shot(label_set, searcher.encoder), searcher.gallery.meta)
    return Scorers(searcher.encoder, label_set, read)


def _explained(explainer: "Explainer", question: "Question", tell: "TellPiece") -> "Explanation":
    """Return the explanation; the first Ctrl-C ends it with what was said until then."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def end(*_: object) -> None:
        # Not by an exception, which would break a model off in the middle of a step. A second one may.
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end)
    try:
        return explainer.explain(question, tell, stop)
    finally:
        signal.signal(signal.SIGINT, before)


def _require_sense(
    explainer: str,
    text: str | None,
    heatmaps: Path | None,
    asks_model: bool,
    report: bool,
    reader: str | None,
) -> None:
    """Raise InvalidQuery for options that would come to nothing, before anything is searched."""
    from medsiglip_search.explain.kinds import EVIDENCE

    if heatmaps is not None and text is None:
        raise InvalidQuery("--heatmaps shows where TEXT is answered, and there is none; give TEXT")
    if heatmaps is not None and heatmaps.exists() and not heatmaps.is_dir():
        raise InvalidQuery(f"{heatmaps}: is a file; give --heatmaps a folder")
    if reader is not None and not report:
        raise InvalidQuery("--reader writes what --report asks for; give both, or leave it out")
    if reader == EVIDENCE:
        raise InvalidQuery("--reader is a language model, and evidence is none; give medgemma-27b-text-it")
    if explainer == EVIDENCE and asks_model:
        raise InvalidQuery(
            "--second-opinion, --joint and --report ask a language model, and --explainer is evidence; give "
            "another, such as medgemma"
        )


class _Shown:
    """Shows pieces of text while they are made: to programs as JSON on stderr, to people on stdout.

    texts: what was shown to people, by subject.
    """

    def __init__(self, as_json: bool) -> None:
        self.texts: dict[str, str] = {}
        self._as_json = as_json

    def __call__(self, subject: str, text: str) -> None:
        if self._as_json:
            print_json([{"subject": subject, "piece": text}], to_stderr=True)
            return
        if subject not in self.texts:
            sys.stdout.write(("\n\n" if self.texts else "") + f"{subject.capitalize()}: ")
            text = text.lstrip()
        self.texts[subject] = self.texts.get(subject, "") + text
        sys.stdout.write("\n".join(map(terminal.printable, text.split("\n"))))
        sys.stdout.flush()

    def end(self) -> None:
        """Leave a line after what was shown."""
        if self.texts:
            sys.stdout.write("\n\n")


def _heatmaps(
    searcher: "Searcher", question: "Question", text: str | None, folder: Path
) -> list[dict[str, object]]:
    """Write where each picture answers the text, and return the files and the hottest places."""
    from medsiglip_search.errors import Unreadable
    from medsiglip_search.explain.heatmap import heatmap, overlay
    from medsiglip_search.images import png

    assert text is not None  # see _require_sense
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidQuery(f"{folder}: cannot be made: {error.strerror}. Give another folder") from None
    written: list[dict[str, object]] = []
    for case in question.cases:
        try:
            [picture] = case.pictures(searcher.gallery.meta.spec.rendering, 1)
        except Unreadable as error:
            note(f"{case.subject}: no heat map: {error}")
            continue
        path = folder / f"{case.subject.replace(' ', '_')}.png"
        heat = heatmap(searcher.encoder, picture, text)
        path.write_bytes(png(overlay(picture, heat)))
        told: dict[str, object] = {
            "subject": case.subject,
            "file": str(path),
            "hottest": heat.hottest,
            "box": heat.box(),
        }
        written.append(told)
    return written
