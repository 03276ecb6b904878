//! Consumers that are too far behind, on every ledger.

use super::{conformance::Place, *};

async fn registered(ledger: &Ledger, name: &str) -> FunctionId {
    let f = function(name, "on");
    ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.unwrap();
    f
}

async fn done(ledger: &Ledger, f: &FunctionId, base: Version, through: Seq, above: &[Seq]) -> Outcome {
    let done = vec![Done { function: f.clone(), through, above: above.to_vec() }];
    ledger.apply(Op::Commit(Commit { done, ..commit(f.app.app.as_str(), Some(base)) })).await.unwrap()
}

fn pause(f: &FunctionId, behind: Seq, now: i64) -> Op {
    let log = message("log.a.on", 0);
    Op::Pause { function: f.clone(), behind, now: Micros(now), said: vec![log] }
}

fn resume(f: &FunctionId) -> Op {
    Op::Resume { function: f.clone(), said: vec![message("log.a.on", 1)] }
}

fn size(ledger: &Ledger, from: Seq, end: Seq) -> u64 {
    ledger.log_bytes(from, end).unwrap()
}

pub async fn a_paused_consumer_holds_nothing_and_what_it_loses_is_known(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..20)).await.unwrap();
    let (slow, quick) = (registered(&ledger, "slow").await, registered(&ledger, "quick").await);
    done(&ledger, &slow, 0, 3, &[5, 6, 11, 11]).await;
    done(&ledger, &quick, 0, 20, &[]).await;
    assert_eq!(ledger.trim(100).await.unwrap(), 4, "the slow one holds the rest");
    let lost = size(&ledger, 4, 5) + size(&ledger, 7, 11) + size(&ledger, 12, 13);
    assert_eq!(seqs(ledger.apply(pause(&slow, 18, 77)).await.unwrap()), [21], "and the log says so");
    assert_eq!(ledger.pause(&slow).unwrap(), Some(Paused { since: Micros(77), through: 3 }));
    assert_eq!((ledger.pause(&quick).unwrap(), ledger.paused().unwrap().len()), (None, 1));
    assert_eq!(ledger.trim(13).await.unwrap(), 13);
    let time = reading(0).received;
    let range = Lost { from: 4, to: 12, events: 6, bytes: lost, received_from: time, received_to: time, paused: Micros(77) };
    assert_eq!(ledger.lost(None).unwrap(), [(slow.clone(), range)]);
    // Step by step it loses more, which is one range still.
    ledger.trim(15).await.unwrap();
    let lost = lost + size(&ledger, 15, 16) * 2;
    assert_eq!(ledger.lost(Some(&slow.app)).unwrap(), [(slow.clone(), Lost { to: 14, events: 8, bytes: lost, ..range })]);
    assert_eq!(ledger.lost(Some(&quick.app)).unwrap(), []);
    drop(ledger);
    let ledger = place.open().await;
    assert!(ledger.pause(&slow).unwrap().is_some(), "a restart changes nothing");
    assert_eq!(seqs(ledger.apply(resume(&slow)).await.unwrap()), [22]);
    assert_eq!(ledger.position(&slow).unwrap().unwrap(), Position { through: 14, above: vec![] });
    assert_eq!((ledger.pause(&slow).unwrap(), ledger.lost(None).unwrap().len()), (None, 1));
    assert_eq!(ledger.trim(100).await.unwrap(), 15, "it holds the log again");
    assert_eq!(ledger.apply(resume(&slow)).await.unwrap(), Outcome::Missing);
}

pub async fn what_was_under_way_when_a_consumer_was_paused_does_not_count(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..9)).await.unwrap();
    let f = registered(&ledger, "a").await;
    assert!(matches!(done(&ledger, &f, 0, 1, &[]).await, Outcome::Applied { version: 1, .. }));
    ledger.apply(pause(&f, 9, 5)).await.unwrap();
    ledger.trim(5).await.unwrap();
    assert_eq!(done(&ledger, &f, 1, 4, &[]).await, Outcome::Conflict { version: 2 }, "it is lost: it must not be done as well");
    assert_eq!(ledger.lost(None).unwrap()[0].1.events, 3);
    assert!(matches!(ledger.apply(resume(&f)).await.unwrap(), Outcome::Applied { version: 3, .. }));
    assert_eq!(done(&ledger, &f, 2, 6, &[]).await, Outcome::Conflict { version: 3 }, "nor what was under way when it was resumed");
}

pub async fn a_position_from_before_a_resume_takes_no_range_apart(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..20)).await.unwrap();
    let f = registered(&ledger, "a").await;
    done(&ledger, &f, 0, 6, &[]).await;
    // It says less than is known: one range is past, one reaches over what is stored, one is ahead.
    done(&ledger, &f, 1, 2, &[4, 5, 7, 9, 12, 14]).await;
    assert_eq!(ledger.position(&f).unwrap().unwrap(), Position { through: 9, above: vec![12, 14] });
    done(&ledger, &f, 2, 2, &[4, 13, 16, 18]).await;
    assert_eq!(ledger.position(&f).unwrap().unwrap(), Position { through: 13, above: vec![16, 18] });
}

pub async fn who_has_caught_up_is_not_paused(place: &impl Place) {
    let ledger = place.open().await;
    ledger.apply(append(0..9)).await.unwrap();
    let f = registered(&ledger, "a").await;
    done(&ledger, &f, 0, 6, &[]).await;
    assert_eq!(ledger.apply(pause(&f, 7, 5)).await.unwrap(), Outcome::Missing, "it has come so far meanwhile");
    assert_eq!(ledger.apply(pause(&function("b", "on"), 7, 5)).await.unwrap(), Outcome::Missing, "nobody knows it");
    ledger.apply(pause(&f, 8, 5)).await.unwrap();
    assert_eq!(ledger.apply(pause(&f, 9, 6)).await.unwrap(), Outcome::Missing, "another node was first");
    assert_eq!((ledger.pause(&f).unwrap().unwrap().since, *ledger.head().borrow()), (Micros(5), 10));
    // What is taken out of the app is not paused when it comes back.
    ledger.apply(Op::Unregister { function: f.clone() }).await.unwrap();
    registered(&ledger, "a").await;
    assert_eq!(ledger.pause(&f).unwrap(), None);
}

pub async fn a_lost_range_stays_until_somebody_takes_note(place: &impl Place) {
    let ledger = place.open().await;
    let f = registered(&ledger, "a").await;
    let neighbour = registered(&ledger, "ab").await;
    for f in [&f, &neighbour] {
        for round in 0..3 {
            ledger.apply(append(0..10)).await.unwrap();
            let head = *ledger.head().borrow();
            ledger.apply(pause(f, head, round)).await.unwrap();
        }
    }
    assert_eq!(ledger.paused().unwrap().len(), 2);
    ledger.trim(Seq::MAX).await.unwrap();
    ledger.apply(resume(&f)).await.unwrap();
    ledger.apply(append(0..10)).await.unwrap();
    ledger.apply(pause(&f, Seq::MAX, 9)).await.unwrap();
    ledger.trim(Seq::MAX).await.unwrap();
    let pauses = |f: &FunctionId| ledger.lost(Some(&f.app)).unwrap().iter().map(|(_, lost)| lost.paused.0).collect::<Vec<_>>();
    assert_eq!((pauses(&f), pauses(&neighbour)), (vec![0, 9], vec![0]), "a range for each pause");
    ledger.apply(Op::Unregister { function: f.clone() }).await.unwrap();
    assert_eq!(pauses(&f), [0, 9], "a function that goes takes no note");
    let shown: Vec<Seq> = ledger.lost(Some(&f.app)).unwrap().iter().map(|(_, lost)| lost.to).collect();
    let forget = async |through| ledger.apply(Op::ForgetLost { function: f.clone(), through }).await.unwrap();
    assert_eq!(forget(shown[0] - 1).await, Outcome::Missing, "a range of which some was not shown stays whole");
    assert!(matches!(forget(shown[1] - 1).await, Outcome::Applied { .. }));
    assert_eq!(pauses(&f), [9]);
    assert!(matches!(forget(shown[1]).await, Outcome::Applied { .. }));
    assert_eq!(forget(Seq::MAX).await, Outcome::Missing);
    assert_eq!((pauses(&f), pauses(&neighbour)), (vec![], vec![0]));
    ledger.apply(Op::DeleteApp { app: neighbour.app.clone() }).await.unwrap();
    assert_eq!((ledger.lost(None).unwrap(), ledger.paused().unwrap()), (vec![], vec![]));
}

pub async fn a_range_is_remembered_for_each_pause_up_to_a_number(place: &impl Place) {
    let ledger = place.open().await;
    let f = registered(&ledger, "a").await;
    for round in 0..66 {
        ledger.apply(append(0..3)).await.unwrap();
        let paused = ledger.apply(Op::Pause { function: f.clone(), behind: Seq::MAX, now: Micros(round), said: vec![] }).await.unwrap();
        assert!(matches!(paused, Outcome::Applied { .. }), "{paused:?}");
        ledger.trim(Seq::MAX).await.unwrap();
        ledger.apply(Op::Resume { function: f.clone(), said: vec![] }).await.unwrap();
    }
    let lost: Vec<Lost> = ledger.lost(None).unwrap().into_iter().map(|(_, lost)| lost).collect();
    assert_eq!((lost.len(), lost.iter().map(|lost| lost.events).sum::<u64>()), (64, 66 * 3));
    let last = lost.last().unwrap();
    assert_eq!((last.from, last.to, last.events, last.paused), (63 * 3 + 1, 66 * 3, 9, Micros(65)));
}

pub async fn the_size_of_the_log_is_known_from_any_event_on(place: &impl Place) {
    let ledger = place.open().await;
    let mut sizes = vec![0];
    for n in 0..1_000 {
        // Each a little longer than the one before, so that no other sum is right by accident.
        let event = NewEvent { key: "k".repeat(n % 97), ..reading(0) };
        sizes.push(event.key.len() as u64);
        ledger.submit(Op::Append(Append { tenant: id("main"), events: vec![event], dedup: None, intake: None })).await.unwrap();
    }
    let constant = size(&ledger, 1, 2);
    let sum = |from: Seq, end: Seq| (from..end).map(|seq| sizes[seq as usize] + constant).sum::<u64>();
    let right = |ledger: &Ledger| {
        let first = ledger.first();
        for (from, end) in [(1, 1_001), (first, first + 1), (300, 301), (256, 512), (255, 767), (999, 1_001)] {
            let from = from.max(first);
            assert_eq!(size(ledger, from, end), sum(from, end.max(from)), "from {from} to {end}");
        }
        for bytes_max in [0, 1, 5_000, sum(first, 1_001) - 1, sum(first, 1_001), u64::MAX] {
            let begin = ledger.reaches_back(1_001, bytes_max).unwrap();
            assert!(sum(begin, 1_001) <= bytes_max && (begin == first || sum(begin - 1, 1_001) > bytes_max), "{bytes_max}: {begin}");
        }
    };
    right(&ledger);
    ledger.trim(300).await.unwrap();
    right(&ledger);
    ledger.trim(700).await.unwrap();
    drop(ledger);
    right(&place.open().await);
}
