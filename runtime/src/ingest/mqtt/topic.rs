//! Topics and filters: which sensor or actuator a topic names, and which topics a filter means. Pure.

use crate::model::{
    Event, Id, Kind,
    limit::{MQTT_FILTER_LEVELS_MAX, MQTT_TOPIC_BYTES_MAX},
};
use std::sync::Arc;

/// What a topic of a publish names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub device: Id,
    /// Of the sensor, or of the actuator.
    pub id: Id,
    pub is_actuator: bool,
    /// `…/values`: a list.
    pub many: bool,
}

impl Target {
    /// `devices/D/sensors/S/value`, `…/values`, and the same with `actuators`; none for every other topic, and for ids that
    /// are no ids: no wildcard gets through here.
    pub fn of(topic: &str) -> Option<Target> {
        if topic.len() > MQTT_TOPIC_BYTES_MAX {
            return None;
        }
        let mut levels = topic.split('/');
        let (Some("devices"), Some(device), Some(kind), Some(id)) = (levels.next(), levels.next(), levels.next(), levels.next()) else {
            return None;
        };
        let is_actuator = match kind {
            "sensors" => false,
            "actuators" => true,
            _ => return None,
        };
        let many = match (levels.next(), levels.next()) {
            (Some("value"), None) => false,
            (Some("values"), None) => true,
            _ => return None,
        };
        Some(Target { device: Id::new(device).ok()?, id: Id::new(id).ok()?, is_actuator, many })
    }
}

/// Where subscribers find an event; none for one that is not theirs to see.
pub fn of(event: &Event) -> Option<String> {
    let kind = match event.kind {
        Kind::Reading => "sensors",
        Kind::Command => "actuators",
        _ => return None,
    };
    Some(of_value(event.device.as_ref()?, kind, event.sensor.as_ref()?))
}

pub fn of_value(device: &Id, kind: &str, id: &Id) -> String {
    format!("devices/{device}/{kind}/{id}/value")
}

/// A filter as somebody subscribed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// As it was sent, which is what an UNSUBSCRIBE names.
    pub text: Arc<str>,
    /// Where the group's name and the filter itself begin, for `$share/GROUP/FILTER`.
    share: Option<usize>,
}

impl Filter {
    /// None for what is no filter, or a longer or deeper one than anybody needs.
    pub fn new(text: &str) -> Option<Filter> {
        const SHARE: &str = "$share/";
        if text.is_empty() || text.len() > MQTT_TOPIC_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        let share = match text.strip_prefix(SHARE) {
            Some(rest) => {
                let (group, filter) = rest.split_once('/')?;
                if group.is_empty() || filter.is_empty() || group.contains(['+', '#']) {
                    return None;
                }
                Some(SHARE.len() + group.len() + 1)
            }
            None => None,
        };
        let filter = &text[share.unwrap_or(0)..];
        let mut levels = filter.split('/').peekable();
        let mut count = 0;
        while let Some(level) = levels.next() {
            count += 1;
            let whole = match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                level => !level.contains(['+', '#']),
            };
            if !whole || count > MQTT_FILTER_LEVELS_MAX {
                return None;
            }
        }
        Some(Filter { text: text.into(), share })
    }

    /// The filter without the name of a group.
    pub fn levels(&self) -> &str {
        &self.text[self.share.unwrap_or(0)..]
    }

    pub fn is_shared(&self) -> bool {
        self.share.is_some()
    }

    pub fn matches(&self, topic: &str) -> bool {
        let mut topic = topic.split('/');
        for wanted in self.levels().split('/') {
            match (wanted, topic.next()) {
                ("#", _) => return true,
                (_, None) => return false,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted != level => return false,
                _ => {}
            }
        }
        topic.next().is_none()
    }

    /// The device, where the filter names one; what it says of others, nobody has to look for.
    pub fn device(&self) -> Option<Id> {
        let mut levels = self.levels().split('/');
        if levels.next() != Some("devices") {
            return None;
        }
        levels.next().and_then(|level| Id::new(level).ok())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_names_a_sensor_or_an_actuator_or_nothing() {
        let of = |topic| Target::of(topic).map(|t| (t.device.to_string(), t.id.to_string(), t.is_actuator, t.many));
        assert_eq!(of("devices/d/sensors/s/value"), Some(("d".into(), "s".into(), false, false)));
        assert_eq!(of("devices/d.1/actuators/a/values"), Some(("d.1".into(), "a".into(), true, true)));
        let long = format!("devices/{}/sensors/s/value", "x".repeat(10_000));
        for other in [
            "",
            "devices",
            "devices/d/sensors/s",
            "devices/d/sensors/s/value/x",
            "devices/d/sensors/s/valu",
            "/devices/d/sensors/s/value",
            "devices//sensors/s/value",
            "devices/+/sensors/s/value",
            "devices/#",
            "devices/a b/sensors/s/value",
            "devices/d/sensors/a*/value",
            "devices/d/sensors/>/value",
            "devices/d\u{0}/sensors/s/value",
            "things/d/sensors/s/value",
            &long,
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_filter_has_wildcards_only_as_whole_levels() {
        for good in ["#", "+", "a/+/b", "a/#", "/", "a//b", "$share/g/a/#", "+/+"] {
            assert!(Filter::new(good).is_some(), "{good}");
        }
        let long = "x".repeat(10_000);
        let deep = "a/".repeat(MQTT_FILTER_LEVELS_MAX);
        for bad in ["", "a#", "a/#/b", "+a", "a+", "a/b+/c", "$share/g", "$share//a", "$share/g/", "$share/+/a", "a\u{0}", &long, &deep] {
            assert!(Filter::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, yes) in [
            ("devices/+/sensors/+/value", "devices/d/sensors/s/value", true),
            ("devices/#", "devices", true),
            ("devices/#", "devices/d/sensors/s/value", true),
            ("devices/d/+", "devices/d", false),
            ("devices/d", "devices/d/sensors", false),
            ("$share/g/devices/d", "devices/d", true),
            ("+", "a/b", false),
            ("#", "a/b", true),
        ] {
            assert_eq!(Filter::new(filter).unwrap().matches(topic), yes, "{filter} on {topic}");
        }
        assert_eq!(Filter::new("devices/d1/#").unwrap().device(), Some(Id::new("d1").unwrap()));
        assert_eq!(Filter::new("devices/+/#").unwrap().device(), None);
    }

    /// Words by chance over what topics and filters are made of: the same on every machine.
    #[test]
    fn whatever_comes_as_a_topic_or_a_filter_is_one_or_none() {
        const LEVELS: [&str; 12] = ["devices", "sensors", "actuators", "value", "values", "d", "d+", "+", "#", "$share", "", "\u{1f41f}"];
        let (mut topics, mut filters) = (0, 0);
        let mut seed = 1_u32;
        for _ in 0..200_000 {
            let mut next = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 16) as usize
            };
            let text = (0..next() % 8).map(|_| LEVELS[next() % LEVELS.len()]).collect::<Vec<_>>().join("/");
            if let Some(target) = Target::of(&text) {
                topics += 1;
                // It says all of the topic, and no wildcard is in it.
                let kind = if target.is_actuator { "actuators" } else { "sensors" };
                let last = if target.many { "values" } else { "value" };
                assert_eq!(format!("devices/{}/{kind}/{}/{last}", target.device, target.id), text);
                assert!(!text.contains(['+', '#']), "{text}");
                assert!(Filter::new(&text).unwrap().matches(&text), "{text}");
            }
            if let Some(filter) = Filter::new(&text) {
                filters += 1;
                assert_eq!(filter.is_shared(), text.starts_with("$share/"), "{text}");
                // A filter fits its own topic, whatever stands for its wildcards.
                let topic = filter.levels().replace(['+', '#'], "d");
                assert!(filter.matches(&topic), "{text} on {topic}");
                if let Some(device) = filter.device() {
                    assert!(filter.levels().starts_with(&format!("devices/{device}")), "{text}");
                }
            }
        }
        assert!(topics > 10 && filters > 10_000, "only {topics} topics and {filters} filters: the levels make none");
    }
}
