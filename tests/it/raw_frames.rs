//! Raw bytes against the real sockets: the rules of RFC 6455 that a library may miss, each seen from the other end of a TCP connection.

use crate::sockets::{Raw, Server, masked, settings, start};

const TEXT: u8 = 0x81;
const FIRST: u8 = 0x01;
const MIDDLE: u8 = 0x00;
const LAST: u8 = 0x80;

async fn open() -> (Server, Raw) {
    let server = start(settings()).await;
    let raw = server.websocket().await;
    (server, raw)
}

/// Sends the bytes on a new WebSocket and expects to be closed with `code`.
async fn closes(bytes: &[u8], code: u16) {
    let (server, mut raw) = open().await;
    raw.send(bytes).await;
    raw.expect_close(code).await;
    drop(raw);
    server.counts_become((0, 0)).await;
}

#[tokio::test]
async fn texts_come_back_whole_whatever_their_length() {
    let (_server, mut raw) = open().await;
    for length in [0, 1, 125, 126, 127, 4096, 65_535, 65_536] {
        let text = "x".repeat(length);
        raw.frame(TEXT, text.as_bytes()).await;
        raw.expect_text(&text).await;
    }
}

#[tokio::test]
async fn m11_bytes_behind_the_handshake_are_the_first_frame() {
    let server = start(settings()).await;
    let mut raw = server.connect().await;
    let mut bytes = raw.upgrade("/", "").into_bytes();
    bytes.extend(masked(TEXT, b"early"));
    raw.send(&bytes).await;
    let head = raw.request("").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw.expect_text("early").await;
}

#[tokio::test]
async fn m15_unmasked_frame_is_closed_1002() {
    closes(b"\x81\x05hello", 1002).await;
}

#[tokio::test]
async fn m16_reserved_bits_are_closed_1002() {
    for bit in [0x40, 0x20, 0x10] {
        closes(&masked(TEXT | bit, b"x"), 1002).await;
    }
}

#[tokio::test]
async fn m16_reserved_opcodes_are_closed_1002() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        closes(&masked(0x80 | opcode, b"x"), 1002).await;
    }
}

#[tokio::test]
async fn m16_fragmented_control_frames_are_closed_1002() {
    for opcode in [0x8, 0x9, 0xA] {
        closes(&masked(opcode, b""), 1002).await;
    }
}

#[tokio::test]
async fn m16_control_frames_of_126_bytes_are_closed_1002() {
    for opcode in [0x88, 0x89, 0x8A] {
        closes(&masked(opcode, &[b'x'; 126]), 1002).await;
    }
}

#[tokio::test]
async fn a_control_frame_of_125_bytes_is_answered() {
    let (_server, mut raw) = open().await;
    raw.frame(0x89, &[7; 125]).await;
    assert_eq!(raw.read_frame().await, Some((0x8A, vec![7; 125])));
}

#[tokio::test]
async fn m16_a_message_inside_a_message_is_closed_1002() {
    closes(&[masked(FIRST, b"one"), masked(FIRST, b"two"), masked(LAST, b"three")].concat(), 1002).await;
    closes(&[masked(FIRST, b"one"), masked(TEXT, b"two")].concat(), 1002).await;
}

#[tokio::test]
async fn m16_a_continuation_of_nothing_is_closed_1002() {
    closes(&masked(LAST, b"x"), 1002).await;
    let (_server, mut raw) = open().await;
    raw.send(&[masked(FIRST, b"a"), masked(LAST, b"b"), masked(MIDDLE, b"c")].concat()).await;
    raw.expect_text("ab").await;
    raw.expect_close(1002).await;
}

#[tokio::test]
async fn m17_lengths_that_lie_are_refused_from_the_header_alone() {
    let header = |length: u64| [&[TEXT, 0xFF][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
    closes(&header(1 << 63), 1002).await;
    closes(&header(u64::MAX), 1002).await;
    closes(&header((1 << 63) - 1), 1009).await;
    closes(&header(1 << 32), 1009).await;
}

#[tokio::test]
async fn m17_a_length_longer_written_than_needed_is_closed_1002() {
    closes(&[TEXT, 0xFE, 0, 5, 1, 2, 3, 4], 1002).await;
}

#[tokio::test]
async fn m18_the_limit_is_64_kib_before_authentication_and_higher_after() {
    closes(&masked(TEXT, &[b'x'; 64 * 1024 + 1]), 1009).await;
    let (_server, mut raw) = open().await;
    raw.frame(TEXT, b"authenticate").await;
    raw.expect_text("ok").await;
    let most = "x".repeat(512 * 1024);
    raw.frame(TEXT, most.as_bytes()).await;
    raw.expect_text(&most).await;
    raw.frame(TEXT, &[b'x'; 512 * 1024 + 1]).await;
    raw.expect_close(1009).await;
}

#[tokio::test]
async fn m18_the_limit_holds_for_the_sum_of_all_fragments() {
    let third = [b'x'; 30_000];
    closes(&[masked(FIRST, &third), masked(MIDDLE, &third), masked(LAST, &third)].concat(), 1009).await;
    let (_server, mut raw) = open().await;
    raw.frame(FIRST, &[b'x'; 65_535]).await;
    raw.frame(LAST, b"y").await;
    raw.expect_text(&("x".repeat(65_535) + "y")).await;
}

#[tokio::test]
async fn m19_a_message_in_65_fragments_is_closed_1008_and_in_64_it_is_taken() {
    let message = |fragments: usize| {
        let mut bytes = masked(FIRST, b"x");
        (2..fragments).for_each(|_| bytes.extend(masked(MIDDLE, b"x")));
        bytes.extend(masked(LAST, b"x"));
        bytes
    };
    closes(&message(65), 1008).await;
    let (_server, mut raw) = open().await;
    raw.send(&message(64)).await;
    raw.expect_text(&"x".repeat(64)).await;
}

#[tokio::test]
async fn m19_a_fragment_never_finished_is_closed_1008_at_ten_seconds() {
    let (_server, mut raw) = open().await;
    // An echo shows that the server waits for the next frame before the clock is stopped.
    raw.frame(TEXT, b"ready").await;
    raw.expect_text("ready").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    raw.frame(FIRST, b"begun").await;
    raw.expect_close(1008).await;
    assert!((10..=11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn m20_invalid_utf8_split_across_fragments_is_closed_1007() {
    closes(&[masked(FIRST, b"a\xF4"), masked(LAST, b"\x90\x80\x80")].concat(), 1007).await;
    closes(&[masked(FIRST, b"a\xC3"), masked(LAST, b"(")].concat(), 1007).await;
    closes(&masked(TEXT, b"\xFF"), 1007).await;
}

#[tokio::test]
async fn m20_a_message_cut_inside_a_character_is_closed_1007() {
    closes(&[masked(FIRST, b"ok"), masked(LAST, b"\xE2\x82")].concat(), 1007).await;
    closes(&masked(TEXT, b"ok\xE2\x82"), 1007).await;
}

#[tokio::test]
async fn m20_a_character_split_across_fragments_is_whole_again() {
    let (_server, mut raw) = open().await;
    raw.send(&[masked(FIRST, b"\xF0\x9F"), masked(MIDDLE, b""), masked(MIDDLE, b"\x98"), masked(LAST, b"\x80")].concat()).await;
    raw.expect_text("\u{1F600}").await;
}

#[tokio::test]
async fn m21_a_binary_frame_is_closed_1003() {
    closes(&masked(0x82, b"{}"), 1003).await;
    closes(&masked(0x02, b"{}"), 1003).await;
}

#[tokio::test]
async fn m22_bad_close_frames_are_closed_1002() {
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2000, 5000] {
        closes(&masked(0x88, &code.to_be_bytes()), 1002).await;
    }
    closes(&masked(0x88, b"\x03"), 1002).await;
    closes(&masked(0x88, b"\x03\xE8\xC3("), 1002).await;
}

#[tokio::test]
async fn a_good_close_is_answered_with_its_code_and_an_empty_one_with_1000() {
    closes(&masked(0x88, b"\x03\xE9bye"), 1001).await;
    closes(&masked(0x88, b""), 1000).await;
}

#[tokio::test]
async fn m23_a_thousand_pings_are_answered_up_to_the_burst_and_then_closed_1008() {
    let (_server, mut raw) = open().await;
    raw.send(&masked(0x89, b"").repeat(1000)).await;
    let mut pongs = 0;
    loop {
        match raw.read_frame().await {
            Some((0x8A, _)) => pongs += 1,
            Some((0x88, payload)) => {
                assert_eq!(payload[..2], 1008_u16.to_be_bytes());
                break;
            }
            other => panic!("after {pongs} pongs: {other:?}"),
        }
    }
    assert!((20..=40).contains(&pongs), "{pongs}");
}

#[tokio::test]
async fn a_broken_rule_in_the_middle_of_a_flood_still_gets_its_close_frame() {
    let mut bytes = masked(TEXT, b"\xFF");
    bytes.extend(masked(TEXT, &[b'x'; 60_000]).repeat(20));
    let (_server, mut raw) = open().await;
    raw.send(&bytes).await;
    raw.expect_close(1007).await;
}
