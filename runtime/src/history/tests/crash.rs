//! Kills and power cuts at any moment: nothing that was committed is lost, nothing is there twice.

use super::{
    Dice,
    disk::{End, ForgetfulDisk, Last, Lie},
    micros, reading,
};
use crate::{
    history::{History, HistoryOptions, Query},
    model::{Event, Micros, id::default_tenant, limit::HISTORY_HITS_MAX},
};
use std::sync::Arc;

const EVENTS: u64 = 600;
const DAY: i64 = 86_400 * Micros::SECOND;

fn options() -> HistoryOptions {
    // Fewer writers than months, so that partitions are closed in the middle of batches.
    HistoryOptions { open_writers_max: 2, ..HistoryOptions::default() }
}

/// Readings of eight months, as a back-fill of several devices brings them: interleaved.
fn events(dice: &mut Dice) -> Vec<Arc<Event>> {
    let start = micros("2026-01-05T00:00:00Z");
    let at = |dice: &mut Dice| Micros(start.0 + i64::try_from(dice.roll(240)).unwrap() * DAY);
    (1..=EVENTS).map(|seq| reading(seq, "pond", "temp", at(dice), &format!("{seq}"))).collect()
}

fn rest<'a>(events: &'a [Arc<Event>], history: &History) -> &'a [Arc<Event>] {
    let taken = usize::try_from(history.next() - 1).unwrap();
    &events[taken..]
}

/// The sequences that are found, ascending.
fn found(history: &History) -> Result<Vec<u64>, String> {
    let mut seqs = vec![];
    loop {
        let page = Query { limit: HISTORY_HITS_MAX, offset: seqs.len(), ..Query::new(default_tenant(), "") };
        let page = history.search(&page).map_err(|e| format!("{e:?}"))?;
        if page.hits.is_empty() {
            break;
        }
        seqs.extend(page.hits.iter().map(|hit| hit.seq));
    }
    seqs.sort_unstable();
    Ok(seqs)
}

/// Feeds batches until the power goes; returns the last position that was reported.
fn feed(history: &History, events: &[Arc<Event>], dice: &mut Dice) -> u64 {
    loop {
        let rest = rest(events, history);
        let batch = usize::try_from(1 + dice.roll(60)).unwrap().min(rest.len());
        let fed = history.index(&rest[..batch]).and_then(|()| if dice.roll(3) == 0 || batch == 0 { history.commit() } else { Ok(()) });
        if fed.is_err() || batch == 0 {
            return history.position();
        }
    }
}

/// Ten crashes and then a good day.
fn ten_crashes(seed: u64, lie: Option<Lie>) -> Result<(), String> {
    let mut dice = Dice(seed);
    let events = events(&mut dice);
    let mut disk = ForgetfulDisk::default();
    if let Some(lie) = lie {
        disk.lie(lie);
    }
    for cut in 0..10 {
        match dice.roll(5) {
            0 => disk.cut_power_at(Last::Meta, 1 + dice.roll(8)),
            1 => disk.cut_power_at(Last::Position, 1 + dice.roll(2)),
            2 => disk.cut_power_at(Last::Made, 1 + dice.roll(4)),
            _ => disk.cut_power_after(dice.roll(600)),
        }
        let reported = match History::on(Arc::new(disk.clone()), options()) {
            Ok(history) => feed(&history, &events, &mut dice),
            // The power went while it opened.
            Err(_) => 0,
        };
        disk = match dice.roll(3) {
            0 => disk.after(End::Kill),
            _ => disk.after(End::PowerCut(&mut dice)),
        };
        let history = History::on(Arc::new(disk.clone()), options()).map_err(|e| format!("cut {cut}: {e:?}"))?;
        if history.position() < reported {
            return Err(format!("cut {cut}: {reported} was reported, {} is there", history.position()));
        }
        complete_to(&history, reported).map_err(|e| format!("cut {cut}: {e}"))?;
    }
    let history = History::on(Arc::new(disk), options()).map_err(|e| format!("{e:?}"))?;
    let all = history.index(rest(&events, &history)).and_then(|()| history.commit());
    all.map_err(|e| format!("{e:?}"))?;
    complete_to(&history, EVENTS)
}

/// Everything up to `position` is found once; what is after it, not more than once.
fn complete_to(history: &History, position: u64) -> Result<(), String> {
    let found = found(history)?;
    let missing: Vec<u64> = (1..=position).filter(|seq| found.binary_search(seq).is_err()).collect();
    let twice: Vec<&[u64]> = found.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    match missing.is_empty() && twice.is_empty() {
        true => Ok(()),
        false => Err(format!("up to {position}: missing {missing:?}, twice {twice:?}")),
    }
}

#[test]
fn crashes_lose_nothing_and_double_nothing() {
    for seed in 0..12 {
        if let Err(why) = ten_crashes(seed, None) {
            panic!("seed {seed}: {why}");
        }
    }
}

#[test]
fn every_sync_is_needed() {
    for lie in [Lie::File, Lie::Replaced, Lie::Segment, Lie::Commit, Lie::Partition, Lie::Position] {
        let noticed = (0..30).any(|seed| ten_crashes(seed, Some(lie)).is_err());
        assert!(noticed, "nothing is lost without the sync {lie:?}");
    }
}

#[test]
fn a_commit_whose_last_sync_failed_is_not_taken_for_safe() {
    for seed in 0..10 {
        let mut dice = Dice(seed);
        let events = events(&mut dice);
        let disk = ForgetfulDisk::default();
        let history = History::on(Arc::new(disk.clone()), options()).unwrap();
        disk.fail_next_commit();
        history.index(&events).and_then(|()| history.commit()).unwrap_err();
        assert_eq!(history.next(), 1, "after an error the log is read again");
        history.index(&events).unwrap();
        history.commit().unwrap();
        let disk = disk.after(End::PowerCut(&mut dice));
        let history = History::on(Arc::new(disk), options()).unwrap();
        assert_eq!(history.position(), EVENTS);
        complete_to(&history, EVENTS).unwrap();
    }
}

#[test]
fn a_history_that_is_told_everything_again_has_it_once() {
    let mut dice = Dice(7);
    let events = events(&mut dice);
    let disk = ForgetfulDisk::default();
    let history = History::on(Arc::new(disk.clone()), options()).unwrap();
    feed(&history, &events, &mut dice);
    drop(history);
    // Without the position file, each partition still knows what it has.
    let root = crate::history::disk::Disk::root(&disk);
    root.delete(std::path::Path::new("position.json")).unwrap();
    let history = History::on(Arc::new(disk), options()).unwrap();
    assert_eq!(history.position(), 0);
    history.index(&events).unwrap();
    history.commit().unwrap();
    complete_to(&history, EVENTS).unwrap();
}
