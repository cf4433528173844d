//! Follows the frames that a client sends on a WebSocket, to count the bytes of a message that has not arrived whole.
//! It reads only the headers of frames (RFC 6455 §5.2); the library that reads the messages checks whether they are
//! well-formed.

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
mod tests;
