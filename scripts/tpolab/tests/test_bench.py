"""The performance bench without a measurement: scenarios, spreads, verdicts, page, comparison."""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest
import unittest.mock
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from tpolab.errors import LabError

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "perf"))

from bench import alternation, catalogue, command, compare, foreign  # noqa: E402
from bench import noise, page, session  # noqa: E402
from bench.alternation import Plan  # noqa: E402
from bench.bed import USUAL, Bed, eal_arguments  # noqa: E402
from bench.catalogue import Bar, Effort, Reason, Scenario  # noqa: E402
from bench.plot import percentiles  # noqa: E402
from bench.report import Discard, Report, write  # noqa: E402
from bench.search import Bounds, Goal, Search  # noqa: E402
from scenarios import control, instructions, load, soak  # noqa: E402
from scenarios import measure_flows, measure_forward, measure_load, measure_trials  # noqa: E402


def scenario(**more: object) -> Scenario:
    """One with a bar of each kind, and a reason for one of its figures."""
    bars = {"rate": Bar(at_least=0.95), "delay": Bar(at_most=2.0), "exact": Bar(within=0.5)}
    reasons = [Reason("rate, * flows", 0.8, "the cache is full", "docs/results/x.json")]
    return Scenario(**{"name": "one", "says": "how it is", "kind": "module", "full": Effort(1.0),
                       "quick": Effort(1.0), "bars": bars, "reasons": reasons, **more})


def report(*figures: tuple[str, object, str, str | None]) -> Report:
    """A report with these figures: name, value, unit, bar."""
    found = Report.begin(scenario(), REPOSITORY)
    for name, value, unit, bar in figures:
        found.add(name, value, unit, bar=bar, expected=1.0)
    return found


class Scenarios(unittest.TestCase):
    """The files."""

    def load(self, text: str) -> Scenario:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "one.toml"
            path.write_text(text, encoding="utf-8")
            return catalogue.load(path)

    WHOLE = ('name = "one"\nsays = "x"\nkind = "module"\n[full]\ntakes_s = 9\nrounds = 3\n'
             '[quick]\ntakes_s = 1\n[bars]\nrate = { at_least = 1 }\n')

    def test_a_file_is_read_and_its_slips_are_refused(self) -> None:
        read = self.load(self.WHOLE)
        self.assertEqual((read.full.takes_s, read.full.parameters), (9, {"rounds": 3}))
        self.assertEqual(read.bar("rate"), Bar(at_least=1))
        for wrong, said in ((self.WHOLE.replace("at_least", "atleast"), "atleast"),
                            (self.WHOLE.replace("= 1 }", "= 1, at_most = 2 }"), "one of"),
                            (self.WHOLE.replace('"one"', '"two"'), "two"),
                            (self.WHOLE.replace('"module"', '"model"'), "kind"),
                            (self.WHOLE.replace("takes_s = 9", ""), "takes_s"),
                            (self.WHOLE + "[reasons]\n", "reasons")):
            with self.assertRaisesRegex(LabError, said):
                self.load(wrong)

    def test_all_files_are_sound_and_all_is_short_enough(self) -> None:
        found = catalogue.load_all(REPOSITORY / "perf" / "scenarios")
        for each in found.values():
            there = (REPOSITORY / "perf" / "scenarios" / f"{each.name}.py" if each.kind == "module"
                     else REPOSITORY / "perf" / "src" / "bin" / f"{each.name}.rs")
            self.assertTrue(there.exists(), there)
        for quick, minutes in ((False, 60), (True, 10)):
            parts = [each.effort(quick=quick) for each in found.values()]
            self.assertLess(sum(each.takes_s for each in parts if each.in_all), 60 * minutes)

    def test_what_was_asked_for_is_told_apart(self) -> None:
        known = {"micro": scenario(kind="program"), "pair": scenario()}
        for arguments, program in ((["micro"], True), (["micro", "--only", "ring"], True),
                                   (["micro", "pair"], False), (["pair"], False),
                                   (["micro", "all"], False), (["micro", "--html", "x"], False)):
            self.assertEqual(command._is_program(known, arguments), program, arguments)


class Beds(unittest.TestCase):
    """Ports and cores."""

    def test_those_of_the_repository_are_sound(self) -> None:
        beds = {path.stem: Bed.load(path) for path in (REPOSITORY / "perf" / "beds").iterdir()}
        self.assertEqual(len({bed.says for bed in beds.values()}), len(beds))
        usual = beds["virtio"]
        self.assertEqual(usual.cores, (0, 1))
        self.assertEqual(usual.device.devices(Path("/a"))[1],
                         "net_virtio_user1,path=/a/second,queue_size=1024")
        words = eal_arguments(usual.device.devices(Path("/a")), 64)
        self.assertEqual((words.count("--vdev"), "--no-huge" in words), (2, True))
        words = eal_arguments(beds["pci"].device.devices(Path("/a")), 64)
        self.assertEqual(words, ["--allow", "0000:04:00.0", "--allow", "0000:04:00.1"])

    def test_slips_are_told(self) -> None:
        whole = (REPOSITORY / USUAL).read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "one.toml"
            for wrong, said in ((whole.replace("core = 1", "core = 0"), "a core each"),
                                (whole.replace("core = 1", "core = -1"), "device"),
                                (whole.replace("core = 0", ""), "generator"),
                                (whole.replace("[device]", "[devices]"), "devices"),
                                (whole.replace("[device]", "[device]\nspeed = 1"), "nothing else"),
                                ("ports", "cannot be read")):
                path.write_text(wrong, encoding="utf-8")
                with self.assertRaisesRegex(LabError, said):
                    Bed.load(path)
            with self.assertRaisesRegex(LabError, "cannot be read"):
                Bed.load(Path(folder) / "none.toml")


class Alternations(unittest.TestCase):
    """A B B A."""

    def test_rounds_go_to_and_fro_and_what_is_disturbed_is_left_out(self) -> None:
        seen: list[str] = []
        found = alternation.alternate("ab", lambda name: seen.append(name) or len(seen),
                                      Plan(2, tries=2), keep=lambda run: run != 3)
        self.assertEqual("".join(seen), "ab" "ba" "ab")
        self.assertEqual((found.rounds, found.discarded), ([{"a": 1, "b": 2}, {"a": 5, "b": 6}], 1))
        self.assertEqual(found.pairs("a", "b", lambda a, b: b - a), [1, 1])

    def test_the_interval_is_as_wide_as_the_values_ask_for(self) -> None:
        self.assertIsNone(alternation.spread([1.0]))
        few = alternation.spread([3.0, 1.0])
        self.assertEqual((few.low, few.high, few.confidence), (1.0, 3.0, 0.5))
        # Six values: all of them, as 1 - 2/64; ten: without the two outermost, as 1 - 2 * 11/1024.
        six = alternation.spread(list(map(float, range(6))))
        self.assertEqual((six.low, six.high, six.confidence), (0.0, 5.0, 0.9688))
        ten = alternation.spread(list(map(float, range(10))))
        self.assertEqual((ten.low, ten.high, ten.confidence), (1.0, 8.0, 0.9785))


class Goodputs(unittest.TestCase):
    """What the receiving program makes of what comes when."""

    def bps(self, arrivals: list[tuple[float, int]]) -> float:
        """Of one flow, over ten seconds of which the first and the last are the ends."""
        with unittest.mock.patch.object(measure_flows.time, "monotonic") as clock:
            clock.return_value = 0.0
            stretches = [measure_flows.Totals(1)]
            for start_s, end_s in ((0.0, 1.0), (1.0, 9.0), (9.0, 10.0)):
                for at_s, count in (each for each in arrivals if start_s <= each[0] < end_s):
                    stretches[-1].hold(at_s)
                    stretches[-1].bytes[0] += count
                stretches[-1].hold(end_s)
                clock.return_value = end_s
                stretches.append(measure_flows.Totals(1, stretches[-1].bytes))
            return stretches[2].bps_since(stretches[0])[0]

    def test_a_step_at_an_end_counts_for_little(self) -> None:
        even = [(number / 100, 1000) for number in range(1000)]
        self.assertAlmostEqual(self.bps(even), 800_000, delta=10)
        # The last tenth of a second comes only after the end: a hundredth by the plain count.
        late = [(at_s if at_s < 9.9 else 10.1, count) for at_s, count in even]
        self.assertAlmostEqual(self.bps(late), 800_000, delta=800)
        # All of a rate is in it: half as much in the second half.
        self.assertAlmostEqual(self.bps([(at_s, 1000 if at_s < 5 else 500)
                                         for at_s, _ in even]), 600_000, delta=500)


class Loads(unittest.TestCase):
    """What is measured with hosts and their connections, and under control."""

    def test_each_row_becomes_what_generator_and_devices_are_told(self) -> None:
        parameters = catalogue.load(REPOSITORY / "perf" / "scenarios" / "load.toml").parameters
        found = {row.name: row.case() for row in load.rows(parameters, None)}
        self.assertIn("--text", found["64 flows, compressed"].load)
        packed = found["64 flows, packed ring"].devices
        self.assertIn("packed_vq=1,mrg_rxbuf=1", packed.virtio(0, Path("x")))
        self.assertEqual([row.name for row in load.rows(parameters, ["connections"])],
                         ["connections"])
        with self.assertRaisesRegex(LabError, "no row nothing"):
            load.rows(parameters, ["nothing"])
        with self.assertRaisesRegex(LabError, "colour"):
            load.rows({"row": [{"name": "x", "colour": "green"}]}, None)

    def test_quick_rows_are_there(self) -> None:
        scenario = catalogue.load(REPOSITORY / "perf" / "scenarios" / "load.toml")
        load.rows(scenario.parameters, scenario.quick.parameters["rows"])

    def test_the_two_appliances_of_a_pair_name_each_other(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            sites = [measure_load.config(site, measure_load.Case("x", []), Path(name), "1gbit")
                     for site in measure_load.SITES]
        for own, far in (sites, sites[::-1]):
            peer, = own["peer"]
            address, = far["wan"]["addresses"]
            self.assertEqual(peer["endpoint"].split(":")[0], address.split("/")[0])
            self.assertEqual(peer["networks"], far["lan"]["networks"])
            self.assertEqual(peer["fallback"], "refuse")

    def test_what_should_not_happen_is_counted_and_what_may_is_not(self) -> None:
        counts = dict.fromkeys((*load.FAULTS, "opened", "closed", "refused", "strays"), 0)
        self.assertEqual(load.faults({"connections": counts | {"opened": 9, "refused": 3}}), 0)
        self.assertEqual(load.faults({"connections": counts | {"resets": 1, "left": 2}}), 3)

    def test_time_that_a_core_was_not_idle(self) -> None:
        stat = ("cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 10 20 5000 400 1 2 7 0 0\n"
                "cpu1 1 1 1 1 1 1 1 1 1 1\ncpu10 500 0 0 0 0 0 0 0 0 0\n")
        ticks = measure_load.used_s(stat, [0]) * os.sysconf("SC_CLK_TCK")
        self.assertEqual(ticks, 100 + 10 + 20 + 1 + 2 + 7)

    def test_a_reload_changes_only_what_it_may(self) -> None:
        appliance = control.Appliance.__new__(control.Appliance)
        bed = Bed.load(REPOSITORY / USUAL)
        appliance.place = measure_forward.Place(Path("/x"), Path("/x"), bed)
        appliance.control = Path("/x/control")
        first, second = (appliance.configuration(10, number) for number in (1, 2))
        self.assertNotEqual(first["rule"], second["rule"])
        self.assertEqual(first["rule"][-1], second["rule"][-1])
        names = [{peer["name"] for peer in tree["peer"]} for tree in (first, second)]
        left, came = names[0] - names[1], names[1] - names[0]
        self.assertEqual((len(left), len(came)), (1, 1), "one leaves and another comes")
        may = {"networks", "rate"}
        for tree, other in ((first, left), (second, came)):
            tree.pop("rule")
            tree["peer"] = [peer for peer in tree["peer"] if peer["name"] not in other]
            for peer in tree["peer"]:
                self.assertEqual([peer.pop(key) and key for key in sorted(may)], sorted(may))
        self.assertEqual(first, second)


class Soaks(unittest.TestCase):
    """Whose fault it is that a frame is lost at a fixed rate."""

    RATE = 500_000

    def second(self, *, lost: int, waiting: int = 0, disturbed: float = 0.01, stolen: bool = False,
               others_ms: float = 0.5) -> soak.Second:
        """One with so many frames lost, `waiting` of them while the forwarder had no core."""
        trial = measure_trials.Trial(
            rate=self.RATE, due=self.RATE, received=self.RATE - lost, refused=lost,
            refused_waiting=waiting, wait_us_max=5e3 if waiting else 100.0, unsent=0,
            busy_share=0.4, late_us_max=100.0, delay_us={99.0: 80.0}, away_us={99.0: 20.0},
            disturbed=disturbed)
        return soak.Second(trial, stolen, others_ms)

    def verdicts(self, ours: list[soak.Second]) -> dict[str, str]:
        """What comes of these seconds of tpo, beside one of testpmd."""
        declared = catalogue.load(REPOSITORY / "perf" / "scenarios" / "soak.toml")
        found = Report.begin(declared, REPOSITORY)
        baseline = soak.Seconds([self.second(lost=100, waiting=100)], 0.02, 0)
        soak.add(found, soak.Seconds(ours, 0.02, 0), baseline, self.RATE)
        return {each.name: each.verdict for each in found.results if each.bar}

    def test_only_what_others_have_caused_has_a_reason(self) -> None:
        """A core that others took excuses what was lost by it, and nothing else."""
        whole, present = "lost, of all frames", "lost while tpo had its core"
        self.assertEqual(set(self.verdicts([self.second(lost=0)] * 3).values()), {"ok"})
        found = self.verdicts([self.second(lost=500, waiting=490), self.second(lost=0)])
        self.assertEqual((found[whole], found[present]), ("stated", "ok"))
        found = self.verdicts([self.second(lost=500, waiting=300), self.second(lost=0)])
        self.assertEqual((found[whole], found[present]), ("stated", "missed"))
        found = self.verdicts([self.second(lost=5_000, waiting=5_000), self.second(lost=0)])
        self.assertEqual((found[whole], found[present]), ("stated", "ok"), "0.5 %")
        found = self.verdicts([self.second(lost=5_010, waiting=5_010), self.second(lost=0)])
        self.assertEqual((found[whole], found[present]), ("missed", "ok"), "worse than stated")

    def test_what_nobody_can_tell_is_left_out(self) -> None:
        """Nobody knows when the hypervisor took a core; tpo's own threads are not others."""
        stolen = self.second(lost=400, stolen=True)
        found = self.verdicts([stolen, self.second(lost=0)])
        self.assertEqual(found["lost while tpo had its core"], "ok")
        self.assertEqual(found["lost, of all frames"], "stated")
        self.assertEqual(self.verdicts([stolen])["seconds that count"], "missed")
        disturbed = self.second(lost=9_000, disturbed=0.3)
        found = self.verdicts([disturbed, self.second(lost=0)])
        self.assertEqual(found["lost, of all frames"], "ok")
        found = self.verdicts([self.second(lost=0, others_ms=2.1), self.second(lost=0)])
        self.assertEqual(found["other threads of tpo, in a second, at most"], "missed")


class Reports(unittest.TestCase):
    """Figures and their bars."""

    def test_bars_are_held_and_reasons_reach_only_so_far(self) -> None:
        found = report(("rate, 9 flows", 0.96, "", "rate"),
                       ("rate, 9 flows", [0.8, 0.9], "", "rate"),
                       ("rate, 9 flows", 0.7, "", "rate"), ("rate", 0.9, "", "rate"),
                       ("delay", 2.0, "ms", "delay"), ("exact", 1.6, "", "exact"),
                       ("seen", 5, "Mb/s", None))
        verdicts = [each.verdict for each in found.results]
        self.assertEqual(verdicts, ["ok", "stated", "missed", "missed", "ok", "missed", "reported"])
        self.assertFalse(found.passed)
        self.assertEqual([each.better for each in found.results][3:],
                         ["higher", "lower", None, "higher"])
        self.assertIn("the cache is full (docs/results/x.json)", found.table())
        with self.assertRaisesRegex(LabError, "no bar 'rat'"):
            found.add("x", 1, "", bar="rat")

    def test_the_page_has_it_all_and_needs_nothing(self) -> None:
        found = report(("rate, <9> flows", [0.8, 0.9], "", "rate"),
                       ("delay & co", 2.5, "ms", "delay"))
        found.add("goodput", [5.0, 6.0], "Mb/s", baseline=[4.0, 4.5])
        found.discards.append(Discard("goodput", 2, 7, "others were busy"))
        found.plots += [percentiles("wait", "us", {"tpo": list(range(1, 2001)), "others": [3.0]}),
                        {"kind": "steps", "title": "where", "unit": "cycles",
                         "rows": [{"label": "in", "parts": [["parse", 3], ["edge", 5]]}]}]
        core = {"core": 0, "seconds": 1.0, "away": 0.1, "longest_us": 9.0,
                "gaps": [{"below_us": 2.0, "count": 3}]}
        before, after = (noise.Look({"cpu0": dict.fromkeys(noise.FIELDS, ticks)}, 1.0, [core])
                         for ticks in (0, 5))
        found.noise = noise.between(before, after)
        text = page.page(session.document(REPOSITORY, [found], quick=True, begun=0.0))
        figures = re.findall(r"<figure>.*?</figure>", text)
        for figure in figures:
            ElementTree.fromstring(figure)
        self.assertEqual(len(figures), 6)
        self.assertNotRegex(text, "<script|<link|src=|url\\(|http")
        for words in ("rate, &lt;9&gt; flows", "others were busy", "the cache is full", "12.50 %"):
            self.assertIn(words, text)

    def test_a_program_s_own_results_are_read(self) -> None:
        row = {"name": "ring", "baseline": "rte_ring", "item": "item", "ratio": 0.5,
               "quartiles": [0.4, 0.6], "ours_ns": 2.0, "baseline_ns": 1.0, "bar": 1.0,
               "verdict": "stated", "reason": "moved", "rounds": 40,
               "discarded": {"switched": 2, "stolen": 1}}
        missed = row | {"name": "other", "verdict": "missed", "reason": None}
        disturbed = row | {"name": "third", "ratio": None, "quartiles": None, "ours_ns": None,
                           "verdict": "disturbed", "discarded": None}
        found = foreign.read({"scenario": "micro", "commit": "x", "environment": {"cpus": 2},
                              "results": [row, missed, disturbed]})
        self.assertEqual([each.verdict for each in found.results],
                         ["stated", "reported", "missed", "reported", "missed"])
        self.assertEqual(found.discards[0].discarded, 3)

    def test_rows_with_stages_are_drawn_and_rows_with_values_are_figures(self) -> None:
        compared = {"name": "clear", "baseline": "floor", "item": "byte", "ratio": 0.5,
                    "quartiles": [0.4, 0.6], "ours_ns": 2.0, "baseline_ns": 1.0, "bar": None,
                    "verdict": "reported", "rounds": 40, "gbps": 5.5, "gbps_bar": 6.0,
                    "frame_bytes": 1000.0, "gain": 1.5, "gain_predicted": 1.75,
                    "ticks_per_byte": {"near": {"edge": 0.25, "port": 0.5}, "hosts": 0.3}}
        found = foreign.read({"scenario": "optimized", "commit": "x", "environment": {},
                              "results": [compared]})
        self.assertIn(("clear: payload", 5.5, "Gb/s", "missed"),
                      [(each.name, each.value, each.unit, each.verdict)
                       for each in found.results])
        self.assertIn(("clear: times as fast as one core", 1.5, 1.75),
                      [(each.name, each.value, each.baseline) for each in found.results])
        self.assertEqual([plot["rows"] for plot in found.plots],
                         [[{"label": "clear, near", "parts": [["edge", 0.25], ["port", 0.5]]}],
                          [{"label": "clear, near", "parts": [["edge", 250.0], ["port", 500.0]]}]])
        figures = [{"name": name, "unit": "bytes", "value": 900.0, "bar": bar, "reason": reason}
                   for name, bar, reason in (("a", None, None), ("b", {"at_most": 1024.0}, "why"),
                                             ("c", {"at_least": 1000.0}, None),
                                             ("d", {"at_least": 1000.0}, "why"))]
        found = foreign.read({"scenario": "connections", "commit": "x", "environment": {},
                              "results": figures})
        self.assertEqual([each.verdict for each in found.results],
                         ["reported", "ok", "missed", "stated"])


class Counts(unittest.TestCase):
    """Instructions beside the kept ones."""

    def judged(self, counted: int, kept: dict[str, int], *, same: bool = True) -> Report:
        files = REPOSITORY / "perf" / "scenarios"
        found = Report.begin(catalogue.load(files / "instructions.toml"), REPOSITORY)
        stage = {"stage": "parse", "item": "frame", "items": 10, "bytes": 0,
                 "instructions": counted}
        instructions.judge(found, [stage], {"rustc": "1.2.3", "stages": kept}, same_compiler=same)
        return found

    def test_three_per_cent_more_is_too_much_of_the_same_compiler(self) -> None:
        self.assertTrue(self.judged(1030, {"parse": 1000}).passed)
        self.assertFalse(self.judged(1031, {"parse": 1000}).passed)
        other = self.judged(1031, {"parse": 1000}, same=False)
        self.assertTrue(other.passed)
        self.assertIn("not judged: the kept counts are of rustc 1.2.3", other.table())

    def test_a_stage_that_is_not_kept_or_not_counted_fails(self) -> None:
        self.assertFalse(self.judged(1000, {}).passed)
        self.assertFalse(self.judged(1000, {"parse": 1000, "gone": 5}).passed)

    def test_totals_are_read_from_a_dump(self) -> None:
        self.assertEqual(instructions.totals("version: 1\nsummary: 7\ntotals: 42\n"), 42)
        with self.assertRaises(LabError):
            instructions.totals("version: 1\n")

    def test_what_is_kept_is_what_the_program_does(self) -> None:
        kept = json.loads((REPOSITORY / instructions.KEPT).read_text(encoding="utf-8"))
        sources = "".join(path.read_text(encoding="utf-8") for path in
                          (REPOSITORY / "perf" / "src" / "instructions").glob("*.rs"))
        for stage in kept["stages"]:
            self.assertIn(f'"{stage}"', sources)


class Searches(unittest.TestCase):
    """Rates without loss, and with little."""

    GOALS = (Goal("NDR", 0.0), Goal("PDR", 0.005))

    def found(self, loss: Callable[[float], float], **more: float) -> tuple[dict, int]:
        search = Search(loss, **{"highest": 16e6, "precision": 0.02, "trials": 3, **more})
        bounds = search.run(self.GOALS)
        return dict(bounds), sum(map(len, search.losses.values()))

    def test_both_goals_are_found_as_exactly_as_was_asked_for(self) -> None:
        def loss(rate: float) -> float:
            return 0.0 if rate <= 4e6 else 0.001 if rate <= 5e6 else 1 - 5e6 / rate + 0.001
        bounds, trials = self.found(loss)
        for name, rate in (("NDR", 4e6), ("PDR", 5.02e6)):
            self.assertLessEqual(bounds[name].lower, rate)
            self.assertGreaterEqual(bounds[name].upper, rate)
            self.assertLessEqual(bounds[name].upper, bounds[name].lower * 1.02)
        self.assertLess(trials, 60)

    def test_one_disturbed_trial_of_a_rate_changes_nothing(self) -> None:
        seen: dict[float, int] = {}

        def loss(rate: float) -> float:
            seen[rate] = seen.get(rate, 0) + 1
            return 0.3 if rate > 4e6 or seen[rate] == 1 else 0.0
        bounds, _ = self.found(loss)
        self.assertGreater(bounds["NDR"].lower, 3.9e6)

    def test_the_ends_are_told_as_such(self) -> None:
        always, _ = self.found(lambda rate: 0.0)
        self.assertEqual(always["NDR"], Bounds(16e6, 16e6))
        never, trials = self.found(lambda rate: 1.0)
        self.assertEqual(never["PDR"].lower, 0.0)
        self.assertLess(trials, 60)


class Comparisons(unittest.TestCase):
    """perf/compare."""

    def said(self, before: Report, after: Report, *options: str) -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "a.json", Path(folder) / "b.json"]
            for path, each in zip(paths, (before, after)):
                write(path, json.loads(json.dumps(each.document())))
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                code = compare.main([*map(str, paths), *options])
            return code, said.getvalue()

    def test_only_what_is_beyond_both_spreads_is_a_change(self) -> None:
        for before, after, unit, kind in (
                ([10, 11, 12], [11.5, 12, 13], "Mb/s", "same"),
                ([10, 11, 12], [13, 14, 15], "Mb/s", "better"),
                ([10, 11, 12], [13, 14, 15], "ms", "worse"),
                ([10, 11, 12], [13, 14, 15], "", "changed"),
                ([1000, 1001], [1005, 1006], "ms", "same"),
                (5, 6, "ms", "unknown")):
            code, said = self.said(report(("x", before, unit, None)),
                                   report(("x", after, unit, None)))
            self.assertRegex(said, f"1 {kind}")
            self.assertEqual(code, int(kind == "worse"), said)

    def test_a_bar_that_is_no_longer_reached_is_worse_and_what_is_gone_is_told(self) -> None:
        code, said = self.said(report(("x", 0.96, "", "rate"), ("y", 1, "", None)),
                               report(("x", 0.94, "", "rate")))
        self.assertEqual(code, 1)
        self.assertIn("misses >= 0.95", said)
        self.assertIn("gone     y", said)

    def test_a_file_of_something_else_is_refused(self) -> None:
        with self.assertRaisesRegex(LabError, "none of the results"):
            compare.load(REPOSITORY / "Cargo.toml")
