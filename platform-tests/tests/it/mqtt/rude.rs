//! Clients that can't behave, on real sockets: each is hung up on, and another goes on as if there were none.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};
use tawi_platform_tests::{
    Node,
    mqtt::{Device, Login, connect, publish},
    wait::LATER,
    wait_for,
};

/// Longer than the node waits for a first packet, and than it lets somebody not read.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and a client of it that behaves.
struct House {
    node: Node,
    addr: SocketAddr,
    good: Device,
    /// Readings of the good one that are acknowledged.
    sent: u64,
}

impl House {
    fn open() -> House {
        let node = Node::start();
        let addr = node.mqtt().parse().unwrap();
        let good = Device::connect(addr, "good", Some(Login { user: "machine", password: node.token() }), 60).unwrap();
        House { node, addr, good, sent: 0 }
    }

    fn hello(&self, client: &str) -> Vec<u8> {
        connect(client, Some(Login { user: "machine", password: self.node.token() }), 0, true)
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.addr).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn client(&self, name: &str) -> Device {
        Device::connect(self.addr, name, Some(Login { user: "machine", password: self.node.token() }), 0).unwrap()
    }

    /// The good one sends a reading, and is told that it is durable.
    #[track_caller]
    fn goes_on(&mut self) {
        self.sent += 1;
        let reading = publish("devices/good/sensors/n/value", 1, self.sent.to_string().as_bytes());
        assert_eq!(self.good.exchange(&reading).unwrap(), (0x40, 1));
    }

    /// Clients that are connected.
    fn clients(&self) -> f64 {
        self.node.metric("tawi_mqtt_clients", |_| true)[0]
    }

    /// Of all readings that there are, those of the good one, all of them.
    #[track_caller]
    fn nothing_else_was_stored(mut self) {
        self.goes_on();
        self.node.wait_for_history("device:good", self.sent);
        assert_eq!(self.node.history_count("kind:reading"), self.sent);
    }
}

/// Whether the node has closed it: an orderly end and a reset are the same to a rude client.
fn is_hung_up_on(socket: &mut TcpStream) -> io::Result<()> {
    loop {
        match socket.read(&mut [0; 1_024]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

#[test]
fn a_packet_may_come_byte_by_byte_and_half_a_packet_is_none() {
    let mut house = House::open();
    let (hello, reading) = (house.hello("slow"), publish("devices/slow/sensors/n/value", 7, b"1"));
    let mut slow = house.socket();
    for byte in &hello {
        slow.write_all(&[*byte]).unwrap();
    }
    let mut answer = [0; 4];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    house.goes_on();

    // Whatever place it breaks off at, and whichever packet it is.
    for (name, cut) in [("one", 1), ("head", 2), ("middle", hello.len() / 2), ("last", hello.len() - 1)] {
        let mut half = house.socket();
        half.write_all(&hello[..cut]).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        is_hung_up_on(&mut half).unwrap_or_else(|e| panic!("half a CONNECT ({name}): {e}"));
        house.goes_on();
    }
    for cut in [1, 2, reading.len() - 1] {
        let mut half = house.client("half");
        half.send(&reading[..cut]).unwrap();
        drop(half);
        house.goes_on();
    }
    // It is the last byte that makes it a reading.
    slow.write_all(&reading[..reading.len() - 1]).unwrap();
    drop(slow);
    house.nothing_else_was_stored();
}

#[test]
fn garbage_ends_its_own_connection_and_no_other() {
    let mut house = House::open();
    let hello = house.hello("garbage");
    let mut noise = Vec::with_capacity(100_000);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..100_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.push(state as u8);
    }
    let strangers: [(&str, Vec<u8>); 6] = [
        ("HTTP", b"GET / HTTP/1.1\r\nhost: somewhere.example\r\naccept: everything there is, and more\r\n\r\n".to_vec()),
        ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise[..512]].concat()),
        ("a length without end", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a length of 256 MB", vec![0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]),
        ("a CONNECT of another protocol", vec![0x10, 14, 0, 4, b'M', b'Q', b'X', b'X', 4, 2, 0, 0, 0, 2, b'i', b'd']),
        ("a publish before anything else", publish("devices/d/sensors/s/value", 1, b"1")),
    ];
    for (what, bytes) in strangers {
        let mut socket = house.socket();
        // It may hang up before all of it is there.
        let _ = socket.write_all(&bytes);
        is_hung_up_on(&mut socket).unwrap_or_else(|e| panic!("{what}: {e}"));
        house.goes_on();
    }
    let later: [(&str, Vec<u8>); 6] = [
        ("noise", noise),
        ("a second CONNECT", hello.clone()),
        ("a packet that servers send", vec![0x20, 2, 0, 0]),
        ("a publish of QoS 3", vec![0x36, 7, 0, 3, b'a', b'/', b'b', 0, 1]),
        ("a packet over the limit", vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']),
        ("a subscription to nothing", vec![0x82, 2, 0, 1]),
    ];
    for (what, bytes) in later {
        let mut socket = house.socket();
        socket.write_all(&hello).unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], [0x20, 2], "{what}");
        let _ = socket.write_all(&bytes);
        is_hung_up_on(&mut socket).unwrap_or_else(|e| panic!("{what}: {e}"));
        house.goes_on();
    }
    house.nothing_else_was_stored();
}

#[test]
fn who_never_reads_is_hung_up_on_and_the_others_miss_nothing() {
    // More than the buffers of two kernels' ends of a connection hold.
    const READINGS: usize = 600;
    let mut house = House::open();
    let mut deaf = house.client("deaf");
    let mut listener = house.client("listener");
    // With QoS 1 it would be sent no more than it has not acknowledged; with QoS 0 nothing but its connection holds it up.
    assert_eq!(deaf.subscribe_with(&["devices/loud/#"], 0).unwrap(), [0]);
    assert_eq!(listener.subscribe(&["devices/loud/#"]).unwrap(), [1]);
    let mut loud = house.client("loud");
    let before = house.node.resident_bytes();
    let body = "x".repeat(60_000);
    for n in 0..READINGS {
        let reading = publish("devices/loud/sensors/n/value", 1, format!("\"{n} {body}\"").as_bytes());
        assert_eq!(loud.exchange(&reading).unwrap(), (0x40, 1));
        let message = listener.message().unwrap();
        let start = String::from_utf8_lossy(&message.payload[..40]).into_owned();
        assert!(start.contains(&format!("\"{n} xx")), "reading {n} was to come, not {start}");
    }
    // Nobody keeps for the deaf one what it does not take: its 36 MB would be seen.
    let grown = house.node.resident_bytes().saturating_sub(before);
    assert!(grown < 200_000_000, "{grown} bytes");
    let others = || {
        house.goes_on();
        listener.ping().unwrap();
        house.clients()
    };
    wait_for("the deaf client to be hung up on", LATER, others, |clients| *clients == 3.0);
    drop(deaf);
}

#[test]
fn hundreds_who_say_nothing_are_in_nobodys_way() {
    const MANY: usize = 300;
    let mut house = House::open();
    let mut idle: Vec<Device> = (0..MANY).map(|n| house.client(&format!("idle{n}"))).collect();
    // These have not even said who they are.
    let mut silent: Vec<TcpStream> = (0..MANY).map(|_| house.socket()).collect();
    for _ in 0..100 {
        house.goes_on();
    }
    assert_eq!(house.clients(), (MANY + 1) as f64);
    silent.iter_mut().for_each(|socket| is_hung_up_on(socket).unwrap());
    house.goes_on();
    // Who connected and promised nothing may be silent for as long as it likes.
    idle.iter_mut().for_each(|client| client.ping().unwrap());
    assert_eq!(house.clients(), (MANY + 1) as f64);
    house.nothing_else_was_stored();
}
