//! Two hosts as the key of a map.

use serde::{Deserialize, Serialize};

use super::super::flow::Ip;

/// Two hosts in an order. It is written as text, since keys of maps must be text in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Two(pub(crate) Ip, pub(crate) Ip);

impl From<Two> for String {
    fn from(two: Two) -> Self {
        format!("{:x} {:x}", two.0.0, two.1.0)
    }
}

impl TryFrom<String> for Two {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |part: &str| u128::from_str_radix(part, 16).ok().map(Ip);
        text.split_once(' ')
            .and_then(|(one, other)| Some(Self(number(one)?, number(other)?)))
            .ok_or_else(|| format!("\"{text}\" is not two addresses"))
    }
}
