"""What commands make of a pipeline file: another source, another model, other sinks, more replicas; the rest stays.

One ``pipeline.yaml`` serves live, batch and cluster use, so a command never writes a graph of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError
from mmstream.graph import Graph
from mmstream.media import Caption, Translation
from mmstream.outcome import OperatorError
from mmstream.pipeline import Document, check, default_path, read, roles
from mmstream.pipeline.classes import find as find_class
from mmstream.registry import Model
from mmstream.rewiring import Wiring, inputs_of
from mmstream.spelling import did_you_mean

FORMATS: Mapping[str, str] = {  # file suffix -> sink
    "srt": "operators.sinks:Srt",
    "vtt": "operators.sinks:WebVtt",
    "jsonl": "operators.sinks:JsonLines",
    "txt": "operators.sinks:PlainText",
}
TERMINAL = "operators.sinks:Terminal"
TRANSLATE = "operators.translation:Translate"
TRANSLATOR = "translate"  # the node that a command adds, in a worker of its own: nobody waits for it
SPOKEN = "operators.translation:Spoken"
HEARD, SAID = "translate_sound", "translate_spoken"  # the nodes by which a recogniser translates what it hears
TRANSLATED_TOGETHER = 16  # captions of as many sessions, where they wait
FILE_CHUNK_MS = 500  # of a file at full speed, where nobody waits for the next chunk: fewer packets cost less


@dataclass(frozen=True, slots=True)
class SinkNode:
    """A sink to add: its node's name, operator and arguments."""

    name: str
    use: str
    arguments: Mapping[str, Any]

    @property
    def wants_translations(self) -> bool:
        """Whether it has a use for them: not a sink of ours that was told of no language."""
        ours = self.use in (TERMINAL, *FORMATS.values())
        return not ours or not {"language", "languages"}.isdisjoint(self.arguments)


def formats(text: str) -> list[str]:
    """The formats that ``text`` names, once each: "srt,vtt".

    Raises:
        MmstreamError: one of them is unknown, or there is none.
    """
    names = list(dict.fromkeys(name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FORMATS:
            raise MmstreamError(f"--format {text}: {name!r} is unknown{did_you_mean(name, FORMATS, 'known are')}")
    if not names:
        raise MmstreamError(f"--format {text!r} names no format; known are {', '.join(FORMATS)}")
    return names


def terminal(languages: Sequence[str] = ()) -> SinkNode:
    """The terminal, with translations below what was said."""
    return SinkNode("terminal", TERMINAL, {"languages": list(languages)} if languages else {})


def file_sink(path: str) -> SinkNode:
    """The sink that writes ``path``, by its suffix.

    Raises:
        MmstreamError: no format has that suffix.
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    if not suffix:
        raise MmstreamError(f"{path}: a caption file's name ends in {', '.join(f'.{known}' for known in FORMATS)}")
    if suffix not in FORMATS:
        raise MmstreamError(f"{path}: no caption format ends in {suffix!r}{did_you_mean(suffix, FORMATS, 'known are')}")
    return SinkNode(f"{suffix}_file", FORMATS[suffix], {"path": path})


def file_sinks(path: str, languages: Sequence[str] = ()) -> list[SinkNode]:
    """The sink that writes ``path``, and one beside it for each language: ``talk.srt``, ``talk.de.srt``.

    Raises:
        MmstreamError: no format has that suffix.
    """
    said = file_sink(path)
    stem, dot, suffix = path.rpartition(".")
    return [
        said,
        *(
            SinkNode(f"{said.name}_{one}", said.use, {"path": f"{stem}.{one}{dot}{suffix}", "language": one})
            for one in languages
        ),
    ]


class Recipe:
    """A pipeline file on its way to a graph. Faults of the file and of the changes come out of ``graph``, together."""

    def __init__(self, path: Path | None = None, *, sets: Sequence[str] = (), allow: Sequence[str] = ()) -> None:
        self._allow = tuple(allow)
        self._document: Document = read(path or default_path())
        self._roles = roles(self._document, self._allow)
        self._sets = tuple(sets)
        self._replicas = 1
        self._placed: set[str] = set()  # sources and sinks that are not the file's own
        self._wiring = Wiring(self._document, self._allow)
        self._cameras = self._wiring.cameras()

    @property
    def source(self) -> str:
        """The name of the one source that is heard; cameras are apart.

        Raises:
            PipelineError: every problem of the file.
            MmstreamError: it is in order, and has none or several.
        """
        names = [name for name in self._roles.sources if name not in self._cameras]
        if len(names) != 1:
            check(self._document, self._allow)  # a file with mistakes has them as the reason
            raise MmstreamError(f"{self._document.path}: this command needs one source; there are {len(names)}")
        return names[0]

    @property
    def has_camera(self) -> bool:
        """Whether the file has a camera that nobody has been put in the place of: something in it can look."""
        return bool(self._cameras)

    def look_through(self, use: str, arguments: Mapping[str, Any]) -> None:
        """Look as well as listen, through another camera in the place of the file's own.

        Raises:
            MmstreamError: the file has no camera.
        """
        self._document.replace_node(self._camera, use=use, arguments=arguments)
        self._placed.add(self._camera)
        self._cameras = []

    def look_at_source(self) -> None:
        """Look at the pictures of the source that is heard, as of a file with both.

        Raises:
            MmstreamError: the file has no camera, so nothing in it looks at pictures.
        """
        self._wiring.take_over(self._camera, self.source)
        self._document.set_arguments(self.source, {"streams": "any"})
        self._cameras = []

    def keep_on_camera_only(self) -> None:
        """Leave out voices that do not belong to the person on camera.

        Raises:
            MmstreamError: nothing in the graph can tell.
        """
        able = [name for name in self._document.nodes if "only_on_camera" in self._wiring.parameters(name)]
        if not able:
            raise MmstreamError(f"{self._document.path}: no operator in it takes only_on_camera")
        for name in able:
            self._document.set_arguments(name, {"only_on_camera": True})

    @property
    def _camera(self) -> str:
        if not self._cameras:
            raise MmstreamError(f"{self._document.path}: there is no camera in it, so nothing that would look")
        return self._cameras[0]

    def listen_to(self, use: str, arguments: Mapping[str, Any], *, live: bool) -> None:
        """Put another source in the place of the file's own; unless it is ``live``, no edge drops anything."""
        self._document.replace_node(self.source, use=use, arguments=arguments)
        self._placed.add(self.source)
        if not live:
            self._document.block_everywhere()

    def keep_here(self) -> None:
        """Let the source run in this process, wherever the file has put it: what it is given cannot be sent away."""
        self._document.free_node(self.source)

    def read_file(self, *, watched: bool) -> None:
        """Put a file in the source's place; its ``path`` comes with each session. ``watched``: it plays at 1.0x."""
        arguments = {"pace": "realtime"} if watched else {"pace": "fast", "chunk_ms": FILE_CHUNK_MS}
        if self._wiring.gives_pictures(self.source):
            arguments["streams"] = "any"
        self.listen_to("operators.sources:MediaFile", {"path": "", **arguments}, live=False)

    def play_file(self) -> None:
        """Put a file in the source's place that plays as if it were live; its ``path`` comes with each session."""
        arguments = {"streams": "any"} if self._wiring.gives_pictures(self.source) else {}
        self.listen_to("operators.sources:PlayedFile", {"path": "", **arguments}, live=True)

    def recognise_with(self, model: Model, *, watched: bool) -> None:
        """Put the model's decoder, and the commit policy that suits it, in the place of the file's own.

        Where nobody watches, words become stable at the end of their utterance, which no policy can do better.
        """
        arguments = model.arguments_for(watched=watched)
        for name in self._roles.decoders:
            if model.before:
                self._wiring.put_before(name, model.before, arguments)
            self._document.replace_node(name, use=model.use, arguments=arguments)
        for name in self._roles.commits:
            self._document.set_arguments(name, model.commit if watched else {"policy": "final"})

    def tell(self, node: str, arguments: Mapping[str, Any]) -> None:
        """Arguments of a node of the file that the user knows by another name than the file's."""
        self._document.set_arguments(node, arguments)
        self._placed.add(node)

    def translate_into(self, languages: Sequence[str], arguments: Mapping[str, Any], *, watched: bool) -> None:
        """Translate every caption into ``languages``, with the file's own translator where it has one.

        ``arguments``: further ones of ``operators.translation:Translate``. Where the recogniser of the file translates
        as well, such as that of a server, it alone is told, of the languages.
        """
        name = self._translator
        if name is not None and self._hears(name):
            self.tell(name, {"translate": list(languages)})
            return
        if name is None:
            name = TRANSLATOR
            self._document.add_node(name, use=TRANSLATE, inputs=self._caption_feeds())
            self._document.add_worker(name, [name], batch=TRANSLATED_TOGETHER)
        kind = self._wiring.kind(name)
        suits = getattr(kind, "watched" if watched else "unwatched", {})
        self._document.set_arguments(name, {**suits, **arguments, "targets": list(languages)})
        self._placed.add(name)

    def translate_sound(self, *, watched: bool) -> None:
        """Let the file's recogniser say in English, too, what it hears in another language: Whisper's ``translate``.

        It takes the place of a translator that the file has.

        Raises:
            MmstreamError: the file has no recogniser, or one that cannot.
        """
        self.leave_untranslated()
        able = [name for name in self._roles.decoders if "task" in self._wiring.parameters(name)]
        if not able:
            raise MmstreamError(f"{self._document.path}: no recogniser in it translates what it hears")
        entry, captions = self._document.nodes[able[0]], self._caption_feeds()
        arguments = {**(entry.get("with") or {}), "task": "translate"}
        self._document.add_node(HEARD, use=entry["use"], arguments=arguments, inputs=inputs_of(entry))
        suits = getattr(find_class(SPOKEN), "watched" if watched else "unwatched")
        self._document.add_node(SAID, use=SPOKEN, arguments=suits, inputs=[*captions, HEARD])
        self._document.add_worker(SAID, [HEARD, SAID], batch=TRANSLATED_TOGETHER)
        self._placed |= {HEARD, SAID}

    def leave_untranslated(self) -> None:
        """Translate nothing, whatever the file has."""
        name = self._translator
        if name is not None and self._hears(name):
            self._document.set_arguments(name, {"translate": []})
        elif name is not None:
            self._document.remove_node(name)

    @property
    def languages(self) -> list[str]:
        """Those that captions are translated into."""
        name = self._translator
        given = {} if name is None else self._document.nodes[name].get("with") or {}
        targets = given.get("translate" if name is not None and self._hears(name) else "targets")
        spoken = [str(self._said_in(one)) for one in self._translators if self._said_in(one)]
        return [*(str(one) for one in (targets if isinstance(targets, list) else ())), *spoken]

    @property
    def _translators(self) -> list[str]:
        """The nodes that translate."""
        return [one for one in self._document.nodes if Translation in self._wiring.kind(one).emits]

    @property
    def translator(self) -> str | None:
        """The model that the file's own translator runs; None where the file has none, or does not say."""
        name = self._translator
        if name is None or self._hears(name):
            return None
        model = (self._document.nodes[name].get("with") or {}).get("model")
        return None if model is None else str(model)

    @property
    def _translator(self) -> str | None:
        """The one of them that is told the languages."""
        return next((one for one in self._translators if not self._said_in(one)), None)

    def _said_in(self, name: str) -> str | None:
        """The one language of a translator that translates sound."""
        return getattr(self._wiring.kind(name), "hears", None)

    def _hears(self, name: str) -> bool:
        """Whether a node gives captions too."""
        return Caption in self._wiring.kind(name).emits

    def write_to(self, sinks: Sequence[SinkNode]) -> None:
        """Put other sinks in the place of the file's own, fed by whatever fed those."""
        feeds = self._feeds()
        for name in self._roles.sinks:
            self._document.remove_node(name)
        self._add_sinks(sinks, feeds)

    def also_write_to(self, sinks: Sequence[SinkNode]) -> None:
        """Add sinks to the file's own, fed by whatever of captions feeds those.

        Raises:
            MmstreamError: no sink of the file gets captions, or there is a node of that name.
        """
        if not self._caption_feeds():
            raise MmstreamError(f"{self._document.path}: no sink in it gets captions, so there are none to write")
        self._add_sinks(sinks, [name for name in self._feeds() if self._gives_text(name)])

    def also_show(self, payload: type, chain: Sequence[SinkNode]) -> None:
        """Add nodes one behind another, the first of them behind whatever gives ``payload``, if anything does."""
        feeds = [name for name in self._document.nodes if payload in self._wiring.kind(name).emits][:1]
        for node in chain if feeds else ():
            self._add_sinks([node], feeds)
            feeds = [node.name]

    @property
    def gives_captions(self) -> bool:
        """Whether a sink of the file gets captions."""
        return bool(self._caption_feeds())

    def _caption_feeds(self) -> list[str]:
        return [name for name in self._feeds() if Caption in self._wiring.kind(name).emits]

    def _gives_text(self, name: str) -> bool:
        return bool({Caption, Translation} & set(self._wiring.kind(name).emits))

    def _feeds(self) -> list[str]:
        """What the file's sinks take from, and the translators."""
        entries = self._document.nodes
        feeds = [name for sink in self._roles.sinks for name in inputs_of(entries[sink])]
        return list(dict.fromkeys([*feeds, *self._translators]))

    def _add_sinks(self, sinks: Sequence[SinkNode], feeds: Sequence[str]) -> None:
        said = [name for name in feeds if set(self._wiring.kind(name).emits) != {Translation}]
        nobody = not any(sink.wants_translations for sink in sinks)  # but a node that nobody takes from is an error
        for sink in sinks:
            inputs = feeds if sink.wants_translations or nobody else said
            self._document.add_node(sink.name, use=sink.use, arguments=sink.arguments, inputs=inputs)
            self._placed.add(sink.name)

    def show_many(self) -> None:
        """Show several sessions at a time, wherever the file shows one."""
        for name in self._roles.sinks:
            if "many" in self._wiring.parameters(name):
                self._document.set_arguments(name, {"many": True})

    @property
    def says_workers(self) -> bool:
        """Whether the file itself says which workers there are, and how many of each."""
        return bool(self._document.content.get("workers"))

    def replicate(self, workers: int) -> None:
        """Run ``workers`` replicas of every worker but the user's own process."""
        self._replicas = workers

    def graph(self) -> Graph:
        """The checked graph.

        Raises:
            PipelineError: every problem of the file.
        """
        for camera in self._cameras:  # nobody has asked for pictures
            self._wiring.cut(camera)
        for setting in self._sets:  # last, so that what the user says holds whatever the command has put in place
            self._document.set(setting)
        graph = check(self._document, self._allow)
        return graph if self._replicas == 1 else graph.replicated(self._replicas)

    def plainly(self, error: MmstreamError) -> MmstreamError:
        """``error`` for somebody who knows files and devices, not nodes: what a source or sink put in place says."""
        if isinstance(error, OperatorError) and error.node in self._placed:
            return MmstreamError(error.cause.removeprefix("ValueError: "))
        return error
