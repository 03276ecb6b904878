//! As many requests as a server answers, on kept-alive connections, from one thread.
//!
//! One thread and no runtime on purpose: the generator has one processor and the server another, so what an answer costs here
//! must be far below what it costs there. It never sleeps either: a server would have to wake it, at the price of a whole answer
//! of a fast one, which no client across a network costs it.

use crate::load::Latencies;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    unistd::Pid,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// A server that answers nothing on any connection for so long has broken.
const SILENCE: Duration = Duration::from_secs(20);
/// More than any answer asked for here.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The same request over and over, the next on a connection when the answer to the last is there.
#[derive(Debug, Clone)]
pub struct Flood {
    pub connections: usize,
    pub request: Vec<u8>,
    /// What every answer must be, with the status 200.
    pub body: Vec<u8>,
    /// Answers before the clock runs.
    pub warm_up: Duration,
    pub measured: Duration,
    /// The processor that the generator has for itself.
    pub cpu: usize,
}

#[derive(Debug, Clone)]
pub struct Flooded {
    /// All of them, those while it warmed up as well.
    pub answers: u64,
    pub per_second: f64,
    /// From the write of a request to the end of its answer.
    pub latencies: Latencies,
}

impl Flood {
    /// Panics at the first answer that is not what was asked for: a fast error is no figure.
    pub fn run(&self, addr: SocketAddr) -> Flooded {
        thread::scope(|scope| scope.spawn(|| self.run_here(addr)).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn run_here(&self, addr: SocketAddr) -> Flooded {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).expect("a processor for the generator");
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let mut lines: Vec<Line> = (0..self.connections).map(|_| Line::open(addr)).collect();
        for (i, line) in lines.iter_mut().enumerate() {
            epoll.add(&line.stream, EpollEvent::new(EpollFlags::EPOLLIN, i as u64)).unwrap();
            line.send(&self.request);
        }
        let begin = Instant::now() + self.warm_up;
        let (end, mut latencies) = (begin + self.measured, Vec::new());
        let (mut answers, mut heard) = (0, Instant::now());
        let mut events = vec![EpollEvent::empty(); self.connections];
        loop {
            let ready = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
            if ready == 0 {
                assert!(heard.elapsed() < SILENCE, "no answer on any of {} connections for {SILENCE:?}", self.connections);
                continue;
            }
            for event in &events[..ready] {
                let line = &mut lines[event.data() as usize];
                if !line.receive(&self.body) {
                    continue;
                }
                let now = Instant::now();
                (answers, heard) = (answers + 1, now);
                if now >= end {
                    let per_second = latencies.len() as f64 / self.measured.as_secs_f64();
                    return Flooded { answers, per_second, latencies: Latencies::of(latencies) };
                }
                if now >= begin {
                    latencies.push(now - line.sent);
                }
                line.send(&self.request);
            }
        }
    }
}

/// One connection, and what has come of the answer on it.
struct Line {
    stream: TcpStream,
    sent: Instant,
    answer: Vec<u8>,
}

impl Line {
    fn open(addr: SocketAddr) -> Line {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Line { stream, sent: Instant::now(), answer: Vec::with_capacity(ANSWER_BYTES_MAX) }
    }

    /// A request fits the socket's empty buffer, whole.
    fn send(&mut self, request: &[u8]) {
        self.sent = Instant::now();
        let written = self.stream.write(request).unwrap();
        assert_eq!(written, request.len(), "the request is too long for this generator");
    }

    /// Takes what is there; true when the answer is whole, and as it should be.
    fn receive(&mut self, body: &[u8]) -> bool {
        let mut piece = [0; 2048];
        match self.stream.read(&mut piece) {
            Ok(0) => panic!("the server closed a connection after {:?}", String::from_utf8_lossy(&self.answer)),
            Ok(count) => self.answer.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return false,
            Err(error) => panic!("a connection broke: {error}"),
        }
        assert!(self.answer.len() <= ANSWER_BYTES_MAX, "an answer that does not end");
        let Some((status, got)) = whole(&self.answer) else { return false };
        assert!(status == 200 && got == body, "{status} {:?}, not {:?}", String::from_utf8_lossy(&got), String::from_utf8_lossy(body));
        self.answer.clear();
        true
    }
}

/// Status and body of an answer; none while it is not whole.
fn whole(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let head_end = answer.windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END)?;
    let head = std::str::from_utf8(&answer[..head_end]).expect("a head of plain text");
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"));
    let rest = &answer[head_end + HEAD_END.len()..];
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if let Some(length) = field("content-length") {
        let length = length.parse().unwrap_or_else(|_| panic!("no length in {head:?}"));
        return Some((status, rest.get(..length)?.to_vec()));
    }
    assert_eq!(field("transfer-encoding"), Some("chunked"), "an answer that ends with its connection: {head:?}");
    chunks(rest).map(|body| (status, body))
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|length| usize::from_str_radix(length, 16).ok());
        let length = length.unwrap_or_else(|| panic!("no chunk: {:?}", String::from_utf8_lossy(rest)));
        let chunk = rest.get(end + 2..end + 2 + length + 2)?;
        body.extend_from_slice(&chunk[..length]);
        rest = &rest[end + 2 + length + 2..];
        if length == 0 {
            return Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_all_of_it_is_there_and_not_before() {
        let counted = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
        for answer in [counted, chunked] {
            assert_eq!(whole(answer.as_bytes()), Some((200, b"hello".to_vec())));
            for end in 0..answer.len() {
                assert_eq!(whole(&answer.as_bytes()[..end]), None, "{:?}", &answer[..end]);
            }
        }
    }
}
