//! Lines and the commands they are.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::cli::command::{PortAction, PortView, Statistics};

fn ok(line: &str) -> Command {
    parse(line).unwrap().unwrap()
}

fn error(line: &str) -> String {
    parse(line).unwrap_err().to_string()
}

#[test]
fn every_command_is_read() {
    let show_flow = Command::ShowFlow(FlowFilter {
        source: Some(Prefix::parse("10.77.1.0/24").unwrap()),
        destination: Some(Prefix::parse("10.77.2.9/32").unwrap()),
        port: Some(443),
        protocol: Some(Protocol::TCP),
        peer: Some("site-b".into()),
        verdict: Some(Action::Optimize),
        limit: 5,
    });
    let table = [
        ("start", Command::Start),
        ("stop", Command::Stop),
        ("quit", Command::Quit),
        ("help", Command::Help(vec![])),
        ("help show port", Command::Help(vec!["show".into(), "port".into()])),
        ("show port info 0", Command::ShowPort(PortView::Info, Ports::One(0))),
        ("show port stats all", Command::ShowPort(PortView::Stats, Ports::All)),
        ("show port xstats 65535", Command::ShowPort(PortView::Xstats, Ports::One(65535))),
        ("show port summary all", Command::ShowPort(PortView::Summary, Ports::All)),
        ("port start 1", Command::Port(PortAction::Start, Ports::One(1))),
        ("port stop all", Command::Port(PortAction::Stop, Ports::All)),
        ("port close 0", Command::Port(PortAction::Close, Ports::One(0))),
        ("set promisc 0 on", Command::SetPromiscuous(Ports::One(0), true)),
        ("set promisc all off", Command::SetPromiscuous(Ports::All, false)),
        ("show fwd stats all", Command::ShowForwarding),
        ("show config", Command::ShowConfig),
        ("show peer", Command::ShowPeer(None)),
        ("show peer site-b", Command::ShowPeer(Some("site-b".into()))),
        ("show flow", Command::ShowFlow(FlowFilter::default())),
        (
            "show flow source 10.77.1.0/24 destination 10.77.2.9 port 443 protocol tcp \
             peer site-b verdict optimize limit 5",
            show_flow,
        ),
        ("show rule", Command::ShowRule),
        ("show drops", Command::ShowDrops),
        ("show counters", Command::ShowCounters),
        ("show cores", Command::ShowCores),
        ("show pipeline", Command::ShowPipeline),
        ("clear port stats 1", Command::Clear(Statistics::Port(Ports::One(1)))),
        ("clear port xstats all", Command::Clear(Statistics::Port(Ports::All))),
        ("clear fwd stats all", Command::Clear(Statistics::Forwarding)),
        ("clear peer stats", Command::Clear(Statistics::Peer)),
        ("clear drops stats", Command::Clear(Statistics::Drops)),
        ("clear all stats", Command::Clear(Statistics::All)),
        ("reload", Command::Reload(None)),
        ("reload /etc/tpo/a.toml", Command::Reload(Some(PathBuf::from("/etc/tpo/a.toml")))),
    ];
    for (line, command) in &table {
        assert_eq!(ok(line), *command, "{line}");
        assert_eq!(ok(&format!("  {}\t", line.replace(' ', "  "))), *command, "{line}");
    }
    // Every entry of the list is in the table.
    for entry in COMMANDS {
        let Some(Token::Word(first)) = entry.tokens.first() else { panic!("begins with a word") };
        let fixed: Vec<&str> = entry
            .tokens
            .iter()
            .map_while(|token| if let Token::Word(word) = token { Some(*word) } else { None })
            .collect();
        let fixed = fixed.join(" ");
        assert!(table.iter().any(|(line, _)| line.starts_with(&fixed)), "{first}: {fixed}");
    }
}

#[test]
fn abbreviations_stand_for_the_one_word_that_fits() {
    assert_eq!(ok("q"), Command::Quit);
    assert_eq!(ok("sh po st a"), Command::ShowPort(PortView::Stats, Ports::All));
    assert_eq!(ok("show port x 0"), Command::ShowPort(PortView::Xstats, Ports::One(0)));
    assert_eq!(ok("set p 0 of"), Command::SetPromiscuous(Ports::One(0), false));
    assert_eq!(
        ok("show fl li 7"),
        Command::ShowFlow(FlowFilter { limit: 7, ..FlowFilter::default() })
    );
}

#[test]
fn errors_point_at_the_word_and_say_what_was_expected() {
    assert_eq!(error("st"), "st\n^^\nambiguous: start or stop");
    assert_eq!(
        error("show port inof 0"),
        "show port inof 0\n          ^^^^\nexpected info, stats, xstats or summary"
    );
    assert_eq!(error("show port info"), "show port info\n               ^\nexpected PORT|all");
    assert_eq!(error("clear port  "), "clear port\n           ^\nexpected stats or xstats");
    assert_eq!(
        error("port start seven"),
        "port start seven\n           ^^^^^\nexpected a port number or all"
    );
    assert_eq!(
        error("show config all"),
        "show config all\n            ^^^\nthe command ends before this"
    );
    assert!(error("reload a.toml b.toml").ends_with("the command ends before this"));
    assert!(error("port start 65536").ends_with("expected a port number or all"));
    assert!(error("set promisc 0 o").ends_with("expected on or off"));
    assert!(error("show flow po").ends_with("expected N after port"));
    assert!(error("show flow p 1").ends_with("ambiguous: port, protocol or peer"));
    assert!(error("show flow colour red").contains("expected source, destination, port"));
    assert!(error("show flow limit 0").ends_with("expected a number from 1 to 10000"));
    assert!(error("show flow source 10.0.0.1/8").ends_with("write \"10.0.0.0/8\""));
    assert!(error("show flow verdict maybe").ends_with("expected optimize, tunnel, pass or drop"));
    assert!(
        error("frob")
            .contains("expected start, stop, quit, help, show, port, set, clear or reload")
    );
}

#[test]
fn empty_lines_and_comments_are_nothing() {
    for line in ["", "   ", "# start", "  # start"] {
        assert_eq!(parse(line), Ok(None), "{line:?}");
    }
}

#[test]
fn completion_offers_what_fits_at_the_cursor() {
    assert_eq!(complete("", 0).1.len(), 9);
    assert_eq!(complete("sh", 2), (0, vec!["show"]));
    assert_eq!(complete("show po", 7), (5, vec!["port"]));
    assert_eq!(complete("show port ", 10), (10, vec!["info", "stats", "summary", "xstats"]));
    assert_eq!(complete("show port info ", 15), (15, vec!["all"]));
    assert_eq!(complete("set promisc 0 o", 15), (14, vec!["off", "on"]));
    assert_eq!(complete("show flow de", 12), (10, vec!["destination"]));
    assert_eq!(complete("frob ", 5), (5, vec![]));
    assert_eq!(complete("show port info", 6), (5, vec!["peer", "pipeline", "port"]));
}

proptest! {
    #[test]
    fn any_line_is_a_command_or_an_error_with_a_place(line in "\\PC{0,60}", cursor in 0_usize..70) {
        if let Err(error) = parse(&line) {
            prop_assert!(error.column <= line.chars().count() + 1);
            prop_assert!(error.width >= 1 && !error.message.is_empty());
        }
        let (start, _) = complete(&line, cursor);
        prop_assert!(start <= line.len());
    }

    #[test]
    fn words_of_the_grammar_in_any_order(indices in prop::collection::vec(0_usize..20, 0..6)) {
        let words = ["show", "port", "stats", "all", "0", "fwd", "clear", "flow", "limit", "on",
            "set", "promisc", "s", "p", "help", "peer", "10.0.0.0/8", "source", "stop", "start"];
        let line: Vec<&str> = indices.iter().map(|&index| words[index]).collect();
        if let Err(error) = parse(&line.join(" ")) {
            prop_assert!(!error.message.is_empty());
        }
    }
}
