//! Follows the frames that a client sends on a WebSocket, to count the bytes of a message that has not arrived whole. It
//! reads only the headers of frames (RFC 6455 §5.2); the library that reads the messages checks whether they are well-formed.

/// A frame's header with the longest length and a mask.
const HEADER_BYTES_MAX: usize = 14;
const MASK_BYTES: usize = 4;
/// RFC 6455 §5.5.
const CONTROL_BYTES_MAX: u64 = 125;

/// One message is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The position in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Bytes that are left of the payload of the frame at hand.
    left_bytes: u64,
    /// Bytes of the frame at hand, its header included.
    frame_bytes: u64,
    /// Bytes of the finished frames of the message at hand, headers included.
    message_bytes: u64,
    /// Bytes of the payloads of the message at hand.
    payload_bytes: u64,
}

impl Frames {
    /// Bytes of the message at hand.
    pub(super) const fn unfinished_bytes(&self) -> u64 {
        self.message_bytes + self.frame_bytes
    }

    /// Follows the next bytes. An error: a header announces a message longer than `bytes_max`.
    pub(super) fn follow(&mut self, mut bytes: &[u8], bytes_max: usize) -> Result<(), TooLong> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.is_in_payload() {
                let available = bytes.len() as u64;
                let taken = self.left_bytes.min(available);
                self.left_bytes -= taken;
                self.frame_bytes += taken;
                // At most as long as the slice.
                bytes = &bytes[usize::try_from(taken).unwrap_or(bytes.len())..];
            } else {
                self.header[self.header_bytes] = *first;
                self.header_bytes += 1;
                self.frame_bytes += 1;
                bytes = rest;
                let Some(payload) = self.payload_announced() else {
                    continue;
                };
                self.left_bytes = payload;
                if self.is_control() {
                    if payload > CONTROL_BYTES_MAX {
                        return Err(TooLong);
                    }
                } else {
                    self.payload_bytes = self.payload_bytes.saturating_add(payload);
                    if self.payload_bytes > bytes_max as u64 {
                        return Err(TooLong);
                    }
                }
            }
            if self.left_bytes == 0 {
                self.end_frame();
            }
        }
        Ok(())
    }

    const fn is_in_payload(&self) -> bool {
        self.left_bytes > 0
    }

    /// The length of the payload, when the header is there.
    fn payload_announced(&self) -> Option<u64> {
        let header = self.header.get(..self.header_bytes)?;
        let second = header.get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { MASK_BYTES };
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, None),
            127 => (8, None),
            short => (0, Some(u64::from(short))),
        };
        if header.len() < 2 + length_bytes + mask {
            return None;
        }
        let long = header[2..2 + length_bytes].iter();
        Some(short.unwrap_or_else(|| long.fold(0, |length, byte| length << 8 | u64::from(*byte))))
    }

    /// Pings, pongs and closes come between the frames of a message.
    const fn is_control(&self) -> bool {
        self.header[0] & 0x08 != 0
    }

    fn end_frame(&mut self) {
        if !self.is_control() {
            let is_last = self.header[0] & 0x80 != 0;
            if is_last {
                (self.message_bytes, self.payload_bytes) = (0, 0);
            } else {
                self.message_bytes += self.frame_bytes;
            }
        }
        (self.frame_bytes, self.header_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
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
}
