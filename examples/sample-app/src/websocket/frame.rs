//! Frames (RFC 6455, section 5).

use std::io::{self, ErrorKind, Read};

const MAX_PAYLOAD: u64 = 1024 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further piece of a message.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// A question whether the other end lives.
    Ping,
    /// Its answer.
    Pong,
}

/// A frame, unmasked.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    last: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A message of one frame.
    pub fn new(opcode: Opcode, payload: Vec<u8>) -> Self {
        Self { last: true, opcode, payload }
    }

    /// Reads a client's frame, which must be masked.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let [first, second] = bytes(input)?;
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(bytes(input)?)),
            127 => u64::from_be_bytes(bytes(input)?),
            short => u64::from(short),
        };
        let fault = |words| Err(io::Error::new(ErrorKind::InvalidData, words));
        if second & 0x80 == 0 {
            return fault("a client's frame is not masked");
        }
        if length > MAX_PAYLOAD {
            return fault("a frame is longer than 1 MiB");
        }
        let mask: [u8; 4] = bytes(input)?;
        let mut payload = Vec::new();
        if input.by_ref().take(length).read_to_end(&mut payload)? as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return fault("a frame has an opcode that nobody has defined"),
        };
        Ok(Self { last: first & 0x80 != 0, opcode, payload })
    }

    /// A server's frame, which must not be masked.
    pub fn encode(&self) -> Vec<u8> {
        let opcode = match self.opcode {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        };
        let mut frame = vec![if self.last { 0x80 } else { 0 } | opcode];
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(short), _) if short < 126 => frame.push(short),
            (_, Ok(medium)) => {
                frame.push(126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((self.payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&self.payload);
        frame
    }
}

fn bytes<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masked_example_of_the_specification_is_read() {
        let mut input = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58][..];
        assert_eq!(Frame::read(&mut input).expect("a frame"), Frame::new(Opcode::Text, b"Hello".to_vec()));
    }

    #[test]
    fn every_form_of_length_is_written_as_the_specification_says() {
        let head =
            |length: usize| Frame::new(Opcode::Binary, vec![0; length]).encode()[..length.min(4)].to_vec();
        assert_eq!(head(1), [0x82]);
        assert_eq!(head(125)[..2], [0x82, 125]);
        assert_eq!(head(256), [0x82, 126, 1, 0]);
        assert_eq!(
            Frame::new(Opcode::Binary, vec![0; 65_536]).encode()[1..10],
            [127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }

    #[test]
    fn an_unmasked_or_overlong_frame_is_refused() {
        assert!(Frame::read(&mut &[0x81, 0x01, 0x41][..]).is_err());
        assert!(Frame::read(&mut &[0x82, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0][..]).is_err());
    }
}
