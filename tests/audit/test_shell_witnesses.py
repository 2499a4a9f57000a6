"""A guard and its witnesses: real witness processes, one that is down, those that lie, and a log that was put back."""

import json
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from guard.audit.courier import Courier
from guard.audit.note import Kind, VerifierKey, parse, verify
from guard.audit.verifier.command import verify as verify_export
from guard.audit.witness import parse as parse_body
from guard.audit.witness import path_of
from guard.audit.witnesses import Reply
from guard.catalogue import PLATFORM
from guard.errors import Denied, InvalidSetting, NotFound
from guard.settings import Witness, load
from tests.cli.witnessing import Liar, WitnessProcess, http
from tests.world import world

ORIGIN = "guard.local/guard/main"
NOWHERE = "http://127.0.0.1:9"
SPARE = VerifierKey("witness.example/spare", Kind.COSIGNATURE, bytes(range(32))).encode()
"""The key of a witness that never signs."""


def vkeys_of(folder):
    """The keys of the log in *folder*, made there at the first start."""
    with world(folder) as made:
        return [one.vkey for one in made.call("log_keys.list", auditor(made)).data]


def auditor(place):
    return place.hire(PLATFORM, "user:local|auditor", "role:auditor")


def grow(place, seconds=1):
    place.clock.advance(seconds)
    place.hire("acme", "user:local|ana", "role:support")
    return place.call("checkpoints.publish")


def ask(place, name):
    return place.call("checkpoints.witness", witness=name)


def listed(place):
    answer = place.call("witnesses.list", auditor(place))
    return answer, {one.name: one for one in answer.data}


def told(place):
    """The records of what witnesses held against the log: their facts, oldest first."""
    query = "SELECT entry FROM audit_entries JOIN audit_index USING (idx) WHERE action = 'witnesses.tell' ORDER BY idx"
    with place.guard.store.read() as tx:
        return [json.loads(entry)["b"]["data"] for entry in tx.exec_driver_sql(query).scalars()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose log has its keys; tests copy it."""
    folder = tmp_path_factory.mktemp("log") / "home"
    return folder, vkeys_of(folder)


@pytest.fixture
def started(home, tmp_path):
    """`started(witnesses...)` runs a copy of the log with these witnesses in its settings."""

    def start(*settings, quorum=0, at="home", source=None, **more):
        folder = tmp_path / at
        if not folder.exists():
            shutil.copytree(source or home[0], folder)
        return world(folder, witnesses=settings, witness_quorum=quorum, **more)

    return start


@pytest.fixture
def fresh(home, tmp_path):
    """`fresh()` starts a witness of its own, so that tests cannot see each other's sizes."""
    running = []

    def start(name="w", *vkeys, **options):
        running.append(WitnessProcess(tmp_path / name, *(vkeys or home[1]), **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


class TestCosigning:
    def test_two_witnesses_cosign_and_the_note_and_the_export_show_it(self, started, fresh, tmp_path):
        one, two = fresh("one"), fresh("two")
        with started(one.setting("one"), two.setting("two"), quorum=2) as place:
            view = grow(place)
            for name in ("one", "two"):
                assert not ask(place, name).alarm
            latest = place.call("checkpoints.latest", auditor(place))
            assert latest.size == view.size
            keys = [VerifierKey.decode(text) for text in (one.vkeys[0], two.vkeys[0])]
            assert len(verify(parse(latest.note.encode()), keys)) == 2
            later = grow(place)
            assert place.call("checkpoints.latest", auditor(place)).size == later.size
            assert place.call("checkpoints.latest", auditor(place), witnessed=True).note == latest.note
            exported = place.call("exports.create", auditor(place))
            assert exported.size == view.size
            path = place.call("exports.download", auditor(place), export=exported.id).path
            folder = tmp_path / "out"
            shutil.unpack_archive(path, folder)
            assert (folder / "checkpoint").read_text() == latest.note
            policy = (folder / "policy.txt").read_text()
            assert f"witness one {one.vkeys[0]}\n" in policy
            assert policy.endswith("group Witnesses 2 one two\nquorum Witnesses\n")

    def test_without_a_quorum_in_the_settings_the_export_asks_for_none_and_verifies(self, started, fresh):
        one = fresh()
        with started(one.setting("one")) as place:
            grow(place)
            ask(place, "one")
            place.call("checkpoints.witness", witness="one")
            exported = place.call("exports.create", auditor(place))
            path = place.call("exports.download", auditor(place), export=exported.id).path
            assert verify_export(Path(path), vkeys=[place.guard.log.verifier.encode()]).faults == []

    def test_an_export_under_a_checkpoint_that_lacks_its_quorum_does_not_claim_it(self, started, fresh):
        one = fresh()
        with started(one.setting("one"), Witness("down", NOWHERE, SPARE), quorum=2) as place:
            view = grow(place)
            ask(place, "one")
            exported = place.call("exports.create", auditor(place))
            assert exported.size == view.size
            path = place.call("exports.download", auditor(place), export=exported.id).path
            assert verify_export(Path(path)).faults == []

    def test_the_list_says_how_far_each_has_come_and_what_it_is_worth(self, started, fresh):
        one = fresh()
        with started(one.setting("one"), Witness("down", NOWHERE, SPARE), quorum=1) as place:
            view = grow(place)
            ask(place, "one")
            ask(place, "down")
            answer, by_name = listed(place)
            assert (by_name["one"].size, by_name["one"].status) == (view.size, "cosigned")
            assert by_name["one"].lag == answer.size - view.size > 0
            assert by_name["one"].cosigned_us
            assert (by_name["down"].size, by_name["down"].status) == (0, "unreachable")
            assert (answer.witnessed, answer.quorum) == (view.size, 1)
            assert "run by others" in answer.remark

    def test_asking_leaves_no_record_so_that_the_log_does_not_feed_itself(self, started, fresh):
        one = fresh()
        with started(one.setting("one")) as place:
            grow(place)
            size = place.guard.log.size
            for _ in range(3):
                ask(place, "one")
            assert place.guard.log.size == size

    def test_the_size_of_a_witness_survives_a_restart_and_a_loss_of_it_heals(self, started, fresh):
        one = fresh()
        with started(one.setting("one")) as place:
            grow(place)
            ask(place, "one")
        with started(one.setting("one")) as place:
            place.clock.advance(60)
            view = grow(place)
            ask(place, "one")
            assert listed(place)[1]["one"].size == view.size
            place.guard.pipeline.stop()
        with started(one.setting("one")) as place:
            with place.guard.store.write() as tx:
                tx.exec_driver_sql("DELETE FROM audit_witnesses")
            place.clock.advance(120)
            view = grow(place)
            assert not ask(place, "one").alarm
            assert listed(place)[1]["one"].size == view.size

    def test_a_renewed_checkpoint_is_cosigned_anew(self, started, fresh):
        one = fresh()
        with started(one.setting("one")) as place:
            first = grow(place)
            ask(place, "one")
            listed(place)
            second = place.call("checkpoints.publish")
            ask(place, "one")
            place.clock.advance(700)
            third = place.call("checkpoints.publish")
            assert third.size > first.size or third.size == second.size
            assert not ask(place, "one").alarm

    def test_after_a_rotation_a_witness_that_knows_one_old_key_goes_on_until_the_overlap_ends(self, started, fresh):
        one = fresh()
        with started(one.setting("one")) as place:
            admin = place.hire(PLATFORM, "user:local|admin", "role:platform-admin")
            place.call("log_keys.rotate", admin, overlap_days=1)
            grow(place)
            assert not ask(place, "one").alarm
            grow(place, 2 * 86_400)
            assert "untrusted" in ask(place, "one").alarm

    def test_only_guard_s_own_loop_asks_and_only_those_in_the_settings(self, started, fresh):
        with started(fresh().setting("one")) as place:
            grow(place)
            with pytest.raises(Denied):
                place.call("checkpoints.witness", auditor(place), witness="one")
            with pytest.raises(NotFound):
                ask(place, "other")


class TestFailing:
    def test_one_that_is_down_costs_a_second_and_no_request(self, started):
        with Liar(lambda *_: 5.0) as slow, started(Witness("slow", slow.url, SPARE)) as place:
            grow(place)
            waits = []

            def work():
                for _ in range(50):
                    start = time.perf_counter()
                    place.call("actors.whoami", ana)
                    waits.append(time.perf_counter() - start)

            ana = place.hire("acme", "user:local|ana", "role:support")
            thread = threading.Thread(target=work)
            start = time.perf_counter()
            thread.start()
            assert "unreachable" in ask(place, "slow").alarm
            assert time.perf_counter() - start < 3
            thread.join()
            assert sorted(waits)[25] < 0.5

    @pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"])
    def test_a_trickle_of_bytes_ends_after_a_second(self, beginning):
        """A byte every 0.2 s, of the head or of the body: no read waits for long, all together would for ever."""
        done = threading.Event()

        def drip(listener):
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(beginning)
                while not done.wait(0.2):
                    connection.sendall(b"H")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=drip, args=(listener,))
            thread.start()
            start = time.perf_counter()
            reply = Courier().post(f"http://127.0.0.1:{listener.getsockname()[1]}/add-checkpoint", b"x")
            took = time.perf_counter() - start
            done.set()
            thread.join()
        assert (reply.status, took < 2) == (0, True)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nowhere.invalid", "http://[", "https://127.0.0.1:9"])
    def test_what_cannot_be_reached_is_no_answer(self, url):
        assert Courier().get(url) == Reply(0, b"")

    def test_an_answer_without_end_is_none(self, started):
        def drip(*_):
            return 200, b"x" * (1 << 19)

        with Liar(drip) as endless, started(Witness("endless", endless.url, SPARE)) as place:
            grow(place)
            assert "unreachable" in ask(place, "endless").alarm

    def test_one_that_stays_down_is_told_once_and_asked_ever_less(self, started):
        with started(Witness("down", NOWHERE, SPARE), witness_seconds=10) as place:
            grow(place)
            alarms = []
            asked = 0
            for _ in range(600):
                place.clock.advance(1)
                for _tenant, request in due(place):
                    alarms.append(ask(place, request["witness"]).alarm)
                    asked += 1
            assert 3 <= asked <= 8
            assert [bool(one) for one in alarms] == [True] + [False] * (asked - 1)

    @pytest.mark.parametrize(
        ("status", "finding"), [(400, "malformed"), (403, "untrusted"), (404, "unknown_log"), (500, "invalid")]
    )
    def test_each_refusal_is_named(self, started, status, finding):
        with Liar(lambda *_: (status, b"no\n")) as liar, started(Witness("w", liar.url, SPARE)) as place:
            grow(place)
            assert finding in ask(place, "w").alarm
            assert listed(place)[1]["w"].status == finding
            assert told(place) == []

    def test_a_redirect_is_not_followed(self, started):
        with Liar(lambda *_: (302, b"")) as liar, started(Witness("w", liar.url, SPARE)) as place:
            grow(place)
            assert "invalid" in ask(place, "w").alarm
            assert len(liar.asked) == 1

    def test_a_cosignature_that_does_not_verify_is_not_kept(self, started, fresh):
        one = fresh("one")
        honest = {}

        def forward(method, path, body):
            honest["lines"] = one.post(body)[2]
            return 200, honest["lines"].replace(honest["lines"][60:64], b"AAAA")

        with Liar(forward) as liar, started(Witness("w", liar.url, one.vkeys[0])) as place:
            grow(place)
            assert "invalid" in ask(place, "w").alarm
            with place.guard.store.read() as tx:
                assert tx.exec_driver_sql("SELECT count(*) FROM audit_cosignatures").scalar() == 0

    @pytest.mark.parametrize("answer", [b"", b"nonsense\n", "— w AAAA\n".encode(), b"\xff\n"])
    def test_an_answer_that_is_none_is_invalid(self, started, answer):
        with Liar(lambda *_: (200, answer)) as liar, started(Witness("w", liar.url, SPARE)) as place:
            grow(place)
            assert "invalid" in ask(place, "w").alarm

    def test_a_line_of_another_witness_is_no_cosignature_of_this_one(self, started, fresh):
        one, two = fresh("one"), fresh("two")
        with started(Witness("w", two.url, one.vkeys[0])) as place:
            grow(place)
            assert "invalid" in ask(place, "w").alarm

    def test_one_that_names_ever_other_sizes_is_left_after_three_questions(self, started):
        sizes = iter([b"1\n", b"2\n", b"3\n", b"1\n", b"2\n"])
        with Liar(lambda *_: (409, next(sizes))) as liar, started(Witness("w", liar.url, SPARE)) as place:
            grow(place)
            assert "invalid" in ask(place, "w").alarm
            assert [parse_body(body).old for _, _, body in liar.asked] == [0, 1, 2]


def due(place):
    """What the loop would call now."""
    part = next(one for kind, one in place.gate._doors.parts.items() if kind.__name__ == "Witnesses")
    publication = next(one for kind, one in place.gate._doors.parts.items() if kind.__name__ == "Publication")
    return list(part.due(place.clock(), publication.head))


def hear(place, claims):
    part = next(one for kind, one in place.gate._doors.parts.items() if kind.__name__ == "Witnesses")
    part.contradicted = claims.append


class TestContradiction:
    def test_a_store_put_back_to_yesterday_is_proved_by_the_witness(self, started, fresh, tmp_path):
        one = fresh()
        claims = []
        with started(one.setting("one")) as place:
            grow(place)
            ask(place, "one")
        shutil.copytree(tmp_path / "home", tmp_path / "yesterday")
        with started(one.setting("one")) as place:
            place.clock.advance(60)
            for _ in range(5):
                today = grow(place)
            ask(place, "one")
        with started(one.setting("one"), at="again", source=tmp_path / "yesterday") as place:
            hear(place, claims)
            place.clock.advance(90)
            back = grow(place)
            assert back.size < today.size
            for _ in range(3):
                alarm = ask(place, "one").alarm
            assert alarm == ""  # told once
            (fact,) = told(place)
            assert fact == {
                "witness": "one",
                "finding": "ahead",
                "size": back.size,
                "witness_size": today.size,
                "proven": True,
            }
            assert listed(place)[1]["one"].status == "ahead"
        assert (claims[0].finding.value, claims[0].size) == ("ahead", today.size)
        assert claims[0].evidence.startswith(f"{ORIGIN}\n{today.size}\n{today.root}\n")

    def test_two_histories_of_one_log_are_proved_by_the_witness(self, started, fresh, tmp_path):
        one = fresh()
        with started(one.setting("one")) as place:
            grow(place)
            ask(place, "one")
        shutil.copytree(tmp_path / "home", tmp_path / "second")
        with started(one.setting("one")) as place:
            place.clock.advance(60)
            first = grow(place)
            ask(place, "one")
        claims = []
        with started(one.setting("one"), at="fork", source=tmp_path / "second") as place:
            hear(place, claims)
            place.clock.advance(60)
            for _ in range(6):
                forked = grow(place)
            assert forked.size > first.size
            assert "inconsistent" in ask(place, "one").alarm
            (fact,) = told(place)
            assert (fact["finding"], fact["proven"], fact["witness_size"]) == ("inconsistent", True, first.size)
        assert claims[0].evidence.startswith(f"{ORIGIN}\n{first.size}\n{first.root}\n")
        rows = http(f"{one.url}/{path_of(ORIGIN)}/evidence")[2].splitlines()
        assert any(json.loads(row)["status"] == 422 for row in rows)

    @pytest.mark.parametrize(
        ("answer", "finding"),
        [((409, b"1000000\n"), "ahead"), ((409, b"0\n"), "inconsistent"), ((422, b"no\n"), "inconsistent")],
    )
    def test_a_witness_that_lies_alarms_and_proves_nothing(self, started, answer, finding):
        claims = []
        with Liar(lambda method, *_: answer) as liar, started(Witness("w", liar.url, SPARE)) as place:
            hear(place, claims)
            grow(place)
            assert finding in ask(place, "w").alarm
            (fact,) = told(place)
            assert (fact["finding"], fact["proven"]) == (finding, False)
            assert claims == []
            grow(place)  # and everything goes on

    def test_the_log_s_own_honest_checkpoint_is_no_evidence_against_it(self, started):
        shown = {}

        def answers(method, _path, _body):
            return (200, shown["note"]) if method == "GET" else (422, b"no\n")

        claims = []
        with Liar(answers) as liar, started(Witness("w", liar.url, SPARE)) as place:
            hear(place, claims)
            shown["note"] = grow(place).note.encode()
            grow(place)
            ask(place, "w")
            (fact,) = told(place)
            assert fact["proven"] is False
            assert claims == []

    def test_a_checkpoint_younger_than_the_copy_that_we_asked_with_is_no_contradiction(self, started, fresh):
        """Somebody else may show the witness a checkpoint that was published while we were asking."""
        one = fresh("one")
        stage = {}

        def answers(method, path, body):
            if method == "GET":
                return http(one.url + path)[::2]
            if "place" in stage:
                place = stage.pop("place")
                grow(place)
                other(place)
            return one.post(body)[::2]

        def other(place):
            with place.guard.store.read() as tx:
                rows = tx.exec_driver_sql("SELECT note FROM audit_checkpoints ORDER BY size DESC LIMIT 1").scalar()
            assert one.post(b"old 0\n\n" + rows.encode())[0] == 200

        with Liar(answers) as relay, started(Witness("w", relay.url, one.vkeys[0])) as place:
            grow(place)
            stage["place"] = place
            assert ask(place, "w").alarm == ""
            assert told(place) == []
            assert listed(place)[1]["w"].status == "cosigned"


class TestSettings:
    def write(self, folder, text):
        folder.mkdir(exist_ok=True)
        (folder / "guard.toml").write_text(text)
        return load(folder, environment={})

    def test_witnesses_stand_in_the_file(self, tmp_path):
        text = 'witness_quorum = 1\n[[witnesses]]\nname = "w1"\nurl = "https://w.example/"\nvkey = "w+00+AA"\n'
        settings = self.write(tmp_path / "home", text)
        assert settings.witnesses == (Witness("w1", "https://w.example", "w+00+AA"),)
        assert settings.witness_quorum == 1

    @pytest.mark.parametrize(
        "text",
        [
            "witnesses = 1",
            "witness_quorum = 1",
            '[[witnesses]]\nname = "w1"\nurl = "https://w.example"',
            '[[witnesses]]\nname = "w1"\nurl = "https://w.example"\nvkey = 1',
            '[[witnesses]]\nname = "none"\nurl = "https://w.example"\nvkey = "x"',
            '[[witnesses]]\nname = "W 1"\nurl = "https://w.example"\nvkey = "x"',
            '[[witnesses]]\nname = "w1"\nurl = "ftp://w.example"\nvkey = "x"',
            '[[witnesses]]\nname = "w1"\nurl = "https://a"\nvkey = "x"\n' * 2,
            "".join(f'[[witnesses]]\nname = "w{n}"\nurl = "https://a"\nvkey = "{n}"\n' for n in range(13)),
        ],
    )
    def test_what_is_no_witness_is_refused(self, tmp_path, text):
        with pytest.raises(InvalidSetting):
            self.write(tmp_path / "home", text)

    def test_the_key_of_a_log_or_no_key_or_one_key_twice_is_refused_at_the_start(self, started, home):
        vkey = SPARE
        again = VerifierKey("again", VerifierKey.decode(vkey).kind, VerifierKey.decode(vkey).public).encode()
        for wrong in ([Witness("w", NOWHERE, home[1][0])], [Witness("w", NOWHERE, "x")]):
            with pytest.raises(InvalidSetting), started(*wrong):
                pass
        with pytest.raises(InvalidSetting, match="double"):
            started(Witness("a", NOWHERE, vkey), Witness("b", NOWHERE, again)).__enter__()
