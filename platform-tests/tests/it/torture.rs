//! Everything dies again and again, on one data folder, and after each death the accounts come out even: what was acknowledged is
//! counted once by each function, or is a dead letter once, in the order of its device.
//!
//! `make torture` plays 200 rounds of a node and 50 of each of the others; `make test` a few. The seed is printed:
//! `TAWI_SEED` plays the same ends again, `TAWI_TORTURE_ROUNDS` says how many.

mod victim;

use serde_json::Value;
use std::{collections::BTreeMap, sync::atomic::Ordering, thread};
use tawi_platform_tests::{
    App, Launch, Ledger, Node, Proxy,
    account::{APP, Account, Book, Field, How},
    operator::{number, text},
    wait::LATER,
    wait_for, wait_until,
};
use victim::{Random, Round, Victim};

/// Rounds in `make test`, where nobody asked for more.
const ROUNDS: u64 = 6;
/// After so many rounds everything has been in memory once.
const WARM: u64 = 5;
/// How much more one process may have in memory after the last round than after [`WARM`]. Between two rounds nothing is under way; what
/// grows with the data are caches with limits of their own (redb's, and maps of history's files that the kernel counts as resident).
const RESIDENT_MORE_MAX: u64 = 96 << 20;

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

/// In the middle of whatever is said between a node and its server.
#[test]
fn a_line_that_is_cut_again_and_again_costs_no_account() {
    Torture::start(Ledger::Jetstream, Victim::Line).rounds(4);
}

/// An hour back, a day ahead, and right again, while events wait for another try.
#[test]
fn a_clock_that_is_set_again_and_again_costs_no_account() {
    Torture::start(Ledger::Embedded, Victim::Clock).rounds(4);
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

struct Torture {
    node: Node,
    proxy: Proxy,
    victim: Victim,
    random: Random,
    books: Vec<Book>,
    /// The file that sets the node's clock.
    clock: tempfile::TempPath,
}

impl Torture {
    fn start(ledger: Ledger, victim: Victim) -> Torture {
        let seed = number_of("TAWI_SEED").unwrap_or(20_261_121);
        eprintln!("TAWI_SEED={seed}");
        let clock = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let launch = Launch::on(ledger);
        let node = if victim == Victim::Clock { launch.env("TAWI_CLOCK", clock.display()) } else { launch }.start();
        App::prebuilt(APP).push(&node);
        let hows = [How::Keyed, How::Keyed, How::Keyed, How::Once, How::Calls, How::Nats];
        let hows = hows.iter().filter(|how| **how != How::Nats || ledger == Ledger::Jetstream);
        let books = hows.enumerate().map(|(n, how)| Book::new(&format!("device{n}"), *how)).collect();
        let proxy = Proxy::to(node.authority().parse().unwrap());
        Torture { node, proxy, victim, random: Random(seed), books, clock }
    }

    /// One round in `part` of those that were asked for.
    fn rounds(mut self, part: u64) {
        let rounds = (number_of("TAWI_TORTURE_ROUNDS").unwrap_or(ROUNDS * part.min(2)) / part).max(1);
        let mut warm = 0;
        for round in 1..=rounds {
            self.round(round);
            self.check();
            let resident = self.node.resident_bytes();
            eprintln!("round {round}: {} counted, {} MiB resident", self.books.iter().map(|b| b.count).sum::<u64>(), resident >> 20);
            warm = if round == WARM { resident } else { warm };
        }
        if rounds <= WARM || !self.victim.leaves_the_process() {
            return eprintln!("memory was not compared: that takes one process for more than {WARM} rounds");
        }
        let resident = self.node.resident_bytes();
        assert!(resident <= warm + RESIDENT_MORE_MAX, "{resident} bytes resident after {rounds} rounds, {warm} after {WARM}");
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
            answered: 0.into(),
            refused: 0.into(),
        };
        let Torture { node, proxy, victim, random, books, clock } = self;
        thread::scope(|scope| {
            // Whatever happens in here, the devices must be told to stop, or the scope never ends.
            let _abandon = Abandon(&field);
            for book in books {
                let field = &field;
                scope.spawn(move || book.send_until_over(field));
            }
            Round { number: round, node, proxy, random, field: &field, clock }.play(*victim);
            field.over.store(true, Ordering::Relaxed);
        });
    }

    /// Acknowledged is counted once, in order, or dead once; and so are the messages that tell of it.
    fn check(&mut self) {
        // What an outsider published is behind nobody before it is taken in, so that nobody is behind says nothing yet.
        self.wait_until_even(false);
        // Twice: what is parked between the two figures of one look is in the next.
        for _ in 0..2 {
            wait_for("nobody to be behind", LATER, || self.node.lag(APP), |lag| *lag == 0);
        }
        self.call();
        self.wait_until_even(true);
    }

    /// When it is answered, what the functions did before it is durable.
    fn call(&mut self) {
        self.node.client().send("POST", &format!("/run/{APP}/"), &[], b"").expect(200);
        self.books.iter_mut().filter(|book| book.how == How::Calls).for_each(|book| book.count += 1);
    }

    fn wait_until_even(&mut self, settles: bool) {
        for at in 0..self.books.len() {
            wait_until("the accounts to come out even", LATER, || {
                self.read_letters();
                self.check_book(at, settles).map_err(|why| format!("{why}; {} are behind", self.node.lag(APP)))
            });
        }
    }

    /// Not yet even is an error; what can never be even again ends the case. `settles` when nothing more can be counted: what was
    /// stored without an answer is known then.
    fn check_book(&mut self, at: usize, settles: bool) -> Result<(), String> {
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
        let Some(stored) = book.stored(&counted) else { return Err(format!("{counted:?} was counted of {book:?}")) };
        if settles {
            book.settle(stored);
        }
        Ok(())
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
