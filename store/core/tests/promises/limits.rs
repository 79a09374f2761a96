//! Shapes and sizes, checked when a command is parsed.

use bytes::Bytes;
use holdfast_core::{Body, Command, CommandError, Operation, Reason, Transaction};
use holdfast_proto::{Value, limits, log::v1 as wire, v1};
use prost::Message as _;

use crate::store::{put, put_operation};

fn parse(body: wire::command::Body) -> Result<Command, CommandError> {
    let command = wire::Command {
        body: Some(body),
        ..Default::default()
    };
    Command::decode(command.encode_to_vec().into())
}

fn put_wire(key: Vec<u8>, value: Option<v1::Value>) -> wire::command::Body {
    let put = v1::PutOperation {
        key: key.into(),
        value,
        ..Default::default()
    };
    wire::command::Body::Put(wire::Put {
        put: Some(put),
        expected: None,
    })
}

fn text(length: usize) -> Option<v1::Value> {
    Some(v1::Value {
        kind: Some(v1::value::Kind::Text("x".repeat(length))),
    })
}

#[track_caller]
fn assert_too_large(error: CommandError, limit: &str, most: usize) {
    let refusal = error.to_refusal();
    assert_eq!((refusal.reason, &*refusal.limit), (Reason::TooLarge, limit));
    assert_eq!(refusal.expected, most as u64);
    assert!(refusal.found > refusal.expected);
}

#[test]
fn a_key_past_its_limit_is_refused() {
    parse(put_wire(vec![b'k'; limits::KEY_BYTES], text(1))).unwrap();
    let error = parse(put_wire(vec![b'k'; limits::KEY_BYTES + 1], text(1))).unwrap_err();
    assert_too_large(error, "key bytes", limits::KEY_BYTES);
    let error = parse(put_wire(Vec::new(), text(1))).unwrap_err();
    assert_eq!(error.to_refusal().reason, Reason::Invalid);
}

#[test]
fn a_value_past_its_limit_is_refused() {
    parse(put_wire(b"k".to_vec(), text(limits::VALUE_BYTES))).unwrap();
    let error = parse(put_wire(b"k".to_vec(), text(limits::VALUE_BYTES + 1))).unwrap_err();
    assert_too_large(error, "value bytes", limits::VALUE_BYTES);
}

#[test]
fn a_note_past_its_limit_is_refused() {
    let command = Command {
        note: "x".repeat(limits::NOTE_BYTES + 1).into(),
        ..Command::internal("node/n1", Body::Tick)
    };
    let error = Command::decode(command.encode()).unwrap_err();
    assert_too_large(error, "note bytes", limits::NOTE_BYTES);
}

#[test]
fn a_request_past_its_limit_is_refused() {
    let error = Command::decode(Bytes::from(vec![0; limits::REQUEST_BYTES + 1])).unwrap_err();
    assert_too_large(error, "request bytes", limits::REQUEST_BYTES);
}

#[test]
fn a_transaction_past_its_limits_is_refused() {
    let many = |count| {
        let puts = (0..count).map(|index| Operation::Put(put_operation(&format!("k{index}"), "x")));
        Transaction {
            then: puts.collect(),
            ..Transaction::default()
        }
    };
    let parse = |transaction| {
        Command::decode(Command::internal("node/n1", Body::Transact(transaction)).encode())
    };
    parse(many(limits::TRANSACTION_OPERATIONS)).unwrap();
    let error = parse(many(limits::TRANSACTION_OPERATIONS + 1)).unwrap_err();
    assert_too_large(
        error,
        "operations a transaction",
        limits::TRANSACTION_OPERATIONS,
    );
    let nested = |depth| {
        (1..depth).fold(many(1), |inner, _| Transaction {
            then: vec![Operation::Transaction(inner)],
            ..Transaction::default()
        })
    };
    parse(nested(limits::TRANSACTION_DEPTH)).unwrap();
    let error = parse(nested(limits::TRANSACTION_DEPTH + 1)).unwrap_err();
    assert_too_large(error, "transaction depth", limits::TRANSACTION_DEPTH);
}

#[test]
fn what_has_no_value_no_body_or_no_meaning_is_refused() {
    for body in [
        put_wire(b"k".to_vec(), None),
        wire::command::Body::LeaseRevoke(wire::LeaseRevoke { lease: 0 }),
        wire::command::Body::Transact(v1::Transaction {
            then: vec![v1::Operation::default()],
            ..Default::default()
        }),
        wire::command::Body::TokenCreate(wire::TokenCreate {
            digest: vec![0; 31].into(),
            role: 1,
            ..Default::default()
        }),
    ] {
        assert_eq!(
            parse(body).unwrap_err().to_refusal().reason,
            Reason::Invalid
        );
    }
    assert!(Command::decode(Bytes::new()).is_err());
    assert!(Command::decode(Bytes::from_static(b"\xff\xff\xff")).is_err());
}

/// Whether the value of each put lies in the bytes that the command was read from.
fn stay_where_they_are(puts: Vec<Operation>) -> Vec<bool> {
    let transaction = Transaction {
        then: puts,
        ..Transaction::default()
    };
    let bytes = Command::internal("node/n1", Body::Transact(transaction)).encode();
    let Body::Transact(read) = Command::decode(bytes.clone()).unwrap().body else {
        panic!("a transaction comes back as one");
    };
    let stays = |step| match step {
        Operation::Put(put) => match put.value.unwrap() {
            Value::Bytes(value) => bytes.as_ptr_range().contains(&value.as_ptr()),
            _ => panic!("bytes come back as bytes"),
        },
        _ => panic!("a put comes back as one"),
    };
    read.then.into_iter().map(stays).collect()
}

#[test]
fn a_value_keeps_alive_at_most_twice_its_size() {
    let put = |size| {
        let mut put = put_operation("key", "");
        put.value = Some(Value::Bytes(vec![7; size].into()));
        Operation::Put(put)
    };
    assert_eq!(stay_where_they_are(vec![put(256)]), [true]);
    assert_eq!(stay_where_they_are(vec![put(16)]), [false]);
    assert_eq!(
        stay_where_they_are(vec![put(200), put(200)]),
        [false, false]
    );
    assert_eq!(stay_where_they_are(vec![put(512), put(16)]), [true, false]);
}

#[test]
fn a_command_comes_back_from_its_bytes() {
    let command = Command::internal("node/n1", put("a", "1"));
    assert_eq!(Command::decode(command.encode()).unwrap(), command);
}
