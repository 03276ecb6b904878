use super::*;

/// The same cases as the reader of the SDK has.
const CASES: &str = include_str!("../../sdk/tests/traces.txt");

fn shown(line: usize, event: &Event) -> String {
    let or = |id: Option<&Id>| id.map_or("-".to_owned(), ToString::to_string);
    let kind = serde_json::from_str::<serde_json::Value>(&event.to_line()).unwrap()["kind"].as_str().unwrap().to_owned();
    let value = match &event.value {
        Value::Json(text) => text.to_string(),
        Value::Bytes(bytes) => format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    let (device, sensor) = (or(event.device.as_ref()), or(event.sensor.as_ref()));
    let sequence = event.sequence.map_or("-".to_owned(), |n| n.to_string());
    format!("{line} {kind} {} {device} {sensor} {value} {} {} {sequence}", event.subject, event.measured.0, event.received.0)
}

/// Events, or if there is any, all mistakes.
fn read(text: &[u8]) -> Result<Vec<(usize, Event)>, Vec<String>> {
    let (mut reader, mut events, mut mistakes) = (Reader::new(text), Vec::new(), Vec::new());
    while let Some(next) = reader.next() {
        match next {
            Ok(event) => events.push((reader.line, event)),
            Err(mistake) => mistakes.push(mistake.to_string()),
        }
    }
    if mistakes.is_empty() { Ok(events) } else { Err(mistakes) }
}

#[test]
fn a_trace_is_read_as_the_sdk_reads_it() {
    let cases: Vec<&str> = CASES.split("\n=== ").skip(1).collect();
    assert!(cases.len() > 5, "the cases are there");
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, wanted) = rest.split_once("---").unwrap();
        let wanted: Vec<&str> = wanted.trim().lines().collect();
        match read(text.as_bytes()) {
            Ok(events) => assert_eq!(events.iter().map(|(line, event)| shown(*line, event)).collect::<Vec<_>>(), wanted, "{name}"),
            Err(mistakes) => {
                assert_eq!(mistakes.len(), wanted.len(), "{name}: {mistakes:#?}");
                mistakes.iter().zip(wanted).for_each(|(said, words)| assert!(said.starts_with(words), "{name}: {said}"));
            }
        }
    }
}

#[test]
fn what_was_read_is_written_as_it_was() {
    let lines = [
        r#"{"sequence":17,"kind":"reading","device":"pond.1","sensor":"t","value":6.10,"raw":"61,0","measured":"2026-05-01T06:00:00Z","received":"2026-05-01T06:00:04.25Z"}"#,
        r#"{"kind":"message","subject":"alerts.a","device":"a","value":{"n": 1.50},"measured":"2026-05-01T06:00:00Z","received":"2026-05-01T06:00:00Z"}"#,
        r#"{"kind":"reading","device":"d","sensor":"s","value":{"bytes":"00ff"},"encoding":"hex","measured":"2026-05-01T06:00:00Z","received":"2026-05-01T06:00:00Z"}"#,
    ];
    for line in lines {
        assert_eq!(Event::parse(line).unwrap().to_line(), line);
    }
    let event = Event::parse(lines[0]).unwrap();
    assert_eq!(event.raw, Value::json("\"61,0\""));
    let broken = Event { value: Value::json("[1,\r\n 2]").unwrap(), ..event };
    assert!(!broken.to_line().contains(['\n', '\r']));
}

#[test]
fn a_line_of_a_trace_has_a_longest_and_the_next_one_is_read() {
    let line = |length: usize| {
        let event = r#"{"kind":"reading","device":"d","sensor":"s","value":1,"received":"2026-05-01T06:00:00Z"}"#;
        format!("{event}{}", " ".repeat(length - event.len()))
    };
    let (longest, longer) = (line(TRACE_LINE_BYTES_MAX), line(TRACE_LINE_BYTES_MAX + 1));
    assert_eq!(read(format!("{HEAD}\n{longest}\n{longest}").as_bytes()).unwrap().len(), 2);
    let mistakes = read(format!("{HEAD}\n{longer}\n{longest}\n{longer}{longer}\nx\n{longer}").as_bytes()).unwrap_err();
    let lines: Vec<&str> = mistakes.iter().filter_map(|it| it.split(':').next()).collect();
    assert_eq!(lines, ["line 2", "line 4", "line 5", "line 6"]);
    assert!(mistakes[0].contains("at most 524288 bytes"), "{mistakes:?}");
}

#[test]
fn a_file_that_is_no_text_is_no_trace() {
    let mistakes = read(format!("{HEAD}\nx\n").into_bytes().into_iter().chain([0xff, b'\n']).collect::<Vec<u8>>().as_slice()).unwrap_err();
    assert_eq!(mistakes[1], "line 3: it is not UTF-8 at byte 0");
    assert_eq!(read(b"").unwrap_err(), ["line 1: it is empty"]);
}
