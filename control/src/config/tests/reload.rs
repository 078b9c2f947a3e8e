//! What a reload may change.

use super::*;

#[test]
fn a_reload_applies_rules_peers_and_soft_limits() {
    let old = parse(COMPLETE).unwrap();
    let diff = |text: &str| Config::reload_diff(&old, &parse(text).unwrap());
    assert_eq!(diff(COMPLETE), Ok(vec![]));
    assert_eq!(diff(&with("class = 2", "class = 3")), Ok(vec![Change::Rules]));
    assert_eq!(
        diff(&with("rate = \"200mbit\"", "rate = \"300mbit\"")),
        Ok(vec![Change::Peer { name: "site-b".into() }])
    );
    assert_eq!(diff(&with("backlog = \"6ms\"", "backlog = \"7ms\"")), Ok(vec![Change::Limits]));
    assert_eq!(
        diff(&with(
            "networks = [\"10.77.1.0/24\", \"fd77::1:0/112\"]",
            "networks = [\"10.77.1.0/24\"]"
        )),
        Ok(vec![Change::LanNetworks])
    );
}

#[test]
fn a_reload_adds_and_takes_out_peers() {
    let old = parse(COMPLETE).unwrap();
    let section = |name: &str, from: &str| {
        let start = from.find(&format!("[[peer]]\nname = \"{name}\"")).unwrap();
        let len = from[start..].find("\n\n").unwrap() + 2;
        (
            from[..start].to_owned(),
            from[start..start + len].to_owned(),
            from[start + len..].to_owned(),
        )
    };
    let diff = |text: &str| Config::reload_diff(&old, &parse(text).unwrap());
    let name = |name: &str| name.to_owned();
    // Where a peer stands in the file says nothing: rules name the same one.
    let (before, b, after) = section("site-b", COMPLETE);
    let (_, c, _) = section("site-c", COMPLETE);
    let swapped = COMPLETE.replace(&format!("{b}{c}"), &format!("{c}{b}"));
    assert_ne!(parse(&swapped).unwrap().rules, old.rules);
    assert_eq!(diff(&swapped), Ok(vec![]));
    let without_c = COMPLETE.replace(&c, "");
    assert_eq!(diff(&without_c), Ok(vec![Change::PeerRemoved { name: name("site-c") }]));
    let d = c
        .replace("site-c", "site-d")
        .replace("[fd77::3:2]", "[fd77::4:2]")
        .replace("10.77.3.0", "10.77.4.0");
    let with_d = COMPLETE.replace(&c, &format!("{c}{d}"));
    assert_eq!(diff(&with_d), Ok(vec![Change::PeerAdded { name: name("site-d") }]));
    let instead = COMPLETE.replace(&c, &d);
    assert_eq!(
        diff(&instead),
        Ok(vec![
            Change::PeerRemoved { name: name("site-c") },
            Change::PeerAdded { name: name("site-d") },
        ])
    );
    let replaced = || Ok(vec![Change::PeerReplaced { name: name("site-b") }]);
    for (line, replacement) in [
        ("endpoint = \"10.77.2.2:4980\"", "endpoint = \"10.77.2.3:4980\""),
        ("psk_file = \"/etc/tpo/a-b.psk\"", "psk_file = \"/etc/tpo/a-c.psk\""),
        ("psk_file = \"/etc/tpo/a-b.psk\"", "fec = \"off\"\npsk_file = \"/etc/tpo/a-b.psk\""),
    ] {
        assert_eq!(diff(&with(line, replacement)), replaced(), "{replacement}");
    }
    // A rule that names who leaves is refused with the file.
    let said = parse(&format!("{before}{after}")).unwrap_err().to_string();
    assert!(said.contains("no peer is called \"site-b\""), "{said}");
    let said = parse(&with_d.replace("peers = 5", "peers = 2")).unwrap_err().to_string();
    assert!(said.contains("there are 3 peers and places for 2"), "{said}");
}

#[test]
fn there_are_places_for_more_peers_than_most_have() {
    assert_eq!(parse(MINIMAL).unwrap().limits.peers, 8);
}

#[test]
fn a_reload_refuses_what_is_laid_out_at_start() {
    let old = parse(COMPLETE).unwrap();
    for (line, replacement, key) in [
        ("name = \"site-a\"", "name = \"site-z\"", "name"),
        (
            "device = \"net_af_xdp1,iface=wan0\"",
            "device = \"net_af_xdp1,iface=wan1\"",
            "wan.device",
        ),
        ("port = 4981", "port = 4982", "wan.port"),
        ("frames = 32768", "frames = 16384", "limits.frames"),
        ("buffer_memory = \"128MiB\"", "buffer_memory = \"64MiB\"", "limits.buffer_memory"),
        ("compress = 2", "compress = 1", "cores.compress"),
        ("compress = 2", "compress = [2, 0]", "cores.compress"),
        ("compress = 2", "compress = 2\nedge = [1, 0]", "cores.edge"),
        ("peers = 5", "peers = 6", "limits.peers"),
    ] {
        let new = parse(&with(line, replacement)).unwrap();
        let error = Config::reload_diff(&old, &new).unwrap_err();
        assert_eq!(error.keys, [key], "{replacement}");
        assert!(error.to_string().contains("start it again"), "{error}");
    }
}
