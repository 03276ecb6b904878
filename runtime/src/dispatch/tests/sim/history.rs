//! One history: what devices, clients, operators and fate do to some nodes, as a seed decides.

use super::{
    calls::{Call, Said},
    disks::{Floor, Ground},
    model::{Answer, Model, Sent},
    node::Node,
    releases::{NUMBERS, Releases, app, is_timed},
    told_by,
};
use crate::{
    ledger::{
        Append, Dedup, LedgerError, Op, Outcome, Pending,
        tests::{
            picture,
            sim::{Dice, SimDisk},
        },
    },
    model::{Id, Micros, NewEvent, Seq, Value, id::default_tenant, limit::SILENCE_GRACE_SECONDS},
};
use futures::FutureExt;
use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const DEVICES: u64 = 4;
/// What happens until everything is let come to rest.
const STEPS: u64 = 110;
/// Longer than any two clocks are apart.
const NIGHT: Duration = Duration::from_secs(3 * 3_600);
/// What devices are waited for after a start, and what else waits.
const GRACE: Duration = Duration::from_secs(SILENCE_GRACE_SECONDS + 10);
/// Rounds in which all nodes do all they can, with time passing: after so many it is not slow but stuck.
const ROUNDS_MAX: u32 = 4_000;

struct Place {
    disk: SimDisk,
    node: Option<Node>,
    skew: i64,
    /// The model has seen the log of this node up to here.
    observed: Seq,
}

pub struct History {
    dice: Dice,
    releases: Arc<Releases>,
    ground: Ground,
    wanted: Arc<AtomicUsize>,
    places: Vec<Place>,
    time: Duration,
    model: Model,
    /// Readings under way: where they are in the model's list.
    appends: Vec<(usize, Pending)>,
    calls: Vec<(u64, Arc<Said>)>,
    numbers: u64,
    /// One in so many steps is a fault.
    faults: u64,
    /// There are rules, and readings that are numbers.
    timed: bool,
    trace: Option<Vec<String>>,
}

impl History {
    pub fn new(seed: u64, releases: Arc<Releases>, ground: Ground, trace: bool) -> History {
        let mut dice = Dice::new(seed);
        // The first numbers of small seeds are alike.
        (0..8).for_each(|_| _ = dice.below(2));
        let place = |n: u64| Place { disk: SimDisk::new(seed * 8 + n), node: None, skew: 0, observed: 0 };
        History {
            releases,
            timed: is_timed(seed),
            places: match ground {
                Ground::Disk => vec![place(0)],
                Ground::Server(_) => (0..2 + dice.below(2)).map(place).collect(),
            },
            ground,
            wanted: Arc::new(AtomicUsize::new(1 + dice.below(3) as usize)),
            time: Duration::ZERO,
            model: Model::default(),
            appends: Vec::new(),
            calls: Vec::new(),
            numbers: 0,
            faults: [0, 60, 25, 10][dice.below(4) as usize],
            trace: trace.then(Vec::new),
            dice,
        }
    }

    /// Everything that happened, if it was asked for.
    pub fn run(&mut self) -> Vec<String> {
        self.begin();
        for _ in 0..STEPS {
            self.step();
        }
        self.come_to_rest();
        if self.timed {
            self.let_time_tell();
        }
        self.check();
        self.told()
    }

    pub fn told(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.time.as_secs_f64(), what()));
        }
    }

    /// The nodes run the first release before anything happens.
    fn begin(&mut self) {
        self.model.second_left = self.wanted.load(Ordering::Relaxed) == 2;
        (0..self.places.len()).for_each(|n| self.start(n));
        self.come_to_rest();
        let ledger = self.places[0].node.as_ref().unwrap().ledger();
        for (function, position) in ledger.functions().unwrap().into_iter().filter(|(function, _)| function.app == app()) {
            self.model.begun.insert(function.function.to_string(), position.through);
        }
        if !self.model.begun.contains_key("second") {
            self.model.begun.insert("second".to_owned(), 0);
        }
    }

    fn step(&mut self) {
        if self.faults > 0 && self.dice.below(self.faults) == 0 {
            self.fault();
        }
        match self.dice.below(100) {
            0..=12 => self.append(),
            13..=14 => self.append_again(),
            15..=18 => self.call(),
            19 => self.release(),
            20..=22 => self.replay(),
            23 => self.trim(),
            24 => self.pause(),
            25 => self.resume(),
            26..=27 if self.timed => self.pass_some(6_000),
            26..=27 => self.pass_some(2_000),
            28..=36 => self.pass_some(30),
            _ => self.turn(),
        }
        self.hear();
    }

    /// Some node does some of its work.
    fn turn(&mut self) {
        let n = self.dice.below(self.places.len() as u64) as usize;
        let polls = self.dice.below(24);
        let Place { node, .. } = &mut self.places[n];
        match node {
            None => self.start(n),
            Some(node) => {
                if self.dice.below(3) > 0 {
                    node.run(polls);
                }
                let dice = &mut self.dice;
                node.turn(|floor| floor.step(dice));
                if let Floor::Jetstream(jetstream) = &node.floor
                    && dice.below(20) == 0
                {
                    jetstream.connect();
                }
                self.observe(n);
            }
        }
    }

    fn observe(&mut self, n: usize) {
        let Place { disk, node, observed, .. } = &mut self.places[n];
        let Some(node) = node else { return };
        *observed = self.model.observe(node.ledger(), *observed);
        if !disk.has_power() {
            self.die(n, "the power is gone");
        }
    }

    fn start(&mut self, n: usize) {
        let Place { disk, node, skew, .. } = &mut self.places[n];
        let opened = self.ground.open(disk, &format!("node{n}"));
        let started = opened.map(|floor| Node::start(floor, &self.releases, self.wanted.clone(), self.time, *skew));
        match started {
            Ok(started) => {
                self.model.still_shows(started.ledger());
                *node = Some(started);
                self.places[n].observed = 0;
                self.say(|| format!("node {n} starts"));
                self.observe(n);
            }
            Err(error) => {
                disk.process_dies();
                let power = disk.has_power();
                if !power {
                    disk.power_up();
                }
                assert!(!matches!(error, LedgerError::Format(_)), "node {n} finds its ledger damaged: {error}");
                self.say(|| format!("node {n} can't start, with power: {power}: {error:?}"));
            }
        }
    }

    fn die(&mut self, n: usize, why: impl Display) {
        self.say(|| format!("node {n} dies: {why}"));
        let Place { disk, node, .. } = &mut self.places[n];
        disk.process_dies();
        drop(node.take());
        if !disk.has_power() {
            disk.power_up();
        }
        self.hear();
    }

    fn fault(&mut self) {
        let n = self.dice.below(self.places.len() as u64) as usize;
        let most = if matches!(self.ground, Ground::Server(_)) { 10 } else { 6 };
        match self.dice.below(most) {
            0 => self.die(n, "killed"),
            1 | 2 => {
                let operations = 1 + self.dice.below(40);
                self.say(|| format!("the power of node {n} goes after {operations} operations"));
                self.places[n].disk.cut_power_after(operations);
            }
            3 => {
                let (syncs, reads) = (self.dice.below(6), self.dice.below(3));
                self.say(|| format!("sync {syncs} of node {n} fails, then {reads} reads"));
                self.places[n].disk.fail_a_sync_after(syncs);
                self.places[n].disk.then_fail_reads(reads);
            }
            4 => {
                let (blocks, waits) = (self.dice.below(12), 1 + self.dice.below(4));
                self.say(|| format!("the disk of node {n} has {blocks} blocks left for {waits} waits"));
                self.places[n].disk.set_room_until(blocks, waits);
            }
            6..=8 => self.cut(n),
            9 => {
                let batches = 1 + self.dice.below(3);
                if let Some(Node { floor: Floor::Jetstream(node), .. }) = &self.places[n].node {
                    node.refuse(batches);
                }
                self.say(|| format!("the server refuses {batches} batches of node {n}"));
            }
            _ => {
                let seconds = self.dice.below(7_200) as i64 - 3_600;
                self.say(|| format!("the clock of node {n} is {seconds} s off"));
                self.places[n].skew = seconds * 1_000_000;
                if let Some(node) = &mut self.places[n].node {
                    node.skew = seconds * 1_000_000;
                }
            }
        }
    }

    fn cut(&mut self, n: usize) {
        if let Some(Node { floor: Floor::Jetstream(node), .. }) = &self.places[n].node {
            node.cut(&mut self.dice);
        }
        self.say(|| format!("node {n} is cut off"));
    }

    fn some_node(&mut self) -> Option<usize> {
        let n = self.dice.below(self.places.len() as u64) as usize;
        self.places[n].node.is_some().then_some(n)
    }

    fn script(&mut self) -> serde_json::Value {
        let then = ["ok", "ok", "ok", "ok", "retry", "retry", "trap", "reject"][self.dice.below(8) as usize];
        let mut script = serde_json::json!({ "then": then, "hot": self.dice.below(4) == 0 });
        if self.dice.below(3) > 0 {
            script["until"] = (2 + self.dice.below(2)).into();
        }
        if self.dice.below(2) == 0 {
            script["after_ms"] = self.dice.below(200).into();
        }
        script
    }

    fn reading(&mut self) -> (u64, NewEvent) {
        self.numbers += 1;
        if self.timed && self.dice.below(3) > 0 {
            return (self.numbers, self.number());
        }
        let mut script = self.script();
        script["n"] = self.numbers.into();
        script["next"] = self.script();
        let device = Id::new(&format!("d{}", self.dice.below(DEVICES))).unwrap();
        let sensor = Id::new(["s1", "s2"][self.dice.below(2) as usize]).unwrap();
        let now = crate::clock::now();
        (self.numbers, NewEvent::reading(&default_tenant(), &device, &sensor, now, now, Value::from_json(&script)))
    }

    /// For rules: a number, now and then under zero, by a clock that is late, or ahead, or one that was offline.
    fn number(&mut self) -> NewEvent {
        let device = Id::new(&format!("d{}", self.dice.below(2))).unwrap();
        let sensor = Id::new(NUMBERS).unwrap();
        let now = crate::clock::now();
        let late = match self.dice.below(8) {
            0..=3 => self.dice.below(300) as i64,
            4..=6 => self.dice.below(5_000) as i64,
            _ => -(self.dice.below(3_000) as i64),
        };
        let sign = if self.dice.below(3) == 0 { "-" } else { "" };
        let value = Value::json(&format!("{sign}{}", self.numbers)).unwrap();
        NewEvent::reading(&default_tenant(), &device, &sensor, Micros(now.0 - late * 1_000), now, value)
    }

    fn append(&mut self) {
        let Some(n) = self.some_node() else { return };
        let (numbers, events): (Vec<u64>, Vec<NewEvent>) = (0..1 + self.dice.below(3)).map(|_| self.reading()).unzip();
        let key = (self.dice.below(4) == 0).then(|| format!("device:{}", numbers[0]));
        self.model.sent.push(Sent { numbers, key, answers: Vec::new(), events });
        self.send(n, self.model.sent.len() - 1);
    }

    /// A device that is not sure whether it was heard.
    fn append_again(&mut self) {
        let keyed: Vec<usize> = (0..self.model.sent.len()).filter(|at| self.model.sent[*at].key.is_some()).collect();
        let (Some(n), false) = (self.some_node(), keyed.is_empty()) else { return };
        let at = keyed[self.dice.below(keyed.len() as u64) as usize];
        self.send(n, at);
    }

    fn send(&mut self, n: usize, at: usize) {
        let sent = &self.model.sent[at];
        let node = self.places[n].node.as_ref().unwrap();
        let dedup = sent.key.clone().map(|key| Dedup { key, now: node.now() });
        let op = Op::Append(Append { tenant: default_tenant(), events: sent.events.clone(), dedup, intake: None });
        self.appends.push((at, node.ledger().submit(op)));
        let what = format!("{:?} under {:?}", sent.numbers, sent.key);
        self.say(|| format!("node {n} is sent {what}"));
    }

    fn call(&mut self) {
        let Some(n) = self.some_node() else { return };
        self.numbers += 1;
        let key = (self.dice.below(3) == 0).then(|| format!("call:{}", self.dice.below(4)));
        let call = Call { id: self.numbers, key: key.clone(), yields: self.dice.below(6) };
        self.model.calls.insert(call.id, (key.clone(), None));
        let said = self.places[n].node.as_ref().unwrap().spawn(call);
        self.calls.push((self.numbers, said));
        let id = self.numbers;
        self.say(|| format!("node {n} is called: {id} under {key:?}"));
    }

    fn release(&mut self) {
        let wanted = 1 + self.dice.below(3) as usize;
        self.model.second_left |= wanted == 2;
        self.wanted.store(wanted, Ordering::Relaxed);
        self.say(|| format!("release {wanted} is to run"));
    }

    fn replay(&mut self) {
        let Some(n) = self.some_node() else { return };
        let node = self.places[n].node.as_ref().unwrap();
        let Ok(dead) = node.ledger().dead(Some(&app()), None, 64) else { return };
        if dead.is_empty() {
            return;
        }
        let letter = &dead[self.dice.below(dead.len() as u64) as usize];
        self.model.replayed.insert((letter.function.function.to_string(), letter.seq));
        node.replay(letter.function.clone(), letter.seq);
        let what = format!("{} of `{}`", letter.seq, letter.function.function);
        self.say(|| format!("node {n} replays dead letter {what}"));
    }

    fn trim(&mut self) {
        let Some(n) = self.some_node() else { return };
        self.observe(n);
        let Some(node) = &self.places[n].node else { return };
        let below = self.dice.below(*node.ledger().head().borrow() + 2);
        node.trim(below);
        self.say(|| format!("node {n} trims below {below}"));
    }

    /// The log has become too long for the sake of one function.
    fn pause(&mut self) {
        let Some(n) = self.some_node() else { return };
        let bytes_max = self.dice.below(4_000);
        let Some(node) = &self.places[n].node else { return };
        let below = *node.ledger().head().borrow() + 1;
        node.pause_laggards(below, bytes_max);
        self.say(|| format!("node {n} pauses for whom alone more than {bytes_max} bytes below {below} are kept"));
    }

    fn resume(&mut self) {
        let Some(n) = self.some_node() else { return };
        if self.places[n].node.as_ref().is_some_and(Node::resume_all) {
            self.say(|| format!("node {n} resumes what is paused"));
        }
    }

    fn pass_some(&mut self, most: u64) {
        let time = Duration::from_millis(1 + self.dice.below(most));
        self.pass(time);
    }

    fn pass(&mut self, time: Duration) {
        self.time += time;
        for place in &mut self.places {
            if let Some(node) = &mut place.node {
                node.pass(time);
            }
        }
    }

    /// What devices and clients were told meanwhile.
    fn hear(&mut self) {
        let mut heard = Vec::new();
        let sent = &mut self.model.sent;
        self.appends.retain_mut(|(at, pending)| {
            let Some(answer) = pending.now_or_never() else { return true };
            let answer = match answer {
                Ok(Outcome::Applied { seqs, .. } | Outcome::Duplicate { seqs }) => Answer::Seqs(seqs),
                Ok(other) => panic!("an append came to {other:?}"),
                Err(error) => told_by(&error).map_or(Answer::Unknown, |()| Answer::Refused),
            };
            heard.push(format!("{:?} are answered: {answer:?}", sent[*at].numbers));
            sent[*at].answers.push(answer);
            false
        });
        let calls = &mut self.model.calls;
        self.calls.retain(|(id, said)| {
            let Some(told) = said.told() else { return true };
            heard.push(format!("call {id} is told: {told:?}"));
            calls.entry(*id).or_default().1 = Some(told);
            false
        });
        for what in heard {
            self.say(|| what);
        }
    }

    /// All nodes die once more, and come back when everything is over by every clock: what waits for time is told.
    fn let_time_tell(&mut self) {
        (0..self.places.len()).for_each(|n| self.die(n, "it is evening"));
        self.time += NIGHT;
        for _ in 0..3 {
            self.come_to_rest();
            self.pass(GRACE);
        }
        self.come_to_rest();
    }

    /// No more faults: everything that was begun comes to its end.
    fn come_to_rest(&mut self) {
        self.say(|| "no more faults".to_owned());
        if let Ground::Server(stream) = &self.ground {
            stream.forget_late();
        }
        let mut last = String::new();
        for round in 0..ROUNDS_MAX {
            match self.round() {
                None => return,
                Some(restless) => last = restless,
            }
            // What makes triggers stores its position after five seconds.
            let short = if self.timed { 10 } else { 200 };
            self.pass(Duration::from_millis(if round < short { 20 } else { 500 }));
        }
        panic!("nothing comes to rest: {last}");
    }

    fn round(&mut self) -> Option<String> {
        for n in 0..self.places.len() {
            self.places[n].disk.heal();
            if self.places[n].node.is_none() {
                self.start(n);
            }
            let Some(node) = &mut self.places[n].node else { return Some(format!("node {n} does not start")) };
            for _ in 0..4 {
                node.run(40);
                node.turn(Floor::work);
            }
            node.resume_all();
            self.observe(n);
        }
        self.hear();
        let waiting = (self.appends.len(), self.calls.iter().filter(|(_, said)| Arc::strong_count(said) > 1).count());
        let unanswered = (waiting != (0, 0)).then(|| format!("{waiting:?} appends and calls are not answered"));
        unanswered.or_else(|| self.restless())
    }

    /// All of them at one moment: what one does may be news to another.
    fn restless(&self) -> Option<String> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let why = |place: &Place| match place.node.as_ref().map(|node| node.restless(wanted)) {
            Some(Ok(why)) => why,
            Some(Err(error)) => Some(error.to_string()),
            None => Some("it is dead".to_owned()),
        };
        self.places.iter().enumerate().find_map(|(n, place)| Some(format!("node {n}: {}", why(place)?)))
    }

    fn check(&mut self) {
        let ledgers: Vec<_> = self.places.iter().map(|place| place.node.as_ref().unwrap().ledger().clone()).collect();
        ledgers.iter().for_each(|ledger| self.model.check(ledger));
        let pictures: Vec<String> = ledgers.iter().map(picture).collect();
        assert!(pictures.windows(2).all(|two| two[0] == two[1]), "two nodes on one log don't agree");
        let engine = &self.releases.engine;
        assert_eq!(engine.permits_free(), engine.instances_max as usize, "a call has kept its instance");
        for place in &self.places {
            let app = place.node.as_ref().unwrap().dispatch.app(&app()).unwrap();
            assert!(app.lane.holds_nothing(), "the lane of an app at rest holds something");
        }
    }
}
