//! Recorded events play as on a node, and a file with a mistake says where.

use tawi::testing::{Host, Trace};
use tawi::{Error, Event, Timestamp, command, json, log, publish, state};

/// The same cases as the reader of the command line has.
const CASES: &str = include_str!("traces.txt");
const HEAD: &str = r#"{"format":"tawi-trace","version":1}"#;

/// A trace of readings of `pond1`, each received a minute after the one before.
fn trace(values: &[f64]) -> tawi::Result<Trace> {
    let line = |(at, value): (usize, &f64)| {
        format!(
            r#"{{"sequence":{},"kind":"reading","device":"pond1","sensor":"oxygen","value":{value:.2},"measured":"2026-05-01T05:{at:02}:00Z","received":"2026-05-01T06:{at:02}:00Z"}}"#,
            100 + at
        )
    };
    let lines: Vec<String> = values.iter().enumerate().map(line).collect();
    Trace::parse(&format!("{HEAD}\n{}\n", lines.join("\n")))
}

fn shown(event: &Event) -> String {
    let line = event.id().strip_prefix("trace-").unwrap_or_default();
    let first = event.subject().split('.').next().unwrap_or_default();
    let kind = if ["reading", "command"].contains(&first) { first } else { "message" };
    let value = match event.payload().json() {
        Some(text) => text.to_owned(),
        None => format!("0x{}", event.payload().bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    let (device, sensor) = (event.device().unwrap_or("-"), event.sensor().unwrap_or("-"));
    let sequence = if event.sequence().to_string() == line { "-".to_owned() } else { event.sequence().to_string() };
    let (measured, received) = (event.measured().micros(), event.received().micros());
    format!("{line} {kind} {} {device} {sensor} {value} {measured} {received} {sequence}", event.subject())
}

#[test]
fn a_trace_is_read_as_the_command_line_reads_it() {
    let cases: Vec<&str> = CASES.split("\n=== ").skip(1).collect();
    assert!(cases.len() > 5, "the cases are there");
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap_or_default();
        let (text, wanted) = rest.split_once("---").unwrap_or_default();
        let wanted: Vec<&str> = wanted.trim().lines().collect();
        match Trace::parse(text) {
            Ok(trace) => assert_eq!(trace.events().iter().map(shown).collect::<Vec<_>>(), wanted, "{name}"),
            Err(error) => {
                let mistakes: Vec<&str> = error.reason().split("\n  ").collect();
                assert_eq!(mistakes.len(), wanted.len(), "{name}: {mistakes:#?}");
                mistakes.iter().zip(wanted).for_each(|(said, words)| assert!(said.starts_with(words), "{name}: {said}"));
            }
        }
    }
}

#[test]
fn state_goes_from_one_event_to_the_next_and_effects_are_of_the_one_that_caused_them() -> tawi::Result {
    let low = |event: Event| -> tawi::Result {
        let was_low = state::get("low")?.unwrap_or(false);
        let is_low = event.number().is_some_and(|oxygen| oxygen < 4.0);
        state::set("low", &is_low)?;
        if is_low != was_low {
            log::info!("low: {is_low}");
            publish("alerts.pond1", &json!({ "low": is_low, "at": Timestamp::now() }))?;
            command::send("pond1", "aerator", &is_low)?;
        }
        Ok(())
    };
    let host = Host::new();
    let steps = host.play(low, &trace(&[6.0, 3.9, 3.8, 4.1])?)?;
    let counts: Vec<_> = steps.iter().map(|it| (it.published.len(), it.commands.len(), it.logs.len())).collect();
    assert_eq!(counts, [(0, 0, 0), (1, 1, 1), (0, 0, 0), (1, 1, 1)]);
    // The clock is when the event was received, not when it was measured.
    assert_eq!(steps[1].published[0].json(), json!({ "low": true, "at": "2026-05-01T06:01:00Z" }));
    assert_eq!((steps[3].event.sequence(), steps[3].event.payload().json()), (103, Some("4.10")));
    assert_eq!((host.published().len(), host.state("low")), (2, Some(false)));
    Ok(())
}

#[test]
fn a_handler_that_fails_ends_the_play_at_that_line_and_leaves_nothing_of_the_call() -> tawi::Result {
    let picky = |event: Event| -> tawi::Result {
        state::set(&format!("at/{}", event.sequence()), &event.number())?;
        state::set("last", &event.number())?;
        state::delete("at/100")?;
        publish("seen", &event.number())?;
        if event.number() > Some(5.0) { Err(Error::retry("too much oxygen")) } else { Ok(()) }
    };
    let host = Host::new();
    let error = host.play(picky, &trace(&[1.0, 2.0, 9.0, 3.0])?).err();
    let said = error.map(|error| error.reason().to_owned());
    assert_eq!(said.as_deref(), Some("event `trace-4` on `reading.pond1.oxygen`: too much oxygen"));
    assert_eq!((host.state_keys(), host.state("last"), host.published().len()), (vec!["at/101".into(), "last".into()], Some(2.0), 2));
    Ok(())
}

#[test]
fn only_the_events_on_a_subject_are_played() -> tawi::Result {
    let lines = [
        r#"{"kind":"reading","device":"a","sensor":"oxygen","value":1,"received":"2026-05-01T06:00:00Z"}"#,
        r#"{"kind":"reading","device":"a","sensor":"temp","value":2,"received":"2026-05-01T06:00:00Z"}"#,
        r#"{"kind":"message","subject":"alerts.a","value":3,"received":"2026-05-01T06:00:00Z"}"#,
    ];
    let trace = Trace::parse(&format!("{HEAD}\n{}", lines.join("\n")))?;
    let on = |pattern: &str| trace.clone().on(pattern).events().iter().filter_map(Event::number).collect::<Vec<_>>();
    assert_eq!(
        [on("reading.*.oxygen"), on("reading.>"), on(">"), on("alerts.*")],
        [vec![1.0], vec![1.0, 2.0], vec![1.0, 2.0, 3.0], vec![3.0]]
    );
    Ok(())
}

#[test]
fn a_trace_for_a_test_has_a_largest_size() -> tawi::Result {
    let said = |trace: tawi::Result<Trace>| trace.err().map(|error| error.reason().to_owned()).unwrap_or_default();
    let line = |length: usize| {
        let event = r#"{"kind":"reading","device":"d","sensor":"s","value":1,"received":"2026-05-01T06:00:00Z"}"#;
        format!("{event}{}", " ".repeat(length - event.len()))
    };
    assert_eq!(Trace::parse(&format!("{HEAD}\n{}", line(512 * 1024)))?.events().len(), 1);
    assert!(said(Trace::parse(&format!("{HEAD}\n\n{}", line(512 * 1024 + 1)))).contains("line 3: a line has at most 524288 bytes"));
    let blank = " ".repeat(64 * 1024 - 1);
    let largest = format!("{HEAD}\n{}", vec![blank; 1024].join("\n"));
    let largest = &largest[..64 * 1024 * 1024];
    assert!(Trace::parse(largest)?.events().is_empty());
    assert!(said(Trace::parse(&format!("{largest} "))).contains("at most 67108864 bytes"));
    assert!(said(Trace::read("tests/no-such.ndjson")).starts_with("can't read `tests/no-such.ndjson`"));
    Ok(())
}
