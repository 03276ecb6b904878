//! One record as it was written. JSON has names for its fields, CBOR numbers, and both may have others that nobody knows.

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::fmt;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record {
    pub version: Option<u64>,
    pub base_name: Option<String>,
    pub base_time: Option<Number>,
    pub base_unit: Option<String>,
    pub base_value: Option<Number>,
    pub base_sum: Option<Number>,
    pub name: Option<String>,
    pub unit: Option<String>,
    pub number: Option<Number>,
    pub text: Option<String>,
    pub flag: Option<bool>,
    pub data: Option<Bytes>,
    pub sum: Option<Number>,
    pub time: Option<Number>,
}

/// Whole numbers stay whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Real(real) => real,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Label {
    BaseVersion,
    BaseName,
    BaseTime,
    BaseUnit,
    BaseValue,
    BaseSum,
    Name,
    Unit,
    Value,
    Text,
    Flag,
    Sum,
    Time,
    UpdateTime,
    Data,
    Other,
}

/// RFC 8428, table 6.
const LABELS: &[(&str, i64, Label)] = &[
    ("bver", -1, Label::BaseVersion),
    ("bn", -2, Label::BaseName),
    ("bt", -3, Label::BaseTime),
    ("bu", -4, Label::BaseUnit),
    ("bv", -5, Label::BaseValue),
    ("bs", -6, Label::BaseSum),
    ("n", 0, Label::Name),
    ("u", 1, Label::Unit),
    ("v", 2, Label::Value),
    ("vs", 3, Label::Text),
    ("vb", 4, Label::Flag),
    ("s", 5, Label::Sum),
    ("t", 6, Label::Time),
    ("ut", 7, Label::UpdateTime),
    ("vd", 8, Label::Data),
];

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Record, D::Error> {
        from.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record of SenML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        while let Some(label) = map.next_key::<Label>()? {
            match label {
                Label::BaseVersion => set(&mut map, &mut record.version)?,
                Label::BaseName => set(&mut map, &mut record.base_name)?,
                Label::BaseTime => set(&mut map, &mut record.base_time)?,
                Label::BaseUnit => set(&mut map, &mut record.base_unit)?,
                Label::BaseValue => set(&mut map, &mut record.base_value)?,
                Label::BaseSum => set(&mut map, &mut record.base_sum)?,
                Label::Name => set(&mut map, &mut record.name)?,
                Label::Unit => set(&mut map, &mut record.unit)?,
                Label::Value => set(&mut map, &mut record.number)?,
                Label::Text => set(&mut map, &mut record.text)?,
                Label::Flag => set(&mut map, &mut record.flag)?,
                Label::Sum => set(&mut map, &mut record.sum)?,
                Label::Time => set(&mut map, &mut record.time)?,
                Label::Data => {
                    let mut data: Option<Data> = None;
                    set(&mut map, &mut data)?;
                    record.data = data.map(|Data(bytes)| bytes);
                }
                // When the next value comes is nothing that is stored.
                Label::UpdateTime | Label::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(record)
    }
}

fn set<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A, place: &mut Option<T>) -> Result<(), A::Error> {
    match place.replace(map.next_value()?) {
        Some(_) => Err(de::Error::custom("a field stands twice in one record")),
        None => Ok(()),
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Label, D::Error> {
        struct Field;
        impl Visitor<'_> for Field {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or number of a field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                match LABELS.iter().find(|(name, ..)| *name == text) {
                    Some((.., label)) => Ok(*label),
                    // Who does not know it must not believe to understand the record.
                    None if text.ends_with('_') => Err(E::custom(format!("field `{text}` has to be understood and is not known here"))),
                    None => Ok(Label::Other),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Label, E> {
                Ok(LABELS.iter().find(|(_, code, _)| *code == number).map_or(Label::Other, |(.., label)| *label))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Label, E> {
                i64::try_from(number).map_or(Ok(Label::Other), |number| self.visit_i64(number))
            }
        }
        from.deserialize_any(Field)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Number, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Number, E> {
                Ok(Number::Whole(whole))
            }

            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Number, E> {
                Ok(i64::try_from(whole).map_or(Number::Real(whole as f64), Number::Whole))
            }

            fn visit_f64<E: de::Error>(self, real: f64) -> Result<Number, E> {
                match real.is_finite() {
                    true => Ok(Number::Real(real)),
                    false => Err(E::custom("the number is not finite")),
                }
            }

            /// A tag of CBOR, as `ciborium` hands it over: a decimal fraction, the exponent first.
            fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Number, A::Error> {
                let (_, contents) = tagged.variant::<IgnoredName>()?;
                contents.tuple_variant(2, Fraction)
            }
        }
        from.deserialize_any(Any)
    }
}

struct IgnoredName;

impl<'de> Deserialize<'de> for IgnoredName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<IgnoredName, D::Error> {
        from.deserialize_identifier(IgnoredAny).map(|_| IgnoredName)
    }
}

/// CBOR's tag of decimal fractions.
const DECIMAL_FRACTION: u64 = 4;

struct Fraction;

impl<'de> Visitor<'de> for Fraction {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal fraction")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Number, A::Error> {
        let missing = || de::Error::custom("a decimal fraction is an exponent and a mantissa");
        let tag: u64 = seq.next_element()?.ok_or_else(missing)?;
        if tag != DECIMAL_FRACTION {
            return Err(de::Error::custom(format!("tag {tag} is not a number")));
        }
        let (exponent, mantissa): (i32, i64) = seq.next_element()?.ok_or_else(missing)?;
        // Written and read, so that 27315 hundredths are 273.15 and nothing beside it.
        let real: f64 = format!("{mantissa}e{exponent}").parse().map_err(|_| missing())?;
        if real.is_finite() { Ok(Number::Real(real)) } else { Err(de::Error::custom("the number is not finite")) }
    }
}

/// Bytes in CBOR; in JSON, base64 with the letters of URLs.
struct Data(Bytes);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Data, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("data, in base64url or in bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
                let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
                decoded.map(|bytes| Data(bytes.into())).map_err(|e| E::custom(format!("`vd` is not base64url: {e}")))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Data, E> {
                Ok(Data(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Data, E> {
                Ok(Data(bytes.into()))
            }
        }
        from.deserialize_any(Either)
    }
}
