//! Load over MQTT 3.1.1: plain sockets, packets made before the clock runs, as many connections as there are threads.
//!
//! What a device does that sends: it connects, publishes with QoS 1, and counts its PUBACKs; and, in `watch`, what one does that listens. What
//! the packets look like is in chapters 2 and 3 of the standard.

mod watch;

pub use watch::Message;

use crate::load::Latencies;
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// An answer that takes longer counts as a broken connection.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// One connection of a device.
#[derive(Debug)]
pub struct Device {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Packets that came while another was waited for.
    early: VecDeque<(u8, Vec<u8>)>,
}

/// Whom a device says it is.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

impl Device {
    /// Connects with a clean session, and waits for the CONNACK. `keep_alive` in seconds.
    pub fn connect(addr: SocketAddr, client: &str, login: Option<Login<'_>>, keep_alive: u16) -> io::Result<Device> {
        Device::open(addr, &connect(client, login, keep_alive, true))
    }

    /// Connects with a session that lasts.
    pub fn come_again(addr: SocketAddr, client: &str, login: Option<Login<'_>>) -> io::Result<Device> {
        Device::open(addr, &connect(client, login, 60, false))
    }

    fn open(addr: SocketAddr, connect: &[u8]) -> io::Result<Device> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.write_all(connect)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        match answer {
            [0x20, 2, _, 0] => Ok(Device { stream, buffer: Vec::new(), early: VecDeque::new() }),
            other => Err(io::Error::other(format!("no CONNACK that accepts: {other:?}"))),
        }
    }

    /// Sends a packet and waits for the one of four bytes that answers it: what it is, and the packet id.
    pub fn exchange(&mut self, packet: &[u8]) -> io::Result<(u8, u16)> {
        self.stream.write_all(packet)?;
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        Ok((answer[0], u16::from_be_bytes([answer[2], answer[3]])))
    }

    /// A device on a socket that somebody has made already.
    pub fn on(stream: TcpStream) -> io::Result<Device> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Device { stream, buffer: Vec::new(), early: VecDeque::new() })
    }

    pub fn send(&mut self, packets: &[u8]) -> io::Result<()> {
        self.stream.write_all(packets)
    }

    /// Waits for some PUBACKs and gives their packet ids to `each`.
    pub fn acks(&mut self, mut each: impl FnMut(u16)) -> io::Result<()> {
        let mut chunk = [0; 4_096];
        let read = self.stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        let whole = self.buffer.len() / 4 * 4;
        for ack in self.buffer[..whole].chunks_exact(4) {
            if ack[..2] != [0x40, 2] {
                return Err(io::Error::other(format!("no PUBACK: {ack:?}")));
            }
            each(u16::from_be_bytes([ack[2], ack[3]]));
        }
        self.buffer.drain(..whole);
        Ok(())
    }

    fn split(self) -> io::Result<(Device, TcpStream)> {
        let writer = self.stream.try_clone()?;
        Ok((self, writer))
    }
}

fn text(packet: &mut Vec<u8>, text: &str) {
    packet.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(text.bytes());
}

/// A fixed header in front of what follows it.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        packet.push((length % 128) as u8 | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

pub fn connect(client: &str, login: Option<Login<'_>>, keep_alive: u16, clean: bool) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([4, if login.is_some() { 0xc0 } else { 0 } | if clean { 2 } else { 0 }]);
    body.extend(keep_alive.to_be_bytes());
    text(&mut body, client);
    if let Some(Login { user, password }) = login {
        text(&mut body, user);
        text(&mut body, password);
    }
    packet(0x10, &body)
}

/// A PUBLISH with QoS 1.
pub fn publish(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    publish_as(0x32, topic, id, payload)
}

/// A PUBLISH with QoS 2; `again`: it may have been sent before.
pub fn publish_once(topic: &str, id: u16, payload: &[u8], again: bool) -> Vec<u8> {
    publish_as(if again { 0x3c } else { 0x34 }, topic, id, payload)
}

/// What answers a PUBREC.
pub fn release(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

pub const PUBREC: u8 = 0x50;
pub const PUBCOMP: u8 = 0x70;

fn publish_as(first: u8, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    body.extend(id.to_be_bytes());
    body.extend_from_slice(payload);
    packet(first, &body)
}

/// Packet ids go from 1 to here and begin again: more than are ever under way at a time.
const IDS: usize = 10_000;

fn id(n: usize) -> u16 {
    (n % IDS + 1) as u16
}

/// Each connection keeps `window` publishes under way until it has sent `each`; the time until the last is acknowledged.
pub fn closed_loop(devices: Vec<Device>, each: usize, window: usize, make: impl Fn(usize, usize) -> (String, Vec<u8>) + Sync) -> Duration {
    let prepared: Vec<(usize, Device, Vec<Vec<u8>>)> = devices
        .into_iter()
        .enumerate()
        .map(|(who, device)| {
            let packets = (0..each).map(|n| {
                let (topic, payload) = make(who, n);
                publish(&topic, id(n), &payload)
            });
            (who, device, packets.collect())
        })
        .collect();
    let begin = Instant::now();
    thread::scope(|scope| {
        for (who, mut device, packets) in prepared {
            scope.spawn(move || {
                let (mut sent, mut acked) = (0, 0);
                while acked < packets.len() {
                    let next = packets.len().min(acked + window);
                    let batch: Vec<u8> = packets[sent..next].concat();
                    device.send(&batch).unwrap_or_else(|e| panic!("device {who}: {e}"));
                    sent = next;
                    device.acks(|_| acked += 1).unwrap_or_else(|e| panic!("device {who} after {acked} PUBACKs: {e}"));
                }
            });
        }
    });
    begin.elapsed()
}

/// Publishes at `rate` a second in all, each when it is due, whether the ones before are acknowledged or not: latencies from due to PUBACK.
pub fn open_loop(devices: Vec<Device>, rate: f64, each: usize, make: impl Fn(usize, usize) -> (String, Vec<u8>) + Sync) -> Latencies {
    let many = devices.len();
    let gap = Duration::from_secs_f64(many as f64 / rate);
    let begin = Instant::now() + Duration::from_millis(100);
    // Connections one after another, evenly over the gap.
    let due = move |who: usize, n: usize| begin + gap * n as u32 + gap * who as u32 / many as u32;
    let make = &make;
    let taken: Vec<Vec<Duration>> = thread::scope(|scope| {
        let waits: Vec<_> = devices
            .into_iter()
            .enumerate()
            .map(|(who, device)| {
                let (mut reader, mut writer) = device.split().unwrap_or_else(|e| panic!("device {who}: {e}"));
                scope.spawn(move || {
                    for n in 0..each {
                        let (topic, payload) = make(who, n);
                        let packet = publish(&topic, id(n), &payload);
                        thread::sleep(due(who, n).saturating_duration_since(Instant::now()));
                        writer.write_all(&packet).unwrap_or_else(|e| panic!("device {who}: {e}"));
                    }
                });
                scope.spawn(move || {
                    let mut taken = Vec::with_capacity(each);
                    while taken.len() < each {
                        let answered = reader.acks(|_| {
                            // In the order in which they were sent, as the standard wants it.
                            let n = taken.len();
                            taken.push(Instant::now() - due(who, n));
                        });
                        answered.unwrap_or_else(|e| panic!("device {who} after {} PUBACKs: {e}", taken.len()));
                    }
                    taken
                })
            })
            .collect();
        waits.into_iter().map(|wait| wait.join().unwrap_or_default()).collect()
    });
    Latencies::of(taken.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_look_as_the_standard_says() {
        assert_eq!(publish("a/b", 10, b"hi"), [0x32, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i']);
        assert_eq!(packet(0x30, &[0; 321])[..3], [0x30, 0xc1, 2]);
        let login = Some(Login { user: "u", password: "p" });
        assert_eq!(
            connect("c", login, 60, true),
            [0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 60, 0, 1, b'c', 0, 1, b'u', 0, 1, b'p']
        );
    }
}
