//! What every ledger does, told once and run on each.

use super::*;
use crate::model::{Kind, Micros, Seq, id::default_tenant};

/// A place where a ledger can be opened, and opened again.
pub(super) trait Place {
    async fn open_with(&self, options: LedgerOptions) -> Ledger;
    async fn open(&self) -> Ledger {
        self.open_with(LedgerOptions::default()).await
    }
}

macro_rules! conformance {
    ($place:expr; $($story:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            $crate::ledger::tests::conformance::$story(&$place).await;
        })*
    };
}

macro_rules! all_stories {
    ($place:expr) => {
        $crate::ledger::tests::conformance::conformance! { $place;
            an_append_is_numbered_without_gaps
            records_of_calls_wake_no_function_and_are_not_handed_to_one
            an_operation_that_is_too_large_is_refused_by_size
            a_repeat_within_the_window_gets_the_first_answer
            what_is_kept_of_events_is_kept_with_them_and_not_of_a_repeat
            an_intake_position_moves_once
            a_commit_moves_everything_together
            a_commit_on_a_stale_base_changes_nothing
            who_has_lost_its_place_to_another_writes_nothing
            a_repeated_commit_is_done_once
            commits_of_an_app_are_applied_as_submitted
            a_watermark_never_goes_back
            a_parked_event_waits_until_it_is_settled
            what_waits_for_a_consumer_that_goes_is_a_dead_letter
            a_dead_letter_is_replayed_or_dropped_once
            what_could_not_be_decoded_is_a_dead_letter_until_it_is_decoded_once
            a_consumer_starts_where_it_was_registered
            trim_drops_nothing_that_a_consumer_has_before_it
            a_paused_consumer_holds_nothing_and_what_it_loses_is_known
            a_position_from_before_a_resume_takes_no_range_apart
            what_was_under_way_when_a_consumer_was_paused_does_not_count
            who_has_caught_up_is_not_paused
            a_lost_range_stays_until_somebody_takes_note
            a_range_is_remembered_for_each_pause_up_to_a_number
            the_size_of_the_log_is_known_from_any_event_on
            a_deleted_app_is_gone_and_its_calls_conflict
            a_ledger_reopened_is_the_same
            a_backup_opens_as_the_ledger
            the_state_is_paged_in_order_of_keys
            events_are_read_in_bounded_portions
            a_closed_ledger_refuses
        }
    };
}
pub(super) use {all_stories, conformance};

pub(super) use super::lag::*;

pub async fn what_is_kept_of_events_is_kept_with_them_and_not_of_a_repeat(place: &impl Place) {
    let ledger = place.open().await;
    let app = |name: &str| AppId::new(default_tenant(), Id::new(name).unwrap());
    let kept = |value: &'static str| {
        let Op::Append(mut appended) = append([1, 2]) else { unreachable!() };
        appended.dedup = Some(Dedup { key: "k".into(), now: Micros(1) });
        let write = |key: &str| vec![crate::model::Write { key: key.into(), value: Some(value.into()) }];
        Op::Kept(Kept {
            append: appended,
            writes: vec![(app("a"), write("x")), (app("b"), write("y")), (app("c"), Vec::new())],
            guard: None,
        })
    };
    let first = ledger.apply(kept("first")).await.unwrap();
    let Outcome::Applied { seqs, .. } = first else { panic!("{first:?}") };
    assert_eq!(ledger.apply(kept("second")).await.unwrap(), Outcome::Duplicate { seqs: seqs.clone() });
    // A repeat is known by its key alone, whichever way it is appended.
    let Op::Kept(Kept { append, .. }) = kept("third") else { unreachable!() };
    assert_eq!(ledger.apply(Op::Append(append)).await.unwrap(), Outcome::Duplicate { seqs });
    for (name, key) in [("a", "x"), ("b", "y")] {
        assert_eq!(ledger.state(&app(name), key).unwrap().as_deref(), Some(b"first".as_slice()));
        assert_eq!(ledger.version(&app(name)).unwrap(), 1);
    }
    assert_eq!(ledger.version(&app("c")).unwrap(), 0);
}

pub async fn an_append_is_numbered_without_gaps(place: &impl Place) {
    let ledger = place.open().await;
    let mut head = ledger.head();
    assert_eq!((*head.borrow(), ledger.first()), (0, 1));
    assert_eq!(seqs(ledger.apply(append([10, 11, 12])).await.unwrap()), [1, 2, 3]);
    assert_eq!(*head.borrow_and_update(), 3);
    assert_eq!(seqs(ledger.apply(append([13])).await.unwrap()), [4]);
    let events = ledger.events(2, 10, usize::MAX).unwrap();
    assert_eq!(events.iter().map(|e| (e.seq, number(e))).collect::<Vec<_>>(), [(2, 11), (3, 12), (4, 13)]);
    assert_eq!(ledger.event(1).unwrap().unwrap().body, reading(10));
    assert!(ledger.event(5).unwrap().is_none());
    // Many at once, from many callers: each gets numbers of its own, together they get all.
    let mut all = Vec::new();
    let waiting: Vec<_> = (0..200).map(|n| ledger.submit(append([n, n, n]))).collect();
    for pending in waiting {
        let mine = seqs(pending.await.unwrap());
        assert_eq!(mine, [mine[0], mine[0] + 1, mine[0] + 2], "one append is in one piece");
        all.extend(mine);
    }
    assert_eq!(all, (5..605).collect::<Vec<_>>());
}

pub async fn records_of_calls_wake_no_function_and_are_not_handed_to_one(place: &impl Place) {
    let of = |kind: Kind, n: u64| NewEvent { kind, ..reading(n) };
    let append = |events: Vec<NewEvent>| Op::Append(Append { tenant: id("main"), events, dedup: None, intake: None });
    let told = |from: Seq, ledger: &Ledger, max: usize| {
        let (events, through) = ledger.events_told(from, max, usize::MAX).unwrap();
        (events.iter().map(|event| event.seq).collect::<Vec<_>>(), through)
    };
    let ledger = place.open().await;
    let mut waits = ledger.told();
    ledger.apply(append(vec![reading(1), of(Kind::Run, 2), of(Kind::Message, 3), of(Kind::Log, 4)])).await.unwrap();
    assert_eq!((*waits.borrow_and_update(), *ledger.head().borrow()), (3, 4));
    ledger.apply(append((5..50).map(|n| of(Kind::Run, n)).collect())).await.unwrap();
    assert!(!waits.has_changed().unwrap(), "nobody was told of anything");
    assert_eq!(told(1, &ledger, 10), (vec![1, 3], 49), "and all of it is passed in one look");
    assert_eq!(told(1, &ledger, 1), (vec![1], 1), "but no further than what was asked for");
    assert_eq!(told(4, &ledger, 10), (vec![], 49));
    ledger.apply(append(vec![reading(50)])).await.unwrap();
    assert_eq!(*waits.borrow_and_update(), 50);
    ledger.close().await;
    // As it is read from the disk.
    let again = place.open().await;
    let (mut seen, mut from) = (Vec::new(), 1);
    while from <= 50 {
        let (events, through) = told(from, &again, 10);
        seen.extend(events);
        assert!(through >= from, "it goes on");
        from = through + 1;
    }
    assert_eq!(seen, [1, 3, 50]);
}

pub async fn an_operation_that_is_too_large_is_refused_by_size(place: &impl Place) {
    let ledger = place.open().await;
    let mut event = reading(1);
    event.value = Value::Bytes(vec![0; 8 * 1024 * 1024].into());
    let op = Op::Append(Append { tenant: id("main"), events: vec![event], dedup: None, intake: None });
    assert_eq!(ledger.apply(op).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(*ledger.head().borrow(), 0);
}

pub async fn a_repeat_within_the_window_gets_the_first_answer(place: &impl Place) {
    let ledger = place.open_with(LedgerOptions { dedup_window: Duration::from_secs(10), ..LedgerOptions::default() }).await;
    let keyed = |key: &str, second: i64| {
        let dedup = Some(Dedup { key: key.to_owned(), now: Micros(second * Micros::SECOND) });
        Op::Append(Append { tenant: id("main"), events: vec![reading(1), reading(2)], dedup, intake: None })
    };
    assert_eq!(seqs(ledger.apply(keyed("k", 100)).await.unwrap()), [1, 2]);
    assert_eq!(ledger.apply(keyed("k", 109)).await.unwrap(), Outcome::Duplicate { seqs: vec![1, 2] });
    assert_eq!(seqs(ledger.apply(keyed("other", 109)).await.unwrap()), [3, 4]);
    assert_eq!(seqs(ledger.apply(keyed("k", 110)).await.unwrap()), [5, 6], "the window is over");
    assert_eq!(ledger.apply(keyed("k", 119)).await.unwrap(), Outcome::Duplicate { seqs: vec![5, 6] });
    // Old keys are forgotten as new ones come, the ones still in their window are not.
    for n in 0..50 {
        ledger.apply(keyed(&format!("k{n}"), 119 + n)).await.unwrap();
    }
    assert_eq!(ledger.apply(keyed("k49", 177)).await.unwrap(), Outcome::Duplicate { seqs: vec![105, 106] });
    assert_eq!(seqs(ledger.apply(keyed("k0", 178)).await.unwrap()).len(), 2);
}

pub async fn an_intake_position_moves_once(place: &impl Place) {
    let ledger = place.open().await;
    let batch = |after, position, n| {
        let intake = Some(Intake { source: "main/i".to_owned(), after, position });
        Op::Append(Append { tenant: id("main"), events: vec![reading(n)], dedup: None, intake })
    };
    assert_eq!(seqs(ledger.apply(batch(0, 7, 1)).await.unwrap()), [1]);
    assert_eq!(ledger.apply(batch(0, 7, 1)).await.unwrap(), Outcome::Duplicate { seqs: vec![] });
    assert_eq!(ledger.apply(batch(0, 9, 2)).await.unwrap(), Outcome::Duplicate { seqs: vec![] }, "it overlaps");
    assert_eq!(seqs(ledger.apply(batch(7, 9, 2)).await.unwrap()), [2]);
    assert_eq!(ledger.intake("main/i").unwrap(), 9);
}

pub async fn a_commit_moves_everything_together(place: &impl Place) {
    let ledger = place.open().await;
    let f = function("a", "on");
    ledger.apply(append([1, 2, 3])).await.unwrap();
    ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
    let op = Commit {
        done: vec![Done { function: f.clone(), through: 1, above: vec![3, 3] }],
        writes: vec![put("k", "old"), put("gone", "x"), put("k", "v"), Write { key: "gone".to_owned(), value: None }],
        events: vec![message("alerts.d", 9), message("alerts.e", 8)],
        ..commit("a", Some(0))
    };
    let outcome = ledger.apply(Op::Commit(op)).await.unwrap();
    assert_eq!(outcome, Outcome::Applied { seqs: vec![4, 5], version: 1 });
    assert_eq!(ledger.version(&app("a")).unwrap(), 1);
    assert_eq!(ledger.state(&app("a"), "k").unwrap().unwrap(), "v");
    assert_eq!(ledger.state(&app("a"), "gone").unwrap(), None);
    assert_eq!(ledger.position(&f).unwrap().unwrap(), Position { through: 1, above: vec![3, 3] });
    assert_eq!(ledger.event(5).unwrap().unwrap().subject.as_str(), "alerts.e");
}

pub async fn a_commit_on_a_stale_base_changes_nothing(place: &impl Place) {
    let ledger = place.open().await;
    let write = |base, value| Op::Commit(Commit { writes: vec![put("k", value)], events: vec![reading(1)], ..commit("a", base) });
    ledger.apply(write(Some(0), "one")).await.unwrap();
    assert_eq!(ledger.apply(write(Some(0), "two")).await.unwrap(), Outcome::Conflict { version: 1 });
    assert_eq!(ledger.state(&app("a"), "k").unwrap().unwrap(), "one");
    assert_eq!(*ledger.head().borrow(), 1);
    // A commit that only reads conflicts too, one that neither reads nor writes never does, other apps never do.
    assert_eq!(ledger.apply(Op::Commit(commit("a", Some(0)))).await.unwrap(), Outcome::Conflict { version: 1 });
    let blind = Commit { events: vec![reading(2)], ..commit("a", None) };
    assert_eq!(ledger.apply(Op::Commit(blind)).await.unwrap(), Outcome::Applied { seqs: vec![2], version: 1 });
    let other = Commit { writes: vec![put("k", "b")], ..commit("b", Some(0)) };
    assert_eq!(ledger.apply(Op::Commit(other)).await.unwrap(), Outcome::Applied { seqs: vec![], version: 1 });
    assert_eq!(ledger.apply(write(Some(1), "two")).await.unwrap(), Outcome::Applied { seqs: vec![3], version: 2 });
}

pub async fn who_has_lost_its_place_to_another_writes_nothing(place: &impl Place) {
    let ledger = place.open().await;
    let take = |who: &str| Op::Commit(Commit::resting_on_nothing(app("a"), Vec::new(), vec![put("holder", who)]));
    let write = |who: &'static str, n: u64| {
        let commit = Commit::resting_on_nothing(app("a"), vec![reading(n)], vec![put("k", who)]);
        Op::Guarded(Guarded { commit, key: "holder".to_owned(), holds: Bytes::from_static(who.as_bytes()) })
    };
    assert_eq!(ledger.apply(write("one", 1)).await.unwrap(), Outcome::Conflict { version: 0 }, "nobody holds it");
    ledger.apply(take("one")).await.unwrap();
    assert_eq!(seqs(ledger.apply(write("one", 2)).await.unwrap()), [1]);
    // All at once, in this order.
    let ends =
        [ledger.submit(write("one", 3)), ledger.submit(take("other")), ledger.submit(write("one", 4)), ledger.submit(write("other", 5))];
    let mut applied = Vec::new();
    for end in ends {
        applied.push(matches!(end.await.unwrap(), Outcome::Applied { .. }));
    }
    assert_eq!(applied, [true, true, false, true]);
    let values: Vec<u64> = ledger.events(0, usize::MAX, usize::MAX).unwrap().iter().map(|event| number(event)).collect();
    assert_eq!(values, [2, 3, 5]);
    assert_eq!(ledger.state(&app("a"), "k").unwrap().unwrap(), "other");
}

pub async fn a_repeated_commit_is_done_once(place: &impl Place) {
    let ledger = place.open().await;
    let call = |base| {
        let dedup = Some(Dedup { key: "http:7".to_owned(), now: Micros(5) });
        Op::Commit(Commit { writes: vec![put("n", "1")], events: vec![reading(1)], dedup, ..commit("a", base) })
    };
    assert_eq!(ledger.apply(call(Some(0))).await.unwrap(), Outcome::Applied { seqs: vec![1], version: 1 });
    assert_eq!(ledger.apply(call(Some(1))).await.unwrap(), Outcome::Duplicate { seqs: vec![1] });
    assert_eq!(ledger.version(&app("a")).unwrap(), 1);
    // The same key of an append is another.
    let dedup = Some(Dedup { key: "http:7".to_owned(), now: Micros(5) });
    let op = Op::Append(Append { tenant: id("main"), events: vec![reading(2)], dedup, intake: None });
    assert_eq!(seqs(ledger.apply(op).await.unwrap()), [2]);
}

pub async fn commits_of_an_app_are_applied_as_submitted(place: &impl Place) {
    let ledger = place.open().await;
    let waiting: Vec<_> = (0..100u64)
        .map(|n| {
            let writes = vec![put("k", &n.to_string())];
            ledger.submit(Op::Commit(Commit { writes, events: vec![reading(n)], ..commit("a", Some(n)) }))
        })
        .collect();
    for (n, pending) in (0u64..).zip(waiting) {
        assert_eq!(pending.await.unwrap(), Outcome::Applied { seqs: vec![n + 1], version: n + 1 });
    }
    assert_eq!(ledger.state(&app("a"), "k").unwrap().unwrap(), "99");
}

pub async fn a_watermark_never_goes_back(place: &impl Place) {
    let ledger = place.open().await;
    let f = function("a", "on");
    ledger.apply(append(0..9)).await.unwrap();
    ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
    let done = |through, above| {
        let done = vec![Done { function: f.clone(), through, above }];
        Op::Commit(Commit { done, ..commit("a", None) })
    };
    ledger.apply(done(5, vec![7, 7])).await.unwrap();
    ledger.apply(done(3, vec![4, 4, 7, 7, 9, 9])).await.unwrap();
    assert_eq!(ledger.position(&f).unwrap().unwrap(), Position { through: 5, above: vec![7, 7, 9, 9] });
    ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
    assert_eq!(ledger.position(&f).unwrap().unwrap().through, 5, "registered already");
    ledger.apply(Op::Unregister { function: f.clone() }).await.unwrap();
    ledger.apply(done(6, vec![])).await.unwrap();
    assert_eq!(ledger.position(&f).unwrap(), None, "a late commit does not bring it back");
}

fn parked(f: &FunctionId, seq: Seq, attempts: u32) -> Parked {
    let due = Micros(1_000 * i64::from(attempts));
    Parked { function: f.clone(), seq, event: reading(seq), attempts, due, error: "no".to_owned(), replay: false }
}

pub async fn a_parked_event_waits_until_it_is_settled(place: &impl Place) {
    let ledger = place.open().await;
    let (f, g) = (function("a", "on"), function("a", "on2"));
    ledger.apply(append(0..5)).await.unwrap();
    for function in [&f, &g] {
        ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
    }
    let park = |park| Op::Commit(Commit { park, ..commit("a", None) });
    ledger.apply(park(vec![parked(&f, 3, 1), parked(&f, 2, 0), parked(&g, 2, 1)])).await.unwrap();
    assert_eq!(ledger.parked(&f).unwrap(), [parked(&f, 2, 0), parked(&f, 3, 1)]);
    // Tried again and failed again: the later count stays.
    ledger.apply(park(vec![parked(&f, 3, 2)])).await.unwrap();
    assert_eq!(ledger.parked(&f).unwrap(), [parked(&f, 2, 0), parked(&f, 3, 2)]);
    let settled = Commit { unpark: vec![(f.clone(), 3), (f.clone(), 2)], ..commit("a", None) };
    ledger.apply(Op::Commit(settled)).await.unwrap();
    assert_eq!(ledger.parked(&f).unwrap(), []);
    assert_eq!(ledger.parked(&g).unwrap().len(), 1);
    // Calls of one commit: one has parked it, a later one has settled it.
    let both = Commit { park: vec![parked(&f, 4, 0)], unpark: vec![(f.clone(), 4)], ..commit("a", None) };
    ledger.apply(Op::Commit(both)).await.unwrap();
    assert_eq!(ledger.parked(&f).unwrap(), []);
    ledger.apply(Op::Unregister { function: g.clone() }).await.unwrap();
    ledger.apply(park(vec![parked(&g, 4, 1)])).await.unwrap();
    assert_eq!(ledger.parked(&g).unwrap(), []);
}

pub async fn what_waits_for_a_consumer_that_goes_is_a_dead_letter(place: &impl Place) {
    let ledger = place.open().await;
    let (f, g) = (function("a", "on"), function("a", "on2"));
    ledger.apply(append(0..5)).await.unwrap();
    for function in [&f, &g] {
        ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
    }
    let park = vec![parked(&f, 2, 1), Parked { error: String::new(), ..parked(&f, 3, 0) }, parked(&g, 2, 1)];
    ledger.apply(Op::Commit(Commit { park, ..commit("a", None) })).await.unwrap();
    ledger.apply(Op::Unregister { function: f.clone() }).await.unwrap();
    assert_eq!((ledger.parked(&f).unwrap().len(), ledger.parked(&g).unwrap().len()), (0, 1), "and nobody else's");
    let letters = ledger.dead(Some(&app("a")), None, 10).unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.seq, letter.attempts, letter.error.as_str(), &letter.event)).collect();
    let gone = "its function was taken out of the app while the event waited";
    assert_eq!(told, [(2, 1, format!("{gone}; its last attempt: no").as_str(), &reading(2)), (3, 0, gone, &reading(3))]);
    // It comes back with a rollback, and so may the events.
    ledger.apply(Op::Register { function: f.clone(), start: Seq::MAX }).await.unwrap();
    ledger.apply(Op::ReplayDead { function: f.clone(), seq: 3, now: Micros(5) }).await.unwrap();
    assert_eq!(ledger.parked(&f).unwrap()[0].event, reading(3));
}

fn letter(f: &FunctionId, seq: Seq) -> DeadLetter {
    DeadLetter {
        function: f.clone(),
        seq,
        event: reading(seq),
        attempts: 5,
        error: "trap".to_owned(),
        log_tail: vec!["last words".to_owned()],
        time: Micros(9),
        release: 3,
    }
}

pub async fn a_dead_letter_is_replayed_or_dropped_once(place: &impl Place) {
    let ledger = place.open().await;
    let (f, g) = (function("a", "on"), function("b", "on"));
    for f in [&f, &g] {
        ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
        let dead = (1..=3).map(|seq| letter(f, seq)).collect();
        ledger.apply(Op::Commit(Commit { dead, ..commit(f.app.app.as_str(), None) })).await.unwrap();
    }
    assert_eq!(ledger.dead_count().unwrap(), 6);
    assert_eq!(ledger.dead(Some(&app("a")), None, 10).unwrap(), [letter(&f, 1), letter(&f, 2), letter(&f, 3)]);
    let page = ledger.dead(None, Some(&(f.clone(), 2)), 2).unwrap();
    assert_eq!(page, [letter(&f, 3), letter(&g, 1)]);
    let replay = Op::ReplayDead { function: f.clone(), seq: 2, now: Micros(77) };
    assert!(matches!(ledger.apply(replay.clone()).await.unwrap(), Outcome::Applied { .. }));
    assert_eq!(ledger.apply(replay).await.unwrap(), Outcome::Missing);
    let waiting = ledger.parked(&f).unwrap();
    assert_eq!((waiting.len(), waiting[0].seq, waiting[0].due, waiting[0].replay), (1, 2, Micros(77), true));
    assert_eq!(ledger.dead_letter(&f, 2).unwrap(), None);
    assert_eq!(ledger.dead_letter(&f, 3).unwrap(), Some(letter(&f, 3)));
    let drop = Op::DropDead { function: f.clone(), seq: 3 };
    assert!(matches!(ledger.apply(drop.clone()).await.unwrap(), Outcome::Applied { .. }));
    assert_eq!(ledger.apply(drop).await.unwrap(), Outcome::Missing);
    // Nobody is left to replay to; the letter stays to be read.
    ledger.apply(Op::Unregister { function: g.clone() }).await.unwrap();
    let replay = Op::ReplayDead { function: g.clone(), seq: 1, now: Micros(77) };
    assert_eq!(ledger.apply(replay).await.unwrap(), Outcome::Missing);
    assert_eq!(ledger.dead_letter(&g, 1).unwrap(), Some(letter(&g, 1)));
}

pub async fn what_could_not_be_decoded_is_a_dead_letter_until_it_is_decoded_once(place: &impl Place) {
    let ledger = place.open().await;
    let codec = function("elsys", "codec");
    let bytes = message("uplink.d", 1);
    let undecoded = |at: i64| {
        let dedup = Some(Dedup { key: "frame-7".into(), now: Micros(at) });
        Op::Undecoded(Undecoded {
            append: Append { tenant: id("main"), events: vec![bytes.clone(), message("log.elsys.codec", 2)], dedup, intake: None },
            function: codec.clone(),
            error: "byte 3: what is this".into(),
            log_tail: vec!["looking".into()],
            time: Micros(at),
            release: 4,
        })
    };
    assert_eq!(ledger.apply(undecoded(10)).await.unwrap(), Outcome::Applied { seqs: vec![1, 2], version: 0 });
    assert_eq!(ledger.apply(undecoded(20)).await.unwrap(), Outcome::Duplicate { seqs: vec![1, 2] }, "a retried webhook");
    let letter = ledger.dead_letter(&codec, 1).unwrap().unwrap();
    assert_eq!((letter.event, letter.attempts, letter.release), (bytes.clone(), 1, 4), "although nobody consumes anything for it");
    assert_eq!((ledger.dead_count().unwrap(), letter.error.as_str()), (1, "byte 3: what is this"));
    ledger.apply(Op::DeleteApp { app: codec.app.clone() }).await.unwrap();
    assert_eq!(ledger.dead_count().unwrap(), 1, "it is the device's, and another app may know it");
    let decoded = || Op::Decoded { function: codec.clone(), seq: 1, events: vec![reading(21), reading(60)] };
    assert_eq!(ledger.apply(decoded()).await.unwrap(), Outcome::Applied { seqs: vec![3, 4], version: 0 });
    assert_eq!(ledger.apply(decoded()).await.unwrap(), Outcome::Missing);
    assert_eq!((*ledger.head().borrow(), ledger.dead_count().unwrap()), (4, 0));
    // The frame comes a third time, after it was decoded.
    assert_eq!(ledger.apply(undecoded(30)).await.unwrap(), Outcome::Duplicate { seqs: vec![1, 2] });
    assert_eq!(ledger.dead_count().unwrap(), 0);
    ledger.close().await;
    assert_eq!(*place.open().await.head().borrow(), 4, "and so it is after a restart");
}

pub async fn a_consumer_starts_where_it_was_registered(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..5)).await.unwrap();
    for (name, start, through) in [("begin", 0, 0), ("middle", 3, 3), ("head", Seq::MAX, 5)] {
        ledger.apply(Op::Register { function: function("a", name), start }).await.unwrap();
        let position = ledger.position(&function("a", name)).unwrap();
        assert_eq!(position, Some(Position { through, above: vec![] }), "{name}");
    }
    let names: Vec<_> = ledger.functions().unwrap().into_iter().map(|(f, _)| f.function.to_string()).collect();
    assert_eq!(names, ["begin", "head", "middle"]);
}

pub async fn trim_drops_nothing_that_a_consumer_has_before_it(place: &impl Place) {
    let ledger = place.open().await;
    let f = function("a", "on");
    ledger.apply(append(0..10)).await.unwrap();
    ledger.apply(Op::Register { function: f.clone(), start: 4 }).await.unwrap();
    ledger.apply(Op::Commit(Commit { park: vec![parked(&f, 2, 1)], ..commit("a", None) })).await.unwrap();
    assert_eq!(ledger.trim(100).await.unwrap(), 5);
    assert_eq!(ledger.events(0, 100, usize::MAX).unwrap()[0].seq, 5);
    assert_eq!(ledger.event(4).unwrap(), None);
    assert_eq!(ledger.parked(&f).unwrap()[0].event, reading(2), "what is parked has a copy of its own");
    assert_eq!(ledger.trim(3).await.unwrap(), 5, "never back");
    ledger.apply(Op::Unregister { function: f }).await.unwrap();
    assert_eq!(ledger.trim(7).await.unwrap(), 7);
    // An empty log goes on counting.
    assert_eq!(ledger.trim(Seq::MAX).await.unwrap(), 11);
    assert_eq!(ledger.events(0, 100, usize::MAX).unwrap(), []);
    drop(ledger);
    let ledger = place.open().await;
    assert_eq!((ledger.first(), *ledger.head().borrow()), (11, 10));
    assert_eq!(seqs(ledger.apply(append([1])).await.unwrap()), [11]);
}

pub async fn a_deleted_app_is_gone_and_its_calls_conflict(place: &impl Place) {
    let ledger = place.open().await;
    for name in ["a", "ab"] {
        let f = function(name, "on");
        ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
        let op = Commit {
            writes: vec![put("k", "v"), put("l", "v")],
            park: vec![parked(&f, 1, 1)],
            dead: vec![letter(&f, 2)],
            ..commit(name, Some(0))
        };
        ledger.apply(Op::Commit(op)).await.unwrap();
    }
    ledger.apply(Op::DeleteApp { app: app("a") }).await.unwrap();
    let f = function("a", "on");
    assert_eq!(ledger.state_entries(&app("a"), "", None, 10).unwrap(), []);
    assert_eq!((ledger.position(&f).unwrap(), ledger.parked(&f).unwrap(), ledger.dead_letter(&f, 2).unwrap()), (None, vec![], None));
    let late = Commit { writes: vec![put("k", "v")], ..commit("a", Some(1)) };
    assert_eq!(ledger.apply(Op::Commit(late)).await.unwrap(), Outcome::Conflict { version: 2 });
    let g = function("ab", "on");
    assert_eq!(ledger.state_entries(&app("ab"), "", None, 10).unwrap().len(), 2, "its neighbour by name stays");
    assert_eq!((ledger.parked(&g).unwrap().len(), ledger.dead_count().unwrap()), (1, 1));
}

/// A bit of everything.
async fn fill(ledger: &Ledger) {
    let f = function("a", "on");
    ledger.apply(append(0..20)).await.unwrap();
    ledger.apply(Op::Register { function: f.clone(), start: 2 }).await.unwrap();
    for n in 0..5 {
        let op = Commit {
            done: vec![Done { function: f.clone(), through: 3 + n, above: vec![9 + n, 9 + n] }],
            writes: vec![put(&format!("k{n}"), "v")],
            events: vec![message("alerts.x", n)],
            park: vec![parked(&f, n, 1)],
            dead: vec![letter(&f, n)],
            ..commit("a", Some(n))
        };
        ledger.apply(Op::Commit(op)).await.unwrap();
    }
    ledger.trim(3).await.unwrap();
    let g = function("b", "on");
    ledger.apply(Op::Register { function: g.clone(), start: 2 }).await.unwrap();
    ledger.apply(Op::Pause { function: g, behind: 20, now: Micros(7), said: vec![] }).await.unwrap();
    ledger.trim(5).await.unwrap();
}

pub async fn a_ledger_reopened_is_the_same(place: &impl Place) {
    let ledger = place.open().await;
    fill(&ledger).await;
    let before = picture(&ledger);
    ledger.close().await;
    let ledger = place.open().await;
    assert_eq!(picture(&ledger), before, "after close");
    // Dropped with work in the queue: what was answered is there, and the file is free.
    let pending = ledger.submit(append([1]));
    drop(ledger);
    let answered = pending.await;
    let ledger = place.open().await;
    match answered {
        Ok(outcome) => assert_eq!(seqs(outcome), [26]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unknown),
    }
    assert!(*ledger.head().borrow() >= 25);
    let next = seqs(ledger.apply(append([1])).await.unwrap());
    assert_eq!(next, [*ledger.head().borrow()]);
}

pub async fn a_backup_opens_as_the_ledger(place: &impl Place) {
    let ledger = place.open().await;
    fill(&ledger).await;
    let before = picture(&ledger);
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(Ledger::FILE);
    ledger.backup(&copy).unwrap();
    assert!(ledger.backup(&copy).is_err(), "a backup is never overwritten");
    ledger.apply(append([99])).await.unwrap();
    let config = LedgerConfig::Embedded { dir: dir.path().to_owned(), options: LedgerOptions::default() };
    let copy = Ledger::open(&config).await.unwrap();
    assert_eq!(picture(&copy), before);
    assert_eq!(seqs(copy.apply(append([1])).await.unwrap()), [26]);
}

pub async fn the_state_is_paged_in_order_of_keys(place: &impl Place) {
    let ledger = place.open().await;
    let keys = ["", "a", "a/1", "a/10", "a/2", "b", "é"];
    let writes = keys.iter().rev().map(|key| put(key, key)).collect();
    ledger.apply(Op::Commit(Commit { writes, ..commit("a", None) })).await.unwrap();
    ledger.apply(Op::Commit(Commit { writes: vec![put("a/3", "")], ..commit("a2", None) })).await.unwrap();
    let page = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let found = ledger.state_entries(&app("a"), prefix, after, limit).unwrap();
        assert!(found.iter().all(|(key, value)| key == value));
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(page("", None, 100), keys);
    assert_eq!(page("a/", None, 2), ["a/1", "a/10"]);
    assert_eq!(page("a/", Some("a/10"), 2), ["a/2"]);
    assert_eq!(page("a/", Some(""), 1), ["a/1"], "an earlier `after` leaves nothing out");
    assert_eq!(page("a/", Some("b"), 9), Vec::<String>::new());
    assert_eq!(page("", Some("b"), 9), ["é"]);
}

pub async fn events_are_read_in_bounded_portions(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..300)).await.unwrap();
    ledger.close().await;
    let ledger = place.open().await;
    // From the view, then across into the tail that holds only what came since.
    ledger.apply(append(300..600)).await.unwrap();
    let mut from = 0;
    let mut found = Vec::new();
    loop {
        let page = ledger.events(from, 7, usize::MAX).unwrap();
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        found.extend(page.iter().map(|e| number(e)));
    }
    assert_eq!(found, (0..600).collect::<Vec<_>>());
    for from in [1, 400] {
        assert_eq!(ledger.events(from, 9, 1).unwrap().len(), 1, "one is given however large it is");
        assert_eq!(ledger.events(from, 9, 500).unwrap().len(), 2);
    }
}

pub async fn a_closed_ledger_refuses(place: &impl Place) {
    let ledger = place.open().await;
    let clone = ledger.clone();
    let before = clone.submit(append([1]));
    ledger.close().await;
    assert_eq!(seqs(before.await.unwrap()), [1], "what was submitted before is finished");
    assert_eq!(clone.apply(append([1])).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.submit(append([1])).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.version(&app("a")).unwrap_err().kind(), ErrorKind::Closed);
    clone.close().await;
}
