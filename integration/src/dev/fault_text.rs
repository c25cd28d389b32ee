//! How a fault is written: `EFFECT[=VALUE][,node=N][,path=PREFIX][,times=N][,share=PERCENT]` on the
//! command line, the same fields in JSON. Pure.
//!
//! What always holds: what is shown can be written again and means the same; what makes no sense is
//! refused in words that say what would.

use std::str::FromStr;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::duration::{parse_option, print};
use super::faults::{Effect, Fault, Place};

/// The fields of a fault as people write them.
#[derive(Clone, Debug, Deserialize, Serialize, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Written {
    /// `latency`, `hang`, `drop`, `status`, `garbage` or `oversized`.
    pub effect: String,
    /// The delay, the status or the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
    /// The number of a node, `vault` or `issuer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Text>,
    /// A prefix of paths.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// How many requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
}

/// Text, for which JSON may have a number.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Text {
    /// Text.
    Words(String),
    /// A number.
    Number(u64),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Words(words) => words.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

const LARGEST: u64 = 1 << 30;

fn size(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['k', 'M', 'G']) {
        Some(number) if text.ends_with('k') => (number, 1 << 10),
        Some(number) if text.ends_with('M') => (number, 1 << 20),
        Some(number) => (number, 1 << 30),
        None => (text, 1),
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (bytes <= LARGEST).then_some(bytes)
}

fn effect(name: &str, value: Option<&str>) -> Result<Effect, String> {
    match (name, value) {
        ("latency", Some(value)) => parse_option(value).map(Effect::Latency),
        ("latency", None) => Err("latency needs a duration, as latency=2s".to_owned()),
        ("hang", None) => Ok(Effect::Hang),
        ("drop", None) => Ok(Effect::Drop),
        ("garbage", None) => Ok(Effect::Garbage),
        ("hang" | "drop" | "garbage", Some(_)) => Err(format!("{name} takes no value")),
        ("status", value) => (value.unwrap_or("500").parse::<u16>().ok())
            .filter(|status| (400..600).contains(status))
            .and_then(|status| StatusCode::from_u16(status).ok())
            .map(Effect::Status)
            .ok_or_else(|| "status takes a number from 400 to 599".to_owned()),
        ("oversized", value) => size(value.unwrap_or("16M"))
            .map(Effect::Oversized)
            .ok_or_else(|| "oversized takes a size of up to 1G, as 16M".to_owned()),
        _ => Err(format!(
            "{name:?} is no effect: it is latency, hang, drop, status, garbage or oversized"
        )),
    }
}

impl TryFrom<Written> for Fault {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let value = written.value.as_ref().map(Text::text);
        let place = match written.node.as_ref().map(Text::text).as_deref() {
            None | Some("vault" | "all") => Place::Vault,
            Some("issuer") => Place::Issuer,
            Some(number) => (number.parse().ok())
                .filter(|number| *number > 0)
                .map(Place::Node)
                .ok_or_else(|| format!("node {number:?} is no number, vault or issuer"))?,
        };
        let share = written.share.unwrap_or(100);
        if !(1..=100).contains(&share) {
            return Err("share is a percentage, 1 to 100".to_owned());
        }
        let path = written.path.trim_start_matches('/');
        let path = match place {
            Place::Issuer => path,
            Place::Vault | Place::Node(_) => path.strip_prefix("v1/").unwrap_or(path),
        };
        Ok(Self {
            effect: effect(&written.effect, value.as_deref())?,
            place,
            path: path.to_owned(),
            times: written.times,
            share,
        })
    }
}

impl From<&Fault> for Written {
    fn from(fault: &Fault) -> Self {
        let (effect, value) = match fault.effect {
            Effect::Latency(delay) if delay.subsec_millis() > 0 => (
                "latency",
                Some(Text::Words(format!("{}ms", delay.as_millis()))),
            ),
            Effect::Latency(delay) => ("latency", Some(Text::Words(print(delay)))),
            Effect::Hang => ("hang", None),
            Effect::Drop => ("drop", None),
            Effect::Status(status) => ("status", Some(Text::Number(status.as_u16().into()))),
            Effect::Garbage => ("garbage", None),
            Effect::Oversized(bytes) => ("oversized", Some(Text::Number(bytes))),
        };
        let node = match fault.place {
            Place::Vault => Text::Words("vault".to_owned()),
            Place::Node(number) => Text::Number(u64::try_from(number).unwrap_or(0)),
            Place::Issuer => Text::Words("issuer".to_owned()),
        };
        Self {
            effect: effect.to_owned(),
            value,
            node: Some(node),
            path: fault.path.clone(),
            times: fault.times,
            share: Some(fault.share),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut written = Written::default();
        for (place, part) in text.split(',').enumerate() {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            if place == 0 {
                name.clone_into(&mut written.effect);
                written.value = value.map(|value| Text::Words(value.to_owned()));
                continue;
            }
            let value = value.unwrap_or_default();
            let number = || format!("{name}={value} in {text:?}: a number is needed");
            match name {
                "node" => written.node = Some(Text::Words(value.to_owned())),
                "path" => value.clone_into(&mut written.path),
                "times" => written.times = Some(value.parse().map_err(|_| number())?),
                "share" => {
                    let percent = value.trim_end_matches('%');
                    written.share = Some(percent.parse().map_err(|_| number())?);
                }
                _ => {
                    return Err(format!(
                        "{name:?} in {text:?} is none of node, path, times, share"
                    ));
                }
            }
        }
        Self::try_from(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_fault_is_written_and_shown() {
        let text = "latency=2s,node=2,path=/v1/secret/,times=3,share=20%";
        let fault: Fault = text.parse().unwrap();
        assert_eq!(fault.effect, Effect::Latency(Duration::from_secs(2)));
        assert_eq!((fault.place, fault.share), (Place::Node(2), 20));
        assert_eq!((fault.path.as_str(), fault.times), ("secret/", Some(3)));
        for text in [
            "latency=50ms",
            "hang,node=issuer",
            "drop",
            "status=503",
            "oversized=1k",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(Fault::try_from(Written::from(&fault)), Ok(fault), "{text}");
        }
        let json = r#"{"effect":"status","value":502,"node":1}"#;
        let written: Written = serde_json::from_str(json).unwrap();
        let fault = Fault::try_from(written).unwrap();
        assert_eq!(fault.effect, Effect::Status(StatusCode::BAD_GATEWAY));
    }

    #[test]
    fn a_fault_that_makes_no_sense_is_refused() {
        for (text, words) in [
            ("", "is no effect"),
            ("slow", "is no effect"),
            ("latency", "needs a duration"),
            ("latency=5x", "no duration"),
            ("hang=2", "takes no value"),
            ("status=200", "400 to 599"),
            ("oversized=2G", "up to 1G"),
            ("drop,node=0", "no number"),
            ("drop,share=0", "percentage"),
            ("drop,times=x", "a number is needed"),
            ("drop,path", ""),
            ("drop,when=now", "none of node"),
        ] {
            match text.parse::<Fault>() {
                Ok(_) => assert_eq!(text, "drop,path"),
                Err(said) => assert!(said.contains(words), "{text}: {said}"),
            }
        }
    }
}
