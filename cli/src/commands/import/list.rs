//! Devices as JSON: a list of them, in the shape of the API.

use super::{
    Lines,
    device::{Device, Wanted},
};
use serde_json::value::RawValue;
use std::collections::HashMap;

/// All devices, or all that is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Vec<Wanted>, Vec<String>> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| vec![format!("line {}: it is not UTF-8", Lines::of(bytes).until(e.valid_up_to()))])?;
    let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| vec![said(&e, 1)])?;
    let (mut devices, mut mistakes, mut lines): (Vec<Wanted>, _, HashMap<_, u64>) = (Vec::new(), Vec::new(), HashMap::new());
    let mut counted = Lines::of(bytes);
    for raw in list {
        let line = counted.until(raw.get().as_ptr() as usize - text.as_ptr() as usize);
        match serde_json::from_str::<Device>(raw.get()) {
            Err(e) => mistakes.push(said(&e, line)),
            Ok(device) => match (device.check(), lines.insert(device.id.clone(), line)) {
                (Err(why), _) => mistakes.push(format!("line {line}: device `{}`: {why}", device.id)),
                (Ok(()), Some(before)) => mistakes.push(format!("line {line}: device `{}` is in line {before} already", device.id)),
                (Ok(()), None) => devices.push(Wanted { line, device }),
            },
        }
    }
    if mistakes.is_empty() { Ok(devices) } else { Err(mistakes) }
}

/// What the parser says, with the line of the file instead of that of the device.
fn said(error: &serde_json::Error, begin: u64) -> String {
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or_default();
    format!("line {}: {why}", begin + (error.line() as u64).saturating_sub(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_listing_prints_can_be_imported() {
        let text = r#"[
            {"id": "pond1", "owner": "ada", "visibility": "private", "location": {"latitude": 5.36, "longitude": -4},
             "date_created": "2026-01-31T08:30:00Z", "deployed": null,
             "sensors": [{"id": "t", "unit": "DegreeCelsius", "value": {"value": 9.5, "timestamp": "2026-01-31T08:30:00Z"}}]},
            {"id": "pond2", "meta": {"tags": ["river"]}}
        ]"#;
        let devices = parse(text.as_bytes()).unwrap();
        assert_eq!(devices.iter().map(|wanted| wanted.line).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(devices[0].device.sensors[0].unit.as_deref(), Some("DegreeCelsius"));
        let sent = serde_json::to_value(&devices[0].device).unwrap();
        assert_eq!(
            (&sent["location"]["longitude"], sent.get("date_created"), sent["sensors"][0].get("value")),
            (&(-4.0).into(), None, None)
        );
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let text = "[{\"id\": \"a\"},\n{\"id\":\n \"b c\"},\n{\"id\": \"a\"}, {\"id\": \"d\", \"location\": {\"latitude\": 91, \"longitude\": 0}},\n\
                    {\"id\": \"e\", \"sensors\": [{\"id\": \"t\"}, {\"id\": \"t\"}]},\n{\"name\": \"f\"}]";
        let mistakes = parse(text.as_bytes()).unwrap_err();
        let said = [
            "line 3: ` ` can't stand in an id (`b c`)",
            "line 4: device `a` is in line 1 already",
            "line 4: device `d`: latitude 91",
            "line 5: device `e`: sensor `t` is there twice",
            "line 6: missing field `id`",
        ];
        assert_eq!(mistakes.len(), said.len(), "{mistakes:#?}");
        mistakes.iter().zip(said).for_each(|(mistake, said)| assert!(mistake.starts_with(said), "{mistake}"));
        assert!(parse(b"[{\"id\": \"a\"},\n\n").unwrap_err()[0].starts_with("line 3: EOF"));
        assert!(parse(b"{\"id\": \"a\"}").unwrap_err()[0].contains("line 1"));
        assert!(parse(b"[\n\xff]").unwrap_err()[0].contains("line 2: it is not UTF-8"));
    }
}
