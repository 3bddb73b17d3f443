"""A program's session on a server: through broken connections, restarts and outages, and what it says of them."""

import asyncio

import numpy as np
import pytest

from mmstream import client
from mmstream.client import RemoteSession
from mmstream.client_address import ServerError, is_overheard, token_in
from mmstream.client_tape import Tape
from mmstream.client_translations import Promises
from mmstream.media import Caption, Gap, Translation, Word
from mmstream.server.tokens import Tokens
from tests.command_line import Running, call, say
from tests.media_samples import write_wav
from tests.serving import served
from tests.stub import RATE, WORD_S, spoken
from tests.talking import talking
from tests.test_server_live import UNHURRIED, numbers

WAIT_S = 30.0
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def server():
    with served(limits=UNHURRIED) as one:
        yield one


@pytest.fixture
def opened():
    sessions = []

    def begin(address, **options):
        sessions.append(RemoteSession(address, **options))
        sessions[-1].open()
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()
        assert not session._thread.is_alive()


def until(session, word):
    """What has come, once a caption holds ``word``."""
    found = []
    while not any(word in heard.data.text.split() for heard in found if isinstance(heard.data, Caption)):
        found += session.take(wait=True)
    return found


def rest(session):
    session.finish()
    found = []
    while more := session.take(wait=True):
        found += more
    return found


def finals(found):
    return [heard.data for heard in found if isinstance(heard.data, Caption) and heard.data.final]


def words(found):
    return [word.text for caption in finals(found) for word in caption.stable]


def is_one_session(found):
    """Utterances come one after another, each once, with words at the times at which they were said."""
    captions = finals(found)
    assert [caption.index for caption in captions] == list(range(len(captions)))
    for caption in captions:
        for word in caption.stable:
            assert word.start == pytest.approx(int(word.text) * WORD_S, abs=1e-3)
    return True


def test_sound_goes_up_and_words_come_down(server, opened):
    session = opened(server.live)
    session.feed(spoken(0, 11))
    found = rest(session)
    assert words(found) == numbers(0, 11)
    assert is_one_session(found)
    assert session.model == "stub"


def test_a_broken_connection_is_taken_up_again(server, opened):
    session = opened(server.live)
    found = []
    for first in range(0, 40, 10):
        session.feed(spoken(first, first + 10))
        found += until(session, str(first + 8))
        server.drop_connections()
    session.feed(spoken(40, 50))
    found += rest(session)
    assert words(found) == numbers(0, 50)
    assert is_one_session(found)


def test_a_restarted_server_goes_on_where_the_old_one_stood(opened, caplog):
    with served(limits=UNHURRIED) as first:
        session = opened(first.live)
        session.feed(spoken(0, 10))
        found = until(session, "9")
    session.feed(spoken(10, 23))
    with served(limits=UNHURRIED, port=first.port):
        found += until(session, "22")
    with served(limits=UNHURRIED, port=first.port):
        session.feed(spoken(23, 30))
        found += rest(session)
    assert words(found) == numbers(0, 30)
    assert is_one_session(found)
    assert not any(isinstance(heard.data, Gap) for heard in found)


def test_of_a_long_outage_the_tape_is_heard_and_the_loss_is_told(opened):
    with served(limits=UNHURRIED) as first:
        session = opened(first.live)
        session.feed(spoken(0, 8))
        found = until(session, "7")
    session.feed(spoken(8, 200))  # 48 s, of which the tape holds 30
    with served(limits=UNHURRIED, port=first.port):
        found += rest(session)
    (gap,) = [heard for heard in found if isinstance(heard.data, Gap)]
    kept = 200 - round(client.TAPE_S / WORD_S)
    assert (gap.start, gap.end) == (8 * WORD_S, kept * WORD_S)
    assert gap.data.medium == "audio"
    assert words(found) == numbers(0, 8) + numbers(kept, 200)
    assert is_one_session(found)


def test_stable_words_of_an_utterance_that_a_dead_server_had_begun_stay(opened):
    with served(limits=UNHURRIED) as first:
        session = opened(first.live)
        session.feed(spoken(0, 7))  # the second utterance has three words, two of them stable
        found = until(session, "6")
        first.loop.call_soon_threadsafe(lambda: [one.abort() for one in list(first.service._sessions.values())])
        session.feed(spoken(7, 12))
        found += rest(session)
    assert words(found) == numbers(0, 12)
    assert is_one_session(found)


def test_silence_stands_for_what_was_lost_before(server, opened):
    session = opened(server.live)
    session.feed(spoken(1, 5))
    session.feed_silence(round(4 * WORD_S * RATE))
    session.feed(spoken(9, 13))
    assert words(rest(session)) == [*numbers(1, 5), *["0"] * 4, *numbers(9, 13)]


def test_who_leaves_leaves_nothing(server):
    session = RemoteSession(server.live)
    session.open()
    session.feed(spoken(0, 5))
    until(session, "3")
    session.close()
    server.until(lambda service: not service.open_sessions and not service.table(), "the session goes", 10)


def test_a_server_that_is_gone_for_good_is_not_waited_for_at_the_end(opened, monkeypatch):
    monkeypatch.setattr(client, "LAST_WORDS_S", 0.5)
    with served(limits=UNHURRIED) as first:
        session = opened(first.live)
        session.feed(spoken(0, 4))
        found = until(session, "3")
    session.feed(spoken(4, 6))
    found += rest(session)
    assert words(found) == numbers(0, 4)
    assert (found[-1].start, found[-1].end, type(found[-1].data)) == (4 * WORD_S, 6 * WORD_S, Gap)


def test_a_session_that_somebody_else_has_taken_over_starts_anew(server, opened):
    session = opened(server.live)
    session.feed(spoken(0, 6))
    found = until(session, "5")

    async def take_over():
        async with talking(server.live) as talk:
            await talk.resume(session._token, 0)

    asyncio.run(take_over())
    session.feed(spoken(6, 9))
    found += rest(session)
    assert words(found) == numbers(0, 9)
    assert is_one_session(found)


def test_one_that_the_new_server_does_not_let_in_asks_again(opened, caplog):
    with served(limits=UNHURRIED) as first:
        session = opened(first.live)
        session.feed(spoken(0, 4))
        found = until(session, "3")
    with served(limits=UNHURRIED, port=first.port, tokens=Tokens([TOKEN])) as guarded:
        guarded.until(lambda _: "token" in caplog.text, "it is told so")
    with served(limits=UNHURRIED, port=first.port):
        session.feed(spoken(4, 6))
        found += rest(session)
    assert words(found) == numbers(0, 6)
    assert is_one_session(found)


def test_the_tape_keeps_the_latest():
    tape = Tape(10)
    assert tape.read(0, 5) == b""
    tape.add(b"0123456789abc")
    assert (tape.begin, tape.end) == (3, 13)
    assert tape.read(2, 5) is None
    assert tape.read(3, 5) == b"34567"
    assert tape.read(11, 5) == b"bc"
    tape.add_silence(4)
    assert tape.read(7, 99) == b"789abc\0\0\0\0"
    tape.add_silence(100)
    assert (tape.begin, tape.end) == (107, 117)


@pytest.mark.parametrize(
    ("address", "overheard"),
    [
        ("ws://localhost:1/", False),
        ("ws://127.0.0.9:1/", False),
        ("ws://[::1]:1/", False),
        ("wss://a.example/", False),
        ("ws://a.example/", True),
        ("ws://192.168.0.7:8000/", True),
    ],
)
def test_what_can_be_overheard_is_known(address, overheard):
    assert is_overheard(address) == overheard


# Translations.


@pytest.fixture(scope="module")
def translator():
    with served(limits=UNHURRIED, translate=["de", "fr"]) as one:
        yield one


def translated(found, target):
    """The words of the final translations, one after another, each utterance once, and none taken back."""
    told = [heard.data for heard in found if isinstance(heard.data, Translation) and heard.data.language == target]
    shown = {}
    for one in told:
        before = shown.get(one.index)
        assert before is None or not before.final
        assert before is None or one.stable[: len(before.stable)] == before.stable
        shown[one.index] = one
    assert list(shown) == sorted(shown)
    return [word.text.removeprefix(f"{target}:").rstrip(".") for one in shown.values() for word in one.stable]


def test_translations_come_down_too(translator, opened):
    session = opened(translator.live, translate=["de", "fr"])
    session.feed(spoken(0, 11))
    found = rest(session)
    assert words(found) == translated(found, "de") == translated(found, "fr") == numbers(0, 11)


def test_translations_go_on_through_broken_connections(translator, opened):
    session = opened(translator.live, translate=["de"])
    found = []
    for first in range(0, 40, 10):
        session.feed(spoken(first, first + 10))
        found += until(session, str(first + 8))
        translator.drop_connections()
    session.feed(spoken(40, 50))
    found += rest(session)
    assert words(found) == translated(found, "de") == numbers(0, 50)


def test_translations_go_on_with_another_server_and_none_is_taken_back(opened):
    session, found, port = None, [], 0
    for first in range(0, 30, 10):
        with served(limits=UNHURRIED, translate=["de"], port=port) as server:
            port = server.port
            session = session or opened(server.live, translate=["de"])
            session.feed(spoken(first, first + 10))
            found += until(session, str(first + 9))
    with served(limits=UNHURRIED, translate=["de"], port=port):
        session.feed(spoken(30, 33))
        found += rest(session)
    assert words(found) == numbers(0, 33)
    told = [int(word) for word in translated(found, "de")]
    assert told == sorted(set(told))
    assert told[-3:] == [30, 31, 32]


def test_nothing_is_settled_before_it_is_translated(translator, opened):
    session = opened(translator.live, translate=["de", "fr"])
    session.feed(spoken(0, 9))
    session.finish()
    settled = [session.settled]
    while found := session.take(wait=True):
        assert all(heard.start >= settled[-1] for heard in found)
        settled.append(session.settled)
    assert settled == sorted(settled)
    assert settled[-1] == 9 * WORD_S


def test_of_a_server_that_is_gone_what_was_translated_stays():
    promises = Promises(["de", "fr"])

    def say(index, text, *, final):
        said = tuple(Word(word, float(index), index + 0.9) for word in text.split())
        promises.said(Caption(index, said, (), final), float(index), index + 0.9)

    def translate(index, stable, unstable="", *, final=False, target="de"):
        texts = [tuple(Word(word, 0.0, 0.1) for word in part.split()) for part in (stable, unstable)]
        promises.translated(Translation(index, texts[0], texts[1], final, target), float(index), index + 0.9)

    say(0, "good morning", final=True)
    translate(0, "guten Morgen", final=True)
    assert promises.earliest == 0.0  # French is to come
    translate(0, "bonjour", final=True, target="fr")
    say(1, "how are", final=False)
    translate(1, "wie", "ist")
    say(1, "how are you", final=True)
    translate(1, "comment", "ça", target="fr")
    say(2, "well thank", final=False)
    translate(2, "danke", "gut")
    translate(2, "", "merci", target="fr")
    assert promises.earliest == 1.0
    kept = [(one.index, one.language, " ".join(w.text for w in one.stable), one.final) for *_, one in promises.keep()]
    assert kept == [(1, "de", "wie ist", True), (1, "fr", "comment ça", True), (2, "de", "danke", True)]
    assert promises.earliest == float("inf")
    say(2, "well thanks", final=True)  # French had shown nothing that is certain: it is translated anew
    translate(2, "bien", final=True, target="fr")
    assert promises.earliest == float("inf")


# The command.


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Ten numbers, as a file."""
    samples = np.frombuffer(spoken(0, 10), "<i2")[:, None]
    return write_wav(tmp_path_factory.mktemp("media") / "counting.wav", samples, RATE)


def test_live_on_a_server_prints_and_writes_what_it_hears(server, counting, tmp_path):
    done = call("live", counting, "--server", server.url, "--output", tmp_path / "talk.srt")
    assert done.code == 0, done
    assert done.out.split() == numbers(0, 10)
    assert len(done.out.splitlines()) == 3
    assert f"server: {server.live}, model stub" in done.err
    assert "00:00:01,000 --> 00:00:02,000\n4 5 6 7" in (tmp_path / "talk.srt").read_text()


def test_live_takes_its_token_from_a_file(counting, tmp_path):
    (tmp_path / "token").write_text(f"# of the office\n{TOKEN}\n")
    (tmp_path / "wrong").write_text("fedcba9876543210fedcba9876543210\n")
    with served(limits=UNHURRIED, tokens=Tokens([TOKEN])) as guarded:
        for options, code in (
            (["--token-file", tmp_path / "token"], 0),
            ([], 1),
            (["--token-file", tmp_path / "wrong"], 1),
        ):
            done = call("live", counting, "--server", guarded.url, *options)
            assert done.code == code, done
            assert (done.out.split() == numbers(0, 10)) == (code == 0)
            assert code == 0 or "token" in done.err
            assert TOKEN not in done.err


def test_ctrl_c_lets_the_last_words_of_the_server_out(server, tmp_path):
    talk = say(tmp_path / "talk.wav", *["one two three"] * 5)
    with Running("live", talk, "--server", server.url) as live:
        live.wait_for("server:")
        server.until(lambda service: any(row.reached_s > 0.5 for row in service.table()), "it hears")
        live.send(2)
        done = live.end()
    assert done.code == 0, done
    assert done.out.strip()
    server.until(lambda service: not service.open_sessions, "the session has ended")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--server", "localhost"], "is no server's address"),
        (["--server", "ws://localhost:0"], "is no server's address"),
        (["--server", "ws://localhost:1"], "nothing listens there"),
        (["--server", "ws://no-such-host.invalid"], "cannot be reached"),
        (["--server", "ws://user:secret@localhost:1"], "give --token-file"),
        (["--server", "HERE/elsewhere"], "answers, but not as mmstream does"),
        (["--server", "HERE", "--model", "nobody"], "there is no model 'nobody' here"),
        (["--server", "HERE", "--language", "de"], "knows 'en' only"),
        (["--server", "HERE", "--camera", "0"], "--camera does not go with --server"),
        (["--server", "HERE", "--executor", "ray"], "--executor ray does not go with --server"),
        (["--server", "HERE", "--token-file", "nowhere"], "No such file"),
        (["--token-file", "nowhere"], "--token-file needs --server"),
    ],
)
def test_what_cannot_be_done_is_one_line(server, counting, options, said):
    done = call("live", counting, *[option.replace("HERE", server.url) for option in options])
    assert done.code == 1
    assert said in done.err
    assert "secret" not in done.err
    lines = [line for line in done.err.splitlines() if "WebSocket /" not in line]  # what the server says of it
    assert len(lines) == 1, done.err
    assert not done.out


def test_the_token_is_the_first_line_that_is_no_comment(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"# mine\n\n  # the old one\n {TOKEN} \nanother\n")
    assert token_in(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file or directory"), (b"\xff\xfe", "is not a text file"), (b" # none\n\n", "holds no token")],
)
def test_a_file_without_a_token_is_named(tmp_path, content, told):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ServerError) as refused:
        token_in(file)
    assert str(refused.value) == f"--token-file {file}: {told}"
