//! A server and clients on sockets in a folder of their own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::testing::{Folder, Running};
use super::*;
use crate::cli::Orders;

fn request(command: &str, json: bool) -> Request {
    Request { command: command.into(), json }
}

/// What the server says to raw bytes until it closes the connection.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // The server may close before it has taken everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    answer
}

#[test]
fn commands_are_carried_out_and_answered_in_order() {
    let folder = Folder::new();
    let running = Running::at(&folder.socket());
    let mode = fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = Client::connect(&folder.socket()).unwrap();
    let start = client.ask(&request("start", false)).unwrap();
    assert_eq!(start, Response { ok: true, text: Some(String::new()), ..Response::default() });
    let again = client.ask(&request("start", false)).unwrap();
    assert_eq!(again.error.as_deref(), Some("Packet forwarding already started"));
    assert!(!again.ok && !again.usage);
    let peers = client.ask(&request("show peer", true)).unwrap();
    assert_eq!(peers.reply.unwrap()["peers"][0]["name"], "site-b");
    let nonsense = client.ask(&request("frob", false)).unwrap();
    assert!(nonsense.usage && nonsense.error.unwrap().contains("expected start"));
    let two = client.ask(&request("stop\nquit", false)).unwrap();
    assert!(two.usage && !two.ok);
    assert_eq!(running.end().backend().log, ["start"]);
    assert!(!folder.socket().exists(), "the socket goes with the server");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "nothing else was left");
}

#[test]
fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
    let folder = Folder::new();
    let path = folder.socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::metadata(&path).unwrap().file_type().is_socket(), "a killed tpo leaves this");
    let running = Running::at(&path);
    let (source, _orders) = Orders::new();
    let error = Server::open(&path, source.clone()).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use: another tpo answers here"), "{error}");
    assert!(Client::connect(&path).unwrap().ask(&request("show rule", false)).unwrap().ok);
    running.end();
    fs::write(&path, "precious").unwrap();
    let error = Server::open(&path, source).unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn nobody_there_is_one_sentence() {
    let folder = Folder::new();
    let error = Client::connect(&folder.socket()).unwrap_err().to_string();
    assert!(error.contains("no tpo answers here") && error.contains("--socket"), "{error}");
}

#[test]
fn hostile_input_is_bounded_and_harms_nobody_else() {
    let folder = Folder::new();
    let path = folder.socket();
    let running = Running::at(&path);
    let huge = vec![b'x'; 64 * REQUEST_LENGTH_MAX];
    let answer = raw(&path, &huge);
    assert!(answer.is_empty() || answer.contains("at most 16384 bytes"), "{answer}");
    for bytes in [
        &[0xff_u8, 0, 0xfe, b'\n'][..],
        b"start\n",
        b"[]\n",
        b"{\"command\":7}\n",
        b"{\"command\":\"start\",\"extra\":1}\n",
        b"\n",
    ] {
        let answer: Response = serde_json::from_str(&raw(&path, bytes)).unwrap();
        assert!(!answer.ok && answer.usage, "{answer:?}");
    }
    assert_eq!(raw(&path, b"{\"command\":\"start\"}"), "", "a line cut short is not carried out");
    let long = format!("{{\"command\":\"{}\"}}\n", "a".repeat(10_000));
    assert!(raw(&path, long.as_bytes()).contains("longer than 4096 bytes"));
    assert!(Client::connect(&path).unwrap().ask(&request("show rule", false)).unwrap().ok);
    assert!(running.end().backend().log.is_empty());
}

#[test]
fn one_client_too_many_is_turned_away_and_a_place_becomes_free() {
    let folder = Folder::new();
    let path = folder.socket();
    let running = Running::at(&path);
    let mut clients: Vec<Client> = (0..CLIENTS_MAX)
        .map(|_| {
            let mut client = Client::connect(&path).unwrap();
            assert!(client.ask(&request("show rule", false)).unwrap().ok);
            client
        })
        .collect();
    let refused = Client::connect(&path).unwrap().ask(&request("show rule", false)).unwrap();
    assert!(refused.error.unwrap().contains("16 connections are open already"));
    clients.pop();
    let served = |_| {
        thread::sleep(Duration::from_millis(1));
        let answer = Client::connect(&path).unwrap().ask(&request("show rule", false));
        answer.is_ok_and(|answer| answer.ok)
    };
    assert!((0..5_000).any(served), "the place of the client that left is free");
    // Those still connected see the end.
    running.end();
    assert!(clients[0].ask(&request("show rule", false)).is_err());
}

#[test]
fn the_end_of_the_server_reaches_idle_clients() {
    let folder = Folder::new();
    let running = Running::at(&folder.socket());
    let mut idle = UnixStream::connect(folder.socket()).unwrap();
    // Once another client is served, the idle one has been admitted.
    Client::connect(&folder.socket()).unwrap().ask(&request("show rule", false)).unwrap();
    running.end();
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0);
}
