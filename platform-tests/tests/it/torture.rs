//! Everything dies again and again, on one data folder, and after each death the accounts come out even: what was acknowledged is
//! counted once by each function, or is a dead letter once, in the order of its device.
//!
//! `make torture` plays 200 rounds of a node, 50 of a NATS server and 50 of both; `make test` a few of each. The seed is printed:
//! `TAWI_SEED` plays the same ends again, `TAWI_TORTURE_ROUNDS` says how many.

use serde_json::Value;
use std::{collections::BTreeMap, os::unix::process::ExitStatusExt, sync::atomic::Ordering, thread};
use tawi_platform_tests::{
    App, Launch, Ledger, Node, Proxy,
    account::{APP, Account, Book, Field, How},
    operator::{number, text},
    wait::LATER,
    wait_for, wait_until,
};

/// Rounds in `make test`, where nobody asked for more.
const ROUNDS: u64 = 6;
/// After so many rounds everything has been in memory once.
const WARM: u64 = 5;
/// How much more a node may have in memory after the last round than after [`WARM`]. Between two rounds nothing is under way; what
/// grows with the data are caches with limits of their own (redb's, and maps of history's files that the kernel counts as resident).
const RESIDENT_MORE_MAX: u64 = 96 << 20;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Node,
    Server,
    Both,
}

#[test]
fn a_node_that_is_killed_again_and_again_keeps_its_accounts() {
    Torture::start(Ledger::Embedded, Victim::Node).rounds(1);
}

#[test]
fn a_nats_server_that_is_killed_again_and_again_keeps_its_nodes_accounts() {
    Torture::start(Ledger::Jetstream, Victim::Server).rounds(4);
}

#[test]
fn a_node_and_its_nats_server_that_are_killed_together_keep_their_accounts() {
    Torture::start(Ledger::Jetstream, Victim::Both).rounds(4);
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A linear congruential generator is random enough to choose a line of code.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

struct Torture {
    node: Node,
    proxy: Proxy,
    victim: Victim,
    random: Random,
    books: Vec<Book>,
}

impl Torture {
    fn start(ledger: Ledger, victim: Victim) -> Torture {
        let seed = number_of("TAWI_SEED").unwrap_or(20_261_121);
        eprintln!("TAWI_SEED={seed}");
        let node = Launch::on(ledger).start();
        App::prebuilt(APP).push(&node);
        let hows = [How::Keyed, How::Keyed, How::Keyed, How::Once, How::Calls, How::Nats];
        let hows = hows.iter().filter(|how| **how != How::Nats || ledger == Ledger::Jetstream);
        let books = hows.enumerate().map(|(n, how)| Book::new(&format!("device{n}"), *how)).collect();
        let proxy = Proxy::to(node.authority().parse().unwrap());
        Torture { node, proxy, victim, random: Random(seed), books }
    }

    /// One round in `part` of those that were asked for.
    fn rounds(mut self, part: u64) {
        let rounds = number_of("TAWI_TORTURE_ROUNDS").unwrap_or(ROUNDS * part.min(2)) / part;
        let mut warm = 0;
        for round in 1..=rounds.max(1) {
            self.round(round);
            self.check();
            let resident = self.node.resident_bytes();
            eprintln!("round {round}: {} counted, {} MiB resident", self.books.iter().map(|b| b.count).sum::<u64>(), resident >> 20);
            warm = if round <= WARM { resident } else { warm };
        }
        let resident = self.node.resident_bytes();
        assert!(resident <= warm + RESIDENT_MORE_MAX, "{resident} bytes resident after {rounds} rounds, {warm} after the first");
    }

    /// Load, an end in the middle of it, a new start, and answers for everybody who waits for one.
    fn round(&mut self, round: u64) {
        let field = Field {
            node: self.proxy.addr(),
            token: self.node.token().to_owned(),
            nats: self.node.nats.as_ref().map(|nats| nats.url()),
            over: false.into(),
            abandoned: false.into(),
            acknowledged: 0.into(),
            refused: 0.into(),
        };
        let Torture { node, proxy, victim, random, books } = self;
        thread::scope(|scope| {
            // Whatever happens in here, the devices must be told to stop, or the scope never ends.
            let _abandon = Abandon(&field);
            for book in books {
                let field = &field;
                scope.spawn(move || book.send_until_over(field));
            }
            match victim {
                Victim::Node => node_dies(round, node, proxy, random, &field),
                Victim::Server => server_dies(round, node, random, &field),
                Victim::Both => both_die(round, node, proxy, random, &field),
            }
            field.over.store(true, Ordering::Relaxed);
        });
    }

    /// Acknowledged is counted once, in order, or dead once; and so are the messages that tell of it.
    fn check(&mut self) {
        // What an outsider published is behind nobody before it is taken in, so that nobody is behind says nothing yet.
        for at in 0..self.books.len() {
            wait_until("the accounts to come out even", LATER, || {
                self.read_letters();
                self.check_book(at).map_err(|why| format!("{why}; {} are behind", self.node.lag(APP)))
            });
        }
        wait_for("nobody to be behind", LATER, || self.node.lag(APP), |lag| *lag == 0);
        self.read_letters();
        for at in 0..self.books.len() {
            assert_eq!(self.check_book(at), Ok(()), "when all is done");
        }
    }

    /// Not yet even is an error; what can never be even again ends the case.
    fn check_book(&mut self, at: usize) -> Result<(), String> {
        let state: BTreeMap<String, Value> = self.node.state_entries(APP, "").into_iter().collect();
        let book = &mut self.books[at];
        if book.how == How::Calls {
            let hot = state.get("hot").map_or(0, |value| plain(value).as_u64().unwrap());
            assert!(hot <= book.count, "{hot} calls of {} were counted", book.count);
            return if hot == book.count { Ok(()) } else { Err(format!("{hot} calls of {}", book.count)) };
        }
        let account = |key: &str| -> Account {
            let found = state.get(&format!("{key}/{}", book.device));
            found.map(|value| serde_json::from_value(plain(value)).unwrap()).unwrap_or_default()
        };
        let (counted, heard) = (account("device"), account("heard"));
        let never = (counted.disorder, heard.disorder) != (0, 0) || counted.count > book.count_max() || heard.count > counted.count;
        if never {
            panic!("{book:?}: {counted:?}, {heard:?}; stored twice: {:?}", stored_twice(&self.node, &book.device));
        }
        if !book.dying.is_empty() {
            return Err(format!("{:?} are not among the dead letters", book.dying));
        }
        if (counted.count, counted.sum) != (heard.count, heard.sum) {
            return Err(format!("{counted:?} counted, {heard:?} heard of"));
        }
        match book.settle(&counted) {
            true => Ok(()),
            false => Err(format!("{counted:?} was counted of {book:?}")),
        }
    }

    /// Each letter is one that was waited for, and is dropped.
    fn read_letters(&mut self) {
        let client = self.node.client();
        let letters = client.get(&format!("/api/v1/dead?app={APP}&limit=1000")).expect(200).json();
        for letter in letters.as_array().unwrap() {
            let path = format!("/api/v1/apps/{APP}/dead/{}/{}", text(letter, "function"), number(letter, "sequence"));
            let shown = client.get(&path).expect(200).json();
            let event = &shown["event"];
            let book = self.books.iter_mut().find(|book| event["device"] == book.device.as_str()).unwrap_or_else(|| panic!("{shown}"));
            let n = number(&plain(&event["value"]), "n");
            assert!(book.dying.remove(&n), "a letter that nobody waited for, or a second one: {shown}");
            client.send("DELETE", &path, &[], b"").expect(204);
        }
    }
}

/// The numbers that a device has more than once in history, with the sequences: so that a failure tells intake from dispatch.
fn stored_twice(node: &Node, device: &str) -> Vec<(u64, Vec<u64>)> {
    let mut places: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for offset in (0..).step_by(1_000) {
        let page = node.history_page(&format!("kind:reading AND device:{device}"), &["--limit", "1000", "--offset", &offset.to_string()]);
        for hit in &page {
            places.entry(number(&plain(&hit["value"]), "n")).or_default().push(number(hit, "sequence"));
        }
        if page.len() < 1_000 {
            break;
        }
    }
    places.retain(|_, sequences| sequences.len() > 1);
    places.into_iter().collect()
}

/// A value may be shown as text or as the JSON that it is.
fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}

struct Abandon<'a>(&'a Field);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// At a point inside append, call, commit, indexing or a checkpoint, or at some moment.
fn choose(random: &mut Random) -> Option<String> {
    let (point, n) = match random.below(6) {
        0 => ("append", 10 + random.below(100)),
        1 => ("call", 10 + random.below(600)),
        2 => ("commit", 5 + random.below(100)),
        3 => ("index", 1 + random.below(2)),
        4 => ("checkpoint", 1 + random.below(2)),
        _ => return None,
    };
    Some(format!("{point}:{n}"))
}

/// Starts a node with an end chosen for it, and waits for that; a point that is not passed in time is a `kill -9`.
fn live_and_die(round: u64, node: &mut Node, proxy: &Proxy, random: &mut Random, field: &Field) {
    let fault = choose(random);
    let enough = field.acknowledged.load(Ordering::Relaxed) + 300 + random.below(1_000);
    eprintln!("round {round}: {}, or after {enough} readings", fault.as_deref().unwrap_or("kill -9"));
    node.kill9();
    node.set_env("TAWI_FAULT", fault.as_deref());
    let ended = match node.start_or_end() {
        Ok(()) => {
            proxy.mend(node.authority().parse().unwrap());
            wait_until("the node's end", LATER, || match (node.is_up(), field.acknowledged.load(Ordering::Relaxed)) {
                (false, _) => Ok(Some(node.wait_for_end())),
                (true, n) if n >= enough => Ok(None),
                (true, n) => Err(format!("{n} readings of {enough}")),
            })
        }
        Err(status) => Some(status),
    };
    proxy.cut();
    match ended {
        Some(status) => assert_eq!(status.signal(), Some(9), "the node ended by itself"),
        None => node.kill9(),
    }
    node.set_env("TAWI_FAULT", None);
}

fn node_dies(round: u64, node: &mut Node, proxy: &Proxy, random: &mut Random, field: &Field) {
    live_and_die(round, node, proxy, random, field);
    node.start_again();
    proxy.mend(node.authority().parse().unwrap());
}

/// The node lives on, without its server for a moment or until somebody has felt it.
fn server_dies(round: u64, node: &mut Node, random: &mut Random, field: &Field) {
    let (enough, felt) = (300 + random.below(1_000), random.below(2) == 0);
    eprintln!("round {round}: the server after {enough} readings{}", if felt { ", until it is missed" } else { "" });
    wait_for("readings to be acknowledged", LATER, || field.acknowledged.load(Ordering::Relaxed), |n| *n >= enough);
    let before = field.refused.load(Ordering::Relaxed);
    node.nats.as_mut().unwrap().kill9();
    if felt {
        wait_for("a request to be refused", LATER, || field.refused.load(Ordering::Relaxed), |n| *n > before);
    }
    node.nats.as_mut().unwrap().restart();
    let back = field.acknowledged.load(Ordering::Relaxed) + 100;
    wait_for("readings to be acknowledged again", LATER, || field.acknowledged.load(Ordering::Relaxed), |n| *n >= back);
    assert!(node.is_up());
}

fn both_die(round: u64, node: &mut Node, proxy: &Proxy, random: &mut Random, field: &Field) {
    let server_first = random.below(2) == 0;
    if server_first {
        let enough = field.acknowledged.load(Ordering::Relaxed) + 300 + random.below(1_000);
        eprintln!("round {round}: the server, and then the node, after {enough} readings");
        wait_for("readings to be acknowledged", LATER, || field.acknowledged.load(Ordering::Relaxed), |n| *n >= enough);
        node.nats.as_mut().unwrap().kill9();
        node.kill9();
        proxy.cut();
    } else {
        live_and_die(round, node, proxy, random, field);
        node.nats.as_mut().unwrap().kill9();
    }
    node.nats.as_mut().unwrap().restart();
    node.start_again();
    proxy.mend(node.authority().parse().unwrap());
}
