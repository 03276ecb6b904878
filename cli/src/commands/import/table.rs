//! Devices as CSV: a row for each sensor or actuator.
//!
//! What is said of the device stands in any of its rows, or in all of them; an empty cell says nothing.

use super::{
    Lines,
    device::{Actuator, Device, Sensor, Wanted},
};
use csv::StringRecord;
use serde_json::{Map, Value};
use std::collections::HashMap;
use tawi_runtime::model::{Id, Location, Visibility};

const COLUMNS: [&str; 17] = [
    "device",
    "name",
    "owner",
    "visibility",
    "gateway",
    "latitude",
    "longitude",
    "tags",
    "sensor",
    "sensor_name",
    "sensor_kind",
    "quantity_kind",
    "unit",
    "actuator",
    "actuator_name",
    "actuator_kind",
    "actuator_value_type",
];
/// The columns that are about the device: its rows may repeat them, but not contradict each other.
const OF_DEVICE: [&str; 7] = ["name", "owner", "visibility", "gateway", "latitude", "longitude", "tags"];
const OF_SENSOR: [&str; 4] = ["sensor_name", "sensor_kind", "quantity_kind", "unit"];
const OF_ACTUATOR: [&str; 3] = ["actuator_name", "actuator_kind", "actuator_value_type"];

/// The cells of a row that say something, by their columns.
type Cells<'a> = HashMap<&'static str, &'a str>;

struct Table {
    columns: Vec<&'static str>,
    all: Vec<Rows>,
    /// Which of them is whose.
    places: HashMap<Id, usize>,
}

/// The rows of one device, put together.
struct Rows {
    line: u64,
    device: Device,
    /// What was said of it, and in which line.
    said: HashMap<&'static str, (String, u64)>,
}

/// All devices in the order of their first rows, or all that is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Vec<Wanted>, Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).has_headers(false).from_reader(bytes);
    let (mut table, mut mistakes, mut counted) = (None, Vec::new(), Lines::of(bytes));
    for record in reader.records() {
        let record = record.map_err(|e| vec![e.to_string()])?;
        // The reader passes over blank lines without a word.
        let line = counted.after_blank(record.position().map_or(0, |place| place.byte() as usize));
        let Some(table) = &mut table else {
            let columns = columns_of(&record).map_err(|why| vec![format!("line {line}: {why}")])?;
            table = Some(Table { columns, all: Vec::new(), places: HashMap::new() });
            continue;
        };
        if let Err(why) = table.row(&record, line) {
            mistakes.push(format!("line {line}: {why}"));
        }
    }
    let table = table.ok_or_else(|| vec!["it is empty: there is no header with a column `device`".to_owned()])?;
    let mut devices = Vec::with_capacity(table.all.len());
    for rows in table.all {
        let line = rows.line;
        match rows.finish() {
            Ok(device) => devices.push(Wanted { line, device }),
            Err(why) => mistakes.push(format!("line {line}: {why}")),
        }
    }
    if mistakes.is_empty() { Ok(devices) } else { Err(mistakes) }
}

fn columns_of(header: &StringRecord) -> Result<Vec<&'static str>, String> {
    let known = |name: &str| COLUMNS.into_iter().find(|column| *column == name).ok_or_else(|| name.to_owned());
    let columns: Vec<&str> = header
        .iter()
        .map(known)
        .collect::<Result<_, _>>()
        .map_err(|name| format!("there is no column `{name}`; there are `{}`", COLUMNS.join("`, `")))?;
    if let Some(twice) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
        return Err(format!("column `{}` is there twice", twice.1));
    }
    if columns.contains(&"device") { Ok(columns) } else { Err("there is no column `device`".to_owned()) }
}

impl Table {
    fn row(&mut self, record: &StringRecord, line: u64) -> Result<(), String> {
        if record.len() != self.columns.len() {
            return Err(format!("it has {} columns, the header has {}", record.len(), self.columns.len()));
        }
        let cells: Cells = self.columns.iter().copied().zip(record.iter()).filter(|(_, cell)| !cell.is_empty()).collect();
        let id = id(&cells, "device")?.ok_or("there is no `device`")?;
        let place = *self.places.entry(id.clone()).or_insert_with(|| {
            self.all.push(Rows { line, device: Device::new(id), said: HashMap::new() });
            self.all.len() - 1
        });
        self.all[place].add(&cells, line)
    }
}

fn id(cells: &Cells<'_>, column: &str) -> Result<Option<Id>, String> {
    cells.get(column).map(|text| Id::new(text).map_err(|e| format!("`{column}`: {e}"))).transpose()
}

impl Rows {
    fn add(&mut self, cells: &Cells<'_>, line: u64) -> Result<(), String> {
        for column in OF_DEVICE {
            let Some(text) = cells.get(column) else { continue };
            let (before, said_in) = self.said.entry(column).or_insert_with(|| ((*text).to_owned(), line));
            if before != text {
                return Err(format!("`{column}` of device `{}` is `{text}` here and `{before}` in line {said_in}", self.device.id));
            }
        }
        self.add_sensor(cells)?;
        self.add_actuator(cells)
    }

    fn add_sensor(&mut self, cells: &Cells<'_>) -> Result<(), String> {
        let text = |column: &str| cells.get(column).map(|text| (*text).to_owned());
        let Some(id) = id(cells, "sensor")? else { return nothing_of(cells, &OF_SENSOR, "sensor") };
        if self.device.sensors.iter().any(|known| known.id == id) {
            return Err(format!("sensor `{id}` of device `{}` is there twice", self.device.id));
        }
        self.device.sensors.push(Sensor {
            id,
            name: text("sensor_name"),
            sensor_kind: text("sensor_kind"),
            quantity_kind: text("quantity_kind"),
            unit: text("unit"),
            calib: None,
            meta: None,
        });
        Ok(())
    }

    fn add_actuator(&mut self, cells: &Cells<'_>) -> Result<(), String> {
        let text = |column: &str| cells.get(column).map(|text| (*text).to_owned());
        let Some(id) = id(cells, "actuator")? else { return nothing_of(cells, &OF_ACTUATOR, "actuator") };
        if self.device.actuators.iter().any(|known| known.id == id) {
            return Err(format!("actuator `{id}` of device `{}` is there twice", self.device.id));
        }
        self.device.actuators.push(Actuator {
            id,
            name: text("actuator_name"),
            actuator_kind: text("actuator_kind"),
            actuator_value_type: text("actuator_value_type"),
            meta: None,
        });
        Ok(())
    }

    /// What stands in any of its rows, as the API takes it.
    fn finish(self) -> Result<Device, String> {
        let Rows { mut device, said, .. } = self;
        let text = |column: &str| said.get(column).map(|(text, _)| text.as_str());
        let known = |column: &str| text(column).map(|text| Id::new(text).map_err(|e| format!("`{column}`: {e}"))).transpose();
        device.name = text("name").map(str::to_owned);
        device.owner = known("owner")?;
        device.gateway_id = known("gateway")?;
        device.visibility = match text("visibility") {
            None => None,
            Some("public") => Some(Visibility::Public),
            Some("private") => Some(Visibility::Private),
            Some(other) => return Err(format!("`visibility` is `public` or `private`, not `{other}`")),
        };
        device.location = match (degrees("latitude", text("latitude"))?, degrees("longitude", text("longitude"))?) {
            (Some(latitude), Some(longitude)) => Some(Location { latitude, longitude }),
            (None, None) => None,
            _ => return Err(format!("device `{}` has one of `latitude` and `longitude`: a place has both", device.id)),
        };
        device.meta = text("tags").map(|tags| {
            let tags: Vec<Value> = tags.split(';').map(str::trim).filter(|tag| !tag.is_empty()).map(Value::from).collect();
            Map::from_iter([("tags".to_owned(), Value::from(tags))])
        });
        device.check().map_err(|why| format!("device `{}`: {why}", device.id))?;
        Ok(device)
    }
}

fn degrees(column: &str, text: Option<&str>) -> Result<Option<f64>, String> {
    text.map(|text| text.parse().map_err(|_| format!("`{column}` is a number of degrees, not `{text}`"))).transpose()
}

/// Who says what a sensor is and not which has a hole in the table.
fn nothing_of(cells: &Cells<'_>, columns: &[&'static str], what: &str) -> Result<(), String> {
    match columns.iter().find(|column| cells.contains_key(*column)) {
        Some(column) => Err(format!("there is a `{column}` and no `{what}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_device_are_put_together_wherever_they_stand() {
        let text = "\u{feff}device,owner,visibility,latitude,longitude,tags,sensor,unit,actuator,actuator_value_type\n\n\
                    pond1,ada,private,5.36,-4,river; north,t,DegreeCelsius,,\n\
                    pond2,,,,,,,,,\n\
                    pond1,ada,,,,,\"ph\",,pump,bool\n";
        let devices = super::super::parse(text.as_bytes()).unwrap();
        let (first, second) = (&devices[0], &devices[1]);
        assert_eq!((first.line, second.line, second.device.sensors.len()), (3, 4, 0));
        assert_eq!(first.device.sensors.iter().map(|sensor| sensor.id.as_str()).collect::<Vec<_>>(), ["t", "ph"]);
        assert_eq!(first.device.actuators[0].actuator_value_type.as_deref(), Some("bool"));
        let sent = serde_json::to_value(&first.device).unwrap();
        assert_eq!((&sent["owner"], &sent["visibility"], &sent["meta"]["tags"][1]), (&"ada".into(), &"private".into(), &"north".into()));
        assert_eq!(sent["location"]["longitude"], -4.0);
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let text = "device,owner,visibility,latitude,sensor,unit\n\
                    a,ada,,,t,\n\
                    b c,,,,,\n\
                    a,bob,,,u,\n\
                    a,,,,t,\n\
                    d,,secret,,,\n\
                    e,,,5.36,,\n\
                    f,,,,,DegreeCelsius\n\
                    g,,\n\
                    ,,,,t,\n";
        let mistakes = parse(text.as_bytes()).unwrap_err();
        for wanted in [
            "line 3: `device`: ` ` can't stand in an id (`b c`)",
            "line 4: `owner` of device `a` is `bob` here and `ada` in line 2",
            "line 5: sensor `t` of device `a` is there twice",
            "line 6: `visibility` is `public` or `private`, not `secret`",
            "line 7: device `e` has one of",
            "line 8: there is a `unit` and no `sensor`",
            "line 9: it has 3 columns, the header has 6",
            "line 10: there is no `device`",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(wanted)), "{wanted}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
        assert!(parse(b"device,colour\n").unwrap_err()[0].contains("line 1: there is no column `colour`"));
        assert!(parse(b"sensor\n").unwrap_err()[0].contains("no column `device`"));
        assert!(parse(b"device,device\n").unwrap_err()[0].contains("twice"));
        assert!(parse(b"").unwrap_err()[0].contains("empty"));
    }
}
