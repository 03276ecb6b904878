//! A TCP proxy that can cut the line: an address that stays while what is behind it comes and goes.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Connecting to a server on this machine takes microseconds or fails.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Line {
    target: Option<SocketAddr>,
    open: Vec<TcpStream>,
    closed: bool,
    /// Bytes that still pass, in both directions together, before it is cut.
    left: Option<usize>,
}

impl Line {
    fn cut(&mut self) {
        self.target = None;
        self.left = None;
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many of these bytes may pass.
    fn passes(&mut self, bytes: usize) -> usize {
        let Some(left) = &mut self.left else { return bytes };
        let passes = bytes.min(*left);
        *left -= passes;
        passes
    }
}

/// Passes bytes between `addr()` and its target, until it is told not to.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    line: Arc<Mutex<Line>>,
}

impl Proxy {
    /// A proxy without a target: it takes connections and closes them.
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let line = Arc::new(Mutex::new(Line::default()));
        let shared = line.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.lock().unwrap().closed {
                    return;
                }
                // A refused connection is an answer too: the client sees it closed.
                let _ = join(client, &shared);
            }
        });
        Proxy { addr, line }
    }

    pub fn to(target: SocketAddr) -> Proxy {
        let proxy = Proxy::start();
        proxy.mend(target);
        proxy
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every connection and takes no new one, as a pulled cable or a dead server does.
    pub fn cut(&self) {
        self.line.lock().unwrap().cut();
    }

    /// [`Proxy::cut`] when so many more bytes have passed: in the middle of whatever is said then.
    pub fn cut_after(&self, bytes: usize) {
        self.line.lock().unwrap().left = Some(bytes);
    }

    pub fn is_cut(&self) -> bool {
        self.line.lock().unwrap().target.is_none()
    }

    pub fn mend(&self, target: SocketAddr) {
        self.line.lock().unwrap().target = Some(target);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.line.lock().unwrap().closed = true;
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.addr);
    }
}

fn join(client: TcpStream, line: &Arc<Mutex<Line>>) -> io::Result<()> {
    let target = line.lock().unwrap().target.ok_or(io::ErrorKind::ConnectionRefused)?;
    let server = TcpStream::connect_timeout(&target, CONNECT_WAIT)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let pairs = [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)];
    {
        let mut line = line.lock().unwrap();
        // Cut while we were connecting.
        if line.target != Some(target) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        line.open.extend([client, server]);
    }
    for (from, to) in pairs {
        let line = line.clone();
        thread::spawn(move || pump(from, to, &line));
    }
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, line: &Mutex<Line>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let passes = line.lock().unwrap().passes(n);
        if to.write_all(&buffer[..passes]).is_err() {
            break;
        }
        if passes < n {
            line.lock().unwrap().cut();
            break;
        }
    }
    // Half-closed as the other end did it; after an error, both ends are gone already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                    io::copy(&mut from, &mut to)
                });
            }
        });
        addr
    }

    #[test]
    fn a_line_is_cut_in_the_middle_of_a_word() {
        let proxy = Proxy::to(echo());
        let mut stream = TcpStream::connect(proxy.addr()).unwrap();
        // Half of the word comes back as well.
        proxy.cut_after(6);
        stream.write_all(b"hello").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"h");
        assert!(proxy.is_cut());
    }

    #[test]
    fn bytes_pass_until_the_line_is_cut_and_again_when_it_is_mended() {
        let server = echo();
        let proxy = Proxy::to(server);
        let ask = || -> io::Result<String> {
            let mut stream = TcpStream::connect(proxy.addr())?;
            stream.write_all(b"hello")?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        assert_eq!(ask().unwrap(), "hello");

        let mut long = TcpStream::connect(proxy.addr()).unwrap();
        long.write_all(b"x").unwrap();
        long.read_exact(&mut [0]).unwrap();
        proxy.cut();
        assert!(!matches!(long.read(&mut [0]), Ok(1..)));
        assert!(!matches!(ask(), Ok(answer) if answer == "hello"));

        proxy.mend(server);
        assert_eq!(ask().unwrap(), "hello");
    }
}
