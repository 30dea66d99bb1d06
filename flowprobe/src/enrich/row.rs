//! What a record of a database says, whoever made it: vendors agree on the format of the file and not on the names in it.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text::shown;

/// What is known of a place in the internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the autonomous system; 0 where it is not known.
    pub as_number: u32,
    /// Who runs it.
    pub as_organization: Option<Arc<str>>,
    /// Two letters of ISO 3166-1.
    pub country: Option<Arc<str>>,
    /// The city, in English.
    pub city: Option<Arc<str>>,
}

/// Keys that are looked at; all others are passed over.
const KEYS: [&str; 18] = [
    "autonomous_system_number",
    "autonomous_system_organization",
    "traits",
    "asn",
    "as_number",
    "as_name",
    "as_organization",
    "name",
    "organization",
    "country",
    "registered_country",
    "country_code",
    "country_iso_code",
    "iso_code",
    "city",
    "city_name",
    "names",
    "en",
];

/// Maps in maps at most: nobody has more.
const DEEPEST: usize = 4;

/// A value of which little is expected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Loose {
    #[default]
    Other,
    Text(String),
    Number(u64),
    /// Of the keys that are looked at.
    Map(Vec<(&'static str, Loose)>),
}

impl Loose {
    /// The value behind these keys, one in the other.
    fn at(&self, path: &[&str]) -> &Self {
        const NOTHING: &Loose = &Loose::Other;
        path.iter().fold(self, |value, key| match value {
            Self::Map(fields) => fields.iter().find(|(name, _)| name == key).map_or(NOTHING, |(_, value)| value),
            _ => NOTHING,
        })
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number of an autonomous system, also as `AS64500`.
    fn as_number(&self) -> Option<u32> {
        let number = match self {
            Self::Number(number) => u32::try_from(*number).ok(),
            Self::Text(text) => text.trim_start_matches(['A', 'a']).trim_start_matches(['S', 's']).trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| *number != 0)
    }
}

impl Place {
    /// What a record says.
    pub(super) fn of(row: &Loose) -> Self {
        let first =
            |paths: &[&[&str]]| paths.iter().find_map(|path| row.at(path).text()).and_then(shown).map(Arc::from);
        let numbers: [&[&str]; 4] =
            [&["autonomous_system_number"], &["traits", "autonomous_system_number"], &["asn"], &["as_number"]];
        let as_number = numbers.iter().find_map(|path| row.at(path).as_number()).unwrap_or(0);
        let mut organization = first(&[
            &["autonomous_system_organization"],
            &["traits", "autonomous_system_organization"],
            &["as_name"],
            &["as_organization"],
        ]);
        if as_number != 0 && organization.is_none() {
            // Words that mean something else where there is no system.
            organization = first(&[&["name"], &["organization"]]);
        }
        let countries: [&[&str]; 5] = [
            &["country", "iso_code"],
            &["country_code"],
            &["country_iso_code"],
            &["country"],
            &["registered_country", "iso_code"],
        ];
        Self {
            as_number,
            as_organization: organization,
            country: countries.iter().find_map(|path| row.at(path).text().and_then(country)),
            city: first(&[&["city", "names", "en"], &["city", "name"], &["city"], &["city_name"]]),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A country's two letters, in capitals.
fn country(code: &str) -> Option<Arc<str>> {
    let is_code = code.len() == 2 && code.bytes().all(|octet| octet.is_ascii_alphabetic());
    is_code.then(|| code.to_ascii_uppercase().into())
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader { depth: 0 })
    }
}

struct Reader {
    depth: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for Reader {
    type Value = Loose;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(u64::try_from(number).map_or(Loose::Other, Loose::Number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Loose, A::Error> {
        let mut known = Vec::new();
        while let Some(key) = fields.next_key::<std::borrow::Cow<'de, str>>()? {
            match KEYS.iter().find(|name| **name == key) {
                Some(name) if self.depth < DEEPEST => {
                    known.push((*name, fields.next_value_seed(Self { depth: self.depth + 1 })?));
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Loose::Map(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(json: &str) -> Place {
        Place::of(&serde_json::from_str(json).expect("an object"))
    }

    fn told(place: &Place) -> (u32, &str, &str, &str) {
        let text = |text: &'static str| text;
        let of = |value: &Option<Arc<str>>| value.clone().map_or("", |value| text(String::from(&*value).leak()));
        (place.as_number, of(&place.as_organization), of(&place.country), of(&place.city))
    }

    #[test]
    fn databases_of_all_makers_are_understood() {
        // MaxMind's and DB-IP's.
        let asn = r#"{"autonomous_system_number": 64500, "autonomous_system_organization": "Example Net"}"#;
        assert_eq!(told(&place(asn)), (64_500, "Example Net", "", ""));
        let city = r#"{"city": {"geoname_id": 1, "names": {"de": "Köln", "en": "Cologne"}}, "continent": {"code": "EU"},
            "country": {"iso_code": "DE", "is_in_european_union": true}, "location": {"latitude": 50.9, "longitude": 6.9},
            "subdivisions": [{"iso_code": "NW"}], "registered_country": {"iso_code": "FR"}}"#;
        assert_eq!(told(&place(city)), (0, "", "DE", "Cologne"));
        let registered = r#"{"registered_country": {"iso_code": "FR"}, "traits": {"autonomous_system_number": 64501}}"#;
        assert_eq!(told(&place(registered)), (64_501, "", "FR", ""));
        // IPinfo's.
        let lite = r#"{"asn": "AS64502", "as_name": "Example", "as_domain": "example.net", "country": "Germany",
            "country_code": "DE", "continent": "Europe"}"#;
        assert_eq!(told(&place(lite)), (64_502, "Example", "DE", ""));
        let standard = r#"{"asn": "AS64503", "name": "Example", "country": "fr", "city": "Paris", "region": "Paris"}"#;
        assert_eq!(told(&place(standard)), (64_503, "Example", "FR", "Paris"));
    }

    #[test]
    fn what_is_of_another_kind_says_nothing() {
        for json in [
            "{}",
            "7",
            "[1, 2]",
            r#"{"name": "a host", "asn": "unknown", "country": {"iso_code": "Germany"}, "city": 5}"#,
            r#"{"asn": -1, "country_code": "D1", "city": {"names": {"de": "Köln"}}}"#,
            r#"{"autonomous_system_number": 4294967296, "as_number": 0, "city": ""}"#,
        ] {
            assert!(place(json).is_unknown(), "{json}: {:?}", place(json));
        }
        // As deep as anybody likes, but not on our stack.
        let deep = format!("{}1{}", r#"{"city":"#.repeat(100), "}".repeat(100));
        assert!(place(&deep).is_unknown());
    }

    #[test]
    fn names_that_are_no_text_to_show_are_made_such() {
        let long = format!(r#"{{"asn": 64500, "as_name": "{}", "city": "\u0007a\n\u001b[2Jb"}}"#, "ä".repeat(300));
        let place = place(&long);
        assert!(place.as_organization.as_deref().is_some_and(|name| name.len() <= 255 && name.starts_with("ää")));
        assert_eq!(place.city.as_deref(), Some("\u{fffd}a\u{fffd}\u{fffd}[2Jb"));
    }
}
