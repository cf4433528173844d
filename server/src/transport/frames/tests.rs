//! Streams of frames, whole and unfinished, however they are split into reads.

use super::*;

const TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;
const LIMIT: usize = 100_000;

fn frame(first: u8, payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match payload_bytes {
        0..126 => frame.push(0x80 | u8::try_from(payload_bytes).unwrap()),
        126..65_536 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(payload_bytes).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    frame.extend([0xff; MASK_BYTES]);
    // The payload looks like headers, and must not be read as such.
    frame.extend([0x81, 0x80].iter().cycle().take(payload_bytes));
    frame
}

/// The unfinished bytes of a stream, however it is split into reads.
fn unfinished(stream: &[u8]) -> u64 {
    let counts = [1, 2, 3, 7, 1_000, stream.len()].map(|piece| {
        let mut frames = Frames::default();
        for piece in stream.chunks(piece) {
            frames.follow(piece, LIMIT).unwrap();
        }
        frames.unfinished_bytes()
    });
    assert_eq!(counts, [counts[0]; 6]);
    counts[0]
}

#[test]
fn whole_messages_leave_nothing() {
    for payload in [0, 1, 125, 126, 65_535, 65_536] {
        let message = frame(LAST | TEXT, payload);
        assert_eq!(unfinished(&message), 0, "{payload}");
        assert_eq!(unfinished(&message.repeat(3)), 0, "{payload}");
        let short = message.len() - 1;
        assert_eq!(unfinished(&message[..short]), short as u64, "{payload}");
    }
}

#[test]
fn fragments_add_up_and_pings_between_them_do_not() {
    let fragment = frame(TEXT, 1_000);
    let mut stream = fragment.clone();
    stream.extend(frame(PING, 100));
    stream.extend(frame(CONTINUATION, 0));
    let empty = frame(CONTINUATION, 0).len();
    assert_eq!(unfinished(&stream), (fragment.len() + empty) as u64);
    stream.extend(frame(LAST | CONTINUATION, 5));
    assert_eq!(unfinished(&stream), 0);
}

#[test]
fn a_message_that_will_be_too_long_is_noticed_by_its_header() {
    for (stream, bytes_before) in [
        (frame(LAST | TEXT, LIMIT + 1), 0),
        ([frame(TEXT, LIMIT), frame(LAST, 1)].concat(), LIMIT),
    ] {
        let mut frames = Frames::default();
        let noticed = stream
            .iter()
            .position(|byte| frames.follow(&[*byte], LIMIT).is_err());
        assert!(noticed.unwrap() < bytes_before + 3 * HEADER_BYTES_MAX);
    }
    let mut frames = Frames::default();
    let endless = [
        LAST | TEXT,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
    ];
    frames.follow(&endless, LIMIT).unwrap();
    assert_eq!(frames.follow(&[0; MASK_BYTES], LIMIT), Err(TooLong));
    let mut frames = Frames::default();
    assert_eq!(frames.follow(&frame(PING, 126), LIMIT), Err(TooLong));
}
