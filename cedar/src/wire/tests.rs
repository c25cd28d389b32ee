use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::Instant;

use super::*;
use crate::crypto::{KeyPair, Sealer, SessionKey};
use crate::packet::Fault;

#[derive(Clone, Debug)]
enum Part {
    Integer(i64),
    String(String),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        any::<i64>().prop_map(Part::Integer),
        "[^\0]{0,40}".prop_map(Part::String),
    ];
    prop::collection::vec(part, 0..10)
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Plain), Just(Form::Encrypted)]
}

fn later() -> Instant {
    Instant::now() + Duration::from_mins(1)
}

fn text(stream: &Stream<tokio::io::DuplexStream>, text: &str) -> Encoder {
    let mut message = stream.encoder();
    message.string(text).unwrap();
    message
}

proptest! {
    #[test]
    fn decoding_is_the_inverse_of_encoding(parts in parts(), form in form()) {
        let mut message = Encoder::new(form);
        for part in &parts {
            match part {
                Part::Integer(value) => message.integer(*value),
                Part::String(text) => message.string(text).unwrap(),
            }
        }
        let mut decoder = Decoder::new(form, message.body());
        for part in &parts {
            match part {
                Part::Integer(value) => prop_assert_eq!(decoder.integer().unwrap(), *value),
                Part::String(text) => prop_assert_eq!(decoder.string().unwrap(), text.as_bytes()),
            }
        }
        prop_assert!(decoder.is_at_end());
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..100), form in form()) {
        let mut decoder = Decoder::new(form, &bytes);
        while decoder.string().is_ok() && !decoder.is_at_end() {}
        let _ = decoder.length().and_then(|length| decoder.raw(length).map(drop));
        let _ = decoder.integer();
    }
}

/// Both ends of a connection with one key.
fn encrypted() -> [Stream<tokio::io::DuplexStream>; 2] {
    let (a, b) = duplex(1 << 21);
    let [one, other] = keys();
    let (mut a, mut b) = (Stream::new(a, later()), Stream::new(b, later()));
    a.encrypt(&one).unwrap();
    b.encrypt(&other).unwrap();
    [a, b]
}

fn keys() -> [SessionKey; 2] {
    let [a, b] = [(); 2].map(|()| KeyPair::generate().unwrap());
    let [public_a, public_b] = [&a, &b].map(|pair| pair.public().to_owned());
    [a.agree(&public_b).unwrap(), b.agree(&public_a).unwrap()]
}

#[tokio::test]
async fn both_directions_are_encrypted_and_their_packets_counted() {
    let [mut a, mut b] = encrypted();
    for round in 0..3 {
        let there = format!("round {round}");
        a.send(&text(&a, &there)).await.unwrap();
        let message = b.receive().await.unwrap();
        assert_eq!(message.decoder().string().unwrap(), there.as_bytes());
        b.send(&text(&b, "back")).await.unwrap();
        let message = a.receive().await.unwrap();
        assert_eq!(message.decoder().string().unwrap(), b"back");
    }
}

#[tokio::test]
async fn the_first_packets_authenticate_what_was_said_in_the_clear() {
    for tampered in [false, true] {
        let (a, b) = duplex(1 << 16);
        let (mut a, mut b) = (Stream::new(a, later()), Stream::new(b, later()));
        a.send_aside(&text(&a, "shared port")).await.unwrap();
        // The shared port reads this, and hands the connection over.
        b.receive().await.unwrap();
        b.begin_anew();
        a.send(&text(&a, "hello")).await.unwrap();
        b.receive().await.unwrap();
        b.send(&text(&b, "yes")).await.unwrap();
        a.receive().await.unwrap();
        if tampered {
            // The other side sees this after it has begun to encrypt.
            a.send(&text(&a, "more")).await.unwrap();
        }
        let [one, other] = keys();
        a.encrypt(&one).unwrap();
        b.encrypt(&other).unwrap();
        let secret = text(&a, "secret");
        a.send(&secret).await.unwrap();
        let received = b.receive().await;
        assert_eq!(received.is_ok(), !tampered);
    }
}

#[tokio::test]
async fn fragments_are_joined_and_may_come_byte_by_byte() {
    let (mut raw, b) = duplex(1);
    let mut b = Stream::new(b, later());
    let sender = tokio::spawn(async move {
        for byte in [0, 0, 0, 0, 2, b'a', b'b', 1, 0, 0, 0, 2, b'c', 0] {
            raw.write_all(&[byte]).await.unwrap();
        }
        raw
    });
    let message = b.receive().await.unwrap();
    assert_eq!(message.decoder().string().unwrap(), b"abc");
    drop(sender.await.unwrap());
    assert!(matches!(b.receive().await, Err(Fault::Closed)));
}

#[tokio::test]
async fn lengths_that_lie_are_refused() {
    for (bytes, expected) in [
        (&[1, 0, 0, 0, 0][..], "empty"),
        (&[1, 0, 16, 0, 1], "more than 1 MiB"),
        (&[1, 255, 255, 255, 255], "more than 1 MiB"),
        (&[2, 0, 0, 0, 1, 7], "unknown flag"),
        (&[1, 0, 15, 255, 255, 7], "Closed"),
        (&[1, 0], "Closed"),
    ] {
        let (mut raw, b) = duplex(64);
        raw.write_all(bytes).await.unwrap();
        drop(raw);
        let fault = Stream::new(b, later()).receive().await.err().unwrap();
        let fault = format!("{fault:?}");
        assert!(fault.contains(expected), "{fault}");
    }
}

#[tokio::test]
async fn a_message_has_a_bound_over_all_its_packets() {
    let (mut raw, b) = duplex(1 << 12);
    let endless =
        tokio::spawn(
            async move { while raw.write_all(&[0, 0, 0, 0, 3, 1, 2, 3]).await.is_ok() {} },
        );
    let mut b = Stream::new(b, later()).with_longest_message(100);
    assert!(matches!(b.receive().await, Err(Fault::TooLarge(_))));
    drop(b);
    endless.await.unwrap();
}

#[tokio::test]
async fn packets_without_content_count_in_a_messages_bound() {
    let (mut raw, b) = duplex(1 << 12);
    let [one, other] = keys();
    // Nothing was said in the clear.
    let mut sealer = Sealer::new(&one, [vec![0; 32], vec![0; 32]]).unwrap();
    for _ in 0..100 {
        let packet = sealer.seal(false, &[]).unwrap();
        raw.write_all(&packet).await.unwrap();
    }
    let last = sealer.seal(true, &[7]).unwrap();
    raw.write_all(&last).await.unwrap();
    let mut b = Stream::new(b, later()).with_longest_message(100);
    b.encrypt(&other).unwrap();
    assert!(matches!(b.receive().await, Err(Fault::TooLarge(_))));
}

#[tokio::test]
async fn what_is_too_long_or_empty_is_not_sent() {
    let [mut a, _b] = encrypted();
    let mut long = a.encoder();
    long.raw(&vec![0; 1 << 20]);
    assert!(matches!(a.send(&long).await, Err(Fault::NotSent(_))));
    let (plain, _b) = duplex(64);
    let mut plain = Stream::new(plain, later());
    let empty = plain.encoder();
    assert!(matches!(plain.send(&empty).await, Err(Fault::NotSent(_))));
}
