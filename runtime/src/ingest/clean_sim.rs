//! Rules that remember, on a disk that loses its power: what is in the log is what one computation that nothing interrupts makes of it.

use super::{super::Ingest, super::RepeatKey, *};
use crate::{
    devices::Devices,
    ledger::tests::{
        floor::threaded,
        sim::{Dice, SimDisk},
    },
    model::{Kind, Micros, Seq, Value, id::default_tenant},
    preprocess::{Declared, Envelope, Sample},
    telemetry::Metrics,
};
use serde_json::json;

const SENSORS: [&str; 2] = ["t", "u"];
/// Deliveries that one device has under way at a time: what is sent again is within what `duplicate` looks at.
const AT_ONCE: u64 = 3;
const DUPLICATE_LAST: u64 = 16;

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn rule(sensor: &str) -> Rule {
    let steps = json!([
        { "duplicate": { "last": DUPLICATE_LAST } },
        { "stuck": { "readings": 4 } },
        { "spike": { "window": 5, "at_least": 1 } },
        { "calibrate": { "gain": 0.5, "offset": 1 } },
    ]);
    Rule::of(&id(sensor), json!({ "device": "d", "sensor": sensor, "steps": steps })).unwrap()
}

/// What a device sends at once, until it is answered.
struct Delivery {
    number: u64,
    /// Without one, what is sent again is stored again: as a duplicate, by the rule.
    keyed: bool,
    samples: Vec<(&'static str, i64)>,
    answer: Option<Vec<Seq>>,
}

impl Delivery {
    fn new(number: u64, dice: &mut Dice) -> Delivery {
        let value = |dice: &mut Dice| if dice.below(8) == 0 { 90 } else { 20 + dice.below(3) as i64 };
        let samples = (0..1 + dice.below(3)).map(|_| (SENSORS[dice.below(2) as usize], value(dice))).collect();
        Delivery { number, keyed: dice.below(2) == 0, samples, answer: None }
    }

    /// By which a sample is known.
    fn measured(&self, sample: usize) -> Micros {
        Micros((self.number * 10 + sample as u64) as i64 * Micros::SECOND)
    }

    fn envelope(&self) -> Envelope {
        let sample = |(at, (sensor, value)): (usize, &(&str, i64))| {
            let value = Value::json(&value.to_string()).unwrap();
            Sample { device: id("d"), sensor: id(sensor), measured: Some(self.measured(at)), value }
        };
        let samples = self.samples.iter().enumerate().map(sample).collect();
        Envelope { tenant: default_tenant(), received: Micros(1), samples }
    }

    fn key(&self) -> Option<RepeatKey> {
        self.keyed.then(|| RepeatKey::http("t1", &["value"], &self.number.to_string()))
    }
}

struct Field {
    dice: Dice,
    sent: Vec<Delivery>,
    deaths: u64,
}

impl Field {
    /// Sends until the power goes, or a while.
    async fn go_on(&mut self, ledger: &Ledger, rounds: u64) {
        let dir = tempfile::tempdir().unwrap();
        let Ok(registry) = Registry::open(ledger.clone(), Devices::open(dir.path()).unwrap(), &default_tenant()) else { return };
        let ingest = Ingest::new(ledger.clone(), registry, Metrics::new(), true);
        for _ in 0..rounds {
            if self.sent.iter().all(|delivery| delivery.answer.is_some()) {
                let more: Vec<Delivery> =
                    (0..1 + self.dice.below(AT_ONCE)).map(|n| Delivery::new(self.sent.len() as u64 + n, &mut self.dice)).collect();
                self.sent.extend(more);
            }
            let open: Vec<&mut Delivery> = self.sent.iter_mut().filter(|delivery| delivery.answer.is_none()).collect();
            let hangs_up = self.dice.below(6) == 0;
            let answers = open.into_iter().map(async |delivery| {
                let mut answer = Box::pin(ingest.store(delivery.envelope(), delivery.key()));
                if hangs_up && delivery.number.is_multiple_of(2) {
                    // It is sent again while this one may be on its way.
                    return drop(futures::poll!(&mut answer));
                }
                delivery.answer = answer.await.ok().map(|stored| stored.seqs);
            });
            futures::future::join_all(answers).await;
        }
    }

    fn check(&self, ledger: &Ledger, seed: u64) {
        let log = ledger.events(1, usize::MAX, usize::MAX).unwrap();
        let mut found: BTreeMap<Micros, Vec<Seq>> = BTreeMap::new();
        for sensor in SENSORS {
            let (rule, mut judged) = (rule(sensor), 0);
            let mut state = rule.recall(None);
            let of = log.iter().filter(|event| matches!(event.kind, Kind::Reading | Kind::Dropped));
            for event in of.filter(|event| event.sensor.as_ref().is_some_and(|of| of.as_str() == sensor)) {
                let sent = event.raw.as_deref().unwrap_or(&event.value).clone();
                let sent = NewEvent::reading(&default_tenant(), &id("d"), &id(sensor), event.measured, event.received, sent);
                assert_eq!(event.body, rule.clean(&mut state, sent), "seed {seed}: event {} was judged by something else", event.seq);
                let is_again = event.kind == Kind::Dropped && event.value.to_json()["code"] == "duplicate";
                let copies = found.entry(event.measured).or_default();
                assert!(copies.is_empty() || is_again, "seed {seed}: {} is there a second time, as {event:?}", event.measured);
                copies.push(event.seq);
                judged += 1;
            }
            let kept = ledger.state(&place(&default_tenant()), &format!("d/{sensor}")).unwrap();
            let expected = (judged > 0).then(|| rule.keep(&state));
            assert_eq!(kept.as_deref(), expected.as_deref(), "seed {seed}: what is remembered of `{sensor}`");
        }
        for delivery in &self.sent {
            let copies: Vec<&[Seq]> =
                (0..delivery.samples.len()).map(|n| found.get(&delivery.measured(n)).map_or(&[][..], Vec::as_slice)).collect();
            let times = copies[0].len();
            assert!(copies.iter().all(|seqs| seqs.len() == times), "seed {seed}: a part of delivery {}", delivery.number);
            assert!(!delivery.keyed || times <= 1, "seed {seed}: delivery {} under its key is at {copies:?}", delivery.number);
            if let Some(answer) = &delivery.answer {
                let there = (0..times).any(|time| copies.iter().map(|seqs| seqs[time]).eq(answer.iter().copied()));
                assert!(there, "seed {seed}: delivery {} was answered with {answer:?} and is at {copies:?}", delivery.number);
            }
        }
    }
}

#[tokio::test]
async fn what_rules_made_of_readings_is_what_they_make_uninterrupted_however_often_the_power_goes() {
    let (mut deaths, mut answered, mut again) = (0, 0, 0);
    for seed in 1..=15 {
        let disk = SimDisk::new(seed);
        let mut field = Field { dice: Dice::new(seed), sent: Vec::new(), deaths: 0 };
        {
            let (ledger, dir) = (threaded(&disk).unwrap(), tempfile::tempdir().unwrap());
            let registry = Registry::open(ledger.clone(), Devices::open(dir.path()).unwrap(), &default_tenant()).unwrap();
            for sensor in SENSORS {
                registry.put_rule(&Declared::Clean(Arc::new(rule(sensor))), Micros(1)).await.unwrap();
            }
            ledger.close().await;
        }
        for _ in 0..6 {
            disk.cut_power_after(20 + field.dice.below(250));
            if let Ok(ledger) = threaded(&disk) {
                let (dying, gone) = (ledger.clone(), disk.clone());
                let death = tokio::spawn(async move {
                    gone.power_gone().await;
                    dying.close().await;
                });
                field.go_on(&ledger, 12).await;
                field.deaths += u64::from(!disk.has_power());
                ledger.close().await;
                death.abort();
                let _ = death.await;
            }
            disk.power_up();
            let ledger = threaded(&disk).unwrap();
            field.check(&ledger, seed);
            ledger.close().await;
            disk.process_dies();
        }
        let ledger = threaded(&disk).unwrap();
        field.go_on(&ledger, 30).await;
        field.check(&ledger, seed);
        let dropped = |event: &Arc<crate::model::Event>| event.kind == Kind::Dropped && event.value.to_json()["code"] == "duplicate";
        again += ledger.events(1, usize::MAX, usize::MAX).unwrap().iter().filter(|event| dropped(event)).count();
        answered += field.sent.iter().filter(|delivery| delivery.answer.is_some()).count();
        deaths += field.deaths;
        ledger.close().await;
    }
    assert!(deaths > 40 && answered > 400 && again > 10, "{deaths} deaths, {answered} answered, {again} were sent again");
}
