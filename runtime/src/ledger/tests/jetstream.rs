//! The ledger in a real nats-server: the suite, and servers killed, connections cut, nodes beside each other.

use super::{
    conformance::Place,
    nats::{Proxy, Server},
    sim::Dice,
    *,
};
use futures::StreamExt;
use std::collections::{HashMap, HashSet};

struct Node {
    dir: tempfile::TempDir,
    server: Server,
    jetstream: JetstreamOptions,
}

fn place() -> Node {
    Node { dir: tempfile::tempdir().unwrap(), server: Server::start(), jetstream: bare() }
}

/// With the doors for outsiders open.
fn place_with_doors() -> Node {
    Node { jetstream: JetstreamOptions::default(), ..place() }
}

/// Without doors for outsiders: most tests have none.
fn bare() -> JetstreamOptions {
    JetstreamOptions { intake: false, relay: false, ..JetstreamOptions::default() }
}

async fn open_at(dir: &Path, url: &str, options: LedgerOptions, jetstream: JetstreamOptions) -> Result<Ledger, LedgerError> {
    Ledger::open(&LedgerConfig::Jetstream { dir: dir.to_owned(), url: url.to_owned(), options, jetstream }).await
}

async fn open(dir: &tempfile::TempDir, url: &str) -> Ledger {
    open_at(dir.path(), url, LedgerOptions::default(), bare()).await.unwrap()
}

impl Place for Node {
    async fn open_with(&self, options: LedgerOptions) -> Ledger {
        open_at(self.dir.path(), &self.server.url(), options, self.jetstream.clone()).await.unwrap()
    }
}

super::conformance::all_stories! { place() }

fn events_of(ledger: &Ledger) -> Vec<u64> {
    ledger.events(0, usize::MAX, usize::MAX).unwrap().iter().map(|e| number(e)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_lost_makes_the_same_view_again() {
    let place = place();
    let ledger = place.open().await;
    let f = function("a", "on");
    ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
    for n in 0..30 {
        let dedup = Some(Dedup { key: format!("k{}", n % 20), now: Micros(n as i64) });
        ledger.apply(Op::Append(Append { tenant: id("main"), events: vec![reading(n)], dedup, intake: None })).await.unwrap();
        let done = vec![Done { function: f.clone(), through: n, above: vec![] }];
        let op = Commit { done, writes: vec![put(&format!("k{}", n % 7), &n.to_string())], ..commit("a", None) };
        ledger.apply(Op::Commit(op)).await.unwrap();
    }
    ledger.trim(10).await.unwrap();
    let before = picture(&ledger);
    ledger.close().await;
    let elsewhere = tempfile::tempdir().unwrap();
    // Under another window: what was decided then stays decided.
    let options = LedgerOptions { dedup_window: Duration::from_micros(1), ..LedgerOptions::default() };
    let ledger = open_at(elsewhere.path(), &place.server.url(), options, bare()).await.unwrap();
    assert_eq!(picture(&ledger), before);
    assert_eq!(seqs(ledger.apply(append([99])).await.unwrap()), [21]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_is_refused_until_it_has_caught_up() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(&first_dir, &server.url()).await;
    let second = open(&second_dir, &proxy.url()).await;
    let write = |value: &str, base| Op::Commit(Commit { writes: vec![put("k", value)], events: vec![reading(1)], ..commit("a", base) });
    // The second hears nothing of the first's commit: nothing but the fence can know.
    proxy.hold_down(true);
    assert_eq!(first.apply(write("first", Some(0))).await.unwrap(), Outcome::Applied { seqs: vec![1], version: 1 });
    let late = second.submit(write("second", Some(0)));
    let other = second.submit(Op::Commit(Commit { writes: vec![put("k", "b")], ..commit("b", Some(0)) }));
    let registered = second.submit(Op::Register { function: function("a", "on"), start: 0 });
    proxy.hold_down(false);
    assert_eq!(late.await.unwrap(), Outcome::Conflict { version: 1 });
    assert!(matches!(other.await.unwrap(), Outcome::Applied { version: 1, .. }), "another app is none of the fence's business");
    assert!(matches!(registered.await.unwrap(), Outcome::Applied { .. }), "it conflicts with nothing and is done in the end");
    assert_eq!(second.state(&app("a"), "k").unwrap().unwrap(), "first", "it has caught up");
    assert_eq!(second.apply(write("second", Some(1))).await.unwrap(), Outcome::Applied { seqs: vec![2], version: 2 });
    // Both see the same, in the same order.
    first.head().wait_for(|head| *head == 2).await.unwrap();
    while first.position(&function("a", "on")).unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(picture(&first), picture(&second));
}

/// As sessions of MQTT do: many clients on each node, none of which has to do with any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rests_on_nothing_is_applied_however_much_other_nodes_write_for_the_same_app() {
    const EACH: u64 = 300;
    let server = Server::start();
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nodes = [open(&first_dir, &server.url()).await, open(&second_dir, &server.url()).await];
    let writers = nodes.iter().zip(["a", "b"]).map(|(node, name)| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let (writes, events) = (vec![put(&format!("{name}{n}"), "x")], vec![reading(n)]);
                let written = node.apply(Op::Commit(Commit::resting_on_nothing(app("sessions"), events, writes))).await;
                assert!(matches!(written, Ok(Outcome::Applied { .. })), "{name}{n}: {written:?}");
                if n % 50 == 0 {
                    // Among them one that rests on what was read: it may conflict, and then nothing of it is there.
                    let base = node.version(&app("sessions")).unwrap();
                    let checked =
                        Commit { writes: vec![put(&format!("checked {name}"), &n.to_string())], ..commit("sessions", Some(base)) };
                    node.apply(Op::Commit(checked)).await.unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for node in &nodes {
        node.head().wait_for(|head| *head == 2 * EACH).await.unwrap();
        let stored = node.state_entries(&app("sessions"), "", None, usize::MAX).unwrap();
        assert_eq!(stored.iter().filter(|(_, value)| value == "x").count() as u64, 2 * EACH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_only_small_messages_is_refused_with_what_to_do() {
    let server = Server::start_with("1MB");
    let dir = tempfile::tempdir().unwrap();
    let refused = open_at(dir.path(), &server.url(), LedgerOptions::default(), bare()).await.err().unwrap().to_string();
    assert!(refused.contains("max_payload: 8MB") && refused.contains("1048576 bytes"), "{refused}");
}

/// Submits each number until it is answered with Ok; gives up never.
async fn insist(ledger: Ledger, numbers: std::ops::Range<u64>) -> Vec<(u64, Seq)> {
    let mut answers = Vec::new();
    for n in numbers {
        loop {
            match ledger.apply(append([n])).await {
                Ok(outcome) => break answers.push((n, seqs(outcome)[0])),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }
    answers
}

/// Counts in an app's state, one commit after the other, each on the version before.
async fn count(ledger: Ledger, times: u64) {
    for n in 0..times {
        loop {
            let base = match ledger.version(&app("count")) {
                Ok(version) => version,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(base, n, "what was answered Unavailable or Conflict was not done");
            let op =
                Commit { writes: vec![put("n", &(n + 1).to_string())], events: vec![message("count", n)], ..commit("count", Some(base)) };
            match ledger.apply(Op::Commit(op)).await {
                Ok(Outcome::Applied { version, .. }) => break assert_eq!(version, n + 1),
                Ok(Outcome::Conflict { .. }) => {}
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }
}

/// Four who append and one who counts, while `trouble` goes on; then each is there once.
async fn all_once_in_spite_of(ledger: &Ledger, each: u64, trouble: impl Future<Output = ()>) {
    let appenders: Vec<_> = (0..4).map(|k| tokio::spawn(insist(ledger.clone(), 1_000_000 * (k + 1)..1_000_000 * (k + 1) + each))).collect();
    let counter = tokio::spawn(count(ledger.clone(), each));
    trouble.await;
    let mut answers: HashMap<u64, Seq> = HashMap::new();
    for appender in appenders {
        answers.extend(appender.await.unwrap());
    }
    counter.await.unwrap();
    let events = ledger.events(0, usize::MAX, usize::MAX).unwrap();
    let appended: Vec<(u64, Seq)> = events.iter().map(|e| (number(e), e.seq)).filter(|(n, _)| *n >= 1_000_000).collect();
    assert_eq!(appended.len(), answers.len(), "each once");
    assert!(appended.iter().all(|(n, seq)| answers.get(n) == Some(seq)));
    let counted: Vec<u64> = events.iter().map(|e| number(e)).filter(|n| *n < 1_000_000).collect();
    assert_eq!(counted, (0..each).collect::<Vec<_>>(), "in order, each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_doubles_nothing() {
    let mut place = place_with_doors();
    let ledger = place.open_with(LedgerOptions::default()).await;
    let mut head = ledger.head();
    let mut dice = Dice::new(1);
    let server = &mut place.server;
    let trouble = async {
        for _ in 0..6 {
            let until = *head.borrow_and_update() + 20 + dice.below(80);
            head.wait_for(|head| *head >= until).await.unwrap();
            server.restart();
        }
    };
    all_once_in_spite_of(&ledger, 200, trouble).await;
    let before = picture(&ledger);
    drop(ledger);
    assert_eq!(picture(&place.open().await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_nothing_and_doubles_nothing() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir, &proxy.url()).await;
    let mut head = ledger.head();
    let mut dice = Dice::new(2);
    let trouble = async {
        for n in 0..12 {
            let until = *head.borrow_and_update() + 10 + dice.below(40);
            head.wait_for(|head| *head >= until).await.unwrap();
            match n % 3 {
                0 => proxy.cut(),
                // Answers are lost on the way: it is in the stream and nobody knows.
                1 => {
                    proxy.hold_down(true);
                    tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
                    proxy.cut();
                    proxy.hold_down(false);
                }
                // What was sent comes late, on a connection that the client has given up.
                _ => {
                    proxy.hold_up(true);
                    tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
                    proxy.cut();
                    tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
                    proxy.hold_up(false);
                }
            }
        }
    };
    all_once_in_spite_of(&ledger, 150, trouble).await;
    let before = picture(&ledger);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(picture(&open(&elsewhere, &server.url()).await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_published_again_and_then_comes_late_is_applied_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir, &proxy.url()).await;
    let stream = stream_of(&server, "TAWI_main").await;
    for round in 0..5 {
        proxy.hold_up(true);
        let waiting = ledger.submit(append([round]));
        let op = Commit { writes: vec![put("k", &round.to_string())], events: vec![reading(100 + round)], ..commit("a", Some(round)) };
        let counted = ledger.submit(Op::Commit(op));
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.cut();
        // The node has another connection by now, and knows that nothing of it had come through.
        assert_eq!(seqs(waiting.await.unwrap()).len(), 1);
        assert!(matches!(counted.await.unwrap(), Outcome::Applied { version, .. } if version == round + 1));
        let before = stream.get_info().await.unwrap().state.last_sequence;
        proxy.hold_up(false);
        // The append comes late and is stored; the commit is refused by the server.
        while stream.get_info().await.unwrap().state.last_sequence < before + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ledger.apply(append([9])).await.unwrap();
    let mut found = events_of(&ledger);
    found.sort_unstable();
    assert_eq!(found, [0, 1, 2, 3, 4, 9, 100, 101, 102, 103, 104]);
    assert_eq!(ledger.version(&app("a")).unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_to_outsiders_and_comes_late_is_told_once() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let jetstream = JetstreamOptions { intake: false, ..JetstreamOptions::default() };
    let ledger = open_at(dir.path(), &proxy.url(), LedgerOptions::default(), jetstream).await.unwrap();
    // Another node's operations, so that the relay has something to tell while its connection is held up.
    let other_dir = tempfile::tempdir().unwrap();
    let other = open(&other_dir, &server.url()).await;
    let out = stream_of(&server, "TAWI_OUT_main").await;
    let told = async || out.get_info().await.unwrap().state.messages;
    for round in 1..=3 {
        proxy.hold_up(true);
        other.apply(append(0..10)).await.unwrap();
        ledger.head().wait_for(|head| *head == round * 10).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.cut();
        while told().await < round * 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Longer than the server recognises a repeated id.
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.hold_up(false);
    }
    other.apply(append([7])).await.unwrap();
    while told().await < 31 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let messages = out.create_consumer(config).await.unwrap().messages().await.unwrap();
    let told: Vec<Seq> = messages.take(31).map(|m| sequence_of(&m.unwrap())).collect().await;
    assert_eq!(told, (1..=31).collect::<Vec<_>>());
}

fn sequence_of(message: &async_nats::jetstream::Message) -> Seq {
    message.headers.as_ref().unwrap().get("Tawi-Sequence").unwrap().as_str().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_had_sent_is_passed_over_once_it_is_back() {
    let server = Server::start();
    let proxy = Proxy::start(server.address()).await;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir, &proxy.url()).await;
    ledger.apply(append([1])).await.unwrap();
    proxy.hold_up(true);
    let waiting = ledger.submit(append([2]));
    let counted = ledger.submit(Op::Commit(Commit { writes: vec![put("k", "late")], ..commit("a", None) }));
    // Long enough for both to reach the proxy, where they stay when the node dies.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(ledger);
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Unknown);
    assert_eq!(counted.await.unwrap_err().kind(), ErrorKind::Unknown);
    let ledger = open(&dir, &server.url()).await;
    let stream = stream_of(&server, "TAWI_main").await;
    let before = stream.get_info().await.unwrap().state.last_sequence;
    proxy.hold_up(false);
    while stream.get_info().await.unwrap().state.last_sequence < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(seqs(ledger.apply(append([3])).await.unwrap()), [2]);
    assert_eq!(events_of(&ledger), [1, 3]);
    assert_eq!(ledger.state(&app("a"), "k").unwrap(), None);
    // The late commit has moved the fence, so the next is told to look again, and then goes through.
    let op = Op::Commit(Commit { writes: vec![put("k", "new")], ..commit("a", Some(0)) });
    assert_eq!(ledger.apply(op.clone()).await.unwrap(), Outcome::Applied { seqs: vec![], version: 1 });
}

async fn stream_of(server: &Server, name: &str) -> async_nats::jetstream::stream::Stream {
    let client = async_nats::connect(server.url()).await.unwrap();
    async_nats::jetstream::new(client).get_stream(name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_server_away_an_append_is_refused_soon_and_reads_go_on() {
    let mut place = place();
    let ledger = place.open().await;
    ledger.apply(append([1])).await.unwrap();
    place.server.kill();
    let started = std::time::Instant::now();
    // What is on its way when the server dies is answered when it is known what became of it; what comes later, at once.
    let mut undecided = Vec::new();
    let error = loop {
        let n = 2 + undecided.len() as u64;
        let mut pending = ledger.submit(append([n]));
        match tokio::time::timeout(Duration::from_secs(3), &mut pending).await {
            Ok(Err(error)) => break error,
            Ok(Ok(_)) => panic!("there is nobody to keep it"),
            Err(_) => undecided.push((n, pending)),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let again = std::time::Instant::now();
    assert_eq!(ledger.apply(append([100])).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(again.elapsed() < Duration::from_millis(500), "known to be away");
    assert_eq!(events_of(&ledger), [1]);
    place.server.restart();
    let mut expected = vec![1];
    for (n, pending) in undecided {
        expected.extend(pending.await.is_ok().then_some(n));
    }
    insist(ledger.clone(), 101..102).await;
    expected.push(101);
    // What nobody had an answer for may have changed places: one got lost with the server and was sent again behind another.
    let mut found = events_of(&ledger);
    assert_eq!(found.last(), Some(&101));
    found.sort_unstable();
    assert_eq!(found, expected);
    place.server.kill();
    let elsewhere = tempfile::tempdir().unwrap();
    let error = open_at(elsewhere.path(), &place.server.url(), LedgerOptions::default(), bare()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_app_whose_last_message_was_dropped_goes_on() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let jetstream = JetstreamOptions { operations_bytes_max: 64 * 1024, ..bare() };
    let ledger = open_at(dir.path(), &server.url(), LedgerOptions::default(), jetstream.clone()).await.unwrap();
    let write = |base| Op::Commit(Commit { writes: vec![put("k", "v")], ..commit("idle", Some(base)) });
    ledger.apply(write(0)).await.unwrap();
    for n in 0..200 {
        ledger.apply(append(n * 10..n * 10 + 10)).await.unwrap();
    }
    assert!(stream_of(&server, "TAWI_main").await.cached_info().state.first_sequence > 2, "its message is gone");
    assert_eq!(ledger.apply(write(1)).await.unwrap(), Outcome::Applied { seqs: vec![], version: 2 });
    // The view has it all; a node that starts with nothing is told why it can't.
    drop(ledger);
    let ledger = open_at(dir.path(), &server.url(), LedgerOptions::default(), jetstream.clone()).await.unwrap();
    assert_eq!((*ledger.head().borrow(), ledger.version(&app("idle")).unwrap()), (2000, 2));
    let elsewhere = tempfile::tempdir().unwrap();
    let error = open_at(elsewhere.path(), &server.url(), LedgerOptions::default(), jetstream).await.err().unwrap();
    assert!(error.to_string().contains("from message `1` on"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outsiders_publish_comes_in_once() {
    let mut place = place_with_doors();
    let mut ledger = place.open().await;
    let client = async_nats::connect(place.server.url()).await.unwrap();
    let outside = async_nats::jetstream::new(client);
    let mut published = HashSet::new();
    for round in 0..4u64 {
        for n in round * 50..round * 50 + 50 {
            let subject = format!("tawi.v1.main.reading.d{}.s", n % 3);
            let message = async_nats::jetstream::message::PublishMessage::build()
                .payload(format!(r#"{{"value":{n}}}"#).into())
                .message_id(format!("m{n}"));
            // Whoever gets no acknowledgement publishes again, under the same id.
            let mut tries = 0;
            while let Err(error) = async { outside.send_publish(subject.clone(), message.clone()).await?.await }.await {
                tries += 1;
                assert!(tries < 100, "{error}");
            }
            published.insert(n);
        }
        match round {
            0 => {
                drop(ledger);
                ledger = place.open().await;
            }
            1 => place.server.restart(),
            _ => {}
        }
    }
    outside.publish("tawi.v1.main.event.orders.new", "[7]".into()).await.unwrap().await.unwrap();
    outside.publish("tawi.v1.main.reading.d0.s", r#"{"value":1,"timestamp":"soon"}"#.into()).await.unwrap().await.unwrap();
    let mut head = ledger.head();
    tokio::time::timeout(Duration::from_secs(30), head.wait_for(|head| *head >= 202)).await.unwrap().unwrap();
    let events = ledger.events(0, usize::MAX, usize::MAX).unwrap();
    let readings: Vec<u64> = events.iter().filter(|e| e.kind == crate::model::Kind::Reading).map(|e| number(e)).collect();
    assert_eq!(readings, (0..200).collect::<Vec<_>>());
    assert_eq!(readings.len(), published.len());
    assert_eq!((events[200].subject.as_str(), events[200].value.clone()), ("orders.new", Value::json("[7]").unwrap()));
    // What can't be a reading is not thrown away.
    let refused = &events[201];
    assert_eq!((refused.kind, refused.subject.as_str()), (crate::model::Kind::Log, "log.tawi.intake"));
    assert!(format!("{:?}", refused.value).contains("is not a time"), "{refused:?}");
    assert_eq!(refused.raw.as_deref(), Some(&Value::Bytes(r#"{"value":1,"timestamp":"soon"}"#.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_are_told_of_everything_in_order_and_once() {
    let mut place = place_with_doors();
    let mut ledger = place.open().await;
    let mut expected = Vec::new();
    for round in 0..5u64 {
        for n in round * 20..round * 20 + 20 {
            let op = Commit { events: vec![reading(n), message("alerts.d", n)], ..commit("a", None) };
            let appended = loop {
                if let Ok(Outcome::Applied { seqs, .. }) = ledger.apply(Op::Commit(Commit { ..op.clone() })).await {
                    break seqs;
                }
            };
            expected.extend(appended);
        }
        match round {
            0 => place.server.restart(),
            1 => {
                ledger.close().await;
                ledger = place.open().await;
            }
            2 => {
                drop(ledger);
                ledger = place.open().await;
            }
            _ => {}
        }
    }
    let stream = loop {
        let stream = stream_of(&place.server, "TAWI_OUT_main").await;
        if stream.cached_info().state.messages >= expected.len() as u64 {
            break stream;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages: Vec<_> = consumer.messages().await.unwrap().take(expected.len()).map(|m| m.unwrap()).collect().await;
    let told: Vec<Seq> = messages.iter().map(sequence_of).collect();
    assert_eq!(told, expected);
    assert_eq!(stream.get_info().await.unwrap().state.messages, expected.len() as u64);
    let first = &messages[0];
    assert!(first.subject.starts_with("tawi.v1.main.") && first.subject.ends_with(".reading.d.s"), "{}", first.subject);
    assert_eq!(first.payload, r#"{"value":0,"timestamp":"2023-11-14T22:13:20Z"}"#);
    assert!(messages[1].subject.ends_with(".event.alerts.d"));
    assert_eq!(messages[1].payload, "0");
}
