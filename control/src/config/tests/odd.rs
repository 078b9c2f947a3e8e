//! What is allowed and has not the effect that it seems to have is warned of.

use super::*;

#[test]
fn a_rule_that_an_earlier_one_leaves_nothing_to_is_odd() {
    let table = |rules: &str| {
        let (head, _) = MINIMAL.split_once("[[rule]]").unwrap();
        warnings(&format!("{head}{rules}"))
    };
    let web = "[[rule]]\nprotocol = \"tcp\"\ndestination = [\"10.77.2.0/24\"]\n\
               destination_ports = [\"80-90\", 443]\naction = \"optimize\"\n";
    for (changed, covered) in [
        ("", true),
        ("protocol = \"tcp\"", false),
        ("vlan = [7]", true),
        ("dscp = [10]", true),
        ("source_ports = [1024]", true),
    ] {
        let second = match changed {
            "protocol = \"tcp\"" => web.replace("\"tcp\"", "\"udp\""),
            _ => format!("{web}{changed}\n"),
        };
        let found = table(&format!("{web}{second}"));
        assert_eq!(
            found.contains("rule[1]: no flow comes to it: rule[0] (line"),
            covered,
            "{found}"
        );
        // The other way round, the first has less than the second.
        let found = table(&format!("{second}{web}"));
        assert_eq!(found.contains("rule[1]:"), changed.is_empty(), "{found}");
    }
    for (from, to, covered) in [
        ("\"80-90\", 443", "443, \"82-85\"", true),
        ("\"80-90\", 443", "\"85-91\"", false),
        ("10.77.2.0/24", "10.77.2.128/25", true),
        ("10.77.2.0/24", "10.77.0.0/16", false),
        ("destination_ports = [\"80-90\", 443]\n", "", false),
    ] {
        let found = table(&format!("{web}{}", web.replace(from, to)));
        assert_eq!(found.contains("rule[1]: no flow"), covered, "{to}: {found}");
    }
    let all = "[[rule]]\naction = \"pass\"\n";
    assert!(table(&format!("{all}{web}")).contains("rule[1]: no flow"));
    assert_eq!(table(&format!("{web}{all}")), "");
}

#[test]
fn flows_that_no_peer_takes_are_odd() {
    let rule = |line: &str| {
        let (head, _) = MINIMAL.split_once("[[rule]]").unwrap();
        warnings(&format!("{head}[[rule]]\naction = \"optimize\"\n{line}\n"))
    };
    assert_eq!(rule("destination = [\"10.77.2.0/25\", \"192.0.2.0/24\"]"), "");
    let found = rule("destination = [\"192.0.2.0/24\"]");
    assert!(
        found.contains("rule[0].destination: none of it is in the networks of a peer"),
        "{found}"
    );
    let found = rule("destination = [\"192.0.2.0/24\"]\npeer = \"site-b\"");
    assert!(found.contains("the networks of \"site-b\", which refuses"), "{found}");
    let found = rule("source = [\"192.0.2.0/24\"]");
    assert!(found.contains("rule[0].source: none of it is in lan.networks"), "{found}");
    let unused = MINIMAL.replacen("name =", "key_file = \"/etc/tpo/a.key\"\nname =", 1);
    assert!(warnings(&unused).contains("key_file: not used"), "{}", warnings(&unused));
}

#[test]
fn the_files_of_the_documentation_are_not_odd() {
    assert_eq!((warnings(COMPLETE), warnings(MINIMAL)), (String::new(), String::new()));
    let (_, rest) = OPERATIONS.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(warnings(example), "");
}
