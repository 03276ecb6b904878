//! The embedded ledger: the suite, and power and disk failing under it.

use super::{conformance::Place, *};

struct Dir(tempfile::TempDir);

impl Place for Dir {
    async fn open_with(&self, options: LedgerOptions) -> Ledger {
        let config = LedgerConfig::Embedded { dir: self.0.path().to_owned(), options };
        Ledger::open(&config).await.unwrap()
    }
}

super::conformance::all_stories! { Dir(tempfile::tempdir().unwrap()) }

#[tokio::test]
async fn a_ledger_whose_making_was_interrupted_is_made_again() {
    let place = Dir(tempfile::tempdir().unwrap());
    std::fs::write(place.0.path().join("ledger.new"), "half a head").unwrap();
    let ledger = place.open().await;
    assert_eq!(seqs(ledger.apply(append([1])).await.unwrap()), [1]);
    assert!(!place.0.path().join("ledger.new").exists());
}

use super::{
    floor::threaded as open_sim,
    sim::{Dice, SimDisk},
};

/// What was submitted to a ledger, and what it said.
#[derive(Default)]
struct Story {
    /// Numbers of each append, and the sequences answered.
    appends: Vec<(Vec<u64>, Option<Vec<Seq>>)>,
    /// Number of each commit, and whether it was answered.
    commits: Vec<(u64, bool)>,
    next: u64,
}

impl Story {
    /// Submits operations until the power goes, or `count` of them.
    async fn go_on(&mut self, ledger: &Ledger, dice: &mut Dice, count: u64) {
        let f = function("a", "on");
        if ledger.apply(Op::Register { function: f.clone(), start: 0 }).await.is_err() {
            return;
        }
        let Ok(mut version) = ledger.version(&app("a")) else { return };
        for _ in 0..count {
            let mut appends = Vec::new();
            for _ in 0..dice.below(4) {
                let numbers: Vec<_> = (self.next..self.next + 1 + dice.below(4)).collect();
                self.next += 4;
                appends.push((numbers.clone(), ledger.submit(append(numbers))));
            }
            let n = self.next;
            self.next += 4;
            let op = Commit {
                done: vec![Done { function: f.clone(), through: version + 1, above: vec![] }],
                writes: vec![put("n", &n.to_string()), put(&format!("k{n}"), "v")],
                events: vec![message("out", n), message("out", n + 1)],
                ..commit("a", Some(version))
            };
            let committed = ledger.submit(Op::Commit(op)).await;
            for (numbers, pending) in appends {
                self.appends.push((numbers, pending.await.ok().map(seqs)));
            }
            self.commits.push((n, committed.is_ok()));
            match committed {
                Ok(outcome) => assert_eq!(seqs(outcome).len(), 2),
                Err(_) => return,
            }
            version += 1;
        }
    }

    /// Everything answered is there, nothing is there in part or twice.
    fn check(&self, ledger: &Ledger, seed: u64) {
        let events = ledger.events(1, usize::MAX, usize::MAX).unwrap();
        let at: std::collections::HashMap<u64, Seq> = events.iter().map(|e| (number(e), e.seq)).collect();
        assert_eq!(at.len(), events.len(), "seed {seed}: something is there twice");
        assert!(events.iter().zip(1..).all(|(e, seq)| e.seq == seq), "seed {seed}: a gap");
        for (numbers, answer) in &self.appends {
            let found: Vec<Seq> = numbers.iter().filter_map(|n| at.get(n).copied()).collect();
            assert!(found.is_empty() || found.len() == numbers.len(), "seed {seed}: half of {numbers:?}");
            if let Some(answer) = answer {
                assert_eq!(&found, answer, "seed {seed}: {numbers:?} was answered");
            }
        }
        let mut version = 0;
        for (n, answered) in &self.commits {
            let parts = [at.contains_key(n), at.contains_key(&(n + 1)), ledger.state(&app("a"), &format!("k{n}")).unwrap().is_some()];
            assert!(parts == [true; 3] || parts == [false; 3], "seed {seed}: half of commit {n}: {parts:?}");
            assert!(parts[0] || !answered, "seed {seed}: commit {n} was answered");
            version += u64::from(parts[0]);
        }
        assert_eq!(ledger.version(&app("a")).unwrap(), version, "seed {seed}");
        let position = ledger.position(&function("a", "on")).unwrap().unwrap_or_default();
        assert_eq!(position.through, version, "seed {seed}: the position moves with the commits");
    }
}

#[tokio::test]
async fn whatever_was_answered_survives_every_power_cut() {
    let mut cuts = 0;
    for seed in 1..=250 {
        let disk = SimDisk::new(seed);
        let mut dice = Dice::new(seed);
        let mut story = Story::default();
        for _ in 0..4 {
            disk.cut_power_after(1 + dice.below(400));
            if let Ok(ledger) = open_sim(&disk) {
                story.check(&ledger, seed);
                // The process dies with the power: nobody waits for a disk that is gone.
                let (dying, gone) = (ledger.clone(), disk.clone());
                let death = tokio::spawn(async move {
                    gone.power_gone().await;
                    dying.close().await;
                });
                story.go_on(&ledger, &mut dice, 30).await;
                ledger.close().await;
                death.abort();
                let _ = death.await;
                cuts += 1;
            }
            disk.power_up();
        }
        story.check(&open_sim(&disk).unwrap(), seed);
    }
    assert!(cuts > 500, "the power went {cuts} times");
}

#[tokio::test]
async fn a_full_disk_refuses_keeps_what_it_has_and_recovers() {
    for seed in 1..=20 {
        let disk = SimDisk::new(seed);
        let mut dice = Dice::new(seed);
        let mut story = Story::default();
        let ledger = open_sim(&disk).unwrap();
        disk.set_room(40 + dice.below(80));
        story.go_on(&ledger, &mut dice, 10_000).await;
        story.check(&ledger, seed);
        // It goes on refusing with the right reason, at once, and can be read all the while.
        for n in 0..3 {
            let error = loop {
                match ledger.apply(append([1_000_000 + n])).await {
                    // A small one may still fit where a large one did not.
                    Ok(_) => continue,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Full, "seed {seed}: {error}");
        }
        disk.set_room(100_000);
        let mut tries = 0;
        while let Err(error) = ledger.apply(append([2_000_000])).await {
            tries += 1;
            assert!(tries < 50_000, "seed {seed}: {error}");
            tokio::task::yield_now().await;
        }
        assert_eq!(number(&ledger.event(*ledger.head().borrow()).unwrap().unwrap()), 2_000_000);
        ledger.close().await;
        disk.power_up();
        let ledger = open_sim(&disk).unwrap();
        assert_eq!(number(&ledger.event(*ledger.head().borrow()).unwrap().unwrap()), 2_000_000);
    }
}

fn numbers(ledger: &Ledger) -> Vec<u64> {
    ledger.events(1, 100, usize::MAX).unwrap().iter().map(|e| number(e)).collect()
}

#[tokio::test]
async fn after_a_failed_sync_the_answer_says_what_is_in_the_file() {
    let mut outcomes = [0, 0];
    for seed in 0..120 {
        let disk = SimDisk::new(seed);
        let ledger = open_sim(&disk).unwrap();
        disk.fail_a_sync_after(seed % 30);
        disk.then_fail_reads(seed / 60 * (1 + seed % 5));
        let mut expected = Vec::new();
        for n in 0..40 {
            let answer = ledger.apply(append([n])).await;
            outcomes[usize::from(answer.is_ok())] += 1;
            expected.extend(answer.is_ok().then_some(n));
            // Whatever comes later must not be what makes the answer true.
            if answer.is_err() && seed % 60 < 30 {
                break;
            }
        }
        assert_eq!(numbers(&ledger), expected, "seed {seed}");
        disk.cut_power_after(0);
        ledger.close().await;
        disk.power_up();
        disk.then_fail_reads(0);
        assert_eq!(numbers(&open_sim(&disk).unwrap()), expected, "seed {seed}, after a power cut");
    }
    assert!(outcomes[0] > 20 && outcomes[1] > 2_000, "a sync of the journal fails an append, one of the view does not: {outcomes:?}");
}

/// Where the records of a segment begin: a header of 32 bytes, then frames of 24 with number and length in front.
fn records(segment: &[u8]) -> Vec<usize> {
    let number = |at: usize| u64::from_le_bytes(segment[at..at + 8].try_into().unwrap());
    let first = number(16);
    let mut at = 32;
    let mut found = Vec::new();
    while at + 24 < segment.len() && number(at) == first + found.len() as u64 {
        found.push(at);
        at += 24 + u32::from_le_bytes(segment[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    found
}

/// Twenty appends that only the journal has, in its last segment changed by hand. What the ledger says to that.
async fn open_changed(change: impl FnOnce(&mut Vec<u8>, &[usize])) -> Result<Vec<u64>, LedgerError> {
    let (there, copy) = (Dir(tempfile::tempdir().unwrap()), tempfile::tempdir().unwrap());
    let ledger = there.open().await;
    for n in 0..20 {
        ledger.apply(append([n])).await.unwrap();
    }
    let journal = copy.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let mut last = Default::default();
    for entry in std::fs::read_dir(there.0.path().join("journal")).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        std::fs::write(journal.join(entry.file_name()), &bytes).unwrap();
        if !records(&bytes).is_empty() {
            last = std::cmp::max(last, (entry.file_name(), bytes));
        }
    }
    let (name, mut bytes) = last;
    let records = records(&bytes);
    assert!(records.len() > 2, "{records:?}");
    change(&mut bytes, &records);
    std::fs::write(journal.join(name), bytes).unwrap();
    let ledger = Ledger::open(&LedgerConfig::Embedded { dir: copy.path().to_owned(), options: LedgerOptions::default() }).await?;
    Ok(numbers(&ledger))
}

#[tokio::test]
async fn a_journal_that_lost_what_it_had_promised_is_not_opened() {
    let all: Vec<u64> = (0..20).collect();
    assert_eq!(open_changed(|_, _| {}).await.unwrap(), all);
    // The last record may be torn: by a power cut, before it was answered.
    let torn = open_changed(|bytes, records| bytes[records[records.len() - 1] + 40] ^= 1).await;
    assert_eq!(torn.unwrap(), all[..19]);
    let damaged = open_changed(|bytes, records| bytes[records[records.len() - 2] + 40] ^= 1).await;
    assert!(damaged.unwrap_err().to_string().contains("is damaged, record"), "one before the last may not");
    let headless = open_changed(|bytes, _| bytes[3] ^= 1).await;
    assert!(headless.unwrap_err().to_string().contains("the header of segment"));
}

#[test]
fn a_journal_that_nobody_empties_ends() {
    use super::super::{
        journal::{Journal, Refused, redo},
        tables::Rules,
    };
    let disk = SimDisk::new(1);
    let rules = Rules { dedup_window_micros: 1 };
    let mut journal = Journal::begin(Arc::new(disk.clone()), 1).ok().unwrap();
    let mut last = 0;
    let error = loop {
        match journal.append(rules, &[append(last..last + 10)]) {
            Ok(number) => last = number,
            Err(Refused::Clean(error) | Refused::Doubtful(error)) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("the journal has 64 segments"), "{error}");
    // What was written counts, and what a checkpoint gives back is used.
    let mut found = 0;
    redo(&disk, 1, u64::MAX, |number, group| {
        found += 1;
        assert_eq!((number, group.ops.len(), group.rules), (found, 1, rules));
        Ok(())
    })
    .unwrap();
    assert_eq!(found, last);
    disk.set_room(0);
    journal.checkpoint(last / 2);
    assert_eq!(journal.append(rules, &[append([1])]).ok(), Some(last + 1));
    redo(&disk, last / 2 + 1, u64::MAX, |_, _| Ok(())).unwrap();
}

#[tokio::test]
async fn appends_leave_a_reserve_to_commits() {
    let disk = SimDisk::new(7);
    let options = LedgerOptions { disk_reserve_bytes: 64 * 4096, ..LedgerOptions::default() };
    let ledger = Ledger::embedded(Arc::new(disk.clone()), &options).unwrap();
    disk.set_room(63);
    let error = ledger.apply(append([1])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("are kept in reserve"), "{error}");
    let op = Commit { writes: vec![put("k", "v")], ..commit("a", Some(0)) };
    assert_eq!(ledger.apply(Op::Commit(op)).await.unwrap(), Outcome::Applied { seqs: vec![], version: 1 });
    disk.set_room(1_000);
    assert_eq!(seqs(ledger.apply(append([1])).await.unwrap()), [1]);
}

/// Nothing is under way when the view is made durable after a quiet time, so nobody is there to wake who waits for more.
#[test]
fn a_quiet_ledger_whose_file_can_not_be_written_goes_on() {
    let disk = SimDisk::new(3);
    let mut floor = super::floor::Embedded::open(&disk).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let first = floor.ledger.submit(append([1]));
        floor.write();
        floor.apply();
        disk.fail_a_sync_after(0);
        floor.rest();
        let second = floor.ledger.submit(append([2]));
        floor.write();
        floor.apply();
        let answers = [first, second].map(|pending| futures::FutureExt::now_or_never(pending).unwrap().map(seqs));
        done.send(answers.map(Result::unwrap)).unwrap();
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(30)).unwrap(), [[1], [2]]);
}

/// The file could not be synced, and then not be read: only when it is open again it shows whether the step is in it.
#[test]
fn what_may_be_in_the_file_is_not_taken_back() {
    for (sync, reads) in (0..8).flat_map(|sync| (0..8).map(move |reads| (sync, reads))) {
        let disk = SimDisk::new(sync);
        let mut floor = super::floor::Embedded::open(&disk).unwrap();
        let tell = |floor: &mut super::floor::Embedded, n| {
            let mut event = reading(n);
            // Long enough for the view to be made durable with it.
            event.raw = Some(Box::new(Value::Bytes(vec![0; 7_000].into())));
            let op = Op::Append(Append { tenant: id("main"), events: vec![event], dedup: None, intake: None });
            let answer = floor.ledger.submit(op);
            floor.write();
            floor.apply();
            futures::FutureExt::now_or_never(answer).unwrap().is_ok().then_some(n)
        };
        disk.fail_a_sync_after(sync);
        disk.then_fail_reads(reads);
        let told: Vec<u64> = (1..4).filter_map(|n| tell(&mut floor, n)).collect();
        assert_eq!(numbers(&floor.ledger), told, "sync {sync} failed, then {reads} reads");
        disk.process_dies();
        drop(floor);
        disk.heal();
        assert_eq!(numbers(&open_sim(&disk).unwrap()), told, "sync {sync} failed, then {reads} reads; opened again");
    }
}
