//! Commands from a line to text and JSON, on an appliance made of fixed data.

mod testpmd;

use std::fs;

use serde_json::json;

use super::fake::Fake;
use super::*;

fn executor() -> Executor<Fake> {
    Executor::new(Fake::default())
}

fn text(executor: &mut Executor<Fake>, line: &str) -> String {
    match executor.line(line) {
        Ok(Some(reply)) => reply.to_string(),
        Ok(None) => String::new(),
        Err(error) => panic!("{line}: {error}"),
    }
}

fn refused(executor: &mut Executor<Fake>, line: &str) -> String {
    executor.line(line).expect_err(line).to_string()
}

#[test]
fn forwarding_starts_and_stops_once() {
    let mut executor = executor();
    assert_eq!(refused(&mut executor, "stop"), "Packet forwarding not started");
    assert_eq!(text(&mut executor, "start"), "");
    assert_eq!(refused(&mut executor, "start"), "Packet forwarding already started");
    let stopped = text(&mut executor, "stop");
    assert!(stopped.contains("Accumulated forward statistics") && stopped.ends_with("\nDone.\n"));
    assert_eq!(executor.backend().log, ["start", "stop"]);
    assert!(!executor.is_quitting());
    text(&mut executor, "quit");
    assert!(executor.is_quitting());
}

#[test]
fn a_port_that_is_not_there_changes_nothing() {
    let mut executor = executor();
    for line in ["port stop 7", "set promisc 7 on", "show port info 7", "clear port stats 7"] {
        let error = refused(&mut executor, line);
        assert_eq!(error, "Invalid port 7\nThe valid ports array is [ 0 1 ]", "{line}");
    }
    assert!(executor.backend().log.is_empty());
}

#[test]
fn ports_are_told_what_to_do() {
    let mut executor = executor();
    assert_eq!(text(&mut executor, "port stop all"), "Done\n");
    text(&mut executor, "set promisc 1 off");
    text(&mut executor, "port close 0");
    assert!(refused(&mut executor, "port start 0").ends_with("[ 1 ]"));
    text(&mut executor, "start");
    assert_eq!(refused(&mut executor, "port close 1"), "port 1 is forwarding: stop first");
    assert_eq!(
        executor.backend().log,
        ["Stop port 0", "Stop port 1", "promiscuous port 1 false", "Close port 0", "start"]
    );
}

#[test]
fn tables_for_people() {
    let mut executor = executor();
    assert_eq!(
        text(&mut executor, "show peer site-b"),
        "peer site-b: up for 3m12s, at 10.77.2.2:4980\n\
         \x20 NOT ENCRYPTED: whoever is on the way can read and forge what is exchanged\n\
         \x20 round trip 80.1 ms, rate 200mbit (auto, cruise), 12 flows\n\
         \x20 sent 20000 datagrams, lost 104 (0.52 %), at random 0.50 %\n\
         \x20 path MTU 1500 bytes (complete), 3 probes, 0 lost, 0 black holes\n\
         \x20 parity auto: sent 60, received 40, 31 not needed; 9 pieces restored\n\
         \x20 to peer:   LAN 190 bytes, WAN 100 bytes, ratio 1.90\n\
         \x20 from peer: LAN 0 bytes, WAN 0 bytes, ratio -\n"
    );
    assert_eq!(
        text(&mut executor, "show flow limit 1"),
        "protocol  source           destination    vlan  verdict   peer    rule  state        packets  bytes  idle\n\
         tcp       10.77.1.5:50000  10.77.2.9:443     0  optimize  site-b     0  established       10   9000    2s\n\
         3 flows, 2 chosen, 1 shown\n"
    );
    assert_eq!(
        text(&mut executor, "show rule"),
        "rule  name  flows  matches and does\n   0  -         3  any: optimize\n"
    );
    assert_eq!(
        text(&mut executor, "show drops"),
        "stage        reason     count  unit    meaning\n\
         interceptor  too_short      2  frames  Shorter than its headers.\n"
    );
    assert_eq!(
        text(&mut executor, "show counters"),
        "# HELP tpo_interceptor_too_short Shorter than its headers. Unit: frames.\n\
         # TYPE tpo_interceptor_too_short counter\n\
         tpo_interceptor_too_short 2\n"
    );
    assert_eq!(
        text(&mut executor, "show cores"),
        "core    busy  turns/s  stages\n   0  12.3 %  1000000  port edge\n"
    );
    assert_eq!(
        text(&mut executor, "show pipeline"),
        "stage  core\nport      0\n\nfrom  to    link  length  capacity\nport  edge  ring       3      1024\n"
    );
    assert!(text(&mut executor, "show config").starts_with("name = \"small\"\n"));
}

#[test]
fn what_needs_a_peer_or_a_configuration_says_so() {
    let mut executor = executor();
    let error = refused(&mut executor, "show peer site-x");
    assert_eq!(error, "no peer is called site-x: the configuration has site-b");
    assert_eq!(refused(&mut executor, "show flow peer site-x"), error);
    executor.backend_mut().config = None;
    for line in ["show config", "show peer site-b"] {
        assert!(refused(&mut executor, line).contains("start tpo with --config FILE"), "{line}");
    }
}

#[test]
fn json_has_the_data_of_the_text() {
    let mut executor = executor();
    let mut json = |line: &str| serde_json::to_value(executor.line(line).unwrap()).unwrap();
    assert_eq!(json("show port stats 1")["ports"][0]["rx_packets"], 12);
    assert_eq!(json("show port summary all")["available"], 2);
    assert_eq!(json("show port info 1")["ports"][0]["mac"], "4E:22:CB:1B:4B:01");
    assert_eq!(json("show peer")["peers"][0]["state"], "up");
    assert_eq!(
        json("show peer")["peers"][0]["to_peer"],
        json!({"lan_bytes": 190, "wan_bytes": 100})
    );
    assert_eq!(json("show drops")["drops"].as_array().unwrap().len(), 2);
    let counter = json("show counters")["counters"][0].clone();
    assert_eq!((&counter["kind"], &counter["value"]), (&json!("drop"), &json!(2)));
    assert_eq!(json("show flow")["flows"][0]["destination"], "10.77.2.9");
    assert_eq!(json("show config")["peer"][0]["rate"], "200mbit");
    assert_eq!(json("show rule")["rules"][0]["flows"], 3);
    assert_eq!(json("show cores")["cores"][0]["core"], 0);
    assert_eq!(json("show fwd stats all")["ports"][1]["rx_packets"], 6272);
    assert_eq!(json("reload")["changes"], json!(["rules", "peer site-b"]));
    assert_eq!(json("start"), json!({"message": ""}));
    assert_eq!(json("# nothing"), json!(null));
}

#[test]
fn help_lists_every_command_or_those_asked_for() {
    let mut executor = executor();
    let all = text(&mut executor, "help");
    assert_eq!(all.lines().count(), 2 * grammar::COMMANDS.len());
    assert!(all.contains("set promisc PORT|all on|off\n"), "{all}");
    assert!(all.contains("show flow [source PREFIX]"), "{all}");
    let ports = text(&mut executor, "help sh po");
    assert_eq!(ports.lines().count(), 8, "{ports}");
    assert!(text(&mut executor, "help frob").contains("no command begins like that"));
}

#[test]
fn clearing_reaches_the_appliance_and_forgets_what_was_shown() {
    let mut executor = executor();
    text(&mut executor, "show port stats 0");
    assert_eq!(
        text(&mut executor, "clear port stats 0"),
        "\n  NIC statistics for port 0 cleared\n"
    );
    text(&mut executor, "clear fwd stats all");
    text(&mut executor, "clear all stats");
    assert_eq!(executor.backend().log, ["clear Port(One(0))", "clear Forwarding", "clear All"]);
}

#[test]
fn reload_says_what_changed_or_what_is_wrong() {
    let mut executor = executor();
    assert_eq!(text(&mut executor, "reload"), "changed: rules, peer site-b\n");
    let error = refused(&mut executor, "reload /nonexistent.toml");
    assert!(error.starts_with("/nonexistent.toml: cannot be read"), "{error}");
    assert!(error.ends_with("the running configuration stays"), "{error}");
}

#[test]
fn a_command_file_stops_at_its_first_error() {
    let path = std::env::temp_dir().join(format!("tpo-commands-{}", std::process::id()));
    let mut executor = executor();
    let mut output = Vec::new();
    fs::write(&path, "# set up\nstart\n\nport stop 7\nport stop 0\n").unwrap();
    let error = run_script(&mut executor, &path, &mut output).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}:4: Invalid port 7\nThe valid ports array is [ 0 1 ]", path.display())
    );
    assert_eq!(executor.backend().log, ["start"]);

    fs::write(&path, "stop\nquit\nport stop 0\n").unwrap();
    run_script(&mut executor, &path, &mut output).unwrap();
    assert!(executor.is_quitting());
    assert_eq!(executor.backend().log, ["start", "stop"]);
    assert!(String::from_utf8(output).unwrap().contains("Done."));

    fs::write(&path, "show prot info 0\n").unwrap();
    let error = run_script(&mut executor, &path, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains(":1: show prot info 0\n"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = run_script(&mut executor, &path, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}
