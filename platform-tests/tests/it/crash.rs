//! The promise, with the axe: no acknowledged reading is lost, and none counts twice.
//!
//! Clients post as fast as they get answers and keep a book of what was acknowledged. The node dies again and again: at a
//! point inside append, call, commit or indexing that the seed chose, or by `kill -9` in the middle of whatever it does. In the
//! end every acknowledged reading is counted once by a function and found once in history.

use serde_json::json;
use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use tawi_platform_tests::{
    App, Client, Launch, Ledger, Node, Proxy,
    http::values_path,
    load::{Connection, request},
    operator::number,
    wait::LATER,
    wait_for, wait_until,
};

const ROUNDS: u64 = 10;
const CLIENTS: usize = 6;
/// Readings of one request: all or nothing.
const BATCH: u64 = 10;
/// All readings are of one day, so that one count of daily-average holds a client's.
const DAY: &str = "2026-01-31";
/// What has to be in flight when the axe falls.
const RATE_MIN: f64 = 1_000.0;

#[test]
fn every_acknowledged_reading_counts_once_on_the_embedded_ledger() {
    every_acknowledged_reading_counts_once(Ledger::Embedded);
}

#[test]
fn every_acknowledged_reading_counts_once_on_jetstream() {
    every_acknowledged_reading_counts_once(Ledger::Jetstream);
}

/// How a life of the node ends.
#[derive(Debug, Clone)]
enum End {
    /// At the n-th pass of a point in the code.
    Point(&'static str, u64),
    /// By `kill -9`, after this many more readings were acknowledged.
    Kill(u64),
}

/// Points that are passed often get a large n, those of a batch a small one.
fn ends(seed: u64) -> Vec<End> {
    let mut random = seed;
    let mut below = |n: u64| {
        // A linear congruential generator is random enough to choose a line of code.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    (0..ROUNDS)
        .map(|round| match round % 5 {
            0 => End::Point("append", 20 + below(200)),
            1 => End::Point("call", 20 + below(1_000)),
            2 => End::Point("commit", 5 + below(100)),
            3 => End::Point("index", 1 + below(2)),
            _ => End::Kill(500 + below(2_000)),
        })
        .collect()
}

/// What one client knows of its readings.
#[derive(Debug, Default)]
struct Book {
    acknowledged: BTreeSet<u64>,
    /// Sent, and no answer came.
    unknown: BTreeSet<u64>,
}

struct Field<'a> {
    proxy: &'a Proxy,
    token: &'a str,
    over: &'a AtomicBool,
    acknowledged: &'a AtomicU64,
}

fn device(client: usize) -> String {
    format!("client{client}")
}

/// One client's life. Those with an even number send again with the same key until they are answered; the others never repeat.
fn post_until_over(client: usize, field: &Field) -> Book {
    let mut book = Book::default();
    let mut connection = None;
    let path = values_path(&device(client), "s");
    for batch in 0.. {
        if field.over.load(Ordering::Relaxed) {
            break;
        }
        let ids = batch * BATCH..(batch + 1) * BATCH;
        let list: Vec<_> = ids.clone().map(|id| json!({"value": id, "timestamp": measured(id)})).collect();
        let key = format!("idempotency-key: {client}-{batch}\r\n");
        let mut bytes = String::from_utf8(request("POST", &path, field.token, &json!(list).to_string())).unwrap();
        let repeats = client.is_multiple_of(2);
        if repeats {
            bytes = bytes.replacen("content-type", &(key + "content-type"), 1);
        }
        loop {
            match send(&mut connection, field, bytes.as_bytes()) {
                Some(204) => {
                    book.acknowledged.extend(ids);
                    field.acknowledged.fetch_add(BATCH, Ordering::Relaxed);
                    break;
                }
                // Refused without being stored, as when the ledger has just gone.
                Some(503) => {}
                Some(status) => panic!("a reading was answered with {status}"),
                None if repeats => {}
                None => {
                    book.unknown.extend(ids);
                    break;
                }
            }
            if field.over.load(Ordering::Relaxed) {
                book.unknown.extend(batch * BATCH..(batch + 1) * BATCH);
                break;
            }
        }
    }
    book
}

/// One millisecond apart, from the beginning of the day on.
fn measured(id: u64) -> String {
    let (seconds, millis) = (id / 1000, id % 1000);
    format!("{DAY}T{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Sends on the connection there is; waits for the node before it makes a new one.
fn send(connection: &mut Option<Connection>, field: &Field, bytes: &[u8]) -> Option<u16> {
    let live = Client::new(&format!("http://{}", field.proxy.addr()), None);
    let mut open = match connection.take() {
        Some(open) => open,
        None => wait_until("the node to be back", LATER, || {
            if field.over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match live.try_send("GET", "/health/live", &[], b"") {
                Ok(reply) if reply.status == 200 => Connection::open(field.proxy.addr()).map(Some).map_err(|e| e.to_string()),
                Ok(reply) => Err(reply.text()),
                Err(e) => Err(e.to_string()),
            }
        })?,
    };
    let status = open.send(bytes).ok()?;
    *connection = Some(open);
    Some(status)
}

fn every_acknowledged_reading_counts_once(ledger: Ledger) {
    let seed = std::env::var("TAWI_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    eprintln!("TAWI_SEED={seed}");
    let mut node = Launch::on(ledger).start();
    App::prebuilt("daily-average").push(&node);
    node.stop();

    let (proxy, over, acknowledged) = (Proxy::start(), AtomicBool::new(false), AtomicU64::new(0));
    let token = node.token().to_owned();
    let books: Vec<Book> = thread::scope(|scope| {
        let field = Field { proxy: &proxy, token: &token, over: &over, acknowledged: &acknowledged };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let field = Field { ..field };
                scope.spawn(move || post_until_over(client, &field))
            })
            .collect();
        // Whatever happens in here, the clients must be told to stop, or the scope never ends.
        let lives = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live_and_die(&mut node, &proxy, &acknowledged, seed)));
        over.store(true, Ordering::Relaxed);
        let books = clients.into_iter().map(|c| c.join().unwrap()).collect();
        let (readings, time) = lives.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let rate = readings as f64 / time.as_secs_f64();
        assert!(rate >= RATE_MIN, "only {rate:.0} readings/s were in flight");
        books
    });
    for (client, book) in books.iter().enumerate() {
        check(&node, client, book);
    }
}

/// Ten lives under load; answers with the readings acknowledged in them and the time they took. The node is up at the end.
fn live_and_die(node: &mut Node, proxy: &Proxy, acknowledged: &AtomicU64, seed: u64) -> (u64, Duration) {
    let mut loaded = Duration::ZERO;
    for end in ends(seed) {
        eprintln!("{end:?}");
        if let End::Point(point, n) = &end {
            node.set_env("TAWI_FAULT", Some(&format!("{point}:{n}")));
        }
        let started = node.start_or_end();
        match started {
            Ok(()) => proxy.mend(node.authority().parse().unwrap()),
            // It came to the point with what the last life had left to do.
            Err(status) => {
                assert!(status.signal().is_some() && matches!(end, End::Point(..)), "the node ended with {status} while it started")
            }
        }
        let start = Instant::now();
        match end {
            End::Point(..) if started.is_err() => {}
            End::Point(point, _) => {
                let status = node.wait_for_end();
                assert!(!status.success(), "the node ended well at `{point}`");
            }
            End::Kill(more) => {
                let enough = acknowledged.load(Ordering::Relaxed) + more;
                wait_for("readings to be acknowledged", LATER, || acknowledged.load(Ordering::Relaxed), |n| *n >= enough);
                node.kill9();
            }
        }
        loaded += start.elapsed();
        proxy.cut();
        node.set_env("TAWI_FAULT", None);
    }
    let in_flight = acknowledged.load(Ordering::Relaxed);
    node.start_again();
    proxy.mend(node.authority().parse().unwrap());
    (in_flight, loaded)
}

/// Counted once by daily-average, found once in history.
fn check(node: &Node, client: usize, book: &Book) {
    let device = device(client);
    node.wait_until_idle("daily-average");
    let day: serde_json::Value = serde_json::from_str(&node.state("daily-average", &format!("day/{device}/s/{DAY}")).unwrap()).unwrap();
    let counted = number(&day, "count");
    node.wait_for_history(&format!("device:{device}"), counted);

    let found = values(node, &device, counted);
    let once: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(once.len(), found.len(), "{device}: some readings are in history twice");
    let lost: Vec<&u64> = book.acknowledged.difference(&once).collect();
    assert!(lost.is_empty(), "{device}: {} of {} acknowledged readings are lost: {:?}…", lost.len(), book.acknowledged.len(), lost.first());
    let invented: Vec<&u64> = once.iter().filter(|id| !book.acknowledged.contains(id) && !book.unknown.contains(id)).collect();
    assert!(invented.is_empty(), "{device}: nobody sent {invented:?}");
    // All or nothing, also for those that were never answered.
    for batch in book.unknown.iter().filter(|id| *id % BATCH == 0) {
        let stored = (*batch..batch + BATCH).filter(|id| once.contains(id)).count() as u64;
        assert!(stored == 0 || stored == BATCH, "{device}: {stored} readings of the batch at {batch}");
    }
    assert_eq!(day["sum"].as_f64().unwrap(), once.iter().sum::<u64>() as f64, "{device}: some reading was counted for another");
}

/// All values of a device in history, a page at a time.
fn values(node: &Node, device: &str, count: u64) -> Vec<u64> {
    let query = format!("device:{device}");
    let mut found = Vec::new();
    while (found.len() as u64) < count {
        let offset = found.len().to_string();
        let page = node.history_page(&query, &["--limit", "1000", "--offset", &offset]);
        assert!(!page.is_empty(), "history ends after {} of {count}", found.len());
        found.extend(page.iter().map(|hit| number(hit, "value")));
    }
    found
}
