//! Recorded readings: those of the WAZIUP pilots where they are, else a made set with the same quirks.

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// One sensor's file.
#[derive(Debug, Clone)]
pub struct Recording {
    pub path: PathBuf,
    pub device: String,
    pub sensor: String,
}

/// The directory with the pilots' files: `TAWI_PILOTS_DIR`, or beside the checkout; none on most machines.
pub fn pilots_dir() -> Option<PathBuf> {
    let beside = crate::repo::root().join("../shared/data/pilots");
    env::var_os("TAWI_PILOTS_DIR").map(PathBuf::from).or(Some(beside)).filter(|dir| dir.is_dir())
}

/// The recordings in a directory; a file is named `DEVICE-SENSOR.csv`.
pub fn recordings(dir: &Path) -> Vec<Recording> {
    let paths = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<Recording> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "csv"))
        .map(|path| {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap().to_owned();
            let (device, sensor) = stem.rsplit_once('-').unwrap_or_else(|| panic!("`{stem}.csv` is not named DEVICE-SENSOR.csv"));
            Recording { device: device.to_owned(), sensor: sensor.to_owned(), path }
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// When each reading was measured, and the number as it is written.
pub fn readings(recording: &Recording) -> Vec<(jiff::Timestamp, String)> {
    let text = fs::read_to_string(&recording.path).unwrap();
    let cells = text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')).collect::<Vec<_>>());
    let rows = cells.filter(|cells| cells.len() == 3 && cells[1] != "timestamp");
    rows.map(|cells| (cells[1].parse().unwrap(), cells[2].to_owned())).collect()
}

/// Readings of one made sensor.
const MADE_READINGS: usize = 1_500;
/// A header comes again after this many rows, as in an export that was put together from pages.
const ROWS_PER_PAGE: usize = 400;

/// Writes a small set of recordings that has every quirk of the real one: a blank first line, headers inside, quoted
/// numbers, a device clock two hours ahead of the receiver's, one measured time twice, and days that end in between.
pub fn make(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (device, sensor, base, swing, ahead_s) in [
        ("POND_1", "DO", 5.0, 1.5, 7_200),
        ("POND_1", "WT", 29.0, 4.0, 7_200),
        ("FIELD_2", "SM", 540.0, 90.0, -2),
        ("ROOF_3", "TP", 28.0, 5.0, -2),
    ] {
        let mut text = String::from("\n");
        for i in 0..MADE_READINGS {
            if i % ROWS_PER_PAGE == 0 {
                text.push_str("\"date_received\",\"timestamp\",\"value\"\n");
            }
            // Every 97 seconds, but the 700th is measured when the 699th was.
            let received = 1_526_277_600 + 97 * (i as i64 - i64::from(i == 700));
            let measured = received + ahead_s;
            // A wave with a period that no day divides, to two digits, as devices send it.
            let value = base + swing * (i as f64 / 53.0).sin();
            writeln!(text, "\"{}\",\"{}\",\"{value:.2}\"", stamp(received), stamp(measured)).unwrap();
        }
        fs::write(dir.join(format!("{device}-{sensor}.csv")), text).unwrap();
    }
}

fn stamp(seconds: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_second(seconds).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_set_has_the_quirks_of_the_real_one() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let found = recordings(dir.path());
        assert_eq!(found.len(), 4);
        assert_eq!(readings(&found[0]).len(), MADE_READINGS);
        let text = fs::read_to_string(&found[0].path).unwrap();
        assert!(
            text.starts_with("\n\"date_received\",\"timestamp\",\"value\"\n\"2018-05-14T06:00:00.000Z\",\"2018-05-14T05:59:58.000Z\",\"5")
        );
        assert_eq!(text.matches("date_received").count(), 4);
        let mut times: Vec<&str> = text.lines().filter_map(|l| l.split(',').nth(1)).filter(|t| t.contains("T")).collect();
        times.sort_unstable();
        assert_eq!(times.windows(2).filter(|two| two[0] == two[1]).count(), 1);
    }
}
