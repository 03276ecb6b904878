//! The other side of a device: one that subscribes, and says of each message that it has it.

use super::{Device, packet, text};
use std::io::{self, Read, Write};

/// What somebody was sent.
#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retained: bool,
    pub qos: u8,
}

const SUBACK: u8 = 0x90;
const PUBLISH: u8 = 0x30;

impl Device {
    /// Subscribes with QoS 1; what was granted to each filter. Messages that come before the answer are kept for [`Device::message`].
    pub fn subscribe(&mut self, filters: &[&str]) -> io::Result<Vec<u8>> {
        self.subscribe_with(filters, 1)
    }

    pub fn subscribe_with(&mut self, filters: &[&str], qos: u8) -> io::Result<Vec<u8>> {
        let mut body = vec![0, 1];
        for filter in filters {
            text(&mut body, filter);
            body.push(qos);
        }
        self.send(&packet(0x82, &body))?;
        loop {
            match self.packet()? {
                (SUBACK, body) => return Ok(body.get(2..).unwrap_or_default().to_vec()),
                (first, body) => self.early.push_back((first, body)),
            }
        }
    }

    /// The next message, acknowledged.
    pub fn message(&mut self) -> io::Result<Message> {
        loop {
            let (first, body) = match self.early.pop_front() {
                Some(early) => early,
                None => self.packet()?,
            };
            if first & 0xf0 != PUBLISH {
                continue;
            }
            let broken = || io::Error::other("a PUBLISH that ends too early");
            let (length, rest) = body.split_at_checked(2).ok_or_else(broken)?;
            let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]]))).ok_or_else(broken)?;
            let qos = first >> 1 & 3;
            let (id, payload) = rest.split_at_checked(if qos == 0 { 0 } else { 2 }).ok_or_else(broken)?;
            if qos == 1 {
                self.send(&[&[0x40, 2], id].concat())?;
            }
            let topic = String::from_utf8(topic.to_vec()).map_err(io::Error::other)?;
            return Ok(Message { topic, payload: payload.to_vec(), retained: first & 1 == 1, qos });
        }
    }

    /// A PINGREQ that is answered: the node has done all that was sent before.
    pub fn ping(&mut self) -> io::Result<()> {
        self.stream.write_all(&[0xc0, 0])?;
        while self.packet()?.0 != 0xd0 {}
        Ok(())
    }

    /// One packet: its first byte, and what comes after its length.
    pub fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((head, length)) = header(&self.buffer).filter(|(head, length)| self.buffer.len() >= head + length) {
                let first = self.buffer[0];
                let body = self.buffer[head..head + length].to_vec();
                self.buffer.drain(..head + length);
                return Ok((first, body));
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// How long the fixed header is, and what follows it; none while it is not all there.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((at + 2, length));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        assert_eq!(header(&[0x30]), None);
        assert_eq!(header(&[0x30, 7]), Some((2, 7)));
        assert_eq!(header(&[0x30, 0xc1]), None);
        assert_eq!(header(&[0x30, 0xc1, 2]), Some((3, 321)));
    }
}
