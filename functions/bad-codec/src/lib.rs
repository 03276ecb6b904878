//! Misbehaves in the way that the port says, while the node decodes.

use tawi::{Error, Sample, Uplink, log, publish, state};

#[tawi::codec]
fn decode(uplink: Uplink) -> tawi::Result<Vec<Sample>> {
    log::info!("about to misbehave in way {:?}", uplink.port);
    match uplink.port {
        Some(1) => panic!("a frame too many"),
        Some(2) => loop {
            std::hint::black_box(0);
        },
        Some(3) => Err(Error::reject(format!("can't read {} bytes\u{1b}[31m", uplink.payload.len()))),
        Some(4) => many(1_001),
        Some(5) => Ok(vec![Sample::new("a/b", 1)?]),
        Some(6) => Ok(vec![Sample { sensor: "s".into(), value: tawi::Value::Json("{".into()), measured: None }]),
        Some(7) => Ok(vec![Sample::new("s", "x".repeat(100_000))?]),
        Some(8) => said(publish("said.x", &1)),
        Some(9) => said(state::set("k", &1)),
        Some(10) => said(state::get::<u32>("k").map(drop)),
        Some(11) => Ok(vec![Sample::new("s", vec![0_u8; 64 << 20])?]),
        Some(12) => Ok(vec![Sample::new("s", 1)?.at(tawi::Timestamp::from_micros(i64::MAX))]),
        _ => Ok(vec![Sample::new("s", uplink.payload.len())?]),
    }
}

fn many(count: u32) -> tawi::Result<Vec<Sample>> {
    (0..count).map(|n| Sample::new(format!("s{n}"), n)).collect()
}

/// What came of an effect, as a value.
fn said(done: tawi::Result) -> tawi::Result<Vec<Sample>> {
    let said = done.map_or_else(|error| error.reason().to_owned(), |()| "done".to_owned());
    Ok(vec![Sample::new("said", said)?])
}
