//! The parameters of questions: each is read once, checked, and known, or the question is refused with its name.

use std::time::Duration;

use axum::http::Uri;
use jiff::Timestamp;

use crate::config;
use crate::query::{self, Filter, Measure, Question, Request};

/// A parameter that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamError {
    pub(super) parameter: String,
    pub(super) error: String,
}

impl ParamError {
    pub(super) fn new(parameter: &str, error: impl Into<String>) -> Self {
        Self { parameter: parameter.to_owned(), error: error.into() }
    }
}

/// Values of filters at most, of all kinds together.
const MOST_VALUES: usize = 64;

/// Rows of a table that are given at most.
const MOST_ROWS: usize = 1000;

/// Rows where nothing is said.
const ROWS: usize = 20;

/// Time that is asked for where nothing is said.
const HOUR: Duration = Duration::from_secs(3600);

/// Parameters that are not read yet.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

impl Params {
    /// Those of a request.
    pub(super) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// All values of a parameter, each as `read` takes it.
    fn all<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ParamError> {
        let mut values = Vec::new();
        let mut wrong = None;
        self.pairs.retain(|(known, value)| {
            if known != name {
                return true;
            }
            match read(value) {
                Ok(value) => values.push(value),
                Err(error) => wrong = Some(ParamError::new(name, error)),
            }
            false
        });
        match wrong {
            Some(error) => Err(error),
            None if values.len() > MOST_VALUES => {
                Err(ParamError::new(name, format!("is given {} times, and at most {MOST_VALUES} times", values.len())))
            }
            None => Ok(values),
        }
    }

    /// The value of a parameter that is given once, if at all.
    pub(super) fn one<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ParamError> {
        let mut values = self.all(name, read)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            count => Err(ParamError::new(name, format!("is given {count} times, and counts once"))),
        }
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, ParamError> {
        let (first, last) = (*range.start(), *range.end());
        self.one(name, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("expected a number from {first} to {last}, found `{}`", short(text)))
        })
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, ParamError> {
        self.one(name, |text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| format!("expected one of {known}, found `{}`", short(text)))
        })
    }

    /// `json` or `csv`.
    pub(super) fn form(&mut self) -> Result<Form, ParamError> {
        Ok(self.word("format", &[("json", Form::Json), ("csv", Form::Csv)])?.unwrap_or(Form::Json))
    }

    /// Rows at most.
    pub(super) fn rows(&mut self) -> Result<usize, ParamError> {
        Ok(self.number("top", 1..=MOST_ROWS)?.unwrap_or(ROWS))
    }

    /// The question with the time, the filters, the order and the number of rows that are said.
    pub(super) fn request(&mut self, question: Question, now_ms: i64) -> Result<Request, ParamError> {
        let (from_ms, to_ms) = self.times(now_ms)?;
        let by = [("octets", Measure::Octets), ("packets", Measure::Packets), ("flows", Measure::Flows)];
        let by = self.word("by", &by)?.unwrap_or_default();
        Ok(Request { question, from_ms, to_ms, filter: self.filter()?, by, top: self.rows()? })
    }

    /// From when, and before when.
    fn times(&mut self, now_ms: i64) -> Result<(i64, i64), ParamError> {
        let last = self.one("last", |text| config::span(text).map_err(|error| error.to_string()))?;
        let from = self.one("from", moment)?;
        let to = self.one("to", moment)?;
        if last.is_some() && (from.is_some() || to.is_some()) {
            return Err(ParamError::new("last", "stands for itself: either that, or from and to"));
        }
        let last_ms = i64::try_from(last.unwrap_or(HOUR).as_millis()).unwrap_or(i64::MAX);
        // The millisecond in which it is asked belongs to what is asked for.
        let to_ms = to.unwrap_or(now_ms + 1);
        let from_ms = from.unwrap_or(to_ms.saturating_sub(last_ms));
        if from_ms < to_ms { Ok((from_ms, to_ms)) } else { Err(ParamError::new("from", "has to be before `to`")) }
    }

    fn filter(&mut self) -> Result<Filter, ParamError> {
        let plain = |text: &str| match text {
            "" => Err("is empty".to_owned()),
            text => Ok(text.to_owned()),
        };
        let direction = self.word("direction", &[("ingress", 0), ("egress", 1)])?;
        Ok(Filter {
            addresses: self.all("address", config::network)?,
            sources: self.all("source", config::network)?,
            destinations: self.all("destination", config::network)?,
            ports: self.all("port", |text| {
                text.parse().map_err(|_| format!("expected a number from 0 to 65535, found `{}`", short(text)))
            })?,
            protocols: self.all("protocol", query::protocol)?,
            icmp: self.all("icmp", str::parse)?,
            interfaces: self.all("interface", plain)?,
            systems: self.all("as", query::as_number)?,
            countries: self.all("country", query::country)?,
            labels: self.all("label", plain)?,
            exporters: self.all("exporter", |text| {
                text.parse().map_err(|_| format!("expected an address, found `{}`", short(text)))
            })?,
            direction,
        })
    }

    /// Nothing may be left: a filter with a slip of the pen would be none.
    pub(super) fn end(self) -> Result<(), ParamError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => {
                let error = "is no parameter of this: /api/v1/openapi.json lists those that there are";
                Err(ParamError::new(&short(name), error))
            }
        }
    }
}

/// A moment: milliseconds since 1970, or RFC 3339.
fn moment(text: &str) -> Result<i64, String> {
    /// 2200-01-01, after which nobody has flows.
    const LATEST_MS: i64 = 7_258_118_400_000;
    let moment = text.parse().ok().or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond));
    moment.filter(|moment| (0..=LATEST_MS).contains(moment)).ok_or_else(|| {
        format!("expected milliseconds since 1970, or a moment such as 2026-11-24T10:00:00Z, found `{}`", short(text))
    })
}

/// As much of a value as is worth repeating.
fn short(text: &str) -> String {
    text.chars().take(64).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_510_014_447;

    fn request(query: &str) -> Result<Request, String> {
        let uri: Uri = format!("/x?{query}").parse().expect("a URI");
        let mut params = Params::of(&uri);
        let request = params.request(Question::Talkers, NOW_MS);
        let ended = params.end();
        let told = |error: ParamError| format!("{}: {}", error.parameter, error.error);
        request.map_err(told).and_then(|request| ended.map(|()| request).map_err(told))
    }

    #[test]
    fn what_is_said_is_asked() {
        let asked = request("").expect("the last hour");
        assert_eq!((asked.to_ms, asked.to_ms - asked.from_ms, asked.top), (NOW_MS + 1, 3_600_000, 20));
        let asked = request("from=2026-11-24T09:00:00Z&to=1795514400000&by=flows&top=1000").expect("a question");
        assert_eq!(
            (asked.from_ms, asked.to_ms, asked.by, asked.top),
            (1_795_510_800_000, 1_795_514_400_000, Measure::Flows, 1000)
        );
        let asked = request(
            "last=30d&address=10.0.0.0%2F8&address=2001:db8::1&protocol=tcp&protocol=17&port=53&icmp=8/0&as=AS64500&country=de&label=a+b&direction=egress&interface=eth0&exporter=192.0.2.1",
        );
        let filter = asked.expect("a question").filter;
        assert_eq!(
            (filter.addresses.len(), filter.protocols, filter.ports, filter.systems),
            (2, vec![6, 17], vec![53], vec![64_500])
        );
        assert_eq!(
            (&filter.countries[..], &filter.labels[..], filter.direction),
            (&["DE".to_owned()][..], &["a b".to_owned()][..], Some(1))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("address={}", "9".repeat(500));
        let many = "port=1&".repeat(65);
        for (query, error) in [
            ("last=1h&from=5", "last: stands for itself"),
            ("last=soon", "last: expected a time from 1s to 10 years"),
            ("from=-5", "from: expected milliseconds since 1970"),
            ("from=9999999999999999", "from: expected milliseconds"),
            ("from=99999999999999999999999", "from: expected milliseconds"),
            ("from=2026-11-24T10:00:00Z&to=2026-11-24T09:00:00Z", "from: has to be before `to`"),
            ("address=10.0.0.1/8", "address: `10.0.0.1/8` has bits behind its prefix"),
            ("address=host", "address: expected a network"),
            ("port=65536", "port: expected a number from 0 to 65535, found `65536`"),
            ("protocol=tpc", "protocol: expected a protocol"),
            ("icmp=8/256", "icmp: expected a type of ICMP"),
            ("country=Germany", "country: expected two letters"),
            ("top=0", "top: expected a number from 1 to 1000, found `0`"),
            ("top=1001", "top: expected a number from 1 to 1000"),
            ("top=5&top=6", "top: is given 2 times, and counts once"),
            ("by=bytes", "by: expected one of octets, packets, flows, found `bytes`"),
            ("direction=up", "direction: expected one of ingress, egress"),
            ("adress=10.0.0.1", "adress: is no parameter of this"),
            ("interface=", "interface: is empty"),
            (&long, "address: expected a network"),
            (&many, "port: is given 65 times, and at most 64 times"),
        ] {
            let found = request(query).expect_err(query);
            assert!(found.starts_with(error), "{query}: {found}");
            assert!(found.len() < 700, "{found}");
        }
    }
}
