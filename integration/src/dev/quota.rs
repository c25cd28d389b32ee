//! Rate limit quotas for each client address, as the real server keeps them. Pure.
//!
//! What always holds: a client has `limit` requests in each period, which begins with its first
//! one; who asks for more is blocked for the block time, whatever the period says, and requests
//! while blocked neither count nor make it longer.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::duration::{after, parse_option, print};

/// How much a client may ask, written `LIMIT/PERIOD[/BLOCK]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: u32,
    period: Duration,
    block: Option<Duration>,
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form LIMIT/PERIOD[/BLOCK], as 360/5m/5m");
        let mut parts = text.split('/');
        let limit = parts.next().and_then(|limit| limit.parse().ok());
        let period = parts.next().and_then(|period| parse_option(period).ok());
        let block = parts.next().map(parse_option).transpose();
        match (limit, period, block, parts.next()) {
            (Some(limit), Some(period), Ok(block), None) if limit > 0 => Ok(Self {
                limit,
                period,
                block,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, print(self.period))?;
        self.block
            .map_or(Ok(()), |block| write!(f, "/{}", print(block)))
    }
}

struct Client {
    period_ends: Timestamp,
    left: u32,
    blocked_until: Option<Timestamp>,
}

/// What each client has used.
#[derive(Default)]
pub struct Counter {
    /// The quota that is counted for: with another one counting begins anew.
    quota: Option<Quota>,
    clients: HashMap<IpAddr, Client>,
    sweep_at: usize,
}

/// Below this number of clients nothing is swept.
const SWEEP_FLOOR: usize = 1024;

impl Counter {
    /// Counts a request; the error says when the next one is let through.
    pub fn admit(
        &mut self,
        quota: &Quota,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        if self.quota != Some(*quota) {
            self.clients.clear();
            self.quota = Some(*quota);
        }
        self.sweep_when_due(now);
        let fresh = || Client {
            period_ends: after(now, quota.period),
            left: quota.limit,
            blocked_until: None,
        };
        let known = self.clients.entry(client).or_insert_with(fresh);
        if let Some(until) = known.blocked_until.filter(|until| now < *until) {
            return Err(until);
        }
        if known.period_ends <= now {
            *known = fresh();
        }
        if let Some(left) = known.left.checked_sub(1) {
            known.left = left;
            return Ok(());
        }
        known.blocked_until = quota.block.map(|block| after(now, block));
        Err(known.blocked_until.unwrap_or(known.period_ends))
    }

    fn sweep_when_due(&mut self, now: Timestamp) {
        if self.clients.len() < self.sweep_at.max(SWEEP_FLOOR) {
            return;
        }
        self.clients
            .retain(|_, c| now < c.period_ends || c.blocked_until.is_some_and(|until| now < until));
        self.sweep_at = self.clients.len().saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    #[test]
    fn it_is_written_as_limit_period_and_block() {
        for text in ["360/5m/5m", "2/1s"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "360",
            "0/5m",
            "a/5m",
            "1/5",
            "1/0s",
            "1/5m/",
            "1/5m/5m/5m",
        ] {
            let parsed = wrong.parse::<Quota>();
            assert_eq!(parsed.is_err(), wrong != "1/5", "{wrong}");
        }
    }

    #[test]
    fn too_many_are_blocked_and_others_are_not() {
        let quota: Quota = "2/10s/60s".parse().unwrap();
        let mut counter = Counter::default();
        assert!(counter.admit(&quota, A, at(0)).is_ok());
        assert!(counter.admit(&quota, A, at(1)).is_ok());
        assert_eq!(counter.admit(&quota, A, at(2)), Err(at(62)));
        assert!(counter.admit(&quota, B, at(2)).is_ok());
        assert_eq!(counter.admit(&quota, A, at(61)), Err(at(62)));
        assert!(counter.admit(&quota, A, at(62)).is_ok());
    }

    #[test]
    fn another_quota_begins_anew() {
        let mut counter = Counter::default();
        let long: Quota = "1/60s/60s".parse().unwrap();
        assert!(counter.admit(&long, A, at(0)).is_ok());
        assert!(counter.admit(&long, A, at(0)).is_err());
        let short: Quota = "1/1s".parse().unwrap();
        assert!(counter.admit(&short, A, at(1)).is_ok());
        assert_eq!(counter.admit(&short, A, at(1)), Err(at(2)));
    }

    #[test]
    fn without_a_block_the_period_decides() {
        let quota: Quota = "1/10s".parse().unwrap();
        let mut counter = Counter::default();
        assert!(counter.admit(&quota, A, at(0)).is_ok());
        assert_eq!(counter.admit(&quota, A, at(9)), Err(at(10)));
        assert!(counter.admit(&quota, A, at(10)).is_ok());
    }

    #[test]
    fn clients_that_went_away_are_forgotten() {
        let quota: Quota = "1/1s".parse().unwrap();
        let mut counter = Counter::default();
        for second in 0..5000_u32 {
            let client = IpAddr::from(second.to_be_bytes());
            counter.admit(&quota, client, at(second.into())).unwrap();
        }
        assert!(
            counter.clients.len() <= SWEEP_FLOOR,
            "{}",
            counter.clients.len()
        );
    }
}
