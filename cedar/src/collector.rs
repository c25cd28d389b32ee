//! A collector: the daemon that knows a pool's daemons and their addresses.
//!
//! It is asked without authentication, as HTCondor's own tools do, unless a token is given. So its answers
//! vouch for nothing: an address from one leads to a daemon whose certificate must then be for the name
//! of the configuration. Answers are bounded.

use std::time::Duration;

use crate::address::Address;
use crate::classad::{Ad, Value};
use crate::connection::{connect, until};
use crate::error::{Error, Step};
use crate::handshake::{self, Terms};
use crate::packet::Fault;
use crate::tls::Tls;
use crate::token::AccessToken;
use crate::wire::{Decoder, Encoder, Form};

/// Longest answer, in bytes. An ad with a projection of three attributes has some 300.
const LONGEST_ANSWER: usize = 16 << 20;

/// Most attributes of all ads in an answer: in memory each takes some 100 bytes, however short it is.
const MOST_ATTRIBUTES: usize = 500_000;

/// Kind of the daemons that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Schedds (`condor_schedd`).
    Schedd,
    /// Credds (`condor_credd`).
    Credd,
}

/// A question to a collector.
///
/// ```
/// use htcondor_cedar::{Kind, Query};
///
/// let query = Query {
///     requirements: Some(r#"Name == "ap.example.org""#.to_owned()),
///     projection: vec!["Name".to_owned(), "MyAddress".to_owned()],
///     ..Query::new(Kind::Credd)
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Kind of the daemons.
    pub kind: Kind,
    /// Expression that is true for those wanted; all of the kind when `None`.
    pub requirements: Option<String>,
    /// Attributes wanted; all when empty. The collector may add some.
    pub projection: Vec<String>,
    /// Most ads that are wanted.
    pub limit: Option<u32>,
}

impl Query {
    /// All daemons of a kind, with all their attributes.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            requirements: None,
            projection: Vec::new(),
            limit: None,
        }
    }

    /// Number of the command, and the ad.
    fn parts(&self) -> Result<(i64, Ad), Error> {
        let own = self.requirements.as_deref().map(str::trim);
        let own = own.filter(|text| !text.is_empty()).unwrap_or("true");
        // An unbalanced parenthesis must not reach out of those around it.
        if !is_closed(own) {
            return Err(Error::bad_value(
                "the requirements' parentheses or quotation marks do not match",
            ));
        }
        let (command, target, requirements) = match self.kind {
            // Of an expression without parentheses a collector may read the beginning alone.
            Kind::Schedd => (6, "Scheduler", format!("({own})")),
            // There is no command for credds alone; the one for all ignores the type.
            Kind::Credd => (48, "Any", format!(r#"(MyType == "CredD") && ({own})"#)),
        };
        let mut ad = Ad::new();
        ad.set("MyType", "Query");
        ad.set("TargetType", target);
        ad.set("Requirements", Value::Expression(requirements));
        if !self.projection.is_empty() {
            ad.set("Projection", self.projection.join(","));
        }
        if let Some(limit) = self.limit {
            ad.set("LimitResults", i64::from(limit));
        }
        // What cannot be sent is found before a token is shown.
        ad.encode(&mut Encoder::new(Form::Encrypted))
            .map_err(|fault| Error::wire(Step::Prepare, fault))?;
        Ok((command, ad))
    }
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    address: Address,
    access: Option<(Tls, AccessToken)>,
}

impl Collector {
    /// The collector at an address: usually port 9618 of the central manager.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            access: None,
        }
    }

    /// The same, asked with an access token: for a collector that demands authentication of readers.
    #[must_use]
    pub fn with_token(self, tls: Tls, token: AccessToken) -> Self {
        let access = Some((tls, token));
        Self { access, ..self }
    }

    /// The ads that match a query.
    pub async fn query(&self, query: &Query, within: Duration) -> Result<Vec<Ad>, Error> {
        let (command, ad) = query.parts()?;
        let ads = self.ask(command, &ad, within).await;
        ads.map_err(|error| error.at(&format!("collector {}", self.address)))
    }

    async fn ask(&self, command: i64, ad: &Ad, within: Duration) -> Result<Vec<Ad>, Error> {
        let fault = |fault| Error::wire(Step::Command, fault);
        let deadline = until(within);
        let stream = connect(&self.address, deadline).await?;
        let mut stream = stream.with_longest_message(LONGEST_ANSWER);
        match &self.access {
            None => handshake::negotiate(&mut stream, command).await?,
            Some((tls, token)) => {
                let terms = Terms {
                    command,
                    lifetime: Duration::ZERO,
                    tls,
                    token,
                };
                handshake::authenticate(&mut stream, terms).await?;
            }
        }
        let mut message = stream.encoder();
        // The daemon knows the command from the negotiation.
        ad.encode(&mut message).map_err(fault)?;
        stream.send(&message).await.map_err(fault)?;
        let answer = stream.receive().await.map_err(fault)?;
        ads(&mut answer.decoder()).map_err(fault)
    }
}

/// An answer: 1 and an ad, as often as there are some, then 0.
pub(crate) fn ads(from: &mut Decoder<'_>) -> Result<Vec<Ad>, Fault> {
    let mut ads = Vec::new();
    let mut attributes = 0_usize;
    loop {
        match from.integer()? {
            0 => return Ok(ads),
            1 => {
                let ad = Ad::decode(from)?;
                attributes = attributes.saturating_add(ad.len());
                if attributes > MOST_ATTRIBUTES {
                    return Err(Fault::TooLarge("an answer of more than 500,000 attributes"));
                }
                ads.push(ad);
            }
            _ => return Err(Fault::Malformed("an answer that is no list of ads")),
        }
    }
}

/// True when an expression's parentheses and strings end in it.
fn is_closed(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '(' if !in_string => depth = depth.saturating_add(1),
            ')' if !in_string => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && !in_string
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn requirements_cannot_leave_their_parentheses() {
        let parts = |text: &str| {
            let requirements = Some(text.to_owned());
            Query {
                requirements,
                ..Query::new(Kind::Credd)
            }
            .parts()
        };
        for bad in ["true) || (true", "(", "\"", r#""\""#] {
            assert!(parts(bad).is_err(), "{bad}");
        }
        let (command, ad) = parts(r#"Name == "a)""#).unwrap();
        assert_eq!(command, 48);
        let expected = r#"(MyType == "CredD") && (Name == "a)")"#;
        assert_eq!(
            ad.get("requirements"),
            Some(&Value::Expression(expected.to_owned()))
        );
    }

    #[test]
    fn a_query_that_cannot_be_sent_is_refused_before_a_connection() {
        let all = Query::new(Kind::Schedd);
        let projection = vec!["Name\n".to_owned()];
        for query in [
            Query {
                requirements: Some("true ||\ntrue".to_owned()),
                ..all.clone()
            },
            Query { projection, ..all },
        ] {
            let error = query.parts().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadValue, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ads(&mut Decoder::new(Form::Plain, &bytes));
        }
    }
}
