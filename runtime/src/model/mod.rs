//! In: nothing but values. Out: the nouns every other room speaks in.
//! Never: IO, a clock, a lock, an async function.

pub mod calibration;
pub mod deployment;
pub mod derive;
pub mod device;
pub mod effect;
pub mod event;
pub mod id;
pub mod limit;
pub mod manifest;
pub mod ontology;
pub mod payload;
pub mod run;
pub mod selector;
pub mod subject;
pub mod time;
pub mod trigger;
pub mod uplink;
pub mod value;

pub use deployment::{Digest, Release};
pub use device::{Actuator, Device, Gateway, Location, Owned, Project, Sensor, Visibility};
pub use effect::{Command, Effects, LogLevel, LogLine, Write};
pub use event::{Event, Kind, NewEvent, Seq};
pub use id::{AppId, FunctionId, Id, IdError, Tenant};
pub use manifest::Manifest;
pub use run::{Run, RunOutcome};
pub use selector::{Selector, SelectorError, SensorRef, Within};
pub use subject::{Pattern, Subject, SubjectError};
pub use time::Micros;
pub use uplink::{Decoded, Measurement, Uplink};
pub use value::Value;
