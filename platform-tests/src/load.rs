//! Load on a node: plain sockets, prepared requests, and latencies counted from when a request was due.
//!
//! Threads and blocking sockets on purpose: the system's sleep is good to 60 µs where an async timer is good to 1 ms, and
//! what is measured here is 2 ms.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// An answer that takes longer counts as a broken connection.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// One kept-alive HTTP/1.1 connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// Sends a whole request and reads the answer; its body is dropped. An error may mean that the request was done.
    pub fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        self.ask(request).map(|(status, _)| status)
    }

    pub fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.reader.get_mut().write_all(request)?;
        let status = self.line()?.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?,
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                Some(_) => {}
                None => break,
            }
        }
        let body = if chunked { self.chunks()? } else { self.exactly(length)? };
        Ok((status, body))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            body.extend(self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

/// A request as bytes, prepared before the clock runs.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: tawi\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What became of one request of an open loop.
#[derive(Debug, Clone, Copy)]
pub struct Shot {
    /// When it was to be sent, whether or not a connection was free.
    pub due: Instant,
    pub done: Instant,
    /// `None`: the connection broke.
    pub status: Option<u16>,
}

impl Shot {
    /// From when it was due: a server that stalls can't hide it by holding up the generator.
    pub fn latency(&self) -> Duration {
        self.done - self.due
    }
}

/// Sends `count` requests at `rate` per second over `connections`, each when it is due; answers with the shots in order.
pub fn open_loop(addr: SocketAddr, rate: f64, count: usize, connections: usize, make: impl Fn(usize) -> Vec<u8> + Sync) -> Vec<Shot> {
    let next = AtomicUsize::new(0);
    let start = Instant::now() + Duration::from_millis(20);
    let lane = || -> Vec<(usize, Shot)> {
        let mut shots = Vec::with_capacity(count / connections + 1);
        let mut connection = None;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return shots;
            }
            let bytes = make(i);
            let due = start + Duration::from_secs_f64(i as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let status = send_on(&mut connection, addr, &bytes);
            shots.push((i, Shot { due, done: Instant::now(), status }));
        }
    };
    let mut shots: Vec<(usize, Shot)> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..connections).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    shots.sort_by_key(|(i, _)| *i);
    shots.into_iter().map(|(_, shot)| shot).collect()
}

/// Sends `count` requests as fast as the answers come; answers with the statuses in order and the time it took.
pub fn closed_loop(addr: SocketAddr, count: usize, connections: usize, make: impl Fn(usize) -> Vec<u8> + Sync) -> (Vec<Shot>, Duration) {
    let start = Instant::now();
    let shots = open_loop(addr, f64::INFINITY, count, connections, make);
    (shots, start.elapsed())
}

/// On the connection there is, or a new one; a broken one is forgotten.
pub fn send_on(connection: &mut Option<Connection>, addr: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(addr).ok()?,
    };
    let status = open.send(request).ok()?;
    *connection = Some(open);
    Some(status)
}

/// Durations, to be asked for their percentiles.
#[derive(Debug, Clone)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Latencies {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        Latencies(sorted)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest duration that at least `percent` of all do not exceed.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).or(self.0.last()).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_durations_that_were_measured() {
        let hundred = Latencies::of((1..=100).rev().map(Duration::from_millis));
        assert_eq!(hundred.percentile_ms(50.0), 50.0);
        assert_eq!(hundred.percentile_ms(99.0), 99.0);
        assert_eq!(hundred.percentile_ms(100.0), 100.0);
        assert_eq!(Latencies::of([Duration::from_millis(7)]).percentile_ms(50.0), 7.0);
        assert!(Latencies::of([]).percentile_ms(50.0).is_nan());
    }
}
