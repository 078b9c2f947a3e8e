//! The appliance as a user runs it: real programs on DPDK's own devices, without hugepages, NICs
//! or privileges.

mod support;

use std::fs;

use serde_json::Value;
use support::{CONFIG, Folder, Tpo, config, signal, signal_twice, wait_for};

/// The objects of a list in a reply.
fn list<'a>(reply: &'a Value, name: &str) -> &'a [Value] {
    reply[name].as_array().map_or_else(|| panic!("no {name} in {reply}"), Vec::as_slice)
}

fn names<'a>(objects: &'a [Value], key: &str) -> Vec<&'a str> {
    objects.iter().map(|object| object[key].as_str().unwrap()).collect()
}

#[test]
fn every_view_of_a_running_appliance() {
    let file = config("views", CONFIG);
    let tpo = Tpo::start(&file);
    let info = tpo.ask("show port info 0");
    assert_eq!(list(&info, "ports")[0]["driver_name"], "net_ring");
    assert_eq!(list(&info, "ports")[0]["link_up"], true);
    let stats = tpo.ask("show port stats all");
    let numbers: Vec<_> = list(&stats, "ports").iter().map(|port| &port["port"]).collect();
    assert_eq!(numbers, [0, 1]);
    let xstats = tpo.ask("show port xstats 1");
    assert!(names(list(&list(&xstats, "ports")[0], "xstats"), "name").contains(&"rx_good_packets"));
    assert_eq!(tpo.ask("show port summary all")["available"], 2);
    assert_eq!(list(&tpo.ask("show fwd stats all"), "ports").len(), 2);

    assert_eq!(tpo.ask("show config")["peer"][0]["name"], "site-b");
    let peers = tpo.ask("show peer");
    let peer = &list(&peers, "peers")[0];
    assert_eq!((&peer["name"], &peer["state"]), (&"site-b".into(), &"down".into()));
    assert_eq!((&peer["rtt_us"], &peer["configuration_agrees"]), (&Value::Null, &Value::Null));
    assert_eq!(peer["rate_bps"], 200_000_000);
    assert_eq!(tpo.ask("show flow")["total"], 0);
    let rules = tpo.ask("show rule");
    assert_eq!(names(list(&rules, "rules"), "name"), ["web"]);

    let drops = tpo.ask("show drops");
    let stages = names(list(&drops, "drops"), "stage");
    for stage in [
        "lan_device",
        "wan_device",
        "port",
        "interceptor",
        "edge",
        "reassembly",
        "transmit",
        "demux",
        "data_mover",
    ] {
        assert!(stages.contains(&stage), "{stage} is not among {stages:?}");
    }
    assert!(list(&drops, "drops").iter().all(|drop| !drop["help"].as_str().unwrap().is_empty()));

    let counters = tpo.ask("show counters");
    let stages = names(list(&counters, "counters"), "stage");
    for stage in ["wan_device", "edge", "lan", "aggregate", "data_mover", "disaggregate"] {
        assert!(stages.contains(&stage), "{stage} is not among {stages:?}");
    }

    let pipeline = tpo.ask("show pipeline");
    assert_eq!(
        names(list(&pipeline, "stages"), "name"),
        ["port", "edge", "aggregate", "compress", "transmit", "decompress"]
    );
    assert!(list(&pipeline, "links").iter().all(|link| link["kind"] == "direct"));
    assert_eq!(list(&pipeline, "links").len(), 11);
    wait_for("a core that turns", || {
        let cores = tpo.ask("show cores");
        let core = &list(&cores, "cores")[0];
        assert!(core["busy_ns"].is_u64(), "{core}");
        core["turns_per_second"].as_u64() > Some(0)
    });
    assert_eq!(tpo.end_by("quit"), Some(0));
}

#[test]
fn what_a_port_receives_is_forwarded_counted_and_cleared() {
    // A net_ring port receives what it has sent: one frame on it goes round for ever.
    let text = CONFIG
        .replace("net_ring0", "net_null0,size=64,no-rx=1")
        .replace("net_ring1", "net_null1,size=64");
    let file = config("forward", &text);
    let tpo = Tpo::start(&file);
    let received = |port: usize| {
        let stats = tpo.ask("show fwd stats all");
        list(&stats, "ports")[port]["rx_packets"].as_u64().unwrap()
    };
    wait_for("frames of the WAN device", || received(1) > 0);
    assert_eq!(received(0), 0);
    // The device's frames are all zeroes: from no station to no station.
    wait_for("frames sent to the LAN device", || {
        let stats = tpo.ask("show fwd stats all");
        list(&stats, "ports")[0]["tx_packets"].as_u64() > Some(0)
    });
    tpo.ask("stop");
    let stopped = received(1);
    assert_eq!(received(1), stopped);
    for command in
        ["clear fwd stats all", "clear drops stats", "clear peer stats", "clear port stats all"]
    {
        tpo.ask(command);
    }
    assert_eq!(received(1), 0);
    let stats = tpo.ask("show port stats 1");
    assert_eq!(list(&stats, "ports")[0]["rx_packets"], 0);
    let drops = tpo.ask("show drops");
    assert!(list(&drops, "drops").iter().all(|drop| drop["count"] == 0), "{drops}");
    assert_eq!(list(&tpo.ask("show peer"), "peers")[0]["to_peer"]["wan_bytes"], 0);

    assert!(tpo.refuse("stop").contains("not started"));
    tpo.ask("start");
    assert!(tpo.refuse("start").contains("already started"));
    wait_for("frames after another start", || received(1) > 0);
    tpo.ask("clear all stats");
    assert_eq!(tpo.end_by("quit"), Some(0));
}

#[test]
fn ports_in_use_are_not_taken_away() {
    let file = config("ports", CONFIG);
    let tpo = Tpo::start(&file);
    for command in ["port stop 0", "port close all"] {
        let refusal = tpo.refuse(command);
        assert!(refusal.contains("port 0 is forwarding: stop forwarding first"), "{refusal}");
    }
    assert!(tpo.refuse("show port info 7").contains("Invalid port 7"));
    tpo.ask("stop");
    tpo.ask("port stop 0");
    tpo.ask("port start 0");
    tpo.ask("port close 1");
    assert_eq!(tpo.ask("show port summary all")["available"], 1);
    assert!(tpo.refuse("start").contains("a port is closed"));
    assert_eq!(tpo.end_by("quit"), Some(0));
}

#[test]
fn a_reload_is_taken_whole_or_not_at_all() {
    let file = config("reload", CONFIG);
    let tpo = Tpo::start(&file);
    let rules = || {
        let rules = tpo.ask("show rule");
        names(list(&rules, "rules"), "name").join(" ")
    };
    let changed = fs::read_to_string(&file.path)
        .unwrap()
        .replace("[[rule]]", "[[rule]]\nname = \"mail\"\naction = \"pass\"\n\n[[rule]]\n")
        .replace("200mbit", "100mbit");
    let other = file.folder.0.join("other.toml");
    fs::write(&other, &changed).unwrap();
    let reply = tpo.ask(&format!("reload {}", other.display()));
    assert_eq!(list(&reply, "changes"), ["rules", "peer site-b"]);
    assert_eq!(rules(), "mail web");
    wait_for("the new rate", || list(&tpo.ask("show peer"), "peers")[0]["rate_bps"] == 100_000_000);
    // From now on that file is the one that is read again.
    assert_eq!(list(&tpo.ask("reload"), "changes").len(), 0);

    fs::write(&other, changed.replace("100mbit", "100").replace("inline", "sideways")).unwrap();
    let refusal = tpo.refuse("reload");
    assert!(refusal.contains(":3: mode: ") && refusal.contains("the running"), "{refusal}");
    assert_eq!(rules(), "mail web");
    fs::write(&other, changed.replace("net_ring1", "net_ring7")).unwrap();
    assert!(tpo.refuse("reload").contains("wan.device"));

    // A signal reads it too.
    fs::write(&other, changed.replace("\"mail\"", "\"post\"")).unwrap();
    signal(&tpo, "HUP");
    wait_for("the rule of the signal", || rules() == "post web");
    tpo.ask("stop");
    tpo.ask(&format!("reload {}", file.path.display()));
    assert_eq!(rules(), "web");
    assert_eq!(tpo.end_by("quit"), Some(0));
}

type Send = fn(&Tpo, &str);

#[test]
fn signals_stop_in_order_and_leave_nothing_behind() {
    for (name, send) in [("INT", signal as Send), ("TERM", signal), ("TERM", signal_twice)] {
        let file = config(&format!("signal-{}", name.to_lowercase()), CONFIG);
        let tpo = Tpo::start(&file);
        let runtime = tpo.runtime.join("dpdk");
        assert!(runtime.read_dir().unwrap().next().is_some(), "DPDK has a folder while it runs");
        send(&tpo, name);
        let (code, said) = tpo.ended();
        assert_eq!((code, said.as_str()), (Some(0), ""), "SIG{name}");
        assert!(!file.socket.exists());
        assert!(runtime.read_dir().unwrap().next().is_none(), "the folder is gone");
    }
}

#[test]
fn a_signal_at_the_start_leaves_nothing_behind_either() {
    let file = config("early-signal", CONFIG);
    let tpo = Tpo::begin(&file);
    let runtime = tpo.runtime.join("dpdk");
    let has_folder = || runtime.read_dir().is_ok_and(|mut folder| folder.next().is_some());
    wait_for("DPDK has a folder", has_folder);
    signal(&tpo, "INT");
    let (code, said) = tpo.ended();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(!file.socket.exists() && !has_folder());
}

#[test]
fn stages_on_two_cores_are_joined_by_rings() {
    let cores = control::machine::Machine::detect().cores;
    let [first, .., last] = cores[..] else { return };
    let text = format!("{CONFIG}\n[cores]\nport = {first}\nedge = {last}\ntransmit = {last}\n");
    let file = config("cores", &text);
    let tpo = Tpo::start(&file);
    let pipeline = tpo.ask("show pipeline");
    let kinds = names(list(&pipeline, "links"), "kind");
    assert!(kinds.contains(&"ring") && kinds.contains(&"direct"), "{kinds:?}");
    let views = tpo.ask("show cores");
    let used: Vec<_> = list(&views, "cores").iter().map(|core| core["core"].as_u64()).collect();
    assert_eq!(used, [Some(first as u64), Some(last as u64)]);
    assert_eq!(tpo.end_by("quit"), Some(0));
}

#[test]
fn what_cannot_start_says_why_in_one_sentence() {
    let used = config("used", CONFIG);
    let tpo = Tpo::start(&used);
    let said = support::fails(&used.path);
    assert!(said.contains("in use: another tpo answers here"), "{said}");
    assert_eq!(tpo.ask("show flow")["total"], 0);
    assert_eq!(tpo.end_by("quit"), Some(0));

    for (device, expected) in [
        ("net_af_packet0,iface=nosuch0", "there is no network interface nosuch0"),
        ("net_nosuch0", "net_nosuch0"),
        ("0000:ff:1f.7", "there is no device \"0000:ff:1f.7\""),
    ] {
        let file = config("device", &CONFIG.replace("net_ring0", device));
        let said = support::fails(&file.path);
        assert!(said.contains(expected), "{device}: {said}");
    }
    let file = config("folder", CONFIG);
    let text = fs::read_to_string(&file.path).unwrap();
    let occupied = text.replace("tpo.sock", "tpo.toml");
    fs::write(&file.path, occupied).unwrap();
    assert!(support::fails(&file.path).contains("not a socket"));
}

#[test]
fn a_missing_privilege_is_named() {
    let file = config("nobody", &CONFIG.replace("net_ring0", "net_af_packet0,iface=lo"));
    let said = support::fails_as_nobody(&file);
    assert!(said.contains("missing privilege CAP_NET_RAW: run tpo as root"), "{said}");
}

#[test]
fn without_a_configuration_ports_forward_pairwise() {
    let folder = Folder::new("pairwise");
    let commands = folder.0.join("commands");
    // A ring is as long as its descriptors; net_null never ends.
    let devices = ["net_null0,size=64", "net_null1,size=64,no-rx=1", "net_ring0"];
    let script = "start\nshow cores\nshow pipeline\nshow port summary all\nstop\nshow drops\n\
                  clear all stats\nshow fwd stats all\nstart\nstop\nquit\n";
    fs::write(&commands, script).unwrap();
    let (code, said, errors) = support::pairwise(&folder, &devices, &commands);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("port 0  port 1  direct") && said.contains("port 2  port 2  direct"));
    assert!(said.contains("Number of available ports: 3"));
    assert!(said.contains("Accumulated forward statistics"));

    fs::write(&commands, "show config\n").unwrap();
    let (code, _, errors) = support::pairwise(&folder, &devices, &commands);
    assert_eq!(code, Some(1));
    assert!(errors.contains("commands:1: there is no configuration"), "{errors}");
    let (code, _, errors) = support::pairwise(&folder, &[], &commands);
    assert_eq!((code, errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.contains("DPDK has found no port"), "{errors}");
}

#[test]
fn pairwise_frames_in_are_frames_out() {
    let folder = Folder::new("pairwise-count");
    let devices = ["net_null0,size=64", "net_null1,size=64,no-rx=1"];
    let (received, sent) = support::pairwise_count(&folder, &devices);
    assert!(received > 0);
    assert_eq!(received, sent);
    let mut left = folder.0.join("run/dpdk").read_dir().unwrap();
    assert!(left.next().is_none(), "DPDK's folder is gone");
}
